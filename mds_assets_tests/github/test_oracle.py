"""The oracle gives the figures that were accepted, and what small tables show by hand."""

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from typing import Any

import polars as pl
import pytest

from mds_assets_tests.github.oracle import (
    Observation,
    Staged,
    active_at,
    daily_activity,
    language_trend,
    observations_seen,
    repo_growth,
    repos_per_language,
    rounded_mean,
    staging,
)
from mds_assets_tests.github.recordings import (
    Recorded,
    jenkinsci,
    needs_recordings,
    npm_days,
    sliced_jenkinsci,
)

NOON = datetime(2026, 3, 31, 12, tzinfo=UTC)


def at(day: int, hour: int = 0) -> str:
    """A time in March 2026 as GitHub writes it."""
    return f"2026-03-{day:02}T{hour:02}:00:00Z"


def march(day: int) -> date:
    """A date in March 2026."""
    return date(2026, 3, day)


def repo(number: int, updated_at: str, pushed_at: str | None, **fields: Any) -> dict[str, Any]:
    """A repository as GitHub sent it in 2019: without topics."""
    return {
        "id": number,
        "name": f"repo-{number}",
        "full_name": f"acme/repo-{number}",
        "description": None,
        "stargazers_count": 0,
        "forks_count": 0,
        "open_issues_count": 0,
        "size": 0,
        "language": "Python",
        "license": None,
        "fork": False,
        "archived": False,
        "created_at": "2026-01-01T00:00:00Z",
        "updated_at": updated_at,
        "pushed_at": pushed_at,
        **fields,
    }


def staged(*repos: dict[str, Any], org: str = "acme") -> Staged:
    """Staging after one crawl that saw these repositories."""
    return staging(Observation(org, NOON, repo) for repo in repos)


# What a day's raw holds


@pytest.mark.parametrize(
    ("updated_at", "pushed_at", "expected"),
    [(at(2), at(1), march(2)), (at(1), at(2), march(2)), (at(2), at(2), march(2)), (at(1), None, march(1))],
)
def test_a_repository_is_active_at_the_later_of_update_and_push(
    updated_at: str, pushed_at: str | None, expected: date
) -> None:
    assert active_at(repo(1, updated_at, pushed_at)).date() == expected


def test_a_crawl_sees_the_repositories_active_from_its_first_day_on_the_later_ones_early() -> None:
    repos = [
        repo(1, "2026-03-01T23:59:59Z", None),
        repo(2, "2026-03-02T00:00:00Z", None),
        repo(3, at(1), "2026-03-03T23:59:59Z"),
        repo(4, "2026-03-04T00:00:00Z", None),
    ]
    seen = observations_seen(repos, "acme", NOON, march(2))
    assert [observation.repo["id"] for observation in seen] == [2, 3, 4]
    assert {(observation.org, observation.observed_at) for observation in seen} == {("acme", NOON)}


# Staging


def test_a_row_carries_every_column_and_the_null_rules() -> None:
    full = repo(
        1,
        at(2),
        at(3, 4),
        description="A thing",
        stargazers_count=5,
        forks_count=4,
        open_issues_count=3,
        size=2,
        language="C",
        license={"spdx_id": "MIT"},
        topics=["a", "b"],
        fork=True,
        archived=True,
        visibility="public",
    )
    bare = repo(2, at(3), None, language=None)
    rows = staged(full, bare)[march(3)]
    created_at = datetime(2026, 1, 1, tzinfo=UTC)
    assert rows[("acme", 1)]._asdict() == {
        "org": "acme",
        "repo_id": 1,
        "repo_name": "repo-1",
        "repo_full_name": "acme/repo-1",
        "description": "A thing",
        "stars": 5,
        "forks": 4,
        "open_issues": 3,
        "size_kb": 2,
        "language": "C",
        "license": "MIT",
        "topics": ["a", "b"],
        "is_fork": True,
        "is_archived": True,
        "visibility": "public",
        "created_at": created_at,
        "updated_at": datetime(2026, 3, 2, tzinfo=UTC),
        "pushed_at": datetime(2026, 3, 3, 4, tzinfo=UTC),
        "active_at": datetime(2026, 3, 3, 4, tzinfo=UTC),
        "observed_at": NOON,
    }
    row = rows[("acme", 2)]
    assert (row.description, row.language, row.license, row.topics, row.pushed_at) == ("", "Unknown", None, [], None)
    assert row.visibility is None


