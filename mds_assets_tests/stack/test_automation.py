"""Promises of the automation: a mart follows the days of staging that it looks back on, once, and nothing else does.

Dagster evaluates the conditions here as its daemon does, on an instance with the records of real runs where a run's own
course matters, and elsewhere with the materialisations alone. `test_daemon.py` has the daemon do it.
"""

import shutil
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from dagster import (
    AssetCheckEvaluation,
    AssetIn,
    AssetKey,
    AssetMaterialization,
    AssetRecordsFilter,
    AssetsDefinition,
    DagsterInstance,
    DagsterRunStatus,
    DefaultSensorStatus,
    Definitions,
    asset,
    evaluate_automation_conditions,
)
from dagster._core.definitions.asset_checks.asset_check_evaluation import AssetCheckEvaluationTargetMaterializationData
from dagster._core.definitions.asset_daemon_cursor import AssetDaemonCursor
from dagster._core.definitions.automation_condition_sensor_definition import AutomationConditionSensorDefinition
from dagster._core.definitions.automation_tick_evaluation_context import build_run_requests

from mds_assets.stack import build
from mds_assets.stack.automation import FOLLOWS_STAGING
from mds_assets.stack.blocks import mart
from mds_assets.stack.jobs import TRIGGER, WHY
from mds_assets.stack.partitions import DAILY, SINGLE_RUN, days_between, lookback
from mds_assets_tests.runs import Runs
from mds_assets_tests.stack import toy

LAYERS = ("raw", "staging", "marts", "reports")
STAGING = AssetKey(["staging", "orders"])
REPORT = AssetKey(["reports", "sales"])
BROKEN: set[str] = set()  # the marts that fail


def _looks(name: str, **reads: Any) -> AssetsDefinition:
    def looks(orders: pl.LazyFrame) -> pl.LazyFrame:
        if name in BROKEN:
            raise ZeroDivisionError
        return orders.select("country", orders=pl.lit(1, pl.Int64), mean=pl.lit(None, pl.Float64)).unique("country")

    return mart(columns=replace(toy.REVENUE, reconciles=None), name=name, description="A mart.", **reads)(looks)


@asset(
    key=REPORT.path,
    ins={
        "mart": AssetIn(key=["marts", "failing"]),
        "orders": AssetIn(key=["staging", "orders"], partition_mapping=lookback(7)),
    },
    partitions_def=DAILY,
    backfill_policy=SINGLE_RUN,
    group_name="reports",
)
def report(mart: pl.LazyFrame, orders: pl.LazyFrame) -> None:
    """A page of a mart and of what it looks back on."""


ASSETS = (
    toy.orders,
    toy.staged,
    _looks("alone", window={"orders": "staging/orders"}, pool="other"),
    _looks("failing", latest={"orders": "staging/orders"}),
    _looks("sound", latest={"orders": "staging/orders"}),
    report,
)
defs = build.build_definitions(Definitions(assets=ASSETS, resources={"shop": []}))
MARTS = sorted(key for key in defs.resolve_all_asset_keys() if key.has_prefix(["marts"]))
FAILING = AssetKey(["marts", "failing"])
START = date(2019, 1, 1)  # MDS_START_DATE of the tests
FIRST = date(2019, 3, 1)


def runs_of(folder: Path) -> Runs:
    """The toy with three marts and a report, whose shop has no orders."""
    return Runs.of(folder, *ASSETS, shop=[])


def later(days: int) -> date:
    """The day that lies so many days after `FIRST`."""
    return FIRST + timedelta(days=days)


