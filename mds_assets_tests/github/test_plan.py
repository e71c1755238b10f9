"""Promises of plans, repairs, verification and what was known when, on npm's days as GitHub described them."""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow.parquet as pq
import pytest
from dagster import AssetKey, DagsterInstance
from pydantic import SecretStr

from mds_assets.defs.github.settings import settings as github_settings
from mds_assets.stack import recompute
from mds_assets.stack.lake import Lake
from mds_assets.stack.names import PROVENANCE
from mds_assets.stack.plan.heal import heal
from mds_assets.stack.plan.plan import Plan, make_plan
from mds_assets.stack.plan.runs import Run
from mds_assets.stack.plan.states import TO_MAKE, Cause, State
from mds_assets.stack.provenance import Provenance
from mds_assets_tests.github.project import Project, Rows
from mds_assets_tests.github.recordings import npm_days
from mds_assets_tests.github.server import GitHubServer

pytestmark = pytest.mark.slow(10)  # stack/plan/ has the same promises on a smaller source

TABLES = (
    "staging/repos",
    "marts/daily_activity",
    "marts/language_trend",
    "marts/repo_growth",
    "marts/repos_per_language",
)

# The ten in a row that the slice of the recordings has.
DAYS = [day for day in sorted(npm_days()) if date(2020, 2, 11) <= day <= date(2020, 2, 20)]


@dataclass(frozen=True)
class Built:
    """A lake of npm's days, each crawled when it had ended.

    Attributes:
        lake: Its root.
        days: The days, in order.
        published: What each run had published, by the time at which it ended.
    """

    lake: Path
    days: list[date]
    published: Mapping[datetime, dict[str, Rows]]


def project_in(folder: Path, url: str = "http://127.0.0.1:9") -> Project:
    return Project(folder, url, ["npm"])


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    published: dict[datetime, dict[str, Rows]] = {}
    with GitHubServer({"npm": []}) as github:
        project = project_in(tmp_path_factory.mktemp("built"), github.url)
        for recorded in DAYS:
            day = recorded - timedelta(days=1)  # the day that had ended
            github.repos["npm"] = npm_days()[recorded]
            assert project.materialise(day, layers=("raw", "staging", "marts", "reports")).success
            published[datetime.now(UTC)] = {table: project.rows(table, day) for table in TABLES}
    return Built(project.lake, [recorded - timedelta(days=1) for recorded in DAYS], published)


@pytest.fixture
def project(built: Built, tmp_path: Path) -> Project:
    """A copy of it."""
    project = project_in(tmp_path)
    shutil.copytree(built.lake, project.lake)
    return project


def plan_of(project: Project, built: Built, **options: object) -> Plan:
    tables = {AssetKey(table.split("/")) for table in project.tables}
    given = {"selected": tables, **options}
    return make_plan(project.definitions, Lake(str(project.lake)), built.days[0], built.days[-1], **given)  # pyright: ignore[reportArgumentType]


def not_there(plan: Plan, built: Built) -> dict[str, list[tuple[int, str]]]:
    """What is not there by itself, and not only because of something else: day and reason, by table."""
    return {
        plan.nodes[key].name: found
        for key, cells in plan.states.cells.items()
        if (
            found := [
                (built.days.index(day) if day else -1, cell.reason)
                for day, cell in cells.items()
                if cell.state != State.THERE and cell.cause != Cause.UPSTREAM
            ]
        )
    }


def repaired(project: Project, built: Built) -> int:
    def make(run: Run, _left: int) -> str:
        ended = project.definitions.resolve_job_def("daily_refresh").execute_in_process(
            instance=DagsterInstance.ephemeral(),
            asset_selection=run.keys,
            tags={
                "dagster/asset_partition_range_start": str(run.first),
                "dagster/asset_partition_range_end": str(run.last),
            },
            run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
            raise_on_error=False,
        )
        return "" if ended.success else "failed"

    number, failures = heal(
        lambda given_up, states, only: plan_of(
            project, built, given_up=given_up, acts_on=states, **({} if only is None else {"selected": only})
        ),
        TO_MAKE,
        make,
    )
    assert failures == []
    return number


