"""Marts by date: what happened in the organisation on each date of the window, as pure functions."""

import polars as pl

from mds_assets.defs.github.rolling import DAYS_AVERAGED, WINDOW, seven_day_mean, window_dates, zero_where_landed
from mds_assets.stack.blocks import AsOf, mart
from mds_assets.stack.table import DAY, Reconciliation, column, table

MERGES = ("pr_merge", "merge_queue_merge")
PUSHES = ("push", "force_push", *MERGES)  # creating or deleting a branch is not a push

PUSH_ACTIVITY = table(
    [
        column("org", "VARCHAR", "The organisation or user."),
        column("push_date", "DATE", "Each date of the window, UTC."),
        column("pushes", "BIGINT", "Pushes, force pushes and merges by people and bots; creating or deleting a branch "
               "doesn't count. Like all counts, null on a date of which nothing is known.", nullable=True,
               rule="pushes >= 0"),
        column("force_pushes", "BIGINT", "Force pushes, included in `pushes`.", nullable=True,
               rule="force_pushes >= 0"),
        column("merges", "BIGINT", "Pull requests merged on GitHub, included in `pushes`.", nullable=True,
               rule="merges >= 0"),
        column("repositories", "BIGINT", "Repositories pushed to.", nullable=True, rule="repositories >= 0"),
        column("people", "BIGINT", "People who pushed: bots and deleted accounts don't count.", nullable=True,
               rule="people >= 0"),
        column("bot_pushes", "BIGINT", "Pushes by bots, included in `pushes`.", nullable=True, rule="bot_pushes >= 0"),
        column("pushes_7d_avg", "DOUBLE", "Mean pushes per day over the landed days among the 7 ending at push_date, "
               "2 decimals; null when none was landed.", nullable=True, rule="pushes_7d_avg >= 0"),
        column("days_averaged", "BIGINT", "How many days the mean is over.", rule="days_averaged BETWEEN 0 AND 7"),
    ],
    key=["org", "push_date"],
    rules=[f"push_date BETWEEN {WINDOW}", "force_pushes + merges <= pushes", "bot_pushes <= pushes"],
    lineage={
        "org": "staging/pushes.org",
        "push_date": "staging/pushes.pushed_at",
        "pushes": "staging/pushes.kind",
        "force_pushes": "staging/pushes.kind",
        "merges": "staging/pushes.kind",
        "repositories": "staging/pushes.repo_id",
        "people": ["staging/pushes.actor", "staging/pushes.is_bot"],
        "bot_pushes": "staging/pushes.is_bot",
        "pushes_7d_avg": "staging/pushes.kind",
        "days_averaged": "staging/pushes.pushed_at",
    },
    reconciles=Reconciliation(
        "staging/pushes",
        rows="SELECT day, org, push_date, pushes AS n FROM rows WHERE pushes > 0",
        expected="SELECT day, org, seen_on AS push_date, count(*) AS n FROM in_window "  # noqa: S608
        f"WHERE kind IN {PUSHES} AND seen_on BETWEEN {WINDOW} GROUP BY ALL",
    ),
)  # fmt: skip


@mart(
    columns=PUSH_ACTIVITY, window={"pushes": "staging/pushes"}, extra_days=DAYS_AVERAGED - 1, tags={"mds/headline": "1"}
)
def push_activity(pushes: pl.LazyFrame, as_of: AsOf) -> pl.LazyFrame:
    """Pushes on each date of the window, who and what was involved, and the mean of the last 7 days.

    A row for every date of the window for each organisation that had a push in it. On a date that was never landed,
    counts are null, or cover only what other days' loads brought.
    """
    pushed = pushes.filter(pl.col("kind").is_in(PUSHES)).rename({DAY: "push_date"})
    organisations = pushed.filter(pl.col("push_date") >= as_of.days[0]).select("org").unique()
    kind, is_bot = pl.col("kind"), pl.col("is_bot")
    counts = pushed.group_by("org", "push_date").agg(
        pushes=pl.len(),
        force_pushes=(kind == "force_push").sum(),
        merges=kind.is_in(MERGES).sum(),
        repositories=pl.col("repo_id").n_unique(),
        people=pl.col("actor").filter(~is_bot).drop_nulls().n_unique(),
        bot_pushes=is_bot.sum(),
    )
    mean = seven_day_mean(counts, organisations, as_of, "push_date", "pushes").rename({"mean": "pushes_7d_avg"})
    every_date = organisations.join(window_dates("push_date", as_of), how="cross")
    return (
        every_date.join(counts, on=["org", "push_date"], how="left")
        .with_columns(zero_where_landed(as_of, "push_date"))
        .join(mean, on=["org", "push_date"], how="left")
        .with_columns(pl.col("days_averaged").fill_null(0))
        .sort("org", "push_date")
    )


