"""Issues: every event of the range exactly once, however many there are, within GitHub's search limits."""

import logging
import statistics
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mds_assets.github import search
from mds_assets.github.errors import GitHubError
from mds_assets.github.repository import Json
from mds_assets.github.search import split_until_complete
from mds_assets.stack.partitions import days_between
from mds_assets_tests.github.events import event_time
from mds_assets_tests.github.recordings import needs_recordings, quicwg, sliced_quicwg
from mds_assets_tests.github.server import GitHubHandler, GitHubServer
from mds_assets_tests.github.sessions import MARCH, Clock, rows_of, serving, session_with
from mds_assets_tests.github.test_activity import fails
from mds_assets_tests.github.test_client import DAY, repo
from mds_assets_tests.github.test_connection import answers

EVENTS = {"opened": "created", "closed": "closed", "merged": "merged"}


def issue(number: int, created: str, closed: str | None = None, merged: str | None = None, **fields: Any) -> Json:
    """An issue of acme with these timestamps; a pull request if `is_pull_request` is true or it was merged."""
    is_pull_request = fields.pop("is_pull_request", merged is not None)
    return {
        "id": number,
        "number": number,
        "title": f"Issue {number}",
        "repository_url": "https://api.github.com/repos/acme/repo-1",
        "user": {"login": "octocat", "id": 1, "type": "User"},
        "created_at": created,
        "updated_at": created,
        "closed_at": closed,
        **({"pull_request": {"merged_at": merged}} if is_pull_request else {}),
        **fields,
    }


def of_acme(issues: list[Json], **options: Any) -> GitHubServer:
    """A server with these issues."""
    return GitHubServer({"acme": [repo(1, "02T10:00", "02T10:00")]}, issues=issues, **options)


def events_of(rows: list[Json]) -> Counter[tuple[str, int, datetime]]:
    """The events, each with its number of rows."""
    return Counter((row["event"], row["id"], row["event_at"]) for row in rows)


def expected_events(issues: list[Json], days: list[date]) -> Counter[tuple[str, int, datetime]]:
    """The same, computed from every item."""
    expected: Counter[tuple[str, int, datetime]] = Counter()
    for item in issues:
        for event, field in EVENTS.items():
            moment = event_time(item, field)
            if moment and days[0] <= datetime.fromisoformat(moment).date() <= days[-1]:
                expected[event, item["id"], datetime.fromisoformat(moment)] += 1
    return expected


def searches(server: GitHubServer) -> list[str]:
    """The search text of each search request."""
    return [request.query["q"] for request in server.requests if request.path.endswith("/search/issues")]


def test_march_2023_of_quicwg_is_exact_in_5_searches():
    with serving(sliced_quicwg()) as server, session_with(server, "quicwg") as session:
        reading = session.issues(MARCH)
        rows = rows_of(reading)
    assert Counter((row["event"], "pull_request" in row) for row in rows) == {
        ("opened", False): 34,
        ("closed", False): 25,
        ("opened", True): 29,
        ("closed", True): 35,  # 30 of them merged
        ("merged", True): 30,
    }
    assert events_of(rows) == expected_events(sliced_quicwg().issues, MARCH)
    assert reading.requests == 1 + len(searches(server)) == 1 + 5
    hours = [(row["event_at"] - row["created_at"]) / timedelta(hours=1) for row in rows if row["event"] == "merged"]
    assert round(statistics.median(hours), 1) == 85.7


@needs_recordings
def test_nine_years_of_quicwg_are_exact_despite_1000_items_per_search():
    days = days_between(date(2017, 1, 1), date(2026, 7, 31))
    with serving(quicwg()) as server, session_with(server, "quicwg") as session:
        reading = session.issues(days)
        assert events_of(rows_of(reading)) == expected_events(quicwg().issues, days)
        assert max(int(request.query.get("page", "1")) for request in server.requests) == 10
        assert reading.requests == 62


def test_single_days_and_a_range_give_the_same_events():
    with serving(sliced_quicwg()) as server:
        with session_with(server, "quicwg") as session:
            ranged = events_of(rows_of(session.issues(MARCH)))
        daily: Counter[tuple[str, int, datetime]] = Counter()
        for day in reversed(MARCH):
            with session_with(server, "quicwg") as session:
                daily += events_of(rows_of(session.issues([day])))
    assert daily == ranged


