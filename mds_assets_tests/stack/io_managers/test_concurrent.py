"""Promises of runs side by side: none removes what another has under way, none replaces what another read more for."""

from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pytest
from dagster import AssetKey, AssetsDefinition, ResourceDefinition

from mds_assets.stack.blocks import current_table, mart
from mds_assets.stack.lake import Files, Index, Lake, Partition, ReadSet
from mds_assets.stack.partitions import DAILY as DAYS
from mds_assets_tests.stack.io_managers.warehouse import (
    D0,
    D1,
    D2,
    D3,
    KINDS,
    PAIRS,
    Warehouse,
    metadata_by_day,
    pairs,
    passes_on,
    writes,
)


def change_during(warehouse: Warehouse, times: int) -> tuple[Callable[[Any], Any], list[int]]:
    """A function for `passes_on` during whose first runs another run replaces the source; and how often it ran."""
    ran: list[int] = []

    def change(rows: Any) -> Any:
        ran.append(len(ran))
        if len(ran) <= times:
            warehouse.run(writes(lambda _: pairs((len(ran), "newer", D1))), D1)
        return rows

    return change, ran


@pytest.mark.parametrize("kind", [duckdb.DuckDBPyRelation, pl.DataFrame], ids=["relation", "dataframe"])
def test_a_table_whose_input_changes_meanwhile_is_computed_again(warehouse: Warehouse, kind: type):
    source = writes(lambda _: pairs((0, "old", D1)))
    warehouse.run(source, D1)
    change, ran = change_during(warehouse, times=2)
    target = passes_on(source, kind, change=change)
    warehouse.run([source, target], D1, only=target)
    assert len(ran) == 3
    assert warehouse.content(target) == {f"day={D1}": [{"id": 2, "name": "newer"}]}


def test_a_day_that_is_added_to_the_window_meanwhile_is_seen(warehouse: Warehouse):
    source = writes(lambda days: pairs(*((1, "x", day) for day in days)))
    warehouse.run(source, D2)

    def change(rows: pl.LazyFrame) -> pl.LazyFrame:
        if not warehouse.file(source, D1).exists():
            warehouse.run(source, D1)
        return rows.with_columns(day=pl.lit(D2))

    target = passes_on(source, pl.LazyFrame, change=change, lookback=True)
    warehouse.run([source, target], D2, only=target)
    assert warehouse.content(target) == {f"day={D2}": [{"id": 1, "name": "x"}] * 2}


def test_a_change_of_a_day_that_was_not_read_is_none_of_its_business(warehouse: Warehouse):
    source = writes(lambda days: pairs(*((1, "x", day) for day in days)))
    warehouse.run(source, D0, D3)
    ran: list[int] = []

    def change(rows: Any) -> Any:
        ran.append(1)
        warehouse.run(source, D2, D3)
        return rows

    target = passes_on(source, pl.LazyFrame, change=change)
    warehouse.run([source, target], D0, D1, only=target)
    assert len(ran) == 1


def test_an_input_that_never_comes_to_rest_ends_the_run_by_name_and_leaves_the_old_table(warehouse: Warehouse):
    source = writes(lambda _: pairs((0, "old", D1)))
    target = passes_on(source, pl.DataFrame)
    warehouse.run([source, target], D1)
    before = warehouse.file(target, D1).read_bytes()
    change, ran = change_during(warehouse, times=99)
    result = warehouse.run(
        [source, passes_on(source, pl.DataFrame, change=change)], D1, only=passes_on(source, pl.DataFrame), raises=False
    )
    assert not result.success
    assert len(ran) == 11
    failure = result.get_step_failure_events()[0].step_failure_data.user_failure_data
    assert failure
    assert "marts/passed_on: staging/written of 2024-02-27 changed while it was read" in str(failure.description)
    assert warehouse.file(target, D1).read_bytes() == before


