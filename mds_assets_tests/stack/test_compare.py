"""Promises of `compare`: it finds what differs, no more and no less, and says it without saying what is private."""

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from math import isnan, nan
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import duckdb
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from upath import UPath

from mds_assets.stack.compare import Difference, Sample, compare, to_markdown
from mds_assets.stack.lake.layout import partition_folder
from mds_assets.stack.table import Table, column, table

D1, D2 = date(2026, 3, 7), date(2026, 3, 8)
ORDERS = table(
    [
        column("id", "BIGINT", "The order."),
        column("country", "VARCHAR", "Where it goes.", nullable=True),
        column("mean", "DOUBLE", "A number.", nullable=True),
    ],
    key=["id"],
)
Row = dict[str, Any]
Days = Mapping[Any, Sequence[Row]]


def write(folder: Path, declared: Table, days: Days) -> list[UPath]:
    """A file for each day."""
    files: list[UPath] = []
    for day, rows in days.items():
        file = folder / partition_folder(day) / "data.parquet"
        file.parent.mkdir(parents=True)
        pq.write_table(pa.Table.from_pylist(list(rows), declared.arrow_schema()), file)
        files.append(UPath(file))
    return files


@pytest.fixture
def con() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as con:
        yield con


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "a 'lake' [of] x=y"


def diff(
    con: duckdb.DuckDBPyConnection,
    folder: Path,
    before: Days,
    after: Days,
    declared: Table = ORDERS,
    old: Table | None = None,
    **options: Any,
) -> Difference:
    files = write(folder / "before", old or declared, before), write(folder / "after", declared, after)
    partitioned = None not in {*before, *after}
    return compare(con, "marts/orders", declared, *files, partitioned=partitioned, **options)


def order(id: int, country: str | None = "A", mean: float | None = 1.5) -> Row:
    return {"id": id, "country": country, "mean": mean}


def test_equal_tables_do_not_differ(con: duckdb.DuckDBPyConnection, folder: Path):
    rows = [order(1), order(2, None, nan), order(3, "", None)]
    found = diff(con, folder, {D1: rows, D2: []}, {D1: rows[::-1], D2: []})
    assert found.is_empty
    assert (found.days, found.days_changed, found.rows_before, found.rows_after) == (2, 0, 3, 3)
    assert con.execute("SELECT count(*) FROM duckdb_tables()").fetchall() == [(0,)]


def test_rows_are_added_removed_and_changed_by_key_and_day(con: duckdb.DuckDBPyConnection, folder: Path):
    before = {D1: [order(1), order(2), order(3)], D2: [order(1)]}
    after = {D1: [order(1), order(2, "B", None), order(4)], D2: [order(1)]}
    found = diff(con, folder, before, after)
    assert (found.added, found.removed, found.changed, found.duplicate_keys) == (1, 1, 1, 0)
    assert (found.key, found.columns) == (["id", "day"], {"country": 1, "mean": 1})
    assert (found.days, found.days_changed) == (2, 1)
    key = {"id": "2", "day": str(D1)}
    assert found.samples == [
        Sample("changed", key, "country", "A", "B"),
        Sample("changed", key, "mean", "1.5", None),
        Sample("added", {"id": "4", "day": str(D1)}),
        Sample("removed", {"id": "3", "day": str(D1)}),
    ]


def test_a_table_without_days_and_one_without_a_key(con: duckdb.DuckDBPyConnection, folder: Path):
    found = diff(con, folder / "1", {None: [order(1)]}, {None: [order(1, "B")]})
    assert (found.days, found.changed, found.key) == (None, 1, ["id"])
    whole = table(ORDERS.columns)
    found = diff(con, folder / "2", {D1: [order(1)] * 3}, {D1: [order(1), order(1, "B")]}, whole)
    assert (found.added, found.removed, found.changed, found.columns) == (1, 2, 0, {})
    assert [sample.change for sample in found.samples] == ["added", "removed"]
    assert found.samples[0].key == {"id": "1", "country": "B", "mean": "1.5", "day": str(D1)}
    assert "rows are compared whole" in to_markdown([found])


