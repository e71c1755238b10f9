"""Promises of what goes on while `make dev` runs: the real daemon, on the repository's own `dagster.yaml`.

All tests share one `dagster dev`, and leave it without a run under way.
"""

import os
import re
import select
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import date, timedelta
from itertools import pairwise
from socket import socket
from threading import Event
from typing import Any

import pytest
from dagster import DagsterEventType, DagsterInstance

from mds_assets.stack.jobs import TRIGGER, WHY
from mds_assets.stack.partitions import days_between
from mds_assets.stack.settings import PROJECT_ROOT
from mds_assets_tests.dev import PATIENCE, DagsterDev, dagster_dev
from mds_assets_tests.github.project import OF_REPOS, Project
from mds_assets_tests.github.server import GitHubHandler, GitHubServer
from mds_assets_tests.webhook import Webhook, answer

pytestmark = pytest.mark.slow(150)

TOKEN = "ghp_1234567890abcdefSECRET"
FIRST = date(2019, 10, 1)
REPAIRED = FIRST + timedelta(days=2)
RAW, STAGING, LANGUAGES = "raw/github_repos", "staging/repos", "marts/repos_per_language"
FOLLOWING = {table for table in OF_REPOS if table.startswith(("marts/", "reports/"))}


def repo(stars: int) -> dict[str, Any]:
    """The one repository, as it was on the day that is repaired."""
    moment = f"{REPAIRED}T10:00:00Z"
    name = {"id": 1, "name": "one", "full_name": "acme/one", "language": "Python", "stargazers_count": stars}
    return name | {"created_at": moment, "updated_at": moment, "pushed_at": moment}


@dataclass
class Gate:
    """Stands before GitHub: while it is closed, requests wait.

    Attributes:
        waiting: Requests that wait. One whose client has hung up no longer does: it asks again after 30 seconds.
        refusal: What GitHub answers instead of repositories.
    """

    waiting: int = 0
    refusal: dict[str, str] | None = None
    _open: Event = field(default_factory=Event)

    def __call__(self, handler: GitHubHandler, _: int) -> bool:
        """What `GitHubServer` calls before each answer."""
        self.waiting += 1
        while not (is_open := self._open.wait(timeout=0.1)) and not _has_hung_up(handler.connection):
            pass
        self.waiting -= 1
        if not is_open:
            handler.close_connection = True
        elif self.refusal:
            handler.answer(401, self.refusal)
        return not is_open or bool(self.refusal)

    def open(self) -> None:
        """Let all pass."""
        self._open.set()

    def close(self) -> None:
        """Let none pass."""
        self._open.clear()


def _has_hung_up(client: socket) -> bool:
    # A client that waits for its answer says nothing: whatever there is to read is the end, or a reset.
    return bool(select.select([client], [], [], 0)[0])


@dataclass
class Stack:
    """All that runs: `dagster dev`, GitHub, the webhook."""

    dev: DagsterDev
    gate: Gate
    github: GitHubServer
    webhook: Webhook
    instance: DagsterInstance

    def waits_for_github(self, crawls: int) -> None:
        """Wait until so many crawls stand before the gate."""
        self.dev.eventually(f"{crawls} crawls at the gate", lambda: self.gate.waiting == crawls)

    def says(self, words: str) -> None:
        """Wait until the daemon's log has these words."""
        self.dev.eventually(f"{words!r} in the log", lambda: words in self.dev.log.read_text())

    def by_automation(self) -> list[dict[str, Any]]:
        """The runs that the automation started."""
        runs = self.dev.runs().values()
        return [run for run in runs if {"key": TRIGGER, "value": "automation"} in run["tags"]]

    def ticks(self, sensor: str) -> int:
        """How often a sensor was evaluated to the end."""
        states = self.instance.all_instigator_state()
        for state in states:
            if state.instigator_name == sensor:
                ticks = self.instance.get_ticks(state.instigator_origin_id, state.selector_id)
                return len([tick for tick in ticks if tick.status.value != "STARTED"])
        return 0

    def command_line(self, day: date) -> subprocess.Popen[bytes]:
        """Raw in a process of its own, as `mds run` does it."""
        code = (
            "from dagster import AssetKey, DagsterInstance\n"
            "from mds_assets.definitions import defs\n"
            "with DagsterInstance.get() as instance:\n"
            "    defs.resolve_job_def('daily_refresh').execute_in_process(instance=instance, "
            f"asset_selection=[AssetKey({RAW.split('/')})], partition_key='{day}', "
            "tags={'command': 'line'})"
        )
        environment = os.environ | self.dev.project.environment
        return subprocess.Popen(
            [sys.executable, "-c", code], env=environment, cwd=PROJECT_ROOT, stderr=subprocess.DEVNULL
        )


