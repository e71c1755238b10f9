"""Promises of a lake, in a folder as in an object store: whole files, no lost load, no stale result."""

from datetime import date
from pathlib import Path

import pytest
from dagster import AssetKey
from upath import UPath

from mds_assets.stack.lake import InputsChangedError, Lake, commit
from mds_assets.stack.lake.backend import Backend, ConflictError
from mds_assets_tests.stack.lake.conftest import OpenLake
from mds_assets_tests.stack.lake.files import D1, D2, D3, PAGE, RAW, TABLE, content, names, read_set, replace, written


def test_a_table_that_was_never_materialized_has_no_days_and_no_files(lake: Lake):
    assert lake.days(TABLE) == lake.early_days(TABLE) == lake.files(TABLE, D1) == lake.files(TABLE, None) == []
    assert lake.newest_day(TABLE) is None
    assert lake.landed(TABLE, [D1, D2]) == set()
    assert lake.read_set(TABLE, [D1, None]) == {D1: {}, None: {}}


def test_a_lake_knows_its_days(lake: Lake):
    replace(lake, TABLE, D3, D1, content="x")
    assert lake.days(TABLE) == [D1, D3]
    assert lake.newest_day(TABLE) == D3
    assert lake.landed(TABLE, [D1, D2]) == {D1}
    assert lake.folder(TABLE) == lake.path("staging", "orders")
    assert [str(file) for file in lake.files(TABLE, D1)] == [f"{lake.root}/staging/orders/day={D1}/data.parquet"]
    assert lake.size(lake.files(TABLE, D1)) == 1


def test_a_lake_that_is_marked_private_is_so_for_whoever_opens_it(open_lake: OpenLake):
    lake = open_lake()
    assert not lake.is_private
    lake.mark_private()
    open_lake().mark_private()
    assert lake.is_private
    assert open_lake().is_private


def test_only_parquet_files_of_the_day_itself_are_its_files(lake: Lake, tmp_path: Path):
    file = written(tmp_path, "file")
    for path in (f"day={D1}/data.tmp", f"day={D1}/old/data.parquet", "day=2026-02-30/data.parquet", "old/data.parquet"):
        commit.append(lake.backend, "orders", {lake.folder(TABLE) / path: file})
        file.touch()
    assert lake.days(TABLE) == lake.early_days(TABLE) == []
    assert lake.read_set(TABLE, [D1, None]) == {D1: {}, None: {}}


@pytest.mark.parametrize("partition", [D1, None])
def test_a_stray_copy_is_no_file_of_a_table_that_has_one_a_day(lake: Lake, partition: date | None):
    replace(lake, TABLE, partition, content="x")
    replace(lake, TABLE, partition, D2, content="copy", name="data (copy).parquet")
    assert content(lake, TABLE, partition) == ["x"]
    assert lake.landed(TABLE, [D1, D2]) == set(lake.days(TABLE)) == {partition} - {None}
    assert lake.newest_day(TABLE) == partition


def test_early_files_are_read_but_their_day_is_not_landed(lake: Lake, tmp_path: Path):
    lake.add(RAW, "1", {D1: written(tmp_path, "a")}, {D2: written(tmp_path, "b"), D3: written(tmp_path, "c")})
    assert lake.days(RAW) == [D1]
    assert lake.early_days(RAW) == [D2, D3]
    assert lake.newest_day(RAW) == D1
    assert lake.landed(RAW, [D1, D2, D3]) == {D1}
    assert names(lake, RAW, D2) == ["1.early.parquet"]

    lake.add(RAW, "2", {D2: written(tmp_path, "d")})
    assert lake.days(RAW) == [D1, D2]
    assert lake.early_days(RAW) == [D3]
    assert lake.newest_day(RAW) == D2
    assert names(lake, RAW, D2) == ["1.early.parquet", "2.parquet"]
    assert content(lake, RAW, D2) == ["b", "d"]


def test_a_table_of_early_days_only_has_no_landed_day(lake: Lake, tmp_path: Path):
    lake.add(RAW, "1", {}, {D2: written(tmp_path, "a")})
    assert (lake.days(RAW), lake.newest_day(RAW), lake.landed(RAW, [D2])) == ([], None, set())
    assert lake.early_days(RAW) == [D2]


