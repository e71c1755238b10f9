"""Promises of `prune`: old runs go with all they left, and the catalog keeps what it knows of each table and day."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from dagster import (
    AssetCheckEvaluation,
    AssetCheckKey,
    AssetKey,
    AssetMaterialization,
    AssetRecordsFilter,
    DagsterInstance,
    DagsterRunStatus,
    DefaultScheduleStatus,
    Definitions,
    ExecuteInProcessResult,
    evaluate_automation_conditions,
    job,
    op,
)

from mds_assets.stack import build
from mds_assets.stack.condense import check_results, needed_rows
from mds_assets.stack.jobs import TRIGGER
from mds_assets.stack.prune import PruneConfig, verdicts
from mds_assets_tests.runs import Runs
from mds_assets_tests.stack import toy

DAYS = [date(2019, 3, day) for day in (1, 2, 3)]
STAGING = AssetKey(["staging", "orders"])
defs = build.build_definitions(Definitions(assets=[toy.orders, toy.staged, toy.revenue], resources={"shop": []}))
NEWEST = "with the newest materialisation of a table's day"


@pytest.fixture
def project(tmp_path: Path) -> Runs:
    return Runs.of(tmp_path, toy.orders, toy.staged, toy.revenue, shop=[])


@pytest.fixture
def instance(project: Runs) -> Iterator[DagsterInstance]:
    with DagsterInstance.from_config(str(project.home)) as instance:
        yield instance


def stage(project: Runs, instance: DagsterInstance, first: date, last: date | None = None) -> str:
    """The id of a run that stages these days."""
    return project.materialise(first, last, ["staging"], instance).run_id


def fail(instance: DagsterInstance) -> str:
    """The id of a run that failed."""

    @op
    def step() -> None:
        raise ValueError

    @job
    def failing() -> None:
        step()

    return failing.execute_in_process(instance=instance, raise_on_error=False).run_id


def prune(instance: DagsterInstance, **config: int) -> ExecuteInProcessResult:
    """The job, of any age and with none of the newest runs kept for that reason."""
    given = {"older_than_days": 0, "keep_newest": 0, **config}
    return defs.resolve_job_def("prune").execute_in_process(
        instance=instance, run_config={"ops": {"prune_runs": {"config": given}}}
    )


def kept(instance: DagsterInstance) -> set[str]:
    """The ids of the runs that are there, but for those of `prune` itself."""
    return {run.run_id for run in instance.get_runs() if run.job_name != "prune"}


def catalog(instance: DagsterInstance) -> dict[tuple[AssetKey, str | None], tuple[str, object, object]]:
    """Of the newest materialisation of each day of each table: run, versions, and what of its metadata has to last."""
    newest: dict[tuple[AssetKey, str | None], tuple[str, object, object]] = {}
    for key in instance.all_asset_keys():
        for record in instance.fetch_materializations(AssetRecordsFilter(key), limit=1000).records:
            event = record.asset_materialization
            assert event
            lasting = {name: event.metadata[name] for name in ("dagster/partition_row_count", "dagster/uri")}
            newest.setdefault((key, event.partition), (record.run_id, event.tags, lasting))
    return newest


def rows(project: Runs, query: str, *values: str) -> list[tuple[Any, ...]]:
    """Rows of Dagster's own index of events."""
    with closing(sqlite3.connect(project.home / "history/runs/index.db")) as con:
        return con.execute(query, values).fetchall()


@pytest.mark.slow(4)
def test_each_days_newest_materialisation_stays_whatever_its_age(project: Runs, instance: DagsterInstance):
    all_days, first_two, first = (stage(project, instance, DAYS[0], last) for last in (DAYS[2], DAYS[1], DAYS[0]))
    before = catalog(instance)
    assert [before[STAGING, str(day)][0] for day in DAYS] == [first, first_two, all_days]
    prune(instance)
    assert kept(instance) == {all_days, first_two, first}

    last = stage(project, instance, DAYS[2])
    before = catalog(instance)
    partitions = instance.get_materialized_partitions(STAGING)
    latest = instance.get_latest_materialization_event(STAGING)
    prune(instance)
    assert kept(instance) == {first_two, first, last}
    assert catalog(instance) == before
    assert instance.get_materialized_partitions(STAGING) == partitions == {str(day) for day in DAYS}
    assert instance.get_latest_materialization_event(STAGING) == latest


