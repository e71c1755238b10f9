"""What the files of a lake say, for some days: which there are, and what each was made from."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from functools import cached_property
from typing import Any

from dagster import AssetKey
from upath import UPath

from mds_assets.stack.io_managers.pages import PAGE
from mds_assets.stack.lake import Lake
from mds_assets.stack.lake.layout import DATA_FILE, Partition, is_landed, parse_path
from mds_assets.stack.partitions import days_between
from mds_assets.stack.plan.graph import Node
from mds_assets.stack.provenance import (
    ABSENT,
    DIGITS,
    Footer,
    Inputs,
    Provenance,
    file_versions,
    page_provenance,
    read_footers,
)

_PAGE_END_BYTES = 65_536


@dataclass(frozen=True)
class Snapshot:
    """The state of some partitions of some tables.

    Attributes:
        landed: The partitions that have a file; of raw, one that is not an early one.
        early: Those that only have early files.
        versions: Per table and partition, the versions of the files, or of the loads in them.
        made_from: What each derived file was made from; None if it doesn't say.
        unreadable: Why the file of a derived partition cannot be read, or the files of a raw one.
        loads: Per raw table, the facts of its loads, by the name of their file.
    """

    landed: Mapping[AssetKey, Collection[Partition]]
    early: Mapping[AssetKey, Collection[Partition]]
    versions: Mapping[AssetKey, Mapping[Partition, Mapping[str, str]]]
    made_from: Mapping[tuple[AssetKey, Partition], Provenance | None]
    unreadable: Mapping[tuple[AssetKey, Partition], str]
    loads: Mapping[AssetKey, Mapping[str, Mapping[str, Any]]] = field(
        default_factory=dict[AssetKey, Mapping[str, Mapping[str, Any]]]
    )

    def are_same(self, table: AssetKey, days: Sequence[date], inputs: Inputs) -> bool:
        """Whether a file that was made from some days in a row was made from what they hold now.

        A comparison of texts: a year of windows has a hundred thousand days. False means that a closer look is needed.

        Args:
            table: The table.
            days: The first and last day that the file reads.
            inputs: What the file was made from.
        """
        first, line = self._timelines[table]
        recorded = inputs.recorded.get(table.to_user_string())
        if not isinstance(recorded, list) or not line or not days:
            return False
        start, text = str(recorded[0]), str(recorded[1])
        window = line[_index(days[0], first) : _index(days[-1], first) + DIGITS]
        before = ABSENT * max(0, (date.fromisoformat(start) - max(days[0], first)).days)
        return window == (before + text).ljust(len(window), ".")

    @cached_property
    def _timelines(self) -> dict[AssetKey, tuple[date, str]]:
        """Per table with one file a day: its first day, and the versions of all days from then on."""
        lines: dict[AssetKey, tuple[date, str]] = {}
        for key, of_key in self.versions.items():
            days = [day for day in of_key if day]
            first, last = min(days, default=date.min), max(days, default=date.min)
            between = days_between(first, last) if days else []
            lines[key] = first, "".join(of_key.get(day, {}).get(DATA_FILE, ABSENT) for day in between)
        return lines


def _index(day: date, first: date) -> int:
    return max(0, (day - first).days) * DIGITS


def read_snapshot(lake: Lake, nodes: Iterable[Node], days: Mapping[AssetKey, Collection[date]]) -> Snapshot:
    """Read listings and the ends of files, nothing else.

    Args:
        lake: The lake.
        nodes: The tables and reports.
        days: Per table with partitions, the days to read.

    Raises:
        LakeError: The store does not respond.
    """
    files: dict[tuple[AssetKey, Partition], list[UPath]] = {}
    pages: dict[tuple[AssetKey, Partition], UPath] = {}
    nodes = list(nodes)
    for node in nodes:
        if node.table is None:
            pages |= {(node.key, day): page for day, page in _pages(lake, node, days[node.key]).items()}
            continue
        partitions: Iterable[Partition] = days[node.key] if node.is_partitioned else [None]
        for partition, found in lake.read_set(node.key, partitions).items():
            files[node.key, partition] = list(found)
    footers = read_footers(lake, [file for found in files.values() for file in found])
    ends = lake.read_ends(dict.fromkeys(pages.values(), _PAGE_END_BYTES))
    landed: dict[AssetKey, set[Partition]] = {node.key: set() for node in nodes}
    early: dict[AssetKey, set[Partition]] = {node.key: set() for node in nodes}
    versions: dict[AssetKey, dict[Partition, Mapping[str, str]]] = {node.key: {} for node in nodes}
    made_from: dict[tuple[AssetKey, Partition], Provenance | None] = {}
    unreadable: dict[tuple[AssetKey, Partition], str] = {}
    loads: dict[AssetKey, dict[str, Mapping[str, Any]]] = {}
    raw = {node.key for node in nodes if node.is_raw}
    for (key, partition), found in files.items():
        readable = {file.name: footer for file in found if isinstance(footer := footers.get(file), Footer)}
        reasons = [reason for file in found if isinstance(reason := footers.get(file), str)]
        if reasons:
            unreadable[key, partition] = reasons[0]
        if readable:
            versions[key][partition] = file_versions(readable)
            (landed if is_landed(readable) else early)[key].add(partition)
        if key in raw:
            for name, footer in readable.items():
                loads.setdefault(key, {}).update(footer.loads(name))
        elif readable:
            (footer,) = readable.values()
            made_from[key, partition] = footer.provenance
    for (key, day), page in pages.items():
        landed[key].add(day)
        end = ends.get(page, b"")
        made_from[key, day] = page_provenance(end) if isinstance(end, bytes) else None
    return Snapshot(landed, early, versions, made_from, unreadable, loads)


def _pages(lake: Lake, node: Node, days: Collection[date]) -> dict[Partition, UPath]:
    folder = lake.folder(node.key)
    found = {path: parse_path(path) for path in lake.backend.find(folder)}
    return {
        parsed[0]: folder / path for path, parsed in found.items() if parsed and parsed[0] in days and parsed[1] == PAGE
    }
