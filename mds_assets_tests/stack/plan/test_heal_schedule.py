"""Promises of the schedule `heal_schedule`: one run at a time, within its bounds, until nothing is missing."""

import shutil
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from dagster import DagsterInstance, Definitions, RunRequest, SkipReason, build_schedule_context

from mds_assets.stack import build
from mds_assets.stack.jobs import TRIGGER
from mds_assets.stack.settings import settings
from mds_assets_tests.runs import Runs
from mds_assets_tests.stack import toy
from mds_assets_tests.stack.plan.test_plan import DAYS
from mds_assets_tests.stack.toy_lakes import built_lake, copy_of


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve days of the toy."""
    return built_lake(tmp_path_factory.mktemp("built"), DAYS[0], DAYS[-1])


@pytest.fixture
def runs(built: Path, tmp_path: Path) -> Runs:
    return copy_of(built, tmp_path)


def tick(runs: Runs, instance: DagsterInstance, **given: Any) -> RunRequest | SkipReason:
    """What the schedule answers with these settings."""
    own = settings.model_copy(update={"data_dir": str(runs.lake), **given})
    assets = [toy.orders, toy.staged, toy.current, toy.revenue]
    definitions = build.build_definitions(Definitions(assets=assets, resources={"shop": toy.sales()}), settings=own)
    schedule = definitions.resolve_schedule_def("heal_schedule")
    repository = definitions.get_repository_def()
    with build_schedule_context(instance=instance, repository_def=repository) as context:
        ticked = schedule.evaluate_tick(context)
    return ticked.run_requests[0] if ticked.run_requests else SkipReason(ticked.skip_message or "")


def test_it_is_off_by_default(runs: Runs):
    with DagsterInstance.local_temp(str(runs.home)) as instance:
        assert tick(runs, instance) == SkipReason("MDS_HEAL_DAYS is 0.")


def test_it_requests_the_first_run_of_the_plan(runs: Runs):
    shutil.rmtree(runs.lake / f"raw/orders/day={DAYS[9]}")
    shutil.rmtree(runs.lake / f"raw/orders/day={DAYS[1]}")
    with DagsterInstance.local_temp(str(runs.home)) as instance:
        request = tick(runs, instance, heal_days=5)
        assert isinstance(request, RunRequest)
        assert request.partition_key == str(DAYS[9])  # day 1 is too long ago
        assert {key.to_user_string() for key in request.asset_selection or ()} == {
            "raw/orders", "staging/orders", "staging/orders_now", "warehouse",
        }  # fmt: skip
        assert request.tags[TRIGGER] == "heal"
        again = tick(runs, instance, heal_days=5)
        assert isinstance(again, RunRequest)
        assert again.run_key == request.run_key  # Dagster starts it once
        request = tick(runs, instance, heal_days=12)
        assert isinstance(request, RunRequest)
        assert request.partition_key == str(DAYS[1])


def test_several_days_are_a_range(runs: Runs):
    for day in (2, 3, 4):
        (runs.lake / f"staging/orders/day={DAYS[day]}/data.parquet").unlink()
    with DagsterInstance.local_temp(str(runs.home)) as instance:
        request = tick(runs, instance, heal_days=12)
    assert isinstance(request, RunRequest)
    assert (request.tags["dagster/asset_partition_range_start"], request.tags["dagster/asset_partition_range_end"]) == (
        str(DAYS[2]),
        str(DAYS[4]),
    )


def test_nothing_missing_is_nothing_to_do(runs: Runs):
    with DagsterInstance.local_temp(str(runs.home)) as instance:
        since = DAYS[-1] - timedelta(days=3)
        assert tick(runs, instance, heal_days=4) == SkipReason(f"Nothing is missing or stale since {since}.")
