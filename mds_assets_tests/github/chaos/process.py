"""One run of the pipeline in a process of its own, which can be killed at a chosen step on the file system.

`start` forks it from a server that has imported everything (Dagster, dlt and the engines take 3 s) and done nothing
else, so that no pool and no connection is forked.
"""

import multiprocessing
import os
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Generator
from dataclasses import dataclass, replace
from datetime import date
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from dagster import AssetKey, DagsterInstance, Definitions, InitResourceContext, ResourceDefinition
from pydantic import SecretStr

import mds_assets.stack.landing.load  # pyright: ignore[reportUnusedImport]  # noqa: F401  # brings dlt
from mds_assets.definitions import build_definitions
from mds_assets.defs.github.resources import client
from mds_assets.defs.github.settings import settings as github_settings
from mds_assets.github.session import Session
from mds_assets.stack.settings import PROJECT_ROOT, settings
from mds_assets_tests.forkserver import LIBRARIES
from mds_assets_tests.github.chaos.schedule import Kill
from mds_assets_tests.github.project import OF_REPOS

# What a run imports besides, late: it makes half of a run's time when it is not there yet.
_LATE = [*LIBRARIES, "mds_assets.defs.github.report.page"]
_FORKSERVER = multiprocessing.get_context("forkserver")
_FORKSERVER.set_forkserver_preload([__name__, *_LATE])

# Python's audit events (https://docs.python.org/3/library/audit_events.html) that change a folder, with the position
# of the `dir_fd` among their arguments. What DuckDB, Arrow and SQLite write themselves raises none.
_CHANGES = {
    "os.rename": 2,
    "os.link": 2,
    "os.mkdir": 2,
    "os.remove": 1,
    "os.rmdir": 1,
    "shutil.rmtree": 1,
    "open": None,
}


PAUSE = 2  # seconds: another run can begin and end meanwhile


@dataclass(frozen=True)
class Errand:
    """What a process is to do.

    Attributes:
        folder: The schedule's folder: the lake, Dagster's home, `$HOME` and temporary files all lie below it.
        name: Of the run's files below `folder/output`: what it printed, and how many steps it took.
        days: First and last.
        api_url: GitHub.
        organisations: Whom to ask for.
        token: What GitHub demands.
        on_disk: Whether Dagster keeps its records in SQLite below `folder`, shared by all runs, or in memory.
        kill: When to die, counted in steps or seconds; None to live.
        pause: In front of which step to stand still for `PAUSE` seconds, as on a machine that sleeps.
    """

    folder: Path
    name: str
    days: tuple[date, date]
    api_url: str
    organisations: tuple[str, ...]
    token: str
    on_disk: bool
    kill: tuple[Kill, float] | None = None
    pause: tuple[Kill, float] | None = None

    @property
    def lake(self) -> Path:
        """The lake's root."""
        return self.folder / "lake"

    @property
    def printed(self) -> Path:
        """What the run wrote to stdout and stderr."""
        return self.folder / "output" / f"{self.name}.txt"

    @property
    def steps(self) -> Counter[Kill]:
        """How many steps the run took, if it lived."""
        found = self.printed.with_suffix(".steps")
        return Counter({Kill(line.split()[0]): int(line.split()[1]) for line in found.read_text().splitlines()})


def lay_out(folder: Path, *, fresh_home: bool) -> None:
    """Make the folders of a schedule; unless `fresh_home`, Dagster has been there before."""
    for name in ("output", "tmp", "home", "dagster"):
        folder.joinpath(name).mkdir(parents=True)
    shutil.copy(PROJECT_ROOT / ".dagster" / "dagster.yaml", folder / "dagster")
    # Also for the time that it takes: the server has imported everything when this has ended.
    process = _FORKSERVER.Process(target=os.getpid if fresh_home else _open_instance, args=(folder,)[fresh_home:])
    process.start()
    process.join()


def start(errand: Errand) -> BaseProcess:
    """Begin the run; the process ends with 0 when it went well, 1 when it failed."""
    process = _FORKSERVER.Process(target=_run, args=(errand,))
    process.start()
    return process


