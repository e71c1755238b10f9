"""Promises of a lake in an object store: the same tables, one put a file, nothing left over, clear errors."""

import json
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pytest
from dagster import AssetKey

from mds_assets.defs.github.raw import GITHUB_REPOS
from mds_assets.stack.lake import object_store as objects
from mds_assets.stack.lake.lake import InputsChangedError, Lake, LakeError
from mds_assets.stack.settings import settings
from mds_assets_tests.github.server import GitHubServer
from mds_assets_tests.project import Project
from mds_assets_tests.store import BUCKET, KEY, SECRET, Store, running

DAYS = [date(2026, 3, 7), date(2026, 3, 8), date(2026, 3, 9)]
FIRST, LAST = DAYS[0], DAYS[-1]
TABLE = AssetKey(["staging", "t"])


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    with running(tmp_path_factory.mktemp("store")) as store:
        yield store


@pytest.fixture
def url(request: pytest.FixtureRequest) -> str:
    """A lake of this test's own."""
    return f"s3://{BUCKET}/{abs(hash(request.node.nodeid))}/lake"


@pytest.fixture
def lake(store: Store, url: str, monkeypatch: pytest.MonkeyPatch) -> Lake:
    """The lake in this process, and its settings."""
    given = {name.lower(): value for name, value in store.environment.items()} | {"data_dir": url}
    monkeypatch.setattr(objects, "settings", settings.model_validate(settings.model_dump() | given))
    return Lake(root=url)


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


def test_a_run_gives_the_tables_of_a_local_lake_and_a_second_one_adds_to_raw_only(
    tmp_path: Path, remote: Remote, github: GitHubServer
):
    local = Project(tmp_path / "local", github.url, ["acme"])
    for project in (local, remote):
        ended = run(project)
        assert ended.returncode == 0, ended.stderr
        assert "! " not in ended.stdout or "window_is_complete" in ended.stdout
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


def test_mds_and_another_client_read_it_and_no_secret_reaches_output_events_or_objects(remote: Remote, store: Store):
    ran = run(remote)
    assert ran.returncode == 0, ran.stderr
    ended = remote.command("mds", "sql", "--json", "SELECT count(*) AS n FROM staging.repos")
    assert json.loads(ended.stdout) == [{"n": 30}], ended.stderr
    assert "marts/repo_growth as of 2026-03-09" in remote.command("mds", "show").stdout
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
        ({"AWS_ENDPOINT_URL": "http://127.0.0.1:9"}, "Could not connect to the endpoint URL"),
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


def test_a_put_replaces_only_what_was_seen(lake: Lake):
    target = lake.path("a file")
    objects.put(target, b"1", None)
    first = objects.version(target)
    for seen in (None, '"another"'):
        with pytest.raises(objects.ObjectChangedError):
            objects.put(target, b"2", seen)
    assert target.read_bytes() == b"1"
    objects.put(target, b"2", first)
    assert target.read_bytes() == b"2"
    # The answer to the put before was lost, and it was sent again.
    objects.put(target, b"2", first)


def test_a_file_that_was_replaced_after_it_was_listed_is_never_read_as_half_of_each(lake: Lake, store: Store):
    target = lake.path("t", "day=2026-03-07", "data.parquet")
    objects.put(target, b"old" * 1000, None)
    assert objects.versions(lake.path("t"), ["day=2026-03-07"])
    store.files.pipe_file(target.path, b"new" * 900)
    with pytest.raises(OSError, match="no longer exists"), target.open("rb") as file:
        file.read()
    assert objects.versions(lake.path("t"), ["day=2026-03-07"])
    assert target.read_bytes() == b"new" * 900


def written(lake: Lake, key: AssetKey, day: date, content: bytes) -> None:
    """A run that replaces a table's day."""
    with lake.replacing(key, {}) as (folder, becomes):
        (folder / "x").write_bytes(content)
        becomes[folder / "x"] = Path(f"day={day}", "data.parquet")


def stored(lake: Lake, key: AssetKey, day: date) -> bytes:
    (file,) = lake.files(key, day)
    return file.read_bytes()


@pytest.mark.parametrize("there_before", [False, True])
def test_of_two_runs_the_one_that_read_less_does_not_win(
    lake: Lake, monkeypatch: pytest.MonkeyPatch, there_before: bool
):
    """The other one reads the newer input and writes between this one's look at its input and its put."""
    source = AssetKey(["raw", "s"])
    written(lake, source, LAST, b"input")
    if there_before:
        written(lake, TABLE, LAST, b"an older table")
    inputs = {(source, LAST): lake.found(source, [LAST])[LAST]}
    look: Callable[..., None] = Lake._refuse_changed  # pyright: ignore[reportPrivateUsage]

    def look_and_be_overtaken(*args: object) -> None:
        look(*args)
        monkeypatch.undo()
        monkeypatch.setattr(objects, "settings", with_store)
        written(lake, source, LAST, b"newer input")
        written(lake, TABLE, LAST, b"by the other")

    with_store = objects.settings
    with (
        pytest.raises(InputsChangedError, match="was replaced meanwhile"),
        lake.replacing(TABLE, inputs) as (folder, becomes),
    ):
        (folder / "x").write_bytes(b"by this one")
        becomes[folder / "x"] = Path(f"day={LAST}", "data.parquet")
        monkeypatch.setattr(Lake, "_refuse_changed", look_and_be_overtaken)
    assert stored(lake, TABLE, LAST) == b"by the other"


