"""What a user sees of each fault, and that the lake is afterwards as if it had not happened.

Each fault hits the real `mds run` on recorded answers. A fault that passes is not noticed in the tables; any other ends
the run with one line and leaves every file as it was; the next run heals what a killed one left.
"""

import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from mds_assets_tests.github.project import Project, Rows
from mds_assets_tests.github.recordings import jenkinsci
from mds_assets_tests.github.server import GitHubHandler, GitHubServer
from mds_assets_tests.github.test_connection import Fault, answers, breaks_off, hangs_up, nothing_left, on, resets
from mds_assets_tests.github.test_connection import sends_half_a_document as half_a_document

pytestmark = pytest.mark.slow(6)  # the client's own tests have every fault too

FIRST, LAST = date(2019, 10, 24), date(2019, 10, 25)
ORG = "jenkinsci"
TOKEN = "ghp_1234567890abcdefSECRET"
MARTS = ("marts/repos_per_language", "marts/daily_activity", "marts/repo_growth", "marts/language_trend")
TABLES = ("staging/repos", *MARTS)


def tables(project: Project) -> dict[str, Rows]:
    """Staging and marts, as far as they are there; without `observed_at`, which differs from run to run."""
    rows = {table: project.rows(table) if project.days(table) else [] for table in TABLES}
    return rows | {"staging/repos": [(*row[:-2], row[-1]) for row in rows["staging/repos"]]}


def visible(project: Project) -> dict[str, str]:
    """All files of tables with a hash of their bytes."""
    return {name: content for name, content in project.contents().items() if not name.startswith(".tmp")}


