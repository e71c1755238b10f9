"""Prints a plan: a matrix of tables and days, why each is as it is, and what a run would do."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from rich.text import Text

from mds_assets.stack.environment import SourceSettings
from mds_assets.stack.lake.layout import Partition, partition_key
from mds_assets.stack.partitions import in_a_row, in_words
from mds_assets.stack.plan.plan import Plan
from mds_assets.stack.plan.states import Cause, Cell, State
from mds_assets.stack.terminal import console, say
from mds_assets.stack.text import count

_FAILED = "x"
_SIGNS = {
    State.THERE: ("·", "dim"),
    State.NOT_OBSERVABLE: ("-", "dim"),
    State.EARLY_ONLY: ("e", "yellow"),
    State.STALE: ("s", "yellow"),
    State.MISSING: ("m", "red"),
}
_LEGEND = "· there   m missing   s stale   e early rows only   x failed a check   - not observable any more"
_URGENCY = [*_SIGNS]
_MAX_REASONS = 12
_MAX_RANGES = 3
_MAX_NAMES = 4


def show(plan: Plan, sources: Mapping[str, SourceSettings]) -> None:
    """Print a plan for people."""
    _show_matrix(plan)
    reasons = [*_reasons(plan)]
    for what, why in reasons[:_MAX_REASONS]:
        say((what, "bold"), f": {why}")
    if len(reasons) > _MAX_REASONS:
        say(f"and {len(reasons) - _MAX_REASONS} more: --json has all of them")
    if not plan.runs:
        say("Nothing is missing or stale.")
        return
    number = sum(len(partitions) for partitions in plan.states.to_make.values())
    then = ", then whatever their loads make stale" if plan.requests else ""
    runs = count(len(plan.runs), "run")
    say(("mds run --missing --stale", "bold"), f" would make {count(number, 'partition')} in {runs}{then}:")
    for run in plan.runs:
        days = f"{run.first}" if run.days == 1 else f"{run.first} to {run.last}"
        say(f"  {days}: {_names(plan, run.keys)}")
    for each in plan.requests:
        if each.number is not None:
            requests = count(each.number, "request")
            say(f"{each.table}: about {requests} for {count(each.days, 'day')}, going by its last loads")
    for source, duration in plan.minutes(sources).items():
        say(f"{source}: {count(duration, 'minute')} at its rate limit")


def _show_matrix(plan: Plan) -> None:
    """One line a table; one character a day, or several days if the terminal is too narrow."""
    by_day = {key: cells for key, cells in plan.states.cells.items() if None not in cells}
    others = {key: cells[None] for key, cells in plan.states.cells.items() if None in cells}
    width = max((len(plan.nodes[key].name) for key in plan.states.cells), default=0) + 2
    each = -(-len(plan.days) // max(10, console.width - width))
    groups = [plan.days[start : start + each] for start in range(0, len(plan.days), each)]
    per = f", {each} days a character" if each > 1 else ""
    say(f"{count(len(plan.days), 'day')}, {plan.days[0]} to {plan.days[-1]}{per}")
    for key, cells in by_day.items():
        line = Text(plan.nodes[key].name.ljust(width))
        for group in groups:
            line.append(*_sign([cells[day] for day in group]))
        console.print(line, soft_wrap=True)
    if others:
        line = Text("without days: ")
        for key, cell in others.items():
            line.append(f"{plan.nodes[key].name} ").append(*_sign([cell])).append("  ")
        console.print(line, soft_wrap=True)
    say((_LEGEND, "dim"))


def _sign(cells: Iterable[Cell]) -> tuple[str, str]:
    """The most urgent of some cells."""
    cells = list(cells)
    if any(cell.failure for cell in cells):
        return _FAILED, "red"
    return _SIGNS[max((cell.state for cell in cells), key=_URGENCY.index)]


def _reasons(plan: Plan) -> Iterator[tuple[str, str]]:
    """Why partitions are not as they should be, once for all tables; without those that only follow others."""
    tables: dict[tuple[str, tuple[Partition, ...]], list[str]] = {}
    for key, cells in plan.states.cells.items():
        by_reason: dict[str, list[Partition]] = {}
        for partition, cell in cells.items():
            if cell.failure:
                by_reason.setdefault(f"{cell.failure}; its last good file stays", []).append(partition)
            elif cell.state not in {State.THERE, State.NOT_OBSERVABLE} and cell.cause != Cause.UPSTREAM:
                by_reason.setdefault(f"{cell.state}: {cell.reason}", []).append(partition)
        for reason, partitions in by_reason.items():
            tables.setdefault((reason, tuple(partitions)), []).append(plan.nodes[key].name)
    for (reason, partitions), names in tables.items():
        days = in_words(in_a_row(day for day in partitions if day), _MAX_RANGES)
        yield f"{_joined(names)}{f' {days}' if days else ''}", reason


def _names(plan: Plan, keys: Sequence[Any]) -> str:
    return _joined([plan.nodes[key].name for key in keys])


def _joined(names: Sequence[str]) -> str:
    more = f" and {len(names) - _MAX_NAMES} more" if len(names) > _MAX_NAMES else ""
    return ", ".join(names[:_MAX_NAMES]) + more


def to_json(plan: Plan, sources: Mapping[str, SourceSettings]) -> str:
    """The whole plan, for programs."""
    return json.dumps(
        {
            "from": str(plan.days[0]),
            "to": str(plan.days[-1]),
            "tables": [
                {
                    "table": plan.nodes[key].name,
                    "partitions": [
                        {
                            "day": partition_key(partition),
                            "state": cell.state,
                            "reason": cell.reason,
                            "cause": cell.cause,
                            "failure": cell.failure,
                            "is_made": partition in plan.states.to_make[key],
                        }
                        for partition, cell in cells.items()
                    ],
                }
                for key, cells in plan.states.cells.items()
            ],
            "runs": [
                {"from": str(run.first), "to": str(run.last), "tables": [plan.nodes[key].name for key in run.keys]}
                for run in plan.runs
            ],
            "requests": [
                {"table": each.table, "source": each.source, "days": each.days, "requests": each.number}
                for each in plan.requests
            ],
            "minutes": plan.minutes(sources),
        },
        indent=2,
    )
