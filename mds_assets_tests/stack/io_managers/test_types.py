"""Promises of the type annotation: every table can be asked for in any of five types, whoever wrote it in whichever."""

import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pyarrow as pa
import pytest
from dagster import AssetIn, AssetsDefinition, Output, asset

from mds_assets.stack.partitions import SINGLE_RUN
from mds_assets.stack.table import SchemaError, column, table
from mds_assets_tests.stack.io_managers.warehouse import (
    D0,
    D1,
    D2,
    D3,
    D4,
    DAILY,
    ENGINES,
    KINDS,
    PAIRS,
    Rows,
    Warehouse,
    as_kind,
    declared_types,
    pairs,
    passes_on,
    reads,
    to_rows,
    types_of,
    writes,
)

# Of each type that the engines share: a typical value first, the extremes after it.
VALUES: dict[str, list[Any]] = {
    "BOOLEAN": [True, False],
    "INTEGER": [-7, 2**31 - 1, -(2**31)],
    "BIGINT": [2**40, -(2**63), 2**63 - 1],
    "DOUBLE": [0.1, -1.5e300, 5e-324],
    "DECIMAL(9,2)": [Decimal("12.30"), Decimal("-9999999.99"), Decimal("0.01")],
    "DECIMAL(38,10)": [
        Decimal("0.1"),
        Decimal("-1234567890123456789012345678.0123456789"),
        Decimal("9999999999999999999999999999.9999999999"),
    ],
    "DECIMAL(38,0)": [Decimal(1), Decimal(-(10**38) + 1), Decimal(10**38 - 1)],
    "VARCHAR": ["text", "", "naïve 日本 🦆 \n\t'\"\\ e\u0301"],
    "DATE": [date(2024, 2, 29), date(1, 1, 1), date(9999, 12, 31)],
    "TIMESTAMP": [
        datetime(2024, 2, 27, 1, 2, 3, 456789),  # noqa: DTZ001
        datetime(1969, 12, 31, 23, 59, 59, 1),  # noqa: DTZ001
        datetime(9999, 12, 31, 23, 59, 59, 999999),  # noqa: DTZ001
    ],
    "TIMESTAMPTZ": [
        datetime(2024, 2, 27, 1, 2, 3, 456789, UTC),
        datetime(1969, 12, 31, 23, 59, 59, 1, UTC),
        datetime(2024, 10, 27, 1, 0, tzinfo=UTC),
    ],
    "JSON": ['{"b": [1, null],  "a": "🦆"}', "null", '"text"'],
    "BLOB": [b"bytes", b"", b"\x00\xff\xfe"],
}

# A column of each type, named after it, and of lists of it: names that need quotes.
ALL_TYPES = table(
    [
        *(column(name, name, "A value.", nullable=True) for name in VALUES),
        *(column(f"{name}[]", f"{name}[]", "A list.", nullable=True) for name in VALUES),
        column("Text mit Ä", "VARCHAR", "A name that is not ASCII.", nullable=True),
        column("always", "BIGINT", "Never null."),
    ]
)


def _row(number: int, pick: Callable[[list[Any]], Any], pick_list: Callable[[list[Any]], Any]) -> dict[str, Any]:
    values = {name: pick(values) for name, values in VALUES.items()}
    lists = {f"{name}[]": pick_list(values) for name, values in VALUES.items()}
    return {**values, **lists, "Text mit Ä": "Ä", "always": number}


_ROWS = (
    _row(1, lambda values: values[0], lambda values: values),
    _row(2, lambda values: values[1], lambda _: []),
    _row(3, lambda values: values[-1], lambda values: [values[-1], None]),
    {"always": 4},
)

ARROW = ALL_TYPES.with_day().arrow_schema()


def all_types(*days: date) -> pa.Table:
    return pa.Table.from_pylist([row | {"day": day} for day in days for row in _ROWS], schema=ARROW)


