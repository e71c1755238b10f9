"""Promises of the declaration: what does not fit it is refused by name, and the lake stays as it was."""

import re
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from dagster import Failure

from mds_assets.stack.table import SchemaError, column, table
from mds_assets_tests.stack.io_managers.warehouse import (
    D0,
    D1,
    D2,
    D3,
    ENGINES,
    KINDS,
    PAIRS,
    Rows,
    Warehouse,
    as_kind,
    errors,
    pairs,
    reads,
    to_rows,
    writes,
)

SCHEMA = table(
    [
        column("big", "BIGINT", "64 bits."),
        column("small", "INTEGER", "32 bits.", nullable=True),
        column("share", "DOUBLE", "A float.", nullable=True),
        column("at", "TIMESTAMPTZ", "A time.", nullable=True),
        column("on", "DATE", "A date.", nullable=True),
        column("flag", "BOOLEAN", "Yes or no."),
        column("text", "VARCHAR", "A text."),
        column("texts", "VARCHAR[]", "A list."),
        column("price", "DECIMAL(5,2)", "An amount.", nullable=True),
        column("json", "JSON", "A document.", nullable=True),
        column("blob", "BLOB", "Bytes.", nullable=True),
        column("local", "TIMESTAMP", "A time without zone.", nullable=True),
        column("prices", "DECIMAL(5,2)[]", "Amounts.", nullable=True),
        column("smalls", "INTEGER[]", "Numbers.", nullable=True),
        column("jsons", "JSON[]", "Documents.", nullable=True),
    ]
)
ARROW = SCHEMA.with_day().arrow_schema()
ROW: dict[str, Any] = {
    "big": 1,
    "small": 2,
    "share": 0.5,
    "at": datetime(2024, 2, 27, tzinfo=UTC),
    "on": date(2024, 2, 27),
    "flag": True,
    "text": "x",
    "texts": ["y"],
    "price": Decimal("1.50"),
    "json": '{"a": 1}',
    "blob": b"\x00",
    "local": datetime(2024, 2, 27),  # noqa: DTZ001
    "prices": [Decimal("1.50"), None],
    "smalls": [1, None],
    "jsons": ["1", None],
}


def rows(*days: date | None, **values: pa.Array | None) -> pa.Table:
    """A good row for each day, some of its columns replaced by other arrays, or left out where None."""
    nullable = pa.schema([field.with_nullable(True) for field in ARROW])
    table = pa.Table.from_pylist([ROW | {"day": day} for day in days], schema=nullable)
    for name, array in values.items():
        if name in table.column_names:
            position = table.column_names.index(name)
            table = table.remove_column(position)
            table = table if array is None else table.add_column(position, name, array)
        else:
            table = table.append_column(name, array)
    return table


def twice(value: Any, dtype: pa.DataType) -> pa.Array:
    """A column of two values, the second of which is `value`: the first row is good where that is possible."""
    return pa.array([value, value], dtype)


