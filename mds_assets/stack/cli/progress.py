"""The progress of a run in the terminal: one live line, a line for each table that ends, each warning once.

Without a terminal, say in a CI's log, there is no live line: an asset's messages come at most every ten seconds.
"""

import logging
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn
from rich.table import Column

from mds_assets.stack.failures import reason, root, table_of
from mds_assets.stack.names import ACTIONABLE, NEWEST_ACTIVITY
from mds_assets.stack.progress import DAYS
from mds_assets.stack.redaction import shown
from mds_assets.stack.terminal import console, say
from mds_assets.stack.text import count

if TYPE_CHECKING:
    from dagster import AssetKey, DagsterEvent, LoggerDefinition, MetadataValue

_SECONDS_BETWEEN_MESSAGES = 10
_SECONDS_BEFORE_ESTIMATE = 5
_MAX_TABLES = 3  # named in one warning


class RunProgress:
    """What is printed while a run goes on.

    Attributes:
        rows: Rows by table that ended.
        days: Days by table that ended; empty for a table without partitions.
        requests: Requests of all sources.
        newest_activity: The newest day with activity in a source, as text; empty if none reports it.
    """

    def __init__(self, tables: int, on_interrupt: Callable[[], None]) -> None:
        """Expect this many tables. `on_interrupt` is called when a step ends because the user interrupted it."""
        self.rows: dict[str, int] = {}
        self.days: dict[str, set[str]] = {}
        self.requests = 0
        self.newest_activity = ""
        self._on_interrupt = on_interrupt
        self._started = self._printed_at = time.monotonic()
        self._tables = tables
        self._ended = 0
        self._doing = ""
        self._made: dict[str, dict[str, int]] = {}  # by step: the requests of each of its tables
        self._reasons: set[str] = set()  # why steps failed
        self._failed: set[tuple[AssetKey, str]] = set()
        self._warnings: dict[tuple[str, str], list[str]] = {}  # by check and text: the tables
        self._live = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}", table_column=Column(ratio=1, no_wrap=True, overflow="ellipsis")),
            BarColumn(bar_width=16),
            TextColumn("{task.fields[left]}"),
            console=console,
            transient=True,
            expand=True,
            refresh_per_second=4,
            disable=not console.is_terminal,
        )
        self._task = self._live.add_task("Starting", total=tables, left="")

    @contextmanager
    def shown(self) -> Generator[None]:
        """Show the live line meanwhile, and the warnings in the end."""
        days = _Handler(self._on_days)
        DAYS.addHandler(days)
        DAYS.setLevel(logging.DEBUG)
        try:
            with self._live:
                yield
        finally:
            DAYS.removeHandler(days)
            self._say_warnings()

    def logger(self) -> "LoggerDefinition":
        """The Dagster logger through which a run reports to this."""
        from dagster import InitLoggerContext, logger

        @logger
        def progress(_: InitLoggerContext) -> logging.Logger:
            reporting = logging.Logger("progress", logging.DEBUG)
            reporting.addHandler(_Handler(self._on_record))
            return reporting

        return progress

    def _on_record(self, record: logging.LogRecord) -> None:
        event: DagsterEvent | None = getattr(record, "dagster_event", None)
        if event is None:
            self._on_message(record)
        elif event.event_type_value == "STEP_START":
            self._update(table_of(event))
        elif event.event_type_value == "ASSET_MATERIALIZATION":
            self._on_materialization(event)
        elif event.event_type_value == "ASSET_CHECK_EVALUATION":
            self._on_check(event)
        elif event.event_type_value == "STEP_UP_FOR_RETRY":
            retry = event.step_retry_data
            wait = f"Again in {retry.seconds_to_wait} s" if retry.seconds_to_wait else "Again"
            say("  ", (f"{wait}: {root(retry.error)}", "yellow"))
        elif event.event_type_value == "STEP_FAILURE":
            self._on_failure(event)
        elif event.event_type_value == "STEP_SUCCESS":
            self._on_success(event)

    def _on_message(self, record: logging.LogRecord) -> None:
        """An asset's own message."""
        message: str = getattr(record, "dagster_meta", {}).get("orig_message", record.getMessage())
        # Of those two, Dagster's own, the summary has one line.
        if record.levelno < logging.INFO or message.startswith(("Skipping step ", "Dependencies for step ")):
            return
        if record.levelno >= logging.WARNING:
            say("  ", (message, "yellow" if record.levelno < logging.ERROR else "red"))
            return
        self._update(message)
        if not console.is_terminal and time.monotonic() - self._printed_at > _SECONDS_BETWEEN_MESSAGES:
            self._printed_at = time.monotonic()
            say("  ", (message, "dim"))

    def _on_materialization(self, event: "DagsterEvent") -> None:
        materialization = event.step_materialization_data.materialization
        table, facts = materialization.asset_key.to_user_string(), materialization.metadata
        rows = facts.get("rows_landed") or facts.get("dagster/partition_row_count")
        self.days.setdefault(table, set()).update([materialization.partition] if materialization.partition else [])
        if rows:
            self.rows[table] = self.rows.get(table, 0) + int(str(rows.value))
        if NEWEST_ACTIVITY in facts:
            self.newest_activity = max(self.newest_activity, str(facts[NEWEST_ACTIVITY].value))
        of_step = self._made.setdefault(event.step_key or "", {})
        of_step[table] = int(str(facts["requests"].value)) if "requests" in facts else 0  # each day has the load's

    def _on_success(self, event: "DagsterEvent") -> None:
        made = self._made.pop(event.step_key or "", {})  # none of a step of checks, or of a raw table that was skipped
        seconds = event.step_success_data.duration_ms / 1000
        for number, (table, requests) in enumerate(made.items(), start=1):
            self._ended += 1
            self.requests += requests
            days = count(len(self.days[table]), "day") if self.days[table] else ""
            shared = f", the {len(made)} above" if len(made) > 1 else ""
            took = f"{seconds:5.1f} s{shared}" if number == len(made) else ""
            sent = f"  {count(requests, 'request')}" if requests else ""
            rows = count(self.rows[table], "row") if table in self.rows else ""
            say(("✓", "green"), f" {table:26} {days:>8} {rows:>14} {took}", (sent, "dim"))
        self._update("")

    def _on_failure(self, event: "DagsterEvent") -> None:
        from dagster._core.execution.plan.objects import ErrorSource

        if event.step_failure_data.error_source == ErrorSource.INTERRUPT:
            self._on_interrupt()
        else:
            table, why = table_of(event), reason(event)
            message = "the same" if why in self._reasons else why.removeprefix(f"{table}: ")
            say(("✗", "red"), f" {table}: {message}")
            self._reasons.add(why)

    def _on_check(self, event: "DagsterEvent") -> None:
        """An error at once, day by day; warnings in the end, as many tables have the same ones."""
        from dagster import AssetCheckSeverity

        check = event.asset_check_evaluation_data
        of_table = (check.asset_key, check.check_name)
        # Of a range, `is_valid` comes once for each day, then for all.
        if check.passed or (of_table in self._failed and not check.partition):
            return
        self._failed.add(of_table)
        table, text = check.asset_key.to_user_string(), check.description or ""
        if check.severity == AssetCheckSeverity.ERROR:
            of_day = f" of {check.partition}" if check.partition else ""
            say("  ", ("✗", "red"), f" {table} {check.check_name}{of_day}: ", (text, "dim"))
        elif _is_actionable(check.metadata):
            self._warnings.setdefault((check.check_name, text), []).append(table)

    def _on_days(self, record: logging.LogRecord) -> None:
        """A step has made some of its days."""
        done, days = record.args if isinstance(record.args, tuple) and len(record.args) == 2 else (0, 0)
        if isinstance(done, int) and isinstance(days, int) and days > 1:
            self._update(f"{self._doing}: day {done} of {days}", done / days)

    def _update(self, text: str, part: float = 0.0) -> None:
        """Show what is being done, how many tables have ended, and how long the others will take at this pace."""
        if part == 0.0:
            self._doing = text
        done, seconds = self._ended + part, time.monotonic() - self._started
        left = f"{self._ended} of {self._tables} tables"
        if seconds > _SECONDS_BEFORE_ESTIMATE and done:
            left += f", about {_in_words(seconds / done * (self._tables - done))} left"
        self._live.update(self._task, description=shown(text), completed=done, left=left)

    def _say_warnings(self) -> None:
        for (check, text), tables in self._warnings.items():
            named = ", ".join(tables[:_MAX_TABLES])
            others = f" and {len(tables) - _MAX_TABLES} more" if len(tables) > _MAX_TABLES else ""
            say(("!", "yellow"), f" {check} of {named}{others}: ", (text, "dim"))


class _Handler(logging.Handler):
    """Passes each record to a function."""

    def __init__(self, receive: Callable[[logging.LogRecord], None]) -> None:
        super().__init__()
        self._receive = receive

    def emit(self, record: logging.LogRecord) -> None:
        """Called by logging."""
        self._receive(record)


def _is_actionable(metadata: "Mapping[str, MetadataValue]") -> bool:
    return ACTIONABLE not in metadata or bool(metadata[ACTIONABLE].value)


def _in_words(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} minutes"
