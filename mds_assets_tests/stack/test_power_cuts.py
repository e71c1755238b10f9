"""Promises after a power cut: what Dagster calls materialized is in the lake, and every file can be read.

`python -m mds_assets_tests.stack.power --cuts 200` makes as many cuts as you like, `--device` those of a real ext4.
"""

import os
import subprocess
import sys
from pathlib import Path
from random import Random

import pytest

from mds_assets.stack.lake import Lake
from mds_assets_tests.stack.lake.files import D1, RAW, TABLE, replace, written
from mds_assets_tests.stack.power import device, recorder
from mds_assets_tests.stack.power.disk import Disk
from mds_assets_tests.stack.power.recorder import Call


def path_of(descriptor: int) -> str:
    return str(Path(f"/proc/self/fd/{descriptor}").readlink())


def cuts(*options: str) -> str:
    words = [sys.executable, "-W", "ignore", "-m", "mds_assets_tests.stack.power", *options]
    ended = subprocess.run(words, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


@pytest.mark.skipif(not recorder.can_record(), reason="strace is not installed, or may not trace")
@pytest.mark.slow(15)
def test_nothing_is_lost_on_a_disk_that_keeps_no_more_than_what_was_flushed():
    assert cuts("--cuts", "30") == "30 cuts, 0 of them lost something\n"


@pytest.mark.slow(15)
def test_nothing_is_lost_on_ext4(tmp_path: Path):
    if not device.can_cut(tmp_path):
        pytest.skip("this machine mounts no loop devices, or not for us")
    assert cuts("--cuts", "3", "--device") == "3 cuts, 0 of them lost something\n"


@pytest.mark.skipif(sys.platform != "linux", reason="it asks /proc which folders were flushed")
def test_a_day_that_a_killed_run_landed_is_flushed_before_another_run_calls_it_materialized(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    lake = Lake(str(tmp_path / "lake"))
    lake.add(RAW, "1", {D1: written(tmp_path, "a")})
    flushed: list[str] = []
    monkeypatch.setattr(os, "fsync", lambda descriptor: flushed.append(path_of(descriptor)))
    lake.flush(lake.files(RAW, D1))
    assert sorted(flushed) == [
        lake.root,
        f"{lake.root}/raw",
        f"{lake.root}/raw/orders",
        f"{lake.root}/raw/orders/day={D1}",
    ]


@pytest.mark.skipif(sys.platform != "linux", reason="it asks /proc which files were flushed")
def test_every_file_is_flushed_before_it_is_moved_and_every_new_folder_above_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    done: list[str] = []
    link, move, flush = os.link, os.replace, os.fsync

    def flushed(descriptor: int) -> None:
        done.append(f"flush {Path(path_of(descriptor)).relative_to(tmp_path)}")
        flush(descriptor)

    monkeypatch.setattr(os, "fsync", flushed)
    monkeypatch.setattr(os, "link", lambda *paths: (done.append("link"), link(*paths)))
    monkeypatch.setattr(os, "replace", lambda *paths: (done.append("replace"), move(*paths)))
    lake = Lake(str(tmp_path / "new" / "lake"))
    with lake.workspace() as folder:
        lake.add(RAW, "1", {D1: written(folder, "a")})
    assert done[:2] == ["flush new", "flush ."] or done[:2] == ["flush .", "flush new"]
    assert done[2].endswith("/a")
    assert done[3] == "link"
    folders = [f"new/lake/raw/orders/day={D1}", "new/lake/raw/orders", "new/lake/raw", "new/lake"]
    assert sorted(done[4:]) == sorted(f"flush {folder}" for folder in folders)
    done.clear()
    replace(lake, TABLE, D1, content="x")
    assert done[0].endswith("/0")
    assert done[1] == "replace"
    assert len(done) == 6


def test_the_model_of_a_disk_keeps_what_was_flushed_and_nothing_else(tmp_path: Path):
    root = Path("/lake")
    disk = Disk(root)
    for call in (
        Call("create", "/lake/a"),
        Call("write", "/lake/a", data=b"flushed"),
        Call("flush", "/lake/a"),
        Call("write", "/lake/a", data=b"not", offset=7),
        Call("create", "/lake/b"),
        Call("flush", "/lake"),
        Call("write", "/lake/b", data=b"not"),
        Call("rename", "/lake/b", other="/lake/c"),
        Call("mkdir", "/lake/folder"),
        Call("link", "/lake/a", other="/lake/folder/a"),
        Call("flush", "/lake/folder"),
    ):
        disk.apply(call)
    left = tmp_path / "left"
    left.mkdir()
    disk.write_to(left, Random(0), "", everything_lost=True)
    assert {path.name: path.read_bytes() for path in left.iterdir()} == {"a": b"flushed", "b": b""}
    disk.apply(Call("flush", "/lake"))
    disk.write_to(left, Random(0), "", everything_lost=True)
    assert left.joinpath("folder", "a").read_bytes() == b"flushed"
