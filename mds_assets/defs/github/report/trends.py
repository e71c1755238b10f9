"""How much happened by date, and in the window against the one before, as pure functions on frames.

An organisation's numbers are None where the lake does not know them: the day was not landed, or its mart not made. A
day on which nothing happened is 0.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import NamedTuple

import polars as pl

from mds_assets.defs.github.flow import PUSHES
from mds_assets.defs.github.report.tables import Tables
from mds_assets.defs.github.rolling import DAYS_AVERAGED
from mds_assets.stack.partitions import days_between, window
from mds_assets.stack.table import DAY

CHARTED_DAYS = 90


class Point(NamedTuple):
    """A date's number, and a second one to show with it: a mean, or what is set against it."""

    day: date
    value: int | None
    other: float | None = None


class Change(NamedTuple):
    """A number in the window and in the one before.

    Attributes:
        now: None if it is not known.
        before: None if it is not known, or if a day of either window is missing: then the two do not compare.
        of: How many pull requests a median is of, now; None if it is not a median.
    """

    now: float | None = None
    before: float | None = None
    of: int | None = None


@dataclass(frozen=True)
class Trends:
    """An organisation's numbers by date; a measure of which nothing is known is empty. All have the same dates.

    Attributes:
        pushes: Pushes, with their 7-day mean, which is None unless all 7 days were landed.
        merged: Pull requests merged.
        issues: Issues opened, with those closed.
        stars: Stars gained.
        repositories: Repositories pushed to, likewise.
    """

    pushes: Sequence[Point] = ()
    merged: Sequence[Point] = ()
    issues: Sequence[Point] = ()
    stars: Sequence[Point] = ()
    repositories: Sequence[Point] = ()

    @property
    def days(self) -> list[date]:
        """The dates that they all have; none if nothing is known."""
        measures = (self.pushes, self.merged, self.issues, self.stars, self.repositories)
        return [point.day for point in next(filter(None, measures), ())]


_UNKNOWN = Change()


@dataclass(frozen=True)
class Headlines:
    """An organisation's window against the one before.

    `repositories` counts those pushed to, from pushes. `active` counts those that a crawl saw active: in a window that
    was filled later, those that have not been active since.
    """

    pushes: Change = _UNKNOWN
    people: Change = _UNKNOWN
    active: Change = _UNKNOWN
    repositories: Change = _UNKNOWN
    merged: Change = _UNKNOWN
    hours_to_merge: Change = _UNKNOWN
    opened: Change = _UNKNOWN
    closed: Change = _UNKNOWN
    stars_gained: Change = _UNKNOWN


@dataclass(frozen=True)
class _Measure:
    """Numbers by organisation and date, and the dates on which they are known."""

    rows: Mapping[tuple[str, date], tuple[int | None, float | None]]
    known: frozenset[date]

    def points(self, org: str, dates: Sequence[date]) -> list[Point]:
        if self.known.isdisjoint(dates):
            return []
        nothing = (0, None)
        return [
            Point(day, *self.rows.get((org, day), nothing)) if day in self.known else Point(day, None) for day in dates
        ]


class _Version(NamedTuple):
    """A date's numbers, as they are since an as-of day."""

    since: date
    value: int | None
    other: float | None


@dataclass(frozen=True)
class _Dated:
    """Numbers by date and organisation, with a version for each as-of day that changed them, oldest first.

    Attributes:
        versions: The numbers.
        landed: The days on which their source was landed.
        made: The as-of days of their mart; None if they come from no mart.
    """

    versions: Mapping[date, Mapping[str, Sequence[_Version]]]
    landed: frozenset[date]
    made: frozenset[date] | None = None

    def as_of(self, day: date, dates: Collection[date], lookback_days: int) -> _Measure:
        """The newest numbers of these dates that the day, or one before it, has."""
        rows = {
            (org, on): (version.value, version.other)
            for on in dates
            for org, versions in self.versions.get(on, {}).items()
            if (version := next((each for each in reversed(versions) if each.since <= day), None))
        }
        # A mart made before the day was landed does not know its numbers.
        unknown = {on for (_, on), (value, _) in rows.items() if value is None}
        known = {on for on in dates if on in self.landed and self._covers(on, day, lookback_days)}
        return _Measure(rows, frozenset(known - unknown))

    def _covers(self, on: date, day: date, lookback_days: int) -> bool:
        """Whether the mart has an as-of day, up to this one, whose window has the date."""
        if self.made is None:
            return True
        last = min(on + timedelta(days=lookback_days - 1), day)
        return any(each in self.made for each in days_between(on, last))


