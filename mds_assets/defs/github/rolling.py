"""What the marts by date share: the dates of the window, what is known of them, and the 7-day mean."""

import polars as pl
from polars import selectors

from mds_assets.stack.blocks import AsOf
from mds_assets.stack.settings import settings

DAYS_AVERAGED = 7
WINDOW = f"day - {settings.lookback_days - 1} AND day"  # for rules and reconciliations: `push_date BETWEEN ...`


def window_dates(name: str, as_of: AsOf) -> pl.LazyFrame:
    """The dates of the window as a frame of one column."""
    return pl.LazyFrame({name: as_of.days}, schema={name: pl.Date})


def zero_where_landed(as_of: AsOf, date: str) -> pl.Expr:
    """All counts, with 0 for null on landed dates. On other dates null stays: nobody knows what happened."""
    return selectors.integer().fill_null(pl.when(pl.col(date).is_in(list(as_of.landed))).then(0))


def seven_day_mean(
    counts: pl.LazyFrame, organisations: pl.LazyFrame, as_of: AsOf, date: str, value: str
) -> pl.LazyFrame:
    """The mean of the landed days among the 7 that end at each date of the window.

    A landed day without a row counts 0; a day that was never landed counts for nothing. A mart needs `extra_days=6`.

    Args:
        counts: `org`, the column `date` and the column `value`; at most one row per organisation and date.
        organisations: `org`, each once.
        as_of: The as-of day.
        date: The name of the column with the date.
        value: The name of the column to average.

    Returns:
        `org`, the column `date`, `mean` (2 decimals) and `days_averaged`; no row where no day was landed.
    """
    landed = pl.LazyFrame({"landed_on": as_of.landed}, schema={"landed_on": pl.Date})
    return (
        window_dates(date, as_of)
        .join(landed, how="cross")
        .filter((pl.col(date) - pl.col("landed_on")).dt.total_days().is_between(0, DAYS_AVERAGED - 1))
        .join(organisations, how="cross")
        .join(counts.select("org", date, value), left_on=["org", "landed_on"], right_on=["org", date], how="left")
        .group_by("org", date)
        .agg(
            mean=(pl.col(value).fill_null(0).sum() / pl.len()).round(2),
            days_averaged=pl.len().cast(pl.Int64),
        )
    )
