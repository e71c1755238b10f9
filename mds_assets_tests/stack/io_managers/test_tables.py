"""Promises of a table in the lake: a file a day that any engine reads, and metadata on every day's materialization."""

from collections.abc import Callable
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
from dagster import AssetsDefinition

import mds_assets.stack.settings as stack_settings
from mds_assets_tests.stack.io_managers.warehouse import (
    D0,
    D1,
    D2,
    D3,
    D4,
    KINDS,
    PAIRS,
    Warehouse,
    as_kind,
    metadata_by_day,
    pairs,
    passes_on,
    writes,
)


@pytest.mark.parametrize("kind", KINDS)
def test_a_range_is_split_by_day_and_a_day_without_rows_gets_an_empty_typed_file(warehouse: Warehouse, kind: str):
    rows = pairs((3, "c", D3), (1, "a", D1), (4, None, D3))
    source = writes(lambda _: as_kind(rows, kind))
    warehouse.run(source, D1, D3)
    assert warehouse.content(source) == {
        f"day={D1}": [{"id": 1, "name": "a"}],
        f"day={D2}": [],
        f"day={D3}": [{"id": 3, "name": "c"}, {"id": 4, "name": None}],
    }
    for day in (D1, D2, D3):
        # Names and types; which columns may be null is up to the declaration alone.
        schema = pq.read_schema(warehouse.file(source, day))
        assert [(field.name, field.type) for field in schema] == [("id", pa.int64()), ("name", _text(schema))]


def _text(schema: pa.Schema) -> pa.DataType:
    # Polars writes Arrow's large strings; in Parquet both are the same BYTE_ARRAY (UTF8).
    return pa.large_string() if schema.field("name").type == pa.large_string() else pa.string()


@pytest.mark.parametrize("kind", KINDS)
def test_no_rows_at_all_give_an_empty_file_for_one_day_and_for_each_of_many(warehouse: Warehouse, kind: str):
    source = writes(lambda _: as_kind(pairs(), kind))
    warehouse.run(source, D0)
    warehouse.run(source, D1, D2)
    assert warehouse.content(source) == {f"day={day}": [] for day in (D0, D1, D2)}


@pytest.mark.parametrize("kind", KINDS)
def test_a_run_replaces_its_days_and_no_other(warehouse: Warehouse, kind: str):
    warehouse.run(writes(lambda days: pairs(*((1, "old", day) for day in days))), D0, D3)
    before = warehouse.listing()
    source = writes(lambda _: as_kind(pairs((2, "new", D1)), kind))
    warehouse.run(source, D1, D2)
    old, new = [{"id": 1, "name": "old"}], [{"id": 2, "name": "new"}]
    assert warehouse.content(source) == {f"day={D0}": old, f"day={D1}": new, f"day={D2}": [], f"day={D3}": old}
    after = warehouse.listing()
    assert {path for path in before | after if before.get(path) != after.get(path)} == {
        f"staging/written/day={day}/data.parquet" for day in (D1, D2)
    }


@pytest.mark.parametrize("kind", KINDS)
def test_plain_duckdb_polars_and_pyarrow_read_a_table_as_hive_partitions(warehouse: Warehouse, kind: str):
    source = writes(lambda _: as_kind(pairs((1, "a", D1), (2, "b", D3)), kind))
    warehouse.run(source, D1, D3)
    folder = warehouse.folder(source)
    expected = [{"id": 1, "name": "a", "day": D1}, {"id": 2, "name": "b", "day": D3}]

    relation = duckdb.read_parquet(f"{folder}/*/*.parquet", hive_partitioning=True)
    assert relation.order("id").to_arrow_table().to_pylist() == expected
    assert pl.scan_parquet(folder, hive_partitioning=True).sort("id").collect().to_dicts() == expected
    day = ds.partitioning(pa.schema([("day", pa.date32())]), flavor="hive")
    assert ds.dataset(folder, partitioning=day).to_table().sort_by("id").to_pylist() == expected


@pytest.mark.slow(6)
@pytest.mark.parametrize("kind", ["relation", "table", "lazyframe"])
def test_four_hundred_days_in_one_run_give_one_file_each(warehouse: Warehouse, kind: str):
    days = [D0 + timedelta(days=n) for n in range(400)]
    rows = pairs(*((n, "x", day) for n in range(20) for day in days))
    source = writes(lambda _: as_kind(rows, kind))
    metadata = metadata_by_day(warehouse.run(source, days[0], days[-1]), source.key)
    assert {day: facts["dagster/partition_row_count"] for day, facts in metadata.items()} == {
        str(day): 20 for day in days
    }
    written = [path for path in warehouse.listing() if path.count("/") > 2]
    assert sorted(written) == [f"staging/written/day={day}/data.parquet" for day in days]


@pytest.mark.parametrize(
    "make",
    [
        lambda: duckdb.sql(
            f"SELECT n AS id, 'x' AS name, DATE '{D1}' + (n % 3)::INT AS day FROM range(1_500_000) t(n)"  # noqa: S608
        ),
        lambda: pl.LazyFrame({"id": range(1_500_000)}).with_columns(
            name=pl.lit("x"), day=D1 + pl.duration(days=pl.col("id") % 3)
        ),
    ],
    ids=["relation", "lazyframe"],
)  # fmt: skip
def test_a_day_of_many_rows_is_still_one_file(warehouse: Warehouse, make: Callable[[], Any]):
    source = writes(lambda _: make())
    metadata = metadata_by_day(warehouse.run(source, D1, D3), source.key)
    assert [facts["dagster/partition_row_count"] for facts in metadata.values()] == [500_000] * 3
    assert sum(path.endswith(".parquet") for path in warehouse.listing()) == 3


