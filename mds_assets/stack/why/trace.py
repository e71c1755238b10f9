"""Follows rows from table to table, down to raw and its loads.

Rows are followed by equality: on the key columns that are derived from exactly one column of an input. A mart that
combines rows in another way, such as a mean of seven days, was made from more rows than these.
"""

# ruff: noqa: S608  # names are declared ones, and quoted; values are literals

import json
from collections.abc import Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import date
from tempfile import TemporaryDirectory
from typing import Any

import click
import duckdb
from dagster import AssetKey
from upath import UPath

from mds_assets.stack.audit import reason_of
from mds_assets.stack.blocks.current import FIRST_SEEN, LAST_SEEN
from mds_assets.stack.io_managers.duckdb import SETTINGS
from mds_assets.stack.lake import Lake
from mds_assets.stack.lake.footers import why_unreadable
from mds_assets.stack.lake.layout import Partition, load_of
from mds_assets.stack.names import LOADS
from mds_assets.stack.partitions import in_a_row
from mds_assets.stack.plan.graph import Node, days_read
from mds_assets.stack.provenance import Footer, Versions, read_footers
from mds_assets.stack.settings import previews_allowed, settings
from mds_assets.stack.table import DAY, Column, Table, literal, quote
from mds_assets.stack.why.question import Question
from mds_assets.stack.why.rows import (
    LOAD_ID,
    PARTITION,
    PUBLIC,
    Rows,
    is_current,
    is_latest,
    origins_of,
    plain_types,
    rows_behind,
    rows_of,
    same_columns,
)

MAX_ROWS = 5
_TEXT = ("VARCHAR", "JSON", "BLOB")


@dataclass(frozen=True)
class Level:
    """Rows of one table: those in question, or those they came from.

    Attributes:
        table: The table.
        days: The first and last of all days in a row that have such rows.
        rows: How many there are.
        of_rows: How many rows the files have that were read for them.
        same: The columns they were found by: of the derived table, with those of this one.
        newest_only: Whether only each key's newest row counts, as in a mart's `latest`.
        sample: The newest rows.
        private: The columns left out of the sample, as they may be private.
        changed: Days that the derived rows were made from, whose files are other ones now, or gone.
        unreadable: The files left out, with the reason.
        loads: Of raw, the loads that the rows came with; if there are none, those that have no such row.
        inputs: The rows that these came from, by table.
    """

    table: str
    days: Sequence[tuple[date, date]] = ()
    rows: int = 0
    of_rows: int = 0
    same: Mapping[str, str] = field(default_factory=dict[str, str])
    newest_only: bool = False
    sample: Sequence[Mapping[str, Any]] = ()
    private: Sequence[str] = ()
    changed: Sequence[date] = ()
    unreadable: Mapping[str, str] = field(default_factory=dict[str, str])
    loads: Sequence[Mapping[str, Any]] = ()
    inputs: Sequence["Level"] = ()


@contextmanager
def connect(lake: Lake) -> Generator[duckdb.DuckDBPyConnection]:
    """A connection that reads the lake. Unlike a run's, it spills nothing into it: the lake may be read-only."""
    limits = {"memory_limit": settings.duckdb_memory_limit, "threads": settings.duckdb_threads}
    config: dict[str, Any] = {name: value for name, value in limits.items() if value is not None}
    with TemporaryDirectory() as folder, duckdb.connect(config={**config, "temp_directory": folder}) as connection:
        connection.execute(SETTINGS)
        lake.register(connection)
        yield connection