def test_without_that_a_deleted_run_takes_its_days_out_of_the_catalog(project: Runs, instance: DagsterInstance):
    """What Dagster does, and why `prune` has to look."""
    run = stage(project, instance, DAYS[0])
    instance.delete_run(run)
    assert catalog(instance) == {}
    assert instance.get_materialized_partitions(STAGING) == set()


def test_the_automation_goes_on_as_if_nothing_had_been_deleted(project: Runs, instance: DagsterInstance):
    layers = ["staging", "marts"]
    superseded = project.materialise(DAYS[0], DAYS[2], layers, instance).run_id
    project.materialise(DAYS[0], DAYS[2], layers, instance)
    cursor = evaluate_automation_conditions(project.definitions, instance).cursor
    prune(instance)
    assert superseded not in kept(instance)
    result = evaluate_automation_conditions(project.definitions, instance, cursor=cursor)
    assert result.total_requested == 0
    stage(project, instance, DAYS[2])
    result = evaluate_automation_conditions(project.definitions, instance, cursor=result.cursor)
    assert result.get_requested_partitions(AssetKey(["marts", "revenue"])) == {str(DAYS[2])}


def test_a_deleted_run_leaves_nothing_behind(project: Runs, instance: DagsterInstance):
    superseded, failed, newest = stage(project, instance, *DAYS[:1]), fail(instance), stage(project, instance, DAYS[0])
    history = project.home / "history" / "runs"
    logs = project.home / "storage"
    for run in (superseded, failed, newest):
        assert (history / f"{run}.db").exists()
        assert (logs / run).exists()
    prune(instance, keep_newest=2)  # with its own
    assert kept(instance) == {newest}
    left = [str(file.relative_to(project.home)) for file in project.home.rglob("*")]
    for run in (superseded, failed):
        assert [file for file in left if run in file] == []
        for database in project.home.rglob("*.db"):
            with closing(sqlite3.connect(database)) as con:
                for table in ("runs", "run_tags", "event_logs", "asset_check_executions"):
                    if con.execute("SELECT 1 FROM sqlite_master WHERE name = ?", [table]).fetchone():
                        rows = con.execute(f"SELECT count(*) FROM {table} WHERE run_id = ?", [run])  # noqa: S608
                        assert rows.fetchone() == (0,), (database, table)
    assert (history / f"{newest}.db").exists()
    assert (logs / newest).exists()
    assert len(instance.all_logs(newest)) > 5


def test_of_an_old_run_only_what_nothing_newer_replaces_is_left(project: Runs, instance: DagsterInstance):
    layers = ["raw", "staging", "marts"]
    old = project.materialise(DAYS[0], DAYS[2], layers, instance).run_id
    last = project.materialise(DAYS[2], DAYS[2], layers, instance).run_id
    before, partitions = catalog(instance), instance.get_materialized_partitions(STAGING)
    latest = instance.get_latest_materialization_event(STAGING)
    result = prune(instance)

    assert kept(instance) == {old, last}
    assert catalog(instance) == before
    assert instance.get_materialized_partitions(STAGING) == partitions
    assert instance.get_latest_materialization_event(STAGING) == latest  # whole: raw of GitHub reads its own
    of_run = "SELECT asset_key, partition, dagster_event_type, event FROM event_logs WHERE run_id = ?"
    assert {tuple(row[:3]) for row in rows(project, of_run, old)} == {
        (f'["{layer}", "{table}"]', str(day), "ASSET_MATERIALIZATION")
        for layer, table in (("raw", "orders"), ("staging", "orders"), ("marts", "revenue"))
        for day in DAYS[:2]
    }
    assert max(len(row[3]) for row in rows(project, of_run, old)) < 2000
    assert not rows(project, "SELECT 1 FROM asset_check_executions WHERE run_id = ?", old)
    orphans = "SELECT 1 FROM asset_event_tags WHERE event_id NOT IN (SELECT id FROM event_logs)"
    assert not rows(project, orphans)
    for run in (old, last):
        assert (project.home / "history/runs" / f"{run}.db").stat().st_size < 10_000
        assert not instance.all_logs(run)  # this process has read it before; another one has not
        with DagsterInstance.from_config(str(project.home)) as another:
            assert not another.all_logs(run)
            assert another.get_run_stats(run).steps_succeeded == 0
        assert not (project.home / "storage" / run).exists()
        left = instance.get_run_by_id(run)
        assert left
        assert left.tags["mds/condensed"] == "true"
        assert left.status == DagsterRunStatus.SUCCESS
    assert counts(result) == {"deleted": 0, "condensed": 2}
    assert counts(prune(instance)) == {"deleted": 1, "condensed": 0}  # the first run of `prune`


