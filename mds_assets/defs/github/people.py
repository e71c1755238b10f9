"""Marts of the window as a whole: who contributed, and the state of the organisation, as pure functions."""

import polars as pl

from mds_assets.defs.github.flow import PUSHES
from mds_assets.stack.blocks import AsOf, mart
from mds_assets.stack.table import DAY, Reconciliation, column, table

CONTRIBUTORS = table(
    [
        column("org", "VARCHAR", "The organisation or user."),
        column("person", "VARCHAR", "Login of a person or bot who pushed in the window, or whose pull request was "
               "opened or merged in it; deleted accounts are left out.", private=True),
        column("is_bot", "BOOLEAN", "Whether it is a bot: an account of GitHub's type Bot, or a login with `[bot]`."),
        column("pushes", "BIGINT", "Pushes, force pushes and merges in the window.", rule="pushes >= 0"),
        column("pull_requests_opened", "BIGINT", "Their pull requests opened in the window.",
               rule="pull_requests_opened >= 0"),
        column("pull_requests_merged", "BIGINT", "Their pull requests merged in the window.",
               rule="pull_requests_merged >= 0"),
        column("first_seen", "DATE", "The first day in the lake on which they pushed, created or deleted a branch, or "
               "an issue or pull request of theirs was opened, closed or merged."),
        column("is_new", "BOOLEAN", "Whether first_seen lies in the window; null if the lake knows nobody in the "
               "organisation from before it.",
               nullable=True),
    ],
    key=["org", "person"],
    rules=["first_seen <= day", "pushes + pull_requests_opened + pull_requests_merged > 0"],
    lineage={
        "org": ["staging/pushes.org", "staging/issues.org"],
        "person": ["staging/pushes.actor", "staging/issues.author"],
        "is_bot": ["staging/pushes.is_bot", "staging/issues.is_bot"],
        "pushes": "staging/pushes.kind",
        "pull_requests_opened": "staging/issues.event",
        "pull_requests_merged": "staging/issues.event",
        "first_seen": ["staging/pushers.first_seen", "staging/authors.first_seen"],
        "is_new": ["staging/pushers.first_seen", "staging/authors.first_seen"],
    },
    reconciles=Reconciliation(
        "staging/pushes",
        rows="SELECT day, org, person, pushes AS n FROM rows WHERE pushes > 0",
        expected="SELECT day, org, actor AS person, count(*) AS n FROM in_window "  # noqa: S608
        f"WHERE kind IN {PUSHES} AND actor IS NOT NULL GROUP BY ALL",
    ),
)  # fmt: skip


@mart(
    columns=CONTRIBUTORS,
    window={"pushes": "staging/pushes", "issues": "staging/issues"},
    current={"pushers": "staging/pushers", "authors": "staging/authors"},
)
def contributors(
    pushes: pl.LazyFrame, issues: pl.LazyFrame, pushers: pl.LazyFrame, authors: pl.LazyFrame, as_of: AsOf
) -> pl.LazyFrame:
    """Who contributed in the window: their pushes and pull requests, and since when they are known. Bots come last."""
    known = pl.concat(
        [each.select("org", "first_seen", person=name) for each, name in ((pushers, "actor"), (authors, "author"))]
    )
    first_seen = known.group_by("org", "person").agg(pl.col("first_seen").min())
    beginning = known.group_by("org").agg(beginning=pl.col("first_seen").min())
    start = as_of.days[0]
    is_new = pl.when(pl.col("beginning") < start).then(pl.col("first_seen") >= start)
    return (
        _contributions(pushes, issues)
        .join(first_seen, on=["org", "person"])
        .join(beginning, on="org")
        .with_columns(is_new=is_new)
        .drop("beginning")
        .sort("org", "is_bot", "pushes", "pull_requests_merged", "person", descending=[False, False, True, True, False])
    )


def _contributions(pushes: pl.LazyFrame, issues: pl.LazyFrame) -> pl.LazyFrame:
    """Pushes and pull requests of each person."""
    is_opened, is_merged = pl.col("event") == "opened", pl.col("event") == "merged"
    of_pushes = pushes.filter(pl.col("kind").is_in(PUSHES)).select(
        "org", "is_bot", person="actor", pushes=1, pull_requests_opened=0, pull_requests_merged=0
    )
    of_issues = issues.filter(pl.col("is_pull_request") & (is_opened | is_merged)).select(
        "org",
        "is_bot",
        person="author",
        pushes=0,
        pull_requests_opened=is_opened.cast(pl.Int32),
        pull_requests_merged=is_merged.cast(pl.Int32),
    )
    return (
        pl.concat([of_pushes, of_issues])
        .drop_nulls("person")
        .group_by("org", "person")
        .agg(pl.col("is_bot").any(), pl.col("pushes", "pull_requests_opened", "pull_requests_merged").sum())
    )


_OF_INVENTORY = "null when the day has no inventory"

