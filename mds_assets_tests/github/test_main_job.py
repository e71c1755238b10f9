"""Promises of the whole: recorded answers of GitHub through real HTTP, dlt, DuckDB, Polars and Dagster."""

import os
import random
import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from dagster import AssetKey

from mds_assets.stack.lake import Lake
from mds_assets.stack.partitions import days_between
from mds_assets_tests.github import oracle
from mds_assets_tests.github.project import Project, evaluations, metadata
from mds_assets_tests.github.recordings import jenkinsci, needs_recordings, npm_days
from mds_assets_tests.github.server import GitHubServer

FIRST, LAST = date(2019, 10, 19), date(2019, 10, 25)
TOKEN = "ghp_1234567890abcdefSECRET"
MARTS: dict[str, Callable[..., Sequence[tuple[object, ...]]]] = {
    "marts/repos_per_language": oracle.repos_per_language,
    "marts/daily_activity": oracle.daily_activity,
    "marts/repo_growth": oracle.repo_growth,
    "marts/language_trend": oracle.language_trend,
}


@pytest.fixture
def github() -> Iterator[GitHubServer]:
    """GitHub with jenkinsci as it was on 2019-10-26."""
    with GitHubServer({"jenkinsci": jenkinsci()}) as server:
        yield server


def staged(project: Project) -> list[tuple[object, ...]]:
    """Staging without `observed_at`, the second last column, which differs from crawl to crawl."""
    return [(*row[:-2], row[-1]) for row in project.rows("staging/repos")]


def test_a_range_through_the_dagster_command_gives_the_known_figures_in_4_requests(tmp_path: Path):
    with GitHubServer({"jenkinsci": jenkinsci()}, token=TOKEN) as github:
        project = Project(tmp_path, github.url, ["jenkinsci"], token=TOKEN)
        ended = project.dagster("--partition-range", f"{FIRST}...{LAST}")
    assert ended.returncode == 0, ended.stderr
    assert len(github.requests) == 4
    assert [len(project.rows("staging/repos", day)) for day in days_between(FIRST, LAST)] == [12, 4, 24, 33, 51, 53, 75]

    languages = {row[1]: row[2:5] for row in project.rows("marts/repos_per_language", LAST)}
    assert len(languages) == 12
    assert languages["Java"] == (217, 75.4, 61.6)
    assert languages["Unknown"] == (6, 264.5, 146.7)

    activity = project.rows("marts/daily_activity", LAST)
    assert [row[1] for row in activity] == days_between(FIRST, LAST)
    assert [row[2] for row in activity] == [12, 5, 15, 27, 41, 32, 58]
    assert activity[-1][3:5] == (27.14, 7)

    # The token reached GitHub, and nothing else.
    assert TOKEN not in ended.stdout + ended.stderr
    for file in (file for folder in (project.lake, project.home) for file in folder.rglob("*") if file.is_file()):
        assert TOKEN.encode() not in file.read_bytes(), file


def names(file: Path) -> list[str]:
    """The repositories in a file of raw."""
    return pq.ParquetFile(file).read(["name"])["name"].to_pylist()


@pytest.mark.slow(8)
def test_what_was_active_again_before_the_crawl_lands_early_and_is_staged_once_its_day_runs(
    tmp_path: Path, github: GitHubServer
):
    """Of jenkinsci the flagship, `jenkins`: at 01:07 on the day after, 20 minutes before the crawl."""
    project = Project(tmp_path, github.url, ["jenkinsci"])
    result = project.materialise(FIRST, LAST)
    ahead = LAST + timedelta(days=1)
    (early,) = (project.lake / "raw/github_repos" / f"day={ahead}").iterdir()
    assert early.name.endswith(".early.parquet")
    assert "jenkins" in names(early)
    assert metadata(result, "raw/github_repos", LAST)["rows_early"] == len(names(early))

    # The day has not been landed because of it: not to the lake, Dagster, the checks or `mds show`.
    raw = AssetKey(["raw", "github_repos"])
    lake = Lake(str(project.lake))
    assert lake.days(raw) == days_between(FIRST, LAST)
    assert lake.early_days(raw) == [ahead]
    assert str(ahead) not in {
        event.partition for event in result.get_asset_materialization_events() if event.asset_key == raw
    }
    assert project.checks()["raw/github_repos is_fresh"].metadata["newest"].value == str(LAST)
    shown = project.command("mds", "show").stdout
    assert str(LAST) in shown
    assert str(ahead) not in shown
    for table in ("staging/repos", *MARTS):
        assert project.days(table) == days_between(FIRST, LAST)

    github.repos["jenkinsci"] = []  # whatever has become of it since
    late = project.materialise(ahead)
    assert "jenkins" in {row[2] for row in project.rows("staging/repos", ahead)}
    assert len(project.rows("staging/repos", ahead)) == len(names(early))
    assert metadata(late, "marts/daily_activity", ahead)["staging/repos/days_missing"] == [
        str(ahead - timedelta(days=back)) for back in range(12, 7, -1)
    ]
    assert evaluations(late)["staging/repos reconciles"].passed