TWO_DAYS = (D1, D2)
WAY_OUT = "(change the declaration|declare it)"
WRONG: dict[str, tuple[pa.Table, str]] = {
    "a row after the run's days": (rows(D1, D3), str(D3)),
    "a row before the run's days": (rows(D0, D1), str(D0)),
    "a null day": (rows(D1, None), "none|null|hive_default"),
    "a missing column": (rows(*TWO_DAYS, small=None), "small"),
    "no day": (rows(*TWO_DAYS, day=None), "day"),
    "an extra column": (rows(*TWO_DAYS, surprise=pa.array([1, 2])), "surprise"),
    "text for an integer": (rows(*TWO_DAYS, small=twice("7", pa.string())), "small"),
    "text for a float": (rows(*TWO_DAYS, share=twice("7", pa.string())), "share"),
    "text for a time": (rows(*TWO_DAYS, at=twice("2024-02-27T00:00:00Z", pa.string())), "at"),
    "text for a boolean": (rows(*TWO_DAYS, flag=twice("true", pa.string())), "flag"),
    "text for a list": (rows(*TWO_DAYS, texts=twice("y", pa.string())), "texts"),
    "text for a day": (rows(*TWO_DAYS, day=pa.array([str(D1), str(D2)])), "day"),
    "a time for a day": (rows(*TWO_DAYS, day=twice(datetime(2024, 2, 27), pa.timestamp("us"))), "day"),  # noqa: DTZ001
    "an integer for text": (rows(*TWO_DAYS, text=twice(7, pa.int64())), "text"),
    "integers in a list of texts": (rows(*TWO_DAYS, texts=twice([7], pa.list_(pa.int64()))), "texts"),
    "a float for an integer": (rows(*TWO_DAYS, big=twice(7.0, pa.float64())), "big"),
    "an integer for a boolean": (rows(*TWO_DAYS, flag=twice(1, pa.int64())), "flag"),
    "a boolean for an integer": (rows(*TWO_DAYS, small=twice(True, pa.bool_())), "small"),
    "a time for a date": (rows(*TWO_DAYS, on=twice(ROW["at"], pa.timestamp("us", tz="UTC"))), "on"),
    "a time without zone": (rows(*TWO_DAYS, at=twice(datetime(2024, 2, 27), pa.timestamp("us"))), "at"),  # noqa: DTZ001
    "a fraction for an integer": (rows(*TWO_DAYS, big=twice(Decimal("1.5"), pa.decimal128(10, 1))), "big"),
    "an integer out of 32 bits": (rows(*TWO_DAYS, small=pa.array([1, 2**31], pa.int64())), str(2**31)),
    "an integer below 32 bits": (rows(*TWO_DAYS, small=pa.array([1, -(2**31) - 1], pa.int64())), str(2**31 + 1)),
    "an integer out of 64 bits": (rows(*TWO_DAYS, big=pa.array([1, 2**63], pa.uint64())), str(2**63)),
    "a null integer": (rows(*TWO_DAYS, big=pa.nulls(2, pa.int64())), "big"),
    "a null boolean": (rows(*TWO_DAYS, flag=pa.nulls(2, pa.bool_())), "flag"),
    "a null text": (rows(*TWO_DAYS, text=pa.nulls(2, pa.string())), "text"),
    "a null list": (rows(*TWO_DAYS, texts=pa.nulls(2, pa.list_(pa.string()))), "texts"),
    "nothing but nulls": (rows(*TWO_DAYS, text=pa.nulls(2)), "text"),
    "a decimal too large": (
        rows(*TWO_DAYS, price=pa.array([1, Decimal("1000.00")], pa.decimal128(10, 2))),
        f"price.*1000.*{WAY_OUT}",
    ),
    "an integer too large for a decimal": (rows(*TWO_DAYS, price=pa.array([1, -1000])), f"price.*-1000.*{WAY_OUT}"),
    "a finer decimal": (rows(*TWO_DAYS, price=twice(Decimal("1.500"), pa.decimal128(5, 3))), f"price.*{WAY_OUT}"),
    "a float for a decimal": (rows(*TWO_DAYS, price=twice(1.5, pa.float64())), f"price.*double.*{WAY_OUT}"),
    "text for a decimal": (rows(*TWO_DAYS, price=twice("1.50", pa.string())), f"price.*string.*{WAY_OUT}"),
    "a decimal too large in a list": (
        rows(*TWO_DAYS, prices=twice([Decimal("1000.00")], pa.list_(pa.decimal128(10, 2)))),
        f"(prices.*1000|1000.*prices).*{WAY_OUT}",
    ),
    "an integer out of 32 bits in a list": (
        rows(*TWO_DAYS, smalls=twice([1, 2**31], pa.list_(pa.int64()))),
        f"(smalls.*{2**31}|{2**31}.*smalls).*{WAY_OUT}",
    ),
    "no JSON": (rows(*TWO_DAYS, json=pa.array(["{'a': 1}"] * 2)), rf'{D2}.*json_valid\("json.*{WAY_OUT}'),
    "no JSON in a list": (
        rows(*TWO_DAYS, jsons=pa.array([["1", None, "one"]] * 2)),
        rf'{D2}.*json_valid.*"jsons.*{WAY_OUT}',
    ),
    "a struct for JSON": (rows(*TWO_DAYS, json=pa.array([{"a": 1}, {"a": 2}])), f"json.*struct.*{WAY_OUT}"),
    "text for bytes": (rows(*TWO_DAYS, blob=twice("x", pa.string())), f"blob.*string.*{WAY_OUT}"),
    "bytes for text": (rows(*TWO_DAYS, text=twice(b"x", pa.binary())), f"text.*binary.*{WAY_OUT}"),
    "a time with a zone": (rows(*TWO_DAYS, local=twice(ROW["at"], pa.timestamp("us", tz="UTC"))), f"local.*{WAY_OUT}"),
    "nanoseconds": (rows(*TWO_DAYS, local=pa.array([1, 1], pa.timestamp("ns"))), rf"local.*\[ns.*{WAY_OUT}"),
}


ONE_DAY_WRONG: dict[str, tuple[pa.Table, str]] = {
    "another day": (rows(D1, D2), str(D2)),
    "a null day": (rows(D1, None), "none|null"),
    "a null number": (rows(D1, D1, big=pa.array([1, None], pa.int64())), "big"),
    "a value out of range": (rows(D1, small=pa.array([2**40], pa.int64())), str(2**40)),
    "text for an integer": (rows(D1, small=pa.array(["7"])), "small"),
}


PRIVATE = "patient Jane Doe"