def day_of(number: int) -> dict[str, str]:
    """The tag of a run of one day."""
    return {"dagster/partition": str(FIRST + timedelta(days=number))}


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """`dagster dev` on ten days that all tables have, once both sensors know what there was before."""
    folder = tmp_path_factory.mktemp("daemon")
    gate = Gate()
    gate.open()
    with ExitStack() as started:
        github = started.enter_context(GitHubServer({"acme": [repo(stars=1)]}, token=TOKEN, intercept=gate))
        started.callback(gate.open)
        webhook = started.enter_context(Webhook())
        project = Project(folder, github.url, ["acme"], TOKEN)
        project.environment["MDS_ALERT_WEBHOOK"] = webhook.url
        config = (PROJECT_ROOT / ".dagster" / "dagster.yaml").read_text()
        assert config.count("poll_interval_seconds: 30") == 1
        (project.home / "dagster.yaml").write_text(
            config.replace("poll_interval_seconds: 30", "poll_interval_seconds: 1")
        )
        instance = started.enter_context(DagsterInstance.from_config(str(project.home)))
        layers = ("raw", "staging", "marts", "reports")
        project.materialise(FIRST, FIRST + timedelta(days=9), layers, instance)
        dev = started.enter_context(dagster_dev(project, folder / "dagster-dev.log", is_eager=True))
        stack = Stack(dev, gate, github, webhook, instance)
        for sensor in ("follow_staging", "failed_runs"):
            dev.eventually(f"a first tick of {sensor}", lambda sensor=sensor: stack.ticks(sensor), seconds=4 * PATIENCE)
        yield stack


@pytest.fixture(autouse=True)
def nothing_under_way(stack: Stack) -> Iterator[None]:
    """The gate opens after each test, and its runs end."""
    yield
    stack.gate.open()
    for run_id, run in stack.dev.runs().items():
        if {"key": TRIGGER, "value": "automation"} not in run["tags"]:
            stack.dev.ended(run_id)


def test_one_crawl_at_a_time_beside_other_runs_and_a_cancelled_one_makes_room(stack: Stack):
    dev = stack.dev
    stack.github.repos["acme"] = [repo(stars=5)]
    repaired = dev.launch(RAW, tags={"dagster/partition": str(REPAIRED)})
    assert dev.ended(repaired)["status"] == "SUCCESS"

    stack.gate.close()
    first = dev.launch(RAW, tags=day_of(20))
    stack.waits_for_github(1)
    second = dev.launch(RAW, tags=day_of(21))
    stack.says(f"Run {second} is blocked by global concurrency limits")
    beside = dev.launch(STAGING, tags={"dagster/partition": str(REPAIRED)})  # `test_...follow` looks what comes of it
    assert dev.ended(beside)["status"] == "SUCCESS"
    assert dev.runs()[second]["status"] == "QUEUED"
    assert stack.gate.waiting <= 1  # none while the first is about to ask again
    stack.waits_for_github(1)

    dev.cancel(first)
    dev.reaches(first, "CANCELED")
    dev.reaches(second, "STARTED")
    stack.gate.open()
    assert dev.ended(second)["status"] == "SUCCESS"


