"""A plan: the state of each partition, and the runs that mend what is missing or stale, with what they cost."""

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

from dagster import AssetCheckKey, AssetKey, DagsterInstance, Definitions

# Dagster exports none of it.
from dagster._core.storage.asset_check_execution_record import AssetCheckExecutionRecordStatus

from mds_assets.stack.environment import SourceSettings
from mds_assets.stack.lake import Lake
from mds_assets.stack.lake.layout import Partition
from mds_assets.stack.names import IS_VALID
from mds_assets.stack.partitions import days_between
from mds_assets.stack.plan.graph import Node, tables_of
from mds_assets.stack.plan.runs import Run, fewest_runs
from mds_assets.stack.plan.snapshot import Snapshot, read_snapshot
from mds_assets.stack.plan.states import TO_MAKE, State, States, compare
from mds_assets.stack.settings import settings

_LOADS = 10  # from which the requests of a day are estimated


@dataclass(frozen=True)
class Requests:
    """What a raw table's part of the runs will request, as its last loads did.

    Attributes:
        table: The table.
        source: The source that it is from.
        days: How many days it makes.
        number: How many requests; None if no load recorded any.
    """

    table: str
    source: str
    days: int
    number: int | None


@dataclass(frozen=True)
class Plan:
    """What there is, and what a run would do.

    Attributes:
        days: The days compared, in order.
        nodes: All tables and reports.
        states: The state of each partition of those selected.
        runs: The runs, in order.
        requests: What each raw table in them will request.
    """

    days: Sequence[date]
    nodes: Mapping[AssetKey, Node]
    states: States
    runs: Sequence[Run]
    requests: Sequence[Requests]

    def minutes(self, sources: Mapping[str, SourceSettings]) -> dict[str, int]:
        """How long the requests to each source take at its rate limit, in minutes rounded up."""
        totals: dict[str, int] = {}
        for each in self.requests:
            totals[each.source] = totals.get(each.source, 0) + (each.number or 0)
        limits = {name: source.requests_per_hour() for name, source in sources.items()}
        return {name: math.ceil(60 * total / limit) for name, total in totals.items() if (limit := limits.get(name))}


def make_plan(
    defs: Definitions,
    lake: Lake,
    first: date | None = None,
    last: date | None = None,
    selected: Collection[AssetKey] | None = None,
    *,
    acts_on: Collection[State] = frozenset(TO_MAKE),
    given_up: Mapping[AssetKey, Collection[Partition]] | None = None,
    instance: DagsterInstance | None = None,
) -> Plan:
    """Compare the lake with the project's definitions.

    Args:
        defs: The project's definitions.
        lake: The lake.
        first: The first day; by default the first that any raw table has landed, or the first of a run's window.
        last: The last day; by default yesterday.
        selected: The tables and reports; by default all.
        acts_on: The states that the runs shall mend.
        given_up: Partitions that the runs shall not make, nor anything downstream.
        instance: Dagster's records, for the failures of checks.

    Raises:
        LakeError: The store does not respond.
    """
    ended = datetime.now(UTC).date() - timedelta(days=1)
    nodes = tables_of(defs)
    last = last or ended
    first = first or _first_day(lake, nodes.values(), last)
    days = days_between(first, last)
    keys = nodes.keys() if selected is None else [key for key in nodes if key in selected]
    read = {key for each in keys for key in (each, *nodes[each].reads)}
    snapshot = read_snapshot(lake, [nodes[key] for key in read], _days_to_read(lake, nodes, keys, first, last))
    states = compare(
        nodes,
        keys,
        snapshot,
        days,
        ended=ended,
        start=settings.start_date,
        acts_on=acts_on,
        given_up=given_up,
    )
    if instance:
        states = _with_failures(states, nodes, instance)
    runs = fewest_runs(nodes, states.to_make, last)
    requests = [
        _requests(nodes[key], len(partitions), snapshot)
        for key, partitions in states.to_make.items()
        if nodes[key].is_raw and partitions
    ]
    return Plan(days, nodes, states, runs, requests)


def _first_day(lake: Lake, nodes: Iterable[Node], last: date) -> date:
    """The first day that a raw table has landed; on an empty lake, the first of the window that ends at `last`."""
    landed = [lake.days(node.key)[:1] for node in nodes if node.is_raw and node.is_partitioned]
    begin = min((day for days in landed for day in days), default=last - timedelta(days=settings.lookback_days - 1))
    return min(last, max(begin, settings.start_date))


def _days_to_read(
    lake: Lake, nodes: Mapping[AssetKey, Node], keys: Iterable[AssetKey], first: date, last: date
) -> dict[AssetKey, list[date]]:
    """The days of each table that the states depend on: those compared, and those that they read."""
    earliest = dict.fromkeys(nodes, first)
    for key in keys:
        for each, window in nodes[key].reads.items():
            earliest[each] = min(earliest[each], first + timedelta(days=window[0] if window else 0))
    days = {key: days_between(max(day, settings.start_date), last) for key, day in earliest.items()}
    for key in keys:
        if not nodes[key].is_partitioned:
            days |= {each: lake.days(each) for each in nodes[key].reads if nodes[each].is_partitioned}
    return days


def _with_failures(states: States, nodes: Mapping[AssetKey, Node], instance: DagsterInstance) -> States:
    """The states with what Dagster's log knows of failed checks."""
    checks = [AssetCheckKey(key, IS_VALID) for key in states.cells if nodes[key].table]
    found = instance.event_log_storage.get_asset_check_partition_info(checks)
    failed = {
        (each.check_key.asset_key, date.fromisoformat(each.partition_key) if each.partition_key else None)
        for each in found
        if each.latest_execution_status == AssetCheckExecutionRecordStatus.FAILED
    }
    cells = {
        key: {
            partition: replace(cell, failure=f"{IS_VALID} failed") if (key, partition) in failed else cell
            for partition, cell in of_key.items()
        }
        for key, of_key in states.cells.items()
    }
    return replace(states, cells=cells)


def _requests(node: Node, days: int, snapshot: Snapshot) -> Requests:
    """As many a day as its last loads made."""
    facts: dict[Any, tuple[int, int]] = {}
    for _, load in sorted(snapshot.loads.get(node.key, {}).items(), reverse=True):
        requests, covered = load.get("requests"), load.get("days")
        if isinstance(requests, int) and isinstance(covered, list) and len(facts) < _LOADS:
            first, last = map(date.fromisoformat, covered)
            facts[load.get("run")] = requests, (last - first).days + 1
    total, covered = (sum(each) for each in zip(*facts.values(), strict=True)) if facts else (0, 0)
    number = math.ceil(total * days / covered) if covered else None
    return Requests(node.name, node.source, days, number)
