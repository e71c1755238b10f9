"""Landing: any source, one load, a file a day."""

# ruff: noqa: DTZ001 - naive timestamps are a case

import json
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Thread
from typing import Any
from urllib.parse import parse_qs, urlsplit

import dlt
import duckdb
import pyarrow as pa
import pyarrow.csv as csv
import pyarrow.parquet as pq
import pytest
import requests
import sqlalchemy
from dlt.common.configuration.container import Container
from dlt.common.pipeline import PipelineContext
from dlt.common.runtime import anon_tracker
from dlt.common.runtime.telemetry import is_telemetry_started
from dlt.sources.filesystem import filesystem
from dlt.sources.rest_api import rest_api_resources, rest_api_source
from dlt.sources.sql_database import sql_table
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy.exc import OperationalError

from mds_assets.stack.landing.days import Days, snapshot_day
from mds_assets.stack.landing.errors import LandingError
from mds_assets.stack.landing.load import Load, land
from mds_assets.stack.table import Table, column, table
from mds_assets_tests.runs import in_utc

FIRST, LAST = date(2026, 11, 1), date(2026, 11, 3)
ORDERS = table(
    [
        column("id", "BIGINT", "The order."),
        column("updated_at", "TIMESTAMPTZ", "When it changed."),
        column("total", "DECIMAL(10,2)", "EUR.", nullable=True),
    ]
)
YESTERDAY = datetime.now(UTC).date() - timedelta(days=1)


@pytest.fixture
def con() -> Iterator[duckdb.DuckDBPyConnection]:
    with in_utc() as connection:
        yield connection


@pytest.fixture
def lands(con: duckdb.DuckDBPyConnection, tmp_path: Path) -> Callable[..., Load]:
    """`land`, with what most tests have in common."""

    def lands(source: Any, declared: Table = ORDERS, day: str | None = "updated_at", **options: Any) -> Load:
        days = options.pop("days", None) or Days.between(FIRST, LAST)
        folder = tmp_path / f"load {len(list(tmp_path.iterdir()))}"
        folder.mkdir()
        return land(source, declared, day, days, folder, con, name="raw/orders", **options)

    return lands


def order(id: int, updated_at: Any, **fields: Any) -> dict[str, Any]:
    return {"id": id, "updated_at": updated_at, **fields}


def rows_of(file: Path) -> list[dict[str, Any]]:
    rows = pq.ParquetFile(file).read().drop_columns("_dlt_load_id").to_pylist()
    return sorted(rows, key=lambda row: row["id"])


def ids(load: Load) -> dict[date, list[int]]:
    return {day: sorted(row["id"] for row in rows_of(file)) for day, file in {**load.files, **load.early}.items()}


def types_of(con: duckdb.DuckDBPyConnection, file: Path) -> dict[str, str]:
    relation = con.read_parquet(str(file), hive_partitioning=False)
    return dict(zip(relation.columns, map(str, relation.types), strict=True))


# --- Days -------------------------------------------------------------------------------------------------------------


def test_a_range_has_whole_utc_days() -> None:
    days = Days.between(FIRST, LAST)
    assert (days.start, days.end) == (datetime(2026, 11, 1, tzinfo=UTC), datetime(2026, 11, 4, tzinfo=UTC))
    assert days.dates == [FIRST, date(2026, 11, 2), LAST]
    with pytest.raises(ValueError, match="not midnight UTC"):
        Days(datetime(2026, 11, 1, 1, tzinfo=UTC), days.end)
    with pytest.raises(ValueError, match="No day"):
        Days(days.end, days.start)


def test_days_are_there_without_dlt() -> None:
    code = "import sys, mds_assets.stack.landing.days; sys.exit('dlt' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_what_a_source_reports_is_kept() -> None:
    days = Days.between(FIRST, LAST)
    days.report(customers=12)
    assert days.facts == {"customers": 12}


# --- Which day --------------------------------------------------------------------------------------------------------


def test_each_row_lands_in_its_utc_day_and_none_is_lost(lands: Callable[..., Load]) -> None:
    load = lands(
        [
            order(1, "2026-10-31T23:59:59.999999Z"),
            order(2, "2026-11-01T00:00:00Z"),
            order(3, "2026-11-03T23:59:59.999999Z"),
            order(4, "2026-11-04T00:30:00+01:00"),
            order(5, "2026-11-03T23:30:00-02:00"),
        ]
    )
    assert ids(load) == {FIRST: [2], date(2026, 11, 2): [], LAST: [3, 4], date(2026, 11, 4): [5]}
    assert load.rows == {FIRST: 1, date(2026, 11, 2): 0, LAST: 2}
    assert (load.rows_early, load.rows_before) == (1, 1)
    assert list(load.early) == [date(2026, 11, 4)]


def test_no_rows_at_all_still_give_each_day_a_typed_file(
    lands: Callable[..., Load], con: duckdb.DuckDBPyConnection
) -> None:
    load = lands([])
    assert load.load_id
    assert set(load.files) == {FIRST, date(2026, 11, 2), LAST}
    for file in load.files.values():
        assert types_of(con, file) == {
            "id": "BIGINT",
            "updated_at": "TIMESTAMP WITH TIME ZONE",
            "total": "DECIMAL(10,2)",
            "_dlt_load_id": "VARCHAR",
        }


