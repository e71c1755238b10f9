"""A run that fails or is killed while it lands events: the lake is as it was, or whole, and the next run heals it.

The real `mds run` under such faults is in `test_faults.py`, for the repositories' tables.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from dlt.pipeline.pipeline import Pipeline

from mds_assets_tests.github.project import Project, Rows
from mds_assets_tests.github.recordings import sliced_quicwg
from mds_assets_tests.github.server import GitHubHandler, GitHubServer
from mds_assets_tests.github.sessions import MARCH, TOKEN, serving
from mds_assets_tests.github.test_connection import answers

FIRST, LAST = MARCH[9], MARCH[12]
RAW = frozenset({"raw/github_pushes", "raw/github_issues"})
TABLES = RAW | {"staging/pushes", "staging/issues"}


@pytest.fixture
def github() -> Iterator[GitHubServer]:
    """GitHub as recorded, for whoever has the token."""
    with serving(sliced_quicwg(), token=TOKEN) as server:
        yield server


@pytest.fixture
def project(tmp_path: Path, github: GitHubServer) -> Project:
    """The project on an empty lake."""
    return Project(tmp_path, github.url, ["quicwg"], TOKEN, TABLES)


def staged(project: Project) -> list[Rows]:
    """Staging without `observed_at`, which differs from run to run."""
    return [[(*row[:-2], row[-1]) for row in project.rows(table)] for table in ("staging/pushes", "staging/issues")]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> list[Rows]:
    """Staging of a lake that no fault has touched."""
    with serving(sliced_quicwg()) as server:
        project = Project(tmp_path_factory.mktemp("undisturbed"), server.url, ["quicwg"], TOKEN, TABLES)
        project.materialise(FIRST, LAST)
    rows = staged(project)
    assert all(len(of_table) > 3 for of_table in rows)
    return rows


def tables(project: Project) -> dict[str, str]:
    """All files of tables with a hash of their bytes."""
    return {name: content for name, content in project.contents().items() if not name.startswith(".tmp")}


def assert_clean(project: Project) -> None:
    """Nothing is left over of any run, and the token is nowhere."""
    assert list((project.lake / ".tmp").iterdir()) == []
    for file in (file for folder in (project.lake, project.home) for file in folder.rglob("*") if file.is_file()):
        assert TOKEN.encode() not in file.read_bytes(), file


def raising(function: Callable[..., Any], where: str, times: int = 1) -> Callable[..., Any]:
    """The function, which raises before it begins the n-th call whose arguments have these words."""
    left = dict.fromkeys(RAW, times)

    def called(*args: Any, **options: Any) -> Any:
        for table in RAW:
            left[table] -= where.format(table) in repr(args)
        if any(count == 0 for count in left.values()):
            left.update({table: -1 for table, count in left.items() if count == 0})
            raise OSError("the disk broke")
        return function(*args, **options)

    return called


def failing(phase: str, github: GitHubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make both tables fail in this phase."""
    if phase == "paging":

        def intercept(handler: GitHubHandler, _: int) -> bool:
            is_late = "qlog/activity" in handler.path or "merged" in handler.path
            return is_late and bool(answers(403)(handler) or True)

        github.intercept = intercept
    elif phase == "moving":
        monkeypatch.setattr(os, "link", raising(os.link, "{}/day=" + str(MARCH[11])))
    else:

        def broken(*_: Any, **__: Any) -> None:
            raise OSError("the disk broke")

        monkeypatch.setattr(Pipeline, phase, broken)


@pytest.mark.slow(6)
@pytest.mark.parametrize("phase", ["paging", "extract", "normalize", "get_load_package_info", "moving"])
def test_a_run_that_fails_while_it_lands_changes_nothing_and_the_next_one_heals(
    project: Project, github: GitHubServer, undisturbed: list[Rows], phase: str
):
    project.materialise(LAST, layers=["raw"])
    before = tables(project)
    with pytest.MonkeyPatch.context() as monkeypatch:
        failing(phase, github, monkeypatch)
        ran = project.materialise(FIRST, LAST, raise_on_error=False)
    failed = {event.step_key for event in ran.all_events if event.is_step_failure or event.is_step_up_for_retry}
    assert failed == {"raw__github_pushes", "raw__github_issues"}
    assert tables(project) == before
    assert_clean(project)
    github.intercept = None
    project.materialise(FIRST, LAST)
    assert staged(project) == undisturbed
    assert_clean(project)


# A run of both raw tables that kills itself as it has moved the n-th file of one of them.
_KILLED = """
import mds_assets_tests.conftest
import os, signal, sys
from datetime import date
from pathlib import Path
from mds_assets_tests.github.test_event_kills import FIRST, LAST, RAW, TOKEN, Project
folder, url, table = sys.argv[1:]
link, left = os.link, 2
def killed(source, target):
    global left
    link(source, target)
    left -= table in str(target)
    if not left:
        os.kill(os.getpid(), signal.SIGKILL)
os.link = killed
Project(Path(folder), url, ["quicwg"], TOKEN, RAW).materialise(FIRST, LAST)
"""


@pytest.mark.slow(10)
@pytest.mark.parametrize("table", sorted(RAW))
def test_a_run_killed_between_two_files_leaves_whole_ones_and_the_next_one_heals(
    project: Project, github: GitHubServer, undisturbed: list[Rows], tmp_path: Path, table: str
):
    words = [sys.executable, "-c", _KILLED, str(tmp_path), github.url, table]
    ended = subprocess.run(words, env=os.environ | {"PYTHONWARNINGS": "ignore"}, capture_output=True, check=False)
    assert ended.returncode == -signal.SIGKILL, ended.stderr
    files = list((project.lake / table).glob("day=*/*.parquet"))
    assert len(files) == 2
    landed = {name: content for name, content in tables(project).items() if name.startswith("raw/")}
    # The days that landed are not requested again; the others are.
    project.materialise(FIRST, LAST)
    assert staged(project) == undisturbed
    assert landed.items() <= tables(project).items()
    assert_clean(project)
