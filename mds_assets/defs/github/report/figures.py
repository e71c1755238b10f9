"""The numbers in an activity report: one day of the marts, by organisation, as a pure function on frames.

Business metrics belong in the marts; this module only selects from them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import NamedTuple, TypeVar

import polars as pl

from mds_assets.stack.partitions import window
from mds_assets.stack.table import DAY

MAX_MOVED, MAX_LISTED = 10, 5  # repositories in a list
MAX_ORGANISATIONS = 50  # on a page; each takes about 40 kB


class Day(NamedTuple):
    """A date of the window: a row of `marts/daily_activity`."""

    push_date: date
    push_count: int
    rolling_7d_avg: float | None


class Language(NamedTuple):
    """A language: a row of `marts/repos_per_language`."""

    language: str
    repo_count: int
    avg_stars: float | None
    avg_forks: float | None


class Repository(NamedTuple):
    """A repository active in the window: a row of `marts/repo_growth`, with its creation date where a list needs it."""

    repo_name: str
    language: str
    stars: int | None
    stars_gained: int | None
    last_seen: date
    created_at: datetime | None = None


@dataclass(frozen=True)
class Organisation:
    """An organisation's numbers from the marts.

    Attributes:
        name: As `GITHUB_ORG` names it.
        days: Every date of the window, oldest first.
        languages: Sorted by repositories, most first.
        stars_gained: Total over its repositories in the window; None if none was seen on two days.
        gained: Repositories that gained stars, biggest gain first.
        lost: Repositories that lost stars, biggest loss first.
        newest: The most recently created repositories, newest first.
        quietest: Repositories that were not active on the as-of day, longest inactive first.
        pushed: How many repositories were pushed to in the window.
    """

    name: str
    days: Sequence[Day]
    languages: Sequence[Language]
    stars_gained: int | None
    gained: Sequence[Repository]
    lost: Sequence[Repository]
    newest: Sequence[Repository]
    quietest: Sequence[Repository]
    pushed: int = 0

    @property
    def active(self) -> int:
        """How many repositories were active in the window."""
        return sum(language.repo_count for language in self.languages)


@dataclass(frozen=True)
class Report:
    """Everything a page shows, and nothing else, so that the same data gives the same page.

    Attributes:
        window: Every day of the window, oldest first; the last is the as-of day.
        organisations: Those with a row in the window and those configured, sorted by name.
        observed_at: The time of the newest observation in the window; None without observations.
        missing: Days of the window that were never landed and staged.
        too_early: Days of the window before the first partition.
        not_made: Marts that do not exist for the as-of day.
        names_shown: Whether the page may name repositories.
        others: How many organisations are left out, because the page is limited.
    """

    window: Sequence[date]
    organisations: Sequence[Organisation]
    observed_at: datetime | None
    missing: Sequence[date]
    too_early: Sequence[date]
    not_made: Sequence[str]
    names_shown: bool
    others: int = 0


def of_day(
    day: date,
    lookback_days: int,
    daily_activity: pl.LazyFrame,
    repos_per_language: pl.LazyFrame,
    repo_growth: pl.LazyFrame,
    repos: pl.LazyFrame,
    configured: Sequence[str] = (),
) -> tuple[list[Organisation], datetime | None, int]:
    """The numbers of an as-of day.

    Args:
        day: The as-of day.
        lookback_days: Calendar days in its window.
        daily_activity: The mart; may contain other days too.
        repos_per_language: The same.
        repo_growth: The same.
        repos: Rows of `staging/repos`; may contain days outside the window.
        configured: Organisations to include even without a row in the window.

    Returns:
        `organisations`, `observed_at` and `others` of a `Report`. If there are too many organisations, those with the
        most active repositories are kept.
    """
    growth = repo_growth.filter(pl.col(DAY) == day)
    observed = repos.filter(pl.col(DAY).is_between(window(day, lookback_days)[0], day))
    gained, created = pl.col("stars_gained"), pl.col("created_at")
    seen_again = growth.filter(pl.col("first_seen") < pl.col("last_seen"))
    newest = (
        observed.group_by("org", "repo_id")
        .agg(created.max())
        .drop_nulls()
        .sort("created_at", "repo_id", descending=True)
        .group_by("org", maintain_order=True)
        .head(MAX_LISTED)
        .join(growth, on=["org", "repo_id"])
        .sort("created_at", "repo_id", descending=True)
    )
    pushes = observed.filter(pl.col("pushed_at").dt.date() >= window(day, lookback_days)[0])
    days, languages, sums, won, lost, new, quiet, observed_last, pushed = pl.collect_all(
        [
            daily_activity.filter(pl.col(DAY) == day).sort("push_date"),
            repos_per_language.filter(pl.col(DAY) == day).sort("repo_count", "language", descending=[True, False]),
            seen_again.drop_nulls("stars_gained").group_by("org").agg(gained.cast(pl.Int64).sum()),
            _first(growth.filter(gained > 0), -gained, MAX_MOVED),
            _first(growth.filter(gained < 0), gained, MAX_MOVED),
            newest,
            _first(growth.filter(pl.col("last_seen") < day), pl.col("last_seen"), MAX_LISTED),
            observed.select(pl.col("observed_at").max()),
            pushes.group_by("org").agg(pl.col("repo_id").n_unique()),
        ],
        engine="streaming",
    )
    stars_gained = dict(sums.select("org", "stars_gained").iter_rows())
    active = dict(languages.group_by("org").agg(pl.col("repo_count").sum()).iter_rows())
    repositories_pushed = dict(pushed.iter_rows())
    names = sorted({*days["org"].unique(), *active, *configured}, key=lambda name: (-active.get(name, 0), name))
    organisations = [
        Organisation(
            name=name,
            days=_rows(days, name, Day),
            languages=_rows(languages, name, Language),
            stars_gained=stars_gained.get(name),
            gained=_rows(won, name, Repository),
            lost=_rows(lost, name, Repository),
            newest=_rows(new, name, Repository),
            quietest=_rows(quiet, name, Repository),
            pushed=repositories_pushed.get(name, 0),
        )
        for name in sorted(names[:MAX_ORGANISATIONS])
    ]
    return organisations, observed_last.item(), len(names[MAX_ORGANISATIONS:])


def _first(repositories: pl.LazyFrame, order: pl.Expr, number: int) -> pl.LazyFrame:
    """The first repositories of each organisation in this order; ties are broken by name."""
    return repositories.sort(order, "repo_name", "repo_id").group_by("org", maintain_order=True).head(number)


_Row = TypeVar("_Row", Day, Language, Repository)


def _rows(table: pl.DataFrame, organisation: str, kind: type[_Row]) -> list[_Row]:
    """An organisation's rows in their order."""
    names = [name for name in kind._fields if name in table.columns]
    return [kind(**row) for row in table.filter(pl.col("org") == organisation).select(names).iter_rows(named=True)]
