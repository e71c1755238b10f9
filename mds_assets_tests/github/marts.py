"""GitHub's marts as the pure functions that they are, on frames that the tests make."""

from collections.abc import Iterable
from datetime import date
from typing import Any

import polars as pl
from dagster import AssetsDefinition

from mds_assets.defs.github.marts import daily_activity, repos_per_language
from mds_assets.defs.github.movement import language_trend, repo_growth
from mds_assets.defs.github.staging import REPOS
from mds_assets.stack.blocks import AsOf, mart_of, newest_rows
from mds_assets.stack.partitions import window
from mds_assets.stack.table import DAY
from mds_assets_tests.github.observations import Observed, frame

Rows = list[tuple[Any, ...]]


def table_of(
    definition: AssetsDefinition, rows: Observed, as_of_day: date, lookback_days: int, landed: Iterable[date] = ()
) -> Rows:
    """The mart's rows of one as-of day, without `day`, from these rows of staging."""
    mart = mart_of(definition)
    days = window(as_of_day, lookback_days + mart.extra_days)
    given: dict[str, Any] = {name: newest_rows(frame(rows), REPOS.key, days) for name in mart.latest}
    given |= {name: frame(rows).filter(pl.col(DAY).is_in(days)) for name in mart.window}
    if "as_of" in mart.function.__annotations__:
        given["as_of"] = AsOf(as_of_day, lookback_days, sorted(set(days).intersection(landed)))
    return mart.function(**given).lazy().select(mart.table.names).collect().rows()


def languages_of(rows: Observed, as_of_day: date, lookback_days: int) -> Rows:
    """Rows of `repos_per_language`."""
    return table_of(repos_per_language, rows, as_of_day, lookback_days)


def activity_of(rows: Observed, as_of_day: date, lookback_days: int, landed: Iterable[date]) -> Rows:
    """Rows of `daily_activity`."""
    return table_of(daily_activity, rows, as_of_day, lookback_days, landed)


def growth_of(rows: Observed, as_of_day: date, lookback_days: int) -> Rows:
    """Rows of `repo_growth`."""
    return table_of(repo_growth, rows, as_of_day, lookback_days)


def trend_of(rows: Observed, as_of_day: date, lookback_days: int) -> Rows:
    """Rows of `language_trend`."""
    return table_of(language_trend, rows, as_of_day, lookback_days)
