"""Data-quality checks, generated from each table's declaration and from the asset graph.

| check | tables | on failure |
|---|---|---|
| `schema`, `not_null`, `unique_key`, `accepted_values` | every table | error; downstream tables do not run |
| `reconciles` | tables that declare it | error |
| `window_is_complete` | marts, and tables that look back | warning |
| `is_fresh` | tables with partitions | warning |
| `is_complete` | raw tables | error |

A check covers the days of its run, or the table's newest day when it runs alone. Without a file, none passes. It
reports counts and the keys of up to five rows, never other values: data may be private. For the same reason, private
columns of a key are only shown where previews are on. Raw keeps everything it was sent, so its `unique_key` only warns.

https://docs.dagster.io/guides/test/asset-checks
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from functools import cached_property
from typing import TypeAlias

import duckdb
import pyarrow as pa
from dagster import (
    AssetCheckExecutionContext,
    AssetCheckResult,
    AssetChecksDefinition,
    AssetCheckSeverity,
    AssetCheckSpec,
    AssetKey,
    PartitionMapping,
    ResourceParam,
    multi_asset_check,
)
from upath import UPath

from mds_assets.stack import completeness
from mds_assets.stack.blocks.as_of import Mart
from mds_assets.stack.io_managers.duckdb import read, select
from mds_assets.stack.io_managers.io_manager import footer, may_be_null
from mds_assets.stack.lake import Files, Partition
from mds_assets.stack.partitions import to_days, window_of
from mds_assets.stack.session import Session
from mds_assets.stack.settings import redact, settings
from mds_assets.stack.table import DAY, Table, quote

# Rows that `reconciles` reads within a run. Counting the keys of a larger window would take as long as building the
# mart, so those are only counted when the check runs alone.
_MAX_ROWS = 1_000_000

# How long after its end a day must be there. The schedule runs after five minutes.
_FRESH_AFTER = timedelta(hours=6)

_MAX_KEYS = 5


@dataclass(frozen=True)
class CheckedTable:
    """A table and its place in the asset graph.

    Attributes:
        key: The table.
        table: Its declaration.
        partitioned: Whether it has daily partitions.
        is_snapshot: Whether its source knows only its present state, so that older days may have no file.
        snapshots: The tables it reads that are derived from such a source: their missing days cannot be made.
        reads: The tables with partitions that it reads, each with its partition mapping; None is the same day.
        source: The declaration of the table it reconciles with, if any.
        mart: What `@mart` declared, if it is one.
    """

    key: AssetKey
    table: Table
    partitioned: bool = True
    is_snapshot: bool = False
    snapshots: frozenset[AssetKey] = frozenset()
    reads: Mapping[AssetKey, PartitionMapping | None] = field(default_factory=dict[AssetKey, PartitionMapping | None])
    source: Table | None = None
    mart: Mart | None = None

    @property
    def windows(self) -> dict[AssetKey, PartitionMapping | None]:
        """The tables it looks back on; those that a mart reads of the same day too."""
        some_day = date(2000, 1, 1)
        return {
            key: mapping for key, mapping in self.reads.items() if self.mart or len(window_of(mapping, some_day)) > 1
        }

    @property
    def current(self) -> list[AssetKey]:
        """The tables without partitions that a mart joins."""
        return list(self.mart.current.values()) if self.mart else []


@dataclass(frozen=True)
class _Checked:
    """The partitions of a table that a run checks.

    Attributes:
        subject: The table.
        days: In order; empty if the table has no partitions.
        alone: Whether the checks run without the table.
        session: The run's.
    """

    subject: CheckedTable
    days: list[date]
    alone: bool
    session: Session

    @cached_property
    def read_set(self) -> dict[Partition, Files]:
        """The files of these partitions with their versions, when they were first listed."""
        partitions: list[Partition] = list(self.days) if self.subject.partitioned else [None]
        return self.session.lake.read_set(self.subject.key, partitions)

    @property
    def files(self) -> list[UPath]:
        """The files of these partitions."""
        return [file for files in self.read_set.values() for file in files]

    @cached_property
    def rows(self) -> duckdb.DuckDBPyRelation:
        """The rows of these partitions."""
        table, partitioned = self.subject.table, self.subject.partitioned
        return read(self.session.connection, self.files, table, partitioned=partitioned)

    @property
    def key_columns(self) -> str:
        """The columns that identify a row, as SQL."""
        day = [DAY] if self.subject.partitioned else []
        return ", ".join(map(quote, [*day, *self.subject.table.key]))

    @cached_property
    def may_be_null(self) -> list[str]:
        """The columns to look for nulls in."""
        return may_be_null(self.files, self.subject.table)

    @cached_property
    def violations(self) -> dict[str, int]:
        """For each condition that no row may meet, how many rows meet it."""
        rules = self.subject.table.row_rules
        conditions = [_is_null(name) for name in self.may_be_null] + [_breaks(rule) for rule in rules]
        if not conditions:
            return {}
        counts = self.rows.aggregate(", ".join(f"count(*) FILTER ({condition})" for condition in conditions))
        return dict(zip(conditions, counts.fetchall()[0], strict=True))

    def sample(self, rows: duckdb.DuckDBPyRelation) -> tuple[int, str]:
        """How many rows, and the first of them as text, without private columns unless previews are on."""
        number = len(rows)
        private = {column.name for column in self.subject.table.columns if column.private}
        shown = [quote(name) for name in rows.columns if self.session.preview_rows or name not in private]
        # It runs the query again.
        first = rows.project(", ".join(shown)).order("ALL").limit(_MAX_KEYS).fetchall() if number and shown else []
        return number, "; ".join(", ".join(map(str, row)) for row in first)


_Check: TypeAlias = Callable[[_Checked], AssetCheckResult]


def checks_of(subject: CheckedTable) -> AssetChecksDefinition:
    """All checks of a table, as one step."""
    key = subject.key
    blocking: dict[str, _Check] = {
        "schema": _schema,
        "not_null": _not_null,
        "unique_key": _unique_key,
        "accepted_values": _accepted_values,
    }
    others: dict[str, _Check] = {
        **({"reconciles": _reconciles} if subject.source else {}),
        **({"window_is_complete": _window_is_complete} if subject.windows or subject.current else {}),
        **({"is_fresh": _is_fresh} if subject.partitioned else {}),
        **({"is_complete": _is_complete} if key.has_prefix(["raw"]) else {}),
    }
    checks = blocking | others
    specs = [
        AssetCheckSpec(name, asset=key, description=check.__doc__, blocking=name in blocking)
        for name, check in checks.items()
    ]

    @multi_asset_check(name=f"{'__'.join(key.path)}__checks", specs=specs, can_subset=True)
    def check(context: AssetCheckExecutionContext, session: ResourceParam[Session]) -> Iterator[AssetCheckResult]:
        in_a_run = context.has_partition_key or context.has_partition_key_range
        days: list[date] = []
        if subject.partitioned and in_a_run:
            days = to_days(context.partition_keys)
        elif subject.partitioned and (newest := session.lake.newest_day(key)):
            days = [newest]
        checked = _Checked(subject, days, not in_a_run, session)
        selected = {check.name for check in context.selected_asset_check_keys}
        for name, check in checks.items():
            if name in selected:
                yield _result_of(check, checked)._replace(asset_key=key, check_name=name)

    return check


def _result_of(check: _Check, checked: _Checked) -> AssetCheckResult:
    """The check's result. An unreadable file fails it, unless another run was replacing that file: then check again."""
    result = _run(check, checked)
    now = replace(checked)
    return result if result.passed or now.read_set == checked.read_set else _result_of(check, now)


