"""Pushes: every one since the first day, at its own time, in as few requests as GitHub allows."""

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
    """An activity in March 2026; `moment` is like `02T10:00`."""
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
    """The rows on these days."""
    return [row for row in rows if days[0] <= row["timestamp"].date() <= days[-1]]


def test_march_2023_of_quicwg_has_31_pushes_to_3_repositories_by_7_people():
    """Pushes are all activities except creating and deleting branches; people are all actors except bots."""
    with serving(sliced_quicwg()) as server, session_with(server, "quicwg") as session:
        reading = session.pushes(MARCH)
        pushes = pushes_on(rows_of(reading), MARCH)
    assert len(pushes) == 31
    assert Counter(row["activity_type"] for row in pushes) == {"pr_merge": 29, "push": 2}
    assert len({row["repo_id"] for row in pushes}) == 3
    assert len({row["actor"]["login"] for row in pushes if row["actor"]["type"] != "Bot"}) == 7
    # One for the list, and one for each of the 4 repositories pushed to since then.
    assert reading.requests == len(server.requests) == 1 + 4


@needs_recordings
def test_nine_years_of_quicwg_take_one_request_per_page_and_lose_no_push():
    with serving(quicwg()) as server, session_with(server, "quicwg") as session:
        reading = session.pushes(days_between(date(2017, 1, 1), date(2026, 7, 31)))
        assert {row["id"] for row in rows_of(reading)} == {each["id"] for each in quicwg().activity}
        pages = [-(-len(pushes) // 100) for pushes in quicwg().by_repository().values()]
        assert reading.requests == 1 + sum(pages)


@needs_recordings
def test_a_month_reads_only_the_pages_since_its_first_day():
    with serving(quicwg()) as server, session_with(server, "quicwg") as session:
        reading = session.pushes(MARCH)
        rows = rows_of(reading)
    assert len(pushes_on(rows, MARCH)) == 31
    # Per repository: the pages since March 1, including the one with the first older push.
    since = Counter(row["repo_full_name"] for row in rows)
    assert reading.requests == 1 + sum(count // 100 + 1 for count in since.values()) == 10


def test_single_days_and_a_range_give_the_same_pushes():
    with serving(sliced_quicwg()) as server:
        with session_with(server, "quicwg") as session:
            ranged = {row["id"]: row["timestamp"] for row in pushes_on(rows_of(session.pushes(MARCH)), MARCH)}
        daily: dict[int, datetime] = {}
        for day in reversed(MARCH):
            with session_with(server, "quicwg") as session:
                rows = pushes_on(rows_of(session.pushes([day])), [day])
                daily |= {row["id"]: row["timestamp"] for row in rows}
    assert daily == ranged


def test_a_row_is_github_s_activity_plus_its_repository():
    listed = repo(1, "02T10:00", "02T10:00", visibility="public", default_branch="main")
    activity = push(7, "02T10:00", org="theirs", actor=None)
    with (
        GitHubServer({"acme": [listed]}, activity={"acme/repo-1": [activity]}) as server,
        session_with(server, "acme") as session,
    ):
        reading = session.pushes([DAY])
        (row,) = rows_of(reading)
    assert row == {
        **{name: value for name, value in activity.items() if name != "org"},
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


def test_pushes_on_both_sides_of_midnight_keep_their_own_times():
    """The repository list only has the later one."""
    activity = {"acme/repo-1": [push(1, "02T23:50"), push(2, "03T00:03")]}
    with (
        GitHubServer({"acme": [repo(1, "03T00:03", "03T00:03")]}, activity=activity, now=lambda: NOW) as server,
        session_with(server, "acme") as session,
    ):
        rows = rows_of(session.pushes([DAY]))
    assert sorted((row["id"], row["timestamp"].date()) for row in rows) == [(1, DAY), (2, DAY + timedelta(days=1))]


def test_only_repositories_pushed_to_since_the_first_day_are_requested():
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
def test_the_requested_period_is_the_shortest_that_covers_the_range(days_ago: int, period: str | None):
    """Measured at 00:05 on GitHub's clock. GitHub's months and quarters have no fixed length."""
    listed = repo(1, "03T00:01", "03T00:01")
    with GitHubServer({"acme": [listed]}, activity={"acme/repo-1": [push(1, "03T00:01")]}, now=lambda: NOW) as server:
        with session_with(server, "acme") as session:
            rows_of(session.pushes([NOW.date() - timedelta(days=days_ago)]))
        assert server.requests[-1].query.get("time_period") == period


def test_every_type_of_activity_is_read():
    kinds = ["push", "force_push", "branch_creation", "branch_deletion", "pr_merge", "merge_queue_merge"]
    activity = {"acme/repo-1": [push(number, "02T10:00", activity_type=kind) for number, kind in enumerate(kinds)]}
    with (
        GitHubServer({"acme": [repo(1, "02T10:00", "02T10:00")]}, activity=activity) as server,
        session_with(server, "acme") as session,
    ):
        assert sorted(row["activity_type"] for row in rows_of(session.pushes([DAY]))) == sorted(kinds)


@pytest.mark.parametrize("status", [404, 451, 409])
def test_a_deleted_blocked_or_empty_repository_is_skipped_with_a_warning(status: int):
    with serving(sliced_quicwg()) as server:
        server.intercept = fails("/activity", "qlog", answers(status))
        with session_with(server, "quicwg") as session:
            reading = session.pushes(MARCH)
            rows = pushes_on(rows_of(reading), MARCH)
    assert len(rows) == len([row for row in slice_of_march() if row["repository"] != "quicwg/qlog"])
    assert reading.skipped == 1
    (warning,) = reading.warnings
    assert "GITHUB_ORG 'quicwg'" in warning
    assert "quicwg/qlog" in warning


def test_a_repository_deleted_between_two_pages_leaves_no_rows():
    many = [push(number, "02T10:00") for number in range(150)]
    repos = [repo(1, "02T10:00", "02T10:00"), repo(2, "02T09:00", "02T09:00")]
    activity = {"acme/repo-1": many, "acme/repo-2": [push(999, "02T09:00")]}
    with (
        GitHubServer({"acme": repos}, activity=activity, intercept=fails("/activity", "after", answers(404))) as server,
        session_with(server, "acme") as session,
    ):
        reading = session.pushes([DAY])
        assert [row["id"] for row in rows_of(reading)] == [999]
        assert reading.skipped == 1


def test_404_for_every_repository_is_an_error_instead_of_a_day_without_pushes():
    with serving(sliced_quicwg()) as server, session_with(server, "quicwg") as session:
        server.intercept = fails("/activity", "", answers(404))
        with pytest.raises(GitHubError, match="404 for the pushes of all 4 repositories"):
            rows_of(session.pushes(MARCH))


@pytest.mark.parametrize("status", [404, 500, 403])
def test_a_private_repository_s_name_appears_in_no_warning_error_or_log(status: int, caplog: pytest.LogCaptureFixture):
    secret = repo(1, "02T10:00", "02T10:00", private=True, visibility="private", name="secret", full_name="acme/secret")
    repos = [secret, repo(2, "02T10:00", "02T10:00")]
    with (
        GitHubServer({"acme": repos}, intercept=fails("/activity", "secret", answers(status))) as server,
        session_with(server, "acme") as session,
    ):
        reading = session.pushes([DAY])
        try:
            rows_of(reading)
            text = str(reading.warnings)
        except GitHubError as error:
            text = str(error)
    assert "(private, id 1)" in text
    assert "secret" not in text + caplog.text


def test_a_private_name_that_starts_with_another_one_is_replaced_as_a_whole():
    private = {"private": True, "visibility": "private"}
    repos = [
        repo(1, "02T09:00", "02T09:00", name="secret", full_name="acme/secret", **private),
        repo(2, "02T10:00", "02T10:00", name="secret-plan", full_name="acme/secret-plan", **private),
    ]
    with (
        GitHubServer({"acme": repos}, intercept=fails("/activity", "secret-plan", answers(404))) as server,
        session_with(server, "acme") as session,
    ):
        reading = session.pushes([DAY])
        rows_of(reading)
    (warning,) = reading.warnings
    assert "(private, id 2):" in warning
    assert "plan" not in warning


def fails(path: str, part: str, fault: Any) -> Any:
    """An `intercept` that plays the fault for requests whose path ends with `path` and whose URL contains `part`."""

    def intercept(handler: GitHubHandler, _: int) -> bool:
        matches = handler.path.partition("?")[0].endswith(path) and part in handler.path
        if matches:
            fault(handler)
        return matches

    return intercept


def slice_of_march() -> list[Json]:
    """The recorded activities of March 2023."""
    events: Events = sliced_quicwg()
    return [each for each in events.activity if each["timestamp"].startswith("2023-03")]


@pytest.mark.parametrize("same_link", [True, False], ids=["same link", "new link"])
def test_a_pagination_loop_is_an_error(same_link: bool):
    def loop(handler: GitHubHandler, number: int) -> bool:
        if number > 1:
            cursor = "c0" if same_link else f"c{number}"
            link = f'<{handler.server.github.url}/repositories/1/activity?after={cursor}>; rel="next"'
            handler.answer(200, [push(1, "02T10:00")], {"Link": link})
        return number > 1

    with GitHubServer({"acme": [repo(1, "02T10:00", "02T10:00")]}, intercept=loop) as server:
        with session_with(server, "acme") as session, pytest.raises(GitHubError, match="pagination loops"):
            rows_of(session.pushes([DAY]))
        assert len(server.requests) <= 4


def test_characters_that_cannot_be_stored_are_replaced():
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
def test_an_undocumented_activity_is_an_error(fields: Json, message: str):
    activity = {"acme/repo-1": [push(1, "02T10:00")]}
    with GitHubServer({"acme": [repo(1, "02T10:00", "02T10:00")]}, activity=activity) as server:

        def odd(handler: GitHubHandler, number: int) -> bool:
            if number == 2:
                handler.answer(200, [push(1, "02T10:00") | fields])
            return number == 2

        server.intercept = odd
        with session_with(server, "acme") as session, pytest.raises(GitHubError, match=message):
            rows_of(session.pushes([DAY]))


def test_a_response_other_than_a_list_of_activities_is_an_error():
    with (
        GitHubServer({"acme": [repo(1, "02T10:00", "02T10:00")]}, intercept=on({2}, answers(200, {"a": 1}))) as server,
        session_with(server, "acme") as session,
        pytest.raises(GitHubError, match="dict instead of a list of activities"),
    ):
        rows_of(session.pushes([DAY]))
