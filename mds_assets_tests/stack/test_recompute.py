"""Promises of tables made again in a side lake: what an edit changes, what an edit by hand did, what was known when."""

import shutil
import time
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow.parquet as pq
import pytest
from dagster import AssetKey

from mds_assets.stack import recompute
from mds_assets.stack.blocks import mart
from mds_assets.stack.compare import Difference
from mds_assets.stack.lake import Lake, LakeError
from mds_assets.stack.names import LOAD
from mds_assets.stack.partitions import days_between
from mds_assets_tests.runs import Rows, Runs
from mds_assets_tests.stack import toy
from mds_assets_tests.stack.toy_lakes import LAYERS, built_lake, copy_of, runs_in

YESTERDAY = datetime.now(UTC).date() - timedelta(days=1)
DAYS = days_between(YESTERDAY - timedelta(days=8), YESTERDAY)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Nine days of the toy."""
    return built_lake(tmp_path_factory.mktemp("built"), DAYS[0], DAYS[-1])


@pytest.fixture
def runs(built: Path, tmp_path: Path) -> Runs:
    return copy_of(built, tmp_path, preview_rows=5)


def diff(runs: Runs, first: date = DAYS[-3], **options: Any) -> dict[str, Difference]:
    found = recompute.diff(runs.definitions, Lake(str(runs.lake)), first, DAYS[-1], **options)
    return {each.name: each for each in found}


def verify(runs: Runs) -> recompute.Verification:
    return recompute.verify(runs.definitions, Lake(str(runs.lake)))


def other_mart(change: Callable[[pl.Expr], pl.Expr]) -> Any:
    @mart(columns=toy.REVENUE, latest={"orders": "staging/orders"})
    def revenue(orders: pl.LazyFrame) -> pl.LazyFrame:
        mean = change(pl.col("cents").mean())
        return orders.group_by("country").agg(orders=pl.len().cast(pl.Int64), mean=mean).sort("country")

    return revenue


def test_without_an_edit_there_is_nothing_to_compare(runs: Runs):
    assert diff(runs) == {}


def test_an_edit_is_compared_by_key_and_replaces_nothing(runs: Runs, tmp_path: Path):
    before = runs.contents()
    changed = diff(runs_in(tmp_path, mart=other_mart(lambda mean: mean + 1)))
    assert list(changed) == ["marts/revenue"]
    found = changed["marts/revenue"]
    assert (found.rows_before, found.rows_after, found.changed, dict(found.columns)) == (6, 6, 6, {"mean": 6})
    assert (found.added, found.removed, found.days, found.days_changed) == (0, 0, 3, 3)
    assert runs.contents() == before


def test_an_edit_without_effect_is_compared_and_equal(runs: Runs, tmp_path: Path):
    changed = diff(runs_in(tmp_path, mart=other_mart(lambda mean: mean * 1.0)))
    assert {name: each.is_empty for name, each in changed.items()} == {"marts/revenue": True}


def test_what_an_edit_changes_downstream_is_compared_too(runs: Runs, tmp_path: Path):
    edited = runs_in(tmp_path, staged=toy_staging(tmp_path, "total AS cents", "total + 100 AS cents"))
    changed = diff(edited, DAYS[-2])
    assert {name: dict(each.columns) for name, each in changed.items()} == {
        "staging/orders": {"cents": 8},  # three orders a day, and one that changes every day
        "staging/orders_now": {"cents": 25},  # of all days that the marts look back on
        "marts/revenue": {"mean": 4},
    }
    # The mart of a day looks back on days before the first: they are made by the edited query as well.
    samples = [each for each in changed["marts/revenue"].samples if each.column == "mean"]
    assert all(float(each.after or 0) - float(each.before or 0) == pytest.approx(100) for each in samples)


def toy_staging(folder: Path, old: str, new: str) -> Any:
    from mds_assets.stack.blocks import staging_table

    sql = (Path(toy.__file__).parent / "staging/orders.sql").read_text()
    assert old in sql
    (folder / "edited.sql").write_text(sql.replace(old, new))
    return staging_table(
        "orders", reads=["raw/orders"], columns=toy.STAGING, rejects="id IS NULL", sql=str(folder / "edited.sql")
    )


def test_a_lake_is_what_it_is_made_from(runs: Runs):
    before = runs.contents()
    found = verify(runs)
    assert all(each.is_empty for each in found.differences)
    assert (found.partitions, found.stale) == (2 * 9 + 1, 0)
    assert runs.contents() == before


def test_an_edit_by_hand_is_found(runs: Runs):
    file = runs.lake / f"marts/revenue/day={DAYS[4]}/data.parquet"
    rows = pq.ParquetFile(file).read()
    totals = [1.0, *rows.column("mean").to_pylist()[1:]]
    pq.write_table(rows.set_column(2, rows.schema.field(2), [totals]), file)  # its metadata stays
    different = [each for each in verify(runs).differences if not each.is_empty]
    assert [(each.name, each.changed, each.days_changed) for each in different] == [("marts/revenue", 1, 1)]


def test_what_is_stale_is_left_out(runs: Runs):
    assert runs.materialise(DAYS[8], layers=["raw"]).success
    found = verify(runs)
    assert all(each.is_empty for each in found.differences)
    assert found.stale == 3  # staging, the mart and the table without days
    assert found.partitions == 2 * 8


def published(runs: Runs, lake: Path) -> dict[str, Rows]:
    """What a lake serves."""
    there = Runs.__new__(Runs)
    there.lake = lake
    return {table: there.rows(table) for table in ("staging/orders", "marts/revenue")}


@pytest.mark.slow(13)
def test_a_lake_as_known_at_a_time_is_what_was_published_then(tmp_path: Path):
    sold = toy.sales()
    runs = Runs.of(tmp_path / "runs", toy.orders, toy.staged, toy.current, toy.revenue, shop=sold)
    times: dict[datetime, dict[str, Rows]] = {}
    for last in (4, 6, 8):
        if last == 6:  # the source corrects an old order: the day it changed lands again
            sold[-40] |= {"total": 12_345}
            assert runs.materialise(DAYS[1], DAYS[1]).success
            assert runs.materialise(DAYS[2], DAYS[4], ("staging", "marts")).success
        assert runs.materialise(DAYS[0] if last == 4 else DAYS[last - 1], DAYS[last], LAYERS).success
        # What early rows and second loads have made stale since, a run would make again.
        assert runs.materialise(DAYS[0], DAYS[last], ("staging", "marts")).success
        times[datetime.now(UTC)] = published(runs, runs.lake)
        time.sleep(0.01)
    lake = Lake(str(runs.lake))
    for number, (at, then) in enumerate(times.items()):
        root = str(tmp_path / f"then-{number}")
        side = recompute.known_at(runs.definitions, lake, at, root, None, DAYS[-1])
        assert published(runs, Path(side.root)) == then
    with pytest.raises(LakeError, match="no load that was there at 2020"):
        recompute.known_at(runs.definitions, lake, datetime(2020, 1, 1, tzinfo=UTC), str(tmp_path / "x"), None, DAYS[8])
    assert not (tmp_path / "x").exists()


def test_raw_files_say_when_they_were_published(runs: Runs):
    (file,) = Lake(str(runs.lake)).files(AssetKey(["raw", "orders"]), DAYS[0])
    assert LOAD.encode() in (pq.read_metadata(str(file)).metadata or {})


def test_a_lake_as_known_at_a_time_has_the_same_marts_when_fewer_days_are_requested(runs: Runs, tmp_path: Path):
    lake, at = Lake(str(runs.lake)), datetime.now(UTC)
    side = recompute.known_at(runs.definitions, lake, at, str(tmp_path / "then"), DAYS[-1], DAYS[-1])
    then = runs_in(tmp_path / "empty")
    then.lake = Path(side.root)
    assert then.days("marts/revenue") == DAYS[-1:]
    assert then.rows("marts/revenue") == runs.rows("marts/revenue", DAYS[-1])
    with pytest.raises(LakeError, match="no load that was there"):
        recompute.known_at(runs.definitions, lake, at, str(tmp_path / "x"), None, DAYS[0] - timedelta(days=1))
    assert not (tmp_path / "x").exists()


def test_a_new_table_is_compared_with_nothing(runs: Runs):
    shutil.rmtree(runs.lake / "marts/revenue")
    found = diff(runs)["marts/revenue"]
    assert (found.rows_before, found.rows_after, found.added) == (0, 6, 6)
