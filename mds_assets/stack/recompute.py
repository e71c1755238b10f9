"""Makes tables again in a side lake, without touching the lake.

`mds diff` shows what edited code changes, `mds verify` whether files are what they should be, and `mds run --known-at`
what was known at a time.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta

import duckdb
from dagster import AssetKey, Definitions

from mds_assets.stack.compare import Difference, compare
from mds_assets.stack.lake import Files, Lake, LakeError
from mds_assets.stack.lake.layout import Partition
from mds_assets.stack.partitions import days_between
from mds_assets.stack.plan.graph import Node, days_read, tables_of
from mds_assets.stack.plan.plan import Plan, make_plan
from mds_assets.stack.plan.runs import fewest_runs
from mds_assets.stack.plan.states import Cause, State
from mds_assets.stack.side_lake import add_loads, loads_before, new_side_lake, side_lake
from mds_assets.stack.side_run import run_in


@dataclass(frozen=True)
class Verification:
    """What a recomputation found.

    Attributes:
        differences: One for each table that was compared, also where there is none.
        partitions: How many partitions were compared.
        stale: How many were not, because they are missing or stale: `mds plan` says why.
    """

    differences: Sequence[Difference]
    partitions: int
    stale: int


def diff(
    defs: Definitions,
    lake: Lake,
    first: date,
    last: date,
    selected: Collection[AssetKey] | None = None,
    *,
    show_values: bool = False,
) -> list[Difference]:
    """What the present code makes of some days, compared with the files that are there.

    Args:
        defs: The project's definitions.
        lake: The lake. It stays as it is.
        first: The first day.
        last: The last day.
        selected: The tables to make; by default those whose code, declaration or settings changed, and all downstream.
        show_values: Whether samples may show private values.

    Raises:
        click.ClickException: A table could not be made. One line that names it.
        LakeError: The lake cannot be read, or the side lake cannot be written.
    """
    nodes = tables_of(defs)
    if selected is None:
        selected = _redefined(make_plan(defs, lake, first, last))
    keys = _derived(nodes, selected)
    days: Mapping[AssetKey, Collection[Partition]] = {
        key: days_between(first, last) if nodes[key].is_partitioned else [None] for key in keys
    }
    return _compared(defs, lake, nodes, days, show_values=show_values, from_nothing=False)


def verify(
    defs: Definitions,
    lake: Lake,
    first: date | None = None,
    last: date | None = None,
    selected: Collection[AssetKey] | None = None,
    *,
    show_values: bool = False,
) -> Verification:
    """Make days again from raw, and compare them with the files that are there: they should have the same rows.

    What is missing or stale is left out: it is known to be different.

    Args:
        defs: The project's definitions.
        lake: The lake. It stays as it is.
        first: The first day; by default the first landed one.
        last: The last day; by default yesterday.
        selected: The tables to compare; by default all.
        show_values: Whether samples may show private values.

    Raises:
        click.ClickException: A table could not be made. One line that names it.
        LakeError: The lake cannot be read, or the side lake cannot be written.
    """
    plan = make_plan(defs, lake, first, last)
    days: dict[AssetKey, list[Partition]] = {}
    stale = 0
    for key in _derived(plan.nodes, plan.nodes if selected is None else selected):
        cells = plan.states.cells[key]
        days[key] = [partition for partition, cell in cells.items() if cell.state == State.THERE]
        stale += sum(cell.state in {State.STALE, State.MISSING} for cell in cells.values())
    differences = _compared(defs, lake, plan.nodes, days, show_values=show_values, from_nothing=True)
    return Verification(differences, sum(map(len, days.values())), stale)


def known_at(defs: Definitions, lake: Lake, at: datetime, root: str, first: date | None, last: date) -> Lake:
    """A lake as it would have been at a time: staging and marts made from the loads that were there.

    Args:
        defs: The project's definitions.
        lake: The lake. It stays as it is.
        at: The time.
        root: An empty folder or prefix for the other lake, which stays.
        first: The first day; by default the first that was landed then.
        last: The last day.

    Raises:
        click.ClickException: A table could not be made. One line that names it.
        LakeError: Nothing had landed by then, the lake cannot be read, or the other one cannot be written.
    """
    nodes = tables_of(defs)
    raw = {
        key: [*lake.days(key), *lake.early_days(key)] if node.is_partitioned else [None]
        for key, node in nodes.items()
        if node.is_raw
    }
    loads = {key: loads_before(lake, key, partitions, at) for key, partitions in raw.items()}
    landed = sorted({day for of_key in loads.values() for day, each in of_key.items() if day and each.is_landed})
    landed = [day for day in landed if day <= last]
    if not landed:
        raise LakeError(f"{lake.root} has no load that was there at {at:%Y-%m-%dT%H:%M:%SZ}.")
    side = new_side_lake(lake, root, {})
    add_loads(lake, side, loads)
    days = [day for day in landed if day >= (first or landed[0])] or landed[-1:]
    chosen: dict[AssetKey, Collection[Partition]] = {
        key: days if nodes[key].is_partitioned else [None] for key in _derived(nodes, nodes)
    }
    there = {key: set(landed) for key in chosen if nodes[key].is_partitioned}
    _run(defs, side, nodes, _with_windows(nodes, there, chosen), days[-1])
    if warehouse := {AssetKey(["warehouse"])} & defs.resolve_asset_graph().executable_asset_keys:
        run_in(defs, side, warehouse, days[-1], days[-1])
    return side


def _redefined(plan: Plan) -> set[AssetKey]:
    """The tables whose definition differs from when their files were made, new ones, and all that read them."""
    found: set[AssetKey] = set()
    for key, cells in plan.states.cells.items():
        is_new = not plan.nodes[key].is_raw and all(cell.state == State.MISSING for cell in cells.values())
        is_changed = any(cell.cause == Cause.DEFINITION for cell in cells.values())
        if is_new or is_changed or found & plan.nodes[key].reads.keys():
            found.add(key)
    return found


def _derived(nodes: Mapping[AssetKey, Node], keys: Collection[AssetKey]) -> list[AssetKey]:
    """Those that are tables, and not raw, in the order in which they are made."""
    return [key for key, node in nodes.items() if key in keys and node.table and not node.is_raw]


def _compared(
    defs: Definitions,
    lake: Lake,
    nodes: Mapping[AssetKey, Node],
    days: Mapping[AssetKey, Collection[Partition]],
    *,
    show_values: bool,
    from_nothing: bool,
) -> list[Difference]:
    """Make these partitions in a side lake, and compare them with those of the lake.

    Args:
        defs: The project's definitions.
        lake: The lake.
        nodes: All tables.
        days: The partitions to compare, by table.
        show_values: Whether samples may show private values.
        from_nothing: Whether tables without partitions are made from all days, not from what they were.
    """
    there = {key: set(lake.days(key)) for key in days if nodes[key].is_partitioned}
    to_make = _with_windows(nodes, there, days)
    dates = [day for of_key in days.values() for day in of_key if day]
    if not any(to_make.values()):
        return []
    given = _files_read(lake, nodes, to_make, from_nothing=from_nothing)
    differences: list[Difference] = []
    with side_lake(lake, given) as side, duckdb.connect() as con:
        _run(defs, side, nodes, to_make, max(dates, default=date.today()))  # noqa: DTZ011
        lake.register(con)
        for key, partitions in days.items():
            table = nodes[key].table
            if not table or not partitions:
                continue
            before, after = (_files(each, key, partitions) for each in (lake, side))
            differences.append(
                compare(
                    con,
                    nodes[key].name,
                    table,
                    before,
                    after,
                    partitioned=nodes[key].is_partitioned,
                    show_values=show_values,
                )
            )
    return differences


def _with_windows(
    nodes: Mapping[AssetKey, Node],
    there: Mapping[AssetKey, Collection[date]],
    days: Mapping[AssetKey, Collection[Partition]],
) -> dict[AssetKey, set[Partition]]:
    """The partitions, and those of the same tables that they read, if they are there: they may be different, too."""
    to_make = {key: set(of_key) for key, of_key in days.items()}
    for key in reversed(list(days)):
        for each in nodes[key].reads:
            if nodes[key].is_partitioned and each in there:
                reads = {read for day in to_make[key] for read in days_read(nodes[key], each, day)}
                to_make[each] |= reads.intersection(there[each])
    return to_make


def _files_read(
    lake: Lake, nodes: Mapping[AssetKey, Node], to_make: Mapping[AssetKey, Collection[Partition]], *, from_nothing: bool
) -> dict[AssetKey, dict[Partition, Files]]:
    """The files that the partitions are made from, as far as they are not made themselves."""
    wanted: dict[AssetKey, set[Partition]] = {}
    for key, partitions in to_make.items():
        for each in nodes[key].reads:
            for partition in partitions:
                if nodes[each].is_partitioned and partition is None:
                    wanted.setdefault(each, set()).update(lake.days(each))
                else:
                    wanted.setdefault(each, set()).update(days_read(nodes[key], each, partition))
        # A mart asks which days of raw were landed.
        for source in _raw_of(nodes, key):
            days = {day for partition in partitions if partition for day in _reach(nodes, key, partition)}
            wanted.setdefault(source, set()).update(days if nodes[source].is_partitioned else {None})
        if None in partitions and not from_nothing:
            wanted.setdefault(key, set()).add(None)
    needed = {
        key: [partition for partition in partitions if partition is None or partition not in to_make.get(key, ())]
        for key, partitions in wanted.items()
    }
    return {
        key: {partition: files for partition, files in lake.read_set(key, partitions).items() if files}
        for key, partitions in needed.items()
        if nodes[key].table and (None not in partitions or key not in to_make or not from_nothing)
    }


def _raw_of(nodes: Mapping[AssetKey, Node], key: AssetKey) -> set[AssetKey]:
    """The raw tables behind a table."""
    sources = set(nodes[key].reads)
    return {each for each in sources if nodes[each].is_raw}.union(*(_raw_of(nodes, each) for each in sources))


def _reach(nodes: Mapping[AssetKey, Node], key: AssetKey, day: date) -> list[date]:
    """The days from the earliest that a partition reads to its own."""
    return days_between(day - timedelta(days=nodes[key].reach), day)


def _files(lake: Lake, key: AssetKey, partitions: Iterable[Partition]) -> Files:
    return {file: version for files in lake.read_set(key, partitions).values() for file, version in files.items()}


def _run(
    defs: Definitions,
    side: Lake,
    nodes: Mapping[AssetKey, Node],
    to_make: Mapping[AssetKey, Collection[Partition]],
    last: date,
) -> None:
    for run in fewest_runs(nodes, to_make, last):
        run_in(defs, side, run.keys, run.first, run.last)
