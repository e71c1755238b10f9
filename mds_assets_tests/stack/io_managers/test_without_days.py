"""Promises of a table without partitions: one file in the table's folder, replaced whole, in the same five types."""

from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from dagster import AssetIn, AssetsDefinition, Failure, asset

from mds_assets.stack.partitions import SINGLE_RUN
from mds_assets.stack.table import SchemaError, Table, column, table
from mds_assets_tests.stack.io_managers.test_types import ALL_TYPES, all_types
from mds_assets_tests.stack.io_managers.warehouse import (
    D1,
    D2,
    D3,
    DAILY,
    ENGINES,
    KINDS,
    PAIRS,
    Rows,
    Warehouse,
    as_kind,
    declared_types,
    metadata_by_day,
    pairs,
    passes_on,
    reads,
    to_rows,
    types_of,
    writes,
)

FILE = "staging/written/data.parquet"


def names(*rows: tuple[int | None, str | None]) -> pa.Table:
    """Rows of `PAIRS` without `day`."""
    return pairs(*((number, name, None) for number, name in rows)).drop_columns("day")


def undated(make: Callable[[], Any], name: str = "written", *, declared: Table = PAIRS, engine: str = "duckdb"):
    return writes(lambda _: make(), name, declared=declared, engine=engine, partitions=None)


def look(warehouse: Warehouse, source: AssetsDefinition, kind: object = pa.Table) -> Rows:
    """What an asset without partitions reads of `source`."""
    seen: list[Rows] = []
    looks = reads(source, kind, lambda rows: seen.append(to_rows(rows)), partitions=None)
    warehouse.run([source, looks], None, only=looks)
    return seen[0]


@pytest.mark.parametrize("written_by", ENGINES)
@pytest.mark.parametrize("kind", KINDS)
def test_all_types_are_written_and_read_as_any_of_the_five(warehouse: Warehouse, kind: str, written_by: str):
    rows = all_types(D1).drop_columns("day")
    source = undated(lambda: as_kind(rows, kind), declared=ALL_TYPES, engine=written_by)
    seen: dict[str, tuple[dict[str, str], Rows]] = {}

    def remember(read: Any, name: str) -> None:
        seen[name] = types_of(read), to_rows(read)

    looks = [
        reads(source, annotation, lambda read, name=name: remember(read, name), name, partitions=None)
        for name, annotation in KINDS.items()
    ]
    warehouse.run([source, *looks], None)
    assert seen == {name: (declared_types(ALL_TYPES, name, partitioned=False), to_rows(rows)) for name in KINDS}
    assert [path for path in warehouse.listing() if path.endswith(".parquet")] == [FILE]


@pytest.mark.parametrize(("engine", "default"), [("duckdb", duckdb.DuckDBPyRelation), ("polars", pl.LazyFrame)])
def test_an_input_without_annotation_gets_the_lazy_type_of_its_engine(warehouse: Warehouse, engine: str, default: type):
    source = undated(lambda: names((1, "x")), engine=engine)
    seen: list[type] = []
    looks = reads(source, None, lambda rows: seen.append(type(rows)), partitions=None)
    warehouse.run([source, looks], None)
    assert seen == [default]


@pytest.mark.parametrize("kind", KINDS)
def test_each_day_of_a_partitioned_asset_reads_the_whole_table(warehouse: Warehouse, kind: str):
    source = undated(lambda: names((1, "a"), (2, "b")))
    orders = writes(lambda days: pairs(*((day.day % 2 + 1, "order", day) for day in days)), "orders")
    warehouse.run(source, None)
    seen: list[Rows] = []

    @asset(
        key=["marts", "joined"],
        ins={"customers": AssetIn(key=source.key), "orders": AssetIn(key=orders.key)},
        partitions_def=DAILY,
        backfill_policy=SINGLE_RUN,
        io_manager_key="polars_io_manager",
        metadata=PAIRS.metadata,
    )
    def joined(customers: Any, orders: pl.LazyFrame) -> pl.LazyFrame:
        seen.append(to_rows(customers))
        known = pl.LazyFrame(seen[-1], schema={"id": pl.Int64, "name": pl.String})
        return orders.select("id", "day").join(known, on="id").select("id", "name", "day")

    looks = reads(source, KINDS[kind], lambda rows: seen.append(to_rows(rows)))
    warehouse.run([source, orders, joined, looks], D1, D3, only=[orders, joined, looks])
    assert seen == [[{"id": 1, "name": "a"}, {"id": 2, "name": "b"}]] * 2
    assert warehouse.content(joined) == {
        f"day={D1}": [{"id": 2, "name": "b"}],
        f"day={D2}": [{"id": 1, "name": "a"}],
        f"day={D3}": [{"id": 2, "name": "b"}],
    }


