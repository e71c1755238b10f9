"""Every event table under faults: a transient fault changes no row, any other ends the reading with an error.

The faults are those of `test_connection.py`, injected into a request of each table.
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
from mds_assets_tests.github.test_connection import LIMITS, PASSING, Fault, answers, nothing_left, on, timeout_for

GAINED = {day: day.day % 3 for day in MARCH}


def inventory(session: Session) -> Reading:
    """The inventory, read after the changed repositories, as in a run."""
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
    """A server with the events recorded in March 2023, and stars."""
    events: Events = sliced_quicwg()
    stars: dict[str, dict[date, int]] = {repo["full_name"]: GAINED for repo in events.repos}
    return serving(events, stars=stars, token=TOKEN, intercept=intercept)


def read(
    table: Callable[[Session], Reading],
    intercept: Callable[[GitHubHandler, int], bool] | None = None,
    timeout: tuple[float, float] = (5, 60),
) -> tuple[list[Json], Reading, Clock, GitHubServer]:
    """A table's rows without `observed_at`, with the reading, the clock and the server."""
    clock = Clock()
    with (
        serving_quicwg(intercept) as server,
        session_with(server, "quicwg", clock=clock, timeout=timeout) as session,
    ):
        reading = table(session)
        rows = [{name: value for name, value in row.items() if name != "observed_at"} for row in rows_of(reading)]
    return rows, reading, clock, server


@cache
def without_faults(table: Callable[[Session], Reading]) -> tuple[list[Json], int]:
    """A table's rows without faults, and the number of requests."""
    rows, _, _, server = read(table)
    assert rows
    return rows, len(server.requests)


@pytest.mark.slow(1)
@every_table
@pytest.mark.parametrize("fault", PASSING.values(), ids=PASSING)
def test_a_transient_fault_changes_no_row(table: Callable[[Session], Reading], fault: Fault):
    rows, _, clock, server = read(table, on({2}, fault), timeout_for(fault))
    assert (rows, len(server.requests) - 1) == without_faults(table)
    assert [1 <= wait <= 2 for wait in clock.waits] == [True]


@every_table
@pytest.mark.parametrize(("fault", "wait"), LIMITS.values(), ids=LIMITS)
def test_a_rate_limit_is_waited_out_and_changes_no_row(table: Callable[[Session], Reading], fault: Fault, wait: float):
    rows, _, clock, server = read(table, on({2}, fault))
    assert (rows, len(server.requests) - 1) == without_faults(table)
    assert clock.waits == [pytest.approx(wait, abs=5)]


@every_table
def test_a_rate_limit_beyond_the_maximum_wait_is_an_error_that_says_when_to_retry(table: Callable[[Session], Reading]):
    with pytest.raises(GitHubError, match=r"Retry at .* UTC.*GITHUB_MAX_WAIT_SECONDS=900"):
        read(table, on({2}, nothing_left(403, 3_000)))


@every_table
def test_a_persistent_fault_is_a_retryable_error_after_5_attempts(table: Callable[[Session], Reading]):
    with pytest.raises(GitHubError, match="after 5 attempts") as error:
        read(table, on(set(range(2, 99)), answers(502)))
    assert error.value.retryable


@every_table
@pytest.mark.parametrize("status", [401, 403, 422])
def test_a_permanent_error_is_not_retried_and_does_not_quote_the_token(
    table: Callable[[Session], Reading], status: int
):
    with pytest.raises(GitHubError, match=f"answered {status}") as error:
        read(table, on({2}, answers(status, {"message": f"no {TOKEN}"})))
    assert TOKEN not in str(error.value)
    assert not error.value.retryable


@every_table
def test_a_next_page_on_another_host_is_never_requested(table: Callable[[Session], Reading]):
    with GitHubServer({}) as elsewhere:

        def foreign(handler: GitHubHandler, number: int) -> bool:
            if number == 2:
                handler.answer(200, [], {"Link": f'<{elsewhere.url}/page/2>; rel="next"'})
            return number == 2

        with pytest.raises(GitHubError, match="another host"):
            read(table, foreign)
        assert elsewhere.requests == []


@every_table
def test_a_redirect_to_another_host_is_never_followed(table: Callable[[Session], Reading]):
    with GitHubServer({}) as elsewhere:
        with pytest.raises(GitHubError, match="another host"):
            read(table, on({2}, answers(301, location=f"{elsewhere.url}/repos/quicwg/qlog/activity")))
        assert elsewhere.requests == []


@pytest.mark.parametrize("path", ["activity", "stargazers/history"])
def test_a_renamed_repository_s_redirect_is_followed(path: str):
    table = TABLES["pushes" if path == "activity" else "stars"]
    number = next(repo["id"] for repo in sliced_quicwg().repos if repo["name"] == "qlog")

    def renamed(handler: GitHubHandler, _number: int) -> bool:
        url, _, query = handler.path.partition("?")
        if url != f"/repos/quicwg/qlog/{path}":
            return False
        handler.answer(301, {}, {"Location": f"/repositories/{number}/{path}?{query}"})
        return True

    rows, reading, _, _ = read(table, renamed)
    assert rows == without_faults(table)[0]
    assert reading.skipped == 0


@pytest.mark.parametrize("table", [TABLES["issues"], TABLES["inventory"]], ids=["issues", "inventory"])
def test_a_pagination_loop_is_an_error(table: Callable[[Session], Reading]):
    def loop(handler: GitHubHandler, number: int) -> bool:
        if number == 1:
            return False
        link = {"Link": f'<{handler.server.github.url}{handler.path}>; rel="next"'}
        body = {"total_count": 0, "incomplete_results": False, "items": []} if "/search/" in handler.path else []
        handler.answer(200, body, link)
        return True

    with pytest.raises(GitHubError, match="pagination loops"):
        read(table, loop)


@every_table
def test_an_error_on_any_request_reaches_the_caller(table: Callable[[Session], Reading]):
    """No partial reading ends as if it were complete."""
    _, requests = without_faults(table)
    for number in range(1, requests + 1):
        with pytest.raises(GitHubError):
            read(table, on({number}, answers(403)))
