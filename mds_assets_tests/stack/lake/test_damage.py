"""Promises of `mds doctor` on small lakes, in a folder as in an object store: what it finds, and what is no finding."""

import os
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pytest
import typer
from dagster import AssetKey, AssetSpec, DagsterInstance, ResourceDefinition, materialize

from mds_assets.stack import doctor
from mds_assets.stack.blocks.raw import SNAPSHOT
from mds_assets.stack.cli import look
from mds_assets.stack.doctor import Finding, examine
from mds_assets.stack.lake import Lake
from mds_assets.stack.lake.backend import StoreError
from mds_assets.stack.lake.footers import why_unreadable
from mds_assets.stack.lake.layout import partition_folder
from mds_assets.stack.names import WAREHOUSE
from mds_assets.stack.partitions import DAILY, days_between
from mds_assets.stack.settings import settings
from mds_assets.stack.table import column, table
from mds_assets.stack.warehouse import warehouse
from mds_assets_tests.stack.lake.files import RAW, TABLE, replace

TODAY = datetime.now(UTC).date()
DAYS = days_between(TODAY - timedelta(days=4), TODAY - timedelta(days=1))
OTHER_RAW, MART = AssetKey(["raw", "visits"]), AssetKey(["marts", "revenue"])


def spec(key: AssetKey, *deps: AssetKey, **options: Any) -> AssetSpec:
    """A table with days."""
    return AssetSpec(key, deps=deps, partitions_def=DAILY, **options)


VIEWS = ("raw.orders", "staging.orders")
TABLES = [spec(RAW), spec(TABLE, RAW), spec(MART, TABLE)]