@pytest.fixture(scope="module")
def both_days(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A lake of both days that no fault has touched."""
    with GitHubServer({ORG: jenkinsci()}) as server:
        project = Project(tmp_path_factory.mktemp("undisturbed"), server.url, [ORG])
        project.materialise(FIRST, LAST)
    return project


@pytest.fixture(scope="module")
def undisturbed(both_days: Project) -> dict[str, Rows]:
    """Its tables."""
    return tables(both_days)


@pytest.fixture(scope="module")
def last_day(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A lake of the last day."""
    with GitHubServer({ORG: jenkinsci()}) as server:
        project = Project(tmp_path_factory.mktemp("last-day"), server.url, [ORG])
        project.materialise(LAST)
    return project


def copy_lake(source: Project, target: Project) -> None:
    """Give a project the files of another one's lake, as if it had run."""
    shutil.copytree(source.lake, target.lake, dirs_exist_ok=True)


@pytest.fixture
def github() -> Iterator[GitHubServer]:
    """GitHub as recorded, for whoever has the token."""
    with GitHubServer({ORG: jenkinsci()}, token=TOKEN) as server:
        yield server


@pytest.fixture
def project(tmp_path: Path, github: GitHubServer) -> Project:
    """The project on an empty lake."""
    return Project(tmp_path, github.url, [ORG], TOKEN)


def run(project: Project) -> subprocess.CompletedProcess[str]:
    """The real `mds run` of both days."""
    ended = project.command("mds", "run", "--from", str(FIRST), "--to", str(LAST))
    assert TOKEN not in ended.stdout + ended.stderr
    return ended


def assert_clean(project: Project) -> None:
    """Nothing is left over of any run, and the token is nowhere."""
    assert list((project.lake / ".tmp").iterdir()) == []
    for file in (file for folder in (project.lake, project.home) for file in folder.rglob("*") if file.is_file()):
        assert TOKEN.encode() not in file.read_bytes(), file


def cases(table: Mapping[str, tuple[Any, ...]]) -> list[pytest.ParameterSet]:
    """Parameters of a test by their names."""
    return [pytest.param(*case, id=name) for name, case in table.items()]


PASSING: dict[str, tuple[Fault, str]] = {
    "500": (answers(500), "answered 500"),
    "502": (answers(502), "answered 502"),
    "connection reset": (resets, "Connection reset"),
    "hang-up": (hangs_up, "closed connection without response"),
    "truncated body": (breaks_off, "more expected"),
    "half a document": (half_a_document, "truncated JSON"),
    "429 with retry-after": (answers(429, retry_after="1"), "answered 429"),
    "403 limit": (nothing_left(403, 1), "answered 403"),
    "secondary limit": (answers(403, {"message": "secondary rate limit"}, retry_after="1"), "answered 403"),
}


@pytest.mark.parametrize(("fault", "said"), cases(PASSING))
def test_a_fault_that_passes_is_told_and_changes_nothing(
    project: Project, github: GitHubServer, undisturbed: dict[str, Rows], fault: Fault, said: str,
    record_property: Callable[[str, object], None],
):  # fmt: skip
    github.intercept = on({2}, fault)
    ended = run(project)
    assert ended.returncode == 0, ended.stderr
    (told,) = [line for line in ended.stdout.splitlines() if "; again in" in line]
    record_property("seen", told.strip())
    assert said in told
    assert len(github.requests) == 2 + 1
    assert tables(project) == undisturbed
    assert_clean(project)


def test_a_stall_of_8_seconds_is_waited_out(project: Project, github: GitHubServer, undisturbed: dict[str, Rows]):
    github.intercept = lambda _, number: bool(number == 2 and time.sleep(8))  # and then answers
    assert run(project).returncode == 0
    assert len(github.requests) == 2
    assert tables(project) == undisturbed
    assert_clean(project)


def html(handler: GitHubHandler) -> None:
    """A page of a proxy in place of JSON."""
    handler.send_response(200)
    handler.send_header("Content-Type", "text/html")
    handler.send_header("Content-Length", "30")
    handler.end_headers()
    handler.wfile.write(b"<html>Log in to us</html>     ")


def drifted(handler: GitHubHandler) -> None:
    """A second page on which the stars of one repository are text."""
    page = [dict(repo) for repo in jenkinsci()[:100]]
    page[-1] |= {"stargazers_count": "many", "full_name": "jenkinsci/drifted"}
    handler.answer(200, page)


ENDING: dict[str, tuple[Fault, str]] = {
    "HTML with 200": (html, "answered 200 with '<html>Log in to us</html>', which is not JSON"),
    "object instead of list": (answers(200, {"a": 1}), "answered 200 with dict {'a': 1}: no list of repositories"),
    "403 forbidden": (answers(403), "answered 403 'said by GitHub': GITHUB_TOKEN may not read it"),
    "401": (answers(401, {"message": "Bad credentials"}), "answered 401 'Bad credentials': GITHUB_TOKEN was refused"),
    "404": (answers(404, {"message": "Not Found"}), "answered 404 'Not Found': GitHub has no organisation"),
    "a limit of an hour": (answers(429, retry_after="3600"), "Retry at "),
    "foreign next": (
        answers(200, [], Link='<https://evil.example/orgs/acme/repos?page=2>; rel="next"'),
        "'https://evil.example/orgs/acme/repos?page=2', which is on another host",
    ),
    "foreign redirect": (answers(302, Location="https://evil.example/"), "redirects to 'https://evil.example/'"),
    "type drift": (drifted, "repository 'jenkinsci/drifted' with stargazers_count='many'"),
}


@pytest.mark.parametrize(("fault", "said"), cases(ENDING))
def test_a_fault_that_does_not_pass_ends_the_run_with_one_line_and_lands_nothing(
    project: Project, github: GitHubServer, last_day: Project, undisturbed: dict[str, Rows], fault: Fault, said: str,
    record_property: Callable[[str, object], None],
):  # fmt: skip
    copy_lake(last_day, project)
    before = visible(project)
    github.intercept = on({len(github.requests) + 2}, fault)
    ended = run(project)
    assert ended.returncode == 1
    (line,) = ended.stderr.splitlines()
    record_property("seen", line)
    assert line.startswith("Error: GITHUB_ORG 'jenkinsci': ")
    assert said in line
    assert visible(project) == before
    assert_clean(project)
    github.intercept = None
    project.materialise(FIRST, LAST)
    assert tables(project) == undisturbed


# `mds run` that kills itself as it enters or leaves a function for the n-th time with these words among its arguments.
_KILLED = """
import importlib, os, signal, sys
from mds_assets.stack.cli import main
when, where, times, words = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4]
module, _, name = where.partition(":")
holder, (*owners, name) = importlib.import_module(module), name.split(".")
for owner in owners:
    holder = getattr(holder, owner)
function = getattr(holder, name)
def killed(*args, **options):
    global times
    times -= words in repr(args)
    if when == "enters" and not times:
        os.kill(os.getpid(), signal.SIGKILL)
    result = function(*args, **options)
    if not times:
        os.kill(os.getpid(), signal.SIGKILL)
    return result
setattr(holder, name, killed)
sys.argv[1:] = ["run", *sys.argv[5:]]
main()
"""

PIPELINE, LAKE = "dlt.pipeline.pipeline:Pipeline", "mds_assets.stack.io_managers"
MART_STEP = "mds_assets.stack.blocks.mart_step"
KILLS = {
    "paging": ("leaves", "mds_assets.github.connection:Connection.get", "2", ""),
    "before extract": ("enters", f"{PIPELINE}.extract", "1", ""),
    "extract": ("leaves", f"{PIPELINE}.extract", "1", ""),
    "normalize": ("leaves", f"{PIPELINE}.normalize", "1", ""),
    "load": ("leaves", f"{PIPELINE}.get_load_package_info", "1", ""),
    "moving the load": ("leaves", "os:link", "1", "raw/github_repos"),
    "staging": ("leaves", f"{LAKE}.duckdb:write", "1", ""),
    "moving staging": ("leaves", "os:replace", "1", "staging/repos"),
    "the first mart": ("leaves", f"{MART_STEP}:_make", "1", ""),
    "the second mart": ("leaves", f"{MART_STEP}:_make", "2", ""),
    "moving a mart": ("leaves", "os:replace", "1", "marts/repos_per_language"),
    "building the warehouse": ("leaves", "mds_assets.stack.warehouse:_build", "1", ""),
    "moving the warehouse": ("leaves", "os:replace", "1", "warehouse.duckdb"),
    "moving a report": ("leaves", "os:replace", "1", "reports/activity"),
}


@pytest.mark.parametrize(
    ("kill", "lake"),
    cases({phase: (kill, "empty") for phase, kill in KILLS.items()})
    + cases({f"{phase}, again": (kill, "filled") for phase, kill in KILLS.items() if "moving" in phase}),
)
def test_a_killed_run_leaves_each_file_as_it_was_or_whole_and_the_next_run_heals_it(
    project: Project, both_days: Project, undisturbed: dict[str, Rows], kill: tuple[str, ...], lake: str
):
    if lake == "filled":
        copy_lake(both_days, project)
    before = visible(project)
    days = ["--from", str(FIRST), "--to", str(LAST), *project.selecting]
    ended = project.command("python", "-c", _KILLED, *kill, *days)
    assert ended.returncode == -signal.SIGKILL

    after = visible(project)
    kept = {name: after.get(name) for name in before if name.startswith("raw/")}
    assert kept == {name: before[name] for name in kept}
    assert before.keys() <= after.keys()
    assert all(page.read_bytes().endswith(b"</html>\n") for page in project.lake.rglob("*.html"))
    # What is there of a table's day is all that the undisturbed lake has of it.
    now = tables(project)
    for table, expected in undisturbed.items():
        there = set(project.days(table))
        assert now[table] == [row for row in expected if row[-1] in there]
    project.materialise(FIRST, LAST)
    assert tables(project) == undisturbed
    assert_clean(project)


@pytest.fixture
def small_disk(project: Project) -> Iterator[Path]:
    """The lake's folder as a disk of its own of 4 MB."""
    project.lake.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(project.lake)]
    if not shutil.which("mount") or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("only root may mount a disk")
    yield project.lake
    subprocess.run(["umount", "--lazy", project.lake], check=True)


