"""Promises of what a run prints without a logger of its own: what a reader acts on, and nothing that they don't."""

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from dagster import (
    AssetExecutionContext,
    AssetsDefinition,
    DagsterEventType,
    DagsterInstance,
    Failure,
    RetryRequested,
    asset,
    build_init_logger_context,
    build_init_resource_context,
)

from mds_assets.stack.blocks import raw as raw_block
from mds_assets.stack.blocks import raw_table
from mds_assets.stack.cli.progress import RunProgress
from mds_assets.stack.landing.days import Days
from mds_assets.stack.run_log import shorten_run_logs
from mds_assets_tests.runs import Runs
from mds_assets_tests.stack import toy

SOLD = toy.sales()
YESTERDAY = SOLD[-1]["updated_at"].date()
# A rule that stops nothing: the tables of the first day look back on days that were never landed.
WINDOW = "Asset check 'window_is_complete' on 'marts/revenue' did not pass."


@asset(key_prefix="marts")
def unsteady(context: AssetExecutionContext) -> None:
    """Fails once, then logs."""
    if not context.retry_number:
        raise RetryRequested(max_retries=1) from ConnectionError("a line that broke")
    context.log.info("more %s", "steady")
    context.log.debug("of no interest")


@raw_table(columns=toy.RAW, day="updated_at")
def unreached(days: Days) -> Iterator[dict[str, Any]]:
    """Its source does not answer."""
    raise ConnectionError("no route")
    yield {}


@raw_table(columns=toy.RAW, day="updated_at", key=["id"], output_required=False)
def out_of_requests(days: Days) -> Iterator[dict[str, Any]]:
    """Lands nothing."""
    days.skip("it needs 900 requests")
    yield {}


@asset(key_prefix="marts", deps=[out_of_requests])
def downstream() -> None:
    """Is skipped with it."""


@asset(key_prefix="marts")
def broken() -> None:
    """Fails."""
    raise ZeroDivisionError("a cause to act on")


@asset(key_prefix="marts")
def refused() -> None:
    """Fails, and says why."""
    raise Failure("TOKEN was refused: set another one")


def printed(
    folder: Path, capfd: pytest.CaptureFixture[str], *assets: AssetsDefinition, config: Any = None, settings: Any = None
) -> tuple[list[str], DagsterInstance]:
    """The lines that a run of all of it prints for yesterday, without their time; and Dagster's records of it."""
    runs = Runs.of(folder, toy.orders, toy.staged, toy.current, toy.revenue, *assets, shop=SOLD)
    capfd.readouterr()
    instance = DagsterInstance.ephemeral(settings=settings)
    runs.definitions.resolve_job_def("daily_refresh").execute_in_process(
        instance=instance, partition_key=str(YESTERDAY), run_config=config, raise_on_error=False
    )
    lines = capfd.readouterr().err.splitlines()
    return [line.partition(" - dagster - ")[2] or line for line in lines], instance


def test_a_run_prints_a_line_per_step_that_made_tables_and_each_failed_check(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
):
    lines, instance = printed(tmp_path, capfd, unsteady)
    (run,) = instance.get_runs()
    level = {line.partition(f" - {run.run_id[:8]} - ")[2]: line.partition(" - ")[0] for line in lines}
    steps = {message.split('"')[1] for message in level if message.startswith("Finished execution of step")}
    assert steps == {
        "raw__orders",
        "staging__orders",
        "staging__orders_now",
        "marts__revenue",
        "marts__unsteady",
        "warehouse",
    }
    assert {name for message, name in level.items() if message.startswith(WINDOW)} == {"WARNING"}
    assert level["more steady"] == "INFO"
    (retry,) = (message for message in level if "has requested a retry" in message)
    assert retry.endswith(". ConnectionError: a line that broke")
    assert level['Finished execution of run for "daily_refresh".'] == "INFO"
    assert set(level.values()) == {"INFO", "WARNING"}
    assert len(lines) < 20, "\n".join(lines)
    # The UI has them all.
    stored = instance.all_logs(run.run_id)
    assert len(stored) > 4 * len(lines)
    assert {"of no interest", "more steady"} <= {entry.user_message for entry in stored}


def test_a_failure_is_printed_once_with_its_stack_unless_its_code_says_what_is_wrong(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
):
    lines, _ = printed(tmp_path, capfd, broken, refused)
    failed = next(number for number, line in enumerate(lines) if 'Execution of step "marts__broken" failed' in line)
    assert lines[failed].startswith("ERROR")
    assert any(line.endswith("ZeroDivisionError: a cause to act on") for line in lines[failed:])
    assert any(f'File "{__file__}"' in line for line in lines[failed:])
    assert len([line for line in lines if line.endswith("Stack Trace:")]) == 1
    assert any(line.endswith('step "marts__refused" failed. TOKEN was refused: set another one') for line in lines)
    assert any(
        line.startswith("ERROR") and "Steps failed: ['marts__broken', 'marts__refused']" in line for line in lines
    )


def test_a_source_that_is_tried_again_says_why_in_a_sentence(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(raw_block, "_RETRY_SECONDS", 0)
    lines, instance = printed(tmp_path, capfd, unreached)
    retries = [line for line in lines if "has requested a retry" in line]
    assert [line.rpartition(" retry. ")[2] for line in retries] == ["raw/unreached: ConnectionError: no route"] * 2
    terminal = RunProgress(1, on_interrupt=lambda: None).logger().logger_fn(build_init_logger_context())
    (run,) = instance.get_runs()
    for entry in instance.all_logs(run.run_id, of_type=DagsterEventType.STEP_UP_FOR_RETRY):
        terminal.handle(logging.makeLogRecord({"levelno": 10, "dagster_event": entry.dagster_event}))
    assert capfd.readouterr().out.splitlines() == ["  Again: raw/unreached: ConnectionError: no route"] * 2


def test_a_skipped_table_says_why_and_what_is_downstream_says_nothing(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
):
    lines, _ = printed(tmp_path, capfd, out_of_requests, downstream)
    (skipped,) = (line for line in lines if "out_of_requests" in line or "downstream" in line)
    assert skipped.startswith("WARNING")
    assert skipped.endswith("raw/out_of_requests skipped: it needs 900 requests")


def test_a_logger_outside_of_a_run_prints_too(capfd: pytest.CaptureFixture[str]):
    shorten_run_logs()
    log = build_init_resource_context().log
    assert log
    log.info("opened")
    assert capfd.readouterr().err.endswith("opened\n")


def test_a_configured_level_takes_precedence(tmp_path: Path, capfd: pytest.CaptureFixture[str]):
    config = {"loggers": {"console": {"config": {"log_level": "DEBUG"}}}}
    for each in (
        printed(tmp_path / "run", capfd, config=config),
        printed(tmp_path / "instance", capfd, settings={"python_logs": {"python_log_level": "DEBUG"}}),
    ):
        assert any(line.startswith("DEBUG") and "STEP_START" in line for line in each[0])
