"""Promises of every table of events under faults: those that pass change nothing, any other ends the reading.

The faults are those of the repository list (`test_connection.py`); each hits a request of each table.
"""

from collections.abc import Callable
from datetime import date
from functools import cache

import pytest

from mds_assets.github.errors import GitHubError
from mds_assets.github.reading import Reading
from mds_assets.github.repository import Json
from mds_assets.github.session import Session
from mds_assets_tests.github.recordings import Events, sliced_quicwg
from mds_assets_tests.github.server import GitHubHandler, GitHubServer
from mds_assets_tests.github.sessions import MARCH, TOKEN, Clock, rows_of, serving, session_with
from mds_assets_tests.github.test_connection import LIMITS, PASSING, Fault, answers, nothing_left, on

GAINED = {day: day.day % 3 for day in MARCH}


def inventory(session: Session) -> Reading:
    """The inventory, after the list of changed repositories as in a run."""
    session.changed(MARCH)
    return session.inventory()


TABLES: dict[str, Callable[[Session], Reading]] = {
    "pushes": lambda session: session.pushes(MARCH),
    "issues": lambda session: session.issues(MARCH),
    "stars": lambda session: session.stars(MARCH),
    "inventory": inventory,
}
every_table = pytest.mark.parametrize("table", TABLES.values(), ids=TABLES)


def serving_quicwg(intercept: Callable[[GitHubHandler, int], bool] | None = None) -> GitHubServer:
    """A server of the recorded March 2023, with stars."""
    events: Events = sliced_quicwg()
    stars: dict[str, dict[date, int]] = {repo["full_name"]: GAINED for repo in events.repos}
    return serving(events, stars=stars, token=TOKEN, intercept=intercept)


def read(
    table: Callable[[Session], Reading], intercept: Callable[[GitHubHandler, int], bool] | None = None
) -> tuple[list[Json], Reading, Clock, GitHubServer]:
    """All rows of a table but for the moment of observation, its reading, and who waited and was asked."""
    clock = Clock()
    with (
        serving_quicwg(intercept) as server,
        session_with(server, "quicwg", clock=clock, timeout=(5, 0.5)) as session,
    ):
        reading = table(session)
        rows = [{name: value for name, value in row.items() if name != "observed_at"} for row in rows_of(reading)]
    return rows, reading, clock, server


@cache
def undisturbed(table: Callable[[Session], Reading]) -> tuple[list[Json], int]:
    """A table's rows without a fault, and how many requests they took."""
    rows, _, _, server = read(table)
    assert rows
    return rows, len(server.requests)


@every_table
@pytest.mark.parametrize("fault", PASSING.values(), ids=PASSING)
def test_a_fault_that_passes_changes_no_row(table: Callable[[Session], Reading], fault: Fault):
    rows, _, clock, server = read(table, on({2}, fault))
    assert (rows, len(server.requests) - 1) == undisturbed(table)
    assert [1 <= wait <= 2 for wait in clock.waits] == [True]


@every_table
@pytest.mark.parametrize(("fault", "wait"), LIMITS.values(), ids=LIMITS)
def test_a_limit_is_waited_for_as_github_asks_and_changes_no_row(
    table: Callable[[Session], Reading], fault: Fault, wait: float
):
    rows, _, clock, server = read(table, on({2}, fault))
    assert (rows, len(server.requests) - 1) == undisturbed(table)
    assert clock.waits == [pytest.approx(wait, abs=5)]


@every_table
def test_a_limit_beyond_what_one_request_may_wait_ends_with_when_to_come_back(table: Callable[[Session], Reading]):
    with pytest.raises(GitHubError, match=r"Retry at .* UTC.*GITHUB_MAX_WAIT_SECONDS=900"):
        read(table, on({2}, nothing_left(403, 3_000)))


@every_table
def test_a_fault_that_does_not_pass_ends_after_5_attempts_and_may_be_tried_later(table: Callable[[Session], Reading]):
    with pytest.raises(GitHubError, match="after 5 attempts") as error:
        read(table, on(set(range(2, 99)), answers(502)))
    assert error.value.retryable


@every_table
@pytest.mark.parametrize("status", [401, 403, 422])
def test_a_refusal_ends_the_reading_at_once_without_the_token(table: Callable[[Session], Reading], status: int):
    with pytest.raises(GitHubError, match=f"answered {status}") as error:
        read(table, on({2}, answers(status, {"message": f"no {TOKEN}"})))
    assert TOKEN not in str(error.value)
    assert not error.value.retryable


@every_table
def test_a_next_page_on_another_host_is_refused_and_never_asked_for(table: Callable[[Session], Reading]):
    with GitHubServer({}) as elsewhere:

        def foreign(handler: GitHubHandler, number: int) -> bool:
            if number == 2:
                handler.answer(200, [], {"Link": f'<{elsewhere.url}/page/2>; rel="next"'})
            return number == 2

        with pytest.raises(GitHubError, match="another host"):
            read(table, foreign)
        assert elsewhere.requests == []


@every_table
def test_a_redirect_to_another_host_is_refused_and_never_followed(table: Callable[[Session], Reading]):
    with GitHubServer({}) as elsewhere:
        with pytest.raises(GitHubError, match="another host"):
            read(table, on({2}, answers(301, location=f"{elsewhere.url}/repos/quicwg/qlog/activity")))
        assert elsewhere.requests == []


@pytest.mark.parametrize("path", ["activity", "stargazers/history"])
def test_a_renamed_repository_is_followed_on_the_same_host(path: str):
    table = TABLES["pushes" if path == "activity" else "stars"]
    number = next(repo["id"] for repo in sliced_quicwg().repos if repo["name"] == "qlog")

    def renamed(handler: GitHubHandler, _number: int) -> bool:
        url, _, query = handler.path.partition("?")
        if url != f"/repos/quicwg/qlog/{path}":
            return False
        handler.answer(301, {}, {"Location": f"/repositories/{number}/{path}?{query}"})
        return True

    rows, reading, _, _ = read(table, renamed)
    assert rows == undisturbed(table)[0]
    assert reading.skipped == 0


@pytest.mark.parametrize("table", [TABLES["issues"], TABLES["inventory"]], ids=["issues", "inventory"])
def test_pages_that_go_round_in_a_circle_are_an_error(table: Callable[[Session], Reading]):
    def circle(handler: GitHubHandler, number: int) -> bool:
        if number == 1:
            return False
        link = {"Link": f'<{handler.server.github.url}{handler.path}>; rel="next"'}
        body = {"total_count": 0, "incomplete_results": False, "items": []} if "/search/" in handler.path else []
        handler.answer(200, body, link)
        return True

    with pytest.raises(GitHubError, match="go round in a circle"):
        read(table, circle)


@every_table
def test_what_came_before_an_error_is_never_called_complete(table: Callable[[Session], Reading]):
    """Whoever iterates to the end sees the error, whichever request it hits."""
    _, requests = undisturbed(table)
    for number in range(1, requests + 1):
        with pytest.raises(GitHubError):
            read(table, on({number}, answers(403)))