@dataclass
class Automation:
    """The project on an instance of its own, and the daemon's evaluations of its conditions, one after the other.

    Attributes:
        project: A lake that is empty: raw is never run here, so that staging has no rows.
        instance: Dagster's records.
        report: Days of the report that the last evaluation asked for; it is there where a test runs it.
    """

    project: Runs
    instance: DagsterInstance
    cursor: AssetDaemonCursor | None = field(default=None, init=False)
    report: list[date] = field(default_factory=list[date], init=False)

    def run(self, layers: tuple[str, ...], first: date, last: date | None = None, *, succeeds: bool = True) -> None:
        """Materialise these layers of these days in one run."""
        ended = self.project.materialise(first, last, layers, self.instance, raise_on_error=False)
        assert ended.success == succeeds

    def make(self, layers: tuple[str, ...], first: date, last: date | None = None) -> None:
        """Record that these layers of these days were materialised, in their order."""
        for layer in layers:
            for key in (key for key in defs.resolve_all_asset_keys() if key.path[0] == layer):
                for day in days_between(first, last or first):
                    self.instance.report_runless_asset_event(AssetMaterialization(key, partition=str(day)))

    def repair(self, first: date, last: date | None = None) -> None:
        """Staging alone."""
        self.make(("staging",), first, last)

    def find_bad(self, day: date) -> None:
        """Record that a day of staging, as it is now, is not as declared."""
        records = AssetRecordsFilter(STAGING, asset_partitions=[str(day)])
        (newest,) = self.instance.fetch_materializations(records, limit=1).records
        target = AssetCheckEvaluationTargetMaterializationData(
            storage_id=newest.storage_id, run_id="", timestamp=newest.timestamp
        )
        self.instance.report_runless_asset_event(
            AssetCheckEvaluation(
                asset_key=STAGING,
                check_name="is_valid",
                passed=False,
                partition=str(day),
                target_materialization_data=target,
            )
        )

    def tick(self, *marts: AssetKey) -> list[date]:
        """One evaluation: the days that are asked for, which are the same of each mart, or of each of these."""
        result = evaluate_automation_conditions(self.project.definitions, self.instance, cursor=self.cursor)
        self.cursor = result.cursor
        asked = {
            mart: sorted(date.fromisoformat(str(day)) for day in result.get_requested_partitions(mart))
            for mart in MARTS
        }
        self.report = sorted(date.fromisoformat(str(day)) for day in result.get_requested_partitions(REPORT))
        assert result.total_requested == sum(map(len, [*asked.values(), self.report]))  # and of nothing else
        (days,) = {tuple(days) for mart, days in asked.items() if mart in (marts or MARTS)}
        return list(days)


