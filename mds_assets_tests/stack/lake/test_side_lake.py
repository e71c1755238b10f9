"""Promises of side lakes: the files that were chosen, nothing of the real lake touched, nothing left behind."""

import errno
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from dagster import AssetKey, DagsterInstance, Definitions
from upath import UPath

from mds_assets.stack import build
from mds_assets.stack.lake import InputsChangedError, Lake, LakeError
from mds_assets.stack.lake.footers import recorded
from mds_assets.stack.lake.object_store import SIDE_LAKES, StoreOptions
from mds_assets.stack.names import FIRST_DAY_TAG, LAST_DAY_TAG, LEFT_OUT, LOADS, SCOPE
from mds_assets.stack.side_lake import Loads, add_loads_before, loads_before, new_side_lake, side_lake
from mds_assets.stack.side_run import run_in
from mds_assets_tests.stack import toy
from mds_assets_tests.stack.lake.conftest import OpenLake
from mds_assets_tests.stack.lake.files import D1, D2, D3, RAW, TABLE, content, names, replace, written
from mds_assets_tests.store import BUCKET, Store

T = datetime(2026, 3, 10, 12, tzinfo=UTC)
NOON = T.timestamp()


def files_below(lake: Lake) -> dict[str, float]:
    """All files with the time of their last change, but those of workspaces."""
    found = lake.backend.find(lake.path())
    return {path: at for path, at in found.items() if not path.startswith(".tmp/")}


@pytest.fixture
def filled(lake: Lake) -> Lake:
    """Two days of a table and of raw."""
    for day in (D1, D2):
        replace(lake, TABLE, day, content=f"table of {day}")
        replace(lake, RAW, day, content=f"raw of {day}", name="1.5.parquet")
    return lake


def test_it_has_the_chosen_files_under_their_names_and_no_others(filled: Lake):
    chosen = {TABLE: filled.read_set(TABLE, [D1]), RAW: filled.read_set(RAW, [D1, D2, D3])}
    with side_lake(filled, chosen) as side:
        assert side.days(TABLE) == [D1]
        assert side.days(RAW) == [D1, D2]
        assert content(side, TABLE, D1) == [f"table of {D1}"]
        assert names(side, RAW, D2) == ["1.5.parquet"]
        assert not side.is_private


def test_what_is_written_there_changes_nothing_in_the_lake_and_is_removed(filled: Lake, open_lake: OpenLake):
    before = files_below(filled)
    with pytest.raises(ZeroDivisionError), side_lake(filled, {TABLE: filled.read_set(TABLE, [D1, D2])}) as side:
        replace(side, TABLE, D1, D3, content="new")
        assert content(side, TABLE, D1) == ["new"]
        assert content(filled, TABLE, D1) == [f"table of {D1}"]
        # While it is there, it is no table of the lake.
        assert filled.days(TABLE) == [D1, D2]
        raise ZeroDivisionError
    assert files_below(open_lake()) == before
    assert filled.is_remote or list(filled.scratch.iterdir()) == []
    assert content(filled, TABLE, D2) == [f"table of {D2}"]


def test_the_mark_that_rows_are_private_comes_along(filled: Lake):
    filled.mark_private()
    with side_lake(filled, {}) as side:
        assert side.is_private


def test_a_file_that_is_replaced_or_removed_meanwhile_is_an_error(filled: Lake, open_lake: OpenLake):
    old = filled.read_set(TABLE, [D1])
    replace(open_lake(), TABLE, D1, content="newer")
    with pytest.raises(InputsChangedError), side_lake(filled, {TABLE: old}):
        pass
    filled.files(TABLE, D1)[0].unlink()
    with pytest.raises(InputsChangedError), side_lake(filled, {TABLE: old}):
        pass
    # Without versions, whatever is there now will do.
    (file,) = filled.files(TABLE, D2)
    replace(open_lake(), TABLE, D2, content="newer")
    with side_lake(filled, {TABLE: {D2: [file]}}) as side:
        assert content(side, TABLE, D2) == ["newer"]


