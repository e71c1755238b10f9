"""Promises of the job `compact`: fewer files, the same rows, whoever reads, adds or dies meanwhile."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from threading import Event, Thread
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from dagster import DagsterInstance

from mds_assets.stack.blocks.raw import _scopes  # pyright: ignore[reportPrivateUsage]
from mds_assets.stack.completeness import left_out
from mds_assets.stack.lake import InputsChangedError, Lake
from mds_assets.stack.lake.footers import footer
from mds_assets.stack.lake.layout import is_landed
from mds_assets.stack.names import LEFT_OUT, LOADS, SCOPE
from mds_assets_tests.runs import Rows, Runs
from mds_assets_tests.stack import toy
from mds_assets_tests.stack.lake.files import RAW

SOLD = toy.sales(8)
FIRST = SOLD[0]["updated_at"].date()
LONG_AGO = date(2024, 2, 28)


@pytest.fixture
def runs(tmp_path: Path) -> Runs:
    return Runs.of(tmp_path, toy.orders, toy.staged, toy.current, toy.revenue, shop=SOLD)


def compact(runs: Runs, **config: Any) -> list[str]:
    """Run the job; return its messages."""
    with DagsterInstance.ephemeral() as instance:
        given = {"older_than_days": 2, "more_than_loads": 2, **config}
        result = runs.definitions.resolve_job_def("compact").execute_in_process(
            instance=instance,
            run_config={
                "ops": {"compact_loads": {"config": given}},
                "loggers": {"console": {"config": {"log_level": "CRITICAL"}}},
            },
        )
        messages = [event.user_message for event in instance.all_logs(result.run_id) if not event.is_dagster_event]
    return [message for message in messages if message.startswith("raw/orders")]


def land(
    lake: Lake,
    load: str,
    day: date,
    rows: list[dict[str, Any]],
    scope: list[str] | None = None,
    missing: Mapping[str, str] | None = None,
) -> None:
    """Add a load with these rows."""
    with lake.workspace() as folder:
        table = pa.Table.from_pylist(rows)
        facts = {name: json.dumps(value) for name, value in ((SCOPE, scope), (LEFT_OUT, missing)) if value}
        pq.write_table(table.replace_schema_metadata(facts or None), folder / "file")
        lake.add(RAW, load, {day: folder / "file"})


def names(runs: Runs, day: date) -> list[str]:
    return sorted(file.name for file in (runs.lake / "raw" / "orders" / f"day={day}").iterdir())


def all_rows(folder: Path, columns: str = "*") -> Rows:
    """Every row below a folder, as any DuckDB client reads it."""
    files = str(folder / "day=*" / "*.parquet").replace("[", "[[]").replace("'", "''")
    with duckdb.connect() as con:
        con.execute("SET TimeZone = 'UTC'")
        query = f"FROM read_parquet('{files}', union_by_name = true, hive_partitioning = true)"
        return con.sql(f"SELECT {columns} {query} ORDER BY ALL").fetchall()


@pytest.mark.slow(8)
def test_many_loads_of_an_old_day_are_merged_into_one_file_with_the_same_rows(runs: Runs):
    for _ in range(4):
        runs.materialise(FIRST)
    runs.materialise(FIRST, FIRST + timedelta(days=2))
    before = {table: all_rows(runs.lake / table) for table in ("raw/orders", "staging/orders", "marts/revenue")}
    days, early = runs.days("raw/orders"), names(runs, FIRST + timedelta(days=3))
    assert len(names(runs, FIRST)) == 5
    messages = compact(runs)
    assert messages[0] == f"raw/orders of {FIRST}: merged 5 files into 1"
    assert len(messages) == 7  # those after the range only have early rows
    (merged,) = (runs.lake / "raw" / "orders" / f"day={FIRST}").iterdir()
    assert merged.name.endswith(".compacted.parquet")
    assert json.loads((footer(merged).metadata or {})[LOADS.encode()])[-1] == merged.name.replace(".compacted", "")
    assert names(runs, FIRST + timedelta(days=3)) == [early[-1].replace(".early", ".compacted.early")]
    assert before == {table: all_rows(runs.lake / table) for table in before}
    # What is made from it is the same, and so are the days that count as landed.
    runs.materialise(FIRST, FIRST + timedelta(days=2), layers=["staging", "marts"])
    assert before == {table: all_rows(runs.lake / table) for table in before}
    lake = Lake(str(runs.lake))
    assert lake.days(RAW) == [FIRST + timedelta(days=n) for n in range(3)]
    assert days == runs.days("raw/orders")
    assert list(lake.scratch.iterdir()) == []


def test_a_compacted_day_takes_loads_and_is_compacted_again(runs: Runs):
    for _ in range(3):
        runs.materialise(FIRST, layers=["raw"])
    compact(runs)
    once = names(runs, FIRST)
    assert compact(runs) == []
    for _ in range(2):
        runs.materialise(FIRST, layers=["raw"])
    before = all_rows(runs.lake / "raw" / "orders")
    compact(runs)
    (merged,) = (runs.lake / "raw" / "orders" / f"day={FIRST}").iterdir()
    assert [merged.name] != once
    loads = json.loads((footer(merged).metadata or {})[LOADS.encode()])
    assert len(loads) == 5
    assert all(is_landed([load]) and "compacted" not in load for load in loads)
    assert all_rows(runs.lake / "raw" / "orders") == before


def test_a_dry_run_a_young_day_and_a_few_loads_change_nothing(runs: Runs):
    for _ in range(3):
        runs.materialise(FIRST, layers=["raw"])
    before = runs.contents()
    assert compact(runs, dry_run=True)[0] == f"raw/orders of {FIRST}: would merge 3 files into 1"
    assert compact(runs, older_than_days=30) == compact(runs, more_than_loads=3) == []
    assert runs.contents() == before


def test_loads_that_would_not_read_the_same_stay_apart(runs: Runs):
    lake = Lake(str(runs.lake))
    at = datetime(2024, 2, 28, tzinfo=UTC)
    loads: Mapping[str, dict[str, Any]] = {
        "1.1": {"id": 1, "x": 7, "updated_at": at},
        "1.2": {"id": 2, "y": "seven", "updated_at": at},
        "1.3": {"id": 3, "x": "7.0", "updated_at": at},  # another type
        "1.4": {"id": 4, "X": 8, "updated_at": at},  # another spelling
        "1.5": {"id": 5, "x": None, "z": [{"a": 1}], "updated_at": at},
    }
    for load, row in loads.items():
        land(lake, load, LONG_AGO, [row])
    by_file = "id, x, typeof(x), y, z, updated_at, day"
    before = all_rows(runs.lake / "raw" / "orders", by_file)
    compact(runs)
    assert names(runs, LONG_AGO) == ["1.2.compacted.parquet", "1.3.parquet", "1.4.parquet", "1.5.parquet"]
    assert all_rows(runs.lake / "raw" / "orders", by_file) == before


def test_what_loads_cover_is_kept(runs: Runs):
    lake = Lake(str(runs.lake))
    for number, scope in enumerate((["a"], ["b", "a"], None)):
        land(lake, f"1.{number}", LONG_AGO, [{"id": number}], scope)
    compact(runs)
    assert _scopes(lake.files(RAW, LONG_AGO)) == [frozenset({"a", "b"})]


def test_parts_that_loads_left_out_stay_missing(runs: Runs):
    lake = Lake(str(runs.lake))
    land(lake, "1.0", LONG_AGO, [{"id": 1}], ["acme"], {"globex": "answered 404", "initech": "answered 403"})
    land(lake, "2.0", LONG_AGO, [{"id": 2}], ["acme", "initech"], {"globex": "answered 451"})
    land(lake, "3.0", LONG_AGO, [{"id": 3}], ["acme"])
    before = left_out(lake.files(RAW, LONG_AGO))
    assert before == {"globex": "answered 451"}
    compact(runs)
    (file,) = lake.files(RAW, LONG_AGO)
    assert left_out([file]) == before


def test_a_file_that_cannot_be_read_leaves_its_day_as_it_is(runs: Runs):
    lake = Lake(str(runs.lake))
    for day in (LONG_AGO, LONG_AGO + timedelta(days=1)):
        for number in range(3):
            land(lake, f"1.{number}", day, [{"id": number}])
    file = Path(str(lake.files(RAW, LONG_AGO)[1]))
    file.write_bytes(file.read_bytes()[:40])
    stays, merged = compact(runs)
    assert stays.startswith(f"raw/orders of {LONG_AGO} stays as it is: ")
    assert merged == f"raw/orders of {LONG_AGO + timedelta(days=1)}: merged 3 files into 1"
    assert len(names(runs, LONG_AGO)) == 3


def test_readers_see_each_row_once_or_an_error(runs: Runs):
    lake = Lake(str(runs.lake))
    days = [LONG_AGO - timedelta(days=n) for n in range(12)]
    for day in days:
        for load in range(4):
            land(lake, f"1.{load}", day, [{"id": n} for n in range(5)])
    seen: list[int | str] = []
    ended = Event()

    def read() -> None:
        while not ended.is_set():
            try:
                seen.append(len(all_rows(runs.lake / "raw" / "orders")))
            except duckdb.IOException as error:
                seen.append(str(error))

    reader = Thread(target=read)
    reader.start()
    try:
        assert len(compact(runs)) == len(days)
    finally:
        ended.set()
        reader.join()
    counts = {one for one in seen if isinstance(one, int)}
    assert counts == {12 * 4 * 5}
    assert all("No files found" in one or "No such file" in one for one in seen if isinstance(one, str))


def test_a_day_has_its_old_files_or_its_new_one_at_every_moment(runs: Runs):
    lake = Lake(str(runs.lake))
    for load in range(4):
        land(lake, f"1.{load}", LONG_AGO, [{"id": load}])
    before, listings = names(runs, LONG_AGO), list[list[str]]()
    is_watching = True

    def look(event: str, _: tuple[object, ...]) -> None:  # before each call of these
        if is_watching and event in {"os.link", "os.remove", "os.rename", "os.rmdir"}:
            listings.append(names(runs, LONG_AGO))

    sys.addaudithook(look)
    try:
        compact(runs)
    finally:
        is_watching = False
    after = names(runs, LONG_AGO)
    assert [listing for listing in listings if listing not in (before, after)] == []
    assert {len(before), len(after)} == {len(listing) for listing in listings} == {4, 1}


# Adds loads until it is killed, saying which.
_ADDS = """
import sys
from datetime import date
from mds_assets.stack.lake import Lake
from mds_assets_tests.stack.test_compact import LONG_AGO, land
lake = Lake(sys.argv[1])
for number in range(1000):
    land(lake, f"2.{number:04}", LONG_AGO, [{"id": number}])
    print(number, flush=True)