class History:
    """What the pages of several days have in common, read once for all of them."""

    def __init__(self, lookback_days: int, tables: Tables) -> None:
        """Read the tables.

        Args:
            lookback_days: Calendar days in a window.
            tables: The rows.
        """
        self.lookback_days, self.tables = lookback_days, tables
        self.pushes = _of_mart(tables, "push_activity", "pushes", "push_date", "pushes", _whole_week("pushes_7d_avg"))
        self.merged = _of_mart(tables, "issue_flow", "issues", "event_date", "pull_requests_merged")
        self.issues = _of_mart(tables, "issue_flow", "issues", "event_date", "issues_opened", "issues_closed")
        self.repositories = _of_mart(
            tables, "daily_activity", "repos", "push_date", "push_count", _whole_week("rolling_7d_avg")
        )
        gained = tables.stars.group_by("org", "date").agg(pl.col("gained").sum()).collect()
        stars: dict[date, dict[str, list[_Version]]] = {}
        for org, on, number in gained.iter_rows():
            stars.setdefault(on, {})[org] = [_Version(date.min, number, None)]
        self.stars = _Dated(stars, tables.landed_days("stars"))
        self.people = _by_day(tables.organisation, pl.col("people").sum())
        self.active = _by_day(tables.repos_per_language, pl.col("repo_count").sum())


def _whole_week(mean: str) -> pl.Expr:
    """The mean where it is over all 7 days: one over fewer would look like the others."""
    return pl.when(pl.col("days_averaged") == DAYS_AVERAGED).then(mean)


def _of_mart(tables: Tables, name: str, source: str, at: str, value: str, other: str | pl.Expr | None = None) -> _Dated:
    """The numbers of a mart with a row for each date of each as-of day's window."""
    frame: pl.LazyFrame = getattr(tables, name)
    other = pl.lit(None, pl.Float64) if other is None else other
    numbers = (
        frame.select("org", pl.col(at), DAY, value=value, other=other)
        .sort("org", at, DAY)
        # Most as-of days repeat a date's numbers: only the first of equal ones in a row is kept.
        .with_columns(version=pl.struct("value", "other").rle_id().over("org", at))
        .unique(["org", at, "version"], keep="first", maintain_order=True)
        .drop("version")
        .collect()
    )
    versions: dict[date, dict[str, list[_Version]]] = {}
    for org, on, *version in numbers.iter_rows():
        versions.setdefault(on, {}).setdefault(org, []).append(_Version(*version))
    return _Dated(versions, tables.landed_days(source), tables.made_days(name))


