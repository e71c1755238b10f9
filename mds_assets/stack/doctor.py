"""`mds doctor`: what is wrong with the files of a lake, and what to do about it.

It reads listings and footers, rows only with `--deep`, and changes nothing without `--fix`.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import cached_property, partial

from dagster import AssetKey, AssetSpec
from upath import UPath

from mds_assets.stack.lake import Lake, Partition
from mds_assets.stack.lake.footers import footer, why_unreadable
from mds_assets.stack.lake.layout import (
    is_early,
    is_landed,
    is_table_file,
    load_of,
    parse_path,
    partition_folder,
)
from mds_assets.stack.partitions import days_between, in_a_row, in_words, window_of
from mds_assets.stack.plan.graph import Described
from mds_assets.stack.settings import settings

QUARANTINE = "quarantine"

_AGAIN = ".again"  # added to the name of a file in quarantine if the name is taken
_MAX_DAYS = 5  # ranges of days that a finding names


@dataclass(frozen=True)
class Finding:
    """Something that is wrong.

    Attributes:
        kind: `unreadable`, `foreign`, `leftover`, `quarantined`, `early only`, `gap` or `stale`.
        what: A file, or days of a table.
        way_out: What to do about it.
        fix: Does it, or its first step; None if a run has to.
        needs_run: Whether a run has to follow the fix.
    """

    kind: str
    what: str
    way_out: str
    fix: Callable[[], None] | None = None
    needs_run: bool = False


@dataclass(frozen=True)
class _Table(Described):
    """A table with its files. Only days that have ended count: no run makes others.

    Attributes:
        files: All files below its folder, whether they belong there or not, with the time of their last change.
        ended: The last day that has ended.
    """

    files: Mapping[str, float]
    ended: date

    @cached_property
    def by_partition(self) -> dict[Partition, list[str]]:
        """The names of the table's own files; without those of days that have not ended."""
        names: dict[Partition, list[str]] = {}
        for path in self.files:
            if (parsed := self.parse(path)) and not (parsed[0] and parsed[0] > self.ended):
                names.setdefault(parsed[0], []).append(parsed[1])
        return names

    @cached_property
    def landed(self) -> set[date]:
        return {day for day, names in self.by_partition.items() if day and is_landed(names)}

    @cached_property
    def early(self) -> set[date]:
        return {day for day, names in self.by_partition.items() if day and is_early(names)}

    @cached_property
    def newest(self) -> dict[date, float]:
        """When the newest file of each day was written."""
        return {
            day: max(self.files[f"{partition_folder(day)}/{name}"] for name in names)
            for day, names in self.by_partition.items()
            if day
        }

    def parse(self, path: str) -> tuple[Partition, str] | None:
        """The partition and name of one of the table's own files; None for any other file."""
        parsed = parse_path(path)
        belongs = parsed and (parsed[0] is not None) == self.is_partitioned and is_table_file(self.key, parsed[1])
        return parsed if belongs else None


def examine(lake: Lake, tables: Iterable[AssetSpec], *, deep: bool = False) -> Iterator[Finding]:
    """Everything that is wrong with the files of these tables.

    Args:
        lake: The lake.
        tables: All its tables.
        deep: Read all rows of every file, not only its footer.

    Raises:
        LakeError: The store does not respond.
    """
    ended = datetime.now(UTC).date() - timedelta(days=1)
    listed = {spec.key: _Table(spec, lake.backend.find(lake.folder(spec.key)), ended) for spec in tables}
    for table in listed.values():
        yield from _files(lake, table, deep=deep)
    for table in listed.values():
        quarantined = _quarantined(lake, table) if table.is_raw else set[Partition]()
        if quarantined:
            yield _in_quarantine(table, quarantined)
        if table.is_partitioned:
            if early := table.early - quarantined:
                yield Finding(
                    "early only", f"{table.name}: {_ranges(early)}", f"Rows came with earlier days: {_run(early)}."
                )
            yield from _raw_gaps(lake, table, listed, quarantined) if table.is_raw else _derived_gaps(table, listed)
            yield from _stale(table, listed)
    for folder in lake.backend.leftovers():
        way_out = "A killed process left it: --fix removes it, as the next run does."
        yield Finding("leftover", str(folder), way_out, partial(lake.backend.remove, folder))