def test_runs_of_the_command_line_never_wait_but_are_counted_until_the_daemon_finds_them_dead(stack: Stack):
    dev = stack.dev
    stack.gate.close()
    crawls = [stack.command_line(FIRST + timedelta(days=22 + number)) for number in range(2)]
    try:
        stack.waits_for_github(2)
        waiting = dev.launch(STAGING, tags=day_of(24))
        stack.says("2 runs are currently in progress. Maximum is 2, won't launch more.")
        assert dev.runs()[waiting]["status"] == "QUEUED"
    finally:
        for crawl in crawls:
            crawl.kill()
            crawl.wait()
    dead = [run_id for run_id, run in dev.runs().items() if {"key": "command", "value": "line"} in run["tags"]]
    assert [dev.runs()[run_id]["status"] for run_id in dead] == ["STARTED"] * 2
    for run_id in dead:  # in place of the hours that `dagster.yaml` gives a run
        stack.instance.add_run_tags(run_id, {"dagster/max_runtime": "1"})
    assert dev.ended(waiting)["status"] == "SUCCESS"
    assert {dev.ended(run_id)["status"] for run_id in dead} == {"FAILURE"}


def test_a_killed_run_gives_its_place_back_and_is_tried_once_more(stack: Stack):
    dev = stack.dev
    stack.gate.close()
    killed = dev.launch(RAW, tags=day_of(25))
    before = dev.runs().keys()
    stack.waits_for_github(1)
    (pid,) = [
        found[1]
        for entry in stack.instance.all_logs(killed, of_type=DagsterEventType.ENGINE_EVENT)
        if (found := re.search(r"Executing steps in process \(pid: (\d+)\)", entry.message))
    ]
    os.kill(int(pid), signal.SIGKILL)
    dev.reaches(killed, "FAILURE")

    def retry() -> list[str]:
        return [run_id for run_id, run in dev.runs().items() if run_id not in before and run["status"] == "STARTED"]

    (again,) = dev.eventually("a run in its place", retry)
    stack.gate.open()
    assert dev.ended(again)["status"] == "SUCCESS"


def test_a_failed_run_is_told_to_log_and_webhook_and_a_dead_webhook_hinders_nothing(stack: Stack):
    dev, webhook = stack.dev, stack.webhook
    stack.gate.refusal = {"message": f"Bad credentials, {TOKEN}"}
    unheard = dev.launch(RAW, tags=day_of(26))
    webhook.answers = lambda handler: answer(handler, 503 if unheard in webhook.texts[-1] else 200)
    days = {"dagster/asset_partition_range_start": "2019-10-28", "dagster/asset_partition_range_end": "2019-10-29"}
    heard = dev.launch(RAW, STAGING, tags=days)
    assert [dev.ended(run_id)["status"] for run_id in (unheard, heard)] == ["FAILURE"] * 2
    stack.gate.refusal = None
    told = dev.eventually("an alert", lambda: [text for text in webhook.texts if heard in text], seconds=4 * PATIENCE)
    assert len(told) == 1
    first, why, look = unfenced(told[0]).splitlines()
    assert first == f"Failed: {RAW}, {STAGING} of 2019-10-28...2019-10-29, at raw__github_repos"
    assert why.startswith("GITHUB_ORG 'acme': GET http://127.0.0.1:")
    assert "answered 401 'Bad credentials, ***': GITHUB_TOKEN was refused" in why
    assert look == f"Run {heard}: 'make dev' shows it at /runs/{heard}"
    log = dev.log.read_text()
    assert first in log
    assert log.count(f"MDS_ALERT_WEBHOOK was not notified of run {unheard}: it answered 503") == 1
    assert len([text for text in webhook.texts if unheard in text]) == 1
    # Of the test before; runs of the command line are told as well.
    (died,) = [unfenced(text) for text in webhook.texts if "was terminated by signal 9 (SIGKILL)" in text]
    assert died.startswith(f"Failed: {RAW} of {FIRST + timedelta(days=25)}\n")
    assert died.endswith("; Dagster tries it once more")
    assert len([text for text in webhook.texts if unfenced(text).startswith("Failed: daily_refresh of 2019-10-2")]) == 2


