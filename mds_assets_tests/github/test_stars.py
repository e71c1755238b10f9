"""Stars: the number each repository gained on each date of the range, by GitHub's current count."""

from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from mds_assets.github.errors import GitHubError
from mds_assets.github.repository import Json
from mds_assets.stack.partitions import days_between
from mds_assets_tests.github.server import GitHubHandler, GitHubServer
from mds_assets_tests.github.sessions import rows_of, session_with
from mds_assets_tests.github.test_activity import fails
from mds_assets_tests.github.test_client import DAY, repo
from mds_assets_tests.github.test_connection import answers

NOW = datetime(2026, 3, 3, 0, 5, tzinfo=UTC)  # a Tuesday
GAINED = {date(2026, 2, 28): 1, date(2026, 3, 1): 2, date(2026, 3, 2): 3, date(2026, 3, 3): 4}


def starred(number: int, stars: int = 10, **fields: Any) -> Json:
    """A repository with stars that changed on March 2."""
    return repo(number, "02T10:00", None, stargazers_count=stars, visibility="public", **fields)


def serving_stars(*repos: Json, **options: Any) -> GitHubServer:
    """A server with these repositories and `GAINED` as the star history of each."""
    stars = {each["full_name"]: GAINED for each in repos}
    return GitHubServer({"acme": list(repos)}, stars=stars, now=lambda: NOW, **options)


def gained(rows: list[Json]) -> dict[date, int]:
    """Stars gained by date."""
    return {row["date"]: row["gained"] for row in rows}


def test_each_date_of_the_range_has_a_row_even_if_no_star_was_gained():
    with serving_stars(starred(1)) as server, session_with(server, "acme") as session:
        rows = rows_of(session.stars(days_between(date(2026, 2, 26), DAY)))
    expected = {date(2026, 2, 26): 0, date(2026, 2, 27): 0}
    assert gained(rows) == expected | {day: count for day, count in GAINED.items() if day <= DAY}


def test_a_row_identifies_its_repository():
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


def test_a_future_date_has_no_row():
    with serving_stars(starred(1)) as server, session_with(server, "acme") as session:
        assert list(gained(rows_of(session.stars(days_between(DAY, date(2026, 3, 9)))))) == [DAY, NOW.date()]


def test_single_days_and_a_range_give_the_same_stars():
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
def test_each_request_reads_30_weeks_and_paging_stops_at_the_first_day(weeks: int, requests: int):
    with serving_stars(starred(1)) as server, session_with(server, "acme") as session:
        reading = session.stars(days_between(date(2026, 3, 1) - timedelta(weeks=weeks), DAY))
        assert len(rows_of(reading)) == 7 * weeks + 2
        assert len(server.requests) == 1 + requests
        assert {request.query["per_page"] for request in server.requests[1:]} == {"30"}


def test_a_history_shorter_than_the_range_ends_with_its_last_page():
    young = starred(1, created_at="2025-12-31T10:00:00Z")
    with serving_stars(young) as server, session_with(server, "acme") as session:
        rows = rows_of(session.stars(days_between(date(2025, 1, 1), DAY)))
        assert len(server.requests) == 2
    assert min(row["date"] for row in rows) == date(2025, 12, 28)  # the Sunday before


def test_repositories_whose_stars_cannot_have_changed_are_not_requested():
    repos = [
        starred(1),
        starred(2, 0),  # no stars
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


def test_a_week_starting_at_midnight_in_another_zone_starts_on_that_sunday():
    for offset in (-11, -8, 0, 9, 11):
        sunday = datetime(2026, 3, 1, tzinfo=UTC) - timedelta(hours=offset)

        def week(handler: GitHubHandler, number: int, sunday: datetime = sunday) -> bool:
            if number > 1:
                handler.answer(200, [{"week": int(sunday.timestamp()), "total": 3, "days": [0, 3, 0, 0, 0, 0, 0]}])
            return number > 1

        with serving_stars(starred(1), intercept=week) as server, session_with(server, "acme") as session:
            assert gained(rows_of(session.stars([DAY]))) == {DAY: 3}


def test_a_deleted_repository_is_skipped_with_a_warning():
    with (
        serving_stars(starred(1), starred(2), intercept=fails("/history", "repo-1", answers(404))) as server,
        session_with(server, "acme") as session,
    ):
        reading = session.stars([DAY])
        assert {row["repo_id"] for row in rows_of(reading)} == {2}
        assert (reading.skipped, len(reading.warnings)) == (1, 1)


def test_an_api_version_without_star_history_is_rejected_before_any_request():
    with serving_stars(starred(1)) as server, session_with(server, "acme", api_version="2022-11-28") as session:
        with pytest.raises(GitHubError, match="GITHUB_API_VERSION='2022-11-28'"):
            session.stars([DAY])
        assert rows_of(session.pushes([DAY])) == []
        assert {request.headers["X-GitHub-Api-Version"] for request in server.requests} == {"2022-11-28"}


def test_the_default_api_version_is_the_newest():
    with serving_stars(starred(1)) as server, session_with(server, "acme") as session:
        rows_of(session.stars([DAY]))
        assert {request.headers["X-GitHub-Api-Version"] for request in server.requests} == {"2026-03-10"}


def test_a_pagination_loop_is_an_error():
    week = {"week": int(datetime(2026, 3, 1, tzinfo=UTC).timestamp()), "total": 0, "days": [0] * 7}

    def loop(handler: GitHubHandler, number: int) -> bool:
        if number > 1:
            handler.answer(200, [week] * 30)
        return number > 1

    with serving_stars(starred(1), intercept=loop) as server, session_with(server, "acme") as session:
        with pytest.raises(GitHubError, match="pagination loops"):
            rows_of(session.stars(days_between(date(2025, 1, 1), DAY)))
        assert len(server.requests) == 3


@pytest.mark.parametrize(
    "week",
    [{"week": 1772323200, "days": [0] * 6}, {"week": "soon", "days": [0] * 7}, {"week": 0, "days": [-1] * 7}, {}],
)
def test_an_undocumented_week_is_an_error(week: Json):
    def odd(handler: GitHubHandler, number: int) -> bool:
        if number > 1:
            handler.answer(200, [week])
        return number > 1

    with (
        serving_stars(starred(1), intercept=odd) as server,
        session_with(server, "acme") as session,
        pytest.raises(GitHubError, match="invalid week of stars"),
    ):
        rows_of(session.stars([DAY]))
