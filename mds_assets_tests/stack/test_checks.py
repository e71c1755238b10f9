"""Promises of the checks: each kind of damage is caught by its name, in numbers and keys, and does not spread."""

from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import duckdb
import pyarrow.parquet as pq
import pytest
from dagster import AssetCheckSeverity, DagsterInstance

from mds_assets.definitions import defs
from mds_assets.stack import checks
from mds_assets.stack.checks import RECONCILED
from mds_assets.stack.failures import reason
from mds_assets.stack.io_managers.duckdb import select
from mds_assets.stack.table import COLUMN_SCHEMA
from mds_assets_tests.github.server import GitHubServer
from mds_assets_tests.project import Project, evaluations

YESTERDAY = datetime.now(UTC).date() - timedelta(days=1)
LAST = date(2026, 3, 9)


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A week of the sample that ends yesterday; whoever changes a file puts it back."""
    project = Project(tmp_path_factory.mktemp("sample"))
    ran = project.materialise(YESTERDAY - timedelta(days=13), YESTERDAY)
    assert ran.success
    return project


class Damage:
    """Rewrites one day's file of a table with another query, and puts it back."""

    def __init__(self, project: Project, table: str, day: date = YESTERDAY):
        """The newest file of the day."""
        self.file = max((project.lake / table / f"day={day}").glob("*.parquet"))
        self.before = self.file.read_bytes()

    def __enter__(self) -> "Damage":
        """Nothing has changed yet."""
        return self

    def select(self, query: str) -> None:
        """Replace the rows, which the query calls `rows`."""
        with duckdb.connect() as con:
            con.execute("SET TimeZone = 'UTC'")
            rows = con.from_arrow(pq.ParquetFile(self.file).read())
            select(rows, "rows", query).to_parquet(str(self.file))

    def __exit__(self, *_: object) -> None:
        """As it was."""
        self.file.parent.mkdir(exist_ok=True)
        self.file.write_bytes(self.before)


def failed(project: Project) -> dict[str, str]:
    """The checks that do not pass, with what they say."""
    return {name: one.description or "" for name, one in project.checks().items() if not one.passed}


def test_a_sound_lake_passes_every_check(sample: Project):
    found = sample.checks()
    assert {name: one.description for name, one in found.items() if not one.passed} == {}
    for table in defs.resolve_all_asset_specs():
        name = table.key.to_user_string()
        if COLUMN_SCHEMA not in table.metadata:
            continue
        assert {f"{name} {check}" for check in ("schema", "not_null", "unique_key", "accepted_values", "is_fresh")} <= (
            found.keys()
        )
        if name.startswith("marts/"):
            assert {f"{name} window_is_complete", f"{name} reconciles"} <= found.keys()


@pytest.mark.parametrize(
    ("table", "query", "check", "said"),
    [
        ("staging/repos", "FROM rows UNION ALL (FROM rows LIMIT 1)", "unique_key", "1 keys (day, org, repo_id)"),
        ("staging/repos", "SELECT * REPLACE (NULL::BIGINT AS repo_id) FROM rows", "not_null", "repo_id IS NULL"),
        ("staging/repos", "SELECT * REPLACE (stars::VARCHAR AS stars) FROM rows", "schema", "has stars as string"),
        ("staging/repos", "SELECT * REPLACE (TIMESTAMPTZ '2999-01-01' AS created_at) FROM rows", "accepted_values",
         "NOT (created_at <= now())"),
        ("staging/repos", "SELECT * REPLACE (-1::INTEGER AS stars) FROM rows", "accepted_values", "NOT (stars >= 0)"),
        ("staging/repos",
         "SELECT * REPLACE (active_at - INTERVAL 1 DAY AS active_at, pushed_at - INTERVAL 1 DAY AS pushed_at, "
         "updated_at - INTERVAL 1 DAY AS updated_at) FROM rows", "accepted_values",
         "NOT (active_at >= day AND active_at < day + 1)"),
        ("staging/repos", "SELECT *, 1 AS surplus FROM rows", "schema", "undeclared columns surplus"),
        ("staging/repos", "SELECT * EXCLUDE (license) FROM rows", "schema", "has license as no column"),
        ("staging/repos", "FROM rows OFFSET 1", "reconciles", "1 numbers differ from raw/github_repos: below"),
        ("marts/repos_per_language", "SELECT * REPLACE (repo_count + 1 AS repo_count) FROM rows", "reconciles",
         "differ from staging/repos"),
        ("marts/daily_activity", "SELECT * REPLACE (push_count + 1 AS push_count) FROM rows", "reconciles",
         "differ from staging/repos"),
        ("marts/repo_growth", "FROM rows OFFSET 1", "reconciles", "1 numbers differ from staging/repos: below"),
        ("marts/language_trend", "SELECT * REPLACE (repo_count + 1 AS repo_count) FROM rows", "reconciles",
         "differ from staging/repos"),
        ("marts/daily_activity", "SELECT * REPLACE (push_date + 1 AS push_date) FROM rows", "accepted_values",
         "NOT (push_date BETWEEN"),
        ("raw/github_repos", "SELECT * EXCLUDE (stargazers_count) FROM rows", "schema", "no column"),
        ("raw/github_repos",
         "FROM (SELECT * REPLACE (NULL::TIMESTAMPTZ AS pushed_at) FROM rows LIMIT 1) UNION ALL "
         "FROM (SELECT * REPLACE (NULL::TIMESTAMPTZ AS pushed_at) FROM rows LIMIT 1)", "unique_key",
         "1 keys (day, _dlt_load_id, org, id, updated_at, pushed_at) come more than once"),
        ("marts/repos_per_language", "SELECT * REPLACE ('NaN'::DOUBLE AS avg_stars) FROM rows", "accepted_values",
         "NOT (NOT isnan(avg_stars))"),
        ("marts/language_trend", "SELECT * REPLACE (push_count + 7 AS push_count) FROM rows", "reconciles",
         "numbers differ from staging/repos"),
        ("marts/repos_per_language", "SELECT * REPLACE ('x' || language AS language) FROM rows", "reconciles",
         "numbers differ from staging/repos"),
    ],
)  # fmt: skip
def test_damage_is_caught_by_name(sample: Project, table: str, query: str, check: str, said: str):
    with Damage(sample, table) as damage:
        damage.select(query)
        found = failed(sample)
    assert said in found[f"{table} {check}"]


