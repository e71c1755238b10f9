"""The smaller measurements: what each promise of speed and memory besides the main job's costs by itself."""

import os
import shutil
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

from dagster import AssetKey, AssetMaterialization, DagsterInstance

from benchmarks import others
from benchmarks.compare import compare
from benchmarks.generate import generate
from benchmarks.lakes import DAYS_READ, LAST, STAGING_AND_MARTS, Lakes, days_until
from benchmarks.process import OUR_INSTANCE, ROOT, Command, median, python, rounds
from benchmarks.report import Ratio, Section
from mds_assets_tests.github.recordings import RECORDINGS, jenkinsci
from mds_assets_tests.github.server import GitHubServer

Log = Callable[[str], None]
_FLOOR = ("repos", "repos_per_language", "daily_activity")
TABLES = ("raw/github_repos", "staging/repos", "marts/repos_per_language", "marts/daily_activity")


@dataclass(frozen=True)
class Sizes:
    """How large the lakes of the parts are; a test makes them small.

    Attributes:
        history: Earlier days of a long history, and of a short one.
        ranges: Days of a long range, and of a short one.
        range_rows: Rows a day of these ranges.
        hand_off: Rows a day of the window that is handed off.
        bounded: Rows a day where memory is bounded.
        bound_mb: The bound, in MiB; a quarter of it is DuckDB's.
        others: Rows of the day that dbt-duckdb and SQLMesh make as well.
        sample_days: Days of the sample in a long `mds run`.
        warm_up: Whether a command runs once before it is measured.
        before: A checkout of another version, to be measured beside this one.
    """

    history: tuple[int, int] = (3_650, 10)
    ranges: tuple[int, int] = (365, 30)
    range_rows: int = 300
    hand_off: int = 1_000_000
    bounded: int = 5_000_000
    bound_mb: int = 4_096
    others: int = 100_000
    sample_days: int = 365
    warm_up: bool = True
    before: Path | None = None


def imports(_work: Path, count: int, log: Log, _sizes: Sizes) -> Section:
    """What is imported before anything is needed."""
    section = Section("Imports")
    commands = {
        "import dagster": Command(python("-c", "import dagster")),
        "import mds_assets.definitions": Command(python("-c", "import mds_assets.definitions")),
        "import the engines": Command(python("-c", "import duckdb, polars, pyarrow.parquet")),
    }
    section.took = rounds(commands, count, log)
    alone, ours, _ = (median(took).wall for took in section.took.values())
    section.ratios = [Ratio("wall: import mds_assets.definitions / import dagster", ours / alone, 1.25)]
    return section


def raw(work: Path, count: int, log: Log, sizes: Sizes) -> Section:
    """A day from GitHub to the marts, on the recorded organisation; on the sample where there are no recordings."""
    day = date(2019, 10, 25)
    lakes = Lakes(work / "raw", 75, [day], start=date(2019, 1, 1))
    with _github(jenkinsci() if RECORDINGS.is_dir() else []) as variables:
        section = Section(f"Raw, staging and marts of a day of {lakes.rows} rows" if variables else "The sample's day")
        days = [day] if variables else [date.today() - timedelta(days=1)]  # noqa: DTZ011  # any day will do
        commands = {
            "floor": lakes.floor_command(days),
            "ours": lakes.ours_command(
                days, select=f'key:"raw/github_repos" or {STAGING_AND_MARTS}', variables=variables
            ),
        }
        section.took = rounds(commands, count, log, warm_up=sizes.warm_up)
    floor, ours = (median(took).wall for took in section.took.values())
    section.ratios = [Ratio("wall: ours with raw / floor", ours / floor, 2.5)]
    return section


def long_range(work: Path, count: int, log: Log, sizes: Sizes) -> Section:
    """A long range in one run, against a short one."""
    section = Section(f"Staging and marts of a range of days of {sizes.range_rows} rows")
    commands: dict[str, Command] = {}
    for length in sizes.ranges:
        days = days_until(LAST, length)
        lakes = Lakes(work / f"range-{length}", sizes.range_rows, days, start=days_until(LAST, sizes.ranges[0])[0])
        if not lakes.ours.exists():
            generate(lakes.ours, days, sizes.range_rows)
        commands[f"{length} days"] = lakes.ours_command(days)
        commands[f"floor, {length} days"] = lakes.floor_command(days)
        if sizes.before:
            variables = {"PYTHONPATH": str(sizes.before)}
            commands[f"before, {length} days"] = lakes.ours_command(days, home="before", variables=variables)
    section.took = rounds(commands, count, log, warm_up=sizes.warm_up)
    names = [f"{case}{length} days" for length in sizes.ranges for case in ("", "floor, ")]
    long, long_floor, short, short_floor = (median(section.took[name]).wall for name in names)
    compared = f"{sizes.ranges[0]} days / {sizes.ranges[1]} days"
    section.ratios = [
        Ratio(f"wall: {compared}", long / short, 2),
        Ratio(f"wall: {sizes.ranges[0]} days, ours / floor", long / long_floor, 0.5),
        Ratio(f"wall: the floor, {compared}", long_floor / short_floor),
    ]
    return section