def test_the_day_may_be_an_expression(lands: Callable[..., Load]) -> None:
    declared = table([*ORDERS.columns, column("pushed_at", "TIMESTAMPTZ", "x", nullable=True)])
    rows = [order(1, "2026-11-01T10:00:00Z", pushed_at="2026-11-02T10:00:00Z"), order(2, "2026-11-01T10:00:00Z")]
    assert ids(lands(rows, declared, "greatest(updated_at, pushed_at)"))[date(2026, 11, 2)] == [1]


@pytest.mark.parametrize(
    "value", ["2026-11-02", datetime(2026, 11, 2, 23), date(2026, 11, 2), "2026-11-02T00:00:00+00:00"]
)
def test_an_undeclared_field_may_tell_the_day(lands: Callable[..., Load], value: Any) -> None:
    assert ids(lands([{"id": 1, "at": value}], table([ORDERS.columns[0]]), "at"))[date(2026, 11, 2)] == [1]


def test_a_field_called_day_lands_beside_the_partition(lands: Callable[..., Load]) -> None:
    load = lands([{"id": 1, "day": "2026-11-02"}], table([ORDERS.columns[0]]), "day")
    assert rows_of(load.files[date(2026, 11, 2)]) == [{"id": 1, "day_": "2026-11-02"}]


@pytest.mark.parametrize("at", [None, "soon"])
def test_a_row_without_a_day_is_an_error(lands: Callable[..., Load], at: Any) -> None:
    with pytest.raises(LandingError, match=r"raw/orders: 1 row has no day, as at is null"):
        lands([{"id": 1, "at": "2026-11-01"}, {"id": 2, "at": at}], table([ORDERS.columns[0]]), "at")


def test_the_load_id_may_be_declared(lands: Callable[..., Load]) -> None:
    declared = table([*ORDERS.columns, column("_dlt_load_id", "VARCHAR", "x")], key=["id", "_dlt_load_id"])
    load = lands([order(1, "2026-11-01")], declared)
    assert pq.ParquetFile(load.files[FIRST]).read()["_dlt_load_id"].to_pylist() == [load.load_id]


def test_a_day_that_is_no_column_is_an_error(lands: Callable[..., Load]) -> None:
    with pytest.raises(LandingError, match=r"day='changed' is not among its columns id, updated_at, total"):
        lands([order(1, "2026-11-01")], ORDERS, "changed")
    with pytest.raises(LandingError, match=r"day='id' is BIGINT, not a timestamp"):
        lands([order(1, "2026-11-01")], ORDERS, "id")


def test_an_expression_that_fails_quotes_no_value(lands: Callable[..., Load]) -> None:
    rows = [{"id": 1, "at": "secret"}]
    with pytest.raises(LandingError) as raised:
        lands(rows, table([ORDERS.columns[0]]), '"at"::TIMESTAMP')
    assert "secret" not in str(raised.value)
    with pytest.raises(LandingError, match="secret"):
        lands(rows, table([ORDERS.columns[0]]), '"at"::TIMESTAMP', quote_values=True)


ZONES = st.integers(-14 * 60, 14 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))
MOMENTS = st.datetimes(datetime(2026, 10, 29), datetime(2026, 11, 8), timezones=ZONES) | st.datetimes(
    datetime(2026, 10, 29), datetime(2026, 11, 8)
)


@given(st.lists(MOMENTS, max_size=12), st.integers(0, 4), st.integers(0, 4), st.booleans())
@pytest.mark.slow(12)
def test_the_split_agrees_with_plain_python(moments: list[datetime], offset: int, more: int, as_text: bool) -> None:
    first = date(2026, 10, 31) + timedelta(days=offset)
    days = Days.between(first, first + timedelta(days=more))
    expected: dict[date, list[int]] = {day: [] for day in days.dates}
    before = 0
    for i, moment in enumerate(moments):
        utc = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
        if utc.date() < first:
            before += 1
        else:
            expected.setdefault(utc.date(), []).append(i)
    rows = [order(i, moment.isoformat() if as_text else moment) for i, moment in enumerate(moments)]
    with in_utc() as con, TemporaryDirectory() as folder:
        load = land(rows, ORDERS, "updated_at", days, Path(folder), con)
        assert ids(load) == expected
    assert load.rows_before == before
    assert load.rows == {day: len(expected[day]) for day in days.dates}
    assert load.rows_early == sum(len(found) for day, found in expected.items() if day > days.dates[-1])


# --- Snapshots --------------------------------------------------------------------------------------------------------


def test_a_snapshot_belongs_to_the_newest_day_that_has_ended(lands: Callable[..., Load]) -> None:
    days = Days.between(YESTERDAY - timedelta(days=1), YESTERDAY + timedelta(days=1))
    assert snapshot_day(days) == YESTERDAY
    load = lands([{"id": 1}, {"id": 2}], table([ORDERS.columns[0]]), None, days=days)
    assert ids(load) == {YESTERDAY: [1, 2]}
    assert load.rows == {YESTERDAY: 2}
    assert load.skipped == [days.dates[0], days.dates[2]]


