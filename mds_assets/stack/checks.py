"""Data-quality checks, generated from each table's declaration and from the asset graph.

| check | tables | on failure |
|---|---|---|
| `is_valid` | every table | error; it is not published, and downstream tables do not run |
| `reconciles` | tables that declare it | error |
| `window_is_complete` | marts, and tables that look back | warning; error if a file cannot be read |
| `is_fresh` | tables with partitions | warning |
| `is_complete` | raw tables | error |

A check covers the days of its run, or the table's newest day when it runs alone. Without a file, none passes.
`is_valid` has a verdict for each day; for a table that the run published, it is the audit's (`audit.py`). Raw keeps
everything it was sent, so its `is_valid` stops nothing: staging has to pass an audit of its own.

https://docs.dagster.io/guides/test/asset-checks
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from functools import cached_property
from typing import Any, TypeAlias

import duckdb
import pyarrow as pa
from dagster import (
    AssetCheckExecutionContext,
    AssetCheckKey,
    AssetCheckResult,
    AssetChecksDefinition,
    AssetCheckSeverity,
    AssetCheckSpec,
    AssetKey,
    Output,
    PartitionMapping,
    ResourceParam,
    multi_asset_check,
)
from dagster._utils.warnings import disable_dagster_warnings
from upath import UPath

from mds_assets.stack import completeness
from mds_assets.stack.audit import MAX_KEYS, Verdict, audit, reason_of, sample
from mds_assets.stack.blocks.as_of import Mart
from mds_assets.stack.event_log import evaluation_of, facts_of, is_blocking, report_verdicts, severity_of
from mds_assets.stack.io_managers.duckdb import read, select
from mds_assets.stack.lake import Files, Partition
from mds_assets.stack.lake.footers import footer
from mds_assets.stack.names import ACTIONABLE, IS_VALID
from mds_assets.stack.partitions import DAILY, in_a_row, in_words, to_days, window_of
from mds_assets.stack.session import Session
from mds_assets.stack.settings import redact, settings
from mds_assets.stack.table import Table, quote
from mds_assets.stack.text import count

# Rows that `reconciles` reads within a run. Counting the keys of a larger window would take as long as building the
# mart, so those are only counted when the check runs alone.
_MAX_ROWS = 1_000_000

# How long after its end a day must be there. The schedule runs after five minutes.
_FRESH_AFTER = timedelta(hours=6)


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

    @property
    def is_raw(self) -> bool:
        """Whether it is a raw table: it keeps everything it was sent, and may have more columns than declared."""
        return self.subject.key.has_prefix(["raw"])

    @cached_property
    def rows(self) -> duckdb.DuckDBPyRelation:
        """The rows of these partitions."""
        table, partitioned = self.subject.table, self.subject.partitioned
        return read(self.session.connection, self.files, table, partitioned=partitioned)

    @cached_property
    def verdicts(self) -> Mapping[Partition, Verdict]:
        """A verdict for each partition with files: the run's own audit before it published them, or one of them now."""
        # A raw file that cannot be read fails `is_complete`, and stops nothing: all readers leave it out.
        left_out = self.session.unreadable(self.read_set) if self.is_raw else {}
        files = {
            partition: [file for file in files if file not in left_out]
            for partition, files in self.read_set.items()
            if files
        }
        known = self.session.verdicts.get(self.subject.key, {})
        if known.keys() >= files.keys() and not self.alone:
            return {partition: known[partition] for partition in files}
        return audit(self.session, self.subject.table, files, may_have_more=self.is_raw)

    def sample(self, rows: duckdb.DuckDBPyRelation) -> tuple[int, str]:
        """How many rows, and the first of them as text."""
        return sample(self.session, self.subject.table, rows)


_Check: TypeAlias = Callable[[_Checked], AssetCheckResult]


