"""The daily partitions and the lookback window. All days are UTC.

All tables with partitions share `DAILY`, and marts declare their window as a partition mapping, so that Dagster itself
knows which days a mart reads.

https://docs.dagster.io/guides/build/partitions-and-backfills
"""

from collections.abc import Iterable, Sequence
from datetime import date, timedelta

from dagster import BackfillPolicy, DailyPartitionsDefinition, PartitionMapping, TimeWindowPartitionMapping

from mds_assets.stack.settings import settings

DAILY = DailyPartitionsDefinition(start_date=settings.start_date.isoformat(), timezone="UTC")

# A range of days is one run: one load, one query, one write per day.
SINGLE_RUN = BackfillPolicy.single_run()


def lookback(days: int) -> TimeWindowPartitionMapping:
    """Partition D reads the `days` calendar days ending with D. Dagster clips the window at the first partition."""
    return TimeWindowPartitionMapping(start_offset=1 - days, end_offset=0)


def window(day: date, lookback_days: int) -> list[date]:
    """The `lookback_days` calendar days ending with the as-of day, oldest first."""
    return days_between(day - timedelta(days=lookback_days - 1), day)


def window_of(mapping: PartitionMapping | None, day: date) -> list[date]:
    """The days that partition `day` reads through this mapping; without a mapping, the day itself."""
    if isinstance(mapping, TimeWindowPartitionMapping):
        return days_between(day + timedelta(days=mapping.start_offset), day + timedelta(days=mapping.end_offset))
    return [day]


def is_same_day(mapping: PartitionMapping | None) -> bool:
    """Whether each partition reads only its own day through this mapping."""
    some_day = date(2000, 1, 1)
    return window_of(mapping, some_day) == [some_day]


def to_days(partition_keys: Iterable[str]) -> list[date]:
    """Partition keys such as `2026-11-21` as dates, in order."""
    return sorted(date.fromisoformat(key) for key in partition_keys)


def days_between(first: date, last: date) -> list[date]:
    """All days from `first` to `last`, both included."""
    return [first + timedelta(days=offset) for offset in range((last - first).days + 1)]


def in_a_row(days: Iterable[date]) -> list[tuple[date, date]]:
    """The first and last of all days in a row."""
    ranges: list[tuple[date, date]] = []
    for day in sorted(days):
        if ranges and (day - ranges[-1][1]).days == 1:
            ranges[-1] = ranges[-1][0], day
        else:
            ranges.append((day, day))
    return ranges


def in_words(ranges: Sequence[tuple[date, date]], most: int) -> str:
    """Ranges of days as text, the first ones if there are more."""
    words = [f"{first} to {last}" if first < last else f"{first}" for first, last in ranges]
    return ", ".join(words[:most]) + (f" and {len(words) - most} more" if len(words) > most else "")
