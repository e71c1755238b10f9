"""Promises of the pushes: each one since the range began, at its own time, in as few requests as GitHub allows."""

from collections import Counter
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from mds_assets.github.errors import GitHubError
from mds_assets.github.repository import Json
from mds_assets.stack.partitions import days_between
from mds_assets_tests.github.recordings import Events, needs_recordings, quicwg, sliced_quicwg
from mds_assets_tests.github.server import GitHubHandler, GitHubServer
from mds_assets_tests.github.sessions import MARCH, rows_of, serving, session_with
from mds_assets_tests.github.test_client import DAY, repo
from mds_assets_tests.github.test_connection import answers, on

NOW = datetime(2026, 3, 3, 0, 5, tzinfo=UTC)


def push(number: int, moment: str, **fields: Any) -> Json:
    """An activity of March 2026, such as at `02T10:00`."""
    return {
        "id": number,
        "node_id": f"PSH_{number}",
        "before": "0" * 40,
        "after": f"{number:040}",
        "ref": "refs/heads/main",
        "timestamp": f"2026-03-{moment}:00Z",
        "activity_type": "push",
        "actor": {"login": "octocat", "id": 1, "type": "User"},
        **fields,
    }


def pushes_on(rows: list[Json], days: list[date]) -> list[Json]:
    """The rows of these days."""
    return [row for row in rows if days[0] <= row["timestamp"].date() <= days[-1]]


def test_march_2023_of_quicwg_has_31_pushes_to_3_repositories_by_7_people():
    """A push is an activity of any type but the creation and deletion of branches; a person is an actor, bots apart."""
    with serving(sliced_quicwg()) as server, session_with(server, "quicwg") as session:
        reading = session.pushes(MARCH)
        pushes = pushes_on(rows_of(reading), MARCH)
    assert len(pushes) == 31
    assert Counter(row["activity_type"] for row in pushes) == {"pr_merge": 29, "push": 2}
    assert len({row["repo_id"] for row in pushes}) == 3
    assert len({row["actor"]["login"] for row in pushes if row["actor"]["type"] != "Bot"}) == 7
    # The list, and one for each of the 4 repositories that were pushed to since.
    assert reading.requests == len(server.requests) == 1 + 4


