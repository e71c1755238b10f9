"""Clocks: a day is closed when it has ended on GitHub's, and rows dated in the future are counted and kept apart."""

import logging
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from mds_assets.github import clock
from mds_assets.github.errors import GitHubError
from mds_assets_tests.github.project import Project, evaluations, failure, metadata
from mds_assets_tests.github.server import GitHubServer
from mds_assets_tests.github.sessions import rows_of, session_with
from mds_assets_tests.github.test_client import DAY, repo
from mds_assets_tests.github.test_raw import repo as raw_repo


def ahead(**by: float) -> Any:
    """A clock that is ahead of this machine's."""
    return lambda: datetime.now(UTC) + timedelta(**by)


@pytest.mark.parametrize(("seconds", "word"), [(90, "behind"), (-90, "ahead of"), (7 * 86_400, "behind")])
def test_clocks_that_differ_by_over_a_minute_are_one_warning_a_run(
    seconds: int, word: str, caplog: pytest.LogCaptureFixture
):
    repos = [repo(1, "02T10:00", "02T10:00")]
    with GitHubServer({"acme": repos}, now=ahead(seconds=seconds)) as server, session_with(server, "acme") as session:
        with caplog.at_level(logging.WARNING):
            changed = session.changed([DAY])
            inventory = session.inventory()
            rows_of(inventory)
        (warning,) = changed.crawl.warnings
        assert inventory.warnings == []
    assert f"s {word} GitHub's, which says 20" in warning
    assert "NTP" in warning
    assert caplog.text.count(warning) == 1


@pytest.mark.parametrize("seconds", [0, 50, -50])
def test_clocks_that_differ_by_less_are_no_warning(seconds: int):
    with (
        GitHubServer({"acme": [repo(1, "02T10:00", None)]}, now=ahead(seconds=seconds)) as server,
        session_with(server, "acme") as session,
    ):
        assert session.changed([DAY]).crawl.warnings == []


def test_a_run_has_the_warning_in_its_metadata(tmp_path: Path):
    with GitHubServer({"acme": [raw_repo(1)]}, now=ahead(minutes=10)) as server:
        ran = Project(tmp_path, server.url, ["acme"]).materialise(DAY, layers=["raw"])
    (warning,) = metadata(ran, "raw/github_repos", DAY)["warnings"]
    assert "clock is" in warning


def now(day: date, **time: int) -> Any:
    """A clock that stands still at this time of the day."""
    return lambda: datetime(day.year, day.month, day.day, tzinfo=UTC) + timedelta(**time)


@pytest.mark.parametrize("table", ["repos", "pushes", "issues", "stars", "inventory"])
def test_a_day_that_has_not_ended_on_githubs_clock_is_refused_and_lands_nothing(tmp_path: Path, table: str):
    yesterday = datetime.now(UTC).date() - timedelta(days=1)
    stamp = f"{yesterday}T10:00:00Z"
    active = raw_repo(1, updated_at=stamp, pushed_at=stamp, owner={"login": "acme", "id": 7})
    with GitHubServer({"acme": [active]}, now=now(yesterday, hours=22, minutes=30)) as server:
        project = Project(tmp_path, server.url, ["acme"], "token", tables=frozenset({f"raw/github_{table}"}))
        ran = project.materialise(yesterday, layers=["raw"], raise_on_error=False)
        message = failure(ran)
        assert project.days(f"raw/github_{table}") == []
    assert not [event for event in ran.all_events if event.is_step_up_for_retry]
    assert message.startswith(f"GITHUB_ORG 'acme': {yesterday} ends at {yesterday + timedelta(days=1)} 00:00 UTC, ")
    assert f"GitHub's clock says {yesterday} 22:30:00. Nothing was landed." in message
    assert "run it again in 1 h 31 min" in message


@pytest.mark.parametrize(("seconds", "retryable"), [(0, None), (1, True), (120, True), (121, False)])
def test_a_day_that_ends_within_two_minutes_is_tried_again_by_dagster(seconds: int, retryable: bool | None):
    moment = datetime(2026, 3, 3, tzinfo=UTC) - timedelta(seconds=seconds)
    if retryable is None:
        clock.require_ended(date(2026, 3, 2), moment, "acme")
        return
    with pytest.raises(GitHubError) as error:
        clock.require_ended(date(2026, 3, 2), moment, "acme")
    assert error.value.retryable == retryable


def test_a_repository_of_the_future_lands_when_it_was_seen_and_stops_nothing(tmp_path: Path):
    """Staging leaves it out until its time has come; each run of raw counts it."""
    today = datetime.now(UTC).date()
    future = raw_repo(2, pushed_at="2099-01-01T00:00:00Z")
    with GitHubServer({"acme": [raw_repo(1), future]}) as server:
        project = Project(tmp_path, server.url, ["acme"])
        ran = project.materialise(DAY)
        assert ran.success
    (warning,) = metadata(ran, "raw/github_repos", DAY)["warnings"]
    assert "1 repositories are dated in the future" in warning
    assert metadata(ran, "raw/github_repos", DAY)["rows_future"] == 1
    assert not [name for name, check in evaluations(ran).items() if not check.passed and "accepted" in name]
    assert project.days("raw/github_repos") in ([DAY, today], [DAY, today + timedelta(days=1)])
    assert [row[1] for row in project.rows("staging/repos", DAY)] == [1]


def test_the_inventory_keeps_a_repository_of_the_future(tmp_path: Path):
    yesterday = datetime.now(UTC).date() - timedelta(days=1)
    with GitHubServer({"acme": [raw_repo(1), raw_repo(2, created_at="2099-01-01T00:00:00Z")]}) as server:
        project = Project(
            tmp_path, server.url, ["acme"], tables=frozenset({"raw/github_inventory", "staging/inventory"})
        )
        ran = project.materialise(yesterday)
        assert ran.success
    assert metadata(ran, "raw/github_inventory", yesterday)["rows_future"] == 1
    assert [row[1] for row in project.rows("staging/inventory", yesterday)] == [1, 2]


def test_a_push_of_the_future_is_counted(tmp_path: Path):
    with GitHubServer({"acme": [repo(1, "02T10:00", "02T10:00")]}) as server:
        server.activity = {"acme/repo-1": [{"id": 1, "timestamp": "2099-01-01T00:00:00Z", "activity_type": "push"}]}
        with session_with(server, "acme") as session:
            reading = session.pushes([DAY])
            rows_of(reading)
    assert reading.future == 1
    assert "1 pushes are dated in the future" in reading.warnings[0]


def test_a_row_within_the_tolerance_is_not_of_the_future():
    moment = datetime.now(UTC) + clock.TOLERANCE - timedelta(minutes=1)
    active = repo(1, "02T10:00", None) | {"pushed_at": moment.isoformat()}
    with GitHubServer({"acme": [active]}) as server, session_with(server, "acme") as session:
        crawl = session.changed([DAY]).crawl
    assert (crawl.future, crawl.warnings) == (0, [])