def test_a_day_that_only_one_version_has_is_named_even_without_rows(con: duckdb.DuckDBPyConnection, folder: Path):
    found = diff(con, folder / "1", {D1: []}, {D2: []})
    assert (found.days_removed, found.days_added, found.is_empty, found.days_changed) == ([D1], [D2], False, 2)
    assert f"only there before: {D1}" in to_markdown([found])
    found = diff(con, folder / "2", {}, {D1: [order(1)]})
    assert (found.rows_before, found.rows_after, found.added, found.columns_added) == (0, 1, 1, [])
    assert compare(con, "x", ORDERS, [], []).is_empty


def test_a_key_that_comes_twice_neither_multiplies_nor_hides_rows(con: duckdb.DuckDBPyConnection, folder: Path):
    before = {D1: [order(1), order(1, "B"), order(1, "C"), order(2), order(3), order(3)]}
    after = {D1: [order(1), order(1, "X"), order(2, "B"), order(3), order(3)]}
    found = diff(con, folder, before, after)
    assert (found.added, found.removed, found.changed, found.duplicate_keys) == (1, 2, 1, 1)
    assert "Keys that come more than once: 1" in to_markdown([found])
    assert {sample.key["id"] for sample in found.samples if sample.change == "changed"} == {"2"}


def test_columns_of_one_version_are_named_and_the_others_compared(con: duckdb.DuckDBPyConnection, folder: Path):
    new = table([*ORDERS.columns[:2], column("total", "BIGINT", "New.")], key=["id"])
    after = {D1: [{"id": 1, "country": "B", "total": 1}]}
    found = diff(con, folder / "1", {D1: [order(1)]}, after, new, old=ORDERS)
    assert (found.columns_added, found.columns_removed, found.columns) == (["total"], ["mean"], {"country": 1})
    # A key that the old version does not have is none.
    by_total = table(new.columns, key=["total"])
    found = diff(con, folder / "2", {D1: [order(1)]}, after, by_total, old=ORDERS)
    assert (found.key, found.added, found.removed) == ([], 1, 1)
    # Nothing is left to compare but days.
    other = table([column("x", "BIGINT", "New.")], key=["x"])
    found = diff(con, folder / "3", {None: [order(1)] * 2}, {None: [{"x": 1}]}, other, old=ORDERS)
    assert (found.added, found.removed, found.is_empty) == (1, 2, False)


def test_a_column_of_another_type_is_compared_as_text(con: duckdb.DuckDBPyConnection, folder: Path):
    new = table([*ORDERS.columns[:2], column("mean", "BIGINT", "A number.")], key=["id"])
    found = diff(con, folder, {D1: [order(1, mean=1.5)]}, {D1: [order(1, mean=2)]}, new, old=ORDERS)
    assert (found.columns_retyped, found.columns) == ({"mean": ("DOUBLE", "BIGINT")}, {"mean": 1})
    assert found.samples == [Sample("changed", {"id": "1", "day": str(D1)}, "mean", "1.5", "2")]


VALUES = table(
    [column("id", "BIGINT", "Key."), column("json", "JSON", "JSON.", nullable=True),
     column("list", "DOUBLE[]", "A list.", nullable=True), column("at", "TIMESTAMPTZ", "A time.", nullable=True)],
    key=["id"],
)  # fmt: skip


@pytest.mark.parametrize(
    ("one", "other", "is_same"),
    [
        ('{"a": 1, "b": [1, {"c": null}]}', '{"b":[1,{"c":null}],"a":1}', True),
        ('{"a": 1}', '{"a": 1.0}', False),
        ("[1, 2]", "[2, 1]", False),
        ('{"a": 12345678901234567890123}', '{"a": 12345678901234567890124}', False),
        ('{"a": 1, "a": 2}', '{"a": 1, "a": 3}', False),
        ("null", None, False),
        ("{}", "[]", False),
        ('{"a": "1"}', '{"a": 1}', False),
        ("not json", "not  json", False),
    ],
)
def test_json_is_compared_as_a_value(
    con: duckdb.DuckDBPyConnection, folder: Path, one: str, other: str | None, is_same: bool
):
    before, after = ({D1: [{"id": 1, "json": each}]} for each in (one, other))
    found = diff(con, folder, before, after, VALUES)
    assert (found.changed, found.is_empty) == (int(not is_same), is_same)