ORGANISATION = table(
    [
        column("org", "VARCHAR", "The organisation or user."),
        column("repositories", "BIGINT", f"Repositories in the day's inventory; {_OF_INVENTORY}.", nullable=True,
               rule="repositories > 0"),
        column("new_repositories", "BIGINT", f"Of them, those created in the window; {_OF_INVENTORY}.", nullable=True,
               rule="new_repositories >= 0"),
        column("archived_repositories", "BIGINT", f"Of them, those archived; {_OF_INVENTORY}.", nullable=True,
               rule="archived_repositories >= 0"),
        column("gone_repositories", "BIGINT", "Repositories in an earlier inventory of the window and no longer in the "
               f"day's; {_OF_INVENTORY}.", nullable=True, rule="gone_repositories >= 0"),
        column("stars", "BIGINT", f"Stars of the repositories in the day's inventory; {_OF_INVENTORY}.",
               nullable=True, rule="stars >= 0"),
        column("stars_gained", "BIGINT", "Stars gained in the window that were still held when GitHub was queried.",
               rule="stars_gained >= 0"),
        column("forks", "BIGINT", f"Their forks, likewise; {_OF_INVENTORY}.", nullable=True, rule="forks >= 0"),
        column("open_issues", "BIGINT", f"Their open issues and pull requests, likewise; {_OF_INVENTORY}.",
               nullable=True, rule="open_issues >= 0"),
        column("active_repositories", "BIGINT", "Repositories that were active in the window.",
               rule="active_repositories >= 0"),
        column("people", "BIGINT", "People in marts/contributors, without bots.", rule="people >= 0"),
    ],
    key=["org"],
    lineage={
        "org": ["staging/inventory.org", "staging/repos.org", "staging/pushes.org", "staging/issues.org"],
        "repositories": "staging/inventory.repo_id",
        "new_repositories": "staging/inventory.created_at",
        "archived_repositories": "staging/inventory.is_archived",
        "gone_repositories": "staging/inventory.repo_id",
        "stars": "staging/inventory.stars",
        "stars_gained": "staging/stars.gained",
        "forks": "staging/inventory.forks",
        "open_issues": "staging/inventory.open_issues",
        "active_repositories": "staging/repos.repo_id",
        "people": ["staging/pushes.actor", "staging/issues.author"],
    },
    reconciles=Reconciliation(
        "staging/inventory",
        rows="SELECT day, org, repositories, stars FROM rows WHERE repositories IS NOT NULL",
        expected="SELECT day, org, count(*) AS repositories, sum(stars)::BIGINT AS stars FROM in_window "
        "WHERE seen_on = day GROUP BY ALL",
    ),
)  # fmt: skip


@mart(
    columns=ORGANISATION,
    window={
        "inventory": "staging/inventory",
        "repos": "staging/repos",
        "pushes": "staging/pushes",
        "issues": "staging/issues",
        "stars": "staging/stars",
    },
    tags={"mds/headline": "5"},
)
def organisation(
    inventory: pl.LazyFrame,
    repos: pl.LazyFrame,
    pushes: pl.LazyFrame,
    issues: pl.LazyFrame,
    stars: pl.LazyFrame,
    as_of: AsOf,
) -> pl.LazyFrame:
    """The state of each organisation at the end of the day, and what changed in the window."""
    listed = inventory.filter(pl.col(DAY) == as_of.day)
    gone = inventory.join(listed, on=["org", "repo_id"], how="anti").join(listed, on="org", how="semi")
    state = listed.group_by("org").agg(
        repositories=pl.len(),
        # An inventory is made after the day has ended: it may list what was created since.
        new_repositories=pl.col("created_at").dt.date().is_between(as_of.days[0], as_of.day).sum(),
        archived_repositories=pl.col("is_archived").sum(),
        stars=pl.col("stars").sum(),
        forks=pl.col("forks").sum(),
        open_issues=pl.col("open_issues").sum(),
    )
    people = _contributions(pushes, issues).filter(~pl.col("is_bot"))
    counts = [
        gone.group_by("org").agg(gone_repositories=pl.col("repo_id").n_unique()),
        stars.group_by("org").agg(stars_gained=pl.col("gained").sum()),
        repos.group_by("org").agg(active_repositories=pl.col("repo_id").n_unique()),
        people.group_by("org").agg(people=pl.len()),
    ]
    every = pl.concat([each.select("org") for each in (inventory, repos, pushes, issues, stars)]).unique()
    joined = every.join(state, on="org", how="left")
    for each in counts:
        joined = joined.join(each, on="org", how="left")
    has_inventory = pl.col("repositories").is_not_null()
    return (
        joined.with_columns(
            pl.col("stars_gained", "active_repositories", "people").fill_null(0),
            gone_repositories=pl.when(has_inventory).then(pl.col("gone_repositories").fill_null(0)),
        )
        .select(ORGANISATION.names)
        .sort("org")
    )
