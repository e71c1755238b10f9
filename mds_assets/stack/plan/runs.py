"""The fewest runs that make some partitions: a run makes some tables for days in a row."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date, timedelta

from dagster import AssetKey

from mds_assets.stack.lake.layout import Partition
from mds_assets.stack.partitions import in_a_row
from mds_assets.stack.plan.graph import Node, days_read


@dataclass
class Run:
    """Tables to make for days in a row. Tables without partitions may be among them.

    Attributes:
        first: The first day.
        last: The last day.
        keys: The tables, each after those it reads.
    """

    first: date
    last: date
    keys: list[AssetKey] = field(default_factory=list[AssetKey])

    @property
    def days(self) -> int:
        """How many days."""
        return (self.last - self.first).days + 1


def fewest_runs(
    nodes: Mapping[AssetKey, Node], to_make: Mapping[AssetKey, Collection[Partition]], last: date
) -> list[Run]:
    """Runs that make exactly these partitions, each after what it reads.

    Args:
        nodes: All tables, each after those it reads.
        to_make: The partitions to make, by table.
        last: The day of a run that only makes tables without partitions.
    """
    runs: list[Run] = []
    made_by: dict[tuple[AssetKey, Partition], int] = {}  # the run that makes a partition, by number
    for key, node in nodes.items():
        partitions = to_make.get(key, ())
        ranges = in_a_row(day for day in partitions if day)
        for first, end in ranges:
            days = [first + timedelta(offset) for offset in range((end - first).days + 1)]
            after = max((made_by.get(each, 0) for day in days for each in _reads(node, day)), default=0)
            number = _run(runs, first, end, after)
            runs[number].keys.append(key)
            made_by |= {(key, day): number for day in days}
        if None in partitions:
            after = max((number for (each, _), number in made_by.items() if each in node.reads), default=0)
            if not runs:
                runs.append(Run(last, last))
            runs[after].keys.append(key)
            made_by[key, None] = after
    return runs


def _reads(node: Node, day: date) -> Iterable[tuple[AssetKey, Partition]]:
    return ((key, each) for key in node.reads for each in days_read(node, key, day))


def _run(runs: list[Run], first: date, last: date, after: int) -> int:
    """The number of a run of these days that is not before this one; a new one if there is none."""
    for number in range(after, len(runs)):
        if (runs[number].first, runs[number].last) == (first, last):
            return number
    runs.append(Run(first, last))
    return len(runs) - 1
