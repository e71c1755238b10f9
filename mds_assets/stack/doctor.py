"""`mds doctor`: what is wrong with the files of a lake, and what to do about it.

It reads listings and footers, never rows, and changes nothing unless told to.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from functools import partial

from dagster import AssetKey, AssetSpec
from upath import UPath

from mds_assets.stack.blocks.raw import SNAPSHOT
from mds_assets.stack.lake import Lake
from mds_assets.stack.lake.footers import why_unreadable
from mds_assets.stack.lake.layout import is_early, is_landed, is_table_file, parse_path, table_files
from mds_assets.stack.partitions import days_between

QUARANTINE = "quarantine"

_MAX_DAYS = 5  # ranges of days that a finding names


@dataclass(frozen=True)
class Finding:
    """Something that is wrong.

    Attributes:
        kind: `unreadable`, `foreign`, `leftover`, `early only`, `gap` or `stale`.
        what: A file, or days of a table.
        way_out: What to do about it.
        fix: Does it; None if a run has to.
    """

    kind: str
    what: str
    way_out: str
    fix: Callable[[], None] | None = None


def examine(lake: Lake, tables: Iterable[AssetSpec]) -> Iterator[Finding]:
    """Everything that is wrong with the files of these tables."""
    specs = {spec.key: spec for spec in tables}
    listed = {key: _list(lake.folder(key)) for key in specs}
    for key, spec in specs.items():
        yield from _files(lake, key, listed[key], partitioned=spec.partitions_def is not None)
    for key, spec in specs.items():
        if spec.partitions_def:
            yield from _days(key, spec, listed[key])
            yield from _stale(lake, key, spec, listed)
    for folder in lake.backend.leftovers():
        way_out = "A killed process left it: --fix removes it, as the next run does."
        yield Finding("leftover", str(folder), way_out, partial(lake.backend.remove, folder))


def _list(table: UPath) -> dict[str, UPath]:
    """All files of a table by path within its folder, whether they belong there or not."""
    if not table.exists():
        return {}
    files = sorted((file for file in table.rglob("*") if file.is_file()), key=str)
    return {file.path[len(table.path) :].lstrip("/"): file for file in files}


def _files(lake: Lake, key: AssetKey, files: Mapping[str, UPath], *, partitioned: bool) -> Iterator[Finding]:
    """The files that do not belong to the table, and those that cannot be read."""
    name, is_raw = key.to_user_string(), key.has_prefix(["raw"])
    for path, file in files.items():
        parsed = parse_path(path)
        belongs = parsed and (parsed[0] is not None) == partitioned and is_table_file(key, parsed[1])
        if not belongs:
            yield Finding(
                "foreign",
                str(file),
                f"Not a file of {name}: --fix moves it to {QUARANTINE}/.",
                _mover(lake, file, f"{name}/{path}"),
            )
        elif reason := why_unreadable(file):
            of_day = f" of {parsed[0]}" if parsed and parsed[0] else ""
            yield Finding(
                "unreadable",
                f"{file}: {reason}",
                f"--fix moves it to {QUARANTINE}/. Then run {name}{of_day} again"
                f"{': the source may know less of that day by now.' if is_raw else '.'}",
                _mover(lake, file, f"{name}/{path}"),
            )


def _days(key: AssetKey, spec: AssetSpec, files: Mapping[str, UPath]) -> Iterator[Finding]:
    """The days that were never landed: before others that were, or in spite of rows that came early."""
    name = key.to_user_string()
    names = {day: table_files(key, of_day) for day, of_day in _by_day(files).items()}
    landed = sorted(day for day, of_day in names.items() if is_landed(of_day))
    early = {day for day, of_day in names.items() if is_early(of_day)}
    if early:
        yield Finding("early only", f"{name}: {_ranges(early)}", f"Rows came with earlier days: {_run(name, early)}")
    snapshot = spec.metadata.get(SNAPSHOT)
    is_snapshot = bool(getattr(snapshot, "value", snapshot))
    if len(landed) > 1 and not is_snapshot:
        gaps = set(days_between(landed[0], landed[-1])) - {*landed, *early}
        if gaps:
            yield Finding("gap", f"{name}: {_ranges(gaps)}", f"No file between days that have one: {_run(name, gaps)}")


def _stale(
    lake: Lake, key: AssetKey, spec: AssetSpec, listed: Mapping[AssetKey, Mapping[str, UPath]]
) -> Iterator[Finding]:
    """The days of a table that are older than raw's files of the same day."""
    own = _newest(key, listed[key])
    for source in (dep.asset_key for dep in spec.deps if dep.asset_key.has_prefix(["raw"])):
        newer = {day for day, at in _newest(source, listed.get(source, {})).items() if day in own and at > own[day]}
        if newer:
            name, raw = key.to_user_string(), source.to_user_string()
            yield Finding("stale", f"{name}: {_ranges(newer)}", f"{raw} has a newer load: {_run(name, newer)}")


def _by_day(files: Mapping[str, UPath]) -> dict[date, list[str]]:
    names: dict[date, list[str]] = {}
    for path in files:
        if (parsed := parse_path(path)) and parsed[0]:
            names.setdefault(parsed[0], []).append(parsed[1])
    return names


def _newest(key: AssetKey, files: Mapping[str, UPath]) -> dict[date, float]:
    """When the newest file of each day was written."""
    newest: dict[date, float] = {}
    for path, file in files.items():
        if (parsed := parse_path(path)) and parsed[0] and is_table_file(key, parsed[1]):
            newest[parsed[0]] = max(newest.get(parsed[0], 0.0), file.stat().st_mtime)
    return newest


def _run(table: str, days: Iterable[date]) -> str:
    days = sorted(days)
    return f"`mds run --from {days[0]} --to {days[-1]}` lands and stages them."


def _ranges(days: Iterable[date]) -> str:
    """Days in words, those in a row as a range."""
    ranges: list[list[date]] = []
    for day in sorted(days):
        if ranges and (day - ranges[-1][-1]).days == 1:
            ranges[-1].append(day)
        else:
            ranges.append([day])
    words = [f"{one[0]} to {one[-1]}" if len(one) > 1 else f"{one[0]}" for one in ranges]
    return ", ".join(words[:_MAX_DAYS]) + (f" and {len(words) - _MAX_DAYS} more" if len(words) > _MAX_DAYS else "")


def _mover(lake: Lake, file: UPath, name: str) -> Callable[[], None]:
    """Moves a file below quarantine/, under the path that it had."""

    def move() -> None:
        target = lake.path(QUARANTINE, *name.split("/"))
        target.parent.mkdir(parents=True, exist_ok=True)
        while target.exists():
            target = target.with_name(f"{target.name}.again")
        file.rename(target)

    return move