def fill(disk: Path, free: int) -> Path:
    """Leave this many bytes free; return the file that takes the others."""
    filler = disk / ".tmp/filler"
    with filler.open("wb") as file, suppress(OSError):
        file.write(bytes(shutil.disk_usage(disk).free - free))
    return filler


def refused_by_disk(project: Project) -> str:
    """The last line of a run that the disk has no space for."""
    ended = run(project)
    assert ended.returncode == 1
    line = ended.stderr.splitlines()[-1]
    assert "MDS_DATA_DIR=" in line
    assert "No space left on device" in line
    return line


@pytest.mark.parametrize("free", [0, 30_000, 100_000, 180_000])
def test_a_full_disk_is_told_and_changes_no_table(
    small_disk: Path, project: Project, last_day: Project, undisturbed: dict[str, Rows], free: int,
    record_property: Callable[[str, object], None],
):  # fmt: skip
    copy_lake(last_day, project)
    before = visible(project)
    filler = fill(small_disk, free)
    line = refused_by_disk(project)
    record_property("seen", line)
    filler.unlink()
    after = visible(project)
    assert {name: after.get(name) for name in before} == before
    project.materialise(FIRST, LAST)
    assert tables(project) == undisturbed
    assert_clean(project)


def test_a_disk_that_is_full_after_the_tables_keeps_them_and_leaves_no_half_warehouse(
    small_disk: Path, project: Project, last_day: Project, undisturbed: dict[str, Rows],
    record_property: Callable[[str, object], None],
):  # fmt: skip
    copy_lake(last_day, project)
    filler = fill(small_disk, 250_000)
    line = refused_by_disk(project)
    record_property("seen", line)
    assert line.startswith("Error: warehouse:")
    filler.unlink()
    assert "warehouse.duckdb" not in visible(project)
    assert tables(project) == undisturbed
    project.materialise(FIRST, LAST)
    assert tables(project) == undisturbed
    assert_clean(project)