def test_one_that_stays_needs_an_empty_root_beside_the_lake(filled: Lake):
    chosen = {TABLE: filled.read_set(TABLE, [D1])}
    for root in (filled.root, f"{filled.root}/inside", filled.root.rpartition("/")[0]):
        with pytest.raises(LakeError, match=r"not empty|overlaps"):
            new_side_lake(filled, root, chosen)
    side = new_side_lake(filled, f"{filled.root}-2", chosen)
    assert content(side, TABLE, D1) == [f"table of {D1}"]
    with pytest.raises(LakeError, match="is not empty"):
        new_side_lake(filled, side.root, chosen)


def test_one_that_stays_and_fails_leaves_its_root_empty(filled: Lake, open_lake: OpenLake):
    chosen = {TABLE: filled.read_set(TABLE, [D1, D2])}
    replace(open_lake(), TABLE, D1, content="newer")
    with pytest.raises(InputsChangedError):
        new_side_lake(filled, f"{filled.root}-2", chosen)
    assert files_below(Lake(f"{filled.root}-2", filled._store_options)) == {}  # pyright: ignore[reportPrivateUsage]


def test_files_of_a_folder_do_not_go_to_a_store_nor_to_another_bucket(stored_lake: Lake, tmp_path: Path):
    for root in (str(tmp_path / "x"), "s3://other/x"):
        with pytest.raises(LakeError, match=f"choose the bucket of s3://{BUCKET}"):
            new_side_lake(stored_lake, root, {})
    with pytest.raises(LakeError, match="choose a folder"):
        new_side_lake(Lake(str(tmp_path / "x")), f"s3://{BUCKET}/x", {})


def test_where_there_are_no_hard_links_files_are_copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    lake = Lake(str(tmp_path / "lake"))
    replace(lake, TABLE, D1, content="old")
    (file,) = lake.files(TABLE, D1)

    def refuse(*_: object) -> None:
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    with side_lake(lake, {TABLE: lake.read_set(TABLE, [D1])}) as side:
        assert Path(str(side.files(TABLE, D1)[0])).samefile(str(file))
    monkeypatch.setattr(os, "link", refuse)
    with side_lake(lake, {TABLE: lake.read_set(TABLE, [D1])}) as side:
        (copy,) = side.files(TABLE, D1)
        assert (copy.read_text(), copy.stat().st_mtime) == ("old", file.stat().st_mtime)
        assert not Path(str(copy)).samefile(str(file))


def test_a_file_behind_a_symbolic_link_is_linked_itself(tmp_path: Path):
    lake = Lake(str(tmp_path / "lake"))
    folder = tmp_path / "lake/staging/orders" / f"day={D1}"
    folder.mkdir(parents=True)
    (folder / "data.parquet").symlink_to(os.path.relpath(written(tmp_path, "elsewhere"), folder))
    with side_lake(lake, {TABLE: lake.read_set(TABLE, [D1])}) as side:
        assert not Path(str(side.files(TABLE, D1)[0])).is_symlink()


