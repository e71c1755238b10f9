"""Promises of runs in a side lake: the same tables, and the real lake stays as it is, byte by byte."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import click
import duckdb
import polars as pl
import pytest
from dagster import AssetKey, DagsterInstance

from mds_assets.stack.blocks import mart
from mds_assets.stack.compare import compare
from mds_assets.stack.lake import Lake
from mds_assets.stack.names import WAREHOUSE
from mds_assets.stack.partitions import days_between
from mds_assets.stack.side_lake import ReadSets, add_loads_before, side_lake
from mds_assets.stack.side_run import run_in
from mds_assets_tests.runs import Runs
from mds_assets_tests.stack import toy

YESTERDAY = datetime.now(UTC).date() - timedelta(days=1)
DAYS = days_between(YESTERDAY - timedelta(days=3), YESTERDAY)
RAW, STAGED, NOW, REVENUE = (
    AssetKey(name.split("/")) for name in ("raw/orders", "staging/orders", "staging/orders_now", "marts/revenue")
)


@pytest.fixture
def runs(tmp_path: Path) -> Runs:
    """Four days of the toy."""
    runs = Runs.of(tmp_path, toy.orders, toy.staged, toy.current, toy.revenue, shop=toy.sales())
    assert runs.materialise(DAYS[0], DAYS[-1]).success
    return runs


@pytest.fixture
def lake(runs: Runs) -> Lake:
    return Lake(str(runs.lake))


def state(folder: Path) -> dict[str, tuple[bytes, int, int, int]]:
    """All bytes, times and modes of a lake, and which files they are; without its empty scratch folder."""
    assert not list((folder / ".tmp").iterdir())
    return {
        str(file): (file.read_bytes(), (stat := file.stat()).st_mtime_ns, stat.st_ino, stat.st_mode)
        for file in sorted(folder.rglob("*"))
        if file.is_file()
    }


def everything(lake: Lake) -> ReadSets:
    return {
        **{key: lake.read_set(key, lake.days(key)) for key in (RAW, STAGED, REVENUE)},
        NOW: lake.read_set(NOW, [None]),
    }


def test_a_run_in_a_side_lake_changes_nothing_in_the_real_one_and_gives_the_same_rows(
    runs: Runs, lake: Lake, capfd: pytest.CaptureFixture[str]
):
    before = state(runs.lake)
    with side_lake(lake, everything(lake)) as side, duckdb.connect() as con:
        capfd.readouterr()
        result = run_in(runs.definitions, side, [STAGED, NOW, REVENUE], DAYS[0], DAYS[-1])
        assert capfd.readouterr() == ("", "")
        made = {key for event in result.get_asset_materialization_events() if (key := event.asset_key)}
        assert made == {STAGED, NOW, REVENUE}
        for key, declared in ((STAGED, toy.STAGING), (REVENUE, toy.REVENUE)):
            old, new = (
                {file: None for files in each.read_set(key, DAYS).values() for file in files} for each in (lake, side)
            )
            assert len(old) == len(new) == len(DAYS)
            assert not {Path(str(file)).stat().st_ino for file in old} & {Path(str(file)).stat().st_ino for file in new}
            assert compare(con, key.to_user_string(), declared, old, new).is_empty
        assert not side.path(WAREHOUSE).exists()
    assert state(runs.lake) == before


def test_one_day_and_a_table_without_partitions_alone(runs: Runs, lake: Lake):
    with side_lake(lake, {RAW: lake.read_set(RAW, DAYS)}) as side:
        run_in(runs.definitions, side, [STAGED], DAYS[1], DAYS[1])
        assert side.days(STAGED) == [DAYS[1]]
        run_in(runs.definitions, side, [NOW], DAYS[1], DAYS[1])
        assert side.files(NOW, None)


def test_it_leaves_no_record_unless_there_is_an_instance(runs: Runs, lake: Lake):
    with DagsterInstance.ephemeral() as instance, side_lake(lake, everything(lake)) as side:
        run_in(runs.definitions, side, [STAGED], DAYS[0], DAYS[1], instance)
        assert len(instance.get_runs()) == 1
    assert len(runs.instance.get_runs()) == 1


def test_raw_never_runs_there(runs: Runs, lake: Lake):
    for keys in ([RAW], [RAW, STAGED], []):
        with pytest.raises(ValueError, match="cannot run in a side lake"):
            run_in(runs.definitions, lake, keys, DAYS[0], DAYS[0])


@mart(columns=toy.REVENUE, same_day={"orders": "staging/orders"})
def broken(orders: pl.LazyFrame) -> pl.LazyFrame:
    """Raises an error in the middle of a range."""
    raise RuntimeError("the sums\nare wrong")


@mart(columns=toy.REVENUE, same_day={"orders": "staging/orders"})
def invalid(orders: pl.LazyFrame) -> pl.LazyFrame:
    """Breaks its rule `orders > 0`."""
    return pl.LazyFrame({"country": ["A"], "orders": [0], "mean": [1.0]})


@pytest.fixture(params=[broken, invalid])
def bad(request: pytest.FixtureRequest) -> Iterator[Any]:
    yield request.param


def test_an_error_is_one_line_that_names_the_table(
    runs: Runs, lake: Lake, tmp_path: Path, bad: Any, capfd: pytest.CaptureFixture[str]
):
    own = Runs.of(tmp_path, toy.orders, toy.staged, bad, shop=[])
    with side_lake(lake, everything(lake)) as side:
        capfd.readouterr()
        with pytest.raises(click.ClickException) as raised:
            run_in(own.definitions, side, [bad.key], DAYS[0], DAYS[-1])
        assert capfd.readouterr() == ("", "")
    assert raised.value.message.startswith(bad.key.to_user_string())
    assert "\n" not in raised.value.message


def test_a_lake_that_cannot_be_written_is_one_line(runs: Runs, tmp_path: Path):
    (tmp_path / "file").touch()
    with pytest.raises(click.ClickException, match="cannot be written") as raised:
        run_in(runs.definitions, Lake(str(tmp_path / "file/lake")), [STAGED], DAYS[0], DAYS[0])
    assert "\n" not in raised.value.message


def test_tables_as_they_would_have_been_at_a_time(runs: Runs, lake: Lake):
    """Two loads later, staging of the raw that was there before is what it was before."""
    staged = runs.rows("staging/orders")
    at = datetime.now(UTC)
    newer = [{**order, "total": 1} for order in toy.sales()]
    later = Runs.of(runs.lake.parent, toy.orders, toy.staged, toy.current, toy.revenue, shop=newer)
    assert later.materialise(DAYS[0], DAYS[-1]).success
    assert runs.rows("staging/orders") != staged
    with side_lake(lake, {}) as side:
        add_loads_before(lake, side, {RAW: DAYS}, at)
        run_in(runs.definitions, side, [STAGED], DAYS[0], DAYS[-1])
        there = Runs(runs.lake.parent / "x")
        there.lake = Path(side.root)
        assert there.rows("staging/orders") == staged