ISSUE_FLOW = table(
    [
        column("org", "VARCHAR", "The organisation or user."),
        column("event_date", "DATE", "Each date of the window, UTC."),
        column("issues_opened", "BIGINT", "Issues opened. Like all counts, null on a date of which nothing is known.",
               nullable=True, rule="issues_opened >= 0"),
        column("issues_closed", "BIGINT", "Issues closed.", nullable=True, rule="issues_closed >= 0"),
        column("pull_requests_opened", "BIGINT", "Pull requests opened.", nullable=True,
               rule="pull_requests_opened >= 0"),
        column("pull_requests_merged", "BIGINT", "Pull requests merged.", nullable=True,
               rule="pull_requests_merged >= 0"),
        column("pull_requests_closed", "BIGINT", "Pull requests closed without a merge.",
               nullable=True, rule="pull_requests_closed >= 0"),
        column("hours_to_merge", "DOUBLE", "Median hours from opened to merged of those merged on the date, 1 decimal; "
               "null when none was.", nullable=True, rule="hours_to_merge >= 0"),
        column("hours_to_close", "DOUBLE", "Median hours from opened to closed of the issues closed on the date, 1 "
               "decimal; null when none was.", nullable=True, rule="hours_to_close >= 0"),
    ],
    key=["org", "event_date"],
    rules=[f"event_date BETWEEN {WINDOW}"],
    lineage={
        "org": "staging/issues.org",
        "event_date": "staging/issues.event_at",
        "issues_opened": ["staging/issues.event", "staging/issues.is_pull_request"],
        "issues_closed": ["staging/issues.event", "staging/issues.is_pull_request"],
        "pull_requests_opened": ["staging/issues.event", "staging/issues.is_pull_request"],
        "pull_requests_merged": "staging/issues.event",
        "pull_requests_closed": ["staging/issues.event", "staging/issues.is_pull_request", "staging/issues.merged_at"],
        "hours_to_merge": ["staging/issues.event_at", "staging/issues.created_at"],
        "hours_to_close": ["staging/issues.event_at", "staging/issues.created_at"],
    },
    reconciles=Reconciliation(
        "staging/issues",
        rows="SELECT day, org, event_date, issues_opened + issues_closed + pull_requests_opened + pull_requests_merged "
        "+ pull_requests_closed AS n FROM rows WHERE n > 0",
        expected="SELECT day, org, seen_on AS event_date, count(*) AS n FROM in_window "
        "WHERE NOT (event = 'closed' AND is_pull_request AND merged_at IS NOT NULL) GROUP BY ALL",
    ),
)  # fmt: skip


@mart(columns=ISSUE_FLOW, window={"issues": "staging/issues"}, tags={"mds/headline": "3"})
def issue_flow(issues: pl.LazyFrame, as_of: AsOf) -> pl.LazyFrame:
    """Issues and pull requests opened, closed and merged on each date of the window, and how long that took.

    A row for every date of the window for each organisation in which any of that happened. On a date that was never
    landed, counts are null, or cover only what other days' loads brought.
    """
    event, is_pull_request = pl.col("event"), pl.col("is_pull_request")
    opened, closed, merged = event == "opened", event == "closed", event == "merged"
    hours = (pl.col("event_at") - pl.col("created_at")).dt.total_seconds() / 3600
    counts = issues.group_by("org", event_date=DAY).agg(
        issues_opened=(opened & ~is_pull_request).sum(),
        issues_closed=(closed & ~is_pull_request).sum(),
        pull_requests_opened=(opened & is_pull_request).sum(),
        pull_requests_merged=merged.sum(),
        pull_requests_closed=(closed & is_pull_request & pl.col("merged_at").is_null()).sum(),
        hours_to_merge=hours.filter(merged).median().round(1),
        hours_to_close=hours.filter(closed & ~is_pull_request).median().round(1),
    )
    every_date = issues.select("org").unique().join(window_dates("event_date", as_of), how="cross")
    return (
        every_date.join(counts, on=["org", "event_date"], how="left")
        .with_columns(zero_where_landed(as_of, "event_date"))
        .sort("org", "event_date")
    )