def _files(lake: Lake, table: _Table, *, deep: bool) -> Iterator[Finding]:
    """The files that do not belong to the table, and those that cannot be read."""
    for path in sorted(table.files):
        file, name = lake.folder(table.key) / path, f"{table.name}/{path}"
        if not (parsed := table.parse(path)):
            way_out = f"Not a file of {table.name}: --fix moves it to {QUARANTINE}/."
            yield Finding("foreign", str(file), way_out, partial(_move, lake, file, name))
            continue
        if reason := _why_unreadable(lake, file, deep=deep):
            less = ": the source may know less of that day by now" if table.is_raw and not table.is_snapshot else ""
            yield Finding(
                "unreadable",
                f"{file}: {reason}",
                f"--fix moves it to {QUARANTINE}/. Then {_remake(table, parsed[0])}{less}.",
                partial(_move_unreadable, lake, file, name, deep=deep),
                needs_run=True,
            )


def _quarantined(lake: Lake, table: _Table) -> set[Partition]:
    """The partitions of a raw table with a file in quarantine that no later load has made up for."""
    still_open: set[Partition] = set()
    for path in lake.backend.find(lake.path(QUARANTINE, *table.key.path)):
        parsed = table.parse(path.partition(_AGAIN)[0])
        if parsed and not (parsed[0] and parsed[0] > table.ended):
            landed = [name for name in table.by_partition.get(parsed[0], []) if is_landed([name])]
            if not any(load_of(name) > load_of(parsed[1]) for name in landed):
                still_open.add(parsed[0])
    return still_open


def _in_quarantine(table: _Table, partitions: set[Partition]) -> Finding:
    days = {day for day in partitions if day}
    what = f"{table.name}: {_ranges(days)}" if days else table.name
    if table.is_snapshot and days:
        again = "The source only knows its present state: restore what a backup has"
    else:
        again = f"Not landed since: {_run(days) if days else _remake(table, None)}"
    return Finding("quarantined", what, f"{again}, or delete the file below {QUARANTINE}/ to accept the loss.")


def _raw_gaps(
    lake: Lake, table: _Table, listed: Mapping[AssetKey, _Table], quarantined: set[Partition]
) -> Iterator[Finding]:
    """The days without a file between landed ones, and those of which a table made from it has rows."""
    if not table.is_snapshot and table.landed:
        between = {*days_between(min(table.landed), max(table.landed))} - table.landed - table.early - quarantined
        if between:
            way_out = f"No file between days that have one: {_run(between)}."
            yield Finding("gap", f"{table.name}: {_ranges(between)}", way_out)
    else:
        between = set[date]()
    for other in listed.values():
        if table.key not in _read_daily(other, listed):
            continue
        absent = other.landed - table.by_partition.keys() - quarantined - between
        if any(listed[key].is_raw for key in _read_daily(other, listed) if key != table.key):
            # Its rows may be the other raw table's, which may have begun earlier.
            absent = {day for day in absent if table.landed and day > min(table.landed)}
        if lost := {day for day in absent if _has_rows(lake, other, day)}:
            restored = "restore raw from a backup"
            again = restored if table.is_snapshot else f"{restored}, or {_run(lost)} what the source still knows"
            what = f"{table.name}: {_ranges(lost)}"
            yield Finding("gap", what, f"No file, although {other.name} has rows of it: {again}.")


def _derived_gaps(table: _Table, listed: Mapping[AssetKey, _Table]) -> Iterator[Finding]:
    """The days that the table lacks although the raw tables behind it have them."""
    raw = [listed[key] for key in sorted(_all_read_daily(table, listed)) if listed[key].is_raw]
    if raw:
        missing = _expected(raw) - table.landed
        because = f"{', '.join(each.name for each in raw)} {'have' if len(raw) > 1 else 'has'} what it takes"
    elif table.landed:
        missing = {*days_between(min(table.landed), max(table.landed))} - table.landed
        because = "No file between days that have one"
    else:
        return
    if missing:
        way_out = f"{because}: {_run(missing, skip_ingest=bool(raw))}."
        yield Finding("gap", f"{table.name}: {_ranges(missing)}", way_out)