@pytest.mark.parametrize("engine", ENGINES)
def test_it_is_made_from_all_days_and_read_by_each_day_in_one_run_of_a_range(warehouse: Warehouse, engine: str):
    days = writes(lambda days: pairs(*((day.day, "x", day) for day in days)), "days", engine=engine)
    newest = table([column("newest", "DATE", "The newest day.")])
    current = passes_on(
        days,
        pl.LazyFrame,
        "current",
        change=lambda rows: rows.select(newest=pl.col("day").max()),
        declared=newest,
        engine=engine,
        partitions=None,
    )
    seen: list[Rows] = []
    looks = reads(current, duckdb.DuckDBPyRelation, lambda rows: seen.append(to_rows(rows)))
    warehouse.run(days, D3)
    warehouse.run([days, current, looks], D1, D2)
    assert seen == [[{"newest": D3}]]
    assert warehouse.content(current) == {".": [{"newest": D3}]}


@pytest.mark.parametrize("kind", KINDS)
def test_a_run_replaces_the_whole_table_and_nothing_else(warehouse: Warehouse, kind: str):
    other = undated(lambda: names((9, "other")), "other")
    warehouse.run([undated(lambda: names((1, "old"), (2, "old"))), other], None)
    before = warehouse.listing()
    source = undated(lambda: as_kind(names((3, "new")), kind))
    warehouse.run(source, None)
    after = warehouse.listing()
    assert warehouse.content(source) == {".": [{"id": 3, "name": "new"}]}
    assert {path for path in before | after if before.get(path) != after.get(path)} == {FILE}


@pytest.mark.slow(1)
@pytest.mark.parametrize("kind", KINDS)
def test_a_reader_of_the_old_table_keeps_it_whole_while_it_is_replaced(warehouse: Warehouse, kind: str):
    source = undated(lambda: names(*((number, "old") for number in range(100_000))))
    warehouse.run(source, None)
    with warehouse.file(source, None).open("rb") as opened:
        start = opened.read(1000)
        warehouse.run(undated(lambda: as_kind(names((1, "new")), kind)), None)
        old = pq.read_table(pa.BufferReader(start + opened.read()))
    assert (old.num_rows, set(old["name"].to_pylist())) == (100_000, {"old"})
    assert look(warehouse, source) == [{"id": 1, "name": "new"}]


def _fails_as_it_is_read() -> pa.RecordBatchReader:
    def rows() -> Iterator[pa.RecordBatch]:
        yield from names(*((number, "new") for number in range(20_000))).to_batches()
        raise RuntimeError("half-way")

    return pa.RecordBatchReader.from_batches(names().schema, rows())


def _fails_as_it_is_collected() -> pl.LazyFrame:
    def fail(frame: pl.DataFrame) -> pl.DataFrame:
        raise RuntimeError("half-way")

    return pl.LazyFrame(names((1, "new"))).map_batches(fail, streamable=True)


@pytest.mark.parametrize("make", [_fails_as_it_is_read, _fails_as_it_is_collected])
def test_a_table_that_fails_half_way_leaves_the_old_one_and_no_trace(warehouse: Warehouse, make: Callable[[], Any]):
    for attempt in ("never materialized", "materialized"):
        before = warehouse.listing()
        with pytest.raises(Exception, match=r"half-way|InvalidInputException"):
            warehouse.run(undated(make), None)
        assert {path for path in warehouse.listing() if path.endswith(".parquet")} <= before.keys(), attempt
        warehouse.run(undated(lambda: names((1, "old"))), None)
        assert look(warehouse, undated(make)) == [{"id": 1, "name": "old"}]