def _text_as_number(kind: str) -> Any:
    """Rows whose conversion, which is lazy where the type is, fails at a private value."""
    if kind == "relation":
        texts = duckdb.from_arrow(pa.table({"name": [PRIVATE], "day": [D1]}))
        return texts.project("name::BIGINT AS id, name, day")
    frame = pl.LazyFrame({"id": [1], "name": [PRIVATE], "day": [D1]})
    if kind == "cast":
        return frame.with_columns(id=pl.col("name").cast(pl.Int64))
    return frame.with_columns(id=pl.col("name").str.to_integer())


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("relation", "ConversionException in column 'name'"),
        ("cast", "InvalidOperationError in column 'name'"),
        ("parse", "ComputeError"),
        ("range", "staging/written.small is out of range for INTEGER"),
        ("list", "staging/written.smalls is out of range for INTEGER[]"),
    ],
)
def test_an_error_while_writing_quotes_a_value_only_where_previews_are_on(tmp_path: Path, kind: str, expected: str):
    declared, private = PAIRS, PRIVATE
    if kind in ("range", "list"):
        declared, private = SCHEMA, str(2**31 + 77)
        wrong = {"small": pa.array([2**31 + 77])} if kind == "range" else {"smalls": pa.array([[2**31 + 77]])}
        source = writes(lambda _: rows(D1, **wrong), declared=declared)
    else:
        source = writes(lambda _: _text_as_number(kind), declared=declared)
    for preview_rows in (0, 5):
        result = Warehouse(tmp_path / str(preview_rows), preview_rows=preview_rows).run(source, D1, raises=False)
        assert not result.success
        events = "".join(map(repr, result.all_events))
        assert (private in events) == (preview_rows > 0)
        if not preview_rows:
            (error,) = errors(result).values()
            assert f"staging/written cannot be written for {D1}...{D1}: {expected}" in error


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("wrong", "days"),
    [
        pytest.param(WRONG, TWO_DAYS, id="range", marks=pytest.mark.slow(10)),
        pytest.param(ONE_DAY_WRONG, (D1, D1), id="day"),
    ],
)
def test_a_table_that_does_not_fit_is_refused_by_name_and_the_lake_stays_as_it_was(
    tmp_path: Path, kind: str, wrong: dict[str, tuple[pa.Table, str]], days: tuple[date, date]
):
    warehouse = Warehouse(tmp_path / "lake", preview_rows=5)  # so that errors quote the values
    names = {f"t{number}": name for number, name in enumerate(wrong)}
    bad = [
        writes(lambda _, name=name: as_kind(wrong[name][0], kind), asset_name, declared=SCHEMA)
        for asset_name, name in names.items()
    ]
    good = [writes(lambda days: rows(*days), asset_name, declared=SCHEMA) for asset_name in names]

    def refuses_all() -> None:
        before = warehouse.listing()
        messages = errors(warehouse.run(bad, *days, raises=False))
        after = warehouse.listing()
        accepted: dict[str, str] = {}
        for asset_name, name in names.items():
            error = messages.get(f"staging__{asset_name}", "no error")
            if not re.match(rf"(?is).*(SchemaError|Failure): staging/{asset_name}\b.*({wrong[name][1]})", error):
                accepted[name] = error
        assert not accepted, accepted
        # Below the tables' folders: the empty folder of a table that never was is no table.
        changed = {path for path in before | after if path.count("/") > 1 and before.get(path) != after.get(path)}
        traces = sorted(f"{names[path.split('/')[1]]}: {path}" for path in changed)
        assert not traces, traces

    refuses_all()
    warehouse.run(good, *days)
    refuses_all()