def test_a_row_is_github_s_item_plus_the_event():
    item = issue(
        5,
        "2026-03-01T10:00:00Z",
        "2026-03-02T12:00:00Z",
        "2026-03-02T11:59:59Z",
        labels=[{"name": "x"}],
        event="theirs",
    )
    with of_acme([item]) as server, session_with(server, "acme") as session:
        reading = session.issues([DAY])
        closed, merged = rows_of(reading)
    assert closed == {
        **item,
        "created_at": datetime(2026, 3, 1, 10, tzinfo=UTC),
        "updated_at": datetime(2026, 3, 1, 10, tzinfo=UTC),
        "closed_at": datetime(2026, 3, 2, 12, tzinfo=UTC),
        "org": "acme",
        "repo_name": "repo-1",
        "repo_full_name": "acme/repo-1",
        "github_event": "theirs",
        "event": "closed",
        "event_at": datetime(2026, 3, 2, 12, tzinfo=UTC),
        "observed_at": reading.observed_at,
    }
    assert merged == {**closed, "event": "merged", "event_at": datetime(2026, 3, 2, 11, 59, 59, tzinfo=UTC)}


def test_a_day_includes_its_first_and_last_second_and_nothing_more():
    moments = ["2026-03-01T23:59:59Z", "2026-03-02T00:00:00Z", "2026-03-02T23:59:59Z", "2026-03-03T00:00:00Z"]
    with (
        of_acme([issue(number, moment) for number, moment in enumerate(moments)]) as server,
        session_with(server, "acme") as session,
    ):
        assert [row["id"] for row in rows_of(session.issues([DAY]))] == [1, 2]
    assert searches(server)[0] == "org:acme is:issue created:2026-03-02T00:00:00Z..2026-03-02T23:59:59Z"


def test_a_search_has_the_qualifiers_that_github_requires():
    """`is:issue` or `is:pr`, and `org:` or `user:`."""
    listed = {"octocat": [repo(1, "02T10:00", None)]}
    with GitHubServer({}, users=listed) as server, session_with(server, "octocat") as session:
        assert rows_of(session.issues([DAY])) == []
    kinds = [query.split(" ")[:2] for query in searches(server)]
    assert kinds == [["user:octocat", f"is:{kind}"] for kind in ("issue", "pr", "issue", "pr", "pr")]


def test_an_organisation_without_repositories_is_not_searched():
    with GitHubServer({"acme": []}) as server, session_with(server, "acme") as session:
        assert rows_of(session.issues([DAY])) == []
    assert searches(server) == []


@given(
    moments=st.lists(st.integers(0, 40), max_size=40),
    first=st.integers(0, 40),
    length=st.integers(0, 40),
    most=st.integers(1, 8),
)
def test_splitting_never_loses_or_duplicates_an_event(moments: list[int], first: int, length: int, most: int):
    last = first + length

    def matches(start: int, end: int) -> list[tuple[int, int]] | None:
        assert first <= start <= end <= last
        items = [(moment, number) for number, moment in enumerate(moments) if start <= moment <= end]
        if len(items) > most and start == end:
            raise OverflowError(start)
        return None if len(items) > most else items

    within = [(moment, number) for number, moment in enumerate(moments) if first <= moment <= last]
    fullest = Counter(moment for moment, _ in within).most_common(1)
    if fullest and fullest[0][1] > most:
        with pytest.raises(OverflowError):
            list(split_until_complete(matches, first, last))
    else:
        assert sorted(event for events in split_until_complete(matches, first, last) for event in events) == sorted(
            within
        )


@pytest.fixture(scope="module")
def acme() -> Iterator[GitHubServer]:
    """A server; each example sets its issues."""
    with of_acme([]) as server:
        yield server


# Seconds since noon of the day before: clustered around the day's two midnights, to force repeated splits.
NEAR_MIDNIGHT = st.sampled_from([*range(43_190, 43_220), *range(129_590, 129_620)])


@pytest.mark.slow(10)  # the other tests of splits are quick
@settings(max_examples=40)
@given(
    events=st.lists(st.tuples(NEAR_MIDNIGHT, st.integers(0, 3)), min_size=20, max_size=50, unique_by=lambda it: it[0])
)
def test_split_searches_never_lose_or_duplicate_an_event(acme: GitHubServer, events: list[tuple[int, int]]):
    """Over HTTP, with a limit of 4 items per search."""
    first = datetime(2026, 3, 1, 12, tzinfo=UTC)
    moments = [f"{first + timedelta(seconds=second):%Y-%m-%dT%H:%M:%SZ}" for second, _ in events]
    acme.issues = [
        issue(number, moment, moment if kind else None, moment if kind == 2 else None, is_pull_request=kind > 1)
        if kind < 3
        else issue(number, "2020-01-01T00:00:00Z", moment, moment)
        for number, (moment, (_, kind)) in enumerate(zip(moments, events, strict=True))
    ]
    with (
        patch.object(search, "MAX_ITEMS", 4),
        session_with(acme, "acme", clock=Clock(), max_wait=1e9) as session,
    ):
        assert events_of(rows_of(session.issues([DAY]))) == expected_events(acme.issues, [DAY])