def test_a_table_without_days_has_its_files_in_its_own_folder(lake: Lake, tmp_path: Path):
    replace(lake, TABLE, None, content="1")
    replace(lake, TABLE, None, content="2")
    assert [str(file) for file in lake.files(TABLE, None)] == [f"{lake.root}/staging/orders/data.parquet"]
    assert content(lake, TABLE, None) == ["2"]
    assert lake.days(TABLE) == []

    for load in ("1", "2"):
        lake.add(RAW, load, {None: written(tmp_path, load)})
    assert names(lake, RAW, None) == ["1.parquet", "2.parquet"]
    assert lake.newest_day(RAW) is None


def test_the_partition_of_a_table_without_days_holds_no_day(lake: Lake):
    replace(lake, TABLE, D1, None, content="x")
    read = lake.read_set(TABLE, [None, D1])
    assert [list(map(str, files)) for files in read.values()] == [
        [f"{lake.root}/staging/orders/data.parquet"],
        [f"{lake.root}/staging/orders/day={D1}/data.parquet"],
    ]


def test_a_load_is_added_beside_the_others_and_never_replaces_one(lake: Lake, tmp_path: Path):
    lake.add(RAW, "1", {D1: written(tmp_path, "1a"), D2: written(tmp_path, "1b")})
    lake.add(RAW, "2", {D2: written(tmp_path, "2b")})
    assert content(lake, RAW, D2) == ["1b", "2b"]
    with pytest.raises(FileExistsError, match=rf"day={D2}/2\.parquet exists: raw is append-only"):
        lake.add(RAW, "2", {D1: written(tmp_path, "3a"), D2: written(tmp_path, "3b")})
    assert content(lake, RAW, D1) == ["1a"]
    assert content(lake, RAW, D2) == ["1b", "2b"]


def test_a_load_whose_early_file_exists_is_taken_back_as_a_whole(lake: Lake, tmp_path: Path):
    lake.add(RAW, "1", {}, {D3: written(tmp_path, "early")})
    with pytest.raises(FileExistsError, match=r"1\.early\.parquet exists"):
        lake.add(RAW, "1", {D1: written(tmp_path, "a")}, {D2: written(tmp_path, "b"), D3: written(tmp_path, "c")})
    assert lake.days(RAW) == []
    assert lake.early_days(RAW) == [D3]
    assert content(lake, RAW, D3) == ["early"]


def test_a_load_that_fails_half_way_is_taken_back_early_files_too(lake: Lake, tmp_path: Path):
    with pytest.raises(FileNotFoundError):
        lake.add(RAW, "1", {D1: written(tmp_path, "a")}, {D2: written(tmp_path, "b"), D3: tmp_path / "none"})
    assert lake.days(RAW) == lake.early_days(RAW) == []


def test_a_version_changes_when_a_file_is_replaced_and_only_then(lake: Lake):
    replace(lake, TABLE, D1, D2, content="1")
    before = lake.read_set(TABLE, [D1, D2])
    assert lake.read_set(TABLE, [D1, D2]) == before
    replace(lake, TABLE, D2, content="2")
    after = lake.read_set(TABLE, [D1, D2])
    assert after[D1] == before[D1]
    assert after[D2].keys() == before[D2].keys()
    assert after[D2] != before[D2]


@pytest.mark.parametrize("partition", [D1, None])
def test_nothing_is_published_from_an_input_that_was_replaced(open_lake: OpenLake, partition: date | None):
    lake, other = open_lake(), open_lake()
    replace(lake, RAW, partition, content="input")
    inputs = read_set(lake, RAW, partition, D2)
    replace(lake, TABLE, D1, content="result", inputs=inputs)
    of_day = f" of {partition}" if partition else ""
    with (
        pytest.raises(InputsChangedError, match=f"raw/orders{of_day} changed while it was read"),
        lake.replacing(TABLE, inputs) as (folder, targets),
    ):
        targets[written(folder, "x", "stale result")] = Path(f"day={D1}", "data.parquet")
        replace(other, RAW, partition, content="newer input")
    assert content(lake, TABLE, D1) == ["result"]
    assert list(lake.scratch.iterdir()) == []


@pytest.mark.parametrize("is_early", [False, True])
def test_nothing_is_published_when_a_day_that_was_read_got_another_file(
    open_lake: OpenLake, tmp_path: Path, is_early: bool
):
    lake, other = open_lake(), open_lake()
    inputs = read_set(lake, RAW, D1, D2)
    load = {D2: written(tmp_path, "load")}
    other.add(RAW, "1", {} if is_early else load, load if is_early else None)
    with pytest.raises(InputsChangedError, match=f"raw/orders of {D2} changed"):
        replace(lake, TABLE, D2, content="stale result", inputs=inputs)
    assert lake.days(TABLE) == []