def test_of_several_observations_on_a_day_the_newest_stays_whatever_the_order_of_the_loads() -> None:
    crawls = [
        Observation("acme", NOON, repo(1, at(5, 8), None, name="earlier state, seen last")),
        Observation("acme", NOON - timedelta(hours=1), repo(1, at(5, 9), None, name="same state, seen first")),
        Observation("acme", NOON, repo(1, at(5, 9), None, name="newest")),
        Observation("acme", NOON, repo(1, at(4), None, name="the day before")),
    ]
    for loads in (crawls, crawls[::-1]):
        days = staging(loads)
        assert {day: [row.repo_name for row in rows.values()] for day, rows in days.items()} == {
            march(4): ["the day before"],
            march(5): ["newest"],
        }


def test_a_field_that_may_be_null_may_also_be_absent() -> None:
    old = repo(1, at(5), None)
    nullable = {"description", "language", "license", "pushed_at"}
    assert staged({name: value for name, value in old.items() if name not in nullable}) == staged(
        old | {"language": None}
    )


def test_equal_times_go_to_the_later_load() -> None:
    loads = [Observation("acme", NOON, repo(1, at(5), None, name=name)) for name in ("first", "second")]
    assert staging(loads)[march(5)][("acme", 1)].repo_name == "second"


@pytest.mark.parametrize("flaw", [{"id": None}, {"name": None}])
def test_a_row_without_an_id_or_a_name_does_not_pass(flaw: dict[str, None]) -> None:
    assert list(staged(repo(1, at(5), None), repo(2, at(5), None) | flaw)[march(5)]) == [("acme", 1)]


def test_an_early_row_is_in_no_table_until_its_day_is_staged_and_then_it_is() -> None:
    loads = observations_seen([repo(1, at(5), None), repo(2, at(6, 1), None)], "acme", NOON, march(5))
    assert {day: list(rows) for day, rows in staging(loads, days=[march(5)]).items()} == {march(5): [("acme", 1)]}
    # The crawl of the 6th no longer sees it there: it was active on the 7th, before the crawl.
    loads += observations_seen([repo(1, at(5), None), repo(2, at(7), None)], "acme", NOON, march(6))
    assert {day: list(rows) for day, rows in staging(loads, days=[march(5), march(6)]).items()} == {
        march(5): [("acme", 1)],
        march(6): [("acme", 2)],
    }


def test_the_same_repository_below_two_organisations_makes_two_rows() -> None:
    loads = [Observation(org, NOON, repo(1, at(5), None)) for org in ("acme", "other")]
    assert list(staging(loads)[march(5)]) == [("acme", 1), ("other", 1)]


# repos_per_language


def test_languages_are_sorted_by_organisation_then_count_then_name() -> None:
    loads = [
        Observation("b", NOON, repo(1, at(5), None, language="C")),
        Observation("a", NOON, repo(2, at(5), None, language="Rust", stargazers_count=1, forks_count=7)),
        Observation("a", NOON, repo(3, at(5), None, language="Ada")),
        Observation("a", NOON, repo(4, at(4), None, language=None, stargazers_count=1)),
        Observation("a", NOON, repo(5, at(3), None, language=None, stargazers_count=2)),
        Observation("a", NOON, repo(6, at(3), None, language=None, stargazers_count=2)),
    ]
    assert repos_per_language(staging(loads), march(5), lookback_days=7) == [
        ("a", "Unknown", 3, 1.7, 0.0),
        ("a", "Ada", 1, 0.0, 0.0),
        ("a", "Rust", 1, 1.0, 7.0),
        ("b", "C", 1, 0.0, 0.0),
    ]


def test_a_repository_counts_once_with_its_newest_observation_in_the_window() -> None:
    days = staged(
        repo(1, at(3), None, name="old-name", language="Perl", stargazers_count=10),
        repo(1, at(5), None, name="new-name", language="Raku", stargazers_count=20),
    )
    assert repos_per_language(days, march(6), lookback_days=7) == [("acme", "Raku", 1, 20.0, 0.0)]
    assert repos_per_language(days, march(4), lookback_days=7) == [("acme", "Perl", 1, 10.0, 0.0)]


