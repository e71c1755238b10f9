"""Promises of the stars: what each repository gained on each date of the range, as far as GitHub still counts it."""

from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from mds_assets.github.errors import GitHubError
from mds_assets.github.repository import Json
from mds_assets.stack.partitions import days_between
from mds_assets_tests.github.server import GitHubHandler, GitHubServer
from mds_assets_tests.github.sessions import rows_of, session_with
from mds_assets_tests.github.test_activity import refuses
from mds_assets_tests.github.test_client import DAY, repo
from mds_assets_tests.github.test_connection import answers

NOW = datetime(2026, 3, 3, 0, 5, tzinfo=UTC)  # a Tuesday
GAINED = {date(2026, 2, 28): 1, date(2026, 3, 1): 2, date(2026, 3, 2): 3, date(2026, 3, 3): 4}


def starred(number: int, stars: int = 10, **fields: Any) -> Json:
    """A repository that changed on March 2 and has stars."""
    return repo(number, "02T10:00", None, stargazers_count=stars, visibility="public", **fields)


def serving_stars(*repos: Json, **options: Any) -> GitHubServer:
    """A server that knows when each of these gained its stars."""
    stars = {each["full_name"]: GAINED for each in repos}
    return GitHubServer({"acme": list(repos)}, stars=stars, now=lambda: NOW, **options)


def gained(rows: list[Json]) -> dict[date, int]:
    """The stars by date."""
    return {row["date"]: row["gained"] for row in rows}


def test_each_date_of_the_range_has_the_stars_gained_on_it_and_0_where_there_were_none():
    with serving_stars(starred(1)) as server, session_with(server, "acme") as session:
        rows = rows_of(session.stars(days_between(date(2026, 2, 26), DAY)))
    expected = {date(2026, 2, 26): 0, date(2026, 2, 27): 0}
    assert gained(rows) == expected | {day: count for day, count in GAINED.items() if day <= DAY}


def test_a_row_says_which_repository_gained_them():
    with serving_stars(starred(1, default_branch="main")) as server, session_with(server, "acme") as session:
        reading = session.stars([DAY])
        assert rows_of(reading) == [
            {
                "org": "acme",
                "repo_id": 1,
                "repo_name": "repo-1",
                "repo_full_name": "acme/repo-1",
                "repo_visibility": "public",
                "repo_default_branch": "main",
                "date": DAY,
                "gained": 3,
                "observed_at": reading.observed_at,
            }
        ]


def test_a_day_that_has_not_come_yet_has_no_row():
    with serving_stars(starred(1)) as server, session_with(server, "acme") as session:
        assert list(gained(rows_of(session.stars(days_between(DAY, date(2026, 3, 9)))))) == [DAY, NOW.date()]


def test_day_by_day_gives_the_stars_of_the_range():
    days = days_between(date(2026, 2, 20), DAY)
    with serving_stars(starred(1)) as server:
        with session_with(server, "acme") as session:
            ranged = gained(rows_of(session.stars(days)))
        daily: dict[date, int] = {}
        for day in days:
            with session_with(server, "acme") as session:
                daily |= gained(rows_of(session.stars([day])))
    assert daily == ranged


@pytest.mark.parametrize(
    ("weeks", "requests"), [(1, 1), (28, 1), (29, 1), (30, 2), (52, 2), (90, 4)], ids=lambda value: str(value)
)
def test_30_weeks_take_a_request_and_the_reading_ends_where_the_range_begins(weeks: int, requests: int):
    with serving_stars(starred(1)) as server, session_with(server, "acme") as session:
        reading = session.stars(days_between(date(2026, 3, 1) - timedelta(weeks=weeks), DAY))
        assert len(rows_of(reading)) == 7 * weeks + 2
        assert len(server.requests) == 1 + requests
        assert {request.query["per_page"] for request in server.requests[1:]} == {"30"}


def test_a_history_that_is_younger_than_the_range_ends_with_its_last_page():
    young = starred(1, created_at="2025-12-31T10:00:00Z")
    with serving_stars(young) as server, session_with(server, "acme") as session:
        rows = rows_of(session.stars(days_between(date(2025, 1, 1), DAY)))
        assert len(server.requests) == 2
    assert min(row["date"] for row in rows) == date(2025, 12, 28)  # the Sunday before