def test_a_snapshot_of_days_gone_by_fetches_nothing(lands: Callable[..., Load]) -> None:
    def source() -> Iterator[dict[str, Any]]:
        raise AssertionError("fetched")
        yield {}

    days = Days.between(YESTERDAY - timedelta(days=9), YESTERDAY - timedelta(days=1))
    assert lands(source(), ORDERS, None, days=days) == Load(skipped=days.dates)


# --- Values -----------------------------------------------------------------------------------------------------------

EVERY_TYPE = table(
    [
        column("id", "BIGINT", "x"),
        column("flag", "BOOLEAN", "x", nullable=True),
        column("small", "INTEGER", "x", nullable=True),
        column("ratio", "DOUBLE", "x", nullable=True),
        column("price", "DECIMAL(38,4)", "x", nullable=True),
        column("title", "VARCHAR", "x", nullable=True),
        column("born", "DATE", "x", nullable=True),
        column("local_at", "TIMESTAMP", "x", nullable=True),
        column("at", "TIMESTAMPTZ", "x"),
        column("doc", "JSON", "x", nullable=True),
        column("raw", "BLOB", "x", nullable=True),
        column("tags", "VARCHAR[]", "x", nullable=True),
        column("prices", "DECIMAL(10,2)[]", "x", nullable=True),
    ]
)
FULL: dict[str, Any] = {
    "id": 2**63 - 1,
    "flag": False,
    "small": -(2**31),
    "ratio": 0.1,
    "price": Decimal("1234567890123456789012345678901234.5678"),
    "title": "\uf026 ünï\n\x00'\"",
    "born": date(1, 1, 1),
    "local_at": datetime(2026, 11, 1, 23, 59, 59, 999999),
    "at": datetime(2026, 11, 1, 1, tzinfo=UTC),
    "doc": '{"a":[1,{"b":null}],"c":"\uf027"}',
    "raw": b"\x00\xff",
    "tags": ["a", None, ""],
    "prices": [Decimal("1.50"), None],
}
EMPTY = dict.fromkeys(FULL) | {"id": 0, "at": FULL["at"]}


def test_every_declared_type_comes_back_exactly_from_dicts(
    lands: Callable[..., Load], con: duckdb.DuckDBPyConnection
) -> None:
    load = lands([FULL | {"doc": json.loads(FULL["doc"])}, EMPTY], EVERY_TYPE, "at")
    assert rows_of(load.files[FIRST]) == [EMPTY, FULL]
    declared = {c.name: c.type.replace("TIMESTAMPTZ", "TIMESTAMP WITH TIME ZONE") for c in EVERY_TYPE.columns}
    for file in load.files.values():
        assert types_of(con, file) == declared | {"_dlt_load_id": "VARCHAR"}


def test_every_declared_type_comes_back_exactly_from_arrow(
    lands: Callable[..., Load], con: duckdb.DuckDBPyConnection
) -> None:
    arrow = pa.Table.from_pylist([FULL, EMPTY], EVERY_TYPE.arrow_schema())
    for source in (arrow, arrow.to_batches()[0], [arrow], arrow.to_reader()):
        load = lands(source, EVERY_TYPE, "at")
        assert rows_of(load.files[FIRST]) == [EMPTY, FULL]
        assert types_of(con, load.files[LAST])["prices"] == "DECIMAL(10,2)[]"


def test_values_that_are_kept_take_their_declared_type(lands: Callable[..., Load]) -> None:
    texts = {
        "id": "7",
        "flag": "true",
        "small": 3.0,
        "ratio": "1e3",
        "price": 0.1,
        "title": 5,
        "born": "2026-11-01T00:00:00Z",
        "local_at": "2026-11-01T01:00:00+01:00",
        "at": date(2026, 11, 1),
        "doc": {"at": date(2026, 11, 1), "n": 2**70},
        "tags": '["a"]',
    }
    (row,) = rows_of(lands([texts], EVERY_TYPE, "at").files[FIRST])
    assert row == EMPTY | {
        "id": 7,
        "flag": True,
        "small": 3,
        "ratio": 1000.0,
        "price": Decimal("0.1000"),
        "title": "5",
        "born": date(2026, 11, 1),
        "local_at": datetime(2026, 11, 1),
        "at": datetime(2026, 11, 1, tzinfo=UTC),
        "doc": '{"at":"2026-11-01","n":1180591620717411303424}',
        "tags": ["a"],
    }


def test_arrow_types_that_hold_the_same_values_are_cast(lands: Callable[..., Load]) -> None:
    at = pa.array([FULL["at"]], pa.timestamp("ns", tz="Europe/Berlin"))
    arrow = pa.table(
        {
            "id": pa.array([7], pa.uint8()),
            "small": pa.array([3], pa.int64()),
            "ratio": pa.array([2], pa.int32()),
            "price": pa.array([Decimal("1.5")], pa.decimal128(5, 1)),
            "title": pa.array(["a"]).dictionary_encode(),
            "born": pa.array(["2026-11-01"], pa.large_string()),
            "local_at": at,
            "at": at,
            "raw": pa.array([b"ab"], pa.binary(2)),
            "tags": pa.array([["a"]], pa.large_list(pa.string())),
            "flag": pa.nulls(1),
        }
    )
    (row,) = rows_of(lands(arrow, EVERY_TYPE, "at").files[FIRST])
    assert row == EMPTY | {
        "id": 7,
        "small": 3,
        "ratio": 2.0,
        "price": Decimal("1.5000"),
        "title": "a",
        "born": date(2026, 11, 1),
        "local_at": datetime(2026, 11, 1, 1),
        "raw": b"ab",
        "tags": ["a"],
    }


