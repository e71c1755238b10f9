"""The session: one read of the repository list per run, and a request budget for each table."""

import logging
from datetime import UTC, datetime, timedelta

import pytest

from mds_assets.github.budget import Budget
from mds_assets.github.errors import GitHubError
from mds_assets_tests.github.recordings import quicwg, sliced_quicwg
from mds_assets_tests.github.server import GitHubServer
from mds_assets_tests.github.sessions import MARCH, rows_of, serving, session_with
from mds_assets_tests.github.test_client import DAY, repo
from mds_assets_tests.github.test_connection import answers, on


def listings(server: GitHubServer) -> int:
    """The number of requests for a list of repositories."""
    return sum(request.path.endswith("/repos") for request in server.requests)


def test_all_tables_of_a_run_share_one_read_of_the_changed_repositories():
    with serving(sliced_quicwg()) as server, session_with(server, "quicwg") as session:
        landed = [row for page in session.crawl(MARCH) for row in page]
        for reading in (session.pushes(MARCH), session.issues(MARCH), session.stars(MARCH)):
            assert rows_of(reading)
        assert listings(server) == 1
    assert {row["full_name"] for row in landed} == {repo["full_name"] for repo in quicwg().repos} - {
        "quicwg/ops-drafts"  # last pushed to in 2022
    }
    assert {row["observed_at"] for row in landed} == {session.changed(MARCH).crawl.observed_at}


def test_a_range_with_another_first_day_reads_its_own_list():
    with serving(sliced_quicwg()) as server, session_with(server, "quicwg") as session:
        session.changed(MARCH)
        session.changed(MARCH[:5])
        session.changed(MARCH[1:])
        assert listings(server) == 2


def test_a_failed_read_of_the_list_is_not_cached():
    with (
        GitHubServer({"acme": [repo(1, "02T10:00", None)]}, intercept=on({1}, answers(403))) as server,
        session_with(server, "acme") as session,
    ):
        with pytest.raises(GitHubError):
            session.changed([DAY])
        assert [row["id"] for row in session.changed([DAY]).of("acme")] == [1]


def test_a_repository_that_changes_while_the_list_is_read_is_returned_once_with_its_newest_state():
    others = [repo(number, "01T10:00", None) for number in range(2, 102)]
    with GitHubServer({"acme": [repo(1, "02T10:00", "02T10:00"), *others]}) as server:

        def push(_: object, number: int) -> bool:
            if number == 2:
                server.repos["acme"] = [repo(1, "02T11:00", "02T11:00"), *others]
            return False

        server.intercept = push
        with session_with(server, "acme") as session:
            changed = session.changed([DAY])
    assert len(changed.rows) == 2
    (newest,) = changed.of("acme")
    assert newest["pushed_at"] == datetime(2026, 3, 2, 11, tzinfo=UTC)


def test_each_budget_is_a_lower_bound_and_is_logged(caplog: pytest.LogCaptureFixture):
    with serving(sliced_quicwg()) as server, session_with(server, "quicwg") as session:
        readings = [session.pushes(MARCH), session.issues(MARCH), session.stars(MARCH), session.inventory()]
        budgets = [reading.budget() for reading in readings]
        assert listings(server) == len(server.requests) == 1
        assert [budget.remaining for budget in budgets] == [4999, None, 4999, 4999]
        for reading, budget in zip(readings, budgets, strict=True):
            with caplog.at_level(logging.INFO):
                rows_of(reading)
            assert reading.requests >= budget.requests
            assert f"{budget.table}: at least {budget.requests} requests; " in caplog.text
        # Exact here: everything fits on first pages, except stars, which have 30 weeks per page.
        assert [reading.requests for reading in readings] == [budget.requests for budget in budgets]
        assert [budget.requests for budget in budgets[:2]] == [4, 5]


def test_a_budget_states_what_is_left_and_whether_it_is_enough():
    assert str(Budget("pushes", 35, 4965)) == "pushes: at least 35 requests; 4965 left this hour"
    assert str(Budget("pushes", 35)) == "pushes: at least 35 requests; unknown left this hour"
    assert str(Budget("issues", 5, per_minute=30)) == "issues: at least 5 requests; 30 a minute"
    enough, scarce = Budget("pushes", 35, 35), Budget("pushes", 35, 34)
    assert (enough.is_affordable, scarce.is_affordable, Budget("issues", 99).is_affordable) == (True, False, True)


