"""Promises of raw: append-only, every field, declared columns always there, a changed type never."""

from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from mds_assets_tests.github.server import GitHubServer
from mds_assets_tests.project import Project, metadata

DAY = date(2026, 3, 2)


def repo(number: int, **fields: Any) -> dict[str, Any]:
    """A repository of acme that was active on the day, with only the fields that GitHub has always had."""
    return {
        "id": number,
        "name": f"repo-{number}",
        "full_name": f"acme/repo-{number}",
        "description": None,
        "stargazers_count": 1,
        "forks_count": 0,
        "open_issues_count": 0,
        "size": 10,
        "language": None,
        "fork": False,
        "archived": False,
        "created_at": "2020-01-01T00:00:00Z",
        "updated_at": "2026-03-02T10:00:00Z",
        "pushed_at": None,
        **fields,
    }


def loads(project: Project, day: date = DAY) -> list[Path]:
    """The day's load files in order."""
    return sorted((project.lake / "raw/github_repos" / f"day={day}").iterdir())


def test_each_run_adds_one_load_a_day_and_touches_no_other(tmp_path: Path):
    with GitHubServer({"acme": [repo(1)]}) as server:
        project = Project(tmp_path, server.url, ["acme"])
        project.materialise(DAY, layers=["raw"])
        first = project.contents()
        server.repos["acme"] = [repo(1, stargazers_count=2)]
        project.materialise(date(2026, 3, 1), DAY, layers=["raw"])
    assert len(loads(project)) == 2
    assert len(loads(project, date(2026, 3, 1))) == 1
    assert project.contents().items() >= first.items()
    assert {path.name for path in project.lake.iterdir()} == {"raw", ".tmp"}
    assert list((project.lake / ".tmp").iterdir()) == []


def test_a_declared_column_exists_and_is_typed_even_when_all_values_are_null(tmp_path: Path):
    with GitHubServer({"acme": [repo(1)]}) as server:
        project = Project(tmp_path, server.url, ["acme"])
        project.materialise(date(2026, 3, 1), DAY, layers=["raw"])
    (with_rows,), (without_rows,) = loads(project), loads(project, date(2026, 3, 1))
    declared = ["license", "topics", "pushed_at", "description", "language", "stargazers_count", "observed_at"]
    types = [str(pq.read_schema(with_rows).field(name).type) for name in declared]
    assert types == ["string", "string", "timestamp[us, tz=UTC]", "string", "string", "int64", "timestamp[us, tz=UTC]"]
    assert [str(pq.read_schema(without_rows).field(name).type) for name in declared] == types
    assert pq.read_metadata(without_rows).num_rows == 0


def test_a_new_field_of_github_lands_and_staging_passes_over_it(tmp_path: Path):
    with GitHubServer({"acme": [repo(1)]}) as server:
        project = Project(tmp_path, server.url, ["acme"])
        project.materialise(DAY)
        server.repos["acme"] = [repo(2, novelty="yes", deep={"er": [1, 2]}, topics=["a"])]
        project.materialise(DAY)
    newest = pq.ParquetFile(loads(project)[-1]).read().to_pylist()[0]
    assert newest["novelty"] == "yes"
    assert newest["deep"] == '{"er":[1,2]}'
    assert [row[1] for row in project.rows("staging/repos", DAY)] == [1, 2]


@pytest.mark.parametrize("drift", [{"stargazers_count": "many"}, {"size": 1.5}, {"archived": "perhaps"}])
def test_a_declared_field_of_another_type_fails_the_run_and_lands_nothing(tmp_path: Path, drift: dict[str, Any]):
    with GitHubServer({"acme": [repo(1)]}) as server:
        project = Project(tmp_path, server.url, ["acme"])
        project.materialise(DAY)
        before = project.contents()
        server.repos["acme"] = [repo(1), repo(2, **drift)]
        result = project.materialise(DAY, raise_on_error=False)
    assert not result.success
    assert next(iter(drift)) in str([event.step_failure_data.error for event in result.get_step_failure_events()])
    assert project.contents() == before


def test_each_days_metadata_tells_the_load(tmp_path: Path):
    with GitHubServer({"acme": [repo(1), repo(2)]}) as server:
        project = Project(tmp_path, server.url, ["acme"])
        project.materialise(DAY, layers=["raw"])
        result = project.materialise(DAY, layers=["raw"])
    told = metadata(result, "raw/github_repos", DAY)
    assert told["rows_landed"] == 2
    assert told["dagster/partition_row_count"] == 4  # of both loads
    assert told["api_requests"] == 1
    assert told["rate_limit_remaining"] == 4998
    assert f"{told['load']}.parquet" == loads(project)[-1].name
    assert told["bytes"] == sum(load.stat().st_size for load in loads(project))
    assert abs((datetime.fromisoformat(told["observed_at"]) - datetime.now(UTC)).total_seconds()) < 600