def seen_as_every_kind(
    warehouse: Warehouse, source: AssetsDefinition, first: date, last: date, upstream: Sequence[AssetsDefinition] = ()
) -> dict[str, Rows]:
    """What assets with each of the five annotations get for these days, all in one run."""
    seen: dict[str, Rows] = {}
    looks = [
        reads(source, kind, lambda table, name=name: seen.update({name: to_rows(table)}), name)
        for name, kind in KINDS.items()
    ]
    warehouse.run([*upstream, source, *looks], first, last, only=looks)
    return seen


@pytest.mark.parametrize("written_by", ENGINES)
@pytest.mark.parametrize("kind", KINDS)
def test_what_is_written_as_any_type_reads_as_any_type_with_equal_names_types_and_values(
    warehouse: Warehouse, kind: str, written_by: str
):
    expected = all_types(D1, D2)
    written = writes(lambda _: as_kind(expected, kind), declared=ALL_TYPES, engine=written_by, returns=KINDS[kind])
    seen: dict[str, Rows] = {}
    types: dict[str, dict[str, str]] = {}

    def look(table: Any, name: str) -> None:
        types[name] = types_of(table)
        seen[name] = to_rows(table)

    looks = [
        reads(written, annotation, lambda table, name=name: look(table, name), name.replace(" ", "_"), read_by=engine)
        for engine in ENGINES
        for reader, annotation in KINDS.items()
        for name in [f"{reader} {engine}"]
    ]
    warehouse.run([written, *looks], D1, D2)
    assert len(seen) == 10
    for name, rows in seen.items():
        assert rows == to_rows(expected), name
        # As pairs in their order: `day` is the last column.
        assert list(types[name].items()) == list(declared_types(ALL_TYPES, name.split()[0]).items()), name


@pytest.mark.parametrize("kind", KINDS)
def test_what_an_asset_takes_it_can_return_in_the_same_type(warehouse: Warehouse, kind: str):
    source = writes(lambda _: all_types(D1, D2, D2), declared=ALL_TYPES)
    copy = passes_on(source, KINDS[kind], declared=ALL_TYPES)
    warehouse.run([source, copy], D1, D3)
    assert warehouse.content(copy) == warehouse.content(source)


@pytest.mark.parametrize("kind", KINDS)
def test_one_day_many_days_and_no_day_are_each_one_table(warehouse: Warehouse, kind: str):
    source = writes(lambda days: pairs(*((day.day, "x", day) for day in days)))

    def look(table: Any) -> tuple[bool, dict[str, str], list[int]]:
        return isinstance(table, KINDS[kind]), types_of(table), [row["id"] for row in to_rows(table)]

    expected = (True, declared_types(PAIRS, kind))
    for lookback in (False, True):
        assert warehouse.look(source, KINDS[kind], look, D2, lookback=lookback) == (*expected, [])
    warehouse.run(source, D1, D2)
    warehouse.run(source, D4)
    # Of the day itself, of a range, and of the range with two days before each of its days; 29 February is missing.
    assert warehouse.look(source, KINDS[kind], look, D2) == (*expected, [28])
    assert warehouse.look(source, KINDS[kind], look, D3) == (*expected, [])
    assert warehouse.look(source, KINDS[kind], look, D1, D4) == (*expected, [27, 28, 1])
    assert warehouse.look(source, KINDS[kind], look, D3, lookback=True) == (*expected, [27, 28])
    assert warehouse.look(source, KINDS[kind], look, D3, D4, lookback=True) == (*expected, [27, 28, 1])
    # Dagster clips the window at the first partition.
    assert warehouse.look(source, KINDS[kind], look, D0, lookback=True) == (*expected, [])


@pytest.mark.parametrize("kind", KINDS)
def test_a_day_that_is_materialized_and_empty_reads_as_an_empty_table(warehouse: Warehouse, kind: str):
    source = writes(lambda _: pairs())
    warehouse.run(source, D1)
    types, rows = warehouse.look(source, KINDS[kind], lambda table: (types_of(table), to_rows(table)), D1)
    assert types == declared_types(PAIRS, kind)
    assert rows == []


