"""Promises of crawls in groups: each organisation once, the tables after the last group, and as of one run."""

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
from dagster import (
    DagsterInstance,
    DagsterRunStatus,
    Definitions,
    RunRequest,
    SkipReason,
    build_schedule_context,
    build_sensor_context,
)
from hypothesis import given
from hypothesis import strategies as st

from mds_assets.defs.github import groups
from mds_assets.defs.github.settings import settings
from mds_assets_tests.github.project import Project, failure
from mds_assets_tests.github.server import GitHubServer

NAMES = ("acme", "bolt", "crank")
TOKEN = "ghp_groups"  # without one, GitHub allows 10 searches a minute
YESTERDAY = datetime.now(UTC).date() - timedelta(days=1)


@given(st.lists(st.text(min_size=1), unique=True, max_size=50), st.integers(1, 60))
def test_every_organisation_is_in_one_group_of_at_most_that_size(organisations: list[str], size: int):
    found = groups.groups(organisations, size)
    assert [name for group in found for name in group] == organisations
    assert all(1 <= len(group) <= size for group in found)
    assert len(found) == -(-len(organisations) // size)


@pytest.fixture
def github() -> Iterator[GitHubServer]:
    """Each organisation has one repository, active yesterday."""
    with GitHubServer({name: [repository(number, name)] for number, name in enumerate(NAMES)}) as server:
        yield server


def repository(number: int, organisation: str) -> dict[str, object]:
    at = f"{YESTERDAY}T10:00:00Z"
    return {
        "id": number,
        "name": f"repo-{number}",
        "full_name": f"{organisation}/repo-{number}",
        "updated_at": at,
        "pushed_at": at,
        "created_at": "2020-01-01T00:00:00Z",
    }


@pytest.fixture
def project(tmp_path: Path, github: GitHubServer, monkeypatch: pytest.MonkeyPatch) -> Project:
    """Three organisations, two a run."""
    monkeypatch.setattr(groups, "settings", settings.model_copy(update={"organisations": NAMES, "orgs_per_run": 2}))
    return Project(tmp_path, github.url, NAMES, TOKEN)


@pytest.fixture
def instance(project: Project) -> Iterator[DagsterInstance]:
    with DagsterInstance.from_config(str(project.home)) as instance:
        yield instance


def play(parts: Definitions, request: RunRequest, instance: DagsterInstance, job: str) -> bool:
    """Do what the daemon does with a request."""
    ran = parts.resolve_job_def(job).execute_in_process(
        instance=instance,
        partition_key=request.partition_key,
        run_config=request.run_config,
        tags=dict(request.tags),
        raise_on_error=False,
    )
    return ran.success


def tick(parts: Definitions, instance: DagsterInstance) -> list[RunRequest | SkipReason]:
    context = build_sensor_context(instance, repository_def=parts.get_repository_def())
    told = parts.resolve_sensor_def("tables_follow_crawls").evaluate_tick(context)
    return [*(told.run_requests or ()), *([SkipReason(told.skip_message)] if told.skip_message else [])]


def crawls(parts: Definitions, day: date = YESTERDAY) -> list[RunRequest]:
    at = datetime.combine(day + timedelta(days=1), datetime.min.time(), UTC) + timedelta(minutes=5)
    context = build_schedule_context(scheduled_execution_time=at, repository_def=parts.get_repository_def())
    return list(parts.resolve_schedule_def("daily_refresh_schedule").evaluate_tick(context).run_requests or ())


def test_the_schedule_asks_for_a_run_a_group_of_the_day_that_ended_and_takes_the_place_of_the_other(project: Project):
    assert project.definitions.resolve_schedule_def("daily_refresh_schedule").job_name == "crawl"
    asked = crawls(project.definitions)
    assert [one.run_config["ops"]["raw__github_repos"]["config"]["organisations"] for one in asked] == [
        ["acme", "bolt"],
        ["crank"],
    ]
    assert [one.tags[groups.GROUP] for one in asked] == ["1 of 2", "2 of 2"]
    assert {one.partition_key for one in asked} == {str(YESTERDAY)}
    assert len({one.run_key for one in asked}) == 2


@pytest.mark.slow(10)
def test_the_tables_are_made_once_after_the_last_group_and_equal_those_of_one_run(
    tmp_path: Path, project: Project, instance: DagsterInstance, github: GitHubServer
):
    parts = project.definitions
    (skipped,) = tick(parts, instance)
    assert isinstance(skipped, SkipReason)
    first, second = crawls(parts)
    assert play(parts, first, instance, "crawl")
    (skipped,) = tick(parts, instance)
    assert isinstance(skipped, SkipReason)
    assert "has all groups crawled yet" in (skipped.skip_message or "")
    assert play(parts, second, instance, "crawl")
    (request,) = tick(parts, instance)
    assert isinstance(request, RunRequest)
    assert [again.run_key for again in tick(parts, instance) if isinstance(again, RunRequest)] == [request.run_key]
    assert play(parts, request, instance, "tables")

    whole = Project(tmp_path / "whole", github.url, NAMES, TOKEN)
    assert whole.materialise(YESTERDAY).success
    for table in ("marts/daily_activity", "marts/repos_per_language", "marts/repo_growth"):
        assert project.rows(table) == whole.rows(table)
        assert {row[0] for row in project.rows(table)} == set(NAMES)


@pytest.mark.slow(12)
def test_a_group_that_fails_keeps_the_others_from_nothing_and_is_added_when_it_is_repaired(
    project: Project, instance: DagsterInstance, github: GitHubServer
):
    parts = project.definitions
    first, second = crawls(parts)
    crank = github.repos.pop("crank")
    assert play(parts, first, instance, "crawl")
    assert not play(parts, second, instance, "crawl")
    assert {run.status for run in instance.get_runs()} == {DagsterRunStatus.SUCCESS, DagsterRunStatus.FAILURE}
    (request,) = tick(parts, instance)
    assert isinstance(request, RunRequest)
    assert play(parts, request, instance, "tables")
    assert {row[0] for row in project.rows("staging/repos")} == {"acme", "bolt"}
    github.repos["crank"] = crank
    assert play(parts, second, instance, "crawl")
    (again,) = tick(parts, instance)
    assert isinstance(again, RunRequest)
    assert again.run_key != request.run_key
    assert len(again.run_key or "") < 100  # PostgreSQL indexes it, with whatever number of groups
    assert play(parts, again, instance, "tables")
    assert {row[0] for row in project.rows("staging/repos")} == set(NAMES)


def test_a_group_that_ends_days_later_is_not_forgotten(
    project: Project, instance: DagsterInstance, github: GitHubServer
):
    before = YESTERDAY - timedelta(days=3)
    for asked in crawls(project.definitions, before):
        assert play(project.definitions, asked, instance, "crawl")
    (request,) = tick(project.definitions, instance)
    assert isinstance(request, RunRequest)
    assert request.partition_key == str(before)


def test_the_sample_is_a_group_of_its_own(project: Project, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(groups, "settings", groups.settings.model_copy(update={"organisations": ()}))
    (asked,) = crawls(project.definitions)
    assert asked.run_config["ops"]["raw__github_repos"]["config"]["organisations"] == []


def test_an_organisation_that_is_not_configured_is_refused_without_its_name(
    project: Project, instance: DagsterInstance, monkeypatch: pytest.MonkeyPatch
):
    """Dagster reads `{env: NAME}` in run config: its value may be any secret of the run's environment."""
    monkeypatch.setenv("DATABASE_PASSWORD", "swordfish")
    config = {"ops": {"raw__github_repos": {"config": {"organisations": ["acme", {"env": "DATABASE_PASSWORD"}]}}}}
    ran = project.definitions.resolve_job_def("crawl").execute_in_process(
        instance=instance, partition_key=str(YESTERDAY), run_config=config, raise_on_error=False
    )
    assert failure(ran).startswith("1 of the 2 organisations in the run's configuration are not in GITHUB_ORG")
    assert not [event for event in instance.all_logs(ran.run_id) if "swordfish" in str(event)]
    assert project.days("raw/github_repos") == []
