"""Promises of a write: one whole table or the other, whatever fails, and each table computed once."""

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
from dagster import AssetExecutionContext, ResourceParam, asset
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from mds_assets.stack.partitions import SINGLE_RUN
from mds_assets.stack.session import Session
from mds_assets_tests.stack.io_managers.warehouse import (
    D0,
    D1,
    D2,
    DAILY,
    ENGINES,
    KINDS,
    PAIRS,
    Make,
    Rows,
    Warehouse,
    as_kind,
    in_order,
    pairs,
    to_rows,
    writes,
)

BATCH = 20_000
SCHEMA = pairs().schema


def batches(days: tuple[date, ...], number: int) -> Iterator[pa.RecordBatch]:
    """Batches with ids from 0 on, each with rows of every day."""
    names = pa.array(["x"] * BATCH)
    for batch in range(number):
        ids = pa.array(range(batch * BATCH, (batch + 1) * BATCH), pa.int64())
        yield pa.record_batch([ids, names, pa.array([days[n % len(days)] for n in range(BATCH)])], schema=SCHEMA)


_WATCH = """
import os, sys
while True:
    os.stat(sys.argv[1])
"""


@pytest.mark.slow(10)
def test_a_reader_always_sees_one_whole_table_while_it_is_rewritten(warehouse: Warehouse):
    rows = 100_000
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

    # A process of its own, and nothing but looks: it finds the file gone for a microsecond.
    watcher = subprocess.Popen([sys.executable, "-c", _WATCH, warehouse.file(source, D1)], stderr=subprocess.DEVNULL)
    readers = [threading.Thread(target=read) for _ in range(2)]
    for reader in readers:
        reader.start()
    try:
        for number, kind in enumerate([*KINDS, *KINDS], start=1):
            warehouse.run(writes(lambda _, n=number, kind=kind: as_kind(versions[n % 3], kind, 10_000)), D1)
    finally:
        stopped.set()
        for reader in readers:
            reader.join()
        gone = watcher.poll() is not None
        watcher.kill()
        watcher.wait()
    assert problems == []
    assert not gone
    assert seen == {(rows, number, number) for number in range(3)}


Half = Callable[[tuple[date, ...]], Any]


def _failing_reader(days: tuple[date, ...]) -> pa.RecordBatchReader:
    def rows() -> Iterator[pa.RecordBatch]:
        yield from batches(days, 10)
        raise RuntimeError("half-way")

    return pa.RecordBatchReader.from_batches(SCHEMA, rows())


def _failing_relation(days: tuple[date, ...]) -> duckdb.DuckDBPyRelation:
    rows = duckdb.from_arrow(pa.Table.from_batches(batches(days, 10)))
    return rows.select("CASE WHEN id > 190_000 THEN error('half-way') ELSE id END AS id, name, day")


def _failing_frame(days: tuple[date, ...]) -> pl.LazyFrame:
    def fail(frame: pl.DataFrame) -> pl.DataFrame:
        if 190_000 in frame["id"]:
            raise RuntimeError("half-way")
        return frame

    return pl.LazyFrame(pa.Table.from_batches(batches(days, 10))).map_batches(fail, streamable=True)


def _failing_asset(_: tuple[date, ...]) -> None:
    raise RuntimeError("half-way")


@pytest.mark.parametrize("make", [_failing_reader, _failing_relation, _failing_frame, _failing_asset])
@pytest.mark.parametrize("length", [1, 2], ids=["day", "range"])
def test_a_table_that_fails_half_way_leaves_the_old_days_and_no_trace(warehouse: Warehouse, make: Half, length: int):
    source = writes(lambda days: make(tuple(days)))
    warehouse.run(writes(lambda days: pairs(*((1, "old", day) for day in days))), D0, D1)
    before = warehouse.listing()
    # Over days that were materialised, and over days that never were.
    for first in (D0, D2):
        with pytest.raises(Exception, match=r"half-way|InvalidInputException"):
            warehouse.run(source, first, first + timedelta(days=length - 1))
        assert warehouse.listing() == before