@pytest.mark.parametrize(
    ("field", "value", "kind"),
    [
        ("id", True, "bool"),
        ("id", 1.5, "double"),
        ("id", 2**63, "text"),
        ("id", "1_000", "text"),
        ("small", 2**31, "bigint"),
        ("flag", 2, "bigint"),
        ("ratio", 2**53 + 1, "bigint"),
        ("ratio", "", "text"),
        ("price", "abc", "text"),
        ("price", 0.12345, "double"),
        ("price", float("nan"), "text"),
        ("price", 10**34, "text"),
        ("price", 5e-324, "double"),
        ("price", "123e34", "text"),
        ("price", "1" * 36, "text"),
        ("id", "1e-50", "text"),
        ("title", b"a", "binary"),
        ("title", "\ud800", "text"),
        ("born", "2026-11-01T00:00:01Z", "text"),
        ("at", "2026-11-01T00:00:00.0000001Z", "text"),
        ("at", 1_700_000_000, "bigint"),
        ("doc", "{", "text"),
        ("doc", {"a": float("nan")}, "text"),
        ("raw", "a", "text"),
        ("tags", "a", "text"),
        ("prices", ["1.5", "x"], "text"),
    ],
)
def test_a_value_that_does_not_fit_is_named_in_one_line(
    lands: Callable[..., Load], field: str, value: Any, kind: str
) -> None:
    type_ = next(c.type for c in EVERY_TYPE.columns if c.name == field)
    with pytest.raises(LandingError) as raised:
        lands([FULL, FULL | {field: value}], EVERY_TYPE, "at")
    assert str(raised.value) == (
        f"raw/orders.{field} is declared {type_}, but the source sent {kind}: "
        "convert it in the source, or change the declaration."
    )
    assert not raised.value.retryable


def test_a_value_is_quoted_only_where_it_may_be(lands: Callable[..., Load]) -> None:
    with pytest.raises(LandingError, match=r"raw/orders.total is declared DECIMAL\(10,2\).* sent 'abc' \(text\): "):
        lands([order(1, "2026-11-01", total="abc")], quote_values=True)


@pytest.mark.parametrize(
    ("field", "array"),
    [
        ("price", pa.array([None, "abc"])),
        ("id", pa.array([1, 2**63], pa.uint64())),
        ("id", pa.array([True, False])),
        ("born", pa.array([0, 1], pa.timestamp("s"))),
        ("at", pa.array([0, 1], pa.timestamp("ns", tz="UTC"))),
        ("ratio", pa.array([0, 2**60 + 1])),
        ("ratio", pa.array(["0", str(2**53 + 1)])),
        ("raw", pa.array(["a", "b"])),
        ("price", pa.array([b"1", b"2"])),
        ("small", pa.array([date(2026, 11, 1)] * 2)),
        ("doc", pa.array(["{}", "NaN"])),
    ],
)
def test_an_arrow_column_that_does_not_fit_is_named_too(
    lands: Callable[..., Load], field: str, array: pa.Array
) -> None:
    arrow = pa.table({"id": [1, 1], "at": [FULL["at"]] * 2})
    arrow = arrow.drop_columns(field) if field in arrow.column_names else arrow
    with pytest.raises(LandingError, match=rf"^raw/orders\.{field} is declared .*"):
        lands(arrow.append_column(field, array), EVERY_TYPE, "at")


def seconds(value: int) -> pa.Array:
    return pa.array([value], pa.timestamp("s"))


YEAR_1, YEAR_9999, YEAR_262000 = -62_135_596_800, 253_402_300_799, 8_205_677_568_000


def test_the_first_and_the_last_year_of_python_land(lands: Callable[..., Load]) -> None:
    rows = [order(1, "0001-01-01"), order(2, "9999-12-31T23:59:59.999999Z"), order(3, "2026-11-01")]
    load = lands(rows)
    assert (ids(load)[FIRST], list(load.early), load.rows_before) == ([3], [date(9999, 12, 31)], 1)
    at = pa.array([FULL["at"]])
    arrow = pa.table(
        {"id": [1], "at": at, "local_at": seconds(YEAR_9999), "born": seconds(YEAR_1), "x": seconds(YEAR_1)}
    )
    (row,) = rows_of(lands(arrow, EVERY_TYPE, "at").files[FIRST])
    assert row["local_at"] == datetime(9999, 12, 31, 23, 59, 59)
    assert (row["born"], row["x"]) == (date(1, 1, 1), datetime(1, 1, 1, tzinfo=UTC))


@pytest.mark.parametrize("beyond", [YEAR_1 - 1, YEAR_9999 + 1, YEAR_262000, 2**60])
@pytest.mark.parametrize("field", ["at", "local_at", "born"])
def test_a_time_beyond_python_s_years_names_its_column(lands: Callable[..., Load], field: str, beyond: int) -> None:
    arrow = pa.table({"id": [1], "at": [FULL["at"]]})
    arrow = arrow.drop_columns(field) if field in arrow.column_names else arrow
    with pytest.raises(LandingError, match=rf"raw/orders\.{field} .* sent timestamp beyond .* the years 1 to 9999: "):
        lands(arrow.append_column(field, seconds(beyond)), EVERY_TYPE, "at")