def test_a_change_of_a_day_that_was_not_read_changes_nothing(open_lake: OpenLake):
    lake, other = open_lake(), open_lake()
    inputs = read_set(lake, RAW, D1, D2)
    replace(other, RAW, D3, content="not read")
    replace(lake, TABLE, D1, content="result", inputs=inputs)
    assert content(lake, TABLE, D1) == ["result"]


def test_a_failure_while_an_input_changed_says_so(open_lake: OpenLake):
    lake, other = open_lake(), open_lake()
    replace(lake, RAW, D1, content="input")
    inputs = read_set(lake, RAW, D1)
    with pytest.raises(InputsChangedError), lake.replacing(TABLE, inputs):
        replace(other, RAW, D1, content="newer")
        raise ValueError("half of the old file and half of the new one")
    with pytest.raises(ValueError, match="a reason of its own"), lake.replacing(TABLE, {}):
        raise ValueError("a reason of its own")
    assert lake.days(TABLE) == []


def test_the_newest_page_is_the_newest_days_whatever_is_written_last(lake: Lake):
    for day in (D2, D1, D3, D2):
        replace(lake, PAGE, day, content=str(day), name="report.html", newest="latest.html")
    assert (lake.folder(PAGE) / "latest.html").read_text() == str(D3)
    assert (lake.folder(PAGE) / f"day={D2}" / "report.html").read_text() == str(D2)
    assert lake.days(PAGE) == []


def test_the_newest_page_is_the_newest_days_whichever_run_ends_last(open_lake: OpenLake):
    older, newer = open_lake(), open_lake()
    with older.replacing(PAGE, {}, newest="latest.html") as (folder, targets):
        replace(newer, PAGE, D2, content="newer", name="report.html", newest="latest.html")
        targets[written(folder, "x", "older")] = Path(f"day={D1}", "report.html")
    assert (older.folder(PAGE) / "latest.html").read_text() == "newer"
    with pytest.raises(InterruptedError), older.replacing(PAGE, {}, newest="latest.html") as (folder, targets):
        targets[written(folder, "x", "half")] = Path(f"day={D3}", "report.html")
        raise InterruptedError
    assert (older.folder(PAGE) / "latest.html").read_text() == "newer"


def test_a_newest_page_that_another_run_replaces_meanwhile_is_copied_again(lake: Lake, monkeypatch: pytest.MonkeyPatch):
    """The store says so by a failed condition, of a put or of a read."""
    errors: list[Exception] = [ConflictError(UPath("latest.html")), OSError(16, "replaced while it was read")]
    days = type(lake.backend).days

    def days_that_change(backend: Backend, table: UPath) -> object:
        if errors:
            raise errors.pop()
        return days(backend, table)

    monkeypatch.setattr(type(lake.backend), "days", days_that_change)
    replace(lake, PAGE, D1, content="page", name="report.html", newest="latest.html")
    assert (lake.folder(PAGE) / "latest.html").read_text() == "page"
    assert errors == []


def test_a_file_beside_the_tables_is_replaced_when_the_block_ends_well(lake: Lake):
    with lake.replacing_file("warehouse.duckdb") as file:
        file.write_text("1")
    with pytest.raises(InterruptedError), lake.replacing_file("warehouse.duckdb") as file:
        file.write_text("half")
        raise InterruptedError
    assert lake.path("warehouse.duckdb").read_text() == "1"


def test_a_workspace_is_gone_whatever_happened_in_it(lake: Lake):
    with pytest.raises(RuntimeError, match="half-way"), lake.workspace() as folder:
        written(folder, "load.parquet")
        raise RuntimeError("half-way")
    assert list(lake.scratch.iterdir()) == []


def test_every_path_of_a_lake_reads_through_it(lake: Lake):
    """A path that lost its filesystem would be read with the machine's own credentials."""
    replace(lake, TABLE, D1, content="x")
    (file,) = lake.files(TABLE, D1)
    assert file.parent.joinpath("data.parquet").read_text() == "x"
    assert (file.parent.parent / f"day={D1}" / "data.parquet").exists()
    assert [path.read_text() for path in lake.folder(TABLE).glob("*/*.parquet")] == ["x"]


def test_a_table_at_any_depth_has_its_own_files(lake: Lake):
    replace(lake, AssetKey(["staging"]), D1, content="shallow")
    replace(lake, AssetKey(["staging", "shop", "orders"]), D1, content="deep")
    assert content(lake, AssetKey(["staging"]), D1) == ["shallow"]
    assert content(lake, AssetKey(["staging", "shop", "orders"]), D1) == ["deep"]