# DuckDB 2.0.0 deadlocks in one of some 200 failing COPYs (AsyncFileWriter::AbortWrites waits for an asynchronous writer
# that waits for it), and then ignores SIGTERM; it does not with `SET async_threads = 0`.
_FAILS_OFTEN = """
import sys
from contextlib import suppress
from pathlib import Path
import pyarrow as pa
from dagster import ResourceParam, asset
from mds_assets.stack.io_managers.duckdb import write
from mds_assets.stack.session import Session
from mds_assets_tests.stack.io_managers.warehouse import D1, PAIRS, Warehouse, pairs
folder, batch = Path(sys.argv[1]), pairs(*((n, "x", D1) for n in range(20_000))).to_batches()[0]
def rows():
    yield from [batch] * 10
    raise RuntimeError("half-way")
@asset
def fails_often(session: ResourceParam[Session]) -> None:
    for _ in range(250):
        reader = pa.RecordBatchReader.from_batches(batch.schema, rows())
        with suppress(Exception):
            con = session.connection
            write(con.cursor(), "t", con.from_arrow(reader), PAIRS, [D1], folder)
Warehouse(folder).run(fails_often, None)
"""


@pytest.mark.slow(8)
def test_a_copy_that_fails_ends(tmp_path: Path):
    subprocess.run([sys.executable, "-c", _FAILS_OFTEN, tmp_path], stderr=subprocess.DEVNULL, check=True, timeout=30)


# Writes a table without end, so that it can only be killed.
_WITHOUT_END = """
import sys
from itertools import count
from pathlib import Path
import polars as pl
import pyarrow as pa
from polars.io.plugins import register_io_source
from mds_assets_tests.stack.io_managers.test_atomic import D1, D2, SCHEMA, Warehouse, batches, writes
kind, last = sys.argv[2], (D2 if sys.argv[3] == "range" else D1)
days = (D1, last)
def reader(_):
    return pa.RecordBatchReader.from_batches(SCHEMA, batches(days, 10**9))
def lazyframe(_):
    def rows(with_columns, predicate, n_rows, batch_size):
        for batch in batches(days, 10**9):
            frame = pl.DataFrame(batch)
            yield frame.select(with_columns) if with_columns else frame
    return register_io_source(rows, schema=pl.DataFrame(SCHEMA.empty_table()).schema)
Warehouse(Path(sys.argv[1])).run(writes(globals()[kind], f"{kind}_{sys.argv[3]}"), D1, last)
"""