@pytest.mark.parametrize(("engine", "default"), [("duckdb", duckdb.DuckDBPyRelation), ("polars", pl.LazyFrame)])
def test_an_input_without_annotation_gets_the_lazy_type_of_its_engine(warehouse: Warehouse, engine: str, default: type):
    source = writes(lambda _: pairs((1, "x", D1)), engine=engine)
    warehouse.run(source, D1)
    assert warehouse.look(source, None, type, D1) is default
    assert warehouse.look(source, Any, type, D1) is default


def test_an_asset_without_partitions_gets_all_days_as_one_table(warehouse: Warehouse):
    source = writes(lambda days: pairs(*((day.day, "x", day) for day in days)))
    warehouse.run(source, D1, D2)
    warehouse.run(source, D4)
    seen: list[Rows] = []
    looks = reads(source, pl.LazyFrame, lambda table: seen.append(to_rows(table)), partitions=None)
    warehouse.run([source, looks], None, only=looks)
    assert [row["day"] for row in seen[0]] == [D1, D2, D4]


def test_relations_of_both_io_managers_join_in_one_asset(warehouse: Warehouse):
    left = writes(lambda _: pairs((1, "left", D1), (2, "only", D1)), "left", engine="duckdb")
    right = writes(lambda _: as_kind(pairs((1, "right", D1)), "lazyframe"), "right", engine="polars")

    @asset(
        key=["marts", "joined"],
        ins={"left": AssetIn(key=left.key), "right": AssetIn(key=right.key)},
        partitions_def=DAILY,
        backfill_policy=SINGLE_RUN,
        io_manager_key="polars_io_manager",
        metadata=PAIRS.metadata,
    )
    def joined(left: duckdb.DuckDBPyRelation, right: duckdb.DuckDBPyRelation) -> duckdb.DuckDBPyRelation:
        both = left.set_alias("l").join(right.set_alias("r"), "l.id = r.id AND l.day = r.day")
        return both.select("l.id, l.name || ' ' || r.name AS name, l.day")

    warehouse.run([left, right, joined], D1)
    assert warehouse.content(joined) == {f"day={D1}": [{"id": 1, "name": "left right"}]}


def test_readers_and_relations_can_be_open_at_once_in_one_asset(warehouse: Warehouse):
    source = writes(lambda _: pairs(*((n, "x", D1) for n in range(10_000))))
    counts: list[int] = []

    @asset(
        ins={"stream": AssetIn(key=source.key), "relation": AssetIn(key=["staging", "other"])},
        partitions_def=DAILY,
        backfill_policy=SINGLE_RUN,
    )
    def looks(stream: pa.RecordBatchReader, relation: duckdb.DuckDBPyRelation) -> None:
        first = stream.read_next_batch().num_rows
        counts.append(len(relation.fetchall()))
        counts.append(first + stream.read_all().num_rows)

    other = writes(lambda _: pairs((1, "x", D1)), "other")
    warehouse.run([source, other, looks], D1)
    assert counts == [1, 10_000]


def test_an_output_with_metadata_of_its_own_is_the_table_it_holds(warehouse: Warehouse):
    source = writes(lambda _: Output(pairs((1, "x", D1)), metadata={"mine": 1}))
    (event,) = warehouse.run(source, D1).get_asset_materialization_events()
    assert event.materialization.metadata["mine"].value == 1
    assert event.materialization.metadata["dagster/partition_row_count"].value == 1


