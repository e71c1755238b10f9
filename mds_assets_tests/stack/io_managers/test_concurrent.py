"""Promises of runs side by side: none removes what another has under way, none replaces what another read more for."""

import errno
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pytest
from dagster import AssetKey

from mds_assets.stack.lake.lake import Lake, LakeError
from mds_assets_tests.stack.io_managers.warehouse import D0, D1, D2, D3, PAIRS, Warehouse, pairs, passes_on, writes

KEY = AssetKey(["staging", "t"])

# Takes a workspace, says so, and holds it until its standard input ends.
_HOLDS = """
import sys
from mds_assets.stack.lake.lake import Lake
with Lake(root=sys.argv[1]).workspace() as folder:
    (folder / "under way").touch()
    print(folder, flush=True)
    sys.stdin.read()
"""


def test_a_workspace_lives_as_long_as_its_process_and_the_next_run_removes_it(tmp_path: Path):
    lake = Lake(root=str(tmp_path))
    holds = [sys.executable, "-c", _HOLDS, tmp_path]
    with subprocess.Popen(holds, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout
        theirs = Path(other.stdout.readline().strip())
        with lake.workspace() as ours:
            assert ours != theirs
            assert (theirs / "under way").exists()
        other.kill()
    assert theirs.exists()
    with lake.workspace():
        assert not theirs.exists()
    assert list(lake.scratch.iterdir()) == []


def change_during(warehouse: Warehouse, times: int) -> tuple[Callable[[Any], Any], list[int]]:
    """A function for `passes_on` during whose first runs another run replaces the source; and how often it ran."""
    ran: list[int] = []

    def change(rows: Any) -> Any:
        ran.append(len(ran))
        if len(ran) <= times:
            warehouse.run(writes(lambda _: pairs((len(ran), "newer", D1))), D1)
        return rows

    return change, ran


@pytest.mark.parametrize("kind", [duckdb.DuckDBPyRelation, pl.DataFrame], ids=["relation", "dataframe"])
def test_a_table_whose_input_changes_meanwhile_is_computed_again(warehouse: Warehouse, kind: type):
    source = writes(lambda _: pairs((0, "old", D1)))
    warehouse.run(source, D1)
    change, ran = change_during(warehouse, times=2)
    target = passes_on(source, kind, change=change)
    warehouse.run([source, target], D1, only=target)
    assert len(ran) == 3
    assert warehouse.content(target) == {f"day={D1}": [{"id": 2, "name": "newer"}]}


def test_a_day_that_is_added_to_the_window_meanwhile_is_seen(warehouse: Warehouse):
    source = writes(lambda days: pairs(*((1, "x", day) for day in days)))
    warehouse.run(source, D2)

    def change(rows: pl.LazyFrame) -> pl.LazyFrame:
        if not warehouse.file(source, D1).exists():
            warehouse.run(source, D1)
        return rows.with_columns(day=pl.lit(D2))

    target = passes_on(source, pl.LazyFrame, change=change, lookback=True)
    warehouse.run([source, target], D2, only=target)
    assert warehouse.content(target) == {f"day={D2}": [{"id": 1, "name": "x"}] * 2}


def test_a_change_of_a_day_that_was_not_read_is_none_of_its_business(warehouse: Warehouse):
    source = writes(lambda days: pairs(*((1, "x", day) for day in days)))
    warehouse.run(source, D0, D3)
    ran: list[int] = []

    def change(rows: Any) -> Any:
        ran.append(1)
        warehouse.run(source, D2, D3)
        return rows

    target = passes_on(source, pl.LazyFrame, change=change)
    warehouse.run([source, target], D0, D1, only=target)
    assert len(ran) == 1


def test_an_input_that_never_comes_to_rest_ends_the_run_by_name_and_leaves_the_old_table(warehouse: Warehouse):
    source = writes(lambda _: pairs((0, "old", D1)))
    target = passes_on(source, pl.DataFrame)
    warehouse.run([source, target], D1)
    before = warehouse.file(target, D1).read_bytes()
    change, ran = change_during(warehouse, times=99)
    result = warehouse.run(
        [source, passes_on(source, pl.DataFrame, change=change)], D1, only=passes_on(source, pl.DataFrame), raises=False
    )
    assert not result.success
    assert len(ran) == 11
    told = result.get_step_failure_events()[0].step_failure_data.user_failure_data
    assert told
    assert "marts/passed_on: staging/written of 2024-02-27 changed while it was read" in str(told.description)
    assert warehouse.file(target, D1).read_bytes() == before


def test_a_load_that_cannot_be_moved_whole_is_taken_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    lake = Lake(root=str(tmp_path / "lake"))
    files = {day: tmp_path / f"{day}.parquet" for day in (D1, D2)}
    for file in files.values():
        file.touch()
    moved: list[str] = []

    def full(source: Path, target: Path) -> None:
        if moved:
            raise OSError(errno.ENOSPC, "No space left on device")
        moved.append(str(target))
        source.rename(target)

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError, match="No space left"):
        lake.add(KEY, "load.parquet", files)
    assert moved
    assert lake.days(KEY) == []


def test_a_lake_that_cannot_be_written_is_named(tmp_path: Path):
    lake = Lake(root=str(tmp_path / "lake"))
    with (
        pytest.raises(
            LakeError, match=r"MDS_DATA_DIR='.*/lake' cannot be written: No space left on device.*run it again"
        ),
        lake.workspace(),
    ):
        raise OSError(errno.ENOSPC, "No space left on device")
    with pytest.raises(OSError, match="Connection reset"), lake.workspace():
        raise OSError(errno.ECONNRESET, "Connection reset")


def test_declared_columns_of_a_table_that_is_computed_again_are_told_once(warehouse: Warehouse):
    source = writes(lambda _: pairs((0, "old", D1)))
    warehouse.run(source, D1)
    change, _ = change_during(warehouse, times=1)
    target = passes_on(source, pl.DataFrame, change=change)
    result = warehouse.run([source, target], D1, only=target)
    told = [event for event in result.get_asset_materialization_events() if event.asset_key == target.key]
    assert [event.materialization.metadata["dagster/column_schema"].value for event in told] == [PAIRS]


def test_the_newest_day_has_its_copy_whichever_run_ends_last(tmp_path: Path):
    lake = Lake(root=str(tmp_path))
    table = Path(str(lake.folder(KEY)))
    with lake.replacing(KEY, {}, newest="latest.txt") as (older, becomes_older):
        with lake.replacing(KEY, {}, newest="latest.txt") as (newer, becomes_newer):
            (newer / "x").write_text("newer")
            becomes_newer[newer / "x"] = Path(f"day={D2}", "page.txt")
        (older / "x").write_text("older")
        becomes_older[older / "x"] = Path(f"day={D1}", "page.txt")
    assert (table / f"day={D1}" / "page.txt").read_text() == "older"
    assert (table / "latest.txt").read_text() == (table / f"day={D2}" / "page.txt").read_text() == "newer"

    with pytest.raises(InterruptedError), lake.replacing(KEY, {}, newest="latest.txt") as (folder, becomes):
        (folder / "x").write_text("half")
        becomes[folder / "x"] = Path(f"day={D3}", "page.txt")
        raise InterruptedError
    assert (table / "latest.txt").read_text() == "newer"
    assert list(lake.scratch.iterdir()) == []
