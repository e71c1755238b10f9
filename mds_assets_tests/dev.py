"""`dg dev` as `make dev` starts it: the real webserver, daemon and code server, on a project of the tests."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import requests

from mds_assets.stack.settings import PROJECT_ROOT
from mds_assets_tests.runs import Runs
from mds_assets_tests.store import free_ports

LOCATION = "mds_assets.definitions"
# In place of `workspace.yaml`: the same location, with sensors that look every second.
EAGER = f"load_from: [{{python_module: {{module_name: mds_assets_tests.eager, location_name: {LOCATION}}}}}]\n"
REPOSITORY = {"repositoryName": "__repository__", "repositoryLocationName": LOCATION}
PATIENCE = 60  # seconds that a slow machine may take for one thing
OVER = {"SUCCESS", "FAILURE", "CANCELED"}

_LOG_TAIL = 8000  # characters

T = TypeVar("T")


@dataclass
class DagsterDev:
    """A running `dagster dev` with a lake and an instance of its own.

    Attributes:
        project: Its lake, instance and environment; runs the command line on them.
        url: The UI's address.
        log: What the server, the daemon and the code server print.
    """

    project: Runs
    url: str
    log: Path

    @property
    def last_words(self) -> str:
        """The end of the log."""
        return self.log.read_text()[-_LOG_TAIL:]

    def eventually(self, wanted: str, look: Callable[[], T | None], seconds: float = PATIENCE) -> T:
        """What `look` answers once it answers something.

        Raises:
            AssertionError: It did not in time; shows the end of the log.
        """
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if answer := look():
                return answer
            time.sleep(0.25)
        raise AssertionError(f"not within {seconds} s: {wanted}\n{self.last_words}")

    def ask(self, query: str, **variables: Any) -> dict[str, Any]:
        """The answer to a GraphQL query; the UI asks the same interface."""
        response = requests.post(f"{self.url}/graphql", json={"query": query, "variables": variables}, timeout=PATIENCE)
        answer = response.json()
        assert "errors" not in answer, answer
        return answer["data"]

    def runs(self) -> dict[str, dict[str, Any]]:
        """Every run by its id, the newest first."""
        answer = self.ask(
            "{runsOrError {... on Runs {results "
            "{runId status jobName runConfigYaml assetSelection {path} tags {key value} stepStats {stepKey status}}}}}"
        )
        return {run["runId"]: run for run in answer["runsOrError"]["results"]}

    def ended(self, run_id: str, seconds: float = 4 * PATIENCE) -> dict[str, Any]:
        """The run, once it has ended."""

        def run_when_over() -> dict[str, Any] | None:
            run = self.runs()[run_id]
            return run if run["status"] in OVER else None

        return self.eventually(f"the end of run {run_id}", run_when_over, seconds)

    def reaches(self, run_id: str, status: str) -> None:
        """Wait until the run has this status."""
        self.eventually(f"{status} of run {run_id}", lambda: self.runs()[run_id]["status"] == status)

    def launch(self, *tables: str, tags: Mapping[str, str]) -> str:
        """Materialise tables as the UI's dialog does, in a run that waits in the queue; its id."""
        answer = self.ask(
            "mutation ($params: ExecutionParams!) {launchPipelineExecution(executionParams: $params) "
            "{__typename ... on LaunchRunSuccess {run {runId}} ... on PythonError {message}}}",
            params={
                "selector": {
                    **REPOSITORY,
                    "pipelineName": "__ASSET_JOB",
                    "assetSelection": [{"path": table.split("/")} for table in tables],
                    "assetCheckSelection": [],
                },
                "mode": "default",
                "runConfigData": json.dumps({}),
                "executionMetadata": {"tags": [{"key": key, "value": value} for key, value in tags.items()]},
            },
        )["launchPipelineExecution"]
        assert answer["__typename"] == "LaunchRunSuccess", answer
        return answer["run"]["runId"]

    def cancel(self, run_id: str) -> None:
        """Ask for the end of a run, as the UI's button does."""
        answer = self.ask("mutation ($run: String!) {terminateRun(runId: $run) {__typename}}", run=run_id)
        assert answer["terminateRun"]["__typename"] == "TerminateRunSuccess", answer

    def has_loaded(self) -> bool:
        """Whether the webserver answers and has the project's definitions."""
        with suppress(requests.ConnectionError):
            answer = self.ask(
                "{workspaceOrError {... on Workspace {locationEntries {loadStatus locationOrLoadError {__typename}}}}}"
            )
            entries = answer["workspaceOrError"]["locationEntries"]
            return [entry["locationOrLoadError"] for entry in entries] == [{"__typename": "RepositoryLocation"}]
        return False


@contextmanager
def dagster_dev(project: Runs, log: Path, *, is_eager: bool = False) -> Generator[DagsterDev]:
    """`dagster dev` on this project, once it has loaded; all its processes end with the block.

    Args:
        project: Its lake, instance and environment.
        log: For what the processes print.
        is_eager: Whether sensors look every second.
    """
    workspace = PROJECT_ROOT / "workspace.yaml"
    if is_eager:
        workspace = project.home / "workspace.yaml"
        workspace.write_text(EAGER)
    (port,) = free_ports(1)
    # Without `--log-level warning`: tests read what the daemon does in its log.
    command = [Path(sys.executable).with_name("dg"), "dev", "--host", "127.0.0.1", "--port", str(port)]
    started = DagsterDev(project, f"http://127.0.0.1:{port}", log)
    with log.open("w") as output:
        server = subprocess.Popen(
            [*command, "-w", workspace],
            env=os.environ | project.environment,
            cwd=PROJECT_ROOT,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        started.eventually(
            "`dagster dev` with the project loaded",
            lambda: started.has_loaded() or server.poll() is not None,
            seconds=4 * PATIENCE,
        )
        assert server.poll() is None, f"`dagster dev` ended:\n{started.last_words}"
        yield started
    finally:
        server.terminate()
        with suppress(subprocess.TimeoutExpired):
            server.wait(timeout=15)
        with suppress(ProcessLookupError):
            os.killpg(server.pid, signal.SIGKILL)
        server.wait()
