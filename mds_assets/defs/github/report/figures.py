"""The numbers in an activity report: one as-of day, by organisation, as a pure function on frames.

Business metrics belong in the marts; this module only selects from them. `trends.py` has what happened by date,
`people.py` who did it and what waits, this module what the organisation has.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import NamedTuple, TypeVar

import polars as pl

from mds_assets.defs.github.flow import PUSHES
from mds_assets.defs.github.report.people import IS_PUBLIC, People, Waiting, people, waiting
from mds_assets.defs.github.report.tables import Tables
from mds_assets.defs.github.report.trends import CHARTED_DAYS, Headlines, History, Measures, Trends
from mds_assets.stack.partitions import window
from mds_assets.stack.table import DAY

MAX_MOVED, MAX_LISTED = 10, 5  # repositories in a list
MAX_ORGANISATIONS = 50  # on a page; each takes about 65 kB


class Language(NamedTuple):
    """A language: a row of `marts/repos_per_language`."""

    language: str
    repo_count: int
    avg_stars: float | None
    avg_forks: float | None


class Repository(NamedTuple):
    """A repository: its name, and what the lists have of it."""

    repo_name: str
    language: str
    stars: int | None = None
    stars_gained: int | None = None
    last_seen: date | None = None
    created_at: datetime | None = None
    pushed_at: datetime | None = None
    pushes: int | None = None
    people: int | None = None


@dataclass(frozen=True)
class Listed:
    """The first repositories of a list.

    Attributes:
        repositories: Those that may be named.
        private: How many others belong to the list but may be private.
        total: How many belong to it.
    """

    repositories: Sequence[Repository] = ()
    private: int = 0
    total: int = 0


class Inventory(NamedTuple):
    """What an organisation has: a row of `marts/organisation`. None where the day has no inventory."""

    repositories: int | None
    new_repositories: int | None
    archived_repositories: int | None
    stars: int | None
    forks: int | None
    open_issues: int | None


@dataclass(frozen=True)
class Organisation:
    """An organisation's numbers.

    Attributes:
        name: As `GITHUB_ORG` names it.
        headlines: The window against the one before.
        trends: What happened by date.
        people: Who contributed; None if nobody is known to.
        waiting: Its open pull requests; None if none is known.
        inventory: What it has; None if no inventory is known.
        most_pushed: Repositories pushed to in the window, most pushes first.
        languages: Sorted by repositories, most first.
        stars_gained: Net total over its active repositories in the window; None if none was seen on two days.
        gained: Repositories that gained stars, biggest gain first.
        lost: Repositories that lost stars, biggest loss first.
        newest: The most recently created repositories, newest first.
        quietest: Repositories that were not active on the as-of day, longest inactive first.
        dormant: Repositories without a push on any of the charted days, most stars first.
        pushed: How many repositories were pushed to in the window.
    """

    name: str
    headlines: Headlines = field(default_factory=Headlines)
    trends: Trends = field(default_factory=Trends)
    people: People | None = None
    waiting: Waiting | None = None
    inventory: Inventory | None = None
    most_pushed: Listed = Listed()
    languages: Sequence[Language] = ()
    stars_gained: int | None = None
    gained: Listed = Listed()
    lost: Listed = Listed()
    newest: Listed = Listed()
    quietest: Listed = Listed()
    dormant: Listed = Listed()
    pushed: int = 0

    @property
    def active(self) -> int:
        """How many repositories were active in the window."""
        return sum(language.repo_count for language in self.languages)

    @property
    def is_empty(self) -> bool:
        """Whether nothing is known to have happened in the window."""
        return not self.active and not self.people and not any(change.now for change in vars(self.headlines).values())


@dataclass(frozen=True)
class Report:
    """Everything a page shows, and nothing else, so that the same data gives the same page.

    Attributes:
        window: Every day of the window, oldest first; the last is the as-of day.
        organisations: Those with a row in the window and those configured, sorted by name.
        observed_at: The time of the newest observation in the window; None without observations.
        missing: Days of the window without data.
        too_early: Days of the window before the first partition.
        not_made: Marts that do not exist for the as-of day.
        has_events: Whether any mart of pushes, issues or stars exists for the as-of day.
        names_shown: Whether the page may name what may be private.
        others: How many organisations are left out, because the page is limited.
    """

    window: Sequence[date]
    organisations: Sequence[Organisation]
    observed_at: datetime | None = None
    missing: Sequence[date] = ()
    too_early: Sequence[date] = ()
    not_made: Sequence[str] = ()
    has_events: bool = False
    names_shown: bool = False
    others: int = 0


@dataclass(frozen=True)
class Figures:
    """The part of a `Report` that comes from the tables; the attributes are the same."""

    organisations: list[Organisation] = field(default_factory=list[Organisation])
    observed_at: datetime | None = None
    others: int = 0


def of_day(day: date, history: History, *, configured: Sequence[str] = (), names_shown: bool = False) -> Figures:
    """The numbers of an as-of day.

    If there are too many organisations, those with the most active repositories are kept.

    Args:
        day: The as-of day.
        history: The rows, of this day and others, and how many calendar days a window has.
        configured: Organisations to include even without a row in the window.
        names_shown: Whether what may be private may be named.
    """
    tables, lookback_days = history.tables, history.lookback_days
    first = window(day, lookback_days)[0]
    growth = tables.repo_growth.filter(pl.col(DAY) == day).with_columns(is_named=pl.lit(names_shown) | IS_PUBLIC)
    observed = tables.repos.filter(pl.col(DAY).is_between(first, day))
    gained, created = pl.col("stars_gained"), pl.col("created_at")
    seen_again = growth.filter(pl.col("first_seen") < pl.col("last_seen"))
    newest = observed.group_by("org", "repo_id").agg(created.max()).drop_nulls().join(growth, on=["org", "repo_id"])
    pushes = observed.filter(pl.col("pushed_at").dt.date() >= first)
    languages, sums, most, won, lost, new, quiet, dormant, observed_last, pushed, inventory = pl.collect_all(
        [
            tables.repos_per_language.filter(pl.col(DAY) == day).sort(
                "repo_count", "language", descending=[True, False]
            ),
            seen_again.drop_nulls("stars_gained").group_by("org").agg(gained.cast(pl.Int64).sum()),
            _first(_pushed(tables, names_shown, first, day), -pl.col("pushes"), MAX_MOVED),
            _first(_gained(growth, tables, names_shown, window(day, lookback_days)), -gained, MAX_MOVED),
            _first(growth.filter(gained < 0), gained, MAX_MOVED),
            _first(newest, -created.dt.epoch("us"), MAX_LISTED),
            _first(growth.filter(pl.col("last_seen") < day), pl.col("last_seen"), MAX_LISTED),
            _first(_dormant(tables, names_shown, day, pushes), -pl.col("stars").fill_null(0), MAX_MOVED),
            observed.select(pl.col("observed_at").max()),
            pushes.group_by("org").agg(pl.col("repo_id").n_unique()),
            tables.organisation.filter((pl.col(DAY) == day) & pl.col("repositories").is_not_null()),
        ]
    )
    measures = Measures(day, history)
    contributors = people(day, lookback_days, tables, names_shown=names_shown)
    open_pull_requests = waiting(day, tables, names_shown=names_shown)
    stars_gained = dict(sums.select("org", "stars_gained").iter_rows())
    active = dict(languages.group_by("org").agg(pl.col("repo_count").sum()).iter_rows())
    repositories_pushed = dict(pushed.iter_rows())
    names = sorted(
        {*measures.names, *contributors, *active, *configured}, key=lambda name: (-active.get(name, 0), name)
    )
    organisations = [
        Organisation(
            name=name,
            headlines=measures.headlines(name),
            trends=measures.trends(name),
            people=contributors.get(name),
            waiting=open_pull_requests.get(name),
            inventory=next(iter(_rows(inventory, name, Inventory)), None),
            most_pushed=_listed(most, name),
            languages=_rows(languages, name, Language),
            stars_gained=stars_gained.get(name),
            gained=_listed(won, name),
            lost=_listed(lost, name),
            newest=_listed(new, name),
            quietest=_listed(quiet, name),
            dormant=_listed(dormant, name),
            pushed=repositories_pushed.get(name, 0),
        )
        for name in sorted(names[:MAX_ORGANISATIONS])
    ]
    return Figures(organisations, observed_last.item(), len(names[MAX_ORGANISATIONS:]))


def _pushed(tables: Tables, names_shown: bool, first: date, day: date) -> pl.LazyFrame:
    """The repositories pushed to in the window, with their pushes and the people who made them."""
    pushed = tables.pushes.filter(pl.col(DAY).is_between(first, day) & pl.col("kind").is_in(PUSHES))
    language = tables.repositories.select("org", "repo_id", pl.col("language").fill_null(""))
    return (
        pushed.group_by("org", "repo_id")
        .agg(
            repo_name=pl.col("repo_name").sort_by(DAY, "repo_name").last(),
            pushes=pl.col("number").sum(),
            people=pl.col("actor").filter(~pl.col("is_bot")).drop_nulls().n_unique(),
            is_named=pl.lit(names_shown) | IS_PUBLIC.all(),
        )
        .join(language, on=["org", "repo_id"], how="left")
        .with_columns(pl.col("language").fill_null(""))
    )


def _dormant(tables: Tables, names_shown: bool, day: date, pushed_to: pl.LazyFrame) -> pl.LazyFrame:
    """The repositories last pushed to before the charted days, as the newest inventory has them; no archived ones.

    `pushed_to` are those that a crawl of the window saw pushed to: the inventory may be older.
    """
    is_old = pl.col("pushed_at").dt.date() < window(day, CHARTED_DAYS)[0]
    return (
        tables.repositories.filter(is_old & pl.col("is_listed") & ~pl.col("is_archived").fill_null(value=False))
        .join(pushed_to, on=["org", "repo_id"], how="anti")
        .with_columns(is_named=pl.lit(names_shown) | IS_PUBLIC)
    )


def _gained(growth: pl.LazyFrame, tables: Tables, names_shown: bool, days: Sequence[date]) -> pl.LazyFrame:
    """The repositories that gained stars: by date if the lake has that, else those that were seen on two days."""
    gained = pl.col("stars_gained")
    if tables.landed_days("stars").isdisjoint(days):
        return growth.filter(gained > 0)
    by_date = tables.stars.filter(pl.col("date").is_between(days[0], days[-1]))
    known = tables.repositories.select("org", "repo_id", "repo_name", "visibility", "language", "stars")
    return (
        by_date.group_by("org", "repo_id")
        .agg(stars_gained=pl.col("gained").sum())
        .filter(gained > 0)
        .join(known, on=["org", "repo_id"])
        .with_columns(is_named=pl.lit(names_shown) | IS_PUBLIC)
    )


def _first(repositories: pl.LazyFrame, order: pl.Expr, number: int) -> pl.LazyFrame:
    """The first repositories of each organisation that may be named, in this order, and how many may not.

    Ties are broken by name. An organisation without any that may be named has one row, of nulls.
    """
    counts = repositories.group_by("org").agg(private=(~pl.col("is_named")).sum(), total=pl.len())
    named = repositories.filter("is_named").sort(order, "repo_name", "repo_id")
    return counts.join(
        named.group_by("org", maintain_order=True).head(number), on="org", how="left", maintain_order="right"
    )


_Row = TypeVar("_Row", Language, Repository, Inventory)


def _listed(table: pl.DataFrame, organisation: str) -> Listed:
    of_org = table.filter(pl.col("org") == organisation)
    if of_org.is_empty():
        return Listed()
    named = _rows(of_org.drop_nulls("repo_name"), organisation, Repository)
    return Listed(named, of_org["private"][0], of_org["total"][0])


def _rows(table: pl.DataFrame, organisation: str, kind: type[_Row]) -> list[_Row]:
    """An organisation's rows in their order."""
    names = [name for name in kind._fields if name in table.columns]
    return [kind(**row) for row in table.filter(pl.col("org") == organisation).select(names).iter_rows(named=True)]