FITS: dict[str, tuple[dict[str, pa.Array], dict[str, Any]]] = {
    "a small integer": ({"big": pa.array([7], pa.int8())}, {"big": 7}),
    "a wide integer with a small value": ({"small": pa.array([-7], pa.int64())}, {"small": -7}),
    "an unsigned count": ({"big": pa.array([7], pa.uint32())}, {"big": 7}),
    "an integer for a float": ({"share": pa.array([7], pa.int64())}, {"share": 7.0}),
    "a small float": ({"share": pa.array([0.5], pa.float32())}, {"share": 0.5}),
    "DuckDB's sum of integers": ({"big": pa.array([Decimal(7)], pa.decimal128(38, 0))}, {"big": 7}),
    "a coarser decimal": (
        {"price": pa.array([Decimal("999.9")], pa.decimal128(38, 1))},
        {"price": Decimal("999.90")},
    ),
    "an integer for a decimal": ({"price": pa.array([-7])}, {"price": Decimal(-7)}),
    "a decimal for a float": ({"share": pa.array([Decimal("0.5")], pa.decimal128(5, 2))}, {"share": 0.5}),
    "large bytes": ({"blob": pa.array([b"\xff"], pa.large_binary())}, {"blob": b"\xff"}),
    "smaller numbers in a list": ({"smalls": pa.array([[7, None]], pa.list_(pa.int64()))}, {"smalls": [7, None]}),
    "nothing but nulls": ({"small": pa.nulls(1), "at": pa.nulls(1)}, {"small": None, "at": None}),
    "categories": ({"text": pa.array(["x"]).dictionary_encode()}, {"text": "x"}),
    "large text": ({"text": pa.array(["x"], pa.large_string())}, {"text": "x"}),
    "large lists": ({"texts": pa.array([["y"]], pa.large_list(pa.large_string()))}, {"texts": ["y"]}),
    "another zone": (
        {"at": pa.array([datetime(2024, 2, 27, 1, tzinfo=UTC)], pa.timestamp("us", tz="Asia/Tokyo"))},
        {"at": datetime(2024, 2, 27, 1, tzinfo=UTC)},
    ),
    "another unit": (
        {"at": pa.array([datetime(2024, 2, 27, 1, tzinfo=UTC)], pa.timestamp("ms", tz="UTC"))},
        {"at": datetime(2024, 2, 27, 1, tzinfo=UTC)},
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_what_a_safe_cast_makes_fit_is_cast_to_the_declaration(warehouse: Warehouse, kind: str):
    tables = {
        f"t{number}": (name, rows(D1, **arrays), ROW | expected | {"day": D1})
        for number, (name, (arrays, expected)) in enumerate(FITS.items())
    }
    seen: dict[str, Rows] = {}
    assets = [
        one
        for key, (name, table, _) in tables.items()
        for source in [writes(lambda _, table=table: as_kind(table, kind), key, declared=SCHEMA)]
        for one in (source, reads(source, pa.Table, lambda t, name=name: seen.update({name: to_rows(t)}), key))
    ]
    warehouse.run(assets, D1)
    assert seen == {name: [expected] for name, _, expected in tables.values()}


@pytest.mark.parametrize("kind", KINDS)
def test_columns_in_another_order_are_written_in_the_declared_one(warehouse: Warehouse, kind: str):
    source = writes(lambda _: as_kind(rows(D1).select(ARROW.names[::-1]), kind), declared=SCHEMA)
    warehouse.run(source, D1)
    assert pq.read_schema(warehouse.file(source, D1)).names == [column.name for column in SCHEMA.columns]


def test_a_column_twice_is_refused(warehouse: Warehouse):
    twice = pairs((1, "x", D1)).append_column("id", pa.array([2]))
    with pytest.raises(SchemaError, match="staging/written"):
        warehouse.run(writes(lambda _: twice), D1)


def test_nulls_in_a_list_are_values_of_the_list(warehouse: Warehouse):
    source = writes(lambda _: rows(D1, texts=pa.array([["a", None]], pa.list_(pa.string()))), declared=SCHEMA)
    warehouse.run(source, D1)
    assert warehouse.look(source, pa.Table, lambda table: table["texts"].to_pylist(), D1) == [["a", None]]


@pytest.mark.parametrize("engine", ENGINES)
def test_a_table_without_declared_columns_is_refused_by_name_when_written_and_when_read(
    warehouse: Warehouse, engine: str
):
    source = writes(lambda _: pairs((1, "x", D1)), declared=None, engine=engine)
    for attempt in (
        lambda: warehouse.run(source, D1),
        lambda: warehouse.look(source, None, type, D1),
    ):
        with pytest.raises(SchemaError, match=r"staging/written declares no columns.*metadata=Table"):
            attempt()
    assert not any(warehouse.root.rglob("*"))


def test_a_declaration_with_an_unknown_type_is_refused_where_it_is_made():
    with pytest.raises(SchemaError, match=r"'stars'.*'INT'.*BIGINT.*VARCHAR\[\]"):
        column("stars", "INT", "Stars.")


def test_a_value_that_does_not_fit_is_found_wherever_it_stands(warehouse: Warehouse):
    relation = duckdb.sql(
        f"SELECT CASE n WHEN 400_000 THEN NULL ELSE n END AS id, 'x' AS name, DATE '{D1}' AS day "  # noqa: S608
        "FROM range(500_000) t(n)"
    )
    with pytest.raises(Failure, match='1 row with "id" IS NULL'):
        warehouse.run(writes(lambda _: relation, declared=PAIRS), D1)
    frame = pl.LazyFrame({"n": range(500_000)}).select(
        id=pl.when(pl.col("n") != 400_000).then("n"), name=pl.lit("x"), day=pl.lit(D1)
    )
    with pytest.raises(Failure, match='1 row with "id" IS NULL'):
        warehouse.run(writes(lambda _: frame, declared=PAIRS), D1)
