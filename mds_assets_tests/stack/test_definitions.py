"""Promises of what Dagster sees: a daily job and its schedule, described tables, and parts that can be swapped."""

import os
import subprocess
import sys
from contextlib import suppress
from datetime import UTC, date, datetime
from pathlib import Path

import pytest
from dagster import (
    AssetSpec,
    DagsterEventType,
    DagsterInstance,
    DagsterRunStatus,
    DefaultScheduleStatus,
    RunRequest,
    build_schedule_context,
)

from mds_assets.definitions import build_definitions, defs
from mds_assets.defs.github import marts, staging
from mds_assets.stack.settings import PROJECT_ROOT
from mds_assets.stack.table import SchemaError, declared_schema
from mds_assets_tests.project import Project

TABLES = {
    "raw/github_repos",
    "staging/repos",
    "marts/repos_per_language",
    "marts/daily_activity",
    "marts/repo_growth",
    "marts/language_trend",
}
OTHERS = {"reports/activity", "warehouse"}


def specs() -> dict[str, AssetSpec]:
    """What Dagster knows of each table."""
    return {spec.key.to_user_string(): spec for spec in defs.resolve_all_asset_specs()}


def test_the_tables_are_those_of_the_design():
    assert {key.to_user_string() for key in defs.resolve_all_asset_keys()} == TABLES | OTHERS


@pytest.mark.parametrize("table", sorted(TABLES))
def test_every_table_says_what_it_is(table: str):
    spec = specs()[table]
    assert spec.description
    assert spec.group_name == table.split("/")[0]
    assert "parquet" in spec.kinds
    assert not spec.owners
    for column in declared_schema(table, spec.metadata).columns:
        assert column.description
        assert column.description.endswith((".", ";")) or "." in column.description


def test_a_report_says_what_it_is_and_reads_the_marts_of_its_day():
    spec = specs()["reports/activity"]
    assert spec.description
    assert spec.group_name == "reports"
    asset = defs.resolve_assets_def(spec.key)
    for mart in (key for key in asset.dependency_keys if key.has_prefix(["marts"])):
        assert asset.get_partition_mapping(mart) is None


def test_the_definitions_load_without_what_draws_charts():
    code = "import sys, mds_assets.definitions; sys.exit(bool(sys.modules.keys() & {'altair', 'vl_convert'}))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_marts_are_declared_in_the_order_of_the_design():
    columns = {
        table: [column.name for column in declared_schema(table, specs()[table].metadata).columns] for table in TABLES
    }
    assert columns["marts/repos_per_language"] == ["org", "language", "repo_count", "avg_stars", "avg_forks"]
    assert columns["marts/daily_activity"] == ["org", "push_date", "push_count", "rolling_7d_avg"]
    growth = "org repo_id repo_name language stars stars_gained forks_gained first_seen last_seen"
    assert " ".join(columns["marts/repo_growth"]) == growth
    trend = "org language trend_date repo_count push_count rank rank_change"
    assert " ".join(columns["marts/language_trend"]) == trend


def test_the_schedule_runs_at_0005_utc_for_the_day_that_ended():
    schedule = defs.resolve_schedule_def("daily_refresh_schedule")
    assert schedule.cron_schedule == "5 0 * * *"
    assert schedule.execution_timezone == "UTC"
    assert schedule.default_status == DefaultScheduleStatus.RUNNING
    with DagsterInstance.ephemeral() as instance:
        tick = schedule.evaluate_tick(
            build_schedule_context(
                instance,
                scheduled_execution_time=datetime(2026, 3, 2, 0, 5, tzinfo=UTC),
                repository_def=defs.get_repository_def(),
            )
        )
    (request,) = tick.run_requests or []
    assert isinstance(request, RunRequest)
    assert request.partition_key == str(date(2026, 3, 1))
    assert request.tags["mds/trigger"] == "schedule"


@pytest.mark.parametrize("error", [SchemaError, KeyboardInterrupt])
@pytest.mark.parametrize("layer", ["staging", "marts"])
def test_a_step_that_finds_bad_data_or_is_cancelled_is_not_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, layer: str, error: type[BaseException]
):
    def fails(*_: object) -> None:
        raise error

    monkeypatch.setattr(
        {"staging": staging, "marts": marts}[layer], {"staging": "select", "marts": "as_of"}[layer], fails
    )
    with DagsterInstance.ephemeral() as instance:
        with suppress(KeyboardInterrupt):
            Project(tmp_path).materialise(date(2019, 3, 1), layers=[layer], instance=instance, raise_on_error=False)
        (run,) = instance.get_runs()
        events = [entry.dagster_event_type for entry in instance.all_logs(run.run_id) if entry.dagster_event_type]
    assert run.status == DagsterRunStatus.FAILURE
    assert DagsterEventType.STEP_FAILURE in events
    assert DagsterEventType.STEP_UP_FOR_RETRY not in events


def test_steps_run_in_process():
    job = defs.resolve_job_def("daily_refresh")
    assert job.executor_def.name == "in_process"


def test_a_resource_can_be_swapped():
    swapped = object()
    resources = build_definitions({"github": swapped}).resources or {}
    assert resources["github"] is swapped
    assert (defs.resources or {})["github"] is not swapped


@pytest.mark.parametrize("command", [["dg", "check", "defs"], ["dg", "list", "defs", "--json"]])
def test_it_loads_under_dg(command: list[str], tmp_path: Path):
    ended = subprocess.run(
        [Path(sys.executable).with_name(command[0]), *command[1:]],
        env=os.environ | {"DAGSTER_HOME": str(tmp_path), "VIRTUAL_ENV": str(PROJECT_ROOT / ".venv")},
        cwd=PROJECT_ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    if "list" in command:
        assert all(name in ended.stdout for name in TABLES | OTHERS)
