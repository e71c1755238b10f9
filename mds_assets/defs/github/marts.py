"""Marts over the repositories in the window: aggregation and business metrics, as pure functions.

A mart's row belongs to an as-of day, its `day`: the state at the end of that day, looking back over the window.
"""

from datetime import timedelta

import polars as pl

from mds_assets.defs.github.rolling import DAYS_AVERAGED, WINDOW, seven_day_mean, window_dates
from mds_assets.stack.blocks import AsOf, mart
from mds_assets.stack.table import DAY, Reconciliation, column, table

REPOS_PER_LANGUAGE = table(
    [
        column("org", "VARCHAR", "The organisation or user."),
        column("language", "VARCHAR", "Main language; 'Unknown' when GitHub finds none."),
        column("repo_count", "BIGINT", "Repositories active in the window.", rule="repo_count > 0"),
        column("avg_stars", "DOUBLE", "Their mean number of stars, 1 decimal; null when none is known.", nullable=True,
               rule="avg_stars >= 0"),
        column("avg_forks", "DOUBLE", "Their mean number of forks, 1 decimal; null when none is known.", nullable=True,
               rule="avg_forks >= 0"),
    ],
    key=["org", "language"],
    lineage={
        "org": "staging/repos.org",
        "language": "staging/repos.language",
        "repo_count": ["staging/repos.org", "staging/repos.repo_id"],
        "avg_stars": "staging/repos.stars",
        "avg_forks": "staging/repos.forks",
    },
    reconciles=Reconciliation(
        "staging/repos",
        rows="SELECT day, org, language, repo_count AS n FROM rows",
        expected="SELECT day, org, language, count(*) AS n FROM latest GROUP BY ALL",
    ),
)  # fmt: skip


@mart(columns=REPOS_PER_LANGUAGE, latest={"repos": "staging/repos"}, tags={"mds/headline": "2"})
def repos_per_language(repos: pl.LazyFrame) -> pl.LazyFrame:
    """Languages by the repositories active in the window, with their mean stars and forks."""
    return (
        repos.group_by("org", "language")
        .agg(
            repo_count=pl.len(),
            avg_stars=pl.col("stars").mean().round(1),
            avg_forks=pl.col("forks").mean().round(1),
        )
        .sort("org", "repo_count", "language", descending=[False, True, False])
    )


DAILY_ACTIVITY = table(
    [
        column("org", "VARCHAR", "The organisation or user."),
        column("push_date", "DATE", "Each date of the window, UTC."),
        column("push_count", "BIGINT", "Repositories that any observation of the window saw pushed on that date; 0 "
               "when none.", rule="push_count >= 0"),
        column("rolling_7d_avg", "DOUBLE", "Mean push_count per day over the landed days among the 7 ending at "
               "push_date, 2 decimals; null when none was landed.", nullable=True, rule="rolling_7d_avg >= 0"),
        column("days_averaged", "BIGINT", "How many days the mean is over.", rule="days_averaged BETWEEN 0 AND 7"),
    ],
    key=["org", "push_date"],
    rules=[f"push_date BETWEEN {WINDOW}"],
    lineage={
        "org": "staging/repos.org",
        "push_date": "staging/repos.pushed_at",
        "push_count": ["staging/repos.pushed_at", "staging/repos.repo_id"],
        "rolling_7d_avg": ["staging/repos.pushed_at", "staging/repos.repo_id"],
        "days_averaged": "staging/repos.active_at",
    },
    reconciles=Reconciliation(
        "staging/repos",
        rows="SELECT day, org, push_date, push_count AS n FROM rows WHERE push_count > 0",
        expected="SELECT day, org, pushed_at::DATE AS push_date, count(DISTINCT repo_id) AS n FROM in_window "  # noqa: S608
        f"WHERE pushed_at::DATE BETWEEN {WINDOW} "
        "AND org IN (SELECT org FROM rows WHERE rows.day = in_window.day) GROUP BY ALL",
    ),
)  # fmt: skip


@mart(
    columns=DAILY_ACTIVITY, window={"repos": "staging/repos"}, extra_days=DAYS_AVERAGED - 1, tags={"mds/headline": "4"}
)
def daily_activity(repos: pl.LazyFrame, as_of: AsOf) -> pl.LazyFrame:
    """Repositories pushed to on each date of the window, with the mean of the last 7 days; needs no token.

    A row for every date of the window for each organisation that was active in it. An earlier observation's push stays
    where it was: a later push does not empty an earlier day.
    """
    dates = window_dates("push_date", as_of)
    organisations = repos.filter(pl.col(DAY) >= as_of.days[0]).select("org").unique()
    averaged_from = as_of.days[0] - timedelta(days=DAYS_AVERAGED - 1)
    counts = (
        repos.select("org", "repo_id", push_date=pl.col("pushed_at").dt.date())
        .filter(pl.col("push_date").is_between(averaged_from, as_of.day))
        .group_by("org", "push_date")
        .agg(push_count=pl.col("repo_id").n_unique().cast(pl.Int64))
    )
    mean = seven_day_mean(counts, organisations, as_of, "push_date", "push_count").rename({"mean": "rolling_7d_avg"})
    return (
        organisations.join(dates, how="cross")
        .join(counts, on=["org", "push_date"], how="left")
        .join(mean, on=["org", "push_date"], how="left")
        .with_columns(pl.col("push_count", "days_averaged").fill_null(0))
        .sort("org", "push_date")
    )