def test_a_range_with_more_than_1000_events_is_split_down_to_single_seconds():
    """2,001 events in three consecutive seconds: 1,000, 1,000 and 1."""
    seconds = ["2026-03-02T10:00:00Z"] * 1000 + ["2026-03-02T10:00:01Z"] * 1000 + ["2026-03-02T10:00:02Z"]
    issues = [issue(number, moment) for number, moment in enumerate(seconds)]
    with of_acme(issues) as server, session_with(server, "acme") as session:
        assert events_of(rows_of(session.issues([DAY]))) == expected_events(issues, [DAY])


def test_a_second_with_more_than_1000_events_is_an_error_that_names_it():
    issues = [issue(number, "2026-03-02T10:00:01Z") for number in range(1001)]
    with (
        of_acme(issues) as server,
        session_with(server, "acme") as session,
        pytest.raises(GitHubError, match="1001 items were opened in the single second 2026-03-02T10:00:01Z"),
    ):
        rows_of(session.issues([DAY]))


def incomplete(times: int) -> Callable[[GitHubHandler, int], bool]:
    """An `intercept` that answers this many searches with `incomplete_results`."""
    left = [times]

    def intercept(handler: GitHubHandler, _: int) -> bool:
        if "/search/" not in handler.path or not left[0]:
            return False
        left[0] -= 1
        handler.answer(200, {"total_count": 0, "incomplete_results": True, "items": []})
        return True

    return intercept


def test_a_search_with_incomplete_results_is_retried():
    clock = Clock()
    with (
        serving(sliced_quicwg(), intercept=incomplete(2)) as server,
        session_with(server, "quicwg", clock=clock) as session,
    ):
        rows = rows_of(session.issues(MARCH))
    assert events_of(rows) == expected_events(sliced_quicwg().issues, MARCH)
    assert len(searches(server)) == 5 + 2
    assert [int(wait) for wait in clock.waits] in ([1, 2], [1, 3], [2, 2], [2, 3])


def test_incomplete_results_are_an_error_after_5_attempts():
    with (
        serving(sliced_quicwg(), intercept=incomplete(99)) as server,
        session_with(server, "quicwg") as session,
        pytest.raises(GitHubError, match="incomplete_results") as error,
    ):
        rows_of(session.issues(MARCH))
    assert error.value.retryable
    assert len(searches(server)) == 5


def test_an_incomplete_second_page_is_retried():
    issues = [issue(number, "2026-03-02T10:00:00Z") for number in range(150)]
    retried: list[int] = []

    def second_page(handler: GitHubHandler, number: int) -> bool:
        if "page=2" not in handler.path.replace("per_page", "") or retried:
            return False
        retried.append(number)
        handler.answer(200, {"total_count": 150, "incomplete_results": True, "items": []})
        return True

    with of_acme(issues, intercept=second_page) as server, session_with(server, "acme") as session:
        assert len(rows_of(session.issues([DAY]))) == 150
    assert retried


def test_a_search_that_returns_less_than_its_total_is_sent_3_times_then_warned_about():
    def miscounts(handler: GitHubHandler, _: int) -> bool:
        if "is%3Aissue+created" in handler.path:
            body = {"total_count": 2, "incomplete_results": False, "items": [issue(1, "2026-03-02T10:00:00Z")]}
            handler.answer(200, body)
            return True
        return False

    with of_acme([], intercept=miscounts) as server, session_with(server, "acme") as session:
        reading = session.issues([DAY])
        assert [row["id"] for row in rows_of(reading)] == [1]
    assert len(searches(server)) == 3 + 4
    (warning,) = reading.warnings
    assert "returned 1 of 2 items, 3 times" in warning


def test_an_item_reopened_since_it_was_indexed_is_left_out_with_a_warning():
    def reopened(handler: GitHubHandler, _: int) -> bool:
        if "is%3Aissue+closed" in handler.path:
            body = {"total_count": 1, "incomplete_results": False, "items": [issue(1, "2026-03-01T10:00:00Z")]}
            handler.answer(200, body)
            return True
        return False

    with of_acme([], intercept=reopened) as server, session_with(server, "acme") as session:
        reading = session.issues([DAY])
        assert rows_of(reading) == []
    assert "left out 1 results" in reading.warnings[0]
    assert "no longer match" in reading.warnings[0]