@pytest.mark.parametrize("annotation", [list[int], dict[str, pl.LazyFrame], pl.Series, str])
def test_an_annotation_that_no_table_has_is_refused_by_name(warehouse: Warehouse, annotation: object):
    source = writes(lambda _: pairs((1, "x", D1)))
    warehouse.run(source, D1)
    name = getattr(annotation, "__name__", str(annotation))
    with pytest.raises(SchemaError, match=rf"(?i){name}.*LazyFrame"):
        warehouse.look(source, annotation, type, D1)


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (lambda _days: None, "NoneType"),
        (lambda days: {str(day): pairs() for day in days}, "dict"),
        (lambda _days: [{"id": 1}], "list"),
        (lambda _days: pl.Series([1]), "Series"),
    ],
)  # fmt: skip
def test_a_return_value_that_is_no_table_is_refused_by_name(
    warehouse: Warehouse, make: Callable[[list[date]], Any], name: str
):
    source = writes(lambda _: pairs((1, "x", D1)))
    warehouse.run(source, D1)
    before = warehouse.listing()
    with pytest.raises(SchemaError, match=rf"staging/written returned a {name}.*LazyFrame"):
        warehouse.run(writes(make), D1)
    assert warehouse.listing() == before


def test_a_file_from_before_a_nullable_column_was_declared_reads_as_null_there(warehouse: Warehouse):
    newer = table([*PAIRS.columns, column("stars", "INTEGER", "New.", nullable=True)])
    topics = table([column("topics", "VARCHAR[]", "New.", nullable=True), *newer.columns])
    old_row, new_row = {"id": 1, "name": "old"}, {"id": 2, "name": "new", "stars": 3}
    warehouse.run(writes(lambda _: pairs((1, "old", D1))), D1)
    new_rows = pa.Table.from_pylist([new_row | {"day": D2}], schema=newer.with_day().arrow_schema())
    warehouse.run(writes(lambda _: new_rows, declared=newer), D2)
    # The oldest file alone, and files of three generations side by side.
    latest = writes(lambda _: None, declared=topics)
    old = {"topics": None, **old_row, "stars": None, "day": D1}
    new = {"topics": None, **new_row, "day": D2}
    assert seen_as_every_kind(warehouse, latest, D1, D1) == {kind: [old] for kind in KINDS}
    assert seen_as_every_kind(warehouse, latest, D1, D2) == {kind: [old, new] for kind in KINDS}


def test_a_file_from_before_a_column_was_widened_reads_as_the_wider_type(warehouse: Warehouse):
    narrow, wide = (table([column("stars", dtype, "Stars.")]) for dtype in ("INTEGER", "BIGINT"))
    rows = pa.Table.from_pylist([{"stars": 1, "day": D1}], schema=narrow.with_day().arrow_schema())
    warehouse.run(writes(lambda _: rows, declared=narrow), D1)
    seen = seen_as_every_kind(warehouse, writes(lambda _: None, declared=wide), D1, D1)
    assert seen == {kind: [{"stars": 1, "day": D1}] for kind in KINDS}


def test_raw_files_with_whatever_columns_read_as_the_declared_columns(warehouse: Warehouse):
    declared = table([*PAIRS.columns, column("at", "TIMESTAMPTZ", "A time.")])
    raw = writes(lambda _: None, layer="raw", declared=declared)
    at = datetime(2024, 2, 27, tzinfo=UTC)
    times = pa.array([at], pa.timestamp("us", tz="UTC"))
    # Two loads a day: another order, other undeclared columns, even the same one with another type.
    warehouse.land(raw, D1, {"1.0": pa.table({"id": [1], "name": ["a"], "at": times, "extra": [1]})})
    warehouse.land(raw, D1, {"2.0": pa.table({"extra": ["text"], "at": times, "name": ["b"], "id": [2]})})
    warehouse.land(raw, D2, {"2.0": pa.table({"more": [[1.5]], "name": ["c"], "at": times, "id": [3]})})
    warehouse.land(raw, D2, {"3.0": pa.table({"id": [1], "name": ["a"], "at": times}).slice(0, 0)})
    expected = [
        {"id": number, "name": name, "at": at, "day": day}
        for number, name, day in [(1, "a", D1), (2, "b", D1), (3, "c", D2)]
    ]
    assert seen_as_every_kind(warehouse, raw, D1, D2) == dict.fromkeys(KINDS, expected)


