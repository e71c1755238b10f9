"""Runs tables in this process, on Dagster's instance, and prints their progress."""

import logging
import os
import time
import warnings
from collections.abc import Collection
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mds_assets.stack.cli.interrupts import raise_received
from mds_assets.stack.cli.progress import RunProgress
from mds_assets.stack.failures import reason, table_of

if TYPE_CHECKING:
    from dagster import AssetKey, DagsterInstance, Definitions, ExecuteInProcessResult


@dataclass(frozen=True)
class Ran:
    """A run that ended, and how it went.

    Attributes:
        result: Dagster's.
        progress: What was printed, with the numbers of rows, days and requests.
        seconds: How long it took.
    """

    result: "ExecuteInProcessResult"
    progress: RunProgress
    seconds: float


def materialize(defs: "Definitions", first: date, last: date, keys: "Collection[AssetKey]") -> Ran:
    """Run the Dagster job `daily_refresh` once over these days, and print its progress.

    Args:
        defs: The project's definitions.
        first: The first day.
        last: The last day.
        keys: The assets to make.

    Raises:
        KeyboardInterrupt: The user interrupted it. Dagster has recorded the run as canceled.
    """
    from dagster import DagsterRunStatus, Definitions
    from dagster._core.utils import make_new_run_id

    from mds_assets.stack.names import FIRST_DAY_TAG, LAST_DAY_TAG

    # It warns of each check of a table that was skipped, though nothing downstream of it runs.
    logging.getLogger("dagster._core.execution.plan.active").setLevel(logging.ERROR)
    use_project_home()
    started, run_id = time.monotonic(), make_new_run_id()
    with _instance() as instance:
        # Dagster calls a run canceled if it knew of it before the interrupt ends the run, and failed otherwise.
        progress = RunProgress(len(keys), on_interrupt=lambda: _mark_canceling(instance, run_id))
        reporting = Definitions.merge(defs, Definitions(loggers={"progress": progress.logger()}))
        job = reporting.resolve_job_def("daily_refresh")
        raise_received()
        try:
            with progress.shown():
                result = job.execute_in_process(
                    instance=instance,
                    run_id=run_id,
                    asset_selection=list(keys),
                    # With a partition key, Dagster shows the run's day; it has no such display for ranges.
                    partition_key=str(last) if first == last else None,
                    tags={FIRST_DAY_TAG: str(first), LAST_DAY_TAG: str(last)} if first < last else None,
                    run_config={"loggers": {"progress": {}}},
                    raise_on_error=False,
                )
        except BaseException:  # before the first step, or after the last
            run = instance.get_run_by_id(run_id)
            if run and not run.is_finished:
                instance.report_run_canceled(run)
            raise
        raise_received()
        if result.dagster_run.status == DagsterRunStatus.CANCELED:
            raise KeyboardInterrupt
        return Ran(result, progress, time.monotonic() - started)


def _mark_canceling(instance: "DagsterInstance", run_id: str) -> None:
    run = instance.get_run_by_id(run_id)
    if run:
        instance.report_run_canceling(run)


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
    """Use the instance that `make dev` uses, so that its UI shows what runs here.

    Raises:
        ClickException: DAGSTER_HOME names something else than a folder.
    """
    from mds_assets.stack.settings import PROJECT_ROOT

    home = os.environ.get("DAGSTER_HOME") or str(PROJECT_ROOT / ".dagster")
    if not Path(home).is_absolute() or not Path(home).is_dir():
        raise click.ClickException(
            f"DAGSTER_HOME={home!r} is not the absolute path of a folder: create it, or unset it"
        )
    os.environ["DAGSTER_HOME"] = home


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