@pytest.mark.parametrize(("token", "per_minute"), [("ghp_VALID", 30), (None, 10)])
def test_searches_are_paced_before_github_rejects_any(
    token: str | None, per_minute: int, caplog: pytest.LogCaptureFixture
):
    """13 organisations take 65 searches; the server sends no rate-limit headers and rejects none."""
    names = [f"acme-{number}" for number in range(13)]
    clock, sent_at = Clock(), list[float]()

    def record(handler: GitHubHandler, _: int) -> bool:
        if "/search/" in handler.path:
            sent_at.append(clock.now)
            handler.answer(200, {"total_count": 0, "incomplete_results": False, "items": []})
            return True
        return False

    repos = {name: [repo(1, "02T10:00", None)] for name in names}
    with (
        GitHubServer(repos, intercept=record) as server,
        session_with(server, *names, clock=clock, token=token) as session,
        caplog.at_level(logging.INFO),
    ):
        reading = session.issues([DAY])
        rows_of(reading)
    assert len(sent_at) == 65
    for number, at in enumerate(sent_at):
        assert len([other for other in sent_at[: number + 1] if at - 60 < other]) <= per_minute
    assert sent_at[per_minute - 1] == 0
    assert clock.waits == [61] * ((65 - 1) // per_minute)
    # Waiting for the pace is neither a failure nor a request.
    assert reading.requests == 13 + 65
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


def test_searches_by_other_clients_with_the_same_token_count_too():
    clock = Clock()

    def none_left(handler: GitHubHandler, number: int) -> bool:
        if number == 2:
            headers = {"X-RateLimit-Resource": "search", "X-RateLimit-Limit": "30", "X-RateLimit-Remaining": "0"}
            reset = {"X-RateLimit-Reset": str(int(handler.server.github.now().timestamp()) + 40)}
            handler.answer(200, {"total_count": 0, "incomplete_results": False, "items": []}, headers | reset)
        return number == 2

    with of_acme([], intercept=none_left) as server, session_with(server, "acme", clock=clock) as session:
        rows_of(session.issues([DAY]))
    assert clock.waits == [pytest.approx(41, abs=2)]


def test_a_pace_beyond_the_maximum_wait_is_an_error_that_says_when_to_retry():
    names = [f"acme-{number}" for number in range(3)]
    repos = {name: [repo(1, "02T10:00", None)] for name in names}
    with (
        GitHubServer(repos) as server,
        session_with(server, *names, token=None, max_wait=10) as session,
        pytest.raises(GitHubError, match=r"10 searches a minute.*Retry at .*GITHUB_MAX_WAIT_SECONDS=10"),
    ):
        rows_of(session.issues([DAY]))


def test_the_server_s_search_limit_replaces_the_documented_one():
    """As with the sample, which has practically none."""
    names = [f"acme-{number}" for number in range(13)]
    clock = Clock()

    def unlimited(handler: GitHubHandler, _: int) -> bool:
        if "/search/" in handler.path:
            headers = {"X-RateLimit-Resource": "search", "X-RateLimit-Limit": "5000", "X-RateLimit-Remaining": "4999"}
            handler.answer(200, {"total_count": 0, "incomplete_results": False, "items": []}, headers)
            return True
        return False

    repos = {name: [repo(1, "02T10:00", None)] for name in names}
    with (
        GitHubServer(repos, intercept=unlimited) as server,
        session_with(server, *names, clock=clock, token=None) as session,
    ):
        rows_of(session.issues([DAY]))
    assert clock.waits == []


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ([], "invalid search result: body of type list"),
        ({"total_count": "1", "incomplete_results": False, "items": []}, "total_count of type str"),
        ({"total_count": 1, "incomplete_results": False}, "NoneType instead of a list of issues"),
        (
            {"total_count": 1, "incomplete_results": False, "items": [{"id": 1}]},
            "invalid issue with id 1: number: Field required",
        ),
        (
            {
                "total_count": 1,
                "incomplete_results": False,
                "items": [issue(7, "2026-03-02T10:00:00Z") | {"closed_at": "soon"}],
            },
            "invalid issue with id 7: closed_at of type str",
        ),
    ],
)
def test_an_undocumented_response_is_an_error(body: object, message: str):
    with (
        of_acme([], intercept=fails("/search/issues", "", answers(200, body))) as server,
        session_with(server, "acme") as session,
        pytest.raises(GitHubError, match=message),
    ):
        rows_of(session.issues([DAY]))
