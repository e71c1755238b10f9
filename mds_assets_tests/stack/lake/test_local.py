"""Promises of a lake in a folder: one writer at a time, no trace of a killed run, errors that name the way out."""

import errno
import os
import subprocess
import sys
import time
from pathlib import Path
from threading import Thread

import pytest
from dagster import AssetKey

from mds_assets.stack.lake import Lake, LakeError, backend
from mds_assets.stack.lake.backend import ConflictError
from mds_assets_tests.stack.lake.files import D1, D2, RAW, TABLE, content, replace, written

# Takes a workspace, says so, and holds it until its standard input ends.
_HOLDS = """
import sys
from mds_assets.stack.lake import Lake
with Lake(sys.argv[1]).workspace() as folder:
    (folder / "load.parquet").touch()
    print(folder, flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(str(tmp_path / "lake"))


def test_a_workspace_lives_as_long_as_its_process_and_the_next_run_removes_it(lake: Lake):
    holds = [sys.executable, "-c", _HOLDS, lake.root]
    with subprocess.Popen(holds, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout
        theirs = Path(other.stdout.readline().strip())
        with lake.workspace() as ours:
            assert ours != theirs
            assert (theirs / "load.parquet").exists()
        other.kill()
    assert theirs.exists()
    with lake.workspace():
        assert not theirs.exists()
    assert list(lake.scratch.iterdir()) == []


@pytest.mark.parametrize("name", ["..", ".", "mine", "raw.orders", "0" * 31, f"{'0' * 32}x", "A" * 32])
def test_no_lock_file_but_a_workspaces_own_removes_anything(lake: Lake, name: str):
    replace(lake, TABLE, D1, content="x")
    lake.scratch.joinpath("mine").mkdir()
    lock_file = Path(f"{lake.scratch}/{name}.lock")
    lock_file.write_text("somebody else's")
    with lake.workspace():
        pass
    assert content(lake, TABLE, D1) == ["x"]
    assert lock_file.read_text() == "somebody else's"
    lock_file.write_text("")  # as a process leaves it that was killed while it held a table's lock
    with lake.workspace():
        pass
    assert content(lake, TABLE, D1) == ["x"]
    assert not lock_file.exists()
    assert lake.scratch.joinpath("mine").exists()


def test_a_table_of_any_name_may_be_locked(lake: Lake):
    replace(lake, TABLE, D1, content="x")
    replace(lake, AssetKey(["marts", "..", "a"]), D1, content="y")
    with lake.backend.replacing("..", lake.path(), []):
        pass
    assert content(lake, TABLE, D1) == ["x"]


def test_a_workspace_of_another_host_is_left_alone_for_a_week(lake: Lake, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(backend, "node", lambda: "other")
    with lake.workspace() as theirs:
        held = theirs.name
    monkeypatch.undo()
    folder, lock_file = lake.scratch / held, lake.scratch / f"{held}.lock"
    folder.mkdir()
    lock_file.touch()  # nobody on this host holds it: locks of some network file systems hold on one host only
    with lake.workspace():
        assert folder.exists()
    long_ago = time.time() - 8 * 86_400
    os.utime(lock_file, (long_ago, long_ago))
    with lake.workspace():
        assert not folder.exists()


@pytest.mark.parametrize(
    ("mount", "kind"),
    [
        ("rw - ext4 /dev/sda rw", None),
        ("rw - nfs4 server:/ rw,local_lock=none", None),
        ("rw - nfs4 server:/ rw,local_lock=all", "nfs4"),
        ("rw - nfs server:/ rw,nolock", "nfs"),
        ("rw - cifs //server/share rw", None),
        ("rw - cifs //server/share rw,nobrl", "cifs"),
        ("rw shared:1 - fuse.sshfs me@server: rw", "fuse.sshfs"),
    ],
)
def test_locks_that_may_hold_on_this_host_only_are_noticed_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, mount: str, kind: str | None
):
    place = tmp_path / "my share"
    mounts = tmp_path / "mountinfo"
    mounts.write_text(f"1 0 8:1 / / rw - fuse.root root rw\n2 1 8:2 / {tmp_path}/my\\040share {mount}\n")
    monkeypatch.setattr("mds_assets.stack.lake.mounts._MOUNTS", mounts)
    lake = Lake(str(place / "lake"))
    for _ in range(2):
        with lake.workspace():
            pass
    warning = f"locks on {place}/lake ({kind}) may hold on this host only: let no other host write here"
    assert [record.getMessage() for record in caplog.records] == ([warning] if kind else [])


def test_a_load_never_replaces_one_that_appears_while_it_is_moved(lake: Lake, tmp_path: Path):
    target = lake.folder(RAW) / f"day={D1}" / "1.parquet"
    with lake.backend.adding("ours", [target]) as move:
        lake.add(RAW, "1", {D1: written(tmp_path, "theirs")})
        with pytest.raises(ConflictError):
            move(written(tmp_path, "ours"), target)
    assert target.read_text() == "theirs"


def test_a_load_is_added_where_there_are_no_hard_links(lake: Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def refused(*_: object) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", refused)
    target = lake.folder(RAW) / f"day={D1}" / "1.parquet"
    with lake.backend.adding("ours", [target]) as move:
        lake.add(RAW, "1", {D1: written(tmp_path, "theirs")})
        with pytest.raises(ConflictError):
            move(written(tmp_path, "ours"), target)
    assert content(lake, RAW, D1) == ["theirs"]
    assert [file.name for file in Path(str(target.parent)).iterdir()] == ["1.parquet"]


def test_a_load_whose_link_was_made_by_a_call_that_was_sent_twice_is_there(lake: Lake, tmp_path: Path):
    target = lake.folder(RAW) / f"day={D1}" / "1.parquet"
    file = written(tmp_path, "ours")
    with lake.backend.adding("orders", [target]) as move:
        move(file, target)
        move(file, target)
    assert target.read_text() == "ours"


def test_a_load_whose_name_exists_is_refused_before_anything_moves(lake: Lake, tmp_path: Path):
    lake.add(RAW, "1", {D2: written(tmp_path, "a")})
    files = {D1: written(tmp_path, "b"), D2: written(tmp_path, "c")}
    with pytest.raises(FileExistsError):
        lake.add(RAW, "1", files)
    assert all(file.exists() for file in files.values())


def test_a_load_that_cannot_be_moved_whole_is_taken_back(lake: Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    moved: list[str] = []

    def full(file: Path, target: str) -> None:
        if moved:
            raise OSError(errno.ENOSPC, "No space left on device")
        moved.append(target)
        file.rename(target)

    monkeypatch.setattr(os, "link", full)
    with pytest.raises(OSError, match="No space left"):
        lake.add(RAW, "1", {D1: written(tmp_path, "a")}, {D2: written(tmp_path, "b")})
    assert moved
    assert lake.days(RAW) == lake.early_days(RAW) == []


def test_a_load_that_is_interrupted_right_after_a_move_is_taken_back(
    lake: Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def interrupted(file: Path, target: str) -> None:
        file.rename(target)
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "link", interrupted)
    with pytest.raises(KeyboardInterrupt):
        lake.add(RAW, "1", {D1: written(tmp_path, "a")})
    assert lake.days(RAW) == []


def test_a_lake_that_cannot_be_written_is_named(lake: Lake):
    message = r"MDS_DATA_DIR='.*/lake' cannot be written: No space left on device.*run it again"
    with pytest.raises(LakeError, match=message), lake.workspace():
        raise OSError(errno.ENOSPC, "No space left on device")
    with pytest.raises(OSError, match="Connection reset"), lake.workspace():
        raise OSError(errno.ECONNRESET, "Connection reset")


def test_a_file_that_vanishes_after_its_folder_was_listed_is_no_file(lake: Lake, tmp_path: Path):
    """A link to nothing is listed too, and fails in the same way."""
    lake.add(RAW, "1", {D1: written(tmp_path, "a")})
    Path(str(lake.folder(RAW)), f"day={D1}", "0.parquet").symlink_to(tmp_path / "nothing")
    assert content(lake, RAW, D1) == ["a"]
    assert lake.landed(RAW, [D1]) == {D1}


def test_a_day_folder_without_a_file_is_no_day(lake: Lake):
    replace(lake, TABLE, D1, content="x")
    folder = Path(str(lake.folder(TABLE)), f"day={D2}")
    folder.mkdir()
    (folder / ".data-left-over.tmp").touch()
    (folder.parent / "day=2026-03-09").touch()
    assert lake.days(TABLE) == [D1]
    assert lake.newest_day(TABLE) == D1


def test_a_file_beside_the_tables_has_one_writer_at_a_time(lake: Lake):
    def rewrite(content: str) -> None:
        with lake.replacing_file("warehouse") as file:
            file.write_text(content)

    other = Thread(target=rewrite, args=["2"])
    with lake.replacing_file("warehouse") as mine:
        other.start()
        other.join(timeout=0.2)
        assert other.is_alive()
        mine.write_text("1")
    other.join()
    assert lake.path("warehouse").read_text() == "2"


def test_a_lake_below_a_folder_with_a_pattern_in_its_name_reads_right(tmp_path: Path):
    lake = Lake(str(tmp_path / "day=2020-01-01" / "[a]*"))
    replace(lake, TABLE, D1, content="x")
    assert lake.days(TABLE) == [D1]
    assert content(lake, TABLE, D1) == ["x"]


def test_neither_engine_needs_help_to_read_a_folder(lake: Lake):
    assert lake.polars_options == {}
    assert lake.backend.filesystem is None
