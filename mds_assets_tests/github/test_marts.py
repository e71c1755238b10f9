"""Promises of the marts: windows and aggregates equal a plain-Python oracle."""

from datetime import date

import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from mds_assets.defs.github.marts import daily_activity, repos_per_language
from mds_assets.defs.github.staging import REPOS
from mds_assets.stack.blocks import AsOf, mart_of, newest_rows
from mds_assets.stack.partitions import window
from mds_assets_tests.github import oracle
from mds_assets_tests.github.marts import activity_of, languages_of
from mds_assets_tests.github.observations import Observed, day, frame, observations, seen, staged

LANDED = [day(offset) for offset in range(-10, 20)]  # more days than any window here reads


@given(rows=observations(), lookback_days=st.integers(1, 10), as_of_day=st.integers(0, 16).map(day))
def test_languages_equal_the_oracle(rows: Observed, lookback_days: int, as_of_day: date):
    expected = oracle.repos_per_language(staged(rows), as_of_day, lookback_days)
    assert languages_of(rows, as_of_day, lookback_days) == expected


@given(
    rows=observations(),
    lookback_days=st.integers(1, 10),
    as_of_day=st.integers(0, 16).map(day),
    landed=st.sets(st.integers(-10, 20).map(day)),
)
def test_activity_equals_the_oracle_whichever_days_were_landed(
    rows: Observed, lookback_days: int, as_of_day: date, landed: set[date]
):
    expected = oracle.daily_activity(staged(rows), as_of_day, lookback_days, landed)
    assert activity_of(rows, as_of_day, lookback_days, landed) == expected


def test_a_repository_counts_once_with_its_newest_observation():
    rows = [seen(0, stars=10), seen(2, stars=30), seen(5, stars=99)]
    assert languages_of(rows, day(3), 7) == [("acme", "Python", 1, 30.0, 1.0)]


def test_a_repository_leaves_the_window_after_lookback_days():
    assert len(languages_of([seen(0)], day(6), 7)) == 1
    assert languages_of([seen(0)], day(7), 7) == []


def test_a_window_of_one_day_sees_that_day_alone_but_averages_the_week():
    rows = [seen(0, repo_id=1), seen(1, repo_id=2)]
    assert languages_of(rows, day(1), 1) == [("acme", "Python", 1, 10.0, 1.0)]
    assert activity_of(rows, day(1), 1, [day(0), day(1)]) == [("acme", day(1), 1, 1.0, 2)]


def test_languages_are_sorted_by_organisation_count_and_name():
    rows = [
        seen(0, 1, language="Go"),
        seen(0, 2, language="C"),
        seen(0, 3, language="Rust"),
        seen(0, 4, language="Rust"),
        seen(0, 5, language="Go", org="aaa"),
    ]
    assert [row[:3] for row in languages_of(rows, day(0), 7)] == [
        ("aaa", "Go", 1),
        ("acme", "Rust", 2),
        ("acme", "C", 1),
        ("acme", "Go", 1),
    ]


def test_a_change_of_language_moves_the_repository():
    rows = [seen(0, language="Java"), seen(1, language="Kotlin")]
    assert [row[1] for offset in (0, 1) for row in languages_of(rows, day(offset), 7)] == ["Java", "Kotlin"]


def test_every_date_of_the_window_has_a_row_for_each_organisation_in_it():
    rows = [seen(3), seen(3, org="other", pushed=1), seen(-1, org="gone")]
    table = activity_of(rows, day(6), 7, LANDED)
    assert [row[:2] for row in table] == [(org, day(d)) for org in ("acme", "other") for d in range(7)]
    assert [row[2] for row in table] == [0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0]


def test_a_later_push_does_not_empty_an_earlier_day():
    rows = [seen(offset, number) for number, days in ((1, (0, 2, 3)), (2, (0, 1)), (3, (3,))) for offset in days]
    assert [row[2] for row in activity_of(rows, day(3), 4, LANDED)] == [2, 1, 1, 2]


def test_a_push_that_several_observations_saw_counts_once():
    rows = [seen(1), seen(2, pushed=1), seen(3, pushed=1)]  # updated twice after the push
    assert [row[2] for row in activity_of(rows, day(3), 3, LANDED)] == [1, 0, 0]


def test_the_mean_is_over_the_landed_days_of_the_week_and_a_landed_day_without_a_push_counts_0():
    rows = [seen(0, 1), seen(0, 2), seen(9, 3)]
    means = [row[3:] for row in activity_of(rows, day(9), 10, [day(offset) for offset in range(10)])]
    assert means == [
        *((2.0, 1), (1.0, 2), (0.67, 3), (0.5, 4), (0.4, 5), (0.33, 6), (0.29, 7)),
        *((0.0, 7), (0.0, 7), (0.14, 7)),
    ]
    gaps = [row[3:] for row in activity_of(rows, day(9), 10, [day(0), day(2), day(9)])]
    assert gaps == [
        *((2.0, 1), (2.0, 1), *[(1.0, 2)] * 5, (0.0, 1), (0.0, 1)),
        (1.0, 1),
    ]


def test_the_mean_counts_pushes_and_landed_days_before_the_window():
    rows = [seen(0, 1), seen(0, 2), seen(6, 3)]
    assert activity_of(rows, day(6), 1, LANDED) == [("acme", day(6), 1, 0.43, 7)]
    assert activity_of(rows, day(6), 1, [day(0), day(6)]) == [("acme", day(6), 1, 1.5, 2)]


def test_the_mean_of_a_week_without_a_landed_day_is_null():
    table = activity_of([seen(8)], day(8), 9, [day(8)])
    assert [row[3:] for row in table] == [(None, 0)] * 8 + [(1.0, 1)]


def test_a_push_before_the_window_and_no_push_at_all_count_on_no_date():
    rows = [seen(6, 1, pushed=-2), seen(6, 2) | {"pushed_at": None}]
    assert [row[2] for row in activity_of(rows, day(6), 7, LANDED)] == [0] * 7


def test_no_rows_make_empty_tables():
    assert languages_of([], day(0), 7) == []
    assert activity_of([], day(0), 7, LANDED) == []


def test_a_filter_of_the_newest_rows_does_not_choose_the_observation():
    newest = newest_rows(frame([seen(0, stars=99), seen(1, stars=1)]), REPOS.key, window(day(1), 7))
    assert newest.filter(pl.col("stars") > 50).collect().is_empty()


def test_rows_may_come_in_any_order():
    rows = [seen(2, stars=30), seen(5, stars=99), seen(0, stars=10)]
    assert languages_of(rows, day(3), 7) == languages_of(sorted(rows, key=lambda row: row["day"]), day(3), 7)
    assert activity_of(rows, day(5), 7, LANDED) == activity_of(rows[::-1], day(5), 7, LANDED)


def test_nothing_is_computed_until_the_lake_asks():
    assert isinstance(mart_of(repos_per_language).function(repos=frame([])), pl.LazyFrame)
    assert isinstance(mart_of(daily_activity).function(repos=frame([]), as_of=AsOf(day(0))), pl.LazyFrame)
