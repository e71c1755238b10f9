"""Marts: windows, aggregation and business metrics, as pure functions on Polars lazy frames and thin assets over them.

A mart's row belongs to an as-of day, its `day`: what the table said at the end of that day, looking back over the
window. What does not belong here: reading raw, casting types.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import date, timedelta
from functools import partial
from typing import Any

import polars as pl
from dagster import (
    AssetExecutionContext,
    AssetIn,
    AssetOut,
    AssetsDefinition,
    Output,
    TableColumnLineage,
    TableSchema,
    asset,
    multi_asset,
)

from mds_assets.stack.partitions import DAILY, LOOKBACK, ONE_RUN, to_days, window
from mds_assets.stack.settings import settings
from mds_assets.stack.table import COLUMN_LINEAGE, COLUMN_SCHEMA, DAY, column, lineage, table_schema

REPOS_PER_LANGUAGE = table_schema(
    [
        column("org", "VARCHAR", "The organisation or user."),
        column("language", "VARCHAR", "Main language; 'Unknown' when GitHub finds none."),
        column("repo_count", "BIGINT", "Repositories active in the window.", check="repo_count > 0"),
        column("avg_stars", "DOUBLE", "Their mean number of stars, 1 decimal; null when none is known.", nullable=True,
               check="avg_stars >= 0"),
        column("avg_forks", "DOUBLE", "Their mean number of forks, 1 decimal; null when none is known.", nullable=True,
               check="avg_forks >= 0"),
    ],
    key=["org", "language"],
)  # fmt: skip

DAILY_ACTIVITY = table_schema(
    [
        column("org", "VARCHAR", "The organisation or user."),
        column("push_date", "DATE", "Each date of the window, UTC."),
        column("push_count", "BIGINT", "Repositories whose newest push in the window was on that date; 0 when none.",
               check="push_count >= 0"),
        column("rolling_7d_avg", "DOUBLE", "Mean push_count of the 7 days ending at push_date, 2 decimals; "
               "days before the window are not counted.", check="rolling_7d_avg >= 0"),
    ],
    key=["org", "push_date"],
    checks=[f"push_date BETWEEN day - {settings.lookback_days - 1} AND day"],
)  # fmt: skip

_LANGUAGES_FROM = lineage(
    "staging/repos",
    {
        "org": ["org"],
        "language": ["language"],
        "repo_count": ["org", "repo_id"],
        "avg_stars": ["stars"],
        "avg_forks": ["forks"],
    },
)
_ACTIVITY_FROM = lineage(
    "staging/repos",
    {"org": ["org"], "push_date": ["pushed_at"], "push_count": ["pushed_at"], "rolling_7d_avg": ["pushed_at"]},
)


_MART: dict[str, Any] = {
    "io_manager_key": "polars_io_manager",
    "group_name": "marts",
    "kinds": {"polars", "parquet"},
    "is_required": False,  # either mart can be asked for alone
}


def mart(
    name: str, columns: TableSchema, made_from: TableColumnLineage | None = None
) -> Callable[[Callable[..., pl.LazyFrame]], AssetsDefinition]:
    """A decorator: the function makes the mart of the run's days from staging's rows in their windows, `repos`."""
    return asset(
        key=["marts", name],
        ins={"repos": AssetIn(key=["staging", "repos"], partition_mapping=LOOKBACK)},
        partitions_def=DAILY,
        backfill_policy=ONE_RUN,
        metadata={COLUMN_SCHEMA: columns} | ({COLUMN_LINEAGE: made_from} if made_from else {}),
        io_manager_key="polars_io_manager",
        group_name="marts",
        kinds={"polars", "parquet"},
    )


# Organisation and repository as one integer: Polars tells integers apart three times as fast as pairs.
_PACKED_BITS = 40
_PACKED = pl.col("org").cast(pl.Categorical).to_physical().cast(pl.Int64) * 2**_PACKED_BITS + pl.col("repo_id")


def as_of(repos: pl.LazyFrame, day: date, lookback_days: int) -> pl.LazyFrame:
    """Each repository once, with its newest observation in the window that ends with the as-of day.

    Args:
        repos: Rows of `staging/repos` with `day`, in any order; at most one per org, repo_id and day.
        day: The as-of day.
        lookback_days: Calendar days in a window, the as-of day included.

    Returns:
        The same columns, `day` now being the as-of day.
    """
    newest_first = window(day, lookback_days)[::-1]
    return first_met(repos, newest_first).with_columns(pl.lit(day).alias(DAY))


def first_met(repos: pl.LazyFrame, days: Sequence[date]) -> pl.LazyFrame:
    """Each repository once, as it was on the first of these days that has it: with days newest first, on its newest.

    Args:
        repos: Rows as `as_of` takes them.
        days: Days in order, forwards or backwards.
    """
    # GitHub's ids have 31 bits today. The statistics in the files' footers say where none is larger: the rows that do
    # not pack are read nowhere then.
    packs = pl.col("repo_id").is_between(0, 2**_PACKED_BITS - 1)
    in_order = pl.concat([repos.filter(packs, pl.col(DAY) == seen) for seen in days])
    others = repos.filter(~packs, pl.col(DAY).is_between(min(days), max(days))).sort(DAY, descending=days[0] > days[-1])
    met = [
        in_order.filter(_PACKED.is_first_distinct()),
        others.filter(pl.struct("org", "repo_id").is_first_distinct()),
    ]
    return pl.concat(met)


def newest_each_day(context: AssetExecutionContext, repos: pl.LazyFrame) -> Iterator[pl.LazyFrame]:
    """`as_of` for each day of the run."""
    return (as_of(repos, day, settings.lookback_days) for day in to_days(context.partition_keys))


def one_by_one(tables: Iterable[pl.LazyFrame]) -> pl.LazyFrame:
    """These tables as one; each is computed when the one before it has been passed on, so that memory holds one."""
    return pl.concat(
        [pl.defer(partial(table.collect, engine="streaming"), schema=table.collect_schema) for table in tables]
    )


def languages(newest: pl.LazyFrame) -> pl.LazyFrame:
    """Languages by repositories: `REPOS_PER_LANGUAGE` with `day`, from the rows of `as_of`."""
    return (
        newest.group_by(DAY, "org", "language")
        .agg(
            repo_count=pl.len(),
            avg_stars=pl.col("stars").mean().round(1),
            avg_forks=pl.col("forks").mean().round(1),
        )
        .sort(DAY, "org", "repo_count", "language", descending=[False, False, True, False])
    )


def activity(newest: pl.LazyFrame, lookback_days: int) -> pl.LazyFrame:
    """Pushes by date: `DAILY_ACTIVITY` with `day`, from the rows of `as_of`.

    A row for every date of the window for each org that has a row in the window.
    """
    dates = pl.date_ranges(pl.col(DAY) - timedelta(days=lookback_days - 1), pl.col(DAY))
    pushes = newest.group_by(DAY, "org", push_date=pl.col("pushed_at").dt.date()).agg(push_count=pl.len())
    return (
        newest.select(DAY, "org")
        .unique()
        .with_columns(push_date=dates)
        .explode("push_date")
        .join(pushes, on=[DAY, "org", "push_date"], how="left")
        .with_columns(pl.col("push_count").fill_null(0))
        .with_columns(
            rolling_7d_avg=pl.col("push_count")
            .rolling_mean(window_size=7, min_samples=1)
            .over(DAY, "org", order_by="push_date")
            .round(2)
        )
        .sort(DAY, "org", "push_date")
    )


@multi_asset(
    outs={
        "repos_per_language": AssetOut(
            key=["marts", "repos_per_language"],
            description="Languages by the repositories active in the window, with their mean stars and forks.",
            metadata={COLUMN_SCHEMA: REPOS_PER_LANGUAGE, COLUMN_LINEAGE: _LANGUAGES_FROM},
            **_MART,
        ),
        "daily_activity": AssetOut(
            key=["marts", "daily_activity"],
            description="Repositories pushed to on each date of the window, with the 7-day mean.",
            metadata={COLUMN_SCHEMA: DAILY_ACTIVITY, COLUMN_LINEAGE: _ACTIVITY_FROM},
            **_MART,
        ),
    },
    ins={"repos": AssetIn(key=["staging", "repos"], partition_mapping=LOOKBACK)},
    partitions_def=DAILY,
    backfill_policy=ONE_RUN,
    can_subset=True,
)
def repos_in_window(context: AssetExecutionContext, repos: pl.LazyFrame) -> Iterator[Output[pl.DataFrame]]:
    """The marts of the repositories in the window: finding each one's newest observation is their main work, done once.

    The tables are small. Those of one day are collected together, so that Polars shares what they have in common; one
    day after the other, so that memory holds one window.
    """
    asked = context.op_execution_context.selected_output_names
    tables: dict[str, list[pl.DataFrame]] = {name: [] for name in asked}
    for newest in newest_each_day(context, repos):
        marts = {"repos_per_language": languages(newest), "daily_activity": activity(newest, settings.lookback_days)}
        for name, table in zip(asked, pl.collect_all([marts[name] for name in asked], engine="streaming"), strict=True):
            tables[name].append(table)
    for name, of_days in tables.items():
        yield Output(pl.concat(of_days), name)