def test_only_repositories_whose_stars_may_have_moved_are_asked():
    repos = [
        starred(1),
        starred(2, 0),  # none is held any more
        starred(3, 7),
        repo(4, "01T10:00", "02T10:00", stargazers_count=5),
        repo(5, "01T10:00", "01T10:00", stargazers_count=5),  # unchanged since
    ]
    with serving_stars(*repos) as server, session_with(server, "acme") as session:
        reading = session.stars([DAY], counted={1: 9, 3: 7, 4: 4})
        rows_of(reading)
        assert reading.budget().requests == 2
        assert [request.path for request in server.requests[1:]] == [
            "/repos/acme/repo-1/stargazers/history",
            "/repos/acme/repo-4/stargazers/history",
        ]


def test_a_week_that_begins_at_midnight_of_another_zone_begins_on_its_sunday():
    for offset in (-11, -8, 0, 9, 11):
        sunday = datetime(2026, 3, 1, tzinfo=UTC) - timedelta(hours=offset)

        def week(handler: GitHubHandler, number: int, sunday: datetime = sunday) -> bool:
            if number > 1:
                handler.answer(200, [{"week": int(sunday.timestamp()), "total": 3, "days": [0, 3, 0, 0, 0, 0, 0]}])
            return number > 1

        with serving_stars(starred(1), intercept=week) as server, session_with(server, "acme") as session:
            assert gained(rows_of(session.stars([DAY]))) == {DAY: 3}


def test_a_repository_that_vanishes_is_skipped_counted_and_warned_of():
    with (
        serving_stars(starred(1), starred(2), intercept=refuses("/history", "repo-1", answers(404))) as server,
        session_with(server, "acme") as session,
    ):
        reading = session.stars([DAY])
        assert {row["repo_id"] for row in rows_of(reading)} == {2}
        assert (reading.skipped, len(reading.warnings)) == (1, 1)


def test_a_version_of_the_api_without_the_history_is_refused_before_anything_is_asked():
    with serving_stars(starred(1)) as server, session_with(server, "acme", api_version="2022-11-28") as session:
        with pytest.raises(GitHubError, match="GITHUB_API_VERSION='2022-11-28'"):
            session.stars([DAY])
        assert rows_of(session.pushes([DAY])) == []
        assert {request.headers["X-GitHub-Api-Version"] for request in server.requests} == {"2022-11-28"}


def test_the_version_asked_for_is_the_newest_by_default():
    with serving_stars(starred(1)) as server, session_with(server, "acme") as session:
        rows_of(session.stars([DAY]))
        assert {request.headers["X-GitHub-Api-Version"] for request in server.requests} == {"2026-03-10"}


def test_pages_that_go_round_in_a_circle_are_an_error():
    week = {"week": int(datetime(2026, 3, 1, tzinfo=UTC).timestamp()), "total": 0, "days": [0] * 7}

    def circle(handler: GitHubHandler, number: int) -> bool:
        if number > 1:
            handler.answer(200, [week] * 30)
        return number > 1

    with serving_stars(starred(1), intercept=circle) as server, session_with(server, "acme") as session:
        with pytest.raises(GitHubError, match="go round in a circle"):
            rows_of(session.stars(days_between(date(2025, 1, 1), DAY)))
        assert len(server.requests) == 3


@pytest.mark.parametrize(
    "week",
    [{"week": 1772323200, "days": [0] * 6}, {"week": "soon", "days": [0] * 7}, {"week": 0, "days": [-1] * 7}, {}],
)
def test_a_week_that_is_not_as_documented_is_an_error(week: Json):
    def odd(handler: GitHubHandler, number: int) -> bool:
        if number > 1:
            handler.answer(200, [week])
        return number > 1

    with (
        serving_stars(starred(1), intercept=odd) as server,
        session_with(server, "acme") as session,
        pytest.raises(GitHubError, match="a week of stars"),
    ):
        rows_of(session.stars([DAY]))