@pytest.mark.parametrize("kind", KINDS)
def test_no_rows_are_a_typed_file(warehouse: Warehouse, kind: str):
    source = undated(lambda: as_kind(names(), kind))
    warehouse.run(source, None)
    written = pq.read_table(warehouse.file(source, None))
    assert (written.num_rows, written.column_names) == (0, ["id", "name"])
    assert look(warehouse, source, KINDS[kind]) == []


@pytest.mark.parametrize("kind", KINDS)
def test_a_table_that_was_never_materialized_reads_as_an_empty_one(warehouse: Warehouse, kind: str):
    source = undated(lambda: None)
    seen: list[tuple[dict[str, str], Rows]] = []
    looks = reads(source, KINDS[kind], lambda rows: seen.append((types_of(rows), to_rows(rows))), partitions=None)
    warehouse.run([source, looks], None, only=looks)
    assert seen == [(declared_types(PAIRS, kind, partitioned=False), [])]


@pytest.mark.parametrize("kind", KINDS)
def test_its_day_is_a_column_like_any_other(tmp_path: Path, kind: str):
    warehouse = Warehouse(tmp_path / "day=2020-01-01")
    dated = table([*PAIRS.columns, column("day", "DATE", "The newest day that has the row.", nullable=True)])
    rows = pairs((1, "x", D1), (2, "y", D3), (3, "z", None))
    source = undated(lambda: as_kind(rows, kind), declared=dated)
    warehouse.run(source, None)
    assert look(warehouse, source, KINDS[kind]) == to_rows(rows)
    assert warehouse.content(source) == {".": to_rows(rows)}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (pairs((1, "x", D1)), r"undeclared \['day'\]\. Return exactly the declared columns, or change the declaration"),
        (names((1, "x")).drop_columns("name"), r"missing \['name'\]"),
        (names((None, "x")), r'1 row with "id" IS NULL\. .*change the declaration'),
        (names((1, "x")).set_column(0, "id", pa.array([2**63], pa.uint64())), r"\bid\b.*change the declaration"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(warehouse: Warehouse, kind: str, rows: pa.Table, message: str):
    warehouse.run(undated(lambda: names((1, "old"))), None)
    before = warehouse.listing()
    with pytest.raises((SchemaError, Failure), match=f"staging/written.*{message}"):
        warehouse.run(undated(lambda: as_kind(rows, kind)), None)
    assert warehouse.listing() == before


def test_its_materialization_has_rows_columns_uri_bytes_seconds_and_a_preview(tmp_path: Path):
    warehouse = Warehouse(tmp_path, preview_rows=1)
    source = undated(lambda: names((2, "b"), (1, "a")))
    (facts,) = metadata_by_day(warehouse.run(source, None), source.key).values()
    file = warehouse.file(source, None)
    assert facts["dagster/partition_row_count"] == 2
    assert facts["dagster/column_schema"] == PAIRS.dagster_schema
    assert Path(facts["dagster/uri"]) == file
    assert facts["bytes"] == file.stat().st_size
    assert facts["seconds"] >= 0
    assert [row.data for row in facts["preview"].records] == [{"id": 1, "name": "a"}]


@pytest.mark.parametrize("day", [None, D1], ids=["without days", "of a day"])
def test_what_is_made_from_a_table_that_changes_meanwhile_is_computed_again(warehouse: Warehouse, day: date | None):
    source = undated(lambda: names((0, "old")))
    warehouse.run(source, None)
    ran: list[int] = []

    def change(rows: pl.DataFrame) -> pl.DataFrame:
        ran.append(1)
        if len(ran) == 1:
            warehouse.run(undated(lambda: names((1, "new"))), None)
        return rows.with_columns(day=pl.lit(day)) if day else rows

    target = passes_on(source, pl.DataFrame, change=change, partitions=DAILY if day else None)
    warehouse.run([source, target], day, only=target)
    assert len(ran) == 2
    assert warehouse.content(target) == {f"day={day}" if day else ".": [{"id": 1, "name": "new"}]}