@pytest.mark.parametrize("kind", KINDS)
def test_each_days_materialization_has_rows_columns_uri_bytes_and_seconds(warehouse: Warehouse, kind: str):
    source = writes(lambda _: as_kind(pairs((1, "a", D1), (2, "b", D3), (3, "c", D3)), kind))
    metadata = metadata_by_day(warehouse.run(source, D1, D3), source.key)
    assert list(metadata) == [str(D1), str(D2), str(D3)]
    assert [facts["dagster/partition_row_count"] for facts in metadata.values()] == [1, 0, 2]
    for day, facts in metadata.items():
        assert facts["dagster/column_schema"] == PAIRS.dagster_schema
        assert Path(facts["dagster/uri"]) == warehouse.file(source, date.fromisoformat(day))
        assert facts["bytes"] == Path(facts["dagster/uri"]).stat().st_size
        assert facts["seconds"] >= 0


def test_each_days_materialization_has_its_own_window_and_what_was_missing_in_it(warehouse: Warehouse):
    source = writes(lambda days: pairs(*((1, "x", day) for day in days)))
    mart = passes_on(source, pl.LazyFrame, change=lambda rows: rows.filter(pl.col("day") >= D2), lookback=True)
    for day in (D1, D2, D4):
        warehouse.run(source, day)
    metadata = metadata_by_day(warehouse.run([source, mart], D2, D4, only=mart), mart.key)

    def facts(day: date) -> list[Any]:
        return [metadata[str(day)][f"staging/written/{fact}"] for fact in ("window", "days_found", "days_missing")]

    assert facts(D2) == [f"{D0}...{D2}", 2, [str(D0)]]
    assert facts(D3) == [f"{D1}...{D3}", 2, [str(D3)]]
    assert facts(D4) == [f"{D2}...{D4}", 2, [str(D3)]]


def test_an_input_of_the_same_day_is_a_window_of_one(warehouse: Warehouse):
    source = writes(lambda days: pairs(*((1, "x", day) for day in days)))
    copy = passes_on(source, pl.LazyFrame)
    warehouse.run(source, D1)
    metadata = metadata_by_day(warehouse.run([source, copy], D1, D2, only=copy), copy.key)
    for day, found, missing in ((D1, 1, []), (D2, 0, [str(D2)])):
        facts = metadata[str(day)]
        assert facts["staging/written/window"] == f"{day}...{day}"
        assert (facts["staging/written/days_found"], facts["staging/written/days_missing"]) == (found, missing)


def test_the_first_partitions_window_counts_the_days_before_it_as_missing(warehouse: Warehouse):
    source = writes(lambda days: pairs(*((1, "x", day) for day in days)))
    mart = passes_on(source, pl.LazyFrame, lookback=True)
    metadata = metadata_by_day(warehouse.run([source, mart], D0), mart.key)
    assert metadata[str(D0)]["staging/written/days_found"] == 1
    assert metadata[str(D0)]["staging/written/days_missing"] == ["2024-02-24", "2024-02-25"]


@pytest.mark.parametrize("kind", KINDS)
def test_no_value_of_a_row_reaches_the_event_log(warehouse: Warehouse, kind: str):
    source = writes(lambda _: as_kind(pairs((1, "a private name", D1)), kind))
    copy = passes_on(source, KINDS[kind])
    result = warehouse.run([source, copy], D1)
    assert not [event for event in result.all_events if "a private name" in repr(event)]


@pytest.mark.parametrize("kind", KINDS)
def test_a_preview_shows_the_first_rows_of_the_runs_last_day_in_order(tmp_path: Path, kind: str):
    warehouse = Warehouse(tmp_path, preview_rows=2)
    source = writes(lambda _: as_kind(pairs((9, "z", D1), (3, "c", D2), (1, "a", D2), (2, None, D2)), kind))
    facts = metadata_by_day(warehouse.run(source, D1, D2), source.key)
    assert "preview" not in facts[str(D1)]
    assert [row.data for row in facts[str(D2)]["preview"].records] == [{"id": 1, "name": "a"}, {"id": 2, "name": None}]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("preview_rows", [None, 0, 9])
def test_where_a_source_has_a_secret_only_rows_that_the_declaration_calls_public_are_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, preview_rows: int | None
):
    """MDS_PREVIEW_ROWS decides if it is set: no row, or any row."""
    monkeypatch.setattr(stack_settings, "loaded_sources", lambda: [stack_settings.settings])
    monkeypatch.setattr(stack_settings, "given_secrets", lambda _: ["a token"])
    warehouse = Warehouse(tmp_path, preview_rows=preview_rows)
    rows = pairs(*((n, name, D1) for n, name in enumerate(["hush", "public", None, *["public"] * 6])))
    source = writes(lambda _: as_kind(rows, kind), declared=replace(PAIRS, public="name = 'public'"))
    other = writes(lambda _: as_kind(rows, kind), "undeclared")
    result = warehouse.run([source, other], D1)

    def shown(table: AssetsDefinition) -> list[Any] | None:
        preview = metadata_by_day(result, table.key)[str(D1)].get("preview")
        return [row.data["id"] for row in preview.records] if preview else None

    of_public = {None: [1, 3, 4, 5, 6], 0: None, 9: list(range(9))}
    assert shown(source) == of_public[preview_rows]
    assert shown(other) == (list(range(9)) if preview_rows else None)
    assert preview_rows or not [event for event in result.all_events if "hush" in repr(event)]
