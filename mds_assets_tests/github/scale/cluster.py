"""The deployment of `deploy/celery`: a code server, the daemon, and workers that share nothing but the services."""

import json
import re
import shutil
import subprocess
import sys
from collections import defaultdict
from collections.abc import Generator, Iterable, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from dagster import AssetKey, DagsterEventType, DagsterInstance, DagsterRunStatus, RunRecord, RunsFilter
from dagster._core.storage.tags import PARTITION_NAME_TAG
from dagster._daemon.controller import all_daemons_live

from mds_assets.stack.settings import PROJECT_ROOT
from mds_assets_tests.process import Process, listens
from mds_assets_tests.store import free_ports

DEPLOYMENT = PROJECT_ROOT / "deploy/celery"
WORKSPACE = str(DEPLOYMENT / "workspace.yaml")
LOCATION = "mds_assets.definitions"
JOB = "daily_refresh"

_STEP = "scale/step"  # a tag: Dagster gives it to a run that it tries again, too

_LAUNCH = """
mutation ($runs: [ExecutionParams!]!) {launchMultipleRuns(executionParamsList: $runs) {
  __typename ... on LaunchMultipleRunsResult {launchMultipleRunsResult {__typename}} ... on PythonError {message}}}
"""


@dataclass(frozen=True)
class Cluster:
    """What runs, and what Dagster knows of it.

    Attributes:
        environment: Of each of its processes.
        daemon: `dagster-daemon run`.
        code_server: What the daemon asks for the project.
        workers: Each a machine of its own, as far as it can tell: its own home, instance and temporary folder.
        instance: Dagster's records, as the UI reads them.
    """

    environment: dict[str, str]
    daemon: Process
    code_server: Process
    workers: list[Process]
    instance: DagsterInstance

    @property
    def supervised(self) -> list[Process]:
        """What systemd would start again."""
        return [self.code_server, self.daemon, *self.workers]

    def revive(self) -> None:
        """Start again what has ended, as systemd would."""
        for process in self.supervised:
            if not process.runs:
                process.start()

    def launch(self, step: str, tables: Sequence[AssetKey], days: Iterable[date]) -> None:
        """Queue a run of these tables for each day, the oldest first, as the UI does for a selection of days.

        Neither of Dagster's back-fills would do: see deploy/celery/README.md.
        """
        runs = [
            {
                "selector": {
                    "repositoryLocationName": LOCATION,
                    "repositoryName": "__repository__",
                    "jobName": JOB,
                    "assetSelection": [{"path": table.path} for table in tables],
                },
                "mode": "default",
                "runConfigData": "{}",
                "executionMetadata": {
                    "tags": [{"key": PARTITION_NAME_TAG, "value": str(day)}, {"key": _STEP, "value": step}]
                },
            }
            for day in days
        ]
        answer = self.command("dagster-graphql", "-w", WORKSPACE, "-t", _LAUNCH, "-v", json.dumps({"runs": runs}))
        launched = json.loads(answer.stdout)["data"]["launchMultipleRuns"]
        kinds = {one["__typename"] for one in launched["launchMultipleRunsResult"]}
        assert kinds == {"LaunchRunSuccess"}, launched

    def command(self, *words: str) -> subprocess.CompletedProcess[str]:
        """A command of Dagster's on this instance, in a process of its own."""
        return subprocess.run(
            [_program(words[0]), *words[1:]], env=self.environment, capture_output=True, text=True, check=True
        )

    def runs(self, step: str | None = None) -> list[RunRecord]:
        """Every run, the oldest first; or those of a step, with the runs that Dagster launched to try one again."""
        return list(self.instance.get_run_records(RunsFilter(tags={_STEP: step} if step else None), ascending=True))

    def runs_by_day(self, step: str) -> dict[date, list[RunRecord]]:
        """The runs of a step."""
        found: dict[date, list[RunRecord]] = defaultdict(list)
        for record in self.runs(step):
            found[date.fromisoformat(record.dagster_run.tags[PARTITION_NAME_TAG])].append(record)
        return found

    def busy(self) -> list[tuple[Process, int]]:
        """Each worker that has begun a run, with the process that is at work on it."""
        found: list[tuple[Process, int]] = []
        for record in self.instance.get_run_records(RunsFilter(statuses=[DagsterRunStatus.STARTED])):
            events = self.instance.all_logs(record.dagster_run.run_id, of_type=DagsterEventType.ENGINE_EVENT)
            pids = [
                int(pid[1]) for event in events if (pid := re.search(r"Started process.*pid: (\d+)", event.message))
            ]
            for worker in self.workers:
                if pids and worker.runs and pids[-1] in _group(worker.pid):
                    found.append((worker, pids[-1]))
        return found


@contextmanager
def cluster(folder: Path, environment: dict[str, str], workers: int) -> Generator[Cluster]:
    """A deployment in `folder` with so many workers, once all of it is ready, until the block ends.

    `environment` is also that of this process: its own instance reads addresses and passwords from it.
    """
    (port,) = free_ports(1)
    environment = environment | {"MDS_CODE_PORT": str(port)}
    here = _machine(folder / "machine-0", workers, environment)
    code_server = Process(
        "code-server",
        [_program("dagster"), "code-server", "start", "-h", "127.0.0.1", "-p", str(port), "-m", LOCATION],
        folder,
        here,
        lambda: listens(port),
    )
    daemon = Process(
        "daemon",
        [_program("dagster-daemon"), "run", "-w", WORKSPACE],
        folder,
        here,
        lambda: all_daemons_live(instance),
    )
    machines = [
        Process(
            f"worker-{number}",
            [
                *[_program("celery"), "-A", "mds_assets.stack.celery.worker", "worker", "-n", f"worker-{number}@%h"],
                *["--concurrency", "1", "--loglevel", "INFO", "-Q", "dagster"],
            ],
            folder,
            _machine(folder / f"machine-{number}", workers, environment),
            lambda number=number: "ready." in (folder / f"worker-{number}.log").read_text(),
        )
        for number in range(1, workers + 1)
    ]
    with ExitStack() as ending:
        instance = ending.enter_context(DagsterInstance.from_config(here["DAGSTER_HOME"]))
        for process in (code_server, *machines, daemon):
            ending.callback(process.end)
            process.start()
        for process in (code_server, *machines, daemon):
            process.wait_until_ready()
        yield Cluster(here, daemon, code_server, machines, instance)


def _machine(folder: Path, workers: int, environment: dict[str, str]) -> dict[str, str]:
    """The environment of a machine with nothing but its own folders."""
    home, temporary, records = folder / "home", folder / "tmp", folder / "dagster"
    for made in (home, temporary, records):
        made.mkdir(parents=True)
    configured = (DEPLOYMENT / "dagster.yaml").read_text()
    configured, changed = re.subn(r"max_concurrent_runs: \d+", f"max_concurrent_runs: {workers}", configured)
    assert changed == 1
    (records / "dagster.yaml").write_text(configured)
    return environment | {"HOME": str(home), "TMPDIR": str(temporary), "DAGSTER_HOME": str(records)}


def _group(group: int) -> set[int]:
    """The processes of a process group."""
    listed = subprocess.run(["ps", "-eo", "pid=,pgid="], capture_output=True, text=True, check=True).stdout
    return {int(pid) for pid, of in (line.split() for line in listed.splitlines()) if int(of) == group}


def _program(name: str) -> str:
    """One of this environment's commands."""
    program = shutil.which(name, path=str(Path(sys.executable).parent))
    assert program, f"no {name} beside {sys.executable}"
    return program
