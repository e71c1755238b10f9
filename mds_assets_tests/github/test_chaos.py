"""Promises under chaos: a few of the schedules of `make chaos`, and that its search finds what it is to find."""

import gzip
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mds_assets_tests.github.chaos import schedule
from mds_assets_tests.github.chaos.checks import (
    ACTIVITY,
    LANGUAGES,
    RAW,
    REPORT,
    STAGING,
    Inspection,
    Kind,
    is_early,
    leftovers,
    tables_of,
    unlike,
)
from mds_assets_tests.github.chaos.faults import Fault
from mds_assets_tests.github.chaos.play import SECRET, TOKEN, Outcome, new_folder, play
from mds_assets_tests.github.chaos.schedule import Kill
from mds_assets_tests.github.recordings import needs_recordings

# One worker for all, as they share the process that has imported everything.
pytestmark = needs_recordings


def test_a_schedule_is_a_function_of_its_seed_and_200_seeds_try_everything():
    schedules = [schedule.make(seed) for seed in range(200)]
    assert schedules == [schedule.make(seed) for seed in range(200)]
    rounds = [runs for made in schedules for stage in made.stages for runs in stage.rounds]
    assert {len(runs) for runs in rounds} == {1, 2, 3, 4}
    runs = [run for together in rounds for run in together]
    assert {run.kill[0] for run in runs if run.kill} == set(Kill)
    assert {fault for run in runs for _, fault in run.faults} == set(Fault)
    assert {run.days[0] < run.days[1] for run in runs if run.bad_day} == {True, False}
    truncations = [truncation for made in schedules for stage in made.stages for truncation in stage.truncations]
    assert {truncation.layer for truncation in truncations} == {"raw", "staging", "marts"}
    assert {made.refusal for made in schedules} == {None, 403, 404}


@pytest.mark.slow(12)
@pytest.mark.parametrize("seed", [19, 41, 63])
def test_whatever_happens_nothing_is_lost_doubled_half_written_or_leaked(seed: int):
    with new_folder() as folder:
        outcome = play(schedule.make(seed), folder)
    assert not outcome.violations, "\n".join(f"{violation.kind}: {violation.text}" for violation in outcome.violations)


@pytest.fixture(scope="module")
def played() -> Iterator[tuple[Path, Outcome]]:
    """A lake that nothing has happened to but a run."""
    with new_folder() as folder:
        made = next(made for made in map(schedule.make, range(99)) if made.organisation == "jenkinsci")
        yield folder, play(made.undisturbed, folder)


def rewrite(lake: Path, table: str, change: Callable[[pa.Table], pa.Table]) -> None:
    """Write a table's newest day again, changed."""
    file = newest(lake, table)
    pq.write_table(change(pq.ParquetFile(file).read()), file)


def newest(lake: Path, table: str) -> Path:
    """The file of a table's newest landed day."""
    return max(file for file in lake.joinpath(table).glob("*/*.parquet") if not is_early(file))


def early(lake: Path) -> Path:
    """The file of early rows."""
    return max(file for file in lake.joinpath(RAW).glob("*/*.parquet") if is_early(file))


def one_twice(rows: pa.Table) -> pa.Table:
    """The rows and the first of them again."""
    return pa.concat_tables([rows, rows.slice(0, 1)])


def mart_of_another_day(lake: Path) -> None:
    """The newest day of a mart says what its first day said."""
    shutil.copy(min(lake.glob(f"{LANGUAGES}/*/*")), newest(lake, LANGUAGES))


def report_of_another_day(lake: Path) -> None:
    """The latest report is that of the first day."""
    shutil.copy(min(lake.glob(f"{REPORT}/*/*")), lake / REPORT / "latest.html")


def load_again(lake: Path) -> None:
    """The newest day of raw has the same load twice."""
    shutil.copy(newest(lake, RAW), newest(lake, RAW).with_stem("x"))


def negative(name: str) -> Callable[[pa.Table], pa.Table]:
    """Makes a column break its rule."""
    return lambda rows: rows.set_column(rows.schema.get_field_index(name), name, pa.array([-1] * len(rows)))


def with_token(rows: pa.Table) -> pa.Table:
    """The rows with a column more, which Parquet compresses."""
    return rows.append_column("x", pa.array([TOKEN] * len(rows)))


