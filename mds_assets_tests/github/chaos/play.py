"""Plays a schedule: runs, one or several at a time, against a GitHub that fails as the schedule says."""

import os
import signal
import tempfile
import time
from collections import Counter
from collections.abc import Container, Generator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cache
from multiprocessing.process import BaseProcess
from pathlib import Path
from random import Random
from typing import Any

from mds_assets_tests.github.chaos import schedule as scheduled
from mds_assets_tests.github.chaos.checks import (
    Inspection,
    Tables,
    Violation,
    day_of,
    is_early,
    leftovers,
    tables_of,
    unlike,
    visible,
)
from mds_assets_tests.github.chaos.ended import Ended
from mds_assets_tests.github.chaos.faults import FATAL, Fault, is_endless, strike
from mds_assets_tests.github.chaos.process import Errand, lay_out, start
from mds_assets_tests.github.chaos.schedule import REFUSED, Kill, Round, Run, Schedule, Stage, Truncation
from mds_assets_tests.github.oracle import active_at
from mds_assets_tests.github.server import GitHubHandler, GitHubServer

# A part of it is enough to be found: 40 times the same 4 letters would be as bad.
SECRET = "CHAOSq8Zr3"
TOKEN = f"ghp_{SECRET * 3}"
_MEMORY = "/dev/shm"  # noqa: S108
_PATIENCE = 180  # seconds: a run takes one or two
_BAD = {"stargazers_count": -1}  # raw takes it as any number, but staging has a rule


@dataclass
class Outcome:
    """What became of a schedule."""

    schedule: Schedule
    ended: list[Ended] = field(default_factory=list[Ended])
    violations: list[Violation] = field(default_factory=list[Violation])
    truncated: list[Path] = field(default_factory=list[Path])
    seconds: float = 0


def play(schedule: Schedule, folder: Path, *, fresh_home: bool = False) -> Outcome:
    """Let it all happen below this empty folder, and look at what is there after each round and at the end.

    Args:
        schedule: What happens.
        folder: An empty folder.
        fresh_home: Whether Dagster's SQLite files are made by the first runs of the schedule, and not before. Dagster
            1.13 does not make them atomically: a kill can leave a home that no run can open.
    """
    outcome, started = Outcome(schedule), time.monotonic()
    lay_out(folder, fresh_home=fresh_home or not schedule.on_disk)
    inspection = Inspection(folder, schedule.organisation, SECRET)
    with GitHubServer({schedule.organisation: scheduled.foreign_world(schedule.organisation)}) as foreign:
        for stage in schedule.stages:
            world = scheduled.world(stage, schedule.organisation)
            for number, runs in enumerate((*stage.rounds, stage.healing)):
                ended = _play_round(schedule, runs, world, folder, len(outcome.ended), foreign.url)
                outcome.ended += ended
                outcome.violations += inspection.after(ended)
                for truncation in (each for each in stage.truncations if each.after == number):
                    if file := _truncate(folder / "lake", stage, truncation, inspection.truncated.keys()):
                        inspection.note_truncated(file)
                        outcome.truncated.append(file)
    if any("Authorization" in request.headers for request in foreign.requests):
        outcome.violations.append(Violation("secret", "another host than GitHub was sent the token"))
    if schedule != schedule.undisturbed:
        expected, _ = undisturbed(schedule.undisturbed)
        outcome.violations += unlike(tables_of(folder / "lake"), expected)
    outcome.violations += leftovers(folder / "lake")
    outcome.seconds = time.monotonic() - started
    return outcome


@contextmanager
def new_folder() -> Generator[Path]:
    """An empty folder for a schedule; in memory where that is possible, as Dagster's SQLite waits for disks."""
    with tempfile.TemporaryDirectory(prefix="mds-chaos-", dir=_MEMORY if os.access(_MEMORY, os.W_OK) else None) as new:
        yield Path(new)


@cache
def undisturbed(schedule: Schedule) -> tuple[Tables, dict[int, Counter[Kill]]]:
    """What the tables hold after a schedule without disturbances, and what a run comes to, by its number of days."""
    with new_folder() as folder:
        outcome = play(schedule, folder)
        if outcome.violations:
            raise AssertionError(f"a schedule without disturbances went wrong: {outcome.violations}")
        tables = tables_of(folder / "lake")
        stage = schedule.stages[-1]
        world = scheduled.world(stage, schedule.organisation)
        (short,) = _play_round(schedule, (Run((stage.days[1], stage.days[1])),), world, folder, 99, "")
        return tables, {1: short.came_to, (stage.days[1] - stage.days[0]).days + 1: outcome.ended[-1].came_to}


