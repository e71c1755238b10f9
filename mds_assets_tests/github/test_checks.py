"""Promises of the checks of GitHub's tables: each kind of damage is caught by its name, and does not spread."""

from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
from dagster import DagsterInstance

from mds_assets.definitions import defs
from mds_assets.stack.failures import reason
from mds_assets.stack.table import TABLE, declared_table
from mds_assets_tests.damage import Damage, failed
from mds_assets_tests.github.project import Project
from mds_assets_tests.github.server import GitHubServer

YESTERDAY = datetime.now(UTC).date() - timedelta(days=1)
LAST = date(2026, 3, 9)


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """Two weeks of the sample that end yesterday; whoever changes a file puts it back."""
    project = Project(tmp_path_factory.mktemp("sample"))
    ran = project.materialise(YESTERDAY - timedelta(days=13), YESTERDAY)
    assert ran.success
    return project


def test_a_sound_sample_passes_every_check(sample: Project):
    assert failed(sample) == {}


@pytest.mark.slow(2)
@pytest.mark.parametrize(
    ("table", "query", "check", "message"),
    [
        ("staging/repos", "FROM rows UNION ALL (FROM rows LIMIT 1)", "is_valid", '1 key ("day", "org", "repo_id")'),
        ("staging/repos", "SELECT * REPLACE (NULL::BIGINT AS repo_id) FROM rows", "is_valid", '"repo_id" IS NULL'),
        ("staging/repos", "SELECT * REPLACE (stars::VARCHAR AS stars) FROM rows", "is_valid", "has stars as string"),
        ("staging/repos", "SELECT * REPLACE (TIMESTAMPTZ '2999-01-01' AS created_at) FROM rows", "is_valid",
         "NOT (created_at <= now()"),
        ("staging/repos", "SELECT * REPLACE (-1::BIGINT AS stars) FROM rows", "is_valid", "NOT (stars >= 0)"),
        ("staging/repos",
         "SELECT * REPLACE (active_at - INTERVAL 1 DAY AS active_at, pushed_at - INTERVAL 1 DAY AS pushed_at, "
         "updated_at - INTERVAL 1 DAY AS updated_at) FROM rows", "is_valid",
         "NOT (active_at >= day AND active_at < day + 1)"),
        ("staging/repos", "SELECT *, 1 AS surplus FROM rows", "is_valid", "undeclared columns surplus"),
        ("staging/repos", "SELECT * EXCLUDE (language) FROM rows", "is_valid", "has language as no column"),
        ("staging/repos", "FROM rows OFFSET 1", "reconciles", "1 number differs from raw/github_repos: only=below"),
        ("marts/repos_per_language", "SELECT * REPLACE (repo_count + 1 AS repo_count) FROM rows", "reconciles",
         "differ from staging/repos"),
        ("marts/daily_activity", "SELECT * REPLACE (push_count + 1 AS push_count) FROM rows", "reconciles",
         "differ from staging/repos"),
        ("marts/repo_growth", "FROM rows OFFSET 1", "reconciles", "1 number differs from staging/repos: only=below"),
        ("marts/language_trend", "SELECT * REPLACE (repo_count + 1 AS repo_count) FROM rows", "reconciles",
         "differ from staging/repos"),
        ("marts/daily_activity", "SELECT * REPLACE (push_date + 1 AS push_date) FROM rows", "is_valid",
         "NOT (push_date BETWEEN"),
        ("raw/github_repos", "SELECT * EXCLUDE (org) FROM rows", "is_valid", "no column"),
        ("raw/github_repos",
         "FROM (SELECT * REPLACE (NULL::TIMESTAMPTZ AS pushed_at) FROM rows LIMIT 1) UNION ALL "
         "FROM (SELECT * REPLACE (NULL::TIMESTAMPTZ AS pushed_at) FROM rows LIMIT 1)", "is_valid",
         '1 key ("day", "_dlt_load_id", "org", "id", "updated_at", "pushed_at") comes more than once'),
        ("marts/repos_per_language", "SELECT * REPLACE ('NaN'::DOUBLE AS avg_stars) FROM rows", "is_valid",
         'NOT (NOT isnan("avg_stars"))'),
        ("marts/language_trend", "SELECT * REPLACE (push_count + 7 AS push_count) FROM rows", "reconciles",
         "numbers differ from staging/repos"),
        ("marts/repos_per_language", "SELECT * REPLACE ('x' || language AS language) FROM rows", "reconciles",
         "numbers differ from staging/repos"),
    ],
)  # fmt: skip
def test_damage_is_caught_by_name(sample: Project, table: str, query: str, check: str, message: str):
    with Damage(sample, table, YESTERDAY) as damage:
        damage.select(query)
        messages = failed(sample)
    assert message in messages[f"{table} {check}"]


def test_what_is_wrong_does_not_spread(tmp_path: Path):
    """GitHub sends a repository with -1 stars: the day is not staged, and no mart is made."""
    with GitHubServer({"acme": [repository(stargazers_count=-1)]}) as github:
        project = Project(tmp_path, github.url, ["acme"])
        ran = project.materialise(LAST, raise_on_error=False)
        assert not ran.success
        assert not project.verdicts("staging/repos")[str(LAST)].passed
        message = reason(ran.get_step_failure_events()[0])
        assert message.startswith(f"staging/repos is not as declared, and was not published: {LAST}: accepted_values")
        assert project.days("staging/repos") == []
        assert project.days("marts/daily_activity") == []
        github.repos["acme"] = [repository(stargazers_count=1)]
        assert project.materialise(LAST, instance=DagsterInstance.ephemeral()).success


def repository(**fields: object) -> dict[str, object]:
    """A repository of acme that was active on LAST, as GitHub sends it."""
    at = f"{LAST}T10:00:00Z"
    return {
        "id": 1,
        "name": "rocket",
        "full_name": "acme/rocket",
        "description": None,
        "stargazers_count": 1,
        "forks_count": 1,
        "open_issues_count": 1,
        "size": 1,
        "language": None,
        "license": None,
        "fork": False,
        "archived": False,
        "created_at": at,
        "updated_at": at,
        "pushed_at": at,
    } | fields


def test_staging_and_every_mart_of_githubs_tables_reconciles():
    """Each says which numbers of the table below it must be its own."""
    declared = {spec.key.to_user_string(): spec for spec in defs.resolve_all_asset_specs() if TABLE in spec.metadata}
    github = [
        name
        for name, spec in declared.items()
        if any(dep.asset_key.path[-1] in {"repos", "github_repos"} for dep in spec.deps)
    ]
    assert "staging/repos" in github
    for name in github:
        assert declared_table(name, declared[name].metadata).reconciles, name
