"""Promises of the days: one definition in UTC, and a window that Dagster and our own arithmetic agree on."""

from datetime import date, timedelta

import pytest
from dagster import DailyPartitionsDefinition, PartitionKeyRange, TimeWindowPartitionMapping
from hypothesis import given
from hypothesis import strategies as st

from mds_assets.definitions import defs
from mds_assets.stack.partitions import DAILY, days_between, lookback, to_days, window, window_of
from mds_assets.stack.settings import settings
from mds_assets_tests.stack import toy

START = date(2026, 1, 1)


def upstream_days(lookback_days: int, first: date, last: date) -> list[date]:
    """The days that Dagster itself would read for these as-of days."""
    daily = DailyPartitionsDefinition(start_date=START.isoformat(), timezone="UTC", end_offset=0)
    mapping = TimeWindowPartitionMapping(start_offset=1 - lookback_days, end_offset=0)
    asked = daily.empty_subset().with_partition_key_range(daily, PartitionKeyRange(str(first), str(last)))
    result = mapping.get_upstream_mapped_partitions_result_for_partitions(asked, daily, daily)
    return to_days(result.partitions_subset.get_partition_keys())


@given(lookback_days=st.integers(1, 40), first=st.integers(0, 100), length=st.integers(1, 40))
def test_dagster_reads_the_union_of_the_windows_clipped_at_the_first_partition(
    lookback_days: int, first: int, length: int
):
    days = [START + timedelta(days=first + offset) for offset in range(length)]
    expected = {day for as_of in days for day in window(as_of, lookback_days) if day >= START}
    assert upstream_days(lookback_days, days[0], days[-1]) == sorted(expected)


@pytest.mark.parametrize(("lookback_days", "expected"), [(1, [START]), (2, [date(2025, 12, 31), START])])
def test_a_window_ends_with_its_day(lookback_days: int, expected: list[date]):
    assert window(START, lookback_days) == expected


def test_a_window_crosses_a_leap_day():
    assert window(date(2024, 3, 1), 3) == [date(2024, 2, 28), date(2024, 2, 29), date(2024, 3, 1)]
    assert len(days_between(date(2024, 1, 1), date(2024, 12, 31))) == 366


def test_every_table_shares_the_one_daily_definition_in_utc_or_has_no_partitions_and_runs_a_range_in_one_run():
    assert DAILY.timezone == "UTC"
    for key in defs.resolve_all_asset_keys():
        asset = defs.resolve_assets_def(key)
        assert asset.partitions_def in (DAILY, None)
        assert asset.backfill_policy is not None
        assert asset.backfill_policy.max_partitions_per_run is None


def test_the_blocks_partition_and_look_back_as_dagster_is_told():
    """A mart's window is its partition mapping, which Dagster itself reads."""
    assert [block.partitions_def for block in (toy.orders, toy.staged, toy.revenue)] == [DAILY] * 3
    assert toy.current.partitions_def is None
    (upstream,) = toy.revenue.dependency_keys
    assert toy.revenue.get_partition_mapping(upstream) == lookback(settings.lookback_days)
    assert window_of(lookback(3), START) == window(START, 3)
    assert window_of(None, START) == [START]