"""


@pytest.mark.slow(6)
def test_no_load_is_lost_that_is_added_meanwhile(runs: Runs):
    lake = Lake(str(runs.lake))
    land(lake, "1", LONG_AGO, [{"id": -1}])
    adds = [sys.executable, "-W", "ignore", "-c", _ADDS, lake.root]
    with subprocess.Popen(adds, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout
        for _ in range(12):
            for _ in range(5):
                other.stdout.readline()
            compact(runs)
        other.kill()
        added = [59, *map(int, other.stdout)][-1] + 1
    ids = [row[0] for row in all_rows(runs.lake / "raw" / "orders", "id")]
    assert len(ids) == len(set(ids))
    assert ids[: added + 1] == list(range(-1, added))
    assert any("compacted" in name for name in names(runs, LONG_AGO))


# Kills itself before or after the folders are exchanged.
_KILLED = """
import os, signal, sys
from pathlib import Path
import mds_assets.stack.lake.local as local
from mds_assets_tests.stack import toy
from mds_assets_tests.stack.test_compact import Runs, compact
exchange = local.exchange
def killed(*paths):
    if sys.argv[2] == "after":
        exchange(*paths)
    os.kill(os.getpid(), signal.SIGKILL)
local.exchange = killed
compact(Runs.of(Path(sys.argv[1]), toy.orders, shop=[]))
"""


@pytest.mark.slow(2)
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_job_that_is_killed_leaves_the_old_files_or_the_new_one(runs: Runs, tmp_path: Path, when: str):
    lake = Lake(str(runs.lake))
    for load in range(4):
        land(lake, f"1.{load}", LONG_AGO, [{"id": load}])
    before = all_rows(runs.lake / "raw" / "orders")
    words = [sys.executable, "-W", "ignore", "-c", _KILLED, str(tmp_path), when]
    assert subprocess.run(words, capture_output=True, check=False).returncode == -signal.SIGKILL
    assert len(names(runs, LONG_AGO)) == (4 if when == "before" else 1)
    assert all_rows(runs.lake / "raw" / "orders") == before
    compact(runs)
    assert len(names(runs, LONG_AGO)) == 1
    assert all_rows(runs.lake / "raw" / "orders") == before
    with lake.workspace():
        pass
    assert list(lake.scratch.iterdir()) == []


def test_a_load_that_was_replaced_meanwhile_is_not_replaced_again(runs: Runs):
    lake = Lake(str(runs.lake))
    for load in range(2):
        land(lake, f"1.{load}", LONG_AGO, [{"id": load}])
    loads = lake.read_set(RAW, [LONG_AGO])[LONG_AGO]
    os.utime(str(next(iter(loads))), (0, 0))
    before = runs.contents()
    with lake.workspace() as folder, pytest.raises(InputsChangedError):
        lake.replace_loads(RAW, LONG_AGO, loads, {}, folder)
    assert runs.contents() == before


@pytest.fixture
def without_exchange(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    def refused(*_: object) -> None:
        raise OSError(22, "Invalid argument")

    monkeypatch.setattr("mds_assets.stack.lake.local.exchange", refused)
    yield


@pytest.mark.usefixtures("without_exchange")
def test_a_file_system_that_cannot_exchange_folders_is_named(runs: Runs):
    lake = Lake(str(runs.lake))
    for load in range(3):
        land(lake, f"1.{load}", LONG_AGO, [{"id": load}])
    before = runs.contents()
    assert "its file system cannot exchange folders" in compact(runs)[0]
    assert runs.contents() == before
