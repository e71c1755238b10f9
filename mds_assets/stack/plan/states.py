"""Which partitions are there, missing or stale, and why: a comparison of the tables with what their files say."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from enum import StrEnum

from dagster import AssetKey

from mds_assets.stack.lake.layout import Partition, partition_key
from mds_assets.stack.plan.graph import Node, days_read
from mds_assets.stack.plan.snapshot import Snapshot
from mds_assets.stack.provenance import Provenance, Versions

_MAX_NAMED = 3  # inputs that a reason names


class State(StrEnum):
    """What a partition is."""

    THERE = "there"
    MISSING = "missing"
    EARLY_ONLY = "early only"  # raw has rows of it that came with earlier days, and nobody has requested it
    STALE = "stale"
    NOT_OBSERVABLE = "not observable"  # its source only knew its state of the time, and nobody requested it then


class Cause(StrEnum):
    """What makes a partition stale."""

    NONE = ""
    FILE = "file"  # it cannot be read, or does not say what it was made from
    DEFINITION = "definition"  # its code, declaration or settings changed
    INPUTS = "inputs"  # what it was made from changed
    UPSTREAM = "upstream"  # what it reads will be made


TO_MAKE = {State.MISSING, State.EARLY_ONLY, State.STALE}


@dataclass(frozen=True)
class Cell:
    """One partition of a table.

    Attributes:
        state: What it is.
        reason: Why it is missing or stale; empty if it is there.
        failure: What its last failed check reported, if Dagster's log knows one.
        cause: What makes it stale.
    """

    state: State
    reason: str = ""
    failure: str = ""
    cause: Cause = Cause.NONE


@dataclass(frozen=True)
class States:
    """Each partition of each table.

    Attributes:
        cells: By table, in the order in which they are made, and partition.
        to_make: The partitions that a run would make, with those downstream that it would make stale.
    """

    cells: Mapping[AssetKey, Mapping[Partition, Cell]]
    to_make: Mapping[AssetKey, Collection[Partition]] = field(default_factory=dict[AssetKey, Collection[Partition]])


def compare(
    nodes: Mapping[AssetKey, Node],
    selected: Collection[AssetKey],
    snapshot: Snapshot,
    days: Sequence[date],
    *,
    ended: date,
    start: date,
    acts_on: Collection[State] = frozenset(TO_MAKE),
    given_up: Mapping[AssetKey, Collection[Partition]] | None = None,
) -> States:
    """Compare tables with their files.

    Args:
        nodes: All tables, each after those it reads.
        selected: The tables to compare; nothing else is made.
        snapshot: What the files say, of these days and all that they read.
        days: The days to compare, in order.
        ended: The last day that has ended.
        start: The first partition.
        acts_on: The states that a run shall mend. What it makes stale downstream is made too.
        given_up: Partitions that shall not be made again, nor anything downstream of them.
    """
    cells: dict[AssetKey, dict[Partition, Cell]] = {}
    to_make: dict[AssetKey, set[Partition]] = {}
    blocked: dict[AssetKey, set[Partition]] = {key: set(of_key) for key, of_key in (given_up or {}).items()}
    for key, node in nodes.items():
        if key not in selected:
            continue
        partitions: list[Partition] = [*days] if node.is_partitioned else [None]
        cells[key], to_make[key] = {}, set()
        for partition in partitions:
            cell = _compare_raw(node, partition, snapshot, ended) if node.is_raw else None
            cell = cell or _compare_derived(node, partition, snapshot, cells, start)
            upstream = _upstream(node, partition, to_make)
            if upstream and (cell.state == State.THERE or cell.cause == Cause.INPUTS):
                cell = Cell(State.STALE, f"{upstream} will be made", cause=Cause.UPSTREAM)
            if _upstream(node, partition, blocked) or partition in blocked.get(key, ()):
                blocked.setdefault(key, set()).add(partition)
            elif cell.state in acts_on or (upstream and cell.state == State.STALE):
                to_make[key].add(partition)
            cells[key][partition] = cell
    return States(cells, to_make)


def _compare_raw(node: Node, partition: Partition, snapshot: Snapshot, ended: date) -> Cell:
    if partition in snapshot.landed[node.key]:
        return Cell(State.THERE)
    if node.is_snapshot and partition and partition < ended:
        return Cell(State.NOT_OBSERVABLE, "the source only knows its present state")
    if partition in snapshot.early[node.key]:
        return Cell(State.EARLY_ONLY, "has rows that came with earlier days; it was never requested")
    if reason := snapshot.unreadable.get((node.key, partition)):
        return Cell(State.MISSING, f"its file cannot be read: {reason}")
    return Cell(State.MISSING, "was never landed")


def _compare_derived(
    node: Node,
    partition: Partition,
    snapshot: Snapshot,
    cells: Mapping[AssetKey, Mapping[Partition, Cell]],
    start: date,
) -> Cell:
    key = node.key
    if reason := snapshot.unreadable.get((key, partition)):
        return Cell(State.STALE, f"its file cannot be read: {reason}", cause=Cause.FILE)
    if partition not in snapshot.landed[key]:
        return _absent(node, partition, snapshot, cells)
    made_from = snapshot.made_from[key, partition]
    if made_from is None:
        reason = "its file does not say what it was made from: another version of the stack made it"
        return Cell(State.STALE, reason, cause=Cause.FILE)
    if reason := _redefinition(node, made_from):
        return Cell(State.STALE, reason, cause=Cause.DEFINITION)
    reason = _changed_inputs(node, partition, made_from, snapshot, start)
    return Cell(State.STALE, reason, cause=Cause.INPUTS) if reason else Cell(State.THERE)


def _absent(
    node: Node, partition: Partition, snapshot: Snapshot, cells: Mapping[AssetKey, Mapping[Partition, Cell]]
) -> Cell:
    if partition is None:
        is_possible = any(snapshot.landed[each] for each in node.reads) or not node.reads
        return Cell(State.MISSING, "was never made") if is_possible else Cell(State.NOT_OBSERVABLE, "nothing to read")
    same_day = [cells[each][partition] for each, window in node.reads.items() if window == (0, 0) and each in cells]
    if same_day and all(each.state == State.NOT_OBSERVABLE for each in same_day):
        return Cell(State.NOT_OBSERVABLE, same_day[0].reason)
    return Cell(State.MISSING, "was never made")


def _redefinition(node: Node, made_from: Provenance) -> str:
    """How the table is defined differently from when the file was made; empty if it is not."""
    if made_from.code != node.code:
        return f"its code changed ({made_from.code} to {node.code})"
    for name in sorted(made_from.settings.keys() | node.settings.keys()):
        before, now = made_from.settings.get(name), node.settings.get(name)
        if before != now:
            return f"{name} was {before} and is {now}"
    if node.table and made_from.declaration != node.table.version:
        return "its declaration changed: columns, key or rules"
    return ""


def _changed_inputs(node: Node, partition: Partition, made_from: Provenance, snapshot: Snapshot, start: date) -> str:
    """How what it reads differs from what the file was made from; empty if it does not."""
    changed = [_changed_input(node, each, partition, made_from, snapshot, start) for each in node.reads]
    changed = [*filter(None, changed), *_changed_other_inputs(node, made_from, snapshot)]
    more = f" and {len(changed) - _MAX_NAMED} more" if len(changed) > _MAX_NAMED else ""
    return "; ".join(changed[:_MAX_NAMED]) + more


def _changed_input(
    node: Node, table: AssetKey, partition: Partition, made_from: Provenance, snapshot: Snapshot, start: date
) -> str:
    """How a table it reads differs from what it was made from."""
    if node.reads[table] is None:
        if node.is_partitioned:  # taken as it was at the time: it grows every day
            return ""
        reads: Collection[Partition] = snapshot.versions[table].keys()
    else:
        days = [day for day in days_read(node, table, partition) if day and day >= start]
        if snapshot.are_same(table, days, made_from.inputs):
            return ""
        reads = days
    before = made_from.inputs.get(table.to_user_string(), {})
    return _difference(table, before, snapshot.versions[table], {*reads, *before})


def _changed_other_inputs(node: Node, made_from: Provenance, snapshot: Snapshot) -> Iterator[str]:
    """How tables differ that it has read without declaring it."""
    declared = {each.to_user_string() for each in node.reads}
    known = {key.to_user_string(): key for key in snapshot.versions if key not in node.reads}
    for name in made_from.inputs.keys() - declared:
        if name not in known or snapshot.are_same(known[name], made_from.inputs.days(name), made_from.inputs):
            continue
        before = made_from.inputs[name]
        if None not in before:
            now = snapshot.versions[known[name]]
            if text := _difference(known[name], before, now, before.keys() & now.keys()):
                yield text


def _difference(
    table: AssetKey,
    before: Mapping[Partition, Versions],
    now: Mapping[Partition, Versions],
    partitions: Iterable[Partition],
) -> str:
    changed: list[Partition] = []
    new: list[Partition] = []
    gone: list[Partition] = []
    for each in partitions:
        was, is_now = before.get(each, {}), now.get(each, {})
        if was != is_now:
            (new if not was else gone if not is_now else changed).append(each)
    kinds = ((changed, "changed", "changed"), (new, "is new", "are new"), (gone, "is gone", "are gone"))
    return ", ".join(
        f"{table.to_user_string()}{_of(found)} {one if len(found) == 1 else several}"
        for found, one, several in kinds
        if found
    )


def _of(partitions: Collection[Partition]) -> str:
    days = sorted(each for each in partitions if each)
    if not days:
        return ""
    return f" of {days[0]}" + (f" and {len(days) - 1} other days" if len(days) > 1 else "")


def _upstream(node: Node, partition: Partition, chosen: Mapping[AssetKey, Collection[Partition]]) -> str:
    """One of these partitions that this one reads; empty if there is none."""
    for key in node.reads:
        if not (of_key := chosen.get(key)):
            continue
        if partition is None:
            return f"{key.to_user_string()}{_of(of_key)}"
        if node.reads[key] is None:  # a table without partitions is read as it is
            continue
        for each in days_read(node, key, partition):
            if each in of_key:
                return f"{key.to_user_string()} of {partition_key(each)}"
    return ""