def test_lists_are_compared_as_values(con: duckdb.DuckDBPyConnection, folder: Path):
    before = {D1: [{"id": n, "list": each} for n, each in enumerate([[nan, None], [1, 2], [], None])]}
    after = {D1: [{"id": n, "list": each} for n, each in enumerate([[nan, None], [2, 1], None, None])]}
    assert diff(con, folder, before, after, VALUES).columns == {"list": 2}


def test_which_engine_wrote_the_files_makes_no_difference(con: duckdb.DuckDBPyConnection, folder: Path):
    """DuckDB's say that a column is JSON, those of Polars that it is text."""
    one, other = (folder / each / partition_folder(D1) / "data.parquet" for each in "12")
    one.parent.mkdir(parents=True)
    other.parent.mkdir(parents=True)
    rows = "SELECT 1::BIGINT AS id, '{\"a\":1}'::JSON AS json, [0.1::DOUBLE] AS list, TIMESTAMPTZ '2026-01-01' AS at"
    con.execute(f"COPY ({rows}) TO '{str(one).replace(chr(39), chr(39) * 2)}' (FORMAT parquet)")
    pl.read_parquet(one, glob=False).cast({"json": pl.String}).write_parquet(other)
    found = compare(con, "x", VALUES, [UPath(one)], [UPath(other)])
    assert found.is_empty


def test_times_are_in_utc_whatever_the_connection_has(con: duckdb.DuckDBPyConnection, folder: Path):
    con.execute("SET TimeZone = 'Asia/Tokyo'")
    before, after = ({D1: [{"id": 1, "at": f"2026-03-07 0{hour}:00:00"}]} for hour in (1, 2))
    for each in (before, after):
        for row in each[D1]:
            row["at"] = pl.Series([row["at"]]).str.to_datetime(time_zone="UTC")[0]
    (sample,) = diff(con, folder, before, after, VALUES).samples
    assert (sample.before, sample.after) == ("2026-03-07 01:00:00+00", "2026-03-07 02:00:00+00")
    assert con.execute("SELECT current_setting('TimeZone')").fetchall() == [("Asia/Tokyo",)]


PRIVATE = table(
    [column("name", "VARCHAR", "A name.", private=True), column("stars", "BIGINT", "A number.", nullable=True),
     column("text", "VARCHAR", "A text.", nullable=True, private=True), column("visibility", "VARCHAR", "Whose.")],
    key=["name"],
    public="visibility = 'public'",
)  # fmt: skip


def secret(name: str, text: str, visibility: str = "private") -> Row:
    return {"name": name, "stars": len(text), "text": text, "visibility": visibility}


def test_private_values_are_only_shown_of_public_rows_or_if_allowed(con: duckdb.DuckDBPyConnection, folder: Path):
    before = {D1: [secret("n-public", "old-public", "public"), secret("n-private", "old-private"),
                   secret("n-opened", "old-opened"), secret("n-gone", "x")]}  # fmt: skip
    after = {D1: [secret("n-public", "new", "public"), secret("n-private", "new-private-"),
                  secret("n-opened", "new", "public"), secret("n-added", "x", "public")]}  # fmt: skip
    found = diff(con, folder / "1", before, after, PRIVATE)
    assert (found.changed, found.columns) == (3, {"stars": 3, "text": 3, "visibility": 1})
    said = repr(found) + to_markdown([found])
    for hidden in ("n-private", "old-private", "new-private", "n-opened", "old-opened", "n-gone"):
        assert hidden not in said
    for visible in ("n-public", "old-public", "n-added", "(private)"):
        assert visible in said
    found = diff(con, folder / "2", before, after, PRIVATE, show_values=True)
    assert "n-private" in to_markdown([found])
    assert "(private)" not in to_markdown([found])
    # The condition for public rows is about a column that the old version lacks.
    fewer = table(PRIVATE.columns[:3], key=["name"])
    old: Days = {D1: [{"name": "n-public", "stars": 0, "text": "old-public"}]}
    found = diff(con, folder / "3", old, after, PRIVATE, old=fewer)
    assert found.columns_added == ["visibility"]
    assert "public" not in repr(found.samples)
    # No condition at all.
    closed = table(PRIVATE.columns, key=["name"])
    assert "n-public" not in repr(diff(con, folder / "4", before, after, closed))