class Measures:
    """The numbers of all organisations as of a day."""

    def __init__(self, day: date, history: History) -> None:
        """Select the dates that the page of this day shows.

        Args:
            day: The as-of day.
            history: What the lake knows of this day and others.
        """
        lookback_days, tables = history.lookback_days, history.tables
        self._window, self._before = (
            window(day, lookback_days),
            window(day - timedelta(days=lookback_days), lookback_days),
        )
        self._landed = {name: tables.landed_days(name) for name in ("repos", "pushes", "issues")}
        dates = {*window(day, CHARTED_DAYS), *self._before, *self._window}

        def as_of(dated: _Dated) -> _Measure:
            return dated.as_of(day, dates, lookback_days)

        self._pushes, self._merged, self._issues = as_of(history.pushes), as_of(history.merged), as_of(history.issues)
        self._repositories, self._stars = as_of(history.repositories), as_of(history.stars)
        known = [
            on
            for measure in (self._pushes, self._merged, self._stars, self._repositories)
            for on in measure.known
            if on > day - timedelta(days=CHARTED_DAYS)
        ]
        self._dates = days_between(min([self._window[0], *known]), day)

        compared = {"now": day, "before": self._before[-1]}
        self._people = {when: history.people.get(on, {}) for when, on in compared.items()}
        self._active = {when: history.active.get(on, {}) for when, on in compared.items()}
        self._has_people = {when: on in tables.made_days("organisation") for when, on in compared.items()}
        self._has_active = {when: on in tables.made_days("repos_per_language") for when, on in compared.items()}
        pushed, hours = pl.collect_all(
            [
                _repositories(tables.pushes, self._before[0], self._window),
                _median_hours(tables.latest_issues, self._before[0], self._window),
            ]
        )
        self._pushed, self._hours = (
            {(org, is_now): number for org, is_now, number, *_ in each.iter_rows()} for each in (pushed, hours)
        )
        self._merges = {org: merges for org, is_now, _, merges in hours.iter_rows() if is_now}

    @property
    def names(self) -> set[str]:
        """The organisations with a row in the window."""
        measures = (self._pushes, self._merged, self._stars, self._repositories)
        return {org for measure in measures for org, on in measure.rows if on in self._window}

    def trends(self, org: str) -> Trends:
        """An organisation's numbers by date."""
        return Trends(
            pushes=self._pushes.points(org, self._dates),
            merged=self._merged.points(org, self._dates),
            issues=self._issues.points(org, self._dates),
            stars=self._stars.points(org, self._dates),
            repositories=self._repositories.points(org, self._dates),
        )

    def headlines(self, org: str) -> Headlines:
        """An organisation's window against the one before."""
        return Headlines(
            pushes=self._sum(self._pushes, org),
            people=self._as_of_change(self._people, self._has_people, org, "pushes"),
            active=self._as_of_change(self._active, self._has_active, org, "repos"),
            repositories=self._pushed_to(org),
            merged=self._sum(self._merged, org),
            hours_to_merge=self._comparable(
                self._hours.get((org, True)), self._hours.get((org, False)), self._landed["issues"]
            )._replace(of=self._merges.get(org)),
            opened=self._sum(self._issues, org),
            closed=self._sum(self._issues, org, other=True),
            stars_gained=self._sum(self._stars, org),
        )

    def _sum(self, measure: _Measure, org: str, *, other: bool = False) -> Change:
        def total(days: Sequence[date]) -> float | None:
            rows = [measure.rows.get((org, day), (0, 0)) for day in days if day in measure.known]
            return sum((row[other] or 0) for row in rows) if rows else None

        return self._comparable(total(self._window), total(self._before), measure.known)

    def _pushed_to(self, org: str) -> Change:
        landed = self._landed["pushes"]
        if landed.isdisjoint(self._window):
            return Change()
        return self._comparable(self._pushed.get((org, True), 0), self._pushed.get((org, False), 0), landed)

    def _as_of_change(
        self, numbers: Mapping[str, Mapping[str, int]], has: Mapping[str, bool], org: str, source: str
    ) -> Change:
        now, before = (numbers[when].get(org, 0) if has[when] else None for when in ("now", "before"))
        return self._comparable(now, before, self._landed[source])

    def _comparable(self, now: float | None, before: float | None, known: Collection[date]) -> Change:
        """The change, if every day of both windows is known."""
        return Change(now, before if {*self._window, *self._before} <= set(known) else None)


def _by_day(mart: pl.LazyFrame, number: pl.Expr) -> dict[date, dict[str, int]]:
    """The number of each as-of day and organisation."""
    numbers: dict[date, dict[str, int]] = {}
    for day, org, value in mart.group_by(DAY, "org").agg(number).collect().iter_rows():
        numbers.setdefault(day, {})[org] = value
    return numbers


def _repositories(pushes: pl.LazyFrame, first: date, now: Sequence[date]) -> pl.LazyFrame:
    """The repositories pushed to since `first`: in the window `now`, and before it."""
    pushed = pushes.filter(pl.col(DAY).is_between(first, now[-1]) & pl.col("kind").is_in(PUSHES))
    return pushed.group_by("org", is_now=pl.col(DAY) >= now[0]).agg(number=pl.col("repo_id").n_unique())


def _median_hours(issues: pl.LazyFrame, first: date, now: Sequence[date]) -> pl.LazyFrame:
    """The median hours from opening to merge of the pull requests merged since `first`, likewise, with 1 decimal.

    `merges` is how many they are.
    """
    hours, merged_on = (
        (pl.col("merged_at") - pl.col("created_at")).dt.total_seconds() / 3600,
        pl.col("merged_at").dt.date(),
    )
    merged = issues.filter(pl.col("is_pull_request") & merged_on.is_between(first, now[-1]))
    return (
        merged.group_by("org", is_now=merged_on >= now[0])
        .agg(number=hours.median().round(1), merges=hours.count())
        .drop_nulls()
    )