def test_a_plan_names_exactly_what_was_done_and_a_repair_ends_equal_to_a_lake_built_from_nothing(
    project: Project, built: Built, tmp_path: Path
):
    days, folder = built.days, project.lake
    assert not_there(plan_of(project, built), built) == {}
    (folder / f"marts/repo_growth/day={days[3]}/data.parquet").unlink()
    (folder / f"staging/repos/day={days[5]}/data.parquet").unlink()
    # A raw file with other rows in the place of the one that was landed.
    (raw,) = [
        file
        for file in (folder / f"raw/github_repos/day={days[6]}").iterdir()
        if not file.name.endswith("early.parquet")
    ]
    rows = pq.ParquetFile(raw).read()
    assert rows.num_rows
    pl.DataFrame(rows).with_columns(pl.col("stargazers_count") + 1000).write_parquet(raw)
    # A mart that another setting and another version of its function made.
    changes: list[tuple[date, dict[str, Any]]] = [
        (days[1], {"settings": {"lookback_days": 14}}),
        (days[2], {"code": "0" * 12}),
    ]
    for day, change in changes:
        file = folder / f"marts/daily_activity/day={day}/data.parquet"
        table = pq.ParquetFile(file)
        made_from = Provenance.from_json(table.metadata.metadata[PROVENANCE.encode()].decode())
        assert made_from
        said = {PROVENANCE: replace(made_from, **change, version="").to_json()}
        pq.write_table(table.read().replace_schema_metadata(said), file)

    found = not_there(plan_of(project, built), built)
    code = plan_of(project, built).nodes[AssetKey(["marts", "daily_activity"])].code
    assert found == {
        "staging/repos": [(5, "was never made"), (6, f"raw/github_repos of {days[6]} changed")],
        "marts/repo_growth": [(3, "was never made")],
        "marts/daily_activity": [
            (1, "lookback_days was 14 and is 7"),
            (2, f"its code changed ({'0' * 12} to {code})"),
        ],
    }

    assert repaired(project, built) > 0
    assert not_there(plan_of(project, built), built) == {}
    assert repaired(project, built) == 0
    new = project_in(tmp_path / "new")
    shutil.copytree(project.lake / "raw", new.lake / "raw")
    assert new.materialise(days[0], days[-1], ("staging", "marts")).success
    assert {table: project.rows(table) for table in TABLES} == {table: new.rows(table) for table in TABLES}


def test_all_days_made_again_from_raw_are_equal(project: Project, built: Built):
    keys = {AssetKey(table.split("/")) for table in TABLES}
    lake = Lake(str(project.lake))
    found = recompute.verify(project.definitions, lake, built.days[0], built.days[-1], keys)
    assert [each.name for each in found.differences if not each.is_empty] == []
    assert (found.partitions, found.stale) == (len(TABLES) * len(built.days), 0)


@pytest.mark.parametrize("number", [0, 3, -2])
def test_a_lake_as_known_at_a_time_has_what_was_published_then(
    project: Project, built: Built, tmp_path: Path, number: int
):
    at = list(built.published)[number]
    root = str(tmp_path / "then")
    recompute.known_at(project.definitions, Lake(str(project.lake)), at, root, None, built.days[-1])
    then = project_in(tmp_path / "empty")
    then.lake = Path(root)
    day = built.days[number]
    assert then.days("staging/repos")[-1] == day
    assert {table: then.rows(table, day) for table in TABLES} == built.published[at]


def test_all_days_of_the_sample_made_again_from_raw_are_equal(tmp_path: Path):
    project = Project(tmp_path, tables=frozenset())
    yesterday = datetime.now(UTC).date() - timedelta(days=1)
    assert project.materialise(yesterday - timedelta(days=3), yesterday).success
    found = recompute.verify(project.definitions, Lake(str(project.lake)))
    assert [each.name for each in found.differences if not each.is_empty] == []
    assert found.stale == 0
    assert len(found.differences) == 17


def test_a_plan_says_how_long_its_requests_take_at_github_s_rate_limit(project: Project, built: Built):
    shutil.rmtree(project.lake / f"raw/github_repos/day={built.days[4]}")
    plan = plan_of(project, built)
    (requests,) = plan.requests
    assert (requests.table, requests.source, requests.days) == ("raw/github_repos", "github", 1)
    assert requests.number
    own = github_settings.model_copy(update={"organisations": ("npm",), "token": None})
    assert plan.minutes({"github": own}) == {"github": requests.number}  # 60 an hour
    assert plan.minutes({"github": own.model_copy(update={"token": SecretStr("x")})}) == {"github": 1}
    assert plan.minutes({"github": own.model_copy(update={"organisations": ()})}) == {}  # the sample