def checks_of(subject: CheckedTable) -> AssetChecksDefinition:
    """All checks of a table, as one step."""
    key = subject.key
    checks: dict[str, _Check] = {
        IS_VALID: _is_valid,
        **({"reconciles": _reconciles} if subject.source else {}),
        **({"window_is_complete": _window_is_complete} if subject.windows or subject.current else {}),
        **({"is_fresh": _is_fresh} if subject.partitioned else {}),
        **({"is_complete": _is_complete} if key.has_prefix(["raw"]) else {}),
    }
    with disable_dagster_warnings():  # Dagster calls the partitions of a check a preview
        specs = [
            AssetCheckSpec(
                name,
                asset=key,
                description=check.__doc__,
                blocking=is_blocking(key, name),
                partitions_def=DAILY if name == IS_VALID and subject.partitioned else None,
            )
            for name, check in checks.items()
        ]

    @multi_asset_check(name=f"{'__'.join(key.path)}__checks", specs=specs, can_subset=True)
    def check(context: AssetCheckExecutionContext, session: ResourceParam[Session]) -> Iterator[Any]:
        step = context.get_step_execution_context()
        in_a_run = context.has_partition_key or context.has_partition_key_range
        days: list[date] = []
        if subject.partitioned and in_a_run:
            days = to_days(context.partition_keys)
        elif subject.partitioned and (newest := session.lake.newest_day(key)):
            days = [newest]
        checked = _Checked(subject, days, not in_a_run, session)
        selected = {check.name for check in context.selected_asset_check_keys}
        for name, check in checks.items():
            if name not in selected:
                continue
            result, checked = _result_of(check, checked)
            result = result._replace(asset_key=key, check_name=name)
            if subject.partitioned and not in_a_run:
                # Dagster fails on the result of a step that has a partitioned check, in a run without partitions.
                yield evaluation_of(step, result, days[0] if days and name == IS_VALID else None)
                yield Output(None, step.job_def.asset_layer.get_op_output_name(AssetCheckKey(key, name)) or "")
                continue
            # For a run of one partition, Dagster records it itself.
            if name == IS_VALID and days and not context.has_partition_key:
                report_verdicts(step, key, checked.verdicts)
            yield result

    return check


def _result_of(check: _Check, checked: _Checked) -> tuple[AssetCheckResult, _Checked]:
    """The check's result. An unreadable file fails it, unless another run was replacing that file: then check again."""
    result = _run(check, checked)
    now = replace(checked)
    return (result, checked) if result.passed or now.read_set == checked.read_set else _result_of(check, now)


def _run(check: _Check, checked: _Checked) -> AssetCheckResult:
    if not checked.files and check is not _is_fresh:
        if checked.subject.is_snapshot and checked.subject.partitioned and not checked.alone:
            return AssetCheckResult(
                passed=False,
                severity=AssetCheckSeverity.WARN,
                description="there is no file: a snapshot only lands in a run of the newest day that has ended",
                metadata={ACTIONABLE: False},  # for these days
            )
        severity = AssetCheckSeverity.WARN if checked.subject.is_snapshot else AssetCheckSeverity.ERROR
        return AssetCheckResult(passed=False, severity=severity, description="there is no file: run the table first")
    try:
        return check(checked)
    except (duckdb.Error, pa.ArrowInvalid, OSError) as error:
        return AssetCheckResult(passed=False, description=f"a file cannot be read: {reason_of(error)}")


def _is_valid(checked: _Checked) -> AssetCheckResult:
    """Each file can be read and is as declared: columns and types (raw may have more), nulls, the key, the rules."""
    verdicts = checked.verdicts
    wrong = {partition: verdict for partition, verdict in verdicts.items() if not verdict.passed}
    messages = [
        f"{f'{partition}: ' if partition and len(verdicts) > 1 else ''}{verdict.description}"
        for partition, verdict in wrong.items()
    ]
    severities = {severity_of(checked.subject.key, verdict) for verdict in wrong.values()}
    return AssetCheckResult(
        passed=not wrong,
        severity=AssetCheckSeverity.WARN if severities == {AssetCheckSeverity.WARN} else AssetCheckSeverity.ERROR,
        description="; ".join(messages[:MAX_KEYS]) or f"as declared: {count(len(checked.files), 'file')}",
        metadata=facts_of(*wrong.values()),
    )


