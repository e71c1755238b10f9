"""Promises of the issues: each event of the range once, however many there are, at the pace that GitHub allows."""

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
from mds_assets.github.search import halved
from mds_assets.stack.partitions import days_between
from mds_assets_tests.github.events import happened
from mds_assets_tests.github.recordings import needs_recordings, quicwg, sliced_quicwg
from mds_assets_tests.github.server import GitHubHandler, GitHubServer
from mds_assets_tests.github.sessions import MARCH, Clock, rows_of, serving, session_with
from mds_assets_tests.github.test_activity import refuses
from mds_assets_tests.github.test_client import DAY, repo
from mds_assets_tests.github.test_connection import answers

EVENTS = {"opened": "created", "closed": "closed", "merged": "merged"}


def issue(number: int, created: str, closed: str | None = None, merged: str | None = None, **fields: Any) -> Json:
    """An issue of acme with these moments; a pull request where it says `is_pull_request`, or was merged."""
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
    """A server of these issues."""
    return GitHubServer({"acme": [repo(1, "02T10:00", "02T10:00")]}, issues=issues, **options)


def events_of(rows: list[Json]) -> Counter[tuple[str, int, datetime]]:
    """The events and how often each came."""
    return Counter((row["event"], row["id"], row["event_at"]) for row in rows)


def expected_events(issues: list[Json], days: list[date]) -> Counter[tuple[str, int, datetime]]:
    """The same, by looking at every item."""
    found: Counter[tuple[str, int, datetime]] = Counter()
    for item in issues:
        for event, field in EVENTS.items():
            moment = happened(item, field)
            if moment and days[0] <= datetime.fromisoformat(moment).date() <= days[-1]:
                found[event, item["id"], datetime.fromisoformat(moment)] += 1
    return found


def searches(server: GitHubServer) -> list[str]:
    """The queries that were asked, one a request."""
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
def test_nine_years_of_quicwg_are_exact_though_a_search_gives_1000():
    days = days_between(date(2017, 1, 1), date(2026, 7, 31))
    with serving(quicwg()) as server, session_with(server, "quicwg") as session:
        reading = session.issues(days)
        assert events_of(rows_of(reading)) == expected_events(quicwg().issues, days)
        assert max(int(request.query.get("page", "1")) for request in server.requests) == 10
        assert reading.requests == 62


def test_day_by_day_gives_the_events_of_the_range():
    with serving(sliced_quicwg()) as server:
        with session_with(server, "quicwg") as session:
            ranged = events_of(rows_of(session.issues(MARCH)))
        daily: Counter[tuple[str, int, datetime]] = Counter()
        for day in reversed(MARCH):
            with session_with(server, "quicwg") as session:
                daily += events_of(rows_of(session.issues([day])))
    assert daily == ranged