def test_a_day_beyond_python_s_years_is_an_error(lands: Callable[..., Load]) -> None:
    for at, day in ((YEAR_262000, "to_timestamp(seen)"), ("infinity", "seen")):
        with pytest.raises(LandingError, match=r"raw/orders: 1 row has no day, .* beyond the years 1 to 9999"):
            lands([{"id": 1, "seen": at}], table([ORDERS.columns[0]]), day)


def test_an_undeclared_time_that_fits_no_datetime_lands_as_text(lands: Callable[..., Load]) -> None:
    arrow = pa.table(
        {
            "id": [1],
            "updated_at": pa.array([FULL["at"]]),
            "late": seconds(YEAR_9999 + 1),
            "fine": pa.array([1], pa.timestamp("ns")),
        }
    )
    (row,) = rows_of(lands(arrow).files[FIRST])
    assert (row["late"], row["fine"]) == ("10000-01-01 00:00:00", "1970-01-01 00:00:00.000000001")
    early = datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=14)))
    (row,) = rows_of(lands([order(1, "2026-11-01", x=early)]).files[FIRST])
    assert row["x"] == "0001-01-01T00:00:00+14:00"


def test_a_number_lands_exactly_whatever_it_came_as(lands: Callable[..., Load]) -> None:
    declared = table(
        [
            *ORDERS.columns,
            column("ratio", "DOUBLE", "x", nullable=True),
            column("flag", "BOOLEAN", "x", nullable=True),
        ]
    )
    numbers = [
        order(1, "2026-11-01", ratio=10**18, flag=1, total=" 1e1 "),
        {"id": "2.0", "updated_at": "2026-11-01", "ratio": 2**64},
    ]
    first, second = rows_of(lands(numbers, declared).files[FIRST])
    assert (first["ratio"], first["flag"], first["total"]) == (1e18, True, Decimal("10.00"))
    assert (second["id"], second["ratio"]) == (2, 2.0**64)


def test_undeclared_fields_evolve_and_lose_nothing(lands: Callable[..., Load]) -> None:
    rows: list[dict[str, Any]] = [
        order(1, "2026-11-01", x=1, nested={"a": [1]}, big=2**70, nan=float("nan"), text="\uf026\uf02d"),
        order(2, "2026-11-01", x="one", amount=Decimal("1.23"), at=datetime(2026, 11, 1), clock=time(1, 2)),
        order(3, "2026-11-01", x=1.5, amount=Decimal("1e-12"), ids={5}, raw=b"a"),
    ]
    first, second, third = (
        {k: v for k, v in row.items() if v is not None} for row in rows_of(lands(rows).files[FIRST])
    )
    at = {"updated_at": datetime(2026, 11, 1, tzinfo=UTC)}
    assert first == at | {
        "id": 1,
        "x": 1,
        "nested": '{"a":[1]}',
        "big": "1180591620717411303424",
        "nan": "nan",
        "text": "\uf026\uf02d",
    }
    assert second == at | {
        "id": 2,
        "x__v_text": "one",
        "amount": Decimal("1.230000000"),
        "at": datetime(2026, 11, 1),
        "clock": time(1, 2),
    }
    assert third == at | {"id": 3, "x__v_double": 1.5, "amount__v_text": "1E-12", "ids": "[5]", "raw": b"a"}


def test_undeclared_arrow_columns_evolve_too(lands: Callable[..., Load]) -> None:
    at = pa.array([FULL["at"]])
    load = lands(
        [
            pa.table(
                {"id": [1], "updated_at": at, "x": [1], "list": [["a"]], "lasts": pa.array([1], pa.duration("s"))}
            ),
            pa.table({"id": [2], "updated_at": at, "x": ["one"], "struct": [{"a": 1}], "none": pa.nulls(1)}),
            {"id": 3, "updated_at": "2026-11-01", "x": 3},
        ]
    )
    first, second, third = rows_of(load.files[FIRST])
    assert (first["x"], first["list"], first["lasts"]) == (1, ["a"], "0:00:01")
    assert (second["x__v_text"], second["struct"]) == ("one", {"a": 1})
    assert third["x"] == 3
    assert "none" not in first


def test_a_column_may_turn_up_late(lands: Callable[..., Load]) -> None:
    rows = [order(i, "2026-11-01", **({"late": i} if i == 11_999 else {})) for i in range(12_000)]
    landed = rows_of(lands(rows).files[FIRST])
    assert [row["id"] for row in landed] == list(range(12_000))
    assert [row["late"] for row in landed if row["late"] is not None] == [11_999]


def test_two_fields_of_one_name_both_land(lands: Callable[..., Load]) -> None:
    (row,) = rows_of(lands([order(1, "2026-11-01", fooBar=1, foo_bar=2, FooBar=3, _dlt_id="a", Total=5)]).files[FIRST])
    assert {k: v for k, v in row.items() if k not in {"id", "updated_at"}} == {
        "total": Decimal("5.00"),
        "foo_bar": 1,
        "foo_bar_2": 2,
        "foo_bar_3": 3,
        "_dlt_id_": "a",
    }


