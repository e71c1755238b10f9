"""The whole answer to `mds why`: the file of the rows in question, its state, and where the rows came from."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

import duckdb
from dagster import Definitions
from upath import UPath

from mds_assets.stack.audit import audit
from mds_assets.stack.lake import Lake
from mds_assets.stack.lake.layout import partition_key
from mds_assets.stack.partitions import in_a_row
from mds_assets.stack.plan.graph import days_read, tables_of
from mds_assets.stack.plan.plan import make_plan
from mds_assets.stack.provenance import Footer
from mds_assets.stack.session import Session
from mds_assets.stack.settings import preview_rows, settings
from mds_assets.stack.why.question import Question, parse
from mds_assets.stack.why.trace import Level, Tracer, connect


@dataclass(frozen=True)
class Answer:
    """Why some rows are as they are.

    Attributes:
        day: Their day; None if their table has no partitions.
        values: The columns that identify them, with their values; without any, it is about all rows of the day.
        files: Their files: when each was written, by which run, from which code, declaration and settings.
        state: What `mds plan` calls the day.
        reason: Why it does.
        missing: The days in its window without a file, as ranges, by table.
        is_valid: Whether the files are as declared, by an audit just now.
        violations: What the audit found.
        checked_rows: How many rows it checked.
        level: The rows, and what they came from.
    """

    day: str | None
    values: Mapping[str, str]
    files: Sequence[Mapping[str, Any]]
    state: str
    reason: str
    missing: Mapping[str, Sequence[tuple[date, date]]]
    is_valid: bool
    violations: str
    checked_rows: int
    level: Level


class _ReadSession(Session):
    """A session for audits that writes nothing to the lake."""

    def __init__(self, lake: Lake, connection: duckdb.DuckDBPyConnection) -> None:
        super().__init__(lake, preview_rows=preview_rows())
        self._opened = connection

    @property
    def connection(self) -> duckdb.DuckDBPyConnection:
        return self._opened


def explain(defs: Definitions, lake: Lake, table: str, words: Sequence[str]) -> Answer:
    """Explain rows of a table.

    Args:
        defs: The project's definitions.
        lake: The lake.
        table: The table's name.
        words: The day, if the table has partitions, then `column=value` pairs.

    Raises:
        ClickException: There are no such rows.
        LakeError: The store does not respond.
    """
    nodes = tables_of(defs)
    question = parse(nodes, table, words)
    node, partition = question.node, question.partition
    with connect(lake) as connection:
        tracer = Tracer(lake, nodes, connection)
        level, footers = tracer.trace(question)
        verdict = audit(
            _ReadSession(lake, connection), question.table, {partition: [*footers]}, may_have_more=node.is_raw
        )[partition]
    day = partition or datetime.now(UTC).date() - timedelta(days=1)
    cell = make_plan(defs, lake, day, day, {node.key}).states.cells[node.key][partition]
    return Answer(
        day=partition_key(partition),
        values=question.values,
        files=[_facts(file, footer) for file, footer in footers.items()],
        state=str(cell.state),
        reason=cell.reason,
        missing=_missing(lake, question),
        is_valid=verdict.passed,
        violations=verdict.description,
        checked_rows=sum(footer.rows for footer in footers.values()),
        level=level,
    )


def _facts(file: UPath, footer: Footer) -> dict[str, Any]:
    """When a file was written, and what its footer says it was made by; nothing of the latter in raw."""
    written = datetime.fromtimestamp(file.stat().st_mtime, UTC)
    made = footer.provenance
    return {
        "file": str(file),
        "written": written.isoformat(sep=" ", timespec="seconds"),
        "run": made.run if made else None,
        "code": made.code if made else None,
        "declaration": made.declaration if made else None,
        "settings": dict(made.settings) if made else {},
    }


def _missing(lake: Lake, question: Question) -> dict[str, list[tuple[date, date]]]:
    """The days that the day's window has and the lake lacks, as ranges, by table."""
    missing: dict[str, list[tuple[date, date]]] = {}
    for key, window in question.node.reads.items():
        if window and question.partition:
            days = [
                day for day in days_read(question.node, key, question.partition) if day and day >= settings.start_date
            ]
            files = lake.read_set(key, days)
            if gone := [day for day in days if not files.get(day)]:
                missing[key.to_user_string()] = in_a_row(gone)
    return missing