def counts(result: ExecuteInProcessResult) -> dict[str, object]:
    (event,) = [event for event in result.all_events if event.event_type_value == "STEP_OUTPUT"]
    return {name: event.step_output_data.metadata[name].value for name in ("deleted", "condensed")}


@pytest.mark.slow(12)
def test_the_records_of_an_old_day_are_bounded(project: Runs, instance: DagsterInstance):
    """What makes ten years of daily runs fit: docs/how-to/operate.md has the sum."""
    tables, days = 3, [date(2019, 3, day) for day in range(1, 9)]
    for day in days:
        project.materialise(day, instance=instance)
        project.definitions.resolve_job_def("table_checks").execute_in_process(instance=instance, raise_on_error=False)
    prune(instance)
    assert len(kept(instance)) == len(days) + 1  # with the newest run of `table_checks`
    (events, size) = rows(project, "SELECT count(*), sum(length(event)) FROM event_logs")[0]
    assert events <= tables * len(days) + 50  # with the run of `prune`
    assert size < events * 2500
    checks = project.definitions.resolve_asset_graph().asset_check_keys
    assert len(rows(project, "SELECT 1 FROM asset_check_executions")) == len(checks)
    logs = [log.stat().st_size for log in (project.home / "history/runs").glob("*-*.db")]
    assert sorted(logs)[-2] < 10_000  # apart from that of `prune` itself


def test_a_days_failure_and_each_checks_newest_result_stay_also_of_events_without_a_run(
    project: Runs, instance: DagsterInstance
):
    check = AssetCheckKey(STAGING, "is_valid")
    assert check in defs.resolve_asset_graph().asset_check_keys
    for day, passed in zip(DAYS, (True, False, True), strict=True):
        evaluation = AssetCheckEvaluation(
            asset_key=check.asset_key, check_name=check.name, passed=passed, partition=str(day)
        )
        instance.report_runless_asset_event(evaluation)
        for _ in range(2):
            instance.report_runless_asset_event(AssetMaterialization(STAGING, partition=str(day)))
    ids = [row[0] for row in rows(project, "SELECT id FROM asset_check_executions ORDER BY id")]
    prune(instance, older_than_days=1)
    assert len(rows(project, "SELECT 1 FROM asset_check_executions")) == len(ids) == 3
    prune(instance)
    assert [row[0] for row in rows(project, "SELECT id FROM asset_check_executions ORDER BY id")] == ids[1:]
    assert len(rows(project, "SELECT 1 FROM event_logs WHERE run_id = '' AND asset_key IS NOT NULL")) == len(DAYS)
    assert instance.get_materialized_partitions(STAGING) == {str(day) for day in DAYS}


@pytest.mark.slow(4)
def test_results_of_checks_go_also_where_dagster_left_them_behind(project: Runs, instance: DagsterInstance):
    gone, newest = (project.materialise(DAYS[0], instance=instance).run_id for _ in range(2))
    instance.delete_run(gone)
    of_run = "SELECT 1 FROM asset_check_executions WHERE run_id = ?"
    assert rows(project, of_run, gone)
    prune(instance)
    assert not rows(project, of_run, gone)
    assert rows(project, of_run, newest)


@pytest.mark.slow(6)
def test_space_goes_back_to_the_disk(project: Runs, instance: DagsterInstance):
    for _ in range(6):
        project.materialise(DAYS[0], instance=instance)
    index = project.home / "history/runs/index.db"
    before = index.stat().st_size
    prune(instance)
    assert index.stat().st_size < before / 2