def test_samples_are_few_and_long_values_are_cut_where_they_differ(con: duckdb.DuckDBPyConnection, folder: Path):
    before = {D1: [order(n, "x" * 500 + "A") for n in range(100)]}
    after = {D1: [order(n, "x" * 500 + "B") for n in range(100)]}
    found = diff(con, folder, before, after)
    assert [sample.key["id"] for sample in found.samples] == list("01234")
    assert (found.samples[0].before, found.samples[0].after) == ("…" + "x" * 20 + "A", "…" + "x" * 20 + "B")


HOSTILE = "a|b`c` <b> @acme/all [x](https://evil.example) www.evil.example \\| #1 $x$ *y* _z_ \n| \x1b[0m &amp; <!-- "


def test_a_comment_shows_hostile_text_as_text(con: duckdb.DuckDBPyConnection, folder: Path):
    found = diff(con, folder, {D1: [order(1, HOSTILE[:70])]}, {D1: [order(1, HOSTILE[40:])]})
    comment = to_markdown([found, Difference("staging/same", days=1)], title="Diff of `main`")
    assert "### Diff of &#96;main&#96;" in comment
    assert "No difference: staging/same" in comment
    assert "| marts/orders | 1 of 1 | 1 | 1 | 0 | 0 | 1 |" in comment
    (line,) = (line for line in comment.splitlines() if "evil" in line)
    assert line.count("|") == 5
    text = line.replace("<code>", "").replace("</code>", "").replace("&#", "")
    assert not set("<>`*[]\\@!#$&") & set(text)
    assert "://" not in text
    assert "www." not in text


def test_a_comment_fits_into_one_comment():
    samples = [Sample("changed", {"id": str(n)}, "text", "<" * 80, ">" * 80) for n in range(25)]
    many = [Difference(f"marts/t{n}", days=1, changed=1, samples=samples) for n in range(60)]
    comment = to_markdown(many)
    assert len(comment) < 65_536
    assert "more tables do not fit" in comment
    assert "| marts/t59 |" in comment
    assert to_markdown([]) == "### Data diff\n\nNothing was compared.\n"


# Against plain Python

KEYS = st.sampled_from([1, 2, 3])
TEXTS = st.sampled_from([None, "", "a", "b"])
FLOATS = st.sampled_from([None, nan, 0.0, 1.5])
ROWS = st.lists(st.builds(order, KEYS, TEXTS, FLOATS), max_size=6)
VERSIONS = st.dictionaries(st.sampled_from([D1, D2]), ROWS, max_size=2)


def frozen(day: date | None, row: Row) -> tuple[Any, ...]:
    mean = row["mean"]
    return row["id"], day, row["country"], "nan" if mean is not None and isnan(mean) else mean


def expected(before: Days, after: Days, is_keyed: bool) -> tuple[int, int, int, int, dict[str, int]]:
    """Rows added, removed and changed, keys that come twice, and changes by column."""
    old, new = (Counter(frozen(day, row) for day, rows in days.items() for row in rows) for days in (before, after))
    added, removed = new - old, old - new
    if not is_keyed:
        return added.total(), removed.total(), 0, 0, {}
    columns: Counter[str] = Counter()
    changed, twice = 0, 0
    for key in {row[:2] for row in [*added, *removed]}:
        one, other = (sorted((row for row in each.elements() if row[:2] == key), key=str) for each in (old, new))
        if len(one) > 1 or len(other) > 1:
            twice += 1
        elif one and other:
            changed += 1
            columns.update(
                name for name, a, b in zip(("country", "mean"), one[0][2:], other[0][2:], strict=True) if a != b
            )
    return added.total() - changed, removed.total() - changed, changed, twice, dict(columns)


@given(VERSIONS, VERSIONS, st.booleans())
@pytest.mark.slow(7)
def test_it_agrees_with_plain_python(before: Days, after: Days, is_keyed: bool):
    declared = ORDERS if is_keyed else table(ORDERS.columns)
    with duckdb.connect(config={"threads": 1}) as con, TemporaryDirectory() as folder:
        found = diff(con, Path(folder), before, after, declared)
    actual = found.added, found.removed, found.changed, found.duplicate_keys, dict(found.columns)
    assert actual == expected(before, after, is_keyed)
    assert found.rows_before == sum(map(len, before.values()))
    assert found.rows_after == sum(map(len, after.values()))
    assert found.is_empty == (not any(actual[:3]) and before.keys() == after.keys())
    assert json.dumps(to_markdown([found]))
