"""Promises of the hand-off: what a run has written reaches the next asset in memory, and with the same values."""

from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pytest

from mds_assets.stack.hand_off import HandOff
from mds_assets.stack.lake import Lake
from mds_assets_tests.stack.io_managers.warehouse import (
    D0,
    D1,
    D2,
    D3,
    KINDS,
    PAIRS,
    Warehouse,
    as_kind,
    pairs,
    reads,
    to_rows,
    writes,
)

EAGER = ("table", "dataframe")
ROWS = pairs(*((n, f"name {n}", D1) for n in range(1_000)))


def address(rows: Any) -> int:
    """Where the values of `id` lie in memory."""
    frame = rows.lazy().collect() if isinstance(rows, pl.LazyFrame | pl.DataFrame) else rows
    column = frame["id"].to_arrow() if isinstance(frame, pl.DataFrame) else frame["id"]
    (chunk,) = column.chunks if isinstance(column, pa.ChunkedArray) else [column]
    values: Any = chunk.buffers()[1]
    return values.address


@pytest.mark.parametrize("kind", ["table", "lazyframe", "dataframe"])
@pytest.mark.parametrize("written_as", EAGER)
def test_the_next_asset_gets_the_same_memory(tmp_path: Path, written_as: str, kind: str):
    rows = as_kind(ROWS, written_as)
    seen: list[tuple[int, list[dict[str, Any]]]] = []
    table = writes(lambda _: rows)
    look = reads(table, KINDS[kind], lambda given: seen.append((address(given), to_rows(given))))
    Warehouse(tmp_path).run([table, look], D1)
    assert seen == [(address(rows), to_rows(ROWS))]


@pytest.mark.slow(1)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("written_as", KINDS)
def test_without_room_the_values_are_the_same_and_come_from_the_file(tmp_path: Path, written_as: str, kind: str):
    seen: dict[int, Any] = {}
    for memory in (0, 2**20):
        table = writes(lambda _: as_kind(ROWS, written_as))
        look = reads(table, KINDS[kind], lambda given, memory=memory: seen.update({memory: to_rows(given)}))
        Warehouse(tmp_path / str(memory), arrow_memory=memory).run([table, look], D1)
    assert seen[0] == seen[2**20] == to_rows(ROWS)


def test_no_memory_is_no_hand_off(tmp_path: Path):
    addresses: list[int] = []
    table = writes(lambda _: ROWS)
    look = reads(table, pa.Table, lambda given: addresses.append(address(given)))
    Warehouse(tmp_path, arrow_memory=0).run([table, look], D1)
    assert addresses[0] != address(ROWS)


@pytest.mark.parametrize("kind", KINDS)
def test_a_window_has_days_in_memory_and_days_of_earlier_runs(tmp_path: Path, kind: str):
    warehouse, seen = Warehouse(tmp_path), []
    table = writes(lambda days: pairs(*((n, "x", day) for n, day in enumerate(days))))
    look = reads(table, KINDS[kind], lambda given: seen.append(to_rows(given)), lookback=True)
    warehouse.run(table, D0, D1)
    warehouse.run([table, look], D2, D3)
    assert seen == [warehouse.look(table, KINDS[kind], to_rows, D2, D3, lookback=True)]
    assert {row["day"] for row in seen[0]} == {D0, D1, D2, D3}


def test_a_file_that_was_replaced_meanwhile_is_read_again(tmp_path: Path):
    lake, table = Lake(str(tmp_path)), writes(lambda _: ROWS)
    Warehouse(tmp_path).run(table, D1)
    (file, version), *_ = lake.read_set(table.key, [D1])[D1].items()
    handed = HandOff(2**20)
    handed.keep(file, version, Path(str(file)), PAIRS)
    assert handed.find({D1: {file: version}}, PAIRS) == (ROWS, [])
    assert handed.find({D1: {file: "of another run"}}, PAIRS) == (None, [file])


def test_it_keeps_no_more_than_its_budget(tmp_path: Path):
    lake, table = Lake(str(tmp_path)), writes(lambda days: pairs(*((1, "x" * 1_000, day) for day in days)))
    Warehouse(tmp_path).run(table, D1, D3)
    handed, kept = HandOff(2_500), []
    for day, files in lake.read_set(table.key, [D1, D2, D3]).items():
        for file, version in files.items():
            handed.keep(file, version, Path(str(file)), PAIRS)
            kept.append(handed.find({day: {file: version}}, PAIRS)[0] is not None)
    assert kept == [True, True, False]
