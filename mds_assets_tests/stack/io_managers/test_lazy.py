"""Promises of laziness: filters reach the Parquet reader, and a table that is only passed on is never in memory."""

import os
import re
import subprocess
import sys
from pathlib import Path

import duckdb
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from dagster import AssetsDefinition

from mds_assets_tests.stack.io_managers.warehouse import D1, D2, D3, KINDS, Warehouse, pairs, to_rows, writes


@pytest.fixture
def three_days(warehouse: Warehouse) -> AssetsDefinition:
    source = writes(lambda days: pairs(*((n, "x", day) for day in days for n in range(3))))
    warehouse.run(source, D1, D3)
    return source


def test_duckdb_opens_only_the_files_days_and_columns_that_are_requested(
    warehouse: Warehouse, three_days: AssetsDefinition
):
    def plan(relation: duckdb.DuckDBPyRelation) -> str:
        return relation.filter(f"day = DATE '{D2}' AND id > 1").select("id").explain()

    explained = warehouse.look(three_days, duckdb.DuckDBPyRelation, plan, D1, D3)
    assert "Scanning Files: 1/3" in explained
    assert re.search(r"Projections: id\s", explained)
    assert "name" not in explained
    assert re.search(r"Filters: id\s*>\s*1", explained)


def test_polars_opens_only_the_files_days_and_columns_that_are_requested(
    warehouse: Warehouse, three_days: AssetsDefinition
):
    def plan(frame: pl.LazyFrame) -> str:
        return frame.filter(pl.col("day") == D2, pl.col("id") > 1).select("id").explain()

    explained = warehouse.look(three_days, pl.LazyFrame, plan, D1, D3)
    assert f"day={D2}/data.parquet" in explained
    assert f"day={D1}" not in explained
    assert "PROJECT 2/3 COLUMNS" in explained  # `id`, and `day` that the path holds
    assert re.search(r"SELECTION: .*id.*> 1", explained)


@pytest.mark.parametrize("kind", ["relation", "lazyframe"])
def test_a_lazy_input_reads_no_row_before_it_is_asked_to(warehouse: Warehouse, three_days: AssetsDefinition, kind: str):
    # Rows that no reader could decode, behind a footer that is whole.
    file = warehouse.file(three_days, D2)
    content = bytearray(file.read_bytes())
    footer = len(content) - 8 - int.from_bytes(content[-8:-4], "little")
    content[4:footer] = b"\xff" * (footer - 4)
    file.write_bytes(content)
    assert warehouse.look(
        three_days, KINDS[kind], lambda table: len(table.columns) if kind == "relation" else 3, D1, D3
    )
    # The day filter keeps clear of that file.
    rows = warehouse.look(
        three_days,
        KINDS[kind],
        lambda table: to_rows(table.filter(f"day = DATE '{D1}'" if kind == "relation" else pl.col("day") == D1)),
        D1,
        D3,
    )
    assert [row["id"] for row in rows] == [0, 1, 2]


_PASS_ON = """
import resource, sys
from pathlib import Path
from mds_assets_tests.stack.io_managers.warehouse import D1, D2, KINDS, Warehouse, pairs, passes_on, writes
kind, root, limit = sys.argv[1], Path(sys.argv[2]), sys.argv[3]
warehouse = Warehouse(root, duckdb_memory_limit=limit or None)
source = writes(lambda _: pairs())
copy = passes_on(source, KINDS[kind], kind)
for day in (D1, D2):  # a small one and a large one
    warehouse.run([source, copy], day, only=copy)
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
"""
ROWS = 50_000
SCHEMA = pa.schema([("id", pa.int64()), ("name", pa.string())])


def write_large(file: Path, batches: int) -> None:
    texts = [os.urandom(100).hex() for _ in range(ROWS)]
    file.parent.mkdir(parents=True)
    with pq.ParquetWriter(file, SCHEMA, use_dictionary=False) as writer:
        for _ in range(batches):
            writer.write_table(pa.table({"id": range(ROWS), "name": texts}, schema=SCHEMA))


def megabytes_for(kind: str, root: Path, limit: str) -> int:
    done = subprocess.run([sys.executable, "-c", _PASS_ON, kind, root, limit], stdout=subprocess.PIPE, check=True)
    small, large = [int(word) for word in done.stdout.split() if word.isdigit()]
    return large - small


# How far Polars reads ahead of its writer depends on how its threads are scheduled: 200 to 540 on two cores, idle or
# busy, whatever the size of the table. An eager type takes twice the table: 1,280 for 60 batches, 2,500 for 120.
@pytest.mark.parametrize(
    ("kind", "batches", "most_megabytes"),
    [("relation", 40, 300), pytest.param("lazyframe", 120, 900, marks=pytest.mark.slow(10))],
)
def test_a_table_that_is_only_passed_on_is_never_in_memory(
    tmp_path: Path, kind: str, batches: int, most_megabytes: int
):
    warehouse = Warehouse(tmp_path / "lake")
    source = writes(lambda _: pairs())
    write_large(warehouse.file(source, D1), 1)
    write_large(warehouse.file(source, D2), batches)  # 10 megabytes each
    # Without a limit, DuckDB uses as much memory as there is to buffer rows.
    assert megabytes_for(kind, warehouse.root, "200MB") < most_megabytes
