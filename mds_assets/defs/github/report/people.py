"""Who contributed, and which pull requests wait, as pure functions on frames.

What may be private is counted, not named: a repository that is not known to be public, and a person who did nothing in
a public one.
"""

from dataclasses import dataclass
from datetime import date
from typing import NamedTuple

import polars as pl

from mds_assets.defs.github.report.tables import Tables
from mds_assets.stack.partitions import window
from mds_assets.stack.table import DAY

MAX_PEOPLE, MAX_WAITING = 10, 10  # in a list

IS_PUBLIC = pl.col("visibility").eq("public").fill_null(value=False)


class Contributor(NamedTuple):
    """A person: a row of `marts/contributors`."""

    person: str
    pushes: int
    pull_requests_opened: int
    pull_requests_merged: int
    first_seen: date


@dataclass(frozen=True)
class People:
    """An organisation's contributors in the window.

    Attributes:
        most_active: Most pushes first; no bots.
        total: How many contributed; no bots.
        newcomers: Those first seen in this window, most pushes first; no bots.
        new: How many they are. None if the lake knows nobody from before the window: then everyone would be new.
        unnamed: How many of the new are left out, because they may have worked in private repositories only.
        bots: How many bots contributed.
        bot_pushes: What they pushed.
    """

    most_active: list[Contributor]
    total: int
    newcomers: list[Contributor]
    new: int | None
    unnamed: int
    bots: int
    bot_pushes: int


class PullRequest(NamedTuple):
    """An open pull request."""

    repo_name: str
    number: int
    title: str
    days_open: int


@dataclass(frozen=True)
class Waiting:
    """An organisation's open pull requests.

    Attributes:
        oldest: Those open longest, in public repositories, longest first.
        total: How many are open.
        private: How many of them are in repositories that may be private.
    """

    oldest: list[PullRequest]
    total: int
    private: int


def people(day: date, lookback_days: int, tables: Tables, *, names_shown: bool) -> dict[str, People]:
    """The contributors of each organisation as of the day."""
    days = window(day, lookback_days)
    rows = tables.contributors.filter(pl.col(DAY) == day)
    named = rows.select("org", "person") if names_shown else _in_public(days, tables)
    rows = rows.join(named.unique().with_columns(is_named=True), on=["org", "person"], how="left")
    rows = rows.with_columns(pl.col("is_named").fill_null(value=False))
    order = ["pushes", "pull_requests_merged", "pull_requests_opened", "person"]
    result: dict[str, People] = {}
    everyone = rows.sort(order, descending=[True, True, True, False]).collect()
    for (org,), of_org in everyone.group_by("org"):
        humans, bots = of_org.filter(~pl.col("is_bot")), of_org.filter("is_bot")
        new = humans.filter("is_new")
        # Null for the whole organisation if the lake knows nobody in it from before the window.
        knows_who_is_new = of_org["is_new"].is_not_null().any()
        result[str(org)] = People(
            most_active=_contributors(humans.filter("is_named")),
            total=humans.height,
            newcomers=_contributors(new.filter("is_named")),
            new=new.height if knows_who_is_new else None,
            unnamed=new.filter(~pl.col("is_named")).height,
            bots=bots.height,
            bot_pushes=int(bots["pushes"].sum()),
        )
    return result


def waiting(day: date, tables: Tables, *, names_shown: bool) -> dict[str, Waiting]:
    """The pull requests of each organisation that were open at the end of the day, as the lake knows them."""
    open_on = pl.all_horizontal(
        pl.col("is_pull_request"),
        pl.col("created_at").dt.date() <= day,
        *(pl.col(end).dt.date().gt(day).fill_null(value=True) for end in ("closed_at", "merged_at")),
    )
    rows = _with_visibility(tables.latest_issues.filter(open_on), tables).select(
        "org",
        "repo_name",
        "number",
        pl.col("title").fill_null(""),
        "created_at",
        days_open=(pl.lit(day) - pl.col("created_at").dt.date()).dt.total_days(),
        is_named=pl.lit(names_shown) | IS_PUBLIC,
    )
    counts = rows.group_by("org").agg(pl.len(), private=(~pl.col("is_named")).sum())
    oldest = (
        rows.filter("is_named")
        .sort("created_at", "repo_name", "number")
        .group_by("org", maintain_order=True)
        .head(MAX_WAITING)
    )
    counted, listed = pl.collect_all([counts, oldest])
    return {
        org: Waiting(
            [
                PullRequest(**row)
                for row in listed.filter(pl.col("org") == org).select(PullRequest._fields).iter_rows(named=True)
            ],
            total,
            private,
        )
        for org, total, private in counted.iter_rows()
    }


def _in_public(days: list[date], tables: Tables) -> pl.LazyFrame:
    """Who did something in a public repository in the window, as `org` and `person`."""
    pushed = tables.pushes.filter(pl.col(DAY).is_between(days[0], days[-1]) & IS_PUBLIC)
    in_window = [pl.col(at).dt.date().is_between(days[0], days[-1]) for at in ("created_at", "merged_at")]
    wrote = _with_visibility(tables.latest_issues.filter(pl.any_horizontal(in_window)), tables).filter(IS_PUBLIC)
    return pl.concat([pushed.select("org", person="actor"), wrote.select("org", person="author")]).drop_nulls()


def _with_visibility(issues: pl.LazyFrame, tables: Tables) -> pl.LazyFrame:
    """The issues with their repository's visibility: public only if every repository that had the name is."""
    visibility = pl.when(IS_PUBLIC.all()).then(pl.lit("public"))
    known = tables.repositories.group_by("org", "repo_full_name").agg(visibility=visibility)
    return issues.join(known, on=["org", "repo_full_name"], how="left")


def _contributors(rows: pl.DataFrame) -> list[Contributor]:
    return [Contributor(**row) for row in rows.head(MAX_PEOPLE).select(Contributor._fields).iter_rows(named=True)]