def _expected(raw: Iterable[_Table]) -> set[date]:
    """The days that a table made from these raw tables has: of any that a run always lands, and all that it may skip.

    Days before all of the former have begun do not count.
    """
    always = [each.landed for each in raw if not (each.spec.skippable or each.is_snapshot)]
    needed = [each.landed for each in raw if each.spec.skippable or each.is_snapshot]
    if always and all(always):
        begun = max(map(min, always))
        needed.append({day for day in set[date]().union(*always) if day >= begun})
    elif always:
        return set()
    return set.intersection(*needed)


def _stale(table: _Table, listed: Mapping[AssetKey, _Table]) -> Iterator[Finding]:
    """The days of a table that are older than a file of the same day that they are made from."""
    for key in _read_daily(table, listed):
        source = listed[key]
        newer = {day for day, at in source.newest.items() if day in table.landed and at > table.newest[day]}
        if newer:
            way_out = f"{source.name} has newer files: {_run(newer, skip_ingest=True)}."
            yield Finding("stale", f"{table.name}: {_ranges(newer)}", way_out)


def _read_daily(table: _Table, listed: Mapping[AssetKey, _Table]) -> list[AssetKey]:
    """The tables of which it reads its own day, perhaps among others."""
    some_day = date(2000, 1, 1)
    return [
        dep.asset_key
        for dep in table.spec.deps
        if dep.asset_key in listed
        and listed[dep.asset_key].is_partitioned
        and table.is_partitioned
        and some_day in window_of(dep.partition_mapping, some_day)
    ]


def _all_read_daily(table: _Table, listed: Mapping[AssetKey, _Table]) -> set[AssetKey]:
    """The same, directly or not."""
    direct = _read_daily(table, listed)
    return {*direct}.union(*(_all_read_daily(listed[key], listed) for key in direct))


def _has_rows(lake: Lake, table: _Table, day: date) -> bool:
    """Whether the table has rows of a day: a day without any may have been made from nothing."""
    files = [lake.folder(table.key) / partition_folder(day) / name for name in table.by_partition[day]]
    return any(not _why_unreadable(lake, file) and footer(file).num_rows for file in files)


def _why_unreadable(lake: Lake, file: UPath, *, deep: bool = False) -> str | None:
    """Why a file cannot be read; None if it can, or if a run has removed or replaced it meanwhile."""
    with lake.backend.explaining():
        if why_unreadable(file, deep=deep) and file.name in lake.backend.find(file.parent):
            return why_unreadable(file, deep=deep)  # a store's listing may have named an older version
    return None


def _remake(table: _Table, partition: Partition) -> str:
    """How to make a partition again."""
    if partition and partition > table.ended:
        return f"run {table.name} when {partition} has ended"
    if partition and partition < table.ended and table.is_snapshot:
        return "restore it from a backup: the source only knows its present state"
    if partition:
        return _run([partition], skip_ingest=not table.is_raw)
    return f"`mds run --days 1{'' if table.is_raw else ' --skip-ingest'}` makes it"


def _run(days: Iterable[date], *, skip_ingest: bool = False) -> str:
    """The commands that make these days, and no others."""
    ranges = in_a_row(days)
    flag, does = (" --skip-ingest", "rebuilds") if skip_ingest else ("", "lands and stages")
    commands = [f"`mds run --from {first} --to {last}{flag}`" for first, last in ranges[:_MAX_DAYS]]
    more = " and so on" if len(ranges) > _MAX_DAYS else ""
    before = f"set MDS_START_DATE={ranges[0][0]}, then " if ranges[0][0] < settings.start_date else ""
    return f"{before}{', '.join(commands)}{more} {does} {'it' if ranges[0][0] == ranges[-1][1] else 'them'}"


def _ranges(days: Iterable[date]) -> str:
    return in_words(in_a_row(days), _MAX_DAYS)


def _move_unreadable(lake: Lake, file: UPath, name: str, *, deep: bool) -> None:
    """Move a file to quarantine unless a run has replaced it meanwhile."""
    if _why_unreadable(lake, file, deep=deep):
        _move(lake, file, name)


def _move(lake: Lake, file: UPath, name: str) -> None:
    """Move a file below quarantine/, under the path that it had; nothing if it is gone."""
    target = lake.path(QUARANTINE, *name.split("/"))
    taken = lake.backend.find(target.parent)
    while target.name in taken:
        target = target.with_name(f"{target.name}{_AGAIN}")
    with suppress(FileNotFoundError):
        lake.backend.move(file, target)