@pytest.mark.parametrize(("lookback_days", "expected"), [(1, [5]), (2, [4, 5]), (3, [3, 4, 5]), (7, [3, 4, 5])])
def test_the_window_ends_with_the_as_of_day_and_is_as_long_as_asked(lookback_days: int, expected: list[int]) -> None:
    days = staged(*(repo(day, at(day), None, language=str(day)) for day in (3, 4, 5, 6)))
    assert [int(line[1]) for line in repos_per_language(days, march(5), lookback_days)] == expected


def test_a_window_without_rows_gives_empty_marts() -> None:
    assert repos_per_language({}, march(5), lookback_days=7) == []
    after = staged(repo(1, at(6), at(6)))
    for mart in (repo_growth, language_trend):
        assert mart(after, march(5), lookback_days=7) == []
    assert daily_activity(after, march(5), lookback_days=7, landed=MARCH) == []


# daily_activity


MARCH = [march(day) for day in range(1, 32)]


def test_every_date_of_the_window_has_a_row_and_the_mean_counts_the_landed_days_before_it() -> None:
    days = staged(*(repo(number, at(day), at(day)) for number, day in enumerate((1, 1, 1, 3, 9, 9))))
    table = [
        ("acme", march(1), 3, 3.0, 1),
        ("acme", march(2), 0, 1.5, 2),
        ("acme", march(3), 1, 1.33, 3),
        ("acme", march(4), 0, 1.0, 4),
        ("acme", march(5), 0, 0.8, 5),
        ("acme", march(6), 0, 0.67, 6),
        ("acme", march(7), 0, 0.57, 7),
        ("acme", march(8), 0, 0.14, 7),
        ("acme", march(9), 2, 0.43, 7),
    ]
    assert daily_activity(days, march(9), lookback_days=9, landed=MARCH) == table
    for lookback_days in range(1, 9):
        assert daily_activity(days, march(9), lookback_days, landed=MARCH) == table[-lookback_days:]


def test_the_mean_is_over_the_days_that_were_landed_and_null_over_none() -> None:
    days = staged(*(repo(number, at(day), at(day)) for number, day in enumerate((2, 2, 9))))
    assert [line[3:] for line in daily_activity(days, march(9), 9, landed=[march(2), march(3), march(9)])] == [
        (None, 0),
        (2.0, 1),
        *[(1.0, 2)] * 6,
        (0.5, 2),
    ]


def test_a_push_counts_on_its_own_day_once_whichever_observations_saw_it() -> None:
    loads = [
        repo(1, at(5), at(4)),  # pushed, and updated a day later
        repo(2, at(5), at(1)),  # pushed before the window
        repo(3, at(5), None),  # never pushed
        repo(4, at(3), at(3)),  # pushed on the 3rd, and again on the 5th
        repo(4, at(3), at(5)),
        repo(5, at(4), at(3)),  # pushed on the 3rd, and seen twice since
        repo(5, at(5), at(3)),
    ]
    assert [line[:3] for line in daily_activity(staged(*loads), march(5), lookback_days=3, landed=MARCH)] == [
        ("acme", march(3), 2),
        ("acme", march(4), 1),
        ("acme", march(5), 1),
    ]


def test_an_organisation_without_a_push_has_its_dates_with_zeros_and_one_without_a_row_has_none() -> None:
    loads = [
        Observation("quiet", NOON, repo(1, at(5), None)),
        Observation("busy", NOON, repo(1, at(4), at(4))),
        Observation("gone", NOON, repo(1, at(3), at(3))),
    ]
    assert daily_activity(staging(loads), march(5), lookback_days=2, landed=[march(4), march(5)]) == [
        ("busy", march(4), 1, 1.0, 1),
        ("busy", march(5), 0, 0.5, 2),
        ("quiet", march(4), 0, 0.0, 1),
        ("quiet", march(5), 0, 0.0, 2),
    ]


# repo_growth


def stars(number: int, day: int, stars: int | None, forks: int | None = 0, **fields: Any) -> dict[str, Any]:
    """A repository as it was on this day of March."""
    return repo(number, at(day), None, stargazers_count=stars, forks_count=forks, **fields)


def test_growth_is_the_newest_minus_the_first_observation_in_the_window() -> None:
    days = staged(
        stars(1, 1, 5),  # before the window
        stars(1, 3, 10, 4, name="old-name", language="Perl"),
        stars(1, 4, 99, 99),
        stars(1, 6, 12, 1, name="new-name", language="Raku"),
        stars(1, 8, 50),  # after it
    )
    assert repo_growth(days, march(7), lookback_days=6) == [
        ("acme", 1, "new-name", None, "Raku", 12, 2, -3, march(3), march(6)),
    ]
    assert repo_growth(days, march(7), lookback_days=7)[0][5:] == (12, 7, 1, march(1), march(6))