@needs_recordings
def test_nine_years_of_quicwg_take_one_request_a_page_and_lose_no_push():
    with serving(quicwg()) as server, session_with(server, "quicwg") as session:
        reading = session.pushes(days_between(date(2017, 1, 1), date(2026, 7, 31)))
        assert {row["id"] for row in rows_of(reading)} == {each["id"] for each in quicwg().activity}
        pages = [-(-len(pushes) // 100) for pushes in quicwg().by_repository().values()]
        assert reading.requests == 1 + sum(pages)


@needs_recordings
def test_a_month_takes_only_the_pages_since_it_began():
    with serving(quicwg()) as server, session_with(server, "quicwg") as session:
        reading = session.pushes(MARCH)
        rows = rows_of(reading)
    assert len(pushes_on(rows, MARCH)) == 31
    # Per repository those since March 1, and the page that holds the first one before.
    since = Counter(row["repo_full_name"] for row in rows)
    assert reading.requests == 1 + sum(count // 100 + 1 for count in since.values()) == 10


def test_day_by_day_gives_the_pushes_of_the_range():
    with serving(sliced_quicwg()) as server:
        with session_with(server, "quicwg") as session:
            ranged = {row["id"]: row["timestamp"] for row in pushes_on(rows_of(session.pushes(MARCH)), MARCH)}
        daily: dict[int, datetime] = {}
        for day in reversed(MARCH):
            with session_with(server, "quicwg") as session:
                rows = pushes_on(rows_of(session.pushes([day])), [day])
                daily |= {row["id"]: row["timestamp"] for row in rows}
    assert daily == ranged


def test_a_row_is_what_github_sent_and_the_repository_it_happened_to():
    listed = repo(1, "02T10:00", "02T10:00", visibility="public", default_branch="main")
    sent = push(7, "02T10:00", org="theirs", actor=None)
    with (
        GitHubServer({"acme": [listed]}, activity={"acme/repo-1": [sent]}) as server,
        session_with(server, "acme") as session,
    ):
        reading = session.pushes([DAY])
        (row,) = rows_of(reading)
    assert row == {
        **{name: value for name, value in sent.items() if name != "org"},
        "timestamp": datetime(2026, 3, 2, 10, tzinfo=UTC),
        "github_org": "theirs",
        "org": "acme",
        "repo_id": 1,
        "repo_name": "repo-1",
        "repo_full_name": "acme/repo-1",
        "repo_visibility": "public",
        "repo_default_branch": "main",
        "observed_at": reading.observed_at,
    }


def test_a_push_before_and_one_after_midnight_come_both_with_their_own_time():
    """The list knows the later one only."""
    activity = {"acme/repo-1": [push(1, "02T23:50"), push(2, "03T00:03")]}
    with (
        GitHubServer({"acme": [repo(1, "03T00:03", "03T00:03")]}, activity=activity, now=lambda: NOW) as server,
        session_with(server, "acme") as session,
    ):
        rows = rows_of(session.pushes([DAY]))
    assert sorted((row["id"], row["timestamp"].date()) for row in rows) == [(1, DAY), (2, DAY + timedelta(days=1))]


def test_only_repositories_pushed_to_since_are_asked():
    repos = [
        repo(1, "02T10:00", "02T00:00"),
        repo(2, "02T10:00", "01T23:59"),  # starred on the day
        repo(3, "02T10:00", None),
    ]
    with GitHubServer({"acme": repos}, activity={"acme/repo-1": [push(1, "02T00:00")]}) as server:
        with session_with(server, "acme") as session:
            assert [row["id"] for row in rows_of(session.pushes([DAY]))] == [1]
        assert [request.path for request in server.requests[1:]] == ["/repos/acme/repo-1/activity"]


@pytest.mark.parametrize(
    ("days_ago", "period"),
    [(0, "day"), (1, "week"), (5, "week"), (6, "week"), (7, "month"), (27, "month"), (28, "quarter"), (88, "quarter"),
     (89, "year"), (364, "year"), (365, None), (3_000, None)],
)  # fmt: skip
def test_the_period_asked_for_is_the_shortest_that_covers_the_range(days_ago: int, period: str | None):
    """By GitHub's clock, at 00:05 of a day; GitHub's months and quarters have no fixed length."""
    listed = repo(1, "03T00:01", "03T00:01")
    with GitHubServer({"acme": [listed]}, activity={"acme/repo-1": [push(1, "03T00:01")]}, now=lambda: NOW) as server:
        with session_with(server, "acme") as session:
            rows_of(session.pushes([NOW.date() - timedelta(days=days_ago)]))
        assert server.requests[-1].query.get("time_period") == period


def test_a_branch_s_creation_and_deletion_come_with_their_type():
    kinds = ["push", "force_push", "branch_creation", "branch_deletion", "pr_merge", "merge_queue_merge"]
    activity = {"acme/repo-1": [push(number, "02T10:00", activity_type=kind) for number, kind in enumerate(kinds)]}
    with (
        GitHubServer({"acme": [repo(1, "02T10:00", "02T10:00")]}, activity=activity) as server,
        session_with(server, "acme") as session,
    ):
        assert sorted(row["activity_type"] for row in rows_of(session.pushes([DAY]))) == sorted(kinds)


@pytest.mark.parametrize("status", [404, 451, 409])
def test_a_repository_that_vanishes_is_skipped_counted_and_warned_of(status: int):
    with serving(sliced_quicwg()) as server:
        server.intercept = refuses("/activity", "qlog", answers(status))
        with session_with(server, "quicwg") as session:
            reading = session.pushes(MARCH)
            rows = pushes_on(rows_of(reading), MARCH)
    assert len(rows) == len([row for row in slice_of_march() if row["repository"] != "quicwg/qlog"])
    assert reading.skipped == 1
    (warning,) = reading.warnings
    assert "GITHUB_ORG 'quicwg'" in warning
    assert "quicwg/qlog" in warning


def test_a_repository_that_vanishes_between_two_pages_leaves_nothing_behind():
    many = [push(number, "02T10:00") for number in range(150)]
    repos = [repo(1, "02T10:00", "02T10:00"), repo(2, "02T09:00", "02T09:00")]
    activity = {"acme/repo-1": many, "acme/repo-2": [push(999, "02T09:00")]}
    with (
        GitHubServer(
            {"acme": repos}, activity=activity, intercept=refuses("/activity", "after", answers(404))
        ) as server,
        session_with(server, "acme") as session,
    ):
        reading = session.pushes([DAY])
        assert [row["id"] for row in rows_of(reading)] == [999]
        assert reading.skipped == 1


def test_404_for_every_repository_is_an_error_and_not_a_day_without_pushes():
    with serving(sliced_quicwg()) as server, session_with(server, "quicwg") as session:
        server.intercept = refuses("/activity", "", answers(404))
        with pytest.raises(GitHubError, match="404 for the pushes of all 4 repositories"):
            rows_of(session.pushes(MARCH))


@pytest.mark.parametrize("status", [404, 500, 403])
def test_a_private_repository_s_name_is_in_no_warning_and_no_error(status: int, caplog: pytest.LogCaptureFixture):
    secret = repo(1, "02T10:00", "02T10:00", private=True, visibility="private", name="secret", full_name="acme/secret")
    repos = [secret, repo(2, "02T10:00", "02T10:00")]
    with (
        GitHubServer({"acme": repos}, intercept=refuses("/activity", "secret", answers(status))) as server,
        session_with(server, "acme") as session,
    ):
        reading = session.pushes([DAY])
        try:
            rows_of(reading)
            told = str(reading.warnings)
        except GitHubError as error:
            told = str(error)
    assert "(private, id 1)" in told
    assert "secret" not in told + caplog.text


def refuses(path: str, other: str, fault: Any) -> Any:
    """An `intercept` that has the fault at requests whose path ends so and that hold the other text."""

    def intercept(handler: GitHubHandler, _: int) -> bool:
        asked = handler.path.partition("?")[0].endswith(path) and other in handler.path
        if asked:
            fault(handler)
        return asked

    return intercept


def slice_of_march() -> list[Json]:
    """The pushes of March 2023."""
    events: Events = sliced_quicwg()
    return [each for each in events.activity if each["timestamp"].startswith("2023-03")]


@pytest.mark.parametrize("same_link", [True, False], ids=["the same link", "a link that looks new"])
def test_a_cursor_that_goes_round_in_a_circle_is_an_error(same_link: bool):
    def circle(handler: GitHubHandler, number: int) -> bool:
        if number > 1:
            cursor = "c0" if same_link else f"c{number}"
            link = f'<{handler.server.github.url}/repositories/1/activity?after={cursor}>; rel="next"'
            handler.answer(200, [push(1, "02T10:00")], {"Link": link})
        return number > 1

    with GitHubServer({"acme": [repo(1, "02T10:00", "02T10:00")]}, intercept=circle) as server:
        with session_with(server, "acme") as session, pytest.raises(GitHubError, match="go round in a circle"):
            rows_of(session.pushes([DAY]))
        assert len(server.requests) <= 4


def test_a_text_that_cannot_be_stored_does_not_stop_the_table():
    odd = push(1, "02T10:00", ref="\ufdd0refs/heads/\ud800x")
    with (
        GitHubServer({"acme": [repo(1, "02T10:00", "02T10:00")]}, activity={"acme/repo-1": [odd]}) as server,
        session_with(server, "acme") as session,
    ):
        (row,) = rows_of(session.pushes([DAY]))
    assert row["ref"] == "\ufffdrefs/heads/\ufffdx"


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"timestamp": "2026-03-02T10:00:00"}, "timestamp of type str: it has no time zone"),
        ({"timestamp": None}, "timestamp of type NoneType"),
        ({"id": "7"}, "id of type str"),
    ],
)
def test_an_activity_that_is_not_as_documented_is_an_error(fields: Json, message: str):
    activity = {"acme/repo-1": [push(1, "02T10:00")]}
    with GitHubServer({"acme": [repo(1, "02T10:00", "02T10:00")]}, activity=activity) as server:

        def odd(handler: GitHubHandler, number: int) -> bool:
            if number == 2:
                handler.answer(200, [push(1, "02T10:00") | fields])
            return number == 2

        server.intercept = odd
        with session_with(server, "acme") as session, pytest.raises(GitHubError, match=message):
            rows_of(session.pushes([DAY]))


def test_an_answer_that_is_no_list_of_activities_is_an_error():
    with (
        GitHubServer({"acme": [repo(1, "02T10:00", "02T10:00")]}, intercept=on({2}, answers(200, {"a": 1}))) as server,
        session_with(server, "acme") as session,
        pytest.raises(GitHubError, match="no list of activities"),
    ):
        rows_of(session.pushes([DAY]))