DAMAGES: dict[str, tuple[Kind, Callable[[Path], object]]] = {
    "a raw file is gone": ("lost", lambda lake: newest(lake, RAW).unlink()),
    "a raw file is written again": ("lost", lambda lake: rewrite(lake, RAW, lambda rows: rows.take([*range(9)]))),
    "a raw file has not all rows": ("half-written", lambda lake: rewrite(lake, RAW, lambda rows: rows.slice(1))),
    "a raw file has a row twice": ("duplicated", lambda lake: rewrite(lake, RAW, one_twice)),
    "a load is there twice": ("duplicated", load_again),
    "early rows are gone": ("lost", lambda lake: early(lake).unlink()),
    "early rows are those of another day": ("wrong", lambda lake: shutil.copy(newest(lake, RAW), early(lake))),
    "early rows make their day a landed one": (
        "wrong",
        lambda lake: early(lake).rename(early(lake).with_name("x.parquet")),
    ),
    "a file ends too early": ("half-written", lambda lake: os.truncate(newest(lake, STAGING), 999)),
    "a staging day is gone": ("lost", lambda lake: shutil.rmtree(newest(lake, STAGING).parent)),
    "a staging row is gone": ("lost", lambda lake: rewrite(lake, STAGING, lambda rows: rows.slice(1))),
    "a staging row is there twice": ("duplicated", lambda lake: rewrite(lake, STAGING, one_twice)),
    "a staging row breaks a rule": ("visible", lambda lake: rewrite(lake, STAGING, negative("stars"))),
    "a mart's row breaks a rule": ("visible", lambda lake: rewrite(lake, LANGUAGES, negative("repo_count"))),
    "a mart's row is gone": ("lost", lambda lake: rewrite(lake, ACTIVITY, lambda rows: rows.slice(1))),
    "a mart's row is there twice": ("duplicated", lambda lake: rewrite(lake, LANGUAGES, one_twice)),
    "a mart is an earlier day's": ("wrong", mart_of_another_day),
    "a report ends too early": ("half-written", lambda lake: os.truncate(max(lake.glob(f"{REPORT}/*/*")), 999)),
    "the latest report is an earlier day's": ("wrong", report_of_another_day),
    "a load was left in the scratch folder": ("leftover", lambda lake: lake.joinpath(".tmp", "x").mkdir(parents=True)),
    "a write was left beside a day": ("leftover", lambda lake: newest(lake, ACTIVITY).with_name(".x.tmp").touch()),
    "the token is in a file's name": ("secret", lambda lake: lake.with_name(f"x{TOKEN}").touch()),
    "a part of the token is in a log": ("secret", lambda lake: lake.with_name("x").write_text(f"x{SECRET}")),
    "the token is packed": ("secret", lambda lake: lake.with_name("x").write_bytes(gzip.compress(TOKEN.encode()))),
    "the token is in a table": ("secret", lambda lake: rewrite(lake, RAW, with_token)),
}


@pytest.mark.slow(2)
@pytest.mark.parametrize("damage", DAMAGES)
def test_the_search_finds(damage: str, played: tuple[Path, Outcome], tmp_path: Path):
    folder = shutil.copytree(played[0], tmp_path / "copy")
    lake, ended = folder / "lake", played[1].ended
    before = Inspection(folder, "jenkinsci", SECRET)
    assert not [*before.after(ended), *leftovers(lake)]
    undamaged = tables_of(lake)

    kind, inflict = DAMAGES[damage]
    inflict(lake)
    at_once = Inspection(folder, "jenkinsci", SECRET)
    found = [*before.after([]), *at_once.after(ended), *leftovers(lake)]
    assert kind in {violation.kind for violation in found}
    if "mart" in damage and kind != "visible":
        assert kind in {violation.kind for violation in unlike(tables_of(lake), undamaged)}


@pytest.mark.slow(8)
def test_the_search_finds_a_truncated_file_that_no_run_replaced_and_a_truncated_load_that_is_gone(
    played: tuple[Path, Outcome], tmp_path: Path
):
    folder = shutil.copytree(played[0], tmp_path / "copy")
    inspection = Inspection(folder, "jenkinsci", SECRET)
    assert not [*inspection.after(played[1].ended)]
    mart, load = newest(folder / "lake", LANGUAGES), newest(folder / "lake", RAW).with_stem("9")
    os.truncate(mart, 999)
    load.write_bytes(mart.read_bytes())
    inspection.note_truncated(mart)
    inspection.note_truncated(load)
    assert not [*inspection.after([])]

    load.unlink()
    assert {"lost", "half-written"} <= {violation.kind for violation in inspection.after(played[1].ended)}
