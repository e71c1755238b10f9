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
    """

    now: float | None = None
    before: float | None = None


@dataclass(frozen=True)
class Trends:
    """An organisation's numbers by date; a measure of which nothing is known is empty. All have the same dates.

    Attributes:
        pushes: Pushes, with their 7-day mean.
        merged: Pull requests merged.
        issues: Issues opened, with those closed.
        stars: Stars gained.
        repositories: Repositories pushed to, with their 7-day mean.
    """

    pushes: Sequence[Point] = ()
    merged: Sequence[Point] = ()
    issues: Sequence[Point] = ()
    stars: Sequence[Point] = ()
    repositories: Sequence[Point] = ()


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

    rows: Mapping[tuple[str, date], tuple[int, float | None]]
    known: frozenset[date]

    def points(self, org: str, dates: Sequence[date]) -> list[Point]:
        if self.known.isdisjoint(dates):
            return []
        nothing = (0, None)
        return [
            Point(day, *self.rows.get((org, day), nothing)) if day in self.known else Point(day, None) for day in dates
        ]


class Measures:
    """The numbers of all organisations as of a day."""

    def __init__(self, day: date, lookback_days: int, tables: Tables) -> None:
        """Read the dates that the page of this day shows.

        Args:
            day: The as-of day.
            lookback_days: Calendar days in a window.
            tables: The rows.
        """
        self._window, self._before = (
            window(day, lookback_days),
            window(day - timedelta(days=lookback_days), lookback_days),
        )
        self._landed = {name: tables.landed_days(name) for name in ("repos", "pushes", "issues")}
        dates = {*window(day, CHARTED_DAYS), *self._before, *self._window}

        def of_mart(name: str, source: str, at: str, value: str, other: str | None = None) -> _Measure:
            frame: pl.LazyFrame = getattr(tables, name)
            made = {made for made in tables.made_days(name) if made <= day}
            covered = {covered for made in made for covered in window(made, lookback_days)}
            newest = (
                frame.filter((pl.col(DAY) <= day) & pl.col(at).is_in(sorted(dates)))
                .select("org", pl.col(at), DAY, value=value, other=other or pl.lit(None, pl.Float64))
                .sort("org", at, DAY)
                .unique(["org", at], keep="last", maintain_order=True)
                .collect()
            )
            rows = {(org, on): (number, second) for org, on, _, number, second in newest.iter_rows()}
            return _Measure(rows, frozenset(dates & covered & tables.landed_days(source)))

        self._pushes = of_mart("push_activity", "pushes", "push_date", "pushes", "pushes_7d_avg")
        self._merged = of_mart("issue_flow", "issues", "event_date", "pull_requests_merged")
        self._issues = of_mart("issue_flow", "issues", "event_date", "issues_opened", "issues_closed")
        self._repositories = of_mart("daily_activity", "repos", "push_date", "push_count", "rolling_7d_avg")
        gained = (
            tables.stars.filter(pl.col("date").is_in(sorted(dates)))
            .group_by("org", "date")
            .agg(pl.col("gained").sum())
            .collect()
        )
        self._stars = _Measure(
            {(org, on): (number, None) for org, on, number in gained.iter_rows()},
            frozenset(dates & tables.landed_days("stars")),
        )
        known = [
            on
            for measure in (self._pushes, self._merged, self._stars, self._repositories)
            for on in measure.known
            if on > day - timedelta(days=CHARTED_DAYS)
        ]
        self._dates = days_between(min([self._window[0], *known]), day)

        as_of = {"now": day, "before": self._before[-1]}
        self._people = {when: _as_of(tables.organisation, on, pl.col("people").sum()) for when, on in as_of.items()}
        self._active = {
            when: _as_of(tables.repos_per_language, on, pl.col("repo_count").sum()) for when, on in as_of.items()
        }
        self._has_people = {when: on in tables.made_days("organisation") for when, on in as_of.items()}
        self._has_active = {when: on in tables.made_days("repos_per_language") for when, on in as_of.items()}
        self._pushed = {
            "now": _repositories(tables.pushes, self._window),
            "before": _repositories(tables.pushes, self._before),
        }
        self._hours = {
            "now": _median_hours(tables.latest_issues, self._window),
            "before": _median_hours(tables.latest_issues, self._before),
        }

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
                self._hours["now"].get(org), self._hours["before"].get(org), self._landed["issues"]
            ),
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
        return self._comparable(self._pushed["now"].get(org, 0), self._pushed["before"].get(org, 0), landed)

    def _as_of_change(
        self, numbers: Mapping[str, Mapping[str, int]], has: Mapping[str, bool], org: str, source: str
    ) -> Change:
        now, before = (numbers[when].get(org, 0) if has[when] else None for when in ("now", "before"))
        return self._comparable(now, before, self._landed[source])

    def _comparable(self, now: float | None, before: float | None, known: Collection[date]) -> Change:
        """The change, if every day of both windows is known."""
        return Change(now, before if {*self._window, *self._before} <= set(known) else None)


def _as_of(mart: pl.LazyFrame, day: date, number: pl.Expr) -> dict[str, int]:
    return dict(mart.filter(pl.col(DAY) == day).group_by("org").agg(number).collect().iter_rows())


def _repositories(pushes: pl.LazyFrame, days: Sequence[date]) -> dict[str, int]:
    """The repositories pushed to on these days."""
    pushed = pushes.filter(pl.col(DAY).is_between(days[0], days[-1]) & pl.col("kind").is_in(PUSHES))
    return dict(pushed.group_by("org").agg(pl.col("repo_id").n_unique()).collect().iter_rows())


def _median_hours(issues: pl.LazyFrame, days: Sequence[date]) -> dict[str, float]:
    """The median hours from opening to merge of the pull requests merged on these days, 1 decimal."""
    hours = (pl.col("merged_at") - pl.col("created_at")).dt.total_seconds() / 3600
    merged = issues.filter(pl.col("is_pull_request") & pl.col("merged_at").dt.date().is_between(days[0], days[-1]))
    return dict(merged.group_by("org").agg(hours.median().round(1)).drop_nulls().collect().iter_rows())