def _open_instance(folder: Path) -> None:
    os.environ["DAGSTER_HOME"] = str(folder / "dagster")
    DagsterInstance.get().dispose()


def _run(errand: Errand) -> None:
    # As in a process that was not forked from this server, whose killed children leave named semaphores behind.
    multiprocessing.set_start_method("fork", force=True)
    output = os.open(errand.printed, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(output, 1)
    os.dup2(output, 2)
    home = errand.folder / "dagster"
    os.environ |= {"HOME": str(errand.folder / "home"), "GITHUB_TOKEN": errand.token, "DAGSTER_HOME": str(home)}
    tempfile.tempdir = os.environ["TMPDIR"] = str(errand.folder / "tmp")

    steps = _Steps(errand)
    sys.addaudithook(steps)
    if errand.kill and errand.kill[0] is Kill.TIME:
        timer = threading.Timer(errand.kill[1], _die)
        timer.daemon = True
        timer.start()

    first, last = errand.days
    with DagsterInstance.get() if errand.on_disk else DagsterInstance.ephemeral() as instance:
        result = (
            _definitions(errand)
            .resolve_job_def("daily_refresh")
            .execute_in_process(
                instance=instance,
                partition_key=str(first) if first == last else None,
                tags={"dagster/asset_partition_range_start": str(first), "dagster/asset_partition_range_end": str(last)}
                if first < last
                else None,
                # The schedules' worlds have no events: their tables have tests of their own.
                asset_selection=[AssetKey(table.split("/")) for table in sorted(OF_REPOS)],
                raise_on_error=False,
            )
        )
    errand.printed.with_suffix(".steps").write_text("".join(f"{kind} {n}\n" for kind, n in steps.taken.items()))
    sys.exit(0 if result.success else 1)


def _definitions(errand: Errand) -> Definitions:
    """The project on the schedule's lake, asking the schedule's GitHub."""
    asked = {
        "api_url": errand.api_url,
        "organisations": errand.organisations,
        "token": SecretStr(errand.token),
    }
    github = replace(
        client(github_settings.model_copy(update=asked)), sleep=lambda seconds: time.sleep(min(seconds, 0.01))
    )

    def session(_: InitResourceContext) -> Generator[Session]:
        with github.session() as opened:
            yield opened

    return build_definitions(
        {"github": ResourceDefinition(session)}, settings.model_copy(update={"data_dir": str(errand.lake)})
    )


class _Steps:
    """An audit hook that counts what the run changes below the lake and dies in front of the chosen change."""

    def __init__(self, errand: Errand):
        self.lake = f"{errand.lake}/"
        self.scratch = f"{errand.lake}/.tmp"
        self.kill, self.pause = errand.kill, errand.pause
        self.taken: Counter[Kill] = Counter()

    def __call__(self, event: str, args: tuple[Any, ...]) -> None:
        if event not in _CHANGES or (event == "open" and not (args[2] or 0) & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)):
            return
        paths = args[:2] if event in {"os.rename", "os.link"} else args[:1]
        position = _CHANGES[event]
        folder = -1 if position is None or args[position] is None else args[position]
        changed = [path for path in (self._absolute(path, folder) for path in paths) if path.startswith(self.lake)]
        if changed:
            self._count(Kill.STEP)
        if any(not path.startswith(self.scratch) for path in changed):
            self._count(Kill.TABLE_STEP)

    def _count(self, kind: Kill) -> None:
        self.taken[kind] += 1
        if self.kill == (kind, self.taken[kind]):
            _die()
        if self.pause == (kind, self.taken[kind]):
            time.sleep(PAUSE)

    @staticmethod
    def _absolute(path: Any, folder: int) -> str:
        if not isinstance(path, str | bytes | os.PathLike):
            return ""  # an open file
        if folder >= 0:  # as shutil.rmtree does; only Linux tells which folder that is
            path = Path(f"/proc/self/fd/{folder}").readlink() / os.fsdecode(path)
        return str(Path(os.fsdecode(path)).absolute())


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)