def unfenced(text: str) -> str:
    """The text of an alert, which is a code block."""
    return text.removeprefix("```\n").removesuffix("\n```")


def test_the_marts_that_look_back_on_a_repaired_day_follow_once_and_nothing_follows_them(stack: Stack):
    """The day was staged again in the first test, with more stars than before.

    Most look back 7 days; `daily_activity` looks back 13, so that the last day there is follows too, with its page.
    """
    dev = stack.dev
    days, last = days_between(REPAIRED, REPAIRED + timedelta(days=6)), FIRST + timedelta(days=9)
    expected = {(table, day) for table in FOLLOWING for day in days}
    expected |= {(table, last) for table in ("marts/daily_activity", "reports/activity") if last not in days}

    def made() -> Counter[tuple[str, date]]:
        runs = [dev.ended(run["runId"], seconds=4 * PATIENCE) for run in stack.by_automation()]
        assert all(run["status"] == "SUCCESS" for run in runs)
        why = {"dagster/sensor_name": "follow_staging", WHY: "a table that these read was materialized again"}
        assert all(why.items() <= {tag["key"]: tag["value"] for tag in run["tags"]}.items() for run in runs)
        return Counter(
            ("/".join(key["path"]), day) for run in runs for key in run["assetSelection"] for day in days_of(run)
        )

    dev.eventually("runs of the automation", lambda: made().keys() >= expected, seconds=8 * PATIENCE)
    stars = {row[-1]: row[3] for row in dev.project.rows(LANGUAGES) if row[-1] in days}
    assert stars == dict.fromkeys(days, 5.0)
    pages = (dev.project.lake / "reports/activity").glob("day=*/*.html")
    assert {str(day) for day in days} <= {page.parent.name.removeprefix("day=") for page in pages}

    ticks = stack.ticks("follow_staging")
    dev.eventually("two more ticks", lambda: stack.ticks("follow_staging") >= ticks + 2, seconds=4 * PATIENCE)
    assert made() == Counter(expected)


def days_of(run: dict[str, Any]) -> list[date]:
    """The days of a run of the daemon."""
    tags = {tag["key"]: tag["value"] for tag in run["tags"]}
    if day := tags.get("dagster/partition"):
        return [date.fromisoformat(day)]
    first, last = (date.fromisoformat(tags[f"dagster/asset_partition_range_{end}"]) for end in ("start", "end"))
    return days_between(first, last)


def test_no_two_crawls_that_the_daemon_started_overlapped(stack: Stack):
    """Of all tests before."""
    crawls: list[tuple[float, float]] = []
    for run in stack.instance.get_runs():
        if not run.remote_job_origin:
            continue
        times = [
            entry.timestamp
            for entry in stack.instance.all_logs(run.run_id)
            if entry.step_key == "raw__github_repos"
            and entry.dagster_event_type != DagsterEventType.ASSET_MATERIALIZATION_PLANNED
        ]
        if times:
            crawls.append((min(times), max(times)))
    crawls.sort()
    assert len(crawls) >= 6
    assert all(end <= start for (_, end), (start, _) in pairwise(crawls))


def test_no_secret_is_in_any_file_or_log(stack: Stack):
    project = stack.dev.project
    stack.instance.event_log_storage.dispose()
    for file in (file for folder in (project.home, project.lake) for file in folder.rglob("*") if file.is_file()):
        content = file.read_bytes()
        assert TOKEN.encode() not in content, file
        assert Webhook.SECRET.encode() not in content, file
    log = stack.dev.log.read_text()
    assert TOKEN not in log
    assert Webhook.SECRET not in log
    assert all(TOKEN not in text for text in stack.webhook.texts)