def test_a_repository_seen_once_gained_nothing_and_one_unknown_has_gained_what_nobody_knows() -> None:
    days = staged(
        stars(1, 5, 7, 3),
        stars(2, 5, None, None),
        *(stars(3, 4, None, 1), stars(3, 5, 8, 2)),
        *(stars(4, 4, 8, 2), stars(4, 5, None, None)),
        *(stars(5, 3, 8), stars(5, 4, None), stars(5, 5, 9)),
    )
    assert [(line[1], *line[5:8]) for line in repo_growth(days, march(5), lookback_days=3)] == [
        (5, 9, 1, 0),
        (1, 7, 0, 0),
        (2, None, None, None),
        (3, 8, None, 1),
        (4, None, None, None),
    ]


def test_growth_is_sorted_by_organisation_then_stars_gained_descending_unknown_last_then_id() -> None:
    loads = [
        *(Observation("b", NOON, stars(9, day, count)) for day, count in ((4, 0), (5, 99))),
        *(Observation("a", NOON, stars(1, day, count)) for day, count in ((4, 5), (5, 4))),
        *(Observation("a", NOON, stars(8, day, count)) for day, count in ((4, 5), (5, 7))),
        *(Observation("a", NOON, stars(7, day, count)) for day, count in ((4, 0), (5, 2))),
        Observation("a", NOON, stars(3, 5, None)),
        Observation("a", NOON, stars(2, 5, None)),
        Observation("a", NOON, stars(6, 5, 1)),
    ]
    assert [(line[0], line[1], line[6]) for line in repo_growth(staging(loads), march(5), lookback_days=2)] == [
        ("a", 7, 2),
        ("a", 8, 2),
        ("a", 6, 0),
        ("a", 1, -1),
        ("a", 2, None),
        ("a", 3, None),
        ("b", 9, 99),
    ]


# language_trend


def test_every_language_of_the_window_has_every_date_with_its_rank_and_how_it_changed() -> None:
    def active(number: int, day: int, language: str) -> dict[str, Any]:
        return repo(number, at(day), at(day), language=language)

    days = staged(
        active(9, 1, "Ada"),  # before the window
        *(active(1, 2, "C"), active(2, 2, "C"), active(3, 2, "Go"), active(4, 2, "Lua")),
        # On the 3rd: repository 1 has left C for Go, and is pushed to; nobody knows Lua.
        *(active(1, 3, "Go"), active(5, 3, "Go"), active(6, 3, "C")),
        # On the 5th, after a quiet day:
        *(active(2, 5, "C"), active(4, 5, "Lua")),
    )
    assert language_trend(days, march(5), lookback_days=4) == [
        ("acme", "C", march(2), 2, 0, 1, None),
        ("acme", "Go", march(2), 1, 1, 2, None),  # 3
        ("acme", "Lua", march(2), 1, 0, 2, None),
        ("acme", "Go", march(3), 2, 2, 1, 1),  # 1, 5
        ("acme", "C", march(3), 1, 1, 2, -1),  # 6
        ("acme", "Lua", march(3), 0, 0, None, None),
        ("acme", "C", march(4), 0, 0, None, None),
        ("acme", "Go", march(4), 0, 0, None, None),
        ("acme", "Lua", march(4), 0, 0, None, None),
        ("acme", "C", march(5), 1, 1, 1, None),  # 2
        ("acme", "Lua", march(5), 1, 1, 1, None),  # 4
        ("acme", "Go", march(5), 0, 0, None, None),
    ]


def test_ties_share_the_smaller_rank_and_the_next_language_does_not_move_up() -> None:
    languages = ["C", "C", "C", "Go", "Go", "Lua", "Lua", "Perl"]
    days = staged(*(repo(number, at(5), None, language=language) for number, language in enumerate(languages)))
    ranks = {line[1]: line[5] for line in language_trend(days, march(5), lookback_days=1)}
    assert ranks == {"C": 1, "Go": 2, "Lua": 2, "Perl": 4}


