"""The daily partitions, the lookback mapping and the window arithmetic. All days are UTC.

Every table shares the one `DAILY` definition and every mart the one `LOOKBACK` mapping, so that Dagster itself knows
which days a mart reads. What does not belong here: reading or writing a day (see `io_managers/`).

https://docs.dagster.io/guides/build/partitions-and-backfills
"""

import warnings
from collections.abc import Iterable
from datetime import date, timedelta

from dagster import BackfillPolicy, DailyPartitionsDefinition, TimeWindowPartitionMapping

from mds_assets.stack.settings import settings

DAILY = DailyPartitionsDefinition(start_date=settings.start_date.isoformat(), timezone="UTC")

# Partition D reads days D-(L-1) .. D. Dagster clips the window at the first partition.
LOOKBACK = TimeWindowPartitionMapping(start_offset=1 - settings.lookback_days, end_offset=0)

# Dagster warns at each asset that this parameter is in beta; `--partition-range` needs it on every one.
warnings.filterwarnings("ignore", message="Parameter `backfill_policy`")

# A range of days is one run: one crawl, one query, one write a day.
ONE_RUN = BackfillPolicy.single_run()


def window(day: date, lookback_days: int) -> list[date]:
    """The days that the as-of day `day` looks at, oldest first: `lookback_days` calendar days that end with it."""
    return days_between(day - timedelta(days=lookback_days - 1), day)


def to_days(partition_keys: Iterable[str]) -> list[date]:
    """Partition keys such as `2026-11-21` as dates, in order."""
    return sorted(date.fromisoformat(key) for key in partition_keys)


def days_between(first: date, last: date) -> list[date]:
    """All days from `first` to `last`, both included."""
    return [first + timedelta(days=offset) for offset in range((last - first).days + 1)]
