"""The days of one run, as passed to a source: where to start, which HTTP client to use, what to report.

dlt is slow to import, so only the methods that need it import it.
"""

import json
import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any, NoReturn

from mds_assets.stack.names import LEFT_OUT, SCOPE
from mds_assets.stack.settings import redact

if TYPE_CHECKING:
    import requests

    from mds_assets.stack.landing.cursor import Cursor

_LOG = logging.getLogger(__name__)


class SkippedError(Exception):
    """The source lands nothing in this run, and that is no failure. The message is one line for the user."""

    retryable = False  # so that dlt's wrappers are removed, as for any error that a source classifies


@dataclass
class Days:
    """A half-open range of whole UTC days, plus what a source counts and reports while it lands them.

    Attributes:
        start: Midnight UTC of the first day.
        end: Midnight UTC after the last day.
        log: A logger for the source's progress.
        requests: Number of HTTP responses received by the sessions of this range, retries included.
        facts: What the source adds to the metadata of the load.
        facts_once: What it adds to that of the last day only.
        scope: What the load covers of the source, such as accounts; recorded in the footer of each of its files.
        left_out: The parts of the scope that this load lacks, with the reason; see `leave_out`.
        covered: The days that `missing` found landed: this load does not land them again. Rows of theirs that the
            source sends all the same, because they lie between or after missing days, land as early rows.
        scopes_of: For a day, the scope of each load that landed it.
    """

    start: datetime
    end: datetime
    log: "logging.Logger | logging.LoggerAdapter[Any]" = _LOG
    requests: int = 0
    facts: dict[str, Any] = field(default_factory=dict[str, Any])
    facts_once: dict[str, Any] = field(default_factory=dict[str, Any])
    scope: frozenset[str] = frozenset()
    left_out: dict[str, str] = field(default_factory=dict[str, str])
    covered: frozenset[date] = frozenset()
    scopes_of: Callable[[date], Iterable[frozenset[str]]] = field(default=lambda _: (), repr=False)

    def __post_init__(self) -> None:
        """Reject a range that does not consist of whole days.

        Raises:
            ValueError: A bound is not midnight UTC, or the range is empty.
        """
        for bound in (self.start, self.end):
            if bound.utcoffset() or bound != utc(bound.date()):
                raise ValueError(f"{bound.isoformat()} is not midnight UTC: a range has whole days.")
        if self.start >= self.end:
            raise ValueError(f"No day between {self.start.isoformat()} and {self.end.isoformat()}.")

    @classmethod
    def between(cls, first: date, last: date, log: "logging.Logger | logging.LoggerAdapter[Any]" = _LOG) -> "Days":
        """From `first` to `last`, both included."""
        return cls(utc(first), utc(last) + timedelta(days=1), log)

    @property
    def dates(self) -> list[date]:
        """The days, oldest first."""
        return [self.start.date() + timedelta(days=n) for n in range((self.end - self.start).days)]

    def cursor(self, field: str, *, naive: bool = False, **options: Any) -> "Cursor":
        """Create dlt's incremental cursor from the start of the range, without an end.

            "params": {"updated_since": days.cursor("updated_at")}      # rest_api: sends 2026-11-01T00:00:00Z
            sql_table(..., incremental=days.cursor("updated_at"))       # WHERE updated_at >= the start

        It only gives the source the start. It drops no rows, so the field may hold text, datetimes or dates.

        Args:
            field: The field's name or JSON path, as the source spells it.
            naive: Compare with a timestamp without time zone. Needed for a database's `TIMESTAMP` column (without time
                zone) if the session's zone is not UTC.
            options: Further arguments of `dlt.sources.incremental`. With `row_order="desc"`, reading stops at the first
                page with a row before the range.
        """
        from mds_assets.stack.landing.cursor import Cursor

        start = self.start.replace(tzinfo=None) if naive else self.start
        return Cursor(field, initial_value=start, **options)

    def session(self, **options: Any) -> "requests.Session":
        """A session of dlt's HTTP client, which retries 429, 5xx and lost connections, and counts its responses.

        It leaves error statuses to the caller, as rest_api expects of `client.session`.

        Args:
            options: Arguments of `dlt.sources.helpers.requests.Client`, such as `request_max_attempts`.
        """
        from dlt.sources.helpers.requests import Client
        from requests.adapters import HTTPAdapter

        days = self

        class CountingAdapter(HTTPAdapter):
            """Counts retries and redirects too. Not a response hook, because rest_api replaces those with its own."""

            def send(self, *args: Any, **kwargs: Any) -> "requests.Response":
                response = super().send(*args, **kwargs)
                days.requests += 1
                return response

        options.setdefault("raise_for_status", False)
        session = Client(**options).session
        for scheme in ("http://", "https://"):
            session.mount(scheme, CountingAdapter(pool_maxsize=50))
        return session

    def missing(self, scope: Iterable[str]) -> list[date]:
        """The days to fetch in a range of several days: those that no earlier load covers, and any between them.

        So a backfill that was interrupted resumes. A single day is always fetched again. Also records the scope in the
        footer of each file.

        Args:
            scope: What the run covers of the source, such as accounts. A day is covered if its loads cover all of it.

        Returns:
            Days in order, without gaps; empty if every day is covered.
        """
        self.scope = frozenset(scope)
        dates = self.dates
        if len(dates) > 1:
            self.covered = frozenset(
                day for day in dates if (loads := list(self.scopes_of(day))) and self.scope <= frozenset().union(*loads)
            )
        missing = [day for day in dates if day not in self.covered]
        return [day for day in dates if missing and missing[0] <= day <= missing[-1]]

    def leave_out(self, part: str, reason: str) -> None:
        """Land the rest without this part of the scope: the table's check `is_complete` fails and names it.

        The day isn't covered for this part, so a later run with `missing` fetches it again. Rows of it that were
        already yielded land.

        Args:
            part: A member of the scope, such as an account.
            reason: One line for the user: what happened, and the way out.
        """
        self.scope -= {part}
        self.left_out[part] = redact(reason)

    @property
    def footer(self) -> dict[str, str]:
        """The metadata of each file of the load."""
        left_out = {LEFT_OUT: json.dumps(self.left_out)} if self.left_out else {}
        return {SCOPE: json.dumps(sorted(self.scope)), **left_out}

    def skip(self, reason: str) -> NoReturn:
        """Land nothing in this run, without failing it: tables downstream of this one don't run either.

        The table must be declared with `output_required=False`.

        Args:
            reason: One line for the user: why, and what would help.

        Raises:
            SkippedError: Always. The stack catches it.
        """
        raise SkippedError(reason)

    def report(self, **facts: Any) -> None:
        """Add facts to the metadata of the load: `days.report(customers=12)`."""
        self.facts.update(facts)

    def report_once(self, **facts: Any) -> None:
        """Add facts to the metadata of the range's last day only: lists, which each day of a backfill would repeat."""
        self.facts_once.update(facts)


def snapshot_day(days: Days) -> date | None:
    """The day a snapshot belongs to: the newest one that has ended (UTC), if it is in the range."""
    yesterday = datetime.now(UTC).date() - timedelta(days=1)
    return yesterday if yesterday in days.dates else None


def utc(value: Any) -> datetime:
    """A datetime or date as a UTC datetime; without time zone it is taken as UTC, a date as its midnight."""
    if not isinstance(value, datetime):
        return datetime(value.year, value.month, value.day, tzinfo=UTC)
    return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