class Tracer:
    """Follows rows from table to table."""

    def __init__(self, lake: Lake, nodes: Mapping[AssetKey, Node], connection: duckdb.DuckDBPyConnection) -> None:
        """Read nothing yet."""
        self._lake, self._nodes, self._con = lake, nodes, connection
        self._number = 0

    def trace(self, question: Question) -> tuple[Level, Mapping[UPath, Footer]]:
        """The rows in question with all that they came from, and the files that have them.

        Raises:
            ClickException: They are not there, or cannot be read.
        """
        rows = Rows(question.node, question.table, question.table.names, [*question.values])
        types = plain_types(question.table)
        equal = [f"{quote(name)} = {literal(value)}::{types[name]}" for name, value in question.values.items()]
        level = self._read(rows, [question.partition], f"SELECT * FROM s WHERE {' AND '.join(equal) or 'true'}")
        of_day = f"{rows.node.name}{f' of {question.partition}' if question.partition else ''}"
        if level.unreadable and not any(rows.footers.values()):
            file, reason = next(iter(level.unreadable.items()))
            raise click.ClickException(f"{of_day}: {file} cannot be read: {reason}; `mds doctor` says what to do")
        if not any(rows.footers.values()):
            raise click.ClickException(f"{of_day} has no file: `mds plan` shows which days there are, and why not")
        if not level.rows and equal:
            requested = ", ".join(f"{name}={value}" for name, value in question.values.items())
            raise click.ClickException(f"none of the {level.of_rows:,} rows of {of_day} has {requested}")
        return replace(level, inputs=self._inputs(rows)), rows.footers[question.partition]

    def _inputs(self, own: Rows) -> list[Level]:
        """The rows that these came from, by table."""
        known = {node.name: key for key, node in self._nodes.items() if node.table and key != own.node.key}
        # For each partition of theirs, those of the table that it was made from, with the versions of the files.
        reads: dict[AssetKey, dict[Partition, Mapping[Partition, Versions]]] = {key: {} for key in own.node.reads}
        for partition in own.partitions if not own.node.is_raw else ():
            made_from = next((footer.provenance for footer in own.footers[partition].values()), None)
            if made_from is None:  # another version of the stack made it
                for key in own.node.reads:
                    reads[key][partition] = {each: {} for each in self._partitions(own.node, key, partition)}
            else:
                for key in (known[name] for name in made_from.inputs if name in known):
                    reads.setdefault(key, {})[partition] = made_from.inputs[self._nodes[key].name]
        return [self._input(own, self._nodes[key], of_key) for key, of_key in reads.items() if self._nodes[key].table]

    def _partitions(self, node: Node, key: AssetKey, partition: Partition) -> Sequence[Partition]:
        is_all = partition is None and self._nodes[key].is_partitioned
        return self._lake.days(key) if is_all else days_read(node, key, partition)

    def _input(self, own: Rows, source: Node, reads: Mapping[Partition, Mapping[Partition, Versions]]) -> Level:
        """The rows of one table that these came from."""
        table = source.table or Table(())
        same = same_columns(own, source)
        pairs = {(mine, each) for mine, of_mine in reads.items() for each in of_mine}
        if is_current(own.node, source):
            first, last = self._span(own)
            pairs = {(mine, day) for mine, day in pairs if not (day and first and last) or first <= day <= last}
        if not pairs:
            return Level(source.name, same=same)
        origins = [each for name in own.shown for each in origins_of(own, name, source)]
        rows = Rows(source, table, [*dict.fromkeys([*origins, *table.key])] or table.names)
        is_newest = is_latest(own.node, source.key) and bool(table.key)
        rejects = own.table.rejects if len(own.node.reads) == 1 else None
        query = rows_behind(own, table, same, pairs, is_newest=is_newest)
        level = self._read(rows, {each for _, each in pairs}, query, rejects=rejects, day=True)
        before = {each: reads[mine][each] for mine, each in pairs if reads[mine][each]}
        changed = sorted(day for day, versions in before.items() if day and versions != rows.versions(day))
        return replace(level, same=same, newest_only=is_newest, changed=changed, inputs=self._inputs(rows))

    def _span(self, own: Rows) -> tuple[date | None, date | None]:
        """The first and the last day that rows of a current table can be from; None if there are no rows."""
        first, last = (FIRST_SEEN, LAST_SEEN) if FIRST_SEEN in own.table.names else (DAY, DAY)
        return self._con.sql(f"SELECT min({first}), max({last}) FROM {own.name}").fetchall()[0]

    def _read(
        self, rows: Rows, partitions: Iterable[Partition], query: str, *, rejects: str | None = None, day: bool = False
    ) -> Level:
        """Read those rows that a query over `s`, the table, selects. What can't be read is left out."""
        files = self._lake.read_set(rows.node.key, partitions)
        footers = read_footers(self._lake, [file for found in files.values() for file in found])
        unreadable = {str(file): footer for file, footer in footers.items() if isinstance(footer, str)}
        self._number += 1
        rows.name = f"rows_{self._number}"
        while True:
            rows.footers = {
                partition: {
                    file: footer
                    for file in found
                    if isinstance(footer := footers.get(file), Footer) and str(file) not in unreadable
                }
                for partition, found in files.items()
            }
            read = [file for found in rows.footers.values() for file in found]
            try:
                self._con.execute(
                    f"CREATE TEMP TABLE {rows.name} AS WITH s AS ({rows_of(rows, read, rejects)}) {query}"
                )
                break
            except duckdb.Error as error:  # a whole footer says nothing of the pages
                damaged = {str(file): reason for file in read if (reason := why_unreadable(file, deep=True))}
                if not damaged:
                    raise click.ClickException(f"{rows.node.name} cannot be read: {reason_of(error)}") from None
                unreadable |= damaged
        ((number, partitions_of),) = self._con.sql(
            f"SELECT count(*), list(DISTINCT {quote(PARTITION)}) FROM {rows.name}"
        ).fetchall()
        days = [day for day in partitions_of or () if day]
        # Of no rows, all that was read: what it was made from, or landed with, says why there are none.
        is_all = not number or not rows.node.is_partitioned
        rows.partitions = [each for each, found in rows.footers.items() if found] if is_all else sorted(days)
        sample, private = self._sample(rows, with_day=day and rows.node.is_partitioned)
        return Level(
            rows.node.name,
            days=in_a_row(days),
            rows=number,
            of_rows=sum(footer.rows for found in rows.footers.values() for footer in found.values()),
            sample=sample,
            private=private,
            unreadable=unreadable,
            loads=self._loads(rows, is_all=not number) if rows.node.is_raw else (),
        )

    def _sample(self, rows: Rows, *, with_day: bool) -> tuple[list[dict[str, Any]], list[str]]:
        """The newest rows, and the columns left out of them."""
        shown, left_out = [f"{quote(PARTITION)} AS {DAY}"] if with_day else [], list[str]()
        for name in rows.shown:
            if previews_allowed() or not self._is_private(rows, name):
                shown.append(quote(name))
            elif rows.table.public:
                shown.append(
                    f"CASE WHEN {quote(PUBLIC)} THEN {quote(name)}::VARCHAR ELSE '(private)' END AS {quote(name)}"
                )
            else:
                left_out.append(name)
        if not shown:
            return [], left_out
        order = ", ".join([f"{quote(PARTITION)} DESC", *map(quote, rows.table.key)])
        newest = f"SELECT {', '.join(shown)} FROM {rows.name} ORDER BY {order} LIMIT {MAX_ROWS}"
        found = self._con.sql(f"SELECT to_json(x) FROM ({newest}) AS x").fetchall()
        return [json.loads(row) for (row,) in found], left_out

    def _is_private(self, rows: Rows, name: str) -> bool:
        """Whether a column may hold what only a secret can see.

        Raw declares none private. There a number or a time is as private as what is derived from it; text, which may
        say more than that, is shown if a column that is not private holds it unchanged.
        """
        column = next(each for each in rows.table.columns if each.name == name)
        if column.private or not rows.node.is_raw or name == LOAD_ID:
            return column.private
        origin, derived = f"{rows.node.name}.{name}", list[tuple[Column, int]]()
        for table in (node.table for node in self._nodes.values() if node.table):
            origins = ((each, table.lineage.get(each.name, ())) for each in table.columns)
            derived += [(each, len(of_each)) for each, of_each in origins if origin in of_each]
        if any(each.private for each, _ in derived):
            return True
        is_shown = any(each.type == column.type and number == 1 for each, number in derived)
        return column.type.startswith(_TEXT) and not is_shown

    def _loads(self, rows: Rows, *, is_all: bool) -> list[dict[str, Any]]:
        """The loads that the rows came with, or all that are in the files; the newest first."""
        ids: set[str] | None = None
        if LOAD_ID in rows.table.names and not is_all:
            ids = {each for (each,) in self._con.sql(f"SELECT DISTINCT {LOAD_ID} FROM {rows.name}").fetchall()}
        loads: dict[str, dict[str, Any]] = {}
        for partition in rows.partitions:
            for file, footer in rows.footers[partition].items():
                for name, facts in _loads_in(file, footer).items():
                    if ids is None or load_of(name) in ids:
                        names = ("run", "began", "published", "requests", "days")
                        load = {"load": load_of(name), **{each: facts.get(each) for each in names}, "files": []}
                        loads.setdefault(load_of(name), load)["files"].append(str(file))
        return sorted(loads.values(), key=lambda load: load["load"], reverse=True)


def _loads_in(file: UPath, footer: Footer) -> Mapping[str, Mapping[str, Any]]:
    """The facts of the loads in a file by the names of their files; a compacted one may only record the names."""
    loads = footer.loads(file.name)
    try:
        merged = json.loads(footer.facts.get(LOADS.encode(), b"null"))
    except ValueError:  # another program wrote it
        return loads
    return {str(name): loads.get(str(name), {}) for name in merged} if isinstance(merged, list) else loads
