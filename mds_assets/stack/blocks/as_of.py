"""The inputs of a mart's function: frames as of a day. Marts of the same step share common inputs."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from functools import cached_property
from typing import Any

import polars as pl
from dagster import AssetExecutionContext, AssetIn, AssetKey, AssetsDefinition

from mds_assets.stack.code_version import function_version
from mds_assets.stack.partitions import lookback, window
from mds_assets.stack.provenance import digest
from mds_assets.stack.session import Session
from mds_assets.stack.settings import settings
from mds_assets.stack.table import DAY, Table, declared_table

MART = "mds/mart"  # the metadata that holds a mart's `Mart`


@dataclass(frozen=True)
class AsOf:
    """The as-of day that a mart's function is called for.

    Attributes:
        day: The as-of day.
        lookback_days: Calendar days in the window, the as-of day included.
        landed: The landed days, in order, among all that the mart reads: the window and its `extra_days`.
    """

    day: date
    lookback_days: int = settings.lookback_days
    landed: Sequence[date] = ()

    @property
    def days(self) -> list[date]:
        """The days of the window, oldest first."""
        return window(self.day, self.lookback_days)


@dataclass(frozen=True)
class Mart:
    """A mart as declared by `@mart`. `latest`, `window`, `same_day` and `current` map parameters to tables."""

    key: AssetKey
    function: Callable[..., pl.LazyFrame | pl.DataFrame]
    table: Table
    latest: Mapping[str, AssetKey]
    window: Mapping[str, AssetKey]
    same_day: Mapping[str, AssetKey]
    current: Mapping[str, AssetKey]
    extra_days: int
    options: Mapping[str, Any] = field(default_factory=dict[str, Any])

    @property
    def days_read(self) -> int:
        """How many days it reads from the tables that it looks back on."""
        return settings.lookback_days + self.extra_days

    @cached_property
    def code_version(self) -> str:
        """Changes with the function, the stack's rules that build its frames, and how it reads its tables."""
        rules = function_version(self.function, Frames, newest_rows)
        reads = [sorted(each.items()) for each in (self.latest, self.window, self.same_day, self.current)]
        return digest(repr((rules, reads, self.extra_days)).encode())

    @property
    def settings(self) -> dict[str, Any]:
        """The settings that its rows depend on."""
        looks_back = self.latest or self.window or "as_of" in inspect.signature(self.function).parameters
        return {"lookback_days": settings.lookback_days} if looks_back else {}

    @property
    def inputs(self) -> dict[AssetKey, AssetIn]:
        """The tables it reads, with their partition mappings."""
        same = {key: AssetIn(key=key) for key in (*self.same_day.values(), *self.current.values())}
        back = {
            key: AssetIn(key=key, partition_mapping=lookback(self.days_read))
            for key in (*self.latest.values(), *self.window.values())
        }
        return same | back


def mart_of(asset: AssetsDefinition) -> Mart:
    """What `@mart` declared: a test calls `mart_of(revenue).function(orders=...)`."""
    (spec,) = asset.specs
    return spec.metadata[MART].instance


class Frames:
    """The inputs of all functions for one as-of day; an input that two of them share is built once."""

    def __init__(
        self, context: AssetExecutionContext, session: Session, day: date, rows: Mapping[AssetKey, pl.LazyFrame]
    ) -> None:
        """Take the rows of all tables that the step reads, for all its days."""
        self._context, self._session, self._day, self._rows = context, session, day, rows
        self._latest: dict[tuple[AssetKey, int], pl.LazyFrame] = {}

    def call(self, mart: Mart) -> pl.LazyFrame:
        """The mart's table for the day."""
        days = window(self._day, mart.days_read)
        given: dict[str, Any] = {name: self._newest(key, days) for name, key in mart.latest.items()}
        given |= {name: self._between(key, days) for name, key in mart.window.items()}
        given |= {name: self._between(key, [self._day]) for name, key in mart.same_day.items()}
        given |= {name: self._rows[key] for name, key in mart.current.items()}
        if "as_of" in inspect.signature(mart.function).parameters:
            given["as_of"] = AsOf(self._day, landed=self._landed(mart, days))
        return mart.function(**given).lazy().drop(DAY, strict=False)

    def _between(self, key: AssetKey, days: Sequence[date]) -> pl.LazyFrame:
        return self._rows[key].filter(pl.col(DAY).is_between(days[0], days[-1]))

    def _newest(self, key: AssetKey, days: Sequence[date]) -> pl.LazyFrame:
        known = self._latest.get((key, len(days)))
        if known is None:
            spec = self._context.op_execution_context.job_def.asset_layer.get(key)
            source = declared_table(key.to_user_string(), spec.metadata)
            known = self._latest[key, len(days)] = newest_rows(self._rows[key], source.key, days)
        return known

    def _landed(self, mart: Mart, days: Sequence[date]) -> list[date]:
        sources = {*mart.latest.values(), *mart.window.values()}
        return sorted(set(days).intersection(*(self._session.landed(key, days) for key in sources)))


def newest_rows(rows: pl.LazyFrame, key: Sequence[str], days: Sequence[date]) -> pl.LazyFrame:
    """Each key once, with its newest row in these days.

    Args:
        rows: Rows with `day`, in any order; at most one per key and day.
        key: The columns that identify a row within a day.
        days: The days, oldest first.
    """
    # A lazy query does not preserve row order, but a concatenation preserves the order of its parts.
    newest_first = pl.concat([rows.filter(pl.col(DAY) == day) for day in reversed(days)])
    # Grouped by the other columns, because a struct of all of them takes twice the CPU.
    is_first = pl.col(key[-1]).is_first_distinct()
    return newest_first.filter(is_first.over(key[:-1]) if len(key) > 1 else is_first)