def _reconciles(checked: _Checked) -> AssetCheckResult:
    """The table agrees with an upstream table: both give the same numbers."""
    subject, lake = checked.subject, checked.session.lake
    declared, source = subject.table.reconciles, subject.source
    if not declared or not source:
        raise ValueError(f"{subject.key.to_user_string()} declares nothing to reconcile")
    below = AssetKey(declared.source.split("/"))
    windows = {day: window_of(subject.reads.get(below), day) for day in checked.days}
    listed = lake.read_set(below, sorted({day for days in windows.values() for day in days}))
    left_out = checked.session.unreadable(listed)
    read_set = {day: [file for file in files if file not in left_out] for day, files in listed.items()}
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
        SELECT 'here' AS only, * FROM (FROM found EXCEPT FROM expected)
        UNION ALL SELECT 'below' AS only, * FROM (FROM expected EXCEPT FROM found)
    """  # noqa: S608  # declared queries and dates
    number, first = checked.sample(select(checked.rows, "rows", differing))
    looking_back = f" (MDS_LOOKBACK_DAYS={settings.lookback_days})" if days_back else ""
    return AssetCheckResult(
        passed=not number,
        description=f"{count(number, 'number')} {_be(number, 'differs', 'differ')} from {declared.source}: "
        f"{first}{looking_back}"
        if number
        else f"agrees with {count(rows_below, 'row')} of {declared.source}",
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
    before_first: set[date] = set()  # of what the table reads
    lost: set[date] = set()  # the source only knew its state on those days
    unreadable: dict[UPath, str] = {}
    yesterday = datetime.now(UTC).date() - timedelta(days=1)
    for key, mapping in checked.subject.windows.items():
        window = {back for day in days for back in window_of(mapping, day)}
        possible = {day for day in window if day >= settings.start_date}
        requested |= window
        unreadable |= checked.session.unreadable(checked.session.lake.read_set(key, sorted(possible)))
        absent = possible - checked.session.landed(key, possible)
        past = {day for day in absent if key in checked.subject.snapshots and day < yesterday}
        first = next(iter(checked.session.lake.days(key) if absent else []), date.min)
        lost |= past
        missing |= {day for day in absent - past if day >= first}
        before_first |= {day for day in absent - past if day < first}
    before_first -= missing
    lost -= missing | before_first
    too_early = sum(day < settings.start_date for day in requested)
    days_requested = count(len(requested), "day")
    looking_back = f"{days[0]} looks" if len(days) == 1 else f"{days[0]} to {days[-1]} look"
    wrong = [
        f"{key.to_user_string()} has no rows: run it, then this again."
        for key in checked.subject.current
        if not any(footer(file).num_rows for file in checked.session.lake.files(key, None))
    ]
    if unreadable:
        files = ", ".join(map(str, list(unreadable)[:MAX_KEYS]))
        wrong.append(
            f"{count(len(unreadable), 'file')} cannot be read and {_be(len(unreadable))} left out: {files}. "
            "Run the days again, then this."
        )
    if missing:
        wrong.append(
            f"{len(missing)} of the {days_requested} that {looking_back} back on {_be(len(missing), 'was', 'were')} "
            f"never landed and staged: {in_words(in_a_row(missing), MAX_KEYS)}. Run them, then this again."
        )
    is_actionable = bool(wrong)
    # No run brings those: a run of these days would look back on others before them.
    if before_first:
        wrong.append(
            f"{len(before_first)} of the {days_requested} that {looking_back} back on "
            f"{_be(len(before_first), 'lies', 'lie')} before the first."
        )
    if lost:
        have = _be(len(lost), "has", "have")
        wrong.append(f"{len(lost)} of the {days_requested} {have} no snapshot, and none can be made of past days.")
    before = f"; {too_early} {_be(too_early, 'lies', 'lie')} before the first partition" if too_early else ""
    return AssetCheckResult(
        passed=not wrong,
        severity=AssetCheckSeverity.ERROR if unreadable else AssetCheckSeverity.WARN,
        description=" ".join(wrong) or f"all {len(requested) - too_early} days of the window are there{before}",
        metadata={
            "days_missing": len(missing | before_first | lost),
            "missing": ", ".join(map(str, sorted(missing | before_first | lost))) or "none",
            ACTIONABLE: is_actionable,
        },
    )


def _be(number: int, one: str = "is", many: str = "are") -> str:
    return one if number == 1 else many


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
        else f"{f'the newest day is {newest}' if newest else 'there is no day yet'}; {due} has ended: run it.",
        metadata={"due": str(due)} | ({} if present else {"newest": str(newest)}),
    )


def _is_complete(checked: _Checked) -> AssetCheckResult:
    """Every file can be read, and the newest load of each part of the source, such as an account, has landed it."""
    unreadable = checked.session.unreadable(checked.read_set)
    readable = {
        day or date.min: [file for file in files if file not in unreadable] for day, files in checked.read_set.items()
    }
    missing = {day: completeness.left_out(files) for day, files in readable.items()}
    wrong = [completeness.summary(missing)] if any(missing.values()) else []
    if unreadable:
        files = "; ".join(f"{file}: {reason}" for file, reason in list(unreadable.items())[:MAX_KEYS])
        way_out = "Move them to quarantine/ (`mds doctor --fix` does), and run their days again."
        left_out = f"{count(len(unreadable), 'file')} cannot be read, and {_be(len(unreadable))} left out"
        wrong.append(f"{left_out}: {files} {way_out}")
    return AssetCheckResult(
        passed=not wrong,
        description=redact(" ".join(wrong)) or "every file can be read, and no part of the source is missing",
        metadata={
            "parts_missing": sorted({part for parts in missing.values() for part in parts}),
            "unreadable": len(unreadable),
        },
    )
