"""Promises of a lake in an object store: the same tables, one put a file, nothing left over, clear errors."""

import json
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import date, datetime
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pytest

from mds_assets.defs.github.raw import GITHUB_REPOS
from mds_assets_tests.github.project import Project
from mds_assets_tests.github.server import GitHubServer
from mds_assets_tests.store import BUCKET, KEY, SECRET, Store, running

DAYS = [date(2026, 3, 7), date(2026, 3, 8), date(2026, 3, 9)]
FIRST, LAST = DAYS[0], DAYS[-1]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    with running(tmp_path_factory.mktemp("store")) as store:
        yield store


@pytest.fixture
def url(request: pytest.FixtureRequest) -> str:
    """A lake of this test's own."""
    return f"s3://{BUCKET}/{abs(hash(request.node.nodeid))}/lake"


@pytest.fixture(scope="module")
def github() -> Iterator[GitHubServer]:
    """Thirty repositories, ten active on each day."""
    repositories = [
        {
            "id": number,
            "name": f"repo-{number}",
            "full_name": f"acme/repo-{number}",
            "stargazers_count": number,
            "language": ["Go", "Rust", None][number % 3],
            "updated_at": f"{DAYS[number % 3]}T10:00:{number:02}Z",
            "pushed_at": f"{DAYS[number % 3]}T09:00:00Z",
            "created_at": "2020-01-01T00:00:00Z",
        }
        for number in range(30)
    ]
    with GitHubServer({"acme": repositories}) as server:
        yield server


class Remote(Project):
    """The project with its lake in the store, through commands only."""

    def __init__(self, folder: Path, store: Store, url: str, github: GitHubServer):
        """Files under way have a folder of their own."""
        super().__init__(folder, github.url, ["acme"])
        self.url, self.store, self.scratch = url, store, folder / "tmp"
        self.scratch.mkdir()
        self.environment |= store.environment | {"MDS_DATA_DIR": url, "TMPDIR": str(self.scratch)}

    def download(self) -> None:
        """Make the local lake a copy of the store's."""
        self.store.download(self.url, self.lake)

    def under_way(self) -> list[Path]:
        """What is left of files under way."""
        return [path for path in self.scratch.glob("mds-assets-*/*") if path.is_file()]


@pytest.fixture
def remote(tmp_path: Path, store: Store, url: str, github: GitHubServer) -> Remote:
    return Remote(tmp_path / "remote", store, url, github)


def run(project: Project) -> subprocess.CompletedProcess[str]:
    return project.command("mds", "run", "--from", str(FIRST), "--to", str(LAST))


TABLES = ("staging/repos", "marts/daily_activity", "marts/repos_per_language", "marts/repo_growth")


@pytest.mark.slow(10)
def test_a_run_gives_the_tables_of_a_local_lake_and_a_second_one_adds_to_raw_only(
    tmp_path: Path, remote: Remote, github: GitHubServer
):
    local = Project(tmp_path / "local", github.url, ["acme"])
    for project in (local, remote):
        ended = run(project)
        assert ended.returncode == 0, ended.stderr
        warnings = [line for line in ended.stdout.splitlines() if line.startswith("!")]
        assert all(line.startswith("! is_fresh") for line in warnings), warnings
        assert ended.stderr == "" or "dagster.yaml" in ended.stderr
    first = remote.store.contents(remote.url)
    assert run(remote).returncode == 0
    second = remote.store.contents(remote.url)
    added = second.keys() - first.keys()
    assert {name.rpartition("/")[0] for name in added} == {f"raw/github_repos/day={day}" for day in DAYS}
    assert all(second[name] == first[name] for name in first if name.startswith("raw/"))
    remote.download()
    for table in TABLES:
        columns = slice(None, -2) if table == "staging/repos" else slice(None)  # observed_at, day
        assert [row[columns] for row in remote.rows(table)] == [row[columns] for row in local.rows(table)]
    local_names = {str(file.relative_to(local.lake)) for file in local.lake.rglob("*") if file.is_file()}
    assert {name for name in first if not name.startswith("raw/")} == {
        name for name in local_names if not name.startswith(("raw/", ".tmp"))
    }
    assert remote.under_way() == []


