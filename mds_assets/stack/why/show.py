"""Prints what `mds why` found: the file of the rows in question, then table by table what they came from."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import polars as pl

from mds_assets.stack.partitions import in_words
from mds_assets.stack.table import DAY
from mds_assets.stack.terminal import console, fitting, say
from mds_assets.stack.text import count
from mds_assets.stack.why.answer import Answer
from mds_assets.stack.why.trace import Level

_MAX_LOADS = 5
_MAX_TEXT = 32
_MAX_RANGES = 3
_MAX_CHANGED = 3


def to_json(answer: Answer) -> str:
    """All of it, for programs."""
    return json.dumps(asdict(answer), indent=2, default=str)


def show(answer: Answer) -> None:
    """Print it for people."""
    level = answer.level
    values = ", ".join(f"{name}={value}" for name, value in answer.values.items())
    of_day = f" of {answer.day}" if answer.day else ""
    say((f"{level.table}{of_day}", "bold"), f"{f', {values}' if values else ''}: {count(level.rows, 'row')}")
    _show_sample(level)
    for file in answer.files:
        say("file: ", str(file["file"]))
        by = f" by run {file['run']}" if file["run"] else ""
        say(f"  written {_seconds(file['written'])}{by}")
        if file["code"]:
            settings = "".join(f", {name}={value}" for name, value in file["settings"].items())
            say(f"  code {file['code']}, declaration {file['declaration']}{settings}")
    say(f"state: {answer.state}{f': {answer.reason}' if answer.reason else ''}")
    for table, ranges in answer.missing.items():
        say(("missing: ", "yellow"), f"{table} has no file of {in_words(ranges, _MAX_RANGES)}")
    checked = (
        f"passed now, {count(answer.checked_rows, 'row')}" if answer.is_valid else f"failed now: {answer.violations}"
    )
    say(f"is_valid: {checked}")
    _show_rest(level)


def _show_rest(level: Level) -> None:
    """What could not be read, the loads of raw, and what the rows came from."""
    for file, reason in level.unreadable.items():
        say(("left out: ", "red"), f"{file} cannot be read: {reason}")
    if level.loads and not level.rows:
        say("none of these loads has such a row:")
    for load in level.loads[:_MAX_LOADS]:
        say(*_load(load))
    if len(level.loads) > _MAX_LOADS:
        say(f"and {len(level.loads) - _MAX_LOADS} earlier loads: --json has all of them")
    for each in level.inputs:
        console.print()
        by = ", ".join(name if name == of else f"{name} = {of}" for name, of in each.same.items())
        days = in_words(each.days, _MAX_RANGES)
        say(
            ("from ", "dim"),
            (each.table, "bold"),
            f": {each.rows:,} of {count(each.of_rows, 'row')}{f', of {days}' if days else ''}",
            (f", by {by}" if by else ", all of them: it gives no key" if each.of_rows else "", "dim"),
            ("; only the newest row of each key counts" if each.newest_only else "", "dim"),
        )
        _show_sample(each)
        if each.changed:
            more = len(each.changed) - _MAX_CHANGED
            days = ", ".join(map(str, each.changed[:_MAX_CHANGED])) + (f" and {more} more days" if more > 0 else "")
            say(("changed: ", "yellow"), f"{level.table} was made from other files of {days}")
        _show_rest(each)


def _show_sample(level: Level) -> None:
    if level.sample:
        rows, hidden = fitting(_frame(level.sample))
        console.print(rows)
        without = [f"without {', '.join(hidden)}: the terminal is too narrow"] if hidden else []
        more = [f"and {count(level.rows - len(level.sample), 'more row')}"] if level.rows > len(level.sample) else []
        if without or more:
            say("; ".join([*more, *without]))
    if level.private:
        say(f"not shown, as they may be private: {', '.join(level.private)}")


def _frame(rows: Sequence[Mapping[str, Any]]) -> pl.DataFrame:
    """Numbers as numbers, all else as text."""
    frame: dict[str, pl.Series] = {}
    for name in rows[0]:
        values = [row[name] for row in rows]
        is_number = all(value is None or (isinstance(value, int | float) and value is not True) for value in values)
        text = [None if value is None else _short(str(value)) for value in values]
        frame[name] = pl.Series(values, strict=False) if is_number and name != DAY else pl.Series(text, dtype=pl.String)
    return pl.DataFrame(frame)


def _short(text: str) -> str:
    """Text that leaves room for other columns: raw has whole JSON documents."""
    return text if len(text) <= _MAX_TEXT else f"{text[: _MAX_TEXT - 1]}…"


def _load(load: Mapping[str, Any]) -> Iterable[str | tuple[str, str]]:
    """One load on one line."""
    yield "load "
    yield load["load"], "bold"
    days = load["days"]
    if isinstance(days, list) and len(days) == 2:
        yield f" of {days[0]}" + (f" to {days[1]}" if days[0] != days[1] else "")
    if load["began"]:
        yield f", began {_seconds(load['began'])}, published {_seconds(load['published'])}"
    if load["requests"] is not None:
        yield f", {count(load['requests'], 'request')}"
    if load["run"]:
        yield f", run {load['run']}"
    more = len(load["files"]) - 1
    yield f", {load['files'][0]}" + (f" and {count(more, 'more file')}" if more else "")


def _seconds(time: Any) -> str:
    """A time of ISO 8601, without fractions of a second."""
    return str(time).replace("T", " ").partition(".")[0].removesuffix("+00:00")