def test_a_lake_in_a_folder_with_an_odd_name_reads_as_every_type(tmp_path: Path):
    warehouse = Warehouse(tmp_path / "it's my #1 läke%20 [ab]* {x}")
    source = writes(lambda _: pairs((1, "x", D1)))
    copy = passes_on(source, pl.LazyFrame)
    warehouse.run([source, copy], D1, D2)
    assert seen_as_every_kind(warehouse, copy, D1, D2, [source]) == {
        kind: [{"id": 1, "name": "x", "day": D1}] for kind in KINDS
    }


_IN_NEW_YORK = """
import sys
from pathlib import Path
from mds_assets_tests.stack.io_managers.test_types import ALL_TYPES, KINDS, D1, Warehouse, all_types, declared_types
from mds_assets_tests.stack.io_managers.test_types import reads, to_rows, types_of, writes
warehouse = Warehouse(Path(sys.argv[1]))
source = writes(lambda _: all_types(D1), declared=ALL_TYPES)
def look(table, name):
    assert types_of(table) == declared_types(ALL_TYPES, name), (name, types_of(table))
    assert to_rows(table) == to_rows(all_types(D1)), name
looks = [reads(source, kind, lambda t, name=name: look(t, name), name) for name, kind in KINDS.items()]
sql = lambda t: print(t.filter('"BIGINT" = 2 ** 40').select('"TIMESTAMPTZ"::DATE::VARCHAR').fetchall())
looks.append(reads(source, KINDS["relation"], sql, "in_sql"))
warehouse.run([source, *looks], D1)
"""


def test_timestamps_are_utc_whatever_the_zone_of_the_machine(tmp_path: Path):
    done = subprocess.run(
        [sys.executable, "-c", _IN_NEW_YORK, tmp_path],
        env=os.environ | {"TZ": "America/New_York"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    # One o'clock in the morning in UTC is another date in New York.
    assert done.stdout.strip() == "[('2024-02-27',)]"


def test_fixed_width_columns_reach_polars_in_the_same_memory_and_text_gets_new_views(warehouse: Warehouse):
    source = writes(lambda _: pairs(*((n, f"short {n}", D1) for n in range(1000))))
    warehouse.run(source, D1)

    def look(table: pa.Table) -> tuple[bool, bool]:
        frame = pl.DataFrame(table)
        ids = frame["id"].to_arrow().buffers()[1].address == table["id"].chunk(0).buffers()[1].address
        names = frame["name"].to_arrow(compat_level=pl.CompatLevel.newest()).buffers()
        known = {buffer.address for buffer in table["name"].chunk(0).buffers() if buffer}
        return ids, names[1].address in known

    # Polars keeps text as 16 bytes a value, which hold texts up to 12 bytes themselves: these are always copied.
    assert warehouse.look(source, pa.Table, look, D1) == (True, False)


def buffers(column: pa.Array) -> list[int]:
    """Where the values of a fixed-width column lie in memory."""
    return [buffer.address for buffer in column.buffers()[1:] if buffer]


def test_an_eager_frame_shares_the_memory_of_fixed_width_columns_with_arrow(warehouse: Warehouse):
    source = writes(lambda _: all_types(D1), declared=ALL_TYPES)
    shared: dict[str, bool] = {}

    def look(frame: pl.DataFrame) -> None:
        table = frame.rechunk().to_arrow()
        again = pl.from_arrow(table, rechunk=False)
        assert isinstance(again, pl.DataFrame)
        for name in table.column_names:
            arrow, back = table[name].chunk(0), again[name].to_arrow()
            shared[name] = buffers(arrow) == buffers(back) == buffers(frame.rechunk()[name].to_arrow())

    reader = reads(source, pl.DataFrame, look)
    warehouse.run([source, reader], D1)
    fixed = {"BIGINT", "DATE", "DOUBLE", "INTEGER", "TIMESTAMP", "TIMESTAMPTZ", "DECIMAL(38,10)"}
    assert {name for name in fixed if shared[name]} == fixed
