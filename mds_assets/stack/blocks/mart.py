"""`@mart`: a pure function of Polars frames that are as of a day."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import polars as pl
from dagster import AssetKey, AssetsDefinition

from mds_assets.stack.blocks.as_of import Mart
from mds_assets.stack.blocks.definition import Columns, as_table
from mds_assets.stack.blocks.mart_step import marts_step


def mart(
    *,
    columns: Columns,
    key: Sequence[str] = (),
    latest: Mapping[str, str] | None = None,
    window: Mapping[str, str] | None = None,
    same_day: Mapping[str, str] | None = None,
    current: Mapping[str, str] | None = None,
    extra_days: int = 0,
    name: str | None = None,
    layer: str = "marts",
    **options: Any,
) -> Callable[[Callable[..., pl.LazyFrame | pl.DataFrame]], AssetsDefinition]:
    """A decorator: the function builds the table `marts/<name>`, once per as-of day, from frames as of that day.

    The function is pure: lazy frames in, a lazy frame out, without `day`, which the stack adds. It may also take
    `as_of: AsOf`. Each of the four mappings names parameters of the function and the tables they stand for:

    Args:
        columns: The columns of the mart.
        key: The columns that identify a row within an as-of day.
        latest: Each key of the table once, with its newest row in the lookback window; `day` is that row's day.
        window: All rows in the lookback window, in any order.
        same_day: The rows of the as-of day.
        current: All rows of a table without partitions.
        extra_days: Days before the window that `latest` and `window` also include, for an average that looks further
            back.
        name: The table; by default the function's name.
        layer: The first part of its key.
        options: Arguments of `@asset`: `description`, `group_name`, `owners`, `tags`, `kinds`, `automation_condition`,
            `pool`.
    """

    def decorate(function: Callable[..., pl.LazyFrame | pl.DataFrame]) -> AssetsDefinition:
        described = {"description": inspect.getdoc(function), "group_name": layer, "kinds": {"polars", "parquet"}}
        declared = Mart(
            key=AssetKey([layer, name or function.__name__]),
            function=function,
            table=as_table(columns, key),
            latest=_keys(latest),
            window=_keys(window),
            same_day=_keys(same_day),
            current=_keys(current),
            extra_days=extra_days,
            options=described | options,
        )
        return marts_step([declared])

    return decorate


def _keys(tables: Mapping[str, str] | None) -> dict[str, AssetKey]:
    return {parameter: AssetKey(name.split("/")) for parameter, name in (tables or {}).items()}