def test_a_table_that_is_computed_again_has_one_materialization(warehouse: Warehouse):
    source = writes(lambda _: pairs((0, "old", D1)))
    warehouse.run(source, D1)
    change, _ = change_during(warehouse, times=1)
    target = passes_on(source, pl.DataFrame, change=change)
    result = warehouse.run([source, target], D1, only=target)
    events = [event for event in result.get_asset_materialization_events() if event.asset_key == target.key]
    assert [event.materialization.metadata["dagster/column_schema"].value for event in events] == [PAIRS.dagster_schema]


class _OvertakenLake(Lake):
    """A lake in which another run replaces each file as soon as it is published."""

    @contextmanager
    def replacing(
        self, key: AssetKey, inputs: ReadSet, newest: str | None = None, index: tuple[str, Index] | None = None
    ) -> Generator[tuple[Path, dict[Path, Path]]]:
        with super().replacing(key, inputs, newest, index) as writing:
            yield writing
        for target in writing[1].values():
            (self.folder(key) / target).write_bytes(b"another run's")


@pytest.mark.parametrize("engine", ["duckdb", "polars"])
def test_a_run_reports_what_it_wrote_though_another_replaces_it_at_once(tmp_path: Path, engine: str):
    warehouse = Warehouse(tmp_path, preview_rows=5)
    warehouse.resources["lake"] = ResourceDefinition(lambda _: _OvertakenLake(str(tmp_path)))
    table = writes(lambda days: pairs(*((1, "own", day) for day in days)), engine=engine)
    reported = metadata_by_day(warehouse.run(table, D0, D1), table.key)
    assert [reported[str(day)]["dagster/partition_row_count"] for day in (D0, D1)] == [1, 1]
    assert [record.data for record in reported[str(D1)]["preview"].records] == [{"id": 1, "name": "own"}]
    assert reported[str(D0)]["dagster/uri"] == str(warehouse.file(table, D0))


class _ReplacedLake(Lake):
    """A lake in which another run replaces staging's file of D1 after it was listed once, and before it is read."""

    listed = 0

    def read_set(self, key: AssetKey, partitions: Iterable[Partition]) -> dict[Partition, Files]:
        file = Path(self.root, "staging/written", f"day={D1}", "data.parquet")
        if key != AssetKey(["staging", "written"]):
            return super().read_set(key, partitions)
        self.listed += 1
        if self.listed == 2:
            file.write_bytes(self.content)
        read_set = super().read_set(key, partitions)
        if self.listed == 1:
            self.content = file.read_bytes()
            file.write_bytes(b"PAR1, and the rest of another file, which is no table: PAR1")
        return read_set


def of_kind(kind: type) -> Callable[[AssetsDefinition], AssetsDefinition]:
    return lambda source: passes_on(source, kind, partitions=DAYS)


def a_mart(_: AssetsDefinition) -> AssetsDefinition:
    @mart(columns=PAIRS, window={"written": "staging/written"}, name="passed_on")
    def passed_on(written: pl.LazyFrame) -> pl.LazyFrame:
        return written.select("id", "name")

    return passed_on


def a_current_table(_: AssetsDefinition) -> AssetsDefinition:
    return current_table("newest", reads="staging/written", columns=PAIRS, key=["id"])


@pytest.mark.parametrize(
    "reader", [*map(of_kind, KINDS.values()), a_mart, a_current_table], ids=[*KINDS, "mart", "current_table"]
)
def test_a_step_that_fails_as_its_input_is_replaced_runs_again(
    warehouse: Warehouse, reader: Callable[[AssetsDefinition], AssetsDefinition]
):
    source = writes(lambda days: pairs(*((1, "x", day) for day in days)), partitions=DAYS)
    warehouse.run(source, D1)
    lake = _ReplacedLake(str(warehouse.root))
    warehouse.resources["lake"] = ResourceDefinition(lambda _: lake)
    target = reader(source)
    warehouse.run([source, target], D1, only=target)
    assert lake.listed > 1
    (rows,) = warehouse.content(target).values()
    assert [row["id"] for row in rows] == [1]
