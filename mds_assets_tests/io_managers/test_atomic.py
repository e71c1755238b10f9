"""Promises of a write: one whole table or the other, whatever fails, and each table computed once."""

import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mds_assets_tests.io_managers.warehouse import (
    D0,
    D1,
    D2,
    D3,
    ENGINES,
    KINDS,
    Make,
    Rows,
    Warehouse,
    as_kind,
    pairs,
    to_rows,
    writes,
)

BATCH = 50_000
SCHEMA = pairs().schema


def batches(days: tuple[date, ...], number: int) -> Iterator[pa.RecordBatch]:
    """Batches with ids from 0 on, each with rows of every day."""
    names = pa.array(["x"] * BATCH)
    for batch in range(number):
        ids = pa.array(range(batch * BATCH, (batch + 1) * BATCH), pa.int64())
        yield pa.record_batch([ids, names, pa.array([days[n % len(days)] for n in range(BATCH)])], schema=SCHEMA)


def test_a_reader_always_sees_one_whole_table_while_it_is_rewritten(warehouse: Warehouse):
    rows = 200_000
    spread = random.Random(0).sample(range(10**9), rows)

    def version(number: int) -> pa.Table:
        ids = pa.array([number * 10**9 + n for n in spread], pa.int64())
        return pa.table([ids, pa.repeat("x", rows), pa.repeat(D1, rows)], schema=SCHEMA)

    versions = [version(number) for number in range(3)]
    source = writes(lambda _: versions[0])
    warehouse.run(source, D1)
    stopped = threading.Event()
    seen: set[tuple[int, int, int]] = set()
    problems: list[object] = []

    def read() -> None:
        while not stopped.is_set():
            try:
                (file,) = warehouse.folder(source).glob("*/*.parquet")
                ids = pl.Series(pq.ParquetFile(file).read()["id"])
                seen.add((len(ids), ids.min() // 10**9, ids.max() // 10**9))  # pyright: ignore
            except Exception as error:
                problems.append(error)

    readers = [threading.Thread(target=read) for _ in range(2)]
    for reader in readers:
        reader.start()
    try:
        for number, kind in enumerate([*KINDS, *KINDS, *KINDS], start=1):
            warehouse.run(writes(lambda _, n=number, kind=kind: as_kind(versions[n % 3], kind, 10_000)), D1)
    finally:
        stopped.set()
        for reader in readers:
            reader.join()
    assert problems == []
    assert seen == {(rows, number, number) for number in range(3)}


def _failing_reader() -> pa.RecordBatchReader:
    def rows() -> Iterator[pa.RecordBatch]:
        yield from batches((D1, D2), 10)
        raise RuntimeError("half-way")

    return pa.RecordBatchReader.from_batches(SCHEMA, rows())


def _failing_relation() -> duckdb.DuckDBPyRelation:
    return duckdb.sql(
        "SELECT CASE WHEN n > 900_000 THEN error('half-way') ELSE n END AS id, 'x' AS name, "  # noqa: S608
        f"DATE '{D1}' + (n % 2)::INT AS day FROM range(1_000_000) t(n)"
    )


def _failing_frame() -> pl.LazyFrame:
    def fail(frame: pl.DataFrame) -> pl.DataFrame:
        if 900_000 in frame["id"]:
            raise RuntimeError("half-way")
        return frame

    return (
        pl.LazyFrame({"id": range(1_000_000)})
        .with_columns(name=pl.lit("x"), day=D1 + pl.duration(days=pl.col("id") % 2))
        .map_batches(fail, streamable=True)
    )


def _failing_asset() -> None:
    raise RuntimeError("half-way")


@pytest.mark.parametrize("make", [_failing_reader, _failing_relation, _failing_frame, _failing_asset])
@pytest.mark.parametrize("last", [D1, D2], ids=["day", "range"])
def test_a_table_that_fails_half_way_leaves_the_old_days_and_no_trace(
    warehouse: Warehouse, make: Callable[[], Any], last: date
):
    warehouse.run(writes(lambda days: pairs(*((1, "old", day) for day in days))), D1, last)
    before = warehouse.listing()

    def of_the_run(days: list[date]) -> Any:
        table = make()
        if len(days) == 1 and isinstance(table, pl.LazyFrame):
            return table.with_columns(day=pl.lit(D1))
        if len(days) == 1 and isinstance(table, duckdb.DuckDBPyRelation):
            return table.select(f"id, name, DATE '{D1}' AS day")
        return table

    with pytest.raises(Exception, match="half-way" if make is not _failing_reader or last == D2 else ""):
        warehouse.run(writes(of_the_run), D1, last)
    assert warehouse.listing() == before
    # Nor is there a trace of days that were never materialised.
    with pytest.raises(Exception, match="half-way" if make is not _failing_reader or last == D2 else ""):
        warehouse.run(writes(of_the_run), D3, D3 + (last - D1))
    assert warehouse.listing() == before