@pytest.mark.slow(6)
def test_a_repository_active_again_between_midnight_and_the_next_crawl_is_not_lost(tmp_path: Path):
    """Each crawl is five minutes past midnight, and the repository is pushed to two minutes past, day after day."""
    days = days_between(FIRST, FIRST + timedelta(days=3))
    busy = jenkinsci()[0] | {"name": "busy"}
    with GitHubServer({"jenkinsci": []}) as github:
        project = Project(tmp_path, github.url, ["jenkinsci"])
        for day in days:
            pushed_at = f"{day + timedelta(days=1)}T00:02:00Z"
            github.repos["jenkinsci"] = [busy | {"pushed_at": pushed_at, "updated_at": pushed_at}]
            assert project.materialise(day).success
    assert [(row[2], row[-1]) for row in project.rows("staging/repos")] == [("busy", day) for day in days[1:]]
    # No crawl saw it within the day that it asked for.
    for day in days[1:]:
        files = sorted((project.lake / "raw/github_repos" / f"day={day}").iterdir())
        assert [names(file) for file in files if not file.name.endswith(".early.parquet")] == [[]]
        assert [names(file) for file in files if file.name.endswith(".early.parquet")] == [["busy"]]
    activity = [row for row in project.rows("marts/daily_activity", days[-1]) if row[1] in days]
    assert [row[2] for row in activity] == [0, 1, 1, 1]
    assert activity[-1][3:5] == (0.75, 4)


@pytest.mark.slow(12)
def test_single_days_in_any_order_some_twice_equal_the_range(tmp_path: Path, github: GitHubServer):
    in_one_run = Project(tmp_path / "range", github.url, ["jenkinsci"])
    assert in_one_run.materialise(FIRST, LAST).success

    day_by_day = Project(tmp_path / "days", github.url, ["jenkinsci"])
    days = days_between(FIRST, LAST)
    shuffled = [*days, days[2], days[6]]
    random.Random(20191026).shuffle(shuffled)
    for day in shuffled:
        assert day_by_day.materialise(day).success
    assert staged(day_by_day) == staged(in_one_run)

    for day in reversed(days):  # each day's marts once more, now that the days of its window are there
        assert day_by_day.materialise(day, layers=["marts"]).success
    for mart in MARTS:
        assert day_by_day.rows(mart) == in_one_run.rows(mart)


@pytest.mark.slow(70)
def test_npm_day_by_day_equals_the_oracle_on_every_day_early_rows_included(tmp_path: Path):
    observed: list[oracle.Observation] = []
    landed: list[date] = []
    with GitHubServer({"npm": []}) as github:
        project = Project(tmp_path, github.url, ["npm"])
        for recorded, repos in npm_days().items():
            github.repos["npm"] = repos
            day = recorded - timedelta(days=1)  # as the schedule does: the day that has ended
            assert project.materialise(day).success
            moment = datetime.combine(recorded, datetime.min.time(), UTC)
            observed += oracle.observations_seen(repos, "npm", moment, day)
            landed.append(day)
            expected = oracle.staging(observed, landed)
            assert {row[:2] for row in project.rows("staging/repos", day)} == set(expected.get(day, {}))
            for mart, rows in MARTS.items():
                known = {"landed": landed} if mart == "marts/daily_activity" else {}
                table = [(*row, day) for row in rows(expected, day, 7, **known)]
                assert sorted(project.rows(mart, day), key=str) == sorted(table, key=str)  # some values are null
        assert [project.days(mart) for mart in MARTS] == [landed] * len(MARTS)
        early = {Path(name).parent.name for name in project.contents() if name.endswith(".early.parquet")}
        assert len(early) > len(landed) / 2


