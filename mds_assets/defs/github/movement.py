"""Marts of what moved within the window: pure functions on Polars lazy frames and thin assets over them.

What does not belong here: what the newest observations alone tell (`marts.py`), reading raw, casting types.
"""

from datetime import date

import polars as pl
from dagster import AssetExecutionContext

from mds_assets.defs.github.marts import as_of, first_met, mart, one_by_one
from mds_assets.stack.partitions import to_days, window
from mds_assets.stack.settings import settings
from mds_assets.stack.table import DAY, column, lineage, table_schema

REPO_GROWTH = table_schema(
    [
        column("org", "VARCHAR", "The organisation or user."),
        column("repo_id", "BIGINT", "GitHub's id of the repository; it survives a rename."),
        column("repo_name", "VARCHAR", "Its newest name in the window."),
        column("language", "VARCHAR", "Its newest main language; 'Unknown' when GitHub finds none."),
        column("stars", "INTEGER", "Its newest number of stars.", nullable=True, check="stars >= 0"),
        column("stars_gained", "INTEGER", "Newest minus first number of stars in the window, negative when lost; 0 "
               "when seen once, null when either is unknown.", nullable=True),
        column("forks_gained", "INTEGER", "The same of forks.", nullable=True),
        column("first_seen", "DATE", "First day of the window on which it was active, UTC."),
        column("last_seen", "DATE", "Last day of the window on which it was active, UTC."),
    ],
    key=["org", "repo_id"],
    checks=[f"first_seen BETWEEN day - {settings.lookback_days - 1} AND last_seen", "last_seen <= day"],
)  # fmt: skip

LANGUAGE_TREND = table_schema(
    [
        column("org", "VARCHAR", "The organisation or user."),
        column("language", "VARCHAR", "Each main language of the window; 'Unknown' when GitHub finds none."),
        column("trend_date", "DATE", "Each date of the window, UTC."),
        column("repo_count", "BIGINT", "Repositories active on that date that had the language on it; 0 when none."),
        column("push_count", "BIGINT", "Repositories whose newest language in the window is this one and whose newest "
               "push was on that date; the languages add up to `daily_activity`."),
        column("rank", "BIGINT", "Rank in the organisation on that date by repo_count, 1 the most, ties share the "
               "smaller; null when repo_count is 0.", nullable=True),
        column("rank_change", "BIGINT", "Ranks climbed since the date before, negative when fallen; null on the first "
               "date, or when either rank is null.", nullable=True),
    ],
    key=["org", "language", "trend_date"],
    checks=[
        f"trend_date BETWEEN day - {settings.lookback_days - 1} AND day",
        "repo_count >= 0 AND push_count >= 0",
        "(rank IS NULL) = (repo_count = 0)",
    ],
)  # fmt: skip

_GROWTH_FROM = lineage(
    "staging/repos",
    {
        "org": ["org"],
        "repo_id": ["repo_id"],
        "repo_name": ["repo_name"],
        "language": ["language"],
        "stars": ["stars"],
        "stars_gained": ["stars"],
        "forks_gained": ["forks"],
        "first_seen": ["active_at"],
        "last_seen": ["active_at"],
    },
)
_TREND_FROM = lineage(
    "staging/repos",
    {
        "org": ["org"],
        "language": ["language"],
        "trend_date": ["active_at"],
        "repo_count": ["repo_id", "language"],
        "push_count": ["pushed_at", "language"],
        "rank": ["repo_id", "language"],
        "rank_change": ["repo_id", "language"],
    },
)


def growth(repos: pl.LazyFrame, day: date, lookback_days: int) -> pl.LazyFrame:
    """Each repository of the window with what it gained: `REPO_GROWTH` with `day`.

    Args:
        repos: Rows of `staging/repos` with `day`, in any order; at most one per org, repo_id and day.
        day: The as-of day.
        lookback_days: Calendar days in a window, the as-of day included.
    """
    newest = as_of(repos.with_columns(last_seen=DAY), day, lookback_days)
    first = first_met(repos, window(day, lookback_days)).select(
        "org", "repo_id", first_stars="stars", first_forks="forks", first_seen=DAY
    )
    return (
        newest.join(first, on=["org", "repo_id"])
        .select(
            *(DAY, "org", "repo_id", "repo_name", "language", "stars"),
            stars_gained=pl.col("stars") - pl.col("first_stars"),
            forks_gained=pl.col("forks") - pl.col("first_forks"),
            first_seen="first_seen",
            last_seen="last_seen",
        )
        .sort("org", "stars_gained", "repo_id", descending=[False, True, False], nulls_last=True)
    )


def trend(repos: pl.LazyFrame, day: date, lookback_days: int) -> pl.LazyFrame:
    """Languages date by date: `LANGUAGE_TREND` with `day`; arguments as `growth`.

    A row for every date of the window for each language that any row of the org in the window has.
    """
    days = window(day, lookback_days)
    keys = ["org", "language", "trend_date"]
    in_window = repos.filter(pl.col(DAY).is_between(days[0], days[-1]))
    active = in_window.group_by("org", "language", trend_date=DAY).agg(repo_count=pl.len())
    newest = as_of(repos, day, lookback_days)
    pushes = newest.group_by("org", "language", trend_date=pl.col("pushed_at").dt.date()).agg(push_count=pl.len())
    rank = pl.when(pl.col("repo_count") > 0).then("repo_count").rank("min", descending=True).cast(pl.Int64)
    rank_before = pl.col("rank").shift(1).over("org", "language", order_by="trend_date")
    return (
        active.select("org", "language")
        .unique()
        .join(pl.LazyFrame({"trend_date": days}), how="cross")
        .join(active, on=keys, how="left")
        .join(pushes, on=keys, how="left")
        .with_columns(pl.col("repo_count", "push_count").fill_null(0), pl.lit(day).alias(DAY))
        .with_columns(rank=rank.over("org", "trend_date"))
        .with_columns(rank_change=rank_before - pl.col("rank"))
        .sort("org", "trend_date", "rank", "language", nulls_last=True)
    )


@mart("repo_growth", REPO_GROWTH, _GROWTH_FROM)
def repo_growth(context: AssetExecutionContext, repos: pl.LazyFrame) -> pl.LazyFrame:
    """Repositories active in the window, with the stars and forks that they gained in it."""
    return one_by_one(growth(repos, day, settings.lookback_days) for day in to_days(context.partition_keys))


@mart("language_trend", LANGUAGE_TREND, _TREND_FROM)
def language_trend(context: AssetExecutionContext, repos: pl.LazyFrame) -> pl.LazyFrame:
    """Languages on each date of the window: active repositories, pushes, rank, and how the rank changed."""
    return one_by_one(trend(repos, day, settings.lookback_days) for day in to_days(context.partition_keys))