def test_a_language_that_a_repository_left_keeps_its_activity_and_loses_its_push() -> None:
    days = staged(
        repo(1, at(4), at(4), language="Perl"),
        repo(1, at(5), at(4), language="Raku"),  # updated, not pushed to
        repo(2, at(5), at(2), language="Raku"),  # pushed to before the window
    )
    assert [line[1:5] for line in language_trend(days, march(5), lookback_days=2)] == [
        ("Perl", march(4), 1, 0),
        ("Raku", march(4), 0, 1),
        ("Raku", march(5), 2, 0),
        ("Perl", march(5), 0, 0),
    ]


def test_each_organisation_has_its_own_languages_and_ranks() -> None:
    loads = [
        Observation("b", NOON, repo(1, at(5), None, language="C")),
        Observation("a", NOON, repo(1, at(5), None, language=None)),
        Observation("a", NOON, repo(2, at(5), None, language=None)),
        Observation("a", NOON, repo(3, at(5), None, language="C")),
    ]
    assert [(*line[:2], line[3], line[5]) for line in language_trend(staging(loads), march(5), lookback_days=1)] == [
        ("a", "Unknown", 2, 1),
        ("a", "C", 1, 2),
        ("b", "C", 1, 1),
    ]


# Rounding


@pytest.mark.parametrize(
    ("values", "decimals", "expected"),
    [
        ([2, 2, 2, 3], 1, 2.2),  # 2.25
        ([2] * 13 + [3] * 7, 1, 2.4),  # 2.35
        ([2] * 11 + [3] * 9, 1, 2.4),  # 2.45
        ([0] * 7 + [1], 2, 0.12),  # 0.125
        ([0] * 5 + [1, 3], 2, 0.57),
    ],
)
def test_means_round_as_polars_rounds_them(values: list[int], decimals: int, expected: float) -> None:
    assert rounded_mean(values, decimals) == expected
    assert pl.Series([sum(values) / len(values)]).round(decimals).item() == expected


# Real input


@pytest.mark.parametrize("repos", [jenkinsci, sliced_jenkinsci])
def test_jenkinsci_gives_the_accepted_figures(repos: Callable[[], Recorded]) -> None:
    days = [date(2019, 10, 19) + timedelta(days=n) for n in range(7)]
    observed_at = datetime(2019, 10, 26, 1, 27, tzinfo=UTC)
    crawl = observations_seen(repos(), "jenkinsci", observed_at, days[0])
    assert "jenkins" in {seen.repo["name"] for seen in crawl if active_at(seen.repo).date() > days[-1]}
    table = staging(crawl, days)
    assert [len(table[day]) for day in days] == [12, 4, 24, 33, 51, 53, 75]

    languages = repos_per_language(table, days[-1], lookback_days=7)
    assert len(languages) == 12
    assert ("jenkinsci", "Java", 217, 75.4, 61.6) in languages
    assert ("jenkinsci", "Unknown", 6, 264.5, 146.7) in languages

    activity = daily_activity(table, days[-1], lookback_days=7, landed=days)
    assert [line[1] for line in activity] == days
    assert [line[2] for line in activity] == [12, 5, 15, 27, 41, 32, 58]
    assert [line[4] for line in activity] == [1, 2, 3, 4, 5, 6, 7]
    assert activity[-1][3] == 27.14


@needs_recordings
def test_a_daily_crawl_of_npm_stages_each_day_what_was_seen_of_it_then_or_early() -> None:
    landed = [recorded - timedelta(days=1) for recorded in npm_days()]  # the day that has ended
    crawls = {
        day: observations_seen(repos, "npm", datetime(recorded.year, recorded.month, recorded.day, tzinfo=UTC), day)
        for day, (recorded, repos) in zip(landed, npm_days().items(), strict=True)
    }
    observed = [observation for crawl in crawls.values() for observation in crawl]
    table = staging(observed, landed)
    assert len(landed) == 64
    seen_of = {day: {seen.repo["id"] for seen in observed if active_at(seen.repo).date() == day} for day in landed}
    assert {day: {repo_id for _, repo_id in rows} for day, rows in table.items()} == {
        day: ids for day, ids in seen_of.items() if ids
    }
    # `cli`, the flagship: on 18 days only the crawl of the day before saw it, or saw it too.
    (cli,) = {seen.repo["id"] for seen in observed if seen.repo["name"] == "cli"}
    early = {
        active_at(seen.repo).date()
        for day, crawl in crawls.items()
        for seen in crawl
        if seen.repo["id"] == cli and active_at(seen.repo).date() > day
    }
    assert len(early) == 18