def test_a_later_run_of_a_day_adds_to_raw_and_loses_nothing(tmp_path: Path):
    """On 2020-02-13 GitHub no longer shows what it showed for 2020-02-11 on 2020-02-12: raw and staging still do."""
    npm = npm_days()
    day = date(2020, 2, 11)
    with GitHubServer({"npm": npm[date(2020, 2, 12)]}) as github:
        project = Project(tmp_path, github.url, ["npm"])
        project.materialise(day)
        before, first_load = staged(project), project.contents()
        github.repos["npm"] = npm[date(2020, 2, 20)]
        project.materialise(day)
    assert before
    assert staged(project) == before
    assert {name: value for name, value in project.contents().items() if name in first_load and "raw" in name} == {
        name: value for name, value in first_load.items() if "raw" in name
    }
    assert len(list((project.lake / "raw/github_repos" / f"day={day}").iterdir())) == 2


@pytest.mark.parametrize(
    ("organisation", "token", "said"),
    [
        pytest.param(
            "jenkins-typo",
            "",
            "404 'Not Found': GitHub has no organisation or user of this name",
            marks=pytest.mark.slow(4),
        ),
        ("jenkinsci", "ghp_REVOKED", "401 'Bad credentials': GITHUB_TOKEN was refused"),
    ],
)
def test_a_refusal_is_one_clear_line_exit_code_1_and_no_change(
    tmp_path: Path, organisation: str, token: str, said: str
):
    with GitHubServer({"jenkinsci": jenkinsci()}) as github:
        project = Project(tmp_path, github.url, ["jenkinsci"])
        project.materialise(LAST)
    before = project.contents()
    with GitHubServer({"jenkinsci": jenkinsci()}, token="ghp_VALID" if token else None) as github:
        project.environment |= {"GITHUB_API_URL": github.url, "GITHUB_ORG": organisation, "GITHUB_TOKEN": token}
        by_mds = project.command("mds", "run", "--from", str(LAST), "--to", str(LAST))
        by_dagster = project.dagster("--partition", str(LAST))
    assert by_mds.returncode == by_dagster.returncode == 1
    line = by_mds.stderr.splitlines()[-1]
    assert line.startswith(f"Error: GITHUB_ORG '{organisation}': GET {github.url}/")
    assert said in line
    assert "Traceback" not in by_mds.stderr
    # Dagster writes what a step prints to a file, and has `tail` copy it to the terminal until the step ends: on a busy
    # machine, the last lines may be in the file alone, which is what its UI shows.
    captured = "".join(file.read_text() for file in project.home.rglob("*.err"))
    assert line.removeprefix("Error: ") in by_dagster.stderr + captured
    if token:
        assert token not in by_mds.stderr + by_mds.stdout + by_dagster.stderr + by_dagster.stdout + captured
    assert project.contents() == before


@pytest.mark.slow(12)
def test_mds_run_on_the_sample_shows_the_marts_and_a_second_run_shows_the_same_numbers(tmp_path: Path):
    project = Project(tmp_path)
    first = project.command("mds", "run", "--days", "2")
    assert first.returncode == 0, first.stderr
    second = project.command("mds", "run", "--days", "2")
    marts = [ended.stdout[ended.stdout.index("marts/repos_per_language as of") :] for ended in (first, second)]
    assert marts[0] == marts[1]
    assert marts[0].count("mds-sample") > 5
    assert all(f"{mart} as of" in marts[0] for mart in ("marts/daily_activity", "marts/repos_per_language"))
    languages = [int(line.split()[2]) for line in marts[0].splitlines()[2:6]]
    assert languages == sorted(languages, reverse=True)
    assert str(project.lake) in marts[0]
    assert "make dev" in marts[0]
    (asks,) = re.findall(r'mds (sql) "(.*?)"', marts[0])
    queried = project.command("mds", *asks)
    assert queried.returncode == 0, queried.stderr
    assert queried.stdout.count("mds-sample") > 10

    shown = project.command("mds", "show")
    assert shown.returncode == 0
    assert [line.count("2 ") > 0 for line in shown.stdout.splitlines() if "marts/daily_activity " in line]
    rebuilt = project.command("mds", "run", "--days", "2", "--skip-ingest", "--lookback-days", "1")
    assert rebuilt.returncode == 0, rebuilt.stderr
    assert "raw/github_repos" not in rebuilt.stdout
    loads = [file.name for file in (project.lake / "raw/github_repos").glob("*/*")]
    assert len([name for name in loads if not name.endswith(".early.parquet")]) == 4  # two days, two loads


@pytest.mark.slow(8)
def test_an_organisation_with_nothing_recent_is_shown_since_when(tmp_path: Path):
    old = {"created_at": "2020-01-01T00:00:00Z", "updated_at": "2025-09-26T10:00:00Z", "pushed_at": None}
    with GitHubServer({"acme": [jenkinsci()[0] | old]}) as github:
        project = Project(tmp_path, github.url, ["acme"])
        ended = project.command("mds", "run", "--days", "2")
        assert ended.returncode == 0, ended.stderr
        assert "Nothing happened in these days: newest activity is 2025-09-26\n" in ended.stdout
        active = project.command("mds", "run", "--from", "2025-09-26", "--to", "2025-09-26")
    assert active.returncode == 0, active.stderr
    assert "Nothing happened" not in active.stdout