def test_300_changed_repositories_are_not_affordable_without_a_token():
    repos = [repo(number, "02T10:00", "02T10:00") for number in range(1, 301)]

    with GitHubServer({"acme": repos}) as server, session_with(server, "acme", token=None) as session:
        server.rate_limit = 60
        budget = session.pushes([DAY]).budget()
        assert (budget.requests, budget.remaining, budget.is_affordable) == (300, 57, False)
        assert budget.resets_at
        assert timedelta(0) < budget.resets_at - datetime.now(UTC) <= timedelta(hours=1, seconds=5)
        assert session.issues([DAY]).budget().per_minute == 10


def test_searches_leave_the_hourly_limit_unchanged():
    with serving(sliced_quicwg()) as server, session_with(server, "quicwg") as session:
        rows_of(session.issues(MARCH))
        assert session.connection.rate_limit_remaining == 4999
        assert session.connection.searches.per_minute == 30


def test_the_inventory_has_every_repository_once_with_100_per_request():
    repos = [repo(number, "01T10:00", None) for number in range(1, 251)]
    with GitHubServer({"acme": repos}) as server, session_with(server, "acme") as session:
        reading = session.inventory()
        assert sorted(row["id"] for row in rows_of(reading)) == list(range(1, 251))
        assert reading.requests == 3


def test_a_repository_created_while_the_inventory_is_read_neither_duplicates_nor_hides_another():
    repos = [repo(number, "01T10:00", None) for number in range(1, 201)]
    with GitHubServer({"acme": repos}) as server, session_with(server, "acme") as session:

        def create(_: object, number: int) -> bool:
            if number == 2:
                repos.append(repo(999, "02T10:00", None, created_at="2026-03-02T10:00:00Z"))
            return False

        server.intercept = create
        assert sorted(row["id"] for row in rows_of(session.inventory())) == [*range(1, 201), 999]


def test_a_user_s_inventory_is_read_from_the_users_path():
    with (
        GitHubServer({}, users={"octocat": [repo(1, "02T10:00", None)]}) as server,
        session_with(server, "octocat") as session,
    ):
        session.changed([DAY])
        assert [row["org"] for row in rows_of(session.inventory())] == ["octocat"]
    assert [request.path.split("/")[1] for request in server.requests] == ["orgs", "users", "users"]


def test_a_session_without_requests_opens_no_connection():
    with GitHubServer({}) as server, session_with(server, "acme") as session:
        session.pushes([DAY])
    assert "connection" not in session.__dict__


FIVE_PAGES = [repo(number, "02T10:00", None) for number in range(1, 451)]


@pytest.mark.parametrize("number", [2, 3, 4])
@pytest.mark.parametrize("last", [0, 60])
def test_an_inventory_that_ends_well_before_its_announced_end_is_an_error_to_retry(number: int, last: int):
    fault = on({number}, answers(200, FIVE_PAGES[:last]))
    with GitHubServer({"acme": FIVE_PAGES}, intercept=fault) as server, session_with(server, "acme") as session:
        inventory = session.inventory()
        if (number, last) == (4, 60):  # as if repositories were deleted meanwhile
            rows_of(inventory)
            return
        with pytest.raises(GitHubError, match=f"ends after page {number} of the 5 that GitHub announced") as error:
            rows_of(inventory)
    assert error.value.retryable


def test_repositories_deleted_while_an_inventory_is_read_are_no_error():
    with GitHubServer({"acme": FIVE_PAGES}) as server, session_with(server, "acme") as session:

        def delete(_: object, number: int) -> bool:
            if number == 2:
                server.repos["acme"] = FIVE_PAGES[:390]
            return False

        server.intercept = delete
        assert len(rows_of(session.inventory())) == 390


def test_an_announced_page_that_is_empty_is_a_warning_of_the_inventory():
    with GitHubServer({"acme": FIVE_PAGES[:150]}) as server, session_with(server, "acme") as session:
        server.intercept = on({2}, answers(200, []))
        inventory = session.inventory()
        rows_of(inventory)
    assert [warning[:57] for warning in inventory.warnings] == [
        "GITHUB_ORG 'acme': page 2 of the listing is empty. Run it"
    ]
