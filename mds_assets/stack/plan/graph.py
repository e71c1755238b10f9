"""The tables and reports of a lake, and which partitions each reads of which others."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from itertools import pairwise
from pathlib import Path
from typing import Any

from dagster import AssetKey, AssetSpec, Definitions

from mds_assets.stack.blocks.definition import file_of
from mds_assets.stack.blocks.raw import SNAPSHOT
from mds_assets.stack.io_managers.provenances import settings_of
from mds_assets.stack.lake.layout import Partition
from mds_assets.stack.partitions import window_of
from mds_assets.stack.table import TABLE, Table, declared_table

_SOME_DAY = date(2000, 1, 1)


@dataclass(frozen=True)
class Described:
    """What an asset's definition says of its table.

    Attributes:
        spec: The asset.
    """

    spec: AssetSpec

    @property
    def key(self) -> AssetKey:
        """Its key."""
        return self.spec.key

    @property
    def name(self) -> str:
        """Its key as text, such as `staging/repos`."""
        return self.key.to_user_string()

    @property
    def is_raw(self) -> bool:
        """Whether its files are what a source sent."""
        return self.key.has_prefix(["raw"])

    @property
    def is_snapshot(self) -> bool:
        """Whether its source only knows its present state."""
        snapshot = self.spec.metadata.get(SNAPSHOT)
        return bool(getattr(snapshot, "value", snapshot))

    @property
    def is_partitioned(self) -> bool:
        """Whether it has daily partitions."""
        return self.spec.partitions_def is not None


@dataclass(frozen=True)
class Node(Described):
    """A table or report.

    Attributes:
        table: Its declaration; None for a report.
        reads: Per table it reads, the first and last day of its window, counted from its own day. None for a table
            without partitions, or of one that has none itself.
        source: The folder of `defs/` that it is from; empty if it is from elsewhere.
    """

    table: Table | None
    reads: Mapping[AssetKey, tuple[int, int] | None] = field(default_factory=dict[AssetKey, tuple[int, int] | None])
    source: str = ""

    @property
    def code(self) -> str:
        """The version of its code."""
        return self.spec.code_version or ""

    @property
    def settings(self) -> Mapping[str, Any]:
        """The settings that its rows depend on."""
        return settings_of(self.spec)

    @property
    def reach(self) -> int:
        """How many days before its own the earliest day is that it reads."""
        return -min((window[0] for window in self.reads.values() if window), default=0)


def tables_of(defs: Definitions) -> dict[AssetKey, Node]:
    """The tables and reports of these definitions, each after those it reads."""
    graph = defs.resolve_asset_graph()
    specs = {spec.key: spec for spec in defs.resolve_all_asset_specs()}
    shown = [
        key
        for key in graph.toposorted_asset_keys
        if key in specs and (TABLE in specs[key].metadata or key.has_prefix(["reports"]))
    ]
    nodes: dict[AssetKey, Node] = {}
    for key in shown:
        node, spec = graph.get(key), specs[key]
        nodes[key] = Node(
            spec=spec,
            table=declared_table(key.to_user_string(), spec.metadata) if TABLE in spec.metadata else None,
            reads={
                parent: _window(node.partition_mappings.get(parent))
                if spec.partitions_def and specs[parent].partitions_def
                else None
                for parent in sorted(node.parent_keys)
                if parent in nodes
            },
            source=_source_of(spec),
        )
    return nodes


def days_read(node: Node, key: AssetKey, day: Partition) -> list[Partition]:
    """The partitions of a table that one partition reads; [None] for a table without partitions."""
    window = node.reads[key]
    if window is None or day is None:
        return [None]
    return [date.fromordinal(day.toordinal() + offset) for offset in range(window[0], window[1] + 1)]


def _window(mapping: Any) -> tuple[int, int]:
    days = window_of(mapping, _SOME_DAY)
    return (days[0] - _SOME_DAY).days, (days[-1] - _SOME_DAY).days


def _source_of(spec: AssetSpec) -> str:
    parts = Path(file_of(spec) or "").parts
    below = [after for folder, after in pairwise(parts[:-1]) if folder == "defs"]
    return below[-1] if below else ""