@pytest.mark.slow(12)
def test_mds_and_another_client_read_it_and_no_secret_reaches_output_events_or_objects(remote: Remote, store: Store):
    ran = run(remote)
    assert ran.returncode == 0, ran.stderr
    ended = remote.command("mds", "sql", "--json", "SELECT count(*) AS n FROM staging.repos")
    assert json.loads(ended.stdout) == [{"n": 30}], ended.stderr
    shown = remote.command("mds", "show").stdout
    assert "marts/daily_activity as of 2026-03-09" in shown
    assert "marts/repo_growth" in shown
    ended = remote.command("mds", "report", "--no-open")
    assert "acme: activity as of 9 March 2026" in Path(ended.stdout.strip()).read_text()
    store.files.get_file(f"{remote.url}/warehouse.duckdb", str(remote.home / "copied.duckdb"))
    with duckdb.connect(remote.home / "copied.duckdb", read_only=True) as con:
        con.register_filesystem(store.files)
        assert con.sql("SELECT max(day) FROM marts.daily_activity_latest").fetchall() == [(LAST,)]
    remote.download()
    files = [file for folder in (remote.home, remote.lake) for file in folder.rglob("*") if file.is_file()]
    for secret in (SECRET, KEY):
        assert secret not in ran.stdout + ran.stderr
        assert not [file for file in files if secret.encode() in file.read_bytes()]


def test_before_a_run_mds_says_what_makes_a_warehouse(remote: Remote):
    for command in (["sql", "SELECT 1"], ["report"]):
        ended = remote.command("mds", *command)
        assert ended.returncode == 1
        assert f"there is no {remote.url}/" in ended.stderr


@pytest.mark.slow(12)
def test_runs_of_several_machines_at_once_lose_nothing(tmp_path: Path, store: Store, url: str, github: GitHubServer):
    machines = [Remote(tmp_path / str(number), store, url, github) for number in range(3)]
    with ThreadPoolExecutor() as pool:
        ended = list(pool.map(run, machines))
    assert [one.returncode for one in ended] == [0, 0, 0], [one.stderr for one in ended]
    one = machines[0]
    one.download()
    assert len(list((one.lake / "raw/github_repos" / f"day={LAST}").iterdir())) == 3
    newest: dict[Any, datetime] = {}
    loads = [column.name for column in GITHUB_REPOS.columns]
    for file in one.lake.glob("raw/github_repos/*/*.parquet"):
        for row in pl.read_parquet(file, columns=loads, glob=False).iter_rows(named=True):
            newest[row["id"]] = max(row["observed_at"], newest.get(row["id"], row["observed_at"]))
    assert {row[1]: row[-2] for row in one.rows("staging/repos")} == newest
    assert len(newest) == 30
    assert [left for machine in machines for left in machine.under_way()] == []


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"AWS_SECRET_ACCESS_KEY": "wrong-secret"}, "SignatureDoesNotMatch"),
        ({"AWS_ACCESS_KEY_ID": "nobody"}, "InvalidAccessKeyId"),
        ({"MDS_DATA_DIR": "s3://no-such-bucket/lake"}, "NoSuchBucket"),
        pytest.param(
            {"AWS_ENDPOINT_URL": "http://127.0.0.1:9"}, "GET http://127.0.0.1:9/lake", marks=pytest.mark.slow(12)
        ),
    ],
)
def test_a_store_that_refuses_is_one_line_before_github_is_asked(
    remote: Remote, github: GitHubServer, monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], said: str
):
    remote.environment |= variables
    asked = len(github.requests)
    ended = run(remote)
    assert ended.returncode == 1
    (line,) = [line for line in ended.stderr.splitlines() if line.startswith("Error")]
    assert f"the lake MDS_DATA_DIR='{remote.environment['MDS_DATA_DIR']}' cannot be reached: " in line
    assert said in line
    assert "AWS_ENDPOINT_URL" in line
    assert len(github.requests) == asked