def test_two_arrow_columns_of_one_name_are_an_error(lands: Callable[..., Load]) -> None:
    with pytest.raises(LandingError, match=r"raw/orders: .* two columns named id"):
        lands(pa.table([pa.array([1]), pa.array([2])], names=["id", "id"]))


def test_two_fields_for_one_declared_column_are_an_error_or_land_apart(lands: Callable[..., Load]) -> None:
    (row,) = rows_of(lands([order(1, "2026-11-01", Total=1, total=2)]).files[FIRST])
    assert (row["total"], row["total_2"]) == (Decimal("2.00"), 1)
    late = [order(1, "2026-11-01", Total=1)] * 3_000 + [order(1, "2026-11-01", total=2)]
    with pytest.raises(LandingError, match=r"raw/orders.total is declared once, .* both 'Total' and 'total'"):
        lands(late)


# --- Sources ----------------------------------------------------------------------------------------------------------


def test_any_source_of_one_table_lands(lands: Callable[..., Load]) -> None:
    @dlt.resource(primary_key="id", write_disposition="merge", table_name="elsewhere")
    def orders() -> Iterator[list[dict[str, Any]]]:
        yield [order(1, "2026-11-01"), order(2, "2026-11-01")]

    @dlt.source
    def shop() -> Any:
        return orders, dlt.resource([{"id": 3}], name="customers")

    @dlt.transformer(data_from=orders)
    def details(page: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return [row | {"detail": row["id"] * 10} for row in page]

    assert ids(lands(orders))[FIRST] == [1, 2]
    assert ids(lands(shop().with_resources("orders")))[FIRST] == [1, 2]
    assert ids(lands(details))[FIRST] == [1, 2]
    assert ids(lands([[order(1, "2026-11-01")], order(2, "2026-11-01"), None]))[FIRST] == [1, 2]
    with pytest.raises(LandingError, match=r"has the resources orders, customers, .* \.with_resources\('orders'\)"):
        lands(shop())


@pytest.mark.parametrize("source", [5, "abc", [5], [["a"]]])
def test_what_is_no_row_is_an_error(lands: Callable[..., Load], source: Any) -> None:
    with pytest.raises(LandingError, match=r"raw/orders: "):
        lands(source)


def test_csv_files_land(lands: Callable[..., Load], tmp_path: Path) -> None:
    (tmp_path / "prices").mkdir()
    (tmp_path / "prices" / "1.csv").write_text("id,updated_at,total\n1,2026-11-01,1.50\n2,2026-11-02,\n")

    # dlt's own CSV readers need pandas, or a DuckDB before 2.0.
    @dlt.transformer
    def read_csv(files: list[Any]) -> Iterator[pa.Table]:
        for file in files:
            with file.open() as opened:
                yield csv.read_csv(opened)

    files = filesystem(bucket_url=(tmp_path / "prices").as_uri(), file_glob="*.csv")
    load = lands(files | read_csv)
    assert rows_of(load.files[FIRST])[0]["total"] == Decimal("1.50")
    assert ids(load)[date(2026, 11, 2)] == [2]


# --- REST -------------------------------------------------------------------------------------------------------------


class Shop(ThreadingHTTPServer):
    """A paginated API of orders, two a page, newest last; it fails as told."""

    def __init__(self) -> None:
        """Listen on a free port."""
        super().__init__(("127.0.0.1", 0), ShopHandler)
        self.orders: list[dict[str, Any]] = []
        self.queries: list[dict[str, list[str]]] = []
        self.statuses: list[int] = []
        self.truncated = False

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.server_port}/"


