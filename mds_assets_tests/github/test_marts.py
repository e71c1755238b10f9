"""Promises of the marts: windows and aggregates equal a plain-Python oracle."""

from datetime import date
from typing import Any

import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from mds_assets.defs.github.marts import activity, as_of, languages
from mds_assets_tests import oracle
from mds_assets_tests.github.observations import Observed, day, frame, observations, seen, staged


def languages_of(rows: Observed, days: list[date], lookback_days: int) -> list[tuple[Any, ...]]:
    tables = [languages(as_of(frame(rows), day, lookback_days)) for day in days]
    names = ["day", "org", "language", "repo_count", "avg_stars", "avg_forks"]
    return [row for table in tables for row in table.select(names).collect().rows()]


def activity_of(rows: Observed, days: list[date], lookback_days: int) -> list[tuple[Any, ...]]:
    tables = [activity(as_of(frame(rows), day, lookback_days), lookback_days) for day in days]
    names = ["day", "org", "push_date", "push_count", "rolling_7d_avg"]
    return [row for table in tables for row in table.select(names).collect().rows()]


@given(rows=observations(), lookback_days=st.integers(1, 10), as_of_day=st.integers(0, 16).map(day))
def test_both_marts_equal_the_oracle(rows: Observed, lookback_days: int, as_of_day: date):
    source = staged(rows)
    expected_languages = [(as_of_day, *row) for row in oracle.repos_per_language(source, as_of_day, lookback_days)]
    expected_activity = [(as_of_day, *row) for row in oracle.daily_activity(source, as_of_day, lookback_days)]
    assert languages_of(rows, [as_of_day], lookback_days) == expected_languages
    assert activity_of(rows, [as_of_day], lookback_days) == expected_activity


def test_a_repository_counts_once_with_its_newest_observation():
    rows = [seen(0, stars=10), seen(2, stars=30), seen(5, stars=99)]
    assert languages_of(rows, [day(3)], 7) == [(day(3), "acme", "Python", 1, 30.0, 1.0)]


def test_a_repository_leaves_the_window_after_lookback_days():
    assert len(languages_of([seen(0)], [day(6)], 7)) == 1
    assert languages_of([seen(0)], [day(7)], 7) == []


def test_a_window_of_one_day_sees_that_day_alone():
    rows = [seen(0, repo_id=1), seen(1, repo_id=2)]
    assert languages_of(rows, [day(1)], 1) == [(day(1), "acme", "Python", 1, 10.0, 1.0)]
    assert activity_of(rows, [day(1)], 1) == [(day(1), "acme", day(1), 1, 1.0)]


def test_languages_are_sorted_by_organisation_count_and_name():
    rows = [
        seen(0, 1, language="Go"),
        seen(0, 2, language="C"),
        seen(0, 3, language="Rust"),
        seen(0, 4, language="Rust"),
        seen(0, 5, language="Go", org="aaa"),
    ]
    assert [row[1:4] for row in languages_of(rows, [day(0)], 7)] == [
        ("aaa", "Go", 1),
        ("acme", "Rust", 2),
        ("acme", "C", 1),
        ("acme", "Go", 1),
    ]


def test_a_change_of_language_moves_the_repository():
    rows = [seen(0, language="Java"), seen(1, language="Kotlin")]
    assert [row[2] for row in languages_of(rows, [day(0), day(1)], 7)] == ["Java", "Kotlin"]


def test_every_date_of_the_window_has_a_row_for_each_organisation_in_it():
    rows = [seen(3), seen(3, org="other", pushed=1)]
    table = activity_of(rows, [day(6)], 7)
    assert [(row[1], row[2]) for row in table] == [(org, day(d)) for org in ("acme", "other") for d in range(7)]
    assert [row[3] for row in table] == [0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0]


def test_the_rolling_mean_counts_quiet_days_as_0_and_days_before_the_window_not_at_all():
    rows = [seen(0, 1), seen(0, 2), seen(9, 3)]
    means = [row[4] for row in activity_of(rows, [day(9)], 10)]
    assert means == [2.0, 1.0, 0.67, 0.5, 0.4, 0.33, 0.29, 0.0, 0.0, 0.14]


def test_a_push_before_the_window_and_no_push_at_all_count_on_no_date():
    rows = [seen(6, 1, pushed=-2), seen(6, 2) | {"pushed_at": None}]
    assert [row[3] for row in activity_of(rows, [day(6)], 7)] == [0] * 7


def test_no_rows_make_empty_tables():
    assert languages_of([], [day(0)], 7) == []
    assert activity_of([], [day(0)], 7) == []


def test_a_filter_after_as_of_does_not_choose_the_observation():
    newest = as_of(frame([seen(0, stars=99), seen(1, stars=1)]), day(1), 7)
    assert newest.filter(pl.col("stars") > 50).collect().is_empty()


def test_rows_may_come_in_any_order():
    rows = [seen(2, stars=30), seen(5, stars=99), seen(0, stars=10)]
    assert languages_of(rows, [day(3)], 7) == languages_of(sorted(rows, key=lambda row: row["day"]), [day(3)], 7)


def test_nothing_is_computed_until_the_lake_asks():
    assert isinstance(languages(as_of(frame([]), day(0), 7)), pl.LazyFrame)
    assert isinstance(activity(as_of(frame([]), day(0), 7), 7), pl.LazyFrame)