@pytest.fixture
def local(tmp_path: Path) -> Lake:
    return Lake(str(tmp_path / "lake"))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A Parquet file."""
    pl.DataFrame({"id": [1, 2, 3], "né": ["a", "bé", "c"]}).write_parquet(tmp_path / "file", compression="uncompressed")
    return tmp_path / "file"


def land(lake: Lake, file: Path, *days: date, key: AssetKey = RAW, load: str = "1", early: bool = False) -> None:
    """Add a copy of a file as a load of these days."""
    for day in days:
        with lake.workspace() as folder:
            (folder / "copy").write_bytes(file.read_bytes())
            added = {day: folder / "copy"}
            lake.add(key, load, {} if early else added, added if early else None)


def make(lake: Lake, file: Path, *days: date, keys: tuple[AssetKey, ...] = (TABLE, MART)) -> None:
    """Put a copy of a file into these days of other tables."""
    for key in keys:
        with lake.replacing(key, {}) as (folder, targets):
            for day in days:
                copy = folder / f"{day}"
                copy.write_bytes(file.read_bytes())
                targets[copy] = Path(partition_folder(day), "data.parquet")


def found(lake: Lake, *tables: AssetSpec, deep: bool = False) -> list[Finding]:
    """Everything that is wrong, as another process sees it."""
    return list(examine(Lake(lake.root, lake._store_options), tables or TABLES, deep=deep))  # pyright: ignore[reportPrivateUsage]


def whats(lake: Lake, *tables: AssetSpec) -> list[tuple[str, str]]:
    """The same in short."""
    return [(each.kind, each.what) for each in found(lake, *tables)]


def test_files_that_are_damaged_or_foreign_are_found_and_moved(lake: Lake, file: Path):
    land(lake, file, *DAYS)
    make(lake, file, *DAYS)
    assert found(lake) == []
    whole = file.read_bytes()
    file.write_bytes(whole[:-10])
    land(lake, file, DAYS[1], load="0")
    make(lake, file, DAYS[2], keys=(MART,))
    replace(lake, TABLE, None, content="?", name="notes.txt")
    damaged = [
        f"{lake.root}/raw/orders/day={DAYS[1]}/0.parquet",
        f"{lake.root}/marts/revenue/day={DAYS[2]}/data.parquet",
    ]
    findings = found(lake)
    assert [each.what.split(": ")[0] for each in findings if each.kind == "unreadable"] == damaged
    assert [each.what for each in findings if each.kind == "foreign"] == [f"{lake.root}/staging/orders/notes.txt"]
    for each in findings:
        if each.fix:
            each.fix()
    assert lake.path("quarantine", "staging", "orders", "notes.txt").read_text() == "?"
    moved = lake.path("quarantine", "raw", "orders", f"day={DAYS[1]}", "0.parquet")
    assert moved.read_bytes() == whole[:-10]
    assert whats(lake) == [("gap", f"marts/revenue: {DAYS[2]}")]
    replace(lake, TABLE, None, content="again", name="notes.txt")
    for each in found(lake):
        if each.fix:
            each.fix()
    assert lake.path("quarantine", "staging", "orders", "notes.txt.again").read_text() == "again"


def test_a_view_leaves_out_what_cannot_be_read_in_a_store_too(lake: Lake, file: Path, tmp_path: Path):
    land(lake, file, *DAYS[:2])
    make(lake, file, *DAYS[:2], keys=(TABLE,))
    file.write_bytes(file.read_bytes()[:-10])
    land(lake, file, DAYS[0], load="2")
    make(lake, file, DAYS[0], keys=(TABLE,))
    declared = table([column("id", "BIGINT", "It.")]).metadata
    specs = [spec(RAW, metadata=declared), spec(TABLE, RAW, metadata=declared)]
    with DagsterInstance.ephemeral() as instance:
        ran = materialize(
            [warehouse(specs)],
            instance=instance,
            selection=["warehouse"],
            resources={"lake": ResourceDefinition.hardcoded_resource(lake)},
        )
        logged = str([entry.user_message for entry in instance.all_logs(ran.run_id)])
    assert f"day={DAYS[0]}/2.parquet: " in logged
    assert f"day={DAYS[0]}/data.parquet: " in logged
    (tmp_path / WAREHOUSE).write_bytes(lake.path(WAREHOUSE).read_bytes())
    with duckdb.connect(tmp_path / WAREHOUSE, read_only=True) as con:
        lake.register(con)
        counts = {
            name: con.sql(f"FROM {name} SELECT day, count(*) GROUP BY day ORDER BY day").fetchall() for name in VIEWS
        }
    assert counts == {"raw.orders": [(DAYS[0], 3), (DAYS[1], 3)], "staging.orders": [(DAYS[1], 3)]}


def test_a_file_that_a_run_has_replaced_meanwhile_stays(lake: Lake, file: Path):
    land(lake, file, *DAYS)
    make(lake, file, *DAYS)
    whole = file.read_bytes()
    file.write_bytes(b"?")
    make(lake, file, DAYS[2], keys=(MART,))
    (finding,) = found(lake)
    file.write_bytes(whole)
    make(lake, file, DAYS[2], keys=(MART,))
    assert finding.fix
    finding.fix()
    assert found(lake) == []


def test_a_link_to_nothing_is_found(local: Lake, file: Path):
    land(local, file, DAYS[0])
    link = Path(local.root, "raw", "orders", f"day={DAYS[0]}", "0.parquet")
    link.symlink_to("nothing")
    make(local, file, DAYS[0])
    (finding,) = found(local)
    assert finding.what.startswith(f"{link}: ")
    assert finding.fix
    finding.fix()
    assert not link.is_symlink()


def test_whatever_byte_of_a_footer_is_damaged_the_reason_is_one_line(file: Path):
    whole = file.read_bytes()
    start = len(whole) - 8 - int.from_bytes(whole[-8:-4], "little")
    reasons: set[str] = set()
    for position in range(start, len(whole)):
        file.write_bytes(whole[:position] + b"\xff" + whole[position + 1 :])
        reasons.add(why_unreadable(file) or "")
    assert any("utf-8" in reason for reason in reasons)
    assert all(len(reason.splitlines()) <= 1 for reason in reasons)


def test_a_store_that_does_not_answer_says_nothing_about_a_file(file: Path, monkeypatch: pytest.MonkeyPatch):
    def refuse(*_: object) -> None:
        raise StoreError("SlowDown")

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(StoreError):
        why_unreadable(file)


@pytest.fixture
def damaged_pages(file: Path) -> Iterator[Path]:
    """A file whose footer is whole, and whose rows are not."""
    content = file.read_bytes()
    assert content.count("bé".encode()) == 1
    file.write_bytes(content.replace("bé".encode(), b"b\xff\xff", 1))
    yield file


def test_damaged_rows_are_found_if_they_are_read(lake: Lake, file: Path, damaged_pages: Path):
    land(lake, damaged_pages, DAYS[0])
    make(lake, damaged_pages, DAYS[0])
    assert found(lake) == []
    assert [each.kind for each in found(lake, deep=True)] == ["unreadable"] * 3


def test_rows_that_came_early_are_no_finding_until_their_day_has_ended(lake: Lake, file: Path):
    land(lake, file, *DAYS[:-1])
    make(lake, file, *DAYS[:-1])
    land(lake, file, TODAY, TODAY + timedelta(days=1), early=True)
    assert found(lake) == []
    land(lake, file, DAYS[-1], early=True)
    (finding,) = found(lake)
    assert (finding.kind, finding.what) == ("early only", f"raw/orders: {DAYS[-1]}")
    assert f"`mds run --from {DAYS[-1]} --to {DAYS[-1]}`" in finding.way_out


@pytest.mark.parametrize("lost", [DAYS[0], DAYS[1], DAYS[-1]])
def test_a_day_that_raw_has_and_another_table_has_not_is_a_gap(lake: Lake, file: Path, lost: date):
    land(lake, file, *DAYS)
    make(lake, file, *(day for day in DAYS if day != lost))
    findings = found(lake)
    assert [(each.kind, each.what) for each in findings] == [
        ("gap", f"staging/orders: {lost}"),
        ("gap", f"marts/revenue: {lost}"),
    ]
    assert f"`mds run --from {lost} --to {lost} --skip-ingest`" in findings[0].way_out


@pytest.mark.parametrize("lost", [DAYS[0], DAYS[-1]])
def test_a_day_that_raw_has_lost_and_staging_has_rows_of_is_a_gap(lake: Lake, file: Path, lost: date):
    land(lake, file, *(day for day in DAYS if day != lost))
    make(lake, file, *DAYS)
    (finding,) = found(lake)
    assert (finding.kind, finding.what) == ("gap", f"raw/orders: {lost}")
    assert "staging/orders has rows of it" in finding.way_out
    pl.DataFrame({"id": []}).write_parquet(file)
    make(lake, file, lost)  # made from nothing, as `mds run --skip-ingest` does
    assert found(lake) == []


def test_all_days_of_a_raw_table_may_be_lost(lake: Lake, file: Path):
    make(lake, file, *DAYS)
    assert whats(lake) == [("gap", f"raw/orders: {DAYS[0]} to {DAYS[-1]}")]


def test_a_snapshot_has_no_gaps_but_its_lost_days_are_named(lake: Lake, file: Path):
    tables = [spec(RAW, metadata={SNAPSHOT: True}), spec(TABLE, RAW)]
    land(lake, file, DAYS[0], DAYS[3])
    make(lake, file, DAYS[0], DAYS[3], keys=(TABLE,))
    assert found(lake, *tables) == []
    make(lake, file, DAYS[1], keys=(TABLE,))
    (finding,) = found(lake, *tables)
    assert (finding.kind, finding.what) == ("gap", f"raw/orders: {DAYS[1]}")
    assert "mds run" not in finding.way_out


def test_days_before_a_source_began_and_days_that_a_run_skips_are_no_gaps(lake: Lake, file: Path):
    land(lake, file, *DAYS)
    land(lake, file, *DAYS[2:], key=OTHER_RAW)
    make(lake, file, *DAYS[2:], keys=(TABLE,))
    assert found(lake, spec(RAW), spec(OTHER_RAW), spec(TABLE, RAW, OTHER_RAW)) == []
    assert found(lake, spec(RAW), spec(OTHER_RAW, skippable=True), spec(TABLE, RAW, OTHER_RAW)) == []


def test_a_day_that_one_of_two_sources_lost_at_the_end_is_a_gap(lake: Lake, file: Path):
    land(lake, file, *DAYS)
    land(lake, file, *DAYS[:-1], key=OTHER_RAW)
    make(lake, file, *DAYS[:-1], keys=(TABLE,))
    assert whats(lake, spec(RAW), spec(OTHER_RAW), spec(TABLE, RAW, OTHER_RAW)) == [
        ("gap", f"staging/orders: {DAYS[-1]}")
    ]


def test_a_raw_file_in_quarantine_is_open_until_its_day_is_landed_again(lake: Lake, file: Path):
    land(lake, file, *DAYS)
    make(lake, file, *DAYS)
    whole = file.read_bytes()
    file.write_bytes(b"?")
    land(lake, file, DAYS[1], load="2")
    finding = found(lake)[0]
    assert finding.fix
    finding.fix()
    (finding,) = found(lake)
    assert (finding.kind, finding.what) == ("quarantined", f"raw/orders: {DAYS[1]}")
    assert f"`mds run --from {DAYS[1]} --to {DAYS[1]}`" in finding.way_out
    file.write_bytes(whole)
    land(lake, file, DAYS[1], load="3")
    make(lake, file, DAYS[1])
    assert found(lake) == []


def test_a_table_that_is_older_than_its_input_of_the_same_day_is_stale(local: Lake, file: Path):
    land(local, file, *DAYS)
    make(local, file, *DAYS)
    newer = Path(local.root, "staging", "orders", f"day={DAYS[1]}", "data.parquet")
    os.utime(newer, (2e9, 2e9))
    (finding,) = found(local)
    assert (finding.kind, finding.what) == ("stale", f"marts/revenue: {DAYS[1]}")
    assert f"`mds run --from {DAYS[1]} --to {DAYS[1]} --skip-ingest`" in finding.way_out


def test_the_way_out_runs_these_days_and_no_others(local: Lake, file: Path, monkeypatch: pytest.MonkeyPatch):
    first = date(2024, 12, 30)
    monkeypatch.setattr(doctor, "settings", settings.model_copy(update={"start_date": date(2025, 1, 1)}))
    days = days_between(first, first + timedelta(days=9))
    land(local, file, *days)
    make(local, file, *(days[number] for number in (0, 2, 3, 5, 6, 7, 8, 9)), keys=(TABLE,))
    (finding,) = found(local, *TABLES[:2])
    assert f"`mds run --from {days[1]} --to {days[1]} --skip-ingest`, `mds run --from {days[4]}" in finding.way_out
    assert "set MDS_START_DATE=2024-12-31, then" in finding.way_out


@pytest.fixture
def command(local: Lake, monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """`mds doctor` on this lake; returns its exit code."""
    monkeypatch.setattr(look, "open_lake", lambda: local)
    monkeypatch.setattr(look, "tables", lambda: TABLES)

    def run(*, fix: bool = False, deep: bool = False) -> int:
        try:
            look.doctor(fix=fix, deep=deep)
        except typer.Exit as ended:
            return ended.exit_code
        return 0

    return run


def test_the_command_claims_only_what_it_has_checked(
    local: Lake, file: Path, command: Callable[..., int], capsys: pytest.CaptureFixture[str]
):
    land(local, file, DAYS[0])
    make(local, file, DAYS[0])
    assert command() == 0
    assert "every file has a whole footer (--deep reads the rows)" in capsys.readouterr().out
    assert command(deep=True) == 0
    assert "all rows of every file can be read" in capsys.readouterr().out


def test_the_command_fails_until_everything_is_mended(local: Lake, file: Path, command: Callable[..., int]):
    land(local, file, DAYS[0])
    make(local, file, DAYS[0])
    replace(local, TABLE, None, content="?", name="notes.txt")
    assert command() == 1
    assert command(fix=True) == command() == 0
    whole = file.read_bytes()
    file.write_bytes(b"?")
    make(local, file, DAYS[0], keys=(MART,))
    assert command(fix=True) == 1  # it is moved, but its day is missing now
    assert command(fix=True) == 1
    file.write_bytes(whole)
    make(local, file, DAYS[0], keys=(MART,))
    assert command() == 0