def test_a_read_only_lake_is_told_and_changes_nothing(
    small_disk: Path, project: Project, last_day: Project, undisturbed: dict[str, Rows],
    record_property: Callable[[str, object], None],
):  # fmt: skip
    copy_lake(last_day, project)
    before = visible(project)
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    ended = run(project)
    record_property("seen", ended.stderr.splitlines()[-1])
    assert ended.returncode == 1
    assert "MDS_DATA_DIR=" in ended.stderr
    assert "Read-only file system" in ended.stderr
    assert visible(project) == before
    subprocess.run(["mount", "-o", "remount,rw", small_disk], check=True)
    project.materialise(FIRST, LAST)
    assert tables(project) == undisturbed
    assert_clean(project)


def test_four_runs_at_once_all_succeed_and_lose_nothing(project: Project, undisturbed: dict[str, Rows]):
    """Of the same days and of others, as a backfill beside the schedule."""
    run(project)  # Dagster itself cannot make a new home for several processes at once
    periods = [(FIRST, LAST), (FIRST, LAST), (FIRST, FIRST), (LAST, LAST)]
    with ThreadPoolExecutor() as pool:
        ended = list(
            pool.map(
                lambda period: project.command("mds", "run", "--from", str(period[0]), "--to", str(period[1])), periods
            )
        )
    assert [run.returncode for run in ended] == [0] * 4, [run.stderr for run in ended]
    for day in (FIRST, LAST):
        files = (project.lake / "raw/github_repos" / f"day={day}").iterdir()  # runs of days before add early rows
        assert len([file for file in files if not file.name.endswith(".early.parquet")]) == 1 + 3
    assert tables(project)["staging/repos"] == undisturbed["staging/repos"]
    assert_clean(project)
    project.materialise(FIRST, LAST, layers=["marts"])  # after the days of their windows
    assert tables(project) == undisturbed