def sample(work: Path, count: int, log: Log, sizes: Sizes) -> Section:
    """`mds run` of the sample with all its tables and pages, as `make run` does: a week again, and a year at first."""
    section = Section(f"mds run on the sample: 7 days, the second run; {sizes.sample_days} days, the first")
    checkouts = {"ours": ROOT, **({"before": sizes.before} if sizes.before else {})}
    runs = {"7 days": (7, count, True), f"{sizes.sample_days} days": (sizes.sample_days, 1, False)}
    for span, (days, rounds_of_span, again) in runs.items():
        for number in range(rounds_of_span):
            for name, checkout in checkouts.items():
                lake = work / f"sample-{name}"
                shutil.rmtree(lake, ignore_errors=True)
                words = python("-c", "from mds_assets.stack.cli import main; main()", "run", "--days", str(days))
                variables = {"MDS_DATA_DIR": str(lake), "PYTHONPATH": str(checkout), "DAGSTER_HOME": str(lake / "home")}
                command = Command(words, variables, home=lake / "home", instance=OUR_INSTANCE)
                if again:
                    command.run()
                took = command.run()
                section.took.setdefault(f"{name}, {span}", []).append(took)
                log(
                    f"round {number + 1} of {rounds_of_span}, {name}, {span}: {took.wall:.2f} s, {took.peak_mb:.0f} MiB"
                )
    week, year = (median(section.took[f"ours, {span}"]).wall for span in runs)
    section.ratios = [
        Ratio("seconds: 7 days", week, 7),
        Ratio(f"seconds: {sizes.sample_days} days", year, 90),
    ]
    return section


def history(work: Path, count: int, log: Log, sizes: Sizes) -> Section:
    """A day with thousands of earlier days in the lake and in Dagster's records, against one with a few."""
    section = Section("A day of 100 rows after a history")
    runs: dict[str, Command] = {}
    loads: dict[str, Command] = {}
    pages: dict[str, Command] = {}
    for length in sizes.history:
        days = days_until(LAST, length + 1)
        lakes = Lakes(work / f"history-{length}", 100, days, start=days[0])
        run = lakes.ours_command([LAST])
        if not lakes.ours.exists():
            log(f"making {length} earlier days")
            generate(lakes.ours, days[-1:], 100)
            run.run()
            _repeat(lakes.ours, days[:-1])
            if run.home:
                _record(run.home, days[:-1])
        runs[f"{length} earlier days"] = run
        loaded = "from mds_assets.definitions import defs; defs.resolve_all_job_defs()"
        loads[f"{length} earlier days: definitions"] = replace(run, words=python("-c", loaded), home=None)
        at_home = {**run.variables, "DAGSTER_HOME": str(run.home)}
        for name, *asked in (
            ("asset pages", "mds_assets.definitions", "staging/repos", "marts/daily_activity"),
            ("floor's asset pages", "benchmarks.floor.definitions", "repos", "daily_activity"),
        ):
            words = python("-m", "benchmarks.asset_page", *asked)
            pages[f"{length} earlier days: {name}"] = Command(words, at_home, prints_steps=True)
    section.took = rounds(runs | loads | pages, count, log)
    long, short, long_load, short_load, *_ = (median(took).wall for took in section.took.values())
    long_page, long_floor, short_page, short_floor = (median(section.took[name]).inside for name in pages)
    section.ratios = [
        Ratio("wall: a day after the long history / after the short one", long / short, 1.05),
        Ratio("wall: load of the definitions, long / short", long_load / short_load, 1.05),
        Ratio("seconds: asset pages of a staging table and a mart, long / short", long_page / short_page, 1.05),
        Ratio("seconds: the same of the floor's, long / short", long_floor / short_floor),
    ]
    return section


def _repeat(lake: Path, days: list[date]) -> None:
    """Give these days the files of the last one; nothing reads them."""
    for table in TABLES:
        files = list((lake / table / f"day={LAST}").iterdir())
        for day in days:
            folder = lake / table / f"day={day}"
            folder.mkdir()
            for file in files:
                os.link(file, folder / file.name)


def _record(home: Path, days: list[date]) -> None:
    """Tell Dagster that all tables of these days were materialised."""
    with DagsterInstance.from_config(str(home)) as instance:
        for day in days:
            for table in (*TABLES, *_FLOOR):
                event = AssetMaterialization(AssetKey(table.split("/")), partition=str(day))
                instance.report_runless_asset_event(event)