@pytest.mark.slow(5)
def test_a_killed_run_leaves_the_old_table_and_what_it_left_over_is_never_read(warehouse: Warehouse):
    cases = [("reader", "day"), ("lazyframe", "range")]
    tables = [writes(lambda days: pairs(*((1, "old", day) for day in days)), f"{kind}_{span}") for kind, span in cases]
    warehouse.run(tables, D1, D2)
    before = warehouse.listing()
    scratch = warehouse.root / ".tmp"

    def size(file: Path) -> int:
        return file.stat().st_size

    running = [
        subprocess.Popen([sys.executable, "-c", _WITHOUT_END, warehouse.root, *case], stderr=subprocess.DEVNULL)
        for case in cases
    ]
    try:
        deadline = time.monotonic() + 60
        while (
            len({file.relative_to(scratch).parts[0] for file in scratch.rglob("*.parquet") if size(file) > 100_000}) < 2
        ):
            assert time.monotonic() < deadline, "nothing written"
            time.sleep(0.05)
    finally:
        for run in running:
            run.send_signal(signal.SIGKILL)
    assert [run.wait() for run in running] == [-signal.SIGKILL] * len(cases)

    after = warehouse.listing()
    assert {path: content for path, content in after.items() if path in before} == before
    old = [{"id": 1, "name": "old", "day": day} for day in (D1, D2)]
    assert {path.split("/")[0] for path in after.keys() - before.keys()} == {".tmp"}
    for table in tables:
        assert warehouse.look(table, pl.LazyFrame, to_rows, D1, D2) == old
        assert warehouse.look(table, duckdb.DuckDBPyRelation, to_rows, D1, D2) == old
        assert to_rows(duckdb.read_parquet(f"{warehouse.folder(table)}/*/*.parquet", hive_partitioning=True)) == old
    # And the next run is as any other, and removes what is left.
    warehouse.run(writes(lambda _: pairs((2, "new", D1)), tables[0].key.path[-1]), D1)
    assert warehouse.look(tables[0], pl.LazyFrame, to_rows, D1) == [{"id": 2, "name": "new", "day": D1}]
    assert list(scratch.iterdir()) == []


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("last", [D1, D2], ids=["day", "range"])
def test_an_output_is_computed_once(warehouse: Warehouse, engine: str, last: date):
    days = [D1, last] if last > D1 else [D1]
    computed: dict[str, int] = {"reader": 0, "relation": 0, "lazyframe": 0}

    def stream(name: str) -> pa.RecordBatchReader:
        def rows() -> Iterator[pa.RecordBatch]:
            for batch in batches(tuple(days), 4):
                computed[name] += batch.num_rows
                yield batch

        return pa.RecordBatchReader.from_batches(SCHEMA, rows())

    def counted(frame: pl.DataFrame) -> pl.DataFrame:
        computed["lazyframe"] += len(frame)
        return frame

    makes: dict[str, Make] = {
        "reader": lambda _: stream("reader"),
        "relation": lambda _: duckdb.connect().from_arrow(stream("relation")).filter("id >= 0"),
        "lazyframe": lambda _: pl.LazyFrame(pa.Table.from_batches(batches(tuple(days), 4))).map_batches(counted),
    }
    tables = [writes(make, name, engine=engine) for name, make in makes.items()]
    warehouse.run(tables, D1, last)
    assert computed == dict.fromkeys(makes, 4 * BATCH)
    for table in tables:
        written = {day: pq.ParquetFile(warehouse.file(table, day)).read()["id"].to_pylist() for day in days}
        assert {len(ids) for ids in written.values()} == {4 * BATCH // len(days)}
        assert sorted(number for ids in written.values() for number in ids) == list(range(4 * BATCH))


RUN_DAYS = [D0 + timedelta(days=n) for n in range(5)]
Run = tuple[date, date, str, dict[date, Rows]]


@st.composite
def runs(draw: st.DrawFn) -> list[Run]:
    """Runs of single days and of ranges in any order, some days twice, each with rows of its own."""
    row = st.fixed_dictionaries({"id": st.integers(-(2**63), 2**63 - 1), "name": st.none() | st.text(max_size=5)})
    planned: list[Run] = []
    for _ in range(draw(st.integers(1, 4))):
        first, last = sorted((draw(st.sampled_from(RUN_DAYS)), draw(st.sampled_from(RUN_DAYS))))
        days = st.sampled_from([day for day in RUN_DAYS if first <= day <= last])
        rows = draw(st.dictionaries(days, st.lists(row, max_size=3)))
        planned.append((first, last, draw(st.sampled_from(list(KINDS))), rows))
    return planned


@settings(
    max_examples=12, phases=[Phase.explicit, Phase.reuse, Phase.generate], suppress_health_check=[HealthCheck.too_slow]
)
@given(runs=runs())
def test_any_runs_in_any_order_leave_what_a_dict_of_days_would_hold(runs: list[Run]):
    with tempfile.TemporaryDirectory() as folder:
        warehouse = Warehouse(Path(folder) / "lake")
        expected: dict[str, Rows] = {}
        source = writes(lambda _: None)
        for first, last, kind, rows in runs:
            table = pa.Table.from_pylist([row | {"day": day} for day, of_day in rows.items() for row in of_day], SCHEMA)
            source = writes(lambda _, table=table, kind=kind: as_kind(table, kind))
            warehouse.run(source, first, last)
            for day in RUN_DAYS:
                if first <= day <= last:
                    expected[f"day={day}"] = in_order(rows.get(day, []))
        assert warehouse.content(source) == expected
        days = {name.removeprefix("day="): of_day for name, of_day in expected.items()}
        everything = [row | {"day": date.fromisoformat(day)} for day, of_day in days.items() for row in of_day]
        seen = warehouse.look(source, pl.LazyFrame, to_rows, RUN_DAYS[0], RUN_DAYS[-1])
        assert seen == in_order(everything)


def test_a_step_that_reads_two_versions_of_a_table_publishes_nothing_made_of_both(tmp_path: Path):
    warehouse, seen = Warehouse(tmp_path), []
    old, new = (writes(lambda _, name=name: pairs((1, name, D1))) for name in ("old", "new"))
    warehouse.run(old, D1)

    @asset(
        key=["marts", "twice"],
        deps=[old],
        partitions_def=DAILY,
        backfill_policy=SINGLE_RUN,
        io_manager_key="polars_io_manager",
        metadata=PAIRS.metadata,
    )
    def twice(context: AssetExecutionContext, session: ResourceParam[Session]) -> pl.DataFrame:
        step = context.get_step_execution_context()
        first = session.scan(step, old.key, PAIRS, [D1]).collect()
        if not seen:
            warehouse.run(new, D1)
        second = session.scan(step, old.key, PAIRS, [D1]).collect()
        seen.append((*first["name"], *second["name"]))
        return second

    warehouse.run(twice, D1)
    assert seen == [("old", "new"), ("new", "new")]
