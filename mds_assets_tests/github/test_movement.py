"""Promises of the marts of movement: they equal a plain-Python oracle, row by row and in order."""

from collections import Counter
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mds_assets.defs.github.movement import repo_growth
from mds_assets.defs.github.staging import REPOS
from mds_assets.stack.blocks import mart_of, newest_rows
from mds_assets.stack.partitions import days_between, window
from mds_assets_tests.github import oracle
from mds_assets_tests.github.marts import growth_of, trend_of
from mds_assets_tests.github.observations import Observed, day, observations, seen, staged
from mds_assets_tests.github.project import Project

moving = observations(
    repo_name=st.sampled_from(["old-name", "new-name"]),
    stars=st.none() | st.integers(0, 50),
    forks=st.none() | st.integers(0, 9),
)
# Days on which languages tie for a rank, and others come after them.
crowded = observations(15, day=st.integers(0, 3), language=st.sampled_from(["C", "Go", "Java", "Perl", "Rust"]))
lookbacks = st.integers(1, 10)
as_of_days = st.integers(0, 16).map(day)


@given(rows=moving, lookback_days=lookbacks, as_of_day=as_of_days)
def test_growth_equals_the_oracle(rows: Observed, lookback_days: int, as_of_day: date):
    expected = oracle.repo_growth(staged(rows), as_of_day, lookback_days)
    assert growth_of(rows, as_of_day, lookback_days) == expected


@given(rows=moving | crowded, lookback_days=lookbacks, as_of_day=as_of_days)
def test_trend_equals_the_oracle(rows: Observed, lookback_days: int, as_of_day: date):
    expected = oracle.language_trend(staged(rows), as_of_day, lookback_days)
    assert trend_of(rows, as_of_day, lookback_days) == expected


@given(rows=moving | crowded, lookback_days=lookbacks, as_of_day=as_of_days)
def test_all_languages_add_up_to_the_active_repositories_and_their_newest_pushes(
    rows: Observed, lookback_days: int, as_of_day: date
):
    """Each repository's push counts for one language: the newest observation alone knows its language."""
    active: Counter[tuple[str, date]] = Counter()
    pushes: Counter[tuple[str, date]] = Counter()
    for org, _, trend_date, repo_count, push_count, *_ in trend_of(rows, as_of_day, lookback_days):
        active[org, trend_date] += repo_count
        pushes[org, trend_date] += push_count
    days = window(as_of_day, lookback_days)
    in_window = [row for row in rows if row["day"] in days]
    newest = {(row["org"], row["repo_id"]): row for row in sorted(in_window, key=lambda row: row["day"])}.values()
    assert +active == Counter((row["org"], row["day"]) for row in in_window)
    pushed = [(row["org"], row["pushed_at"].date()) for row in newest if row["pushed_at"]]
    assert +pushes == Counter((org, pushed_on) for org, pushed_on in pushed if pushed_on in days)


def test_growth_is_between_the_first_and_the_newest_observation_whatever_lies_between():
    rows = [seen(0, stars=10, forks=5), seen(2, stars=99, forks=0), seen(5, stars=13, forks=4, language="Go")]
    assert growth_of(rows, day(6), 7) == [("acme", 1, "repo-1", None, "Go", 13, 3, -1, day(0), day(5))]
    assert growth_of(rows, day(7), 7) == [("acme", 1, "repo-1", None, "Go", 13, -86, 4, day(2), day(5))]


def test_a_window_of_one_day_knows_no_growth_and_no_change_of_rank():
    rows = [seen(0, stars=1), seen(1, stars=5), seen(1, repo_id=2, stars=None)]
    assert [row[1:] for row in growth_of(rows, day(1), 1)] == [
        (1, "repo-1", None, "Python", 5, 0, 0, day(1), day(1)),
        (2, "repo-2", None, "Python", None, None, 0, day(1), day(1)),
    ]
    assert trend_of(rows, day(1), 1) == [("acme", "Python", day(1), 2, 2, 1, None)]


def test_a_climb_is_positive_a_fall_negative_and_a_quiet_date_has_no_rank():
    rows = [
        *(seen(0, 1, language="C"), seen(0, 2, language="C"), seen(0, 3, language="Go")),
        *(seen(1, 4, language="C"), seen(1, 5, language="Go"), seen(1, 6, language="Go")),
        seen(3, 7, language="Go"),
    ]
    assert [(row[1], row[5], row[6]) for row in trend_of(rows, day(3), 4)] == [
        *(("C", 1, None), ("Go", 2, None)),
        *(("Go", 1, 1), ("C", 2, -1)),
        *(("C", None, None), ("Go", None, None)),
        *(("Go", 1, None), ("C", None, None)),
    ]


def test_ties_share_the_smaller_rank_and_the_next_language_does_not_move_up():
    languages = ["C", "C", "C", "Go", "Go", "Lua", "Lua", "Perl"]
    rows = [seen(0, number, language=language) for number, language in enumerate(languages)]
    assert [(row[1], row[5]) for row in trend_of(rows, day(0), 1)] == [("C", 1), ("Go", 2), ("Lua", 2), ("Perl", 4)]


def test_no_rows_make_empty_tables():
    assert growth_of([], day(0), 7) == []
    assert trend_of([], day(0), 7) == []


def test_first_and_newest_are_told_apart_among_more_rows_than_polars_takes_in_one_piece():
    repos = pl.LazyFrame({"repo_id": range(50_000)}).with_columns(
        pl.lit("acme").alias("org"),
        pl.lit("Go").alias("language"),
        repo_name=pl.format("repo-{}", "repo_id"),
        visibility=pl.lit("public"),
    )
    days = [
        repos.with_columns(pl.lit(day(offset)).alias("day"), stars=pl.lit(10 * offset), forks=pl.lit(-offset))
        for offset in range(7)
    ]
    rows = pl.concat(reversed(days))
    newest = newest_rows(rows, REPOS.key, [day(offset) for offset in range(7)])
    table = mart_of(repo_growth).function(newest=newest, repos=rows).lazy().collect(engine="streaming")
    figures = ["stars", "stars_gained", "forks_gained", "first_seen", "last_seen"]
    assert table.select(figures).unique().rows() == [(60, 60, -6, day(0), day(6))]
    assert table["repo_id"].to_list() == list(range(50_000))


@pytest.mark.slow(2)
@pytest.mark.parametrize("table", ["repo_growth", "language_trend"])
def test_each_file_of_a_range_holds_its_day_in_the_order_that_is_promised(table: str, tmp_path: Path):
    last = datetime.now(UTC).date() - timedelta(days=1)
    days = days_between(last - timedelta(days=3), last)
    project = Project(tmp_path)
    project.materialise(days[0], days[-1])
    staging = {d: [oracle.Row(*row[:-1]) for row in project.rows("staging/repos", d)] for d in days}
    source = {d: {(row.org, row.repo_id): row for row in rows} for d, rows in staging.items()}
    mart = {"repo_growth": oracle.repo_growth, "language_trend": oracle.language_trend}[table]
    for as_of_day in days:
        (file,) = (project.lake / "marts" / table / f"day={as_of_day}").iterdir()
        assert pl.read_parquet(file, glob=False, hive_partitioning=False).rows() == mart(source, as_of_day, 7)