def test_runs_under_way_stay(instance: DagsterInstance):
    """Also the one that prunes."""
    job = defs.resolve_job_def("daily_refresh")
    under_way = {
        instance.create_run_for_job(job, status=status).run_id
        for status in DagsterRunStatus
        if status not in (DagsterRunStatus.QUEUED, DagsterRunStatus.SUCCESS)  # queued ones need a code location
        and status not in (DagsterRunStatus.FAILURE, DagsterRunStatus.CANCELED)
    }
    assert len(under_way) > 3
    result = prune(instance)
    assert kept(instance) == under_way
    assert instance.get_run_by_id(result.run_id)
    assert prune(instance).success
    assert not instance.get_run_by_id(result.run_id)  # it had ended


def test_young_runs_the_newest_runs_and_the_newest_check_stay_and_each_says_why(
    project: Runs, instance: DagsterInstance
):
    made = project.materialise(DAYS[1], layers=["marts"], instance=instance).run_id
    checked = project.materialise(DAYS[0], layers=["marts"], instance=instance).run_id
    marts = [key for key in project.definitions.resolve_all_asset_keys() if key.has_prefix(["marts"])]
    for mart in marts:  # a newer materialisation, without the checks
        event = AssetMaterialization(mart, partition=str(DAYS[0]))
        instance.report_runless_asset_event(event)
    planned = instance.create_run_for_job(project.definitions.resolve_job_def("daily_refresh"))
    instance.report_run_failed(planned)
    failures = [fail(instance) for _ in range(3)]
    now = datetime.now(UTC)

    def found(days: int, newest: int, now: datetime) -> list[str | None]:
        config = PruneConfig(older_than_days=days, keep_newest=newest)
        needed = needed_rows(instance, defs.resolve_asset_graph().asset_check_keys, check_results(instance))
        reasons = verdicts(instance, config, needed, now)
        return [reasons[run] for run in (*failures, planned.run_id, checked, made)]

    assert found(90, 0, now) == ["not older than 90 days"] * 6
    later = now + timedelta(days=91)
    assert found(92, 0, later) == ["not older than 92 days"] * 6
    needed = ["with the newest evaluation of a check", NEWEST]
    assert found(90, 0, later) == [None] * 4 + needed
    assert found(90, 2, later) == [None, "among the newest 2", "among the newest 2", None, *needed]


def test_a_dry_run_says_what_would_go_and_deletes_nothing(project: Runs, instance: DagsterInstance):
    runs = {stage(project, instance, DAYS[0]), stage(project, instance, DAYS[0]), fail(instance)}
    result = prune(instance, dry_run=True)
    assert kept(instance) == runs
    said = [entry.message for entry in instance.all_logs(result.run_id) if "would delete" in entry.message]
    assert said == [f"would delete 2 of 4 runs and condense 1; kept 2; 1 in progress; 1 {NEWEST}"]
    assert prune(instance).success
    assert len(kept(instance)) == 1


def test_by_default_nothing_that_is_young_goes(project: Runs, instance: DagsterInstance):
    runs = {stage(project, instance, DAYS[0]), stage(project, instance, DAYS[0])}
    result = defs.resolve_job_def("prune").execute_in_process(instance=instance)
    assert kept(instance) == runs
    (event,) = [event for event in result.all_events if event.event_type_value == "STEP_OUTPUT"]
    told = {name: value.value for name, value in event.step_output_data.metadata.items()}
    assert told == {"deleted": 0, "condensed": 0, "old": 0, "kept": {"not older than 30 days": 2, "in progress": 1}}


def test_it_is_scheduled_weekly_and_off_until_somebody_switches_it_on():
    schedule = defs.resolve_schedule_def("prune_schedule")
    assert schedule.cron_schedule == "0 3 * * 0"
    assert schedule.execution_timezone == "UTC"
    assert schedule.default_status == DefaultScheduleStatus.STOPPED
    assert schedule.job_name == "prune"
    assert schedule.tags[TRIGGER] == "schedule"