def _play_round(
    schedule: Schedule, runs: Round, world: list[dict[str, Any]], folder: Path, first_number: int, foreign_url: str
) -> list[Ended]:
    """Runs at the same time, each with a GitHub of its own; returns when all have ended."""
    with ExitStack() as servers:
        under_way: list[_UnderWay] = []
        begun = time.monotonic()
        for number, run in sorted(enumerate(runs, first_number), key=lambda numbered: numbered[1].delay):
            shown = _shown(world, run, number, schedule.seed)
            github = GitHubServer({schedule.organisation: shown}, token=TOKEN)
            servers.enter_context(github)
            time.sleep(max(0, begun + run.delay - time.monotonic()))
            under_way.append(_UnderWay(schedule, run, number, github, folder, foreign_url))
        return [run.ended() for run in under_way]


def _shown(world: list[dict[str, Any]], run: Run, number: int, seed: int) -> list[dict[str, Any]]:
    """The repositories that this run may see, marked with its number, so that each row in raw tells whose it is."""
    rng = Random(f"{seed} {number}")
    marks = {"chaos_run": number, "temp_clone_token": f"clone_{SECRET}"}
    shown = [repo | marks for repo in world if rng.random() < run.seen]
    of_bad_day = [n for n, repo in enumerate(shown) if active_at(repo).date() == run.bad_day]
    if of_bad_day:
        shown[rng.choice(of_bad_day)] |= _BAD
    return shown


def _truncate(lake: Path, stage: Stage, truncation: Truncation, truncated: Container[Path]) -> Path | None:
    """Cut off a file of the stage's days, which its last run writes again, or the copy of a load; None without one."""
    files = [
        file
        for file in visible(lake)
        if file.is_relative_to(lake / truncation.layer)
        and stage.days[0] <= day_of(file) <= stage.days[1]
        and not is_early(file)
        and file not in truncated
    ]
    if not files:
        return None
    file = files[int(truncation.which * len(files))]
    content = file.read_bytes()
    if truncation.layer == "raw":
        file = file.with_stem(f"{file.stem}{len(files)}")  # as a load that landed later
    file.write_bytes(content[: int(truncation.kept * len(content))])
    return file


class _UnderWay:
    """A run under way, and what GitHub does to it."""

    def __init__(
        self, schedule: Schedule, run: Run, number: int, github: GitHubServer, folder: Path, foreign_url: str
    ) -> None:
        self.run, self.number, self.github, self.foreign_url = run, number, github, foreign_url
        self.schedule = schedule
        self.faults = dict(run.faults)
        self.met: list[Fault] = []
        self.kill = self._point(schedule, run.kill)
        self.process: BaseProcess | None = None
        github.intercept = self.intercept
        self.errand = Errand(
            folder=folder,
            name=f"run-{number}",
            days=run.days,
            api_url=github.url,
            organisations=schedule.organisations,
            token=TOKEN,
            on_disk=schedule.on_disk,
            kill=self.kill,
            pause=self._point(schedule, run.pause),
        )
        self.started = time.monotonic()
        self.process = start(self.errand)

    def _point(self, schedule: Schedule, planned: tuple[Kill, float] | None) -> tuple[Kill, float] | None:
        """A share of a run as a number of requests, steps or seconds."""
        if not planned:
            return None
        kind, share = planned
        _, known = undisturbed(schedule.undisturbed)
        (low, least), (high, most) = sorted(known.items())
        days = (self.run.days[1] - self.run.days[0]).days + 1
        usual = least[kind] + (most[kind] - least[kind]) * (days - low) / (high - low)
        return kind, usual * share / 1000 if kind is Kill.TIME else 1 + int(usual * share)

    def intercept(self, handler: GitHubHandler, number: int) -> bool:
        """The server's: fail, or kill, as the schedule says."""
        if self.process and self.process.pid and self.kill == (Kill.REQUEST, number):
            os.kill(self.process.pid, signal.SIGKILL)  # it is there: it waits for this answer
            handler.close_connection = True
            return True
        fault = Fault.ENDLESS if is_endless(handler.path) else self.faults.get(number)
        if fault:
            self.met += [fault] if number in self.faults else []
            return strike(fault, handler, self.foreign_url)
        if self.schedule.refusal and f"/{REFUSED}/" in handler.path:
            handler.answer(self.schedule.refusal, {"message": "This organisation is not for you"})
            return True
        return False

    def ended(self) -> Ended:
        """Wait for its end."""
        assert self.process
        self.process.join(_PATIENCE)
        hung = self.process.exitcode is None
        if hung:
            self.process.kill()
            self.process.join()
        seconds = time.monotonic() - self.started
        well = self.process.exitcode == 0
        came_to = Counter({Kill.REQUEST: len(self.github.requests), Kill.TIME: int(seconds * 1000)})
        return Ended(
            name=self.errand.name,
            number=self.number,
            days=self.run.days,
            world=self.github.repos[self.schedule.organisation],
            well=well,
            killed=self.process.exitcode == -signal.SIGKILL and not hung,
            hung=hung,
            excused=bool(FATAL & set(self.met)),
            met=self.met,
            kill=self.kill[0] if self.kill else None,
            came_to=came_to + self.errand.steps if well else came_to,
            printed=self.errand.printed,
        )