def _run(check: _Check, checked: _Checked) -> AssetCheckResult:
    if not checked.files and check is not _is_fresh:
        severity = AssetCheckSeverity.WARN if checked.subject.is_snapshot else AssetCheckSeverity.ERROR
        return AssetCheckResult(passed=False, severity=severity, description="there is no file: run the table first")
    try:
        return check(checked)
    except (duckdb.Error, pa.ArrowInvalid, OSError) as error:
        # DuckDB's value errors quote the value; `schema` names the column.
        is_value = isinstance(error, duckdb.DataError)
        reason = type(error).__name__ if is_value else str(error).strip().splitlines()[0]
        return AssetCheckResult(passed=False, description=f"a file cannot be read: {reason}")


def _schema(checked: _Checked) -> AssetCheckResult:
    """Each file is readable and has the declared columns and types; raw may have more columns."""
    declared = checked.subject.table.arrow_schema()
    wrong: list[str] = []
    for file in checked.files:
        name = f"{file.parent.name}/{file.name}"
        try:
            actual = footer(file).schema.to_arrow_schema()
        except (pa.ArrowInvalid, OSError) as error:
            wrong.append(f"{name} cannot be read: {str(error).splitlines()[0]}")
            continue
        types = {field.name: _plain(field.type) for field in actual}
        wrong += [
            f"{name} has {field.name} as {types.get(field.name, 'no column')}, declared {field.type}"
            for field in declared
            if not _reads_as(types.get(field.name), field)
        ]
        extra = [column for column in actual.names if column not in declared.names]
        if extra and not checked.subject.key.has_prefix(["raw"]):
            wrong.append(f"{name} has undeclared columns {', '.join(extra)}")
    return AssetCheckResult(
        passed=not wrong,
        description="; ".join(wrong[:_MAX_KEYS]) or f"{len(declared)} columns in {len(checked.files)} files",
        metadata={"files": len(checked.files), "wrong": len(wrong)},
    )