def hand_off(work: Path, _count: int, log: Log, sizes: Sizes) -> Section:
    """Staging as the marts get it, against a plain scan of the same files with the same columns."""
    section = Section(f"The hand-off: 7 days of {sizes.hand_off:,} rows as a LazyFrame")
    # As large a lake as the main job's, which may be there already.
    lakes = Lakes(work / f"{sizes.hand_off}", sizes.hand_off, days_until(LAST, DAYS_READ))
    lakes.prepare(log)
    if not (lakes.ours / "staging/repos" / f"day={LAST}").exists():
        lakes.ours_command([LAST]).run()
    words = python("-m", "benchmarks.hand_off", str(lakes.ours), str(days_until(LAST, 7)[0]), str(LAST))
    took = Command(words, {"MDS_START_DATE": str(lakes.start)}, prints_steps=True).run()
    section.ratios = [
        Ratio("seconds: a plain scan", took.steps["plain"]),
        Ratio("seconds: the IO manager's scan", took.steps["ours"]),
        Ratio("the IO manager's scan / a plain scan", took.steps["ours"] / took.steps["plain"], 1.02),
    ]
    return section


def dlt(_work: Path, count: int, log: Log, _sizes: Sizes) -> Section:
    """What dlt takes after GitHub has answered."""
    section = Section("dlt: 2,204 recorded repositories")
    if not RECORDINGS.is_dir():
        section.remarks.append("There are no recordings beside the repository.")
        return section
    repos = [
        recorded | dict.fromkeys(("updated_at", "pushed_at"), f"{LAST - timedelta(days=number % 30)}T10:00:00Z")
        for number, recorded in enumerate(jenkinsci())
    ]
    in_one_day = [repo | dict.fromkeys(("updated_at", "pushed_at"), f"{LAST}T10:00:00Z") for repo in repos]
    with _github(in_one_day) as one_day, _github(repos) as thirty_days:
        commands = {
            name: Command(python("-m", "benchmarks.landing", str(days)), variables, prints_steps=True)
            for name, days, variables in (("one day", 1, one_day), ("30 days", 30, thirty_days))
        }
        section.took = rounds(commands, count, log)
    one, many = (median(took) for took in section.took.values())
    section.ratios = [
        Ratio("seconds after the last byte, one day", one.steps["after the last byte"], 2),
        Ratio("seconds that 30 days take longer than one", many.inside - one.inside, 4),
    ]
    return section


def bounded(work: Path, _count: int, log: Log, sizes: Sizes) -> Section:
    """A day of many rows in a process that may not have much memory."""
    section = Section(f"Bounded memory: {sizes.bounded:,} rows a day in {sizes.bound_mb:,} MiB")
    lakes = Lakes(work / f"{sizes.bounded}", sizes.bounded, days_until(LAST, DAYS_READ))
    lakes.prepare(log)
    commands = {
        "limit, unbounded": lakes.limit_command([LAST]),
        "ours, bounded": lakes.ours_command(
            [LAST],
            memory_limit=sizes.bound_mb * 1024**2,
            variables={"MDS_DUCKDB_MEMORY_LIMIT": f"{sizes.bound_mb // 4}MiB"},
        ),
    }
    try:
        section.took = rounds(commands, 1, log, warm_up=sizes.warm_up)
        section.remarks.append(f"With and without the bound: {compare(lakes.limit, lakes.ours, [LAST])}.")
    except RuntimeError as failed:
        section.remarks.append(f"It fails: {str(failed).strip().splitlines()[-1]}")
    section.remarks.append(
        "The bound is that of a control group, as a container's: beyond it Linux kills the process. It counts the page "
        "cache as well, which the system drops first."
    )
    section.ratios = [Ratio("completed, with equal marts (0: yes)", float("It fails" in section.remarks[0]), 0.5)]
    return section


def in_others(work: Path, count: int, log: Log, sizes: Sizes) -> Section:
    """The same day in other tools."""
    section = Section(f"A day of {sizes.others:,} rows in dbt-duckdb and in SQLMesh")
    lakes = Lakes(work / f"{sizes.others}", sizes.others, days_until(LAST, DAYS_READ))
    lakes.prepare(log)
    commands = {
        "limit": lakes.limit_command([LAST]),
        "floor": lakes.floor_command([LAST]),
        "ours": lakes.ours_command([LAST]),
    }
    tools = others.prepare(lakes, log)
    for command in tools.values():
        command.run()  # they parse their projects once
    section.took = rounds(commands | tools, count, log)
    others.check(lakes, section)
    ours = median(section.took["ours"]).wall
    for name in tools:
        section.ratios.append(Ratio(f"wall: ours / {name}", ours / median(section.took[name]).wall, 1))
    return section


PARTS: dict[str, Callable[[Path, int, Log, Sizes], Section]] = {
    "imports": imports,
    "raw": raw,
    "long-range": long_range,
    "sample": sample,
    "history": history,
    "hand-off": hand_off,
    "dlt": dlt,
    "bounded": bounded,
    "others": in_others,
}


@contextmanager
def _github(repos: Sequence[dict[str, Any]]) -> Generator[dict[str, str]]:
    """A GitHub with these repositories of jenkinsci, as settings; none without repositories: the sample."""
    if not repos:
        yield {}
        return
    with GitHubServer({"jenkinsci": list(repos)}) as server:
        yield {"GITHUB_ORG": "jenkinsci", "GITHUB_API_URL": server.url, "MDS_START_DATE": "2019-01-01"}


def remove(work: Path) -> None:
    """Remove the lakes."""
    shutil.rmtree(work, ignore_errors=True)