def test_an_input_that_changed_meanwhile_is_told_and_nothing_is_replaced(lake: Lake):
    source = AssetKey(["raw", "s"])
    written(lake, source, LAST, b"input")
    inputs = {(source, LAST): lake.found(source, [LAST])[LAST], (source, FIRST): {}}
    for ended_well in (True, False):
        with (
            pytest.raises(InputsChangedError, match=f"raw/s of {LAST} changed while it was read"),
            lake.replacing(TABLE, inputs) as (folder, becomes),
        ):
            (folder / "x").touch()
            becomes[folder / "x"] = Path(f"day={LAST}", "data.parquet")
            written(lake, source, LAST, f"newer {ended_well}".encode())
            if not ended_well:
                raise ValueError("half of the old file and half of the new one")
    assert lake.files(TABLE, LAST) == []
    assert list(lake.scratch.glob("*")) == []


def test_a_load_never_replaces_another_and_one_that_fails_is_taken_back(lake: Lake, store: Store, tmp_path: Path):
    key = AssetKey(["raw", "s"])
    file, another = tmp_path / "file", tmp_path / "another"
    file.write_bytes(b"load")
    another.write_bytes(b"another load")
    lake.add(key, "1.parquet", {LAST: file})
    with pytest.raises(FileExistsError, match="raw is append-only"):
        lake.add(key, "1.parquet", {FIRST: file, LAST: another})
    assert store.contents(lake.root).keys() == {f"raw/s/day={LAST}/1.parquet"}
    with pytest.raises(FileNotFoundError):
        lake.add(key, "2.parquet", {FIRST: file, LAST: tmp_path / "none"})
    assert store.contents(lake.root).keys() == {f"raw/s/day={LAST}/1.parquet"}


def test_the_newest_page_is_the_newest_days_whatever_is_written_last(lake: Lake):
    key = AssetKey(["reports", "r"])
    for day in (DAYS[1], DAYS[0], DAYS[2], DAYS[1]):
        with lake.replacing(key, {}, newest="latest.html") as (folder, becomes):
            (folder / "x").write_text(str(day))
            becomes[folder / "x"] = Path(f"day={day}", "report.html")
    assert (lake.folder(key) / "latest.html").read_text() == str(LAST)
    assert (lake.folder(key) / f"day={DAYS[1]}" / "report.html").read_text() == str(DAYS[1])


def test_a_file_beside_the_tables_that_another_run_replaced_is_made_again(lake: Lake):
    with lake.replacing_file("warehouse") as file:
        file.write_text("1")
    with pytest.raises(InputsChangedError), lake.replacing_file("warehouse") as mine:
        with lake.replacing_file("warehouse") as theirs:
            theirs.write_text("2")
        mine.write_text("3")
    assert lake.path("warehouse").read_text() == "2"


def test_the_days_of_a_table_are_listed_a_thousand_at_a_time(lake: Lake, store: Store, monkeypatch: pytest.MonkeyPatch):
    days = [date(2020, 1, 1) + timedelta(days=number) for number in range(40)]
    for day in days:
        store.files.pipe_file(f"{lake.root}/staging/t/day={day}/data.parquet", b"x")
    store.files.pipe_file(f"{lake.root}/staging/t/day={days[0]}/other.txt", b"x")
    store.files.pipe_file(f"{lake.root}/staging/t/latest.html", b"x")
    asked: list[str] = []
    ask = objects.filesystem()._call_s3  # pyright: ignore[reportPrivateUsage]

    async def noted(method: str, *args: object, **options: object) -> object:
        asked.append(method)
        return await ask(method, *args, **options)

    monkeypatch.setattr(objects.filesystem(), "_call_s3", noted)
    assert lake.days(TABLE) == days
    assert lake.newest_day(TABLE) == days[-1]
    found = lake.found(TABLE, [*days, date(2030, 1, 1)])
    assert [len(files) for files in found.values()] == [1] * 40 + [0]
    assert len(asked) == 3
    one = lake.found(TABLE, days[:1])[days[0]]
    assert list(map(str, one)) == [f"{lake.root}/staging/t/day={days[0]}/data.parquet"]
    assert len(asked) == 4


def test_a_bucket_may_be_the_lake_and_its_warehouse_is_made_again(store: Store, lake: Lake):
    store.files.mkdir("whole-bucket")
    bucket = Lake(root="s3://whole-bucket")
    for content in ("1", "2"):
        with bucket.replacing_file("warehouse.duckdb") as file:
            file.write_text(content)
    assert bucket.path("warehouse.duckdb").read_text() == "2"
    written(bucket, TABLE, LAST, b"x")
    written(bucket, TABLE, LAST, b"y")
    assert bucket.days(TABLE) == [LAST]
    assert stored(bucket, TABLE, LAST) == b"y"


def test_a_folder_under_way_that_somebody_else_could_have_made_is_refused(
    lake: Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with lake.workspace():
        pass
    lake.scratch.chmod(0o777)
    with pytest.raises(LakeError, match="not a folder of this user alone"), lake.workspace():
        pass