def _plain(actual: pa.DataType) -> pa.DataType:
    """The type as declarations name it: Polars writes large strings and lists, which are equivalent."""
    types = pa.types
    if types.is_large_string(actual) or types.is_string_view(actual):
        return pa.string()
    if types.is_large_binary(actual) or types.is_binary_view(actual):
        return pa.binary()
    return pa.list_(_plain(actual.value_type)) if types.is_large_list(actual) or types.is_list(actual) else actual


def _reads_as(actual: pa.DataType | None, declared: pa.Field) -> bool:
    """Whether a file's column reads as the declared one: the file may predate the column, or its widening."""
    if actual is None:
        return declared.nullable
    widened = pa.types.is_int32(actual) and pa.types.is_int64(declared.type)
    return widened or actual == _plain(declared.type)


def _not_null(checked: _Checked) -> AssetCheckResult:
    """No column declared not null has a null."""
    return _none_meets(checked, [_is_null(name) for name in checked.may_be_null])


def _accepted_values(checked: _Checked) -> AssetCheckResult:
    """Every row satisfies the declared rules: ranges, nothing in the future, the day within its partition."""
    return _none_meets(checked, [_breaks(rule) for rule in checked.subject.table.row_rules])


def _none_meets(checked: _Checked, conditions: list[str]) -> AssetCheckResult:
    met = {condition: number for condition in conditions if (number := checked.violations[condition])}
    messages = [
        f"{number} rows with {condition}: "
        f"{checked.sample(checked.rows.filter(condition).select(checked.key_columns or '*'))[1]}"
        for condition, number in met.items()
    ]
    return AssetCheckResult(
        passed=not met,
        description="; ".join(messages) or f"none in {len(checked.files)} files",
        metadata={"rows_wrong": sum(met.values()), "conditions": conditions},
    )


def _unique_key(checked: _Checked) -> AssetCheckResult:
    """No two rows of a day have the same key."""
    table, key = checked.subject.table, checked.key_columns
    if not table.key:
        return AssetCheckResult(passed=True, description="no key is declared")
    # Counting hashes takes half the time; the second query weeds out hash collisions.
    maybe = f"SELECT count(*) > count(DISTINCT hash({key})) FROM rows"  # noqa: S608  # declared names
    twice = f"SELECT {key} FROM rows GROUP BY ALL HAVING count(*) > 1"  # noqa: S608
    ((any_twice,),) = select(checked.rows, "rows", maybe).fetchall()
    number, first = checked.sample(select(checked.rows, "rows", twice)) if any_twice else (0, "")
    is_raw = checked.subject.key.has_prefix(["raw"])
    return AssetCheckResult(
        passed=not number,
        severity=AssetCheckSeverity.WARN if is_raw else AssetCheckSeverity.ERROR,
        description=f"{number} keys ({key}) come more than once: {first}" if number else f"unique ({key})",
        metadata={"keys_twice": number},
    )


def _reconciles(checked: _Checked) -> AssetCheckResult:
    """The table agrees with an upstream table: both give the same numbers."""
    subject, lake = checked.subject, checked.session.lake
    declared, source = subject.table.reconciles, subject.source
    if not declared or not source:
        raise ValueError(f"{subject.key.to_user_string()} declares nothing to reconcile")
    below = AssetKey(declared.source.split("/"))
    windows = {day: window_of(subject.reads.get(below), day) for day in checked.days}
    read_set = lake.read_set(below, sorted({day for days in windows.values() for day in days}))
    rows_of = {day: sum(footer(file).num_rows for file in files) for day, files in read_set.items()}
    rows_below = sum(rows_of[day] for days in windows.values() for day in days)
    if rows_below > _MAX_ROWS and not checked.alone:
        return AssetCheckResult(
            passed=True,
            description=f"not counted: {rows_below:,} rows of {declared.source} are more than {_MAX_ROWS:,}. "
            "Run this check alone to count those of the newest day.",
        )
    relation = read(checked.session.connection, [file for files in read_set.values() for file in files], source)
    if rejects := subject.table.rejects:
        relation = relation.filter(f"NOT coalesce({rejects}, false)")
    relation.create_view("source", replace=True)
    days_back = max(map(len, windows.values()), default=1) - 1
    differing = f"""
        WITH {_windows(checked.days, days_back, source.key)},
        found AS ({declared.rows}),
        expected AS ({declared.expected})
        SELECT 'here', * FROM (FROM found EXCEPT FROM expected)
        UNION ALL SELECT 'below', * FROM (FROM expected EXCEPT FROM found)
    """  # noqa: S608  # declared queries and dates
    number, first = checked.sample(select(checked.rows, "rows", differing))
    looking_back = f" (MDS_LOOKBACK_DAYS={settings.lookback_days})" if days_back else ""
    return AssetCheckResult(
        passed=not number,
        description=f"{number} numbers differ from {declared.source}: {first}{looking_back}"
        if number
        else f"agrees with {rows_below:,} rows of {declared.source}",
        metadata={"differing": number},
    )