def test_a_truncated_file_is_told_by_its_name(sample: Project):
    with Damage(sample, "staging/repos") as damage:
        damage.file.write_bytes(damage.before[:-100])
        found = failed(sample)
    assert f"day={YESTERDAY}/data.parquet cannot be read" in found["staging/repos schema"]
    assert "a file cannot be read" in found["staging/repos unique_key"]
    assert str(damage.file) in found["staging/repos unique_key"]


def test_a_value_of_a_wrong_type_is_told_without_it(sample: Project):
    with Damage(sample, "staging/repos") as damage:
        damage.select("SELECT * REPLACE ('a private value' AS stars) FROM rows")
        found = failed(sample)
    assert {"staging/repos schema", "staging/repos accepted_values"} <= found.keys()
    assert "a private value" not in str(found)


def test_a_file_that_is_replaced_while_a_check_reads_it_is_looked_at_again(
    sample: Project, monkeypatch: pytest.MonkeyPatch
):
    with Damage(sample, "staging/repos") as damage:
        damage.select("SELECT *, 1 AS surplus FROM rows")

        def read_before_it_is_replaced(file: Path) -> pq.FileMetaData:
            told = pq.ParquetFile(file).metadata
            if "surplus" in told.schema.names:
                damage.file.write_bytes(damage.before)
            return told

        monkeypatch.setattr(checks, "footer", read_before_it_is_replaced)
        assert failed(sample) == {}


def test_a_lake_without_days_is_told_to_have_none(tmp_path: Path):
    found = Project(tmp_path).checks()
    assert not any("cannot be read" in (check.description or "") for check in found.values())
    assert not found["marts/daily_activity window_is_complete"].passed
    assert found["marts/daily_activity window_is_complete"].description == "no day was ever made"
    assert "the newest day is none" in (found["staging/repos is_fresh"].description or "")


def test_a_missing_day_is_a_warning(sample: Project):
    with Damage(sample, "staging/repos", YESTERDAY - timedelta(days=3)) as damage:
        damage.file.unlink()
        found = sample.checks()
    missing = found["marts/daily_activity window_is_complete"]
    assert not missing.passed
    assert missing.severity == AssetCheckSeverity.WARN
    assert missing.metadata["missing"].value == str(YESTERDAY - timedelta(days=3))


def test_a_table_is_stale_without_the_day_that_ended_though_an_older_one_was_made_just_now(tmp_path: Path):
    project = Project(tmp_path)
    ran = project.materialise(YESTERDAY - timedelta(days=9))
    stale = evaluations(ran)["staging/repos is_fresh"]
    assert not stale.passed
    assert stale.severity == AssetCheckSeverity.WARN
    assert f"the newest day is {YESTERDAY - timedelta(days=9)}" in (stale.description or "")
    assert project.materialise(YESTERDAY).success
    again = project.materialise(YESTERDAY - timedelta(days=9))
    assert evaluations(again)["staging/repos is_fresh"].passed


def test_it_tells_five_keys_at_most_and_no_other_value(sample: Project):
    with Damage(sample, "staging/repos") as damage:
        damage.select("SELECT * REPLACE (-1::INTEGER AS stars, 'secret-name' AS repo_name) FROM rows")
        found = sample.checks()["staging/repos accepted_values"]
    assert (found.description or "").count(";") == 4
    assert int(str(found.metadata["rows_wrong"].value)) > 5
    assert "secret-name" not in str(found)


def test_what_is_wrong_does_not_spread(tmp_path: Path):
    """GitHub sends a repository that was made in the future: staging keeps it, its check fails, no mart is made."""
    with GitHubServer({"acme": [repository(created_at="2999-01-01T00:00:00Z")]}) as github:
        project = Project(tmp_path, github.url, ["acme"])
        ran = project.materialise(LAST, raise_on_error=False)
        assert not ran.success
        assert not evaluations(ran)["staging/repos accepted_values"].passed
        assert reason(ran.get_step_failure_events()[0]).endswith(
            "failed with ERROR severity: staging/repos: accepted_values"
        )
        assert project.days("staging/repos") == [LAST]
        assert project.days("marts/daily_activity") == []
        github.repos["acme"] = [repository(created_at="2020-01-01T00:00:00Z")]
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


def test_every_mart_is_reconciled():
    marts = {key for key in defs.resolve_all_asset_keys() if key.has_prefix(["marts"])}
    assert marts <= RECONCILED.keys()