class ShopHandler(BaseHTTPRequestHandler):
    """Answers one request."""

    server: Shop  # pyright: ignore[reportIncompatibleVariableOverride]

    def do_GET(self) -> None:
        """A page of the orders updated since."""
        query = parse_qs(urlsplit(self.path).query)
        self.server.queries.append(query)
        status = self.server.statuses.pop(0) if self.server.statuses else 200
        page = int(query.get("page", ["1"])[0])
        since = query.get("updated_since", [""])[0]
        found = [o for o in self.server.orders if o["updated_at"][:19] >= since[:19]]
        body = json.dumps({"orders": found[2 * page - 2 : 2 * page], "pages": (len(found) + 1) // 2}).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body) + self.server.truncated))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


@pytest.fixture
def shop() -> Iterator[Shop]:
    with Shop() as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def shop_config(shop: Shop, days: Days, cursor: Any = None, **client: Any) -> Any:
    options = {"request_max_attempts": 2, "request_backoff_factor": 0.01} | client
    return {
        "client": {
            "base_url": shop.url,
            "session": days.session(**options),
            "paginator": {"type": "page_number", "base_page": 1, "total_path": "pages"},
        },
        "resources": [
            {
                "name": "orders",
                "endpoint": {
                    "path": "orders",
                    "data_selector": "orders",
                    "params": {"updated_since": cursor or days.cursor("updated_at")},
                },
            }
        ],
    }


def test_a_rest_api_lands_from_its_cursor_with_late_updates(lands: Callable[..., Load], shop: Shop) -> None:
    shop.orders = [
        order(1, "2026-10-31T23:00:00Z"),
        order(2, "2026-11-01T00:00:00.5Z", total="1.50", lines=[{"sku": "a"}]),
        order(3, "2026-11-01T00:00:00+00:00"),
        order(4, "2026-11-02T00:00:00Z"),
        order(5, "2026-11-05T00:00:00Z"),
        order(6, "2026-11-05T00:00:00Z"),
    ]
    days = Days.between(FIRST, LAST)
    load = lands(rest_api_resources(shop_config(shop, days))[0], days=days)
    assert ids(load) == {FIRST: [2, 3], date(2026, 11, 2): [4], LAST: [], date(2026, 11, 5): [5, 6]}
    assert {query["updated_since"][0] for query in shop.queries} == {"2026-11-01T00:00:00Z"}
    assert days.requests == len(shop.queries) == 3
    assert rows_of(load.files[FIRST])[0]["lines"] == '[{"sku":"a"}]'
    assert ids(lands(rest_api_source(shop_config(shop, days)), days=days)) == ids(load)


def test_an_api_sorted_newest_first_is_read_until_it_is_older_than_the_range(
    lands: Callable[..., Load], shop: Shop
) -> None:
    shop.orders = [order(i, f"2026-11-0{9 - i}T00:00:00Z") for i in range(1, 9)]
    shop.orders += [order(i, "2026-01-01T00:00:00Z") for i in range(9, 40)]
    days = Days.between(FIRST, LAST)
    config = shop_config(shop, days)
    del config["resources"][0]["endpoint"]["params"]
    resource = rest_api_resources(config)[0].add_step(days.cursor("updated_at", row_order="desc"))
    load = lands(resource, days=days)
    assert len(shop.queries) <= 6
    assert ids(load)[FIRST] == [8]


def test_a_server_error_that_passes_is_retried_and_counted(lands: Callable[..., Load], shop: Shop) -> None:
    shop.orders, shop.statuses = [order(1, "2026-11-01T00:00:00Z")], [503]
    days = Days.between(FIRST, LAST)
    assert ids(lands(rest_api_resources(shop_config(shop, days))[0], days=days))[FIRST] == [1]
    assert days.requests == 2


@pytest.mark.parametrize(("status", "retryable"), [(404, False), (401, False), (429, True), (500, True), (503, True)])
def test_an_http_error_is_one_line_and_says_whether_a_retry_may_help(
    lands: Callable[..., Load], shop: Shop, status: int, retryable: bool
) -> None:
    shop.statuses = [status] * 9
    days = Days.between(FIRST, LAST)
    with pytest.raises(LandingError) as raised:
        lands(rest_api_resources(shop_config(shop, days))[0], days=days)
    assert str(raised.value).startswith(f"raw/orders: HTTPError: {status} ")
    assert "\n" not in str(raised.value)
    assert raised.value.retryable is retryable


def test_a_truncated_response_and_a_lost_connection_may_be_retried(lands: Callable[..., Load], shop: Shop) -> None:
    shop.orders, shop.truncated = [order(1, "2026-11-01T00:00:00Z")], True
    days = Days.between(FIRST, LAST)
    with pytest.raises(LandingError) as truncated:
        lands(rest_api_resources(shop_config(shop, days))[0], days=days)
    assert truncated.value.retryable
    config = shop_config(shop, days)
    config["client"]["base_url"] = "http://127.0.0.1:9/"
    with pytest.raises(LandingError) as refused:
        lands(rest_api_resources(config)[0], days=days)
    assert refused.value.retryable


# --- Errors -----------------------------------------------------------------------------------------------------------


def failing(error: Exception) -> Any:
    @dlt.resource
    def orders() -> Iterator[dict[str, Any]]:
        yield order(1, "2026-11-01")
        raise error

    return orders


class RateLimitError(Exception):
    """An error that its source has classified."""

    retryable = True


def test_a_classified_error_of_the_source_passes_as_it_is(lands: Callable[..., Load]) -> None:
    error = RateLimitError("later")
    with pytest.raises(RateLimitError) as raised:
        lands(failing(error))
    assert raised.value is error
    assert error.__cause__ is None


@pytest.mark.parametrize(
    ("error", "retryable"),
    [
        (ConnectionResetError("reset"), True),
        (TimeoutError("slow"), True),
        (requests.Timeout("slow"), True),
        (OperationalError("SELECT", {}, Exception("gone")), True),
        (sqlite3.OperationalError("locked"), True),
        (KeyError("x"), False),
        (ValueError("two\nlines"), False),
    ],
)
def test_any_other_error_is_one_line_with_its_class(
    lands: Callable[..., Load], error: Exception, retryable: bool
) -> None:
    with pytest.raises(LandingError) as raised:
        lands(failing(error))
    assert raised.value.retryable is retryable
    assert raised.value.__cause__ is error
    assert str(raised.value).startswith(f"raw/orders: {type(error).__name__}: ")
    assert "\n" not in str(raised.value)


def test_an_error_of_the_disk_stays_an_oserror(lands: Callable[..., Load]) -> None:
    with pytest.raises(OSError, match="No space left"):
        lands(failing(OSError(28, "No space left on device")))


def test_landing_changes_no_setting_of_the_process(lands: Callable[..., Load]) -> None:
    before = dict(os.environ)
    lands([order(1, "2026-11-01")])
    assert dict(os.environ) == before
    assert not Container()[PipelineContext].is_active()
    assert not is_telemetry_started() or anon_tracker._ANON_TRACKER_ENDPOINT is None  # pyright: ignore[reportPrivateUsage]


# --- Databases --------------------------------------------------------------------------------------------------------

CUSTOMERS = table(
    [
        column("id", "BIGINT", "x"),
        column("balance", "DECIMAL(12,2)", "x", nullable=True),
        column("born", "DATE", "x", nullable=True),
        column("updated_at", "TIMESTAMP", "x"),
    ]
)


def test_a_sqlite_table_lands_from_its_cursor(lands: Callable[..., Load], tmp_path: Path) -> None:
    engine = sqlalchemy.create_engine(f"sqlite:///{tmp_path / 'shop.db'}")
    with engine.begin() as connection:
        connection.exec_driver_sql(
            "CREATE TABLE customers (id INTEGER PRIMARY KEY, balance NUMERIC(12,2), born DATE, updated_at TIMESTAMP)"
        )
        connection.exec_driver_sql(
            "INSERT INTO customers VALUES (1, 1.5, '1990-01-01', '2026-10-31 23:59:59.000000'), "
            "(2, 2.25, NULL, '2026-11-01 00:00:00.000000'), (3, NULL, '1990-02-03', '2026-11-09 10:00:00.000000')"
        )
    days = Days.between(FIRST, LAST)
    for backend in ("sqlalchemy", "pyarrow"):
        resource = sql_table(engine, "customers", backend=backend, incremental=days.cursor("updated_at"))
        load = lands(resource, CUSTOMERS, days=days)
        assert ids(load) == {FIRST: [2], date(2026, 11, 2): [], LAST: [], date(2026, 11, 9): [3]}
        assert load.rows_before == 0
        assert rows_of(load.files[FIRST])[0]["balance"] == Decimal("2.25")
    engine.dispose()


@contextmanager
def postgres() -> Generator[sqlalchemy.Engine]:
    """A PostgreSQL of its own, on a socket, in a zone far from UTC."""
    binaries = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    pytest.importorskip("psycopg")
    if not binaries or not shutil.which("runuser"):
        pytest.skip("no PostgreSQL")
    root = os.geteuid() == 0
    as_user = ["runuser", "-u", "nobody", "--"] if root else []
    with TemporaryDirectory(prefix="pg-", dir="/tmp") as data, ExitStack() as stack:
        if root:
            shutil.chown(data, "nobody")

        def run(*command: str) -> None:
            subprocess.run([*as_user, *command], check=True, capture_output=True, cwd=data)

        run(str(binaries[-1] / "initdb"), "-D", f"{data}/db", "-U", "shop", "-A", "trust", "--no-sync")
        options = f"-c listen_addresses= -c unix_socket_directories={data} -c timezone=Pacific/Auckland -c fsync=off"
        control = str(binaries[-1] / "pg_ctl")
        run(control, "-D", f"{data}/db", "-o", options, "-l", f"{data}/log", "-w", "start")
        stack.callback(run, control, "-D", f"{data}/db", "-m", "immediate", "-w", "stop")
        engine = sqlalchemy.create_engine(f"postgresql://shop@/postgres?host={data}")
        stack.callback(engine.dispose)
        yield engine


def test_a_postgresql_table_lands_whatever_the_server_s_zone(lands: Callable[..., Load]) -> None:
    declared = table(
        [
            *CUSTOMERS.columns,
            column("seen_at", "TIMESTAMPTZ", "x"),
            column("tags", "VARCHAR[]", "x"),
            column("doc", "JSON", "x"),
        ]
    )
    with postgres() as engine:
        with engine.begin() as connection:
            connection.exec_driver_sql(
                "CREATE TABLE customers (id bigint PRIMARY KEY, balance numeric(12,2), born date, "
                "updated_at timestamp, seen_at timestamptz, tags text[], doc jsonb)"
            )
            connection.exec_driver_sql(
                "INSERT INTO customers SELECT id, 2.25, at::date, at, at AT TIME ZONE 'UTC', '{a,b}', '{\"a\": 1}' "
                "FROM (VALUES (1, timestamp '2026-10-31 23:59:59'), (2, '2026-11-01 00:00:00'), "
                "(3, '2026-11-03 23:59:59.999999'), (4, '2026-11-04 00:00:00')) AS given(id, at)"
            )
        days = Days.between(FIRST, LAST)
        expected = {FIRST: [2], date(2026, 11, 2): [], LAST: [3], date(2026, 11, 4): [4]}
        for backend in ("sqlalchemy", "pyarrow"):
            for field, options in (("updated_at", {"naive": True}), ("seen_at", {}), ("born", {"naive": True})):
                cursor = days.cursor(field, **options)
                load = lands(
                    sql_table(engine, "customers", backend=backend, incremental=cursor), declared, field, days=days
                )
                assert ids(load) == expected, (backend, field)
                assert load.rows_before == 0
        (row,) = rows_of(load.files[FIRST])
        assert row == {
            "id": 2,
            "balance": Decimal("2.25"),
            "born": FIRST,
            "updated_at": datetime(2026, 11, 1),
            "seen_at": datetime(2026, 11, 1, tzinfo=UTC),
            "tags": ["a", "b"],
            "doc": row["doc"],
        }
        assert json.loads(row["doc"]) == {"a": 1}