def test_a_row_is_what_github_sent_and_what_happened_to_it():
    sent = issue(
        5,
        "2026-03-01T10:00:00Z",
        "2026-03-02T12:00:00Z",
        "2026-03-02T11:59:59Z",
        labels=[{"name": "x"}],
        event="theirs",
    )
    with of_acme([sent]) as server, session_with(server, "acme") as session:
        reading = session.issues([DAY])
        closed, merged = rows_of(reading)
    assert closed == {
        **sent,
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


def test_both_ends_of_a_day_belong_to_it_and_its_neighbours_do_not():
    moments = ["2026-03-01T23:59:59Z", "2026-03-02T00:00:00Z", "2026-03-02T23:59:59Z", "2026-03-03T00:00:00Z"]
    with (
        of_acme([issue(number, moment) for number, moment in enumerate(moments)]) as server,
        session_with(server, "acme") as session,
    ):
        assert [row["id"] for row in rows_of(session.issues([DAY]))] == [1, 2]
    assert searches(server)[0] == "org:acme is:issue created:2026-03-02T00:00:00Z..2026-03-02T23:59:59Z"


def test_a_search_names_what_github_requires():
    """One of issues and pull requests, and whether the account is a user's."""
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
def test_halving_never_loses_or_doubles_an_event(moments: list[int], first: int, length: int, most: int):
    last = first + length

    def ask(start: int, end: int) -> list[tuple[int, int]] | None:
        assert first <= start <= end <= last
        found = [(moment, number) for number, moment in enumerate(moments) if start <= moment <= end]
        if len(found) > most and start == end:
            raise OverflowError(start)
        return None if len(found) > most else found

    within = [(moment, number) for number, moment in enumerate(moments) if first <= moment <= last]
    fullest = Counter(moment for moment, _ in within).most_common(1)
    if fullest and fullest[0][1] > most:
        with pytest.raises(OverflowError):
            list(halved(ask, first, last))
    else:
        assert sorted(event for events in halved(ask, first, last) for event in events) == sorted(within)


@pytest.fixture(scope="module")
def acme() -> Iterator[GitHubServer]:
    """A server whose issues each example sets."""
    with of_acme([]) as server:
        yield server


# Seconds since the noon before: around both midnights of the day, so close that each half is halved again.
NEAR_MIDNIGHT = st.sampled_from([*range(43_190, 43_220), *range(129_590, 129_620)])


@settings(max_examples=40)
@given(
    events=st.lists(st.tuples(NEAR_MIDNIGHT, st.integers(0, 3)), min_size=20, max_size=50, unique_by=lambda it: it[0])
)
def test_searches_that_give_few_items_never_lose_or_double_an_event(acme: GitHubServer, events: list[tuple[int, int]]):
    """Over HTTP, as if a search gave 4 items: each event comes once, at its second."""
    first = datetime(2026, 3, 1, 12, tzinfo=UTC)
    moments = [f"{first + timedelta(seconds=second):%Y-%m-%dT%H:%M:%SZ}" for second, _ in events]
    acme.issues = [
        issue(number, moment, moment if kind else None, moment if kind == 2 else None, is_pull_request=kind > 1)
        if kind < 3
        else issue(number, "2020-01-01T00:00:00Z", moment, moment)
        for number, (moment, (_, kind)) in enumerate(zip(moments, events, strict=True))
    ]
    with (
        patch.object(search, "MOST_ITEMS", 4),
        session_with(acme, "acme", clock=Clock(), max_wait=1e9) as session,
    ):
        assert events_of(rows_of(session.issues([DAY]))) == expected_events(acme.issues, [DAY])


def test_a_range_with_more_than_1000_events_is_halved_down_to_the_seconds_that_hold_them():
    """2,001 events in three neighbouring seconds: two of 1,000 and one of 1."""
    seconds = ["2026-03-02T10:00:00Z"] * 1000 + ["2026-03-02T10:00:01Z"] * 1000 + ["2026-03-02T10:00:02Z"]
    issues = [issue(number, moment) for number, moment in enumerate(seconds)]
    with of_acme(issues) as server, session_with(server, "acme") as session:
        assert events_of(rows_of(session.issues([DAY]))) == expected_events(issues, [DAY])


def test_a_second_with_more_than_1000_events_is_an_error_that_names_it():
    issues = [issue(number, "2026-03-02T10:00:01Z") for number in range(1001)]
    with (
        of_acme(issues) as server,
        session_with(server, "acme") as session,
        pytest.raises(GitHubError, match="1001 items were opened within the one second 2026-03-02T10:00:01Z"),
    ):
        rows_of(session.issues([DAY]))


def incomplete(times: int) -> Callable[[GitHubHandler, int], bool]:
    """An `intercept` that says so many times that a search found not all there is."""
    left = [times]

    def intercept(handler: GitHubHandler, _: int) -> bool:
        if "/search/" not in handler.path or not left[0]:
            return False
        left[0] -= 1
        handler.answer(200, {"total_count": 0, "incomplete_results": True, "items": []})
        return True

    return intercept


def test_a_search_with_incomplete_results_is_asked_again():
    clock = Clock()
    with (
        serving(sliced_quicwg(), intercept=incomplete(2)) as server,
        session_with(server, "quicwg", clock=clock) as session,
    ):
        rows = rows_of(session.issues(MARCH))
    assert events_of(rows) == expected_events(sliced_quicwg().issues, MARCH)
    assert len(searches(server)) == 5 + 2
    assert [int(wait) for wait in clock.waits] in ([1, 2], [1, 3], [2, 2], [2, 3])


def test_a_search_that_stays_incomplete_is_an_error_after_5_attempts():
    with (
        serving(sliced_quicwg(), intercept=incomplete(99)) as server,
        session_with(server, "quicwg") as session,
        pytest.raises(GitHubError, match="incomplete_results") as error,
    ):
        rows_of(session.issues(MARCH))
    assert error.value.retryable
    assert len(searches(server)) == 5


def test_an_incomplete_second_page_is_asked_again_too():
    issues = [issue(number, "2026-03-02T10:00:00Z") for number in range(150)]
    asked: list[int] = []

    def second_page(handler: GitHubHandler, number: int) -> bool:
        if "page=2" not in handler.path.replace("per_page", "") or asked:
            return False
        asked.append(number)
        handler.answer(200, {"total_count": 150, "incomplete_results": True, "items": []})
        return True

    with of_acme(issues, intercept=second_page) as server, session_with(server, "acme") as session:
        assert len(rows_of(session.issues([DAY]))) == 150
    assert asked


def test_a_search_whose_pages_hold_less_than_it_counts_is_asked_3_times_and_warned_of():
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
    assert "counts 2 items and gave 1, 3 times" in warning


def test_an_item_that_was_reopened_meanwhile_is_no_event_and_warned_of():
    def reopened(handler: GitHubHandler, _: int) -> bool:
        if "is%3Aissue+closed" in handler.path:
            body = {"total_count": 1, "incomplete_results": False, "items": [issue(1, "2026-03-01T10:00:00Z")]}
            handler.answer(200, body)
            return True
        return False

    with of_acme([], intercept=reopened) as server, session_with(server, "acme") as session:
        reading = session.issues([DAY])
        assert rows_of(reading) == []
    assert "1 items" in reading.warnings[0]
    assert "no longer match" in reading.warnings[0]


@pytest.mark.parametrize(("token", "a_minute"), [("ghp_VALID", 30), (None, 10)])
def test_more_searches_than_a_minute_allows_wait_without_being_told(
    token: str | None, a_minute: int, caplog: pytest.LogCaptureFixture
):
    """13 organisations take 65 searches; the server tells what is left, and would refuse none."""
    names = [f"acme-{number}" for number in range(13)]
    clock, sent = Clock(), list[float]()

    def note(handler: GitHubHandler, _: int) -> bool:
        if "/search/" in handler.path:
            sent.append(clock.now)
            # Nothing of the limit: what the client keeps, it keeps by itself.
            handler.answer(200, {"total_count": 0, "incomplete_results": False, "items": []})
            return True
        return False

    repos = {name: [repo(1, "02T10:00", None)] for name in names}
    with (
        GitHubServer(repos, intercept=note) as server,
        session_with(server, *names, clock=clock, token=token) as session,
        caplog.at_level(logging.INFO),
    ):
        reading = session.issues([DAY])
        rows_of(reading)
    assert len(sent) == 65
    for number, at in enumerate(sent):
        assert len([other for other in sent[: number + 1] if at - 60 < other]) <= a_minute
    assert sent[a_minute - 1] == 0
    assert clock.waits == [61] * ((65 - 1) // a_minute)
    # It is no failure, and counts as no request.
    assert reading.requests == 13 + 65
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


def test_searches_that_others_made_with_the_same_token_count_too():
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


def test_a_pace_that_takes_longer_than_allowed_ends_with_when_to_come_back():
    names = [f"acme-{number}" for number in range(3)]
    repos = {name: [repo(1, "02T10:00", None)] for name in names}
    with (
        GitHubServer(repos) as server,
        session_with(server, *names, token=None, max_wait=10) as session,
        pytest.raises(GitHubError, match=r"10 searches a minute.*Retry at .*GITHUB_MAX_WAIT_SECONDS=10"),
    ):
        rows_of(session.issues([DAY]))


def test_a_limit_that_the_server_says_replaces_the_documented_one():
    """As the sample's, which has none."""
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
        ([], "a search of type list"),
        ({"total_count": "1", "incomplete_results": False, "items": []}, "total_count of type str"),
        ({"total_count": 1, "incomplete_results": False}, "no list of issues"),
        ({"total_count": 1, "incomplete_results": False, "items": [{"id": 1}]}, "an issue of id 1 with number"),
        (
            {
                "total_count": 1,
                "incomplete_results": False,
                "items": [issue(7, "2026-03-02T10:00:00Z") | {"closed_at": "soon"}],
            },
            "an issue of id 7 with closed_at of type str",
        ),
    ],
)
def test_an_answer_that_is_not_as_documented_is_an_error(body: object, message: str):
    with (
        of_acme([], intercept=refuses("/search/issues", "", answers(200, body))) as server,
        session_with(server, "acme") as session,
        pytest.raises(GitHubError, match=message),
    ):
        rows_of(session.issues([DAY]))
