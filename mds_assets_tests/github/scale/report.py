"""The two things that can be asked for, from the services up to the table that is printed."""

import os
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

from mds_assets.stack.partitions import days_between
from mds_assets_tests.github.project import Project
from mds_assets_tests.github.recordings import RECORDINGS, jenkinsci
from mds_assets_tests.github.scale.backfill import Phase, backfill, steps
from mds_assets_tests.github.scale.cluster import cluster
from mds_assets_tests.github.scale.throughput import Way, in_one_process, in_processes, on_workers
from mds_assets_tests.github.server import GitHubServer
from mds_assets_tests.services import services

_FEW = 5  # processes that take seconds each need not be many

Told = Callable[[str], None]


def backfilled(folder: Path, lake: str, days: int, workers: int, told: Told, *, short: bool) -> bool:
    """A disturbed back-fill; whether nothing was lost by it."""
    began = time.monotonic()
    with _github() as github, services(folder, lake) as stack:
        os.environ.update(stack.environment)  # of this process too: it reads Dagster's records and the lake
        told(f"RabbitMQ, PostgreSQL{' and SeaweedFS' if stack.store else ''}: {time.monotonic() - began:.0f} s")
        wanted = days_between(github.last - timedelta(days=days - 1), github.last)
        local = Project(folder / "local", github.api_url, github.organisations)
        local.materialise(wanted[0], wanted[-1], ["raw", "staging", "marts", "reports"])
        told(f"{len(wanted)} days of {github} by one local run: {time.monotonic() - began:.0f} s so far")
        with cluster(folder, stack.environment | github.environment(lake), workers) as deployed:
            told(f"{workers} workers are ready: {time.monotonic() - began:.0f} s so far")
            outcome = backfill(deployed, stack, wanted, (lake, str(local.lake)), steps(stack, short=short), told)
            began_again = {one.name: one.began - 1 for one in deployed.supervised if one.began > 1}
            runs = len(deployed.runs())
    told("")
    for line in _phases(outcome.phases):
        told(line)
    equal = "equal to" if not outcome.violations else "NOT proven equal to"
    told(f"\n{runs} runs of {days} days; started again: {began_again or 'nothing'}; all tables {equal} a local run's;")
    told(f"{time.monotonic() - began:.0f} s in all")
    for violation in outcome.violations:
        told(f"VIOLATION: {violation}")
    return not outcome.violations


def measured(folder: Path, lake: str, days: int, counts: Sequence[int], told: Told) -> None:
    """How fast days are run, in every way; each starts with an empty lake and empty records."""
    ways: list[Way] = []
    with _github() as github:
        wanted = days_between(github.last - timedelta(days=days - 1), github.last)
        ways += in_one_process(Project(folder / "warm", github.api_url, github.organisations), wanted)
        ways += in_processes(Project(folder / "cold", github.api_url, github.organisations), wanted[:_FEW])
        for count in counts:
            told(f"{count} workers")
            place = folder / f"{count}-workers"
            place.mkdir()
            place.chmod(0o711)  # as the folder itself
            root = f"{lake}/{count}-workers"
            with services(place, root) as stack:
                os.environ.update(stack.environment)
                with cluster(place, stack.environment | github.environment(root), count) as deployed:
                    ways += on_workers(deployed, wanted)
    told("")
    head = ("way", "step", "days", "seconds", "days a minute", "launch to start", "start to end", "task", "first task")
    for line in table(head, [_row(way) for way in ways]):
        told(line)


def _row(way: Way) -> list[object]:
    seconds = (way.begins, way.each, way.task, way.first)
    rounded = ["" if one is None else f"{one:.1f} s" for one in seconds]
    return [way.name, way.step, way.days, f"{way.seconds:.0f}", f"{60 * way.days / way.seconds:.1f}", *rounded]


@dataclass(frozen=True)
class _GitHub:
    """What is back-filled, up to which day."""

    api_url: str
    organisations: list[str]
    last: date

    def __str__(self) -> str:
        return ",".join(self.organisations) or "the built-in sample"

    def environment(self, root: str) -> dict[str, str]:
        """The project's own settings for a lake."""
        return {"GITHUB_ORG": ",".join(self.organisations), "GITHUB_API_URL": self.api_url, "MDS_DATA_DIR": root}


@contextmanager
def _github() -> Generator[_GitHub]:
    """Its recorded answers, up to the newest day that is whole; where there are none, the built-in sample."""
    if not RECORDINGS.is_dir():
        yield _GitHub("", [], datetime.now(UTC).date() - timedelta(days=1))
        return
    with GitHubServer({"jenkinsci": jenkinsci()}) as server:
        yield _GitHub(server.url, ["jenkinsci"], date(2019, 10, 25))


def _phases(phases: Sequence[Phase]) -> list[str]:
    rows = [(one.name, f"{one.seconds:.0f}", one.ended, one.kills, one.failed, one.recovered) for one in phases]
    return table(("phase", "seconds", "runs ended", "kills", "failed", "recovered"), rows)


def table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> list[str]:
    """A Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return [f"| {' | '.join(map(str, line))} |" for line in lines]
