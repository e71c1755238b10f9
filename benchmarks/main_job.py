"""Staging and both marts of a day and of a range: limit, ours, another version of ours, floor and defaults."""

from collections.abc import Callable, Sequence
from datetime import date
from pathlib import Path

from benchmarks.compare import compare
from benchmarks.lakes import LAST, LOOKBACK_DAYS, Lakes, days_until
from benchmarks.process import Command, Took, median, rounds
from benchmarks.report import Ratio, Section

CASES = ("limit", "ours", "before", "floor", "floor with checks", "defaults")


def measure(
    lakes: Lakes,
    days: Sequence[date],
    cases: Sequence[str],
    count: int,
    log: Callable[[str], None],
    *,
    before: Path | None = None,
    warm_up: bool,
) -> Section:
    """Run the cases on these days and compare what they wrote; `before` is a checkout of another version."""
    span = "a day" if len(days) == 1 else f"a range of {len(days)} days"
    section = Section(f"{lakes.rows:,} rows a day: staging and marts of {span}, window of {LOOKBACK_DAYS} days")
    log(section.title)
    commands: dict[str, Command] = {
        "limit": lakes.limit_command(days),
        "floor": lakes.floor_command(days),
        "floor with checks": lakes.floor_command(days, checks=True),
        **(
            {"before": lakes.ours_command(days, home="before", variables={"PYTHONPATH": str(before)})} if before else {}
        ),
        "ours": lakes.ours_command(days),
        "defaults": lakes.ours_command(days, module="benchmarks.defaults", home="defaults"),
    }
    commands = {name: command for name, command in commands.items() if name in cases}
    section.took = rounds(commands, count, log, warm_up=warm_up)
    if {"limit", "ours"} <= commands.keys():
        section.remarks.append(f"limit and ours: {compare(lakes.limit, lakes.ours, days)}.")
    section.ratios = ratios({name: median(took) for name, took in section.took.items()}, lakes.rows, len(days))
    return section


def ratios(took: dict[str, Took], rows: int, days: int) -> list[Ratio]:
    """The figures that have a target, and what they are without."""
    limit, ours, before, floor, checked, defaults = (took.get(case) for case in CASES)
    found: list[Ratio] = []
    if ours and floor:
        found.append(Ratio("wall: ours / floor", ours.wall / floor.wall, 1.3 if rows <= 1_000 and days == 1 else None))
        found.append(
            Ratio("seconds: ours - floor", ours.wall - floor.wall, 1.2 if rows == 100_000 and days == 1 else None)
        )
    if ours and floor and limit:
        target = None if rows < 1_000_000 else 1.0 if rows >= 5_000_000 and days == 1 else 1.2
        found.append(Ratio("wall: (ours - floor) / limit", (ours.wall - floor.wall) / limit.wall, target))
        found.append(Ratio("CPU: (ours - floor) / limit", (ours.cpu - floor.cpu) / limit.cpu))
    if ours and checked:
        found.append(Ratio("wall: ours / floor with checks", ours.wall / checked.wall))
    if ours and limit:
        found.append(
            Ratio("peak memory: ours / limit", ours.peak_mb / limit.peak_mb, 1.2 if rows >= 1_000_000 else None)
        )
        found.append(Ratio("inside steps: ours / limit", ours.inside / limit.inside))
    if defaults and ours:
        found.append(Ratio("wall: defaults / ours", defaults.wall / ours.wall))
    if before and ours:
        found.append(Ratio("wall: ours / before", ours.wall / before.wall))
    return found


def spans(count: int = 7) -> list[list[date]]:
    """The last day alone, and the range that ends with it."""
    return [[LAST], days_until(LAST, count)]
