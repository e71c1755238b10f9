"""The inputs of a mart's function: frames as of a day. Marts of the same step share common inputs."""

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from functools import cached_property
from typing import Any

import polars as pl
from dagster import AssetExecutionContext, AssetIn, AssetKey, AssetsDefinition

from mds_assets.stack.code_version import function_version
from mds_assets.stack.io_managers.polars import DayFrames
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


class Landed:
    """The landed days of the tables that a step looks back on; each table is listed once."""

    def __init__(self, session: Session, days: Sequence[date]) -> None:
        """Take the step's days."""
        self._session, self._days = session, days
        self._known: dict[tuple[AssetKey, int], set[date]] = {}

    def days(self, mart: Mart, days: Sequence[date]) -> list[date]:
        """Which of these days are landed, in order, in all that the mart looks back on."""
        sources = {*mart.latest.values(), *mart.window.values()}
        return sorted(set(days).intersection(*(self._of(key, mart.days_read) for key in sources)))

    def _of(self, key: AssetKey, days_read: int) -> set[date]:
        if (key, days_read) not in self._known:
            all_days = {day for own in self._days for day in window(own, days_read)}
            self._known[key, days_read] = self._session.landed(key, all_days)
        return self._known[key, days_read]


class Frames:
    """The inputs of all functions for one as-of day; an input that two of them share is built once."""

    def __init__(
        self,
        context: AssetExecutionContext,
        landed: Landed,
        day: date,
        rows: Mapping[AssetKey, pl.LazyFrame | DayFrames],
    ) -> None:
        """Take the rows of all tables that the step reads, for all its days."""
        self._context, self._landed, self._day, self._rows = context, landed, day, rows
        self._latest: dict[tuple[AssetKey, int], pl.LazyFrame] = {}

    def call(self, mart: Mart) -> pl.LazyFrame:
        """The mart's table for the day."""
        days = window(self._day, mart.days_read)
        given: dict[str, Any] = {name: self._newest(key, days) for name, key in mart.latest.items()}
        given |= {name: self._between(key, days) for name, key in mart.window.items()}
        given |= {name: self._between(key, [self._day]) for name, key in mart.same_day.items()}
        given |= {name: self._between(key, days) for name, key in mart.current.items()}
        if "as_of" in inspect.signature(mart.function).parameters:
            given["as_of"] = AsOf(self._day, landed=self._landed.days(mart, days))
        return mart.function(**given).lazy().drop(DAY, strict=False)

    def _frames(self, key: AssetKey, days: Iterable[date]) -> list[pl.LazyFrame]:
        rows = self._rows[key]
        return rows.of(days) if isinstance(rows, DayFrames) else [rows]

    def _between(self, key: AssetKey, days: Sequence[date]) -> pl.LazyFrame:
        return pl.concat(self._frames(key, days))

    def _newest(self, key: AssetKey, days: Sequence[date]) -> pl.LazyFrame:
        known = self._latest.get((key, len(days)))
        if known is None:
            spec = self._context.op_execution_context.job_def.asset_layer.get(key)
            source = declared_table(key.to_user_string(), spec.metadata)
            known = self._latest[key, len(days)] = _first_rows(self._frames(key, reversed(days)), source.key)
        return known


def newest_rows(rows: pl.LazyFrame, key: Sequence[str], days: Sequence[date]) -> pl.LazyFrame:
    """Each key once, with its newest row in these days.

    Args:
        rows: Rows with `day`, in any order; at most one per key and day.
        key: The columns that identify a row within a day.
        days: The days, oldest first.
    """
    return _first_rows([rows.filter(pl.col(DAY) == day) for day in reversed(days)], key)


def _first_rows(newest_first: Iterable[pl.LazyFrame], key: Sequence[str]) -> pl.LazyFrame:
    """Each key once, with its row in the first of these frames that has it."""
    # A lazy query does not preserve row order, but a concatenation preserves the order of its parts.
    rows = pl.concat(newest_first)
    # Grouped by the other columns, because a struct of all of them takes twice the CPU.
    is_first = pl.col(key[-1]).is_first_distinct()
    return rows.filter(is_first.over(key[:-1]) if len(key) > 1 else is_first)