_KILLED = """
import os, signal, sys
from mds_assets.stack.lake import Lake
from mds_assets.stack.side_lake import side_lake
from mds_assets_tests.stack.lake.files import D1, TABLE
lake = Lake(sys.argv[1])
with side_lake(lake, {TABLE: lake.read_set(TABLE, [D1])}) as side:
    assert side.days(TABLE) == [D1]
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_killed_process_leaves_one_that_the_next_run_removes(tmp_path: Path):
    lake = Lake(str(tmp_path / "lake"))
    replace(lake, TABLE, D1, content="old")
    words = [sys.executable, "-W", "ignore", "-c", _KILLED, lake.root]
    assert subprocess.run(words, check=False).returncode == -signal.SIGKILL
    assert len(list(lake.backend.leftovers())) == 1
    with lake.workspace():
        pass
    assert list(lake.scratch.iterdir()) == []
    assert content(lake, TABLE, D1) == ["old"]


def test_what_a_killed_process_leaves_in_a_store_is_removed_a_day_later(
    stored_lake: Lake, options: StoreOptions, monkeypatch: pytest.MonkeyPatch
):
    lake = Lake(stored_lake.root, options)
    replace(lake, TABLE, D1, content="old")
    left = lake.at(f"{lake.root}/{SIDE_LAKES}/left")
    replace(left, TABLE, D1, content="left")
    assert list(lake.backend.leftovers()) == []
    with side_lake(lake, {}):
        assert left.days(TABLE) == [D1]  # it may be in use
    monkeypatch.setattr("mds_assets.stack.lake.object_store._ABANDONED_SECONDS", -10)
    (found,) = lake.backend.leftovers()
    assert str(found) == left.root
    lake.backend.remove(found)
    assert list(lake.backend.leftovers()) == []
    replace(left, TABLE, D1, content="left")
    with side_lake(lake, {}):
        assert left.days(TABLE) == []
    assert content(lake, TABLE, D1) == ["old"]


def test_a_run_in_a_side_lake_of_a_store_changes_no_object_of_the_lake(stored_lake: Lake, store: Store):
    sources = Definitions(assets=[toy.orders, toy.staged, toy.revenue], resources={"shop": toy.sales()})
    project = build.build_definitions(sources, resource_overrides={"lake": stored_lake})
    first, last = (datetime.now(UTC).date() - timedelta(days=days) for days in (3, 2))
    landed = project.resolve_job_def("daily_refresh").execute_in_process(
        instance=DagsterInstance.ephemeral(),
        asset_selection=[RAW],
        tags={FIRST_DAY_TAG: str(first), LAST_DAY_TAG: str(last)},
        run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
    )
    assert landed.success
    before = store.contents(stored_lake.root)
    with side_lake(stored_lake, {RAW: stored_lake.read_set(RAW, [first, last])}) as side:
        run_in(project, side, [TABLE, AssetKey(["marts", "revenue"])], first, last)
        assert side.days(TABLE) == side.days(AssetKey(["marts", "revenue"])) == [first, last]
    # This server keeps the folders of deleted objects, without an ETag; S3 has no folders.
    assert {name: etag for name, etag in store.contents(stored_lake.root).items() if etag != '""'} == before


# Raw as it was


def land(
    lake: Lake,
    name: str,
    day: date | None,
    loads: Iterable[str],
    facts: Mapping[str, Any] | None = None,
    column: str = "_dlt_load_id",
) -> None:
    """Add a file with one row for each of these loads."""
    rows = pa.table({"id": [int(float(load)) for load in loads], column: list(loads)})
    metadata = {key: json.dumps(value) for key, value in (facts or {}).items()}
    with lake.workspace() as folder:
        pq.write_table(rows.replace_schema_metadata(metadata or None), folder / "file")
        if ".early" in name and day:
            lake.add(RAW, name.removesuffix(".early"), {}, {day: folder / "file"})
        else:
            lake.add(RAW, name, {day: folder / "file"})


def at(seconds: float) -> str:
    """The id of a load that started so many seconds after noon."""
    return f"{NOON + seconds:.4f}"


def published(seconds: float) -> dict[str, Any]:
    return {"mds_load": {"published": (T + timedelta(seconds=seconds)).isoformat()}}


def before(lake: Lake, day: date | None = D1, time: datetime = T) -> tuple[list[str], dict[str, list[str]]]:
    """The names of the files that were there, and of the loads in compacted ones of which only some were."""
    loads = loads_before(lake, RAW, [day], time)[day]
    assert isinstance(loads, Loads)
    return [file.name for file in loads.whole], {file.name: list(names) for file, names in loads.parts.items()}


def test_a_load_was_there_once_it_was_published(lake: Lake):
    land(lake, at(-90), D1, [at(-90)], published(-60))
    land(lake, at(-30), D1, [at(-30)], published(0))
    land(lake, at(-20), D1, [at(-20)], published(0.001))  # under way
    land(lake, f"{at(-80)}.early", D1, [at(-80)], published(-70))
    land(lake, at(1), D1, [at(1)], published(-5))  # a clock was set back: it had not started
    whole = [f"{at(-90)}.parquet", f"{at(-80)}.early.parquet", f"{at(-30)}.parquet"]
    assert before(lake) == (whole, {})
    assert before(lake, D2) == ([], {})
    assert loads_before(lake, RAW, [D1], T)[D1].whole.items() <= lake.read_set(RAW, [D1])[D1].items()
    with pytest.raises(ValueError, match="no time zone"):
        loads_before(lake, RAW, [D1], T.replace(tzinfo=None))


def test_an_older_file_counts_from_when_its_load_started(lake: Lake):
    land(lake, at(-1), None, [at(-1)])
    land(lake, at(1), None, [at(1)])
    land(lake, at(0), None, [at(0)], {"mds_load": ["not", "ours"]})
    assert before(lake, None) == ([f"{at(-1)}.parquet", f"{at(0)}.parquet"], {})


def test_a_load_without_a_time_counts_from_when_its_file_was_written(lake: Lake):
    land(lake, "by-hand", D1, [])
    assert before(lake) == ([], {}) or datetime.now(UTC) > T
    assert before(lake, time=datetime.now(UTC) - timedelta(days=1)) == ([], {})
    assert before(lake, time=datetime.now(UTC) + timedelta(days=1)) == (["by-hand.parquet"], {})


def test_a_file_that_cannot_be_read_was_there_as_its_name_says(lake: Lake):
    replace(lake, RAW, D1, content="no Parquet", name=f"{at(-1)}.parquet")
    assert before(lake) == ([f"{at(-1)}.parquet"], {})


def test_of_a_compacted_file_only_the_loads_that_were_there_are_copied(lake: Lake):
    loads = [at(-2), at(-1), at(1)]
    facts = {LOADS: [f"{load}.parquet" for load in loads], SCOPE: ["a"], LEFT_OUT: {"b": "answered 404"}}
    land(lake, f"{at(1)}.compacted", D1, [*loads, at(-1)], facts)
    early = {LOADS: [f"{load}.early.parquet" for load in loads]}
    land(lake, f"{at(1)}.compacted.early", D2, loads, early)
    land(lake, f"{at(-3)}.compacted", D2, [at(-4)], {LOADS: [f"{at(-4)}.parquet", f"{at(-3)}.parquet"]})
    land(lake, f"{at(9)}.compacted", D3, [at(8), at(9)], {LOADS: [f"{at(8)}.parquet", f"{at(9)}.parquet"]})
    with side_lake(lake, {}) as side:
        add_loads_before(lake, side, {RAW: [D1, D2, D3]}, T)
        (file,) = side.files(RAW, D1)
        assert file.name == f"{at(-1)}.compacted.parquet"
        assert rows(file) == sorted([at(-2), at(-1), at(-1)])
        assert recorded(file, LOADS) == [f"{at(-2)}.parquet", f"{at(-1)}.parquet"]
        assert (recorded(file, SCOPE), recorded(file, LEFT_OUT)) == (["a"], {"b": "answered 404"})
        assert names(side, RAW, D2) == [f"{at(-3)}.compacted.parquet", f"{at(-1)}.compacted.early.parquet"]
        assert rows(side.files(RAW, D2)[1]) == [at(-2), at(-1)]
        assert side.files(RAW, D3) == []


def test_a_compacted_file_may_say_when_each_of_its_loads_was_published(lake: Lake):
    loads = [f"{at(-2)}.parquet", f"{at(-1)}.parquet"]
    facts = {LOADS: loads, "mds_load": {"loads": {loads[1]: {"version": "0", **published(5)["mds_load"]}}}}
    land(lake, f"{at(-1)}.compacted", D1, [], facts)
    assert before(lake) == ([], {f"{at(-1)}.compacted.parquet": loads[:1]})


def test_rows_that_do_not_name_their_load_are_an_error(lake: Lake):
    facts = {LOADS: [f"{at(-1)}.parquet", f"{at(1)}.parquet"]}
    land(lake, f"{at(1)}.compacted", D1, [at(-1)], facts, column="load")
    with side_lake(lake, {}) as side, pytest.raises(LakeError, match="has no column _dlt_load_id"):
        add_loads_before(lake, side, {RAW: [D1]}, T)


def rows(file: UPath) -> list[str]:
    with file.open("rb") as opened:
        return sorted(pq.read_table(opened)["_dlt_load_id"].to_pylist())