@pytest.mark.slow(5)
def test_mds_run_works_in_a_dagster_home_without_dagster_yaml(tmp_path: Path):
    project = Project(tmp_path)
    (project.home / "dagster.yaml").unlink()
    ended = project.command("mds", "run", "--days", "1")
    assert ended.returncode == 0, ended.stderr
    assert len(project.days("marts/daily_activity")) == 1


@pytest.mark.parametrize(
    ("mart", "days"),
    [("marts/repos_per_language", 7), pytest.param("marts/daily_activity", 7 + 6, marks=pytest.mark.slow(5))],
)
def test_the_days_that_a_mart_lacks_are_told_in_its_metadata_and_by_its_check(tmp_path: Path, mart: str, days: int):
    """Activity reads six days before its window besides, for the mean of its first date."""
    project = Project(tmp_path)
    yesterday = datetime.now(UTC).date() - timedelta(days=1)
    read = days_between(yesterday - timedelta(days=days - 1), yesterday)
    project.materialise(read[0])
    result = project.materialise(yesterday)
    facts = metadata(result, mart, yesterday)
    assert facts["staging/repos/window"] == f"{read[0]}...{yesterday}"
    assert facts["staging/repos/days_found"] == 2
    assert facts["staging/repos/days_missing"] == [str(day) for day in read[1:-1]]
    check = evaluations(result)[f"{mart} window_is_complete"]
    assert not check.passed
    assert check.metadata["days_missing"].value == days - 2

    whole = project.materialise(read[0], yesterday)
    assert metadata(whole, mart, yesterday)["staging/repos/days_missing"] == []


def test_the_first_partition_has_a_window_without_earlier_days(tmp_path: Path):
    """Days before the first partition cannot be materialised: they are counted, and no check asks for them."""
    first = date(2019, 1, 1)  # MDS_START_DATE of the tests
    project = Project(tmp_path)
    result = project.materialise(first)
    assert metadata(result, "marts/daily_activity", first)["staging/repos/days_found"] == 1
    assert {name for name, check in evaluations(result).items() if not check.passed} == {
        f"{table} is_fresh" for table in ("raw/github_repos", "staging/repos", *MARTS)
    }


def test_a_day_without_activity_is_a_valid_day_with_typed_files_and_no_rows(tmp_path: Path):
    quiet = date(2019, 1, 1)  # long ago: the sample's repositories have all been active since, or never were
    with GitHubServer({"quiet": []}) as github:
        project = Project(tmp_path, github.url, ["quiet"])
        result = project.materialise(quiet)
    for table in ("raw/github_repos", "staging/repos", *MARTS):
        assert project.days(table) == [quiet]
        assert project.rows(table) == []
        assert metadata(result, table, quiet)["dagster/partition_row_count"] == 0


# Runs a command and prints its peak memory in kB. In between, as a process inherits the peak of the one that forks it.
_PEAK = """
import resource, subprocess, sys
ended = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
sys.exit(ended.returncode)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="other systems count memory differently")
@needs_recordings
@pytest.mark.slow(10)
def test_10000_repositories_take_less_than_400_mb(tmp_path: Path):
    recorded = jenkinsci()
    moments = {"updated_at": f"{LAST}T10:00:00Z", "pushed_at": f"{LAST}T11:00:00Z"}
    repos = [recorded[number % len(recorded)] | {"id": number} | moments for number in range(10_000)]
    with GitHubServer({"jenkinsci": repos}) as github:
        project = Project(tmp_path, github.url, ["jenkinsci"])
        dagster = str(Path(sys.executable).with_name("dagster"))
        select = " or ".join(f'key:"{table}"' for table in ("raw/github_repos", "staging/repos", *MARTS))
        tables = ("--select", select, "--partition", str(LAST))
        ended = subprocess.run(
            [sys.executable, "-c", _PEAK, dagster, "asset", "materialize", "-m", "mds_assets.definitions", *tables],
            env=os.environ | project.environment,
            capture_output=True,
            check=True,
        )
    assert len(github.requests) == 100
    assert len(project.rows("staging/repos", LAST)) == 10_000
    assert int(ended.stdout) < 400 * 1024


def test_the_environment_of_the_tests_never_asks_the_real_github():
    assert "127.0.0.1" in os.environ["GITHUB_API_URL"]
