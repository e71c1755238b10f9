"""Runs tables in this process, on Dagster's instance, and prints their progress."""

import logging
import os
import warnings
from collections.abc import Callable, Collection
from datetime import date
from typing import TYPE_CHECKING

import click

from mds_assets.stack.failures import reason, table_of
from mds_assets.stack.terminal import console, say

if TYPE_CHECKING:
    from dagster import AssetKey, DagsterEvent, DagsterInstance, Definitions, ExecuteInProcessResult, LoggerDefinition


def materialize(
    defs: "Definitions", first: date, last: date, keys: "Collection[AssetKey] | None" = None
) -> "ExecuteInProcessResult":
    """Run the Dagster job `daily_refresh` once over these days, and print its progress.

    Args:
        defs: The project's definitions.
        first: The first day.
        last: The last day.
        keys: The assets to make; by default all.
    """
    from dagster import Definitions

    from mds_assets.stack.names import FIRST_DAY_TAG, LAST_DAY_TAG

    # It warns of each check of a table that was skipped, though nothing downstream of it runs.
    logging.getLogger("dagster._core.execution.plan.active").setLevel(logging.ERROR)
    use_project_home()
    with _instance() as instance, console.status("Starting") as status:
        progress = Definitions(loggers={"progress": _progress_logger(lambda step: status.update(step))})
        job = Definitions.merge(defs, progress).resolve_job_def("daily_refresh")
        return job.execute_in_process(
            instance=instance,
            asset_selection=list(job.asset_layer.executable_asset_keys if keys is None else keys),
            # With a partition key, Dagster shows the run's day; it has no such display for ranges.
            partition_key=str(last) if first == last else None,
            tags={FIRST_DAY_TAG: str(first), LAST_DAY_TAG: str(last)} if first < last else None,
            run_config={"loggers": {"progress": {}}},
            raise_on_error=False,
        )


def _instance() -> "DagsterInstance":
    """The instance, but one that leaves standard output alone: it belongs to the terminal.

    Dagster captures what each run prints. For that, it makes a file of standard output, so that no library sees a
    terminal any more, and copies the file to the terminal with two processes, which take 0.8 s to start and end.
    """
    from dagster import DagsterInstance
    from dagster._core.instance.ref import InstanceRef

    capture = {"module": "dagster._core.storage.noop_compute_log_manager", "class": "NoOpComputeLogManager"}
    return DagsterInstance.from_ref(
        InstanceRef.from_dir(os.environ["DAGSTER_HOME"], overrides={"compute_logs": capture})
    )


def use_project_home() -> None:
    """Use the instance that `make dev` uses, so that its UI shows what runs here."""
    from mds_assets.stack.settings import PROJECT_ROOT

    os.environ.setdefault("DAGSTER_HOME", str(PROJECT_ROOT / ".dagster"))


def first_failure(result: "ExecuteInProcessResult") -> str:
    """Why the first failed step failed, in one line."""
    for event in result.all_events:
        if event.is_step_failure:
            failure = event.step_failure_data.user_failure_data
            return reason(event) if failure and failure.description else f"{table_of(event)}: {reason(event)}"
    return "the run failed before its first step: `make dev` shows its log"


def selected(defs: "Definitions", select: str | None) -> "set[AssetKey]":
    """The assets that Dagster's selection syntax names; all without one.

    Raises:
        ClickException: It is not valid, or names nothing.
    """
    from dagster import AssetSelection, BetaWarning, DagsterError

    graph = defs.resolve_asset_graph()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", BetaWarning)  # of selections by group
        try:
            keys = AssetSelection.from_string(select).resolve(graph) if select else graph.executable_asset_keys
        except DagsterError as error:
            raise click.ClickException(f"--select {select!r}: {error}") from None
    if not keys:
        raise click.ClickException(f"--select {select!r} selects no table: `mds show` lists them")
    return set(keys)


def _progress_logger(on_step: Callable[[str], None]) -> "LoggerDefinition":
    """A Dagster logger that prints steps as they start and end, and the assets' own log messages."""
    from dagster import AssetCheckSeverity, InitLoggerContext, logger

    # By check step: whether each check of a table passed. In a range, `is_valid` comes once for each day, then for all.
    checks: dict[str | None, dict[tuple[str, str], bool]] = {}
    tables: dict[str | None, list[str]] = {}  # by step: its tables, once each, though every day is materialized

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            event: DagsterEvent | None = getattr(record, "dagster_event", None)
            if event is None and record.levelno >= logging.INFO:  # an asset's own message
                message: str = getattr(record, "dagster_meta", {}).get("orig_message", record.getMessage())
                if message.startswith("Skipping step "):  # Dagster's; `_show_skipped` has one line for all of them
                    return
                styles = {logging.INFO: "dim", logging.WARNING: "yellow"}
                say("  ", (message, styles.get(record.levelno, "red")))
            elif event is None:
                return
            elif event.event_type_value == "STEP_START":
                on_step(table_of(event))
            elif event.event_type_value == "ASSET_MATERIALIZATION" and event.asset_key:
                table = event.asset_key.to_user_string()
                if table not in tables.setdefault(event.step_key, []):
                    tables[event.step_key].append(table)
            elif event.event_type_value == "STEP_UP_FOR_RETRY":
                retry = event.step_retry_data
                cause = retry.error and retry.error.cause
                wait = f"again in {retry.seconds_to_wait} s" if retry.seconds_to_wait else "again"
                say("  ", (f"{cause.message.strip() if cause else ''} {wait}", "yellow"))
            elif event.event_type_value == "ASSET_CHECK_EVALUATION":
                check = event.asset_check_evaluation_data
                table = check.asset_key.to_user_string()
                passed = checks.setdefault(event.step_key, {})
                is_known = (table, check.check_name) in passed
                passed[table, check.check_name] = passed.get((table, check.check_name), True) and check.passed
                if not check.passed and (check.partition or not is_known):
                    sign = ("!", "yellow") if check.severity == AssetCheckSeverity.WARN else ("✗", "red")
                    of_day = f" of {check.partition}" if check.partition else ""
                    say("  ", sign, f" {table} {check.check_name}{of_day}: ", (check.description or "", "dim"))
            elif event.event_type_value == "STEP_SUCCESS" and event.step_key in checks:
                if sound := [table for (table, _), is_sound in checks[event.step_key].items() if is_sound]:
                    say("  ", ("✓", "green"), f" {len(sound)} checks of {', '.join(dict.fromkeys(sound))}")
            elif event.event_type_value == "STEP_SUCCESS":
                seconds = event.step_success_data.duration_ms / 1000
                if made := tables.get(event.step_key):  # nothing if a raw table was skipped
                    say("  ", ("✓", "green"), f" {', '.join(made)} ", (f"{seconds:.1f} s", "dim"))

    @logger
    def progress(_: InitLoggerContext) -> logging.Logger:
        handling = logging.Logger("progress", logging.INFO)
        handling.setLevel(logging.DEBUG)
        handling.addHandler(Handler())
        return handling

    return progress