def _windows(days: list[date], days_back: int, key: tuple[str, ...]) -> str:
    """The source's rows in the window of each as-of day, and the newest row of each key in it."""
    dates = ", ".join(f"DATE '{day}'" for day in days)
    keys = ", ".join(map(quote, key))
    return f"""
        as_of AS (SELECT unnest([{dates}]::DATE[]) AS as_of),
        in_window AS (
            SELECT as_of AS day, as_of - {days_back} AS first_day, day AS seen_on, source.* EXCLUDE (day)
            FROM source JOIN as_of ON day BETWEEN as_of - {days_back} AND as_of
        ),
        latest AS (
            SELECT * FROM in_window QUALIFY row_number() OVER (PARTITION BY day, {keys} ORDER BY seen_on DESC) = 1
        )
    """  # noqa: S608


def _window_is_complete(checked: _Checked) -> AssetCheckResult:
    """Every input is there: each day of the window was landed, and no table without days is empty."""
    days = checked.days
    requested: set[date] = set()
    missing: set[date] = set()
    lost: set[date] = set()  # the source only knew its state on those days
    yesterday = datetime.now(UTC).date() - timedelta(days=1)
    for key, mapping in checked.subject.windows.items():
        window = {back for day in days for back in window_of(mapping, day)}
        possible = {day for day in window if day >= settings.start_date}
        requested |= window
        absent = possible - checked.session.landed(key, possible)
        past = {day for day in absent if key in checked.subject.snapshots and day < yesterday}
        lost |= past
        missing |= absent - past
    lost -= missing
    too_early = sum(day < settings.start_date for day in requested)
    looking_back = f"{days[0]} looks" if len(days) == 1 else f"{days[0]} to {days[-1]} look"
    wrong = [
        f"{key.to_user_string()} has no rows: run it, then this again."
        for key in checked.subject.current
        if not any(footer(file).num_rows for file in checked.session.lake.files(key, None))
    ]
    if missing:
        wrong.append(
            f"{len(missing)} of the {len(requested)} days that {looking_back} back on were never landed and staged: "
            "run them, then this again."
        )
    if lost:
        wrong.append(f"{len(lost)} of the {len(requested)} days have no snapshot, and none can be made of past days.")
    before = f"; {too_early} lie before the first partition" if too_early else ""
    return AssetCheckResult(
        passed=not wrong,
        severity=AssetCheckSeverity.WARN,
        description=" ".join(wrong) or f"all {len(requested) - too_early} days of the window are there{before}",
        metadata={
            "days_missing": len(missing | lost),
            "missing": ", ".join(map(str, sorted(missing | lost))) or "none",
        },
    )


def _is_fresh(checked: _Checked) -> AssetCheckResult:
    """The last complete day is there, at most six hours after its end; other days do not count."""
    key, lake = checked.subject.key, checked.session.lake
    due = (datetime.now(UTC) - _FRESH_AFTER).date() - timedelta(days=1)
    if due < settings.start_date:
        return AssetCheckResult(
            passed=True, description=f"{due} lies before the first partition", metadata={"due": str(due)}
        )
    present = max(checked.session.landed(key, [due, due + timedelta(days=1)]), default=None)
    newest = present or lake.newest_day(key)
    return AssetCheckResult(
        passed=present is not None,
        severity=AssetCheckSeverity.WARN,
        description=f"{present} is there"
        if present
        else f"the newest day is {newest or 'none'}; {due} has ended: run it.",
        metadata={"due": str(due)} | ({} if present else {"newest": str(newest)}),
    )


def _is_complete(checked: _Checked) -> AssetCheckResult:
    """The newest load of each part of the source, such as an account, has landed it."""
    missing = {day or date.min: completeness.left_out(files) for day, files in checked.read_set.items()}
    summary = completeness.summary(missing)
    return AssetCheckResult(
        passed=not summary,
        description=redact(summary) or "no part of the source is missing",
        metadata={"parts_missing": sorted({part for parts in missing.values() for part in parts})},
    )


def _is_null(column: str) -> str:
    return f"{quote(column)} IS NULL"


def _breaks(rule: str) -> str:
    return f"NOT ({rule})"