@pytest.fixture(scope="module")
def ten_days(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten days from `FIRST` that were staged, with all their marts but the one of the sixth."""
    folder = tmp_path_factory.mktemp("ten days")
    project = runs_of(folder)
    with DagsterInstance.from_config(str(project.home)) as instance:
        automation = Automation(project, instance)
        automation.make(("staging",), FIRST, later(9))
        automation.make(("marts",), FIRST, later(4))
        automation.make(("marts",), later(6), later(9))
    return folder


@pytest.fixture
def automation(tmp_path: Path, ten_days: Path) -> Iterator[Automation]:
    """A copy of `ten_days`, evaluated once."""
    shutil.copytree(ten_days, tmp_path, dirs_exist_ok=True)
    project = runs_of(tmp_path)
    with DagsterInstance.from_config(str(project.home)) as instance:
        automation = Automation(project, instance)
        assert automation.tick() == []
        yield automation


def test_every_mart_and_report_and_nothing_else_follows_staging():
    conditions = {spec.key: spec.automation_condition for spec in defs.resolve_all_asset_specs()}
    assert {key for key, condition in conditions.items() if condition} == {*MARTS, REPORT}
    assert set(conditions.values()) == {FOLLOWS_STAGING, None}


def test_one_sensor_that_is_on_evaluates_them_all():
    (sensor,) = [
        sensor
        for sensor in defs.get_repository_def().sensor_defs
        if isinstance(sensor, AutomationConditionSensorDefinition)
    ]
    assert sensor.name == "follow_staging"
    assert sensor.description
    assert sensor.default_status == DefaultSensorStatus.RUNNING
    assert sensor.run_tags == {TRIGGER: "automation", WHY: "a table that these read was materialized again"}
    assert sorted(sensor.asset_selection.resolve(defs.resolve_asset_graph())) == [*MARTS, REPORT]


def test_a_repaired_day_asks_for_the_marts_that_look_back_on_it_and_were_there(automation: Automation):
    automation.repair(later(1))
    assert automation.tick() == [later(day) for day in (1, 2, 3, 4, 6, 7)]


def test_a_bad_day_blocks_only_the_days_that_look_back_on_it_until_it_is_repaired(automation: Automation):
    automation.repair(later(1))
    automation.find_bad(later(3))
    assert automation.tick() == [later(1), later(2)]
    assert automation.tick() == []
    automation.repair(later(3))
    assert automation.tick() == [later(day) for day in (3, 4, 6, 7, 8, 9)]


def test_days_after_the_newest_are_not_requested(automation: Automation):
    automation.repair(later(9))
    assert automation.tick() == [later(9)]


def test_yesterday_is_the_last_day_that_is_requested(automation: Automation):
    yesterday = datetime.now(UTC).date() - timedelta(days=1)
    automation.make(("staging", "marts"), yesterday)
    assert automation.tick() == []
    automation.repair(yesterday)
    assert automation.tick() == [yesterday]


def test_the_first_day_of_all_asks_for_its_window(automation: Automation):
    automation.make(("staging", "marts"), START, START + timedelta(days=8))
    assert automation.tick() == []
    automation.repair(START)
    assert automation.tick() == days_between(START, START + timedelta(days=6))


def test_a_change_is_requested_once_and_settled_by_the_run(automation: Automation):
    automation.repair(later(0))
    assert automation.tick() == [*days_between(FIRST, later(4)), later(6)]
    assert automation.tick() == []
    automation.make(("marts",), FIRST, later(4))
    automation.make(("marts",), later(6))
    assert automation.tick() == []
    assert automation.tick() == []


def test_the_daily_run_asks_for_nothing(automation: Automation):
    """Neither as a whole nor when the evaluation falls between its steps."""
    automation.run(LAYERS, later(10))
    assert automation.tick() == automation.report == []
    automation.make(("raw", "staging"), later(11))
    assert automation.tick() == []
    automation.make(("marts", "reports"), later(11))
    assert automation.tick() == automation.report == []
    assert automation.tick() == automation.report == []


def test_a_day_that_is_repaired_with_its_marts_asks_for_the_later_days_only(automation: Automation):
    automation.run(LAYERS, later(1))
    assert automation.tick() == [later(day) for day in (2, 3, 4, 6, 7)]


def test_a_range_that_is_repaired_with_its_marts_asks_for_the_days_after_it_only(automation: Automation):
    automation.run(LAYERS, FIRST, later(4))
    assert automation.tick() == days_between(later(6), later(9))


def test_a_range_of_staging_asks_for_all_its_days_at_once_in_one_backfill(automation: Automation):
    automation.repair(FIRST, later(9))
    before = automation.cursor
    assert automation.tick() == days_between(FIRST, later(4)) + days_between(later(6), later(9))
    result = evaluate_automation_conditions(automation.project.definitions, automation.instance, cursor=before)
    graph = automation.project.definitions.resolve_asset_graph()
    (request,) = build_run_requests([found.true_subset for found in result.results], graph, {}, emit_backfills=True)
    assert request.requires_backfill_daemon()


def test_a_mart_that_ran_after_the_repair_is_not_requested_and_one_before_it_is(automation: Automation):
    """Both between two evaluations."""
    automation.repair(later(8))
    automation.make(("marts",), later(8))
    assert automation.tick() == [later(9)]
    automation.make(("marts",), later(8), later(9))
    automation.repair(later(9))
    assert automation.tick() == [later(9)]


def test_a_report_is_requested_with_its_marts_and_settled_by_the_same_run(automation: Automation):
    automation.make(("reports",), later(6), later(9))
    assert automation.tick() == []
    assert automation.report == []
    automation.repair(later(8))
    assert automation.tick() == automation.report == [later(8), later(9)]
    automation.make(("marts", "reports"), later(8), later(9))
    assert automation.tick() == automation.report == []
    automation.make(("marts",), later(7))
    assert automation.tick() == []
    assert automation.report == [later(7)]


@contextmanager
def broken(name: str) -> Generator[None]:
    """A mart that fails meanwhile."""
    BROKEN.add(name)
    try:
        yield
    finally:
        BROKEN.discard(name)


def test_a_mart_that_fails_is_requested_again_only_after_the_next_repair(automation: Automation):
    automation.repair(later(9))
    assert automation.tick() == [later(9)]
    with broken("failing"):
        automation.run(("marts",), later(9), succeeds=False)
    assert automation.tick() == []
    assert automation.tick() == []
    automation.repair(later(9))
    assert automation.tick() == [later(9)]


def test_a_mart_that_fails_in_the_run_that_staged_is_requested(automation: Automation):
    with broken("failing"):
        automation.run(("staging", "marts"), later(9), succeeds=False)
    assert automation.tick(FAILING) == [later(9)]
    assert automation.tick() == []


@pytest.mark.parametrize(("key", "day", "waiting"), [(STAGING, 8, [8, 9]), (MARTS[0], 9, [9])], ids=["staging", "mart"])
@pytest.mark.parametrize("status", [DagsterRunStatus.NOT_STARTED, DagsterRunStatus.STARTED])
def test_a_mart_is_not_requested_while_a_run_is_at_its_window_or_itself(
    automation: Automation, key: AssetKey, day: int, waiting: list[int], status: DagsterRunStatus
):
    run = automation.instance.create_run_for_job(
        automation.project.definitions.resolve_job_def("daily_refresh").get_subset(asset_selection={key}),
        asset_selection=frozenset({key}),
        tags={"dagster/partition": str(later(day))},
        status=status,
    )
    automation.repair(later(7))
    assert automation.tick(MARTS[0]) == [later(number) for number in (7, 8, 9) if number not in waiting]
    assert automation.tick(MARTS[0]) == []
    automation.instance.report_run_canceled(run)
    assert automation.tick(MARTS[0]) == [later(number) for number in waiting]


def test_a_lake_that_is_there_when_automation_begins_asks_for_nothing(automation: Automation):
    automation.repair(later(1))
    automation.cursor = None
    assert automation.tick() == []
    assert automation.tick() == []


def test_what_happened_while_no_daemon_ran_is_seen_later(automation: Automation):
    with DagsterInstance.from_config(str(automation.project.home)) as of_another_process:
        Automation(automation.project, of_another_process).repair(later(7))
    automation.make(LAYERS, later(10))
    assert automation.tick() == [later(7), later(8), later(9)]


def test_a_run_of_very_many_days_asks_for_nothing(tmp_path: Path):
    """Dagster compares no times of more than 100 days that changed at once."""
    project = runs_of(tmp_path)
    with DagsterInstance.from_config(str(project.home)) as instance:
        automation = Automation(project, instance)
        automation.tick()
        for key in (STAGING, MARTS[0]):
            for day in days_between(START, START + timedelta(days=104)):
                instance.report_runless_asset_event(AssetMaterialization(key, partition=str(day)))
        assert automation.tick() == []


def test_a_current_table_follows_the_table_it_reads_once(tmp_path: Path):
    """Also where the run of a day has made both, which settles it."""
    runs = Runs.of(tmp_path, toy.orders, toy.staged, toy.current, shop=[])
    current = AssetKey(["staging", "orders_now"])
    with DagsterInstance.from_config(str(runs.home)) as instance:
        runs.materialise(FIRST, instance=instance)
        cursor = evaluate_automation_conditions(runs.definitions, instance).cursor
        runs.materialise(later(1), instance=instance)
        result = evaluate_automation_conditions(runs.definitions, instance, cursor=cursor)
        assert result.total_requested == 0
        runs.materialise(FIRST, layers=["raw"], instance=instance)
        instance.report_runless_asset_event(AssetMaterialization(STAGING, partition=str(FIRST)))
        result = evaluate_automation_conditions(runs.definitions, instance, cursor=result.cursor)
        assert result.get_num_requested(current) == result.total_requested == 1
        result = evaluate_automation_conditions(runs.definitions, instance, cursor=result.cursor)
        assert result.total_requested == 0
