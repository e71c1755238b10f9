"""Marts about changes within the window, as pure functions. Marts over the newest observations are in `marts.py`."""

import polars as pl

from mds_assets.defs.github.rolling import WINDOW, window_dates
from mds_assets.stack.blocks import AsOf, mart
from mds_assets.stack.settings import settings
from mds_assets.stack.table import DAY, Reconciliation, column, table

REPO_GROWTH = table(
    [
        column("org", "VARCHAR", "The organisation or user."),
        column("repo_id", "BIGINT", "GitHub's id of the repository; it survives a rename."),
        column("repo_name", "VARCHAR", "Its newest name in the window.", private=True),
        column("visibility", "VARCHAR", "Its newest visibility; null in old answers.", nullable=True),
        column("language", "VARCHAR", "Its newest main language; 'Unknown' when GitHub finds none."),
        column("stars", "BIGINT", "Its newest number of stars.", nullable=True, rule="stars >= 0"),
        column("stars_gained", "BIGINT", "Newest minus first number of stars in the window, negative when lost; 0 "
               "when seen once, null when either is unknown.", nullable=True),
        column("forks_gained", "BIGINT", "The same of forks.", nullable=True),
        column("first_seen", "DATE", "First day of the window on which it was active, UTC."),
        column("last_seen", "DATE", "Last day of the window on which it was active, UTC."),
    ],
    key=["org", "repo_id"],
    rules=[f"first_seen BETWEEN day - {settings.lookback_days - 1} AND last_seen", "last_seen <= day"],
    lineage={
        "org": "staging/repos.org",
        "repo_id": "staging/repos.repo_id",
        "repo_name": "staging/repos.repo_name",
        "visibility": "staging/repos.visibility",
        "language": "staging/repos.language",
        "stars": "staging/repos.stars",
        "stars_gained": "staging/repos.stars",
        "forks_gained": "staging/repos.forks",
        "first_seen": "staging/repos.active_at",
        "last_seen": "staging/repos.active_at",
    },
    reconciles=Reconciliation(
        "staging/repos",
        rows="SELECT day, org, repo_id, stars, last_seen, count(*) AS n FROM rows GROUP BY ALL",
        expected="SELECT day, org, repo_id, stars, seen_on AS last_seen, 1 AS n FROM latest",
    ),
    public="visibility = 'public'",
)  # fmt: skip


@mart(columns=REPO_GROWTH, latest={"newest": "staging/repos"}, window={"repos": "staging/repos"})
def repo_growth(newest: pl.LazyFrame, repos: pl.LazyFrame) -> pl.LazyFrame:
    """Repositories active in the window, with the stars and forks that they gained in it."""
    key = ["org", "repo_id"]
    first = repos.group_by(key).agg(
        first_seen=pl.col(DAY).min(),
        first_stars=pl.col("stars").sort_by(DAY).first(),
        first_forks=pl.col("forks").sort_by(DAY).first(),
    )
    return (
        newest.join(first, on=key)
        .select(
            *(*key, "repo_name", "visibility", "language", "stars"),
            stars_gained=pl.col("stars") - pl.col("first_stars"),
            forks_gained=pl.col("forks") - pl.col("first_forks"),
            first_seen="first_seen",
            last_seen=DAY,
        )
        .sort("org", "stars_gained", "repo_id", descending=[False, True, False], nulls_last=True)
    )


LANGUAGE_TREND = table(
    [
        column("org", "VARCHAR", "The organisation or user."),
        column("language", "VARCHAR", "Each main language of the window; 'Unknown' when GitHub finds none."),
        column("trend_date", "DATE", "Each date of the window, UTC."),
        column("repo_count", "BIGINT", "Repositories active on that date that had the language on it; 0 when none."),
        column("push_count", "BIGINT", "Repositories whose newest language in the window is this one and whose newest "
               "push was on that date."),
        column("rank", "BIGINT", "Rank in the organisation on that date by repo_count, 1 the most, ties share the "
               "smaller; null when repo_count is 0.", nullable=True),
        column("rank_change", "BIGINT", "Ranks climbed since the date before, negative when fallen; null on the first "
               "date, or when either rank is null.", nullable=True),
    ],
    key=["org", "language", "trend_date"],
    rules=[
        f"trend_date BETWEEN {WINDOW}",
        "repo_count >= 0 AND push_count >= 0",
        "(rank IS NULL) = (repo_count = 0)",
    ],
    lineage={
        "org": "staging/repos.org",
        "language": "staging/repos.language",
        "trend_date": "staging/repos.active_at",
        "repo_count": ["staging/repos.repo_id", "staging/repos.language"],
        "push_count": ["staging/repos.pushed_at", "staging/repos.language"],
        "rank": ["staging/repos.repo_id", "staging/repos.language"],
        "rank_change": ["staging/repos.repo_id", "staging/repos.language"],
    },
    reconciles=Reconciliation(
        "staging/repos",
        rows="SELECT day, org, trend_date, sum(repo_count)::BIGINT AS n, sum(push_count)::BIGINT AS pushes FROM rows "
        "GROUP BY ALL HAVING n > 0 OR pushes > 0",
        expected="SELECT day, org, trend_date, sum(n)::BIGINT AS n, sum(pushes)::BIGINT AS pushes FROM ("
        "SELECT day, org, seen_on AS trend_date, 1 AS n, 0 AS pushes FROM in_window UNION ALL "
        "SELECT day, org, pushed_at::DATE, 0, 1 FROM latest WHERE pushed_at::DATE BETWEEN first_day AND day"
        ") GROUP BY ALL",
    ),
)  # fmt: skip


@mart(columns=LANGUAGE_TREND, latest={"newest": "staging/repos"}, window={"repos": "staging/repos"})
def language_trend(newest: pl.LazyFrame, repos: pl.LazyFrame, as_of: AsOf) -> pl.LazyFrame:
    """Languages on each date of the window: active repositories, pushes, rank, and how the rank changed.

    A row for every date of the window for each language that any row of the organisation in the window has.
    """
    keys = ["org", "language", "trend_date"]
    active = repos.group_by("org", "language", trend_date=DAY).agg(repo_count=pl.len())
    pushes = newest.group_by("org", "language", trend_date=pl.col("pushed_at").dt.date()).agg(push_count=pl.len())
    dates = window_dates("trend_date", as_of)
    rank = pl.when(pl.col("repo_count") > 0).then("repo_count").rank("min", descending=True).cast(pl.Int64)
    rank_before = pl.col("rank").shift(1).over("org", "language", order_by="trend_date")
    return (
        active.select("org", "language")
        .unique()
        .join(dates, how="cross")
        .join(active, on=keys, how="left")
        .join(pushes, on=keys, how="left")
        .with_columns(pl.col("repo_count", "push_count").fill_null(0))
        .with_columns(rank=rank.over("org", "trend_date"))
        .with_columns(rank_change=rank_before - pl.col("rank"))
        .sort("org", "trend_date", "rank", "language", nulls_last=True)
    )
