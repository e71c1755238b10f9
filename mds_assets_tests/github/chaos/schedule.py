"""What happens in a schedule: a pure function of its seed.

The same seed gives the same runs, faults and kill points. When a concurrent run comes to what another one does, and
where `Kill.TIME` strikes, depends on the machine all the same.
"""

import random
from dataclasses import dataclass, replace
from datetime import date, timedelta
from enum import StrEnum
from functools import cache
from typing import Any, Literal

from mds_assets.stack.partitions import days_between
from mds_assets_tests.github.chaos.faults import FATAL, HOSTILE, Fault
from mds_assets_tests.github.recordings import jenkinsci, npm_days

REFUSED = "other-company"  # the organisation that GitHub refuses, where one is configured


class Kill(StrEnum):
    """What is counted until a run is killed."""

    REQUEST = "request"  # that GitHub gets
    STEP = "step"  # that changes something below the lake, temporary files included
    TABLE_STEP = "table-step"  # that changes something in a table's folder
    TIME = "time"


@dataclass(frozen=True)
class Run:
    """One run of the pipeline.

    Attributes:
        days: First and last.
        delay: Seconds after the start of its round.
        seen: The share of the world's repositories that GitHub shows it; which ones differs from run to run.
        faults: What GitHub does wrong, by the number of the request.
        kill: What is counted until it is killed, and to which share of what an undisturbed run comes to.
        pause: Likewise, where it stands still for a while.
        bad_day: The one of its days on which GitHub shows it a repository that breaks a rule of staging.
    """

    days: tuple[date, date]
    delay: float = 0
    seen: float = 1
    faults: tuple[tuple[int, Fault], ...] = ()
    kill: tuple[Kill, float] | None = None
    pause: tuple[Kill, float] | None = None
    bad_day: date | None = None


Round = tuple[Run, ...]  # at the same time


@dataclass(frozen=True)
class Truncation:
    """A file that ends too early: one of a derived table, or one more load of a day.

    Attributes:
        after: The number of the round after which it is found so.
        layer: Where.
        which: The file, as a share of all that there are.
        kept: The share of its bytes that is left.
    """

    after: int
    layer: Literal["raw", "staging", "marts"]
    which: float
    kept: float


@dataclass(frozen=True)
class Stage:
    """Some rounds of disturbed runs in one state of the world, and then one that is not disturbed, of all its days."""

    recorded: date
    days: tuple[date, date]
    rounds: tuple[Round, ...]
    truncations: tuple[Truncation, ...] = ()

    @property
    def healing(self) -> Round:
        """The undisturbed run."""
        return (Run(self.days),)


@dataclass(frozen=True)
class Schedule:
    """All that happens to one lake.

    Attributes:
        seed: What it was made from.
        organisation: Of the recordings.
        on_disk: Whether Dagster's records lie in files that all runs share.
        stages: One after the other, while the world moves on.
        refusal: The status that GitHub answers with for a second organisation; None if only one is configured.
    """

    seed: int
    organisation: str
    on_disk: bool
    stages: tuple[Stage, ...]
    refusal: int | None = None

    @property
    def organisations(self) -> tuple[str, ...]:
        """Whom the runs ask for: the refused one comes first in every other schedule."""
        if not self.refusal:
            return (self.organisation,)
        return (REFUSED, self.organisation) if self.seed % 2 else (self.organisation, REFUSED)

    @property
    def undisturbed(self) -> "Schedule":
        """The same without the disturbed runs; equal for all schedules of one flavour."""
        stages = tuple(Stage(stage.recorded, stage.days, ()) for stage in self.stages)
        return Schedule(-1, self.organisation, False, stages)


def make(seed: int) -> Schedule:
    """The schedule of this seed."""
    made = _make(seed)
    # Drawn apart, so that the rest of a schedule stays as it was before there were these.
    rng = random.Random(f"{seed} more")
    stages = [
        replace(
            stage,
            rounds=tuple(tuple(_worse(rng, run) for run in together) for together in stage.rounds),
            truncations=tuple(_truncation(rng, after) for after in range(len(stage.rounds)) if rng.random() < 0.4),
        )
        for stage in made.stages
    ]
    return replace(made, stages=tuple(stages), refusal=rng.choice([403, 404]) if rng.random() < 0.3 else None)


def _make(seed: int) -> Schedule:
    rng = random.Random(seed)
    on_disk = rng.random() < 0.5
    if rng.random() < 0.6:
        week = date(2019, 10, 19), date(2019, 10, 25)
        rounds = tuple(_round(rng, week) for _ in range(rng.randint(1, 3)))
        return Schedule(seed, "jenkinsci", on_disk, (Stage(date(2019, 10, 26), week, rounds),))
    # Each day once more is run together with the two before it, which GitHub tells less and less about.
    first = rng.choice([date(2020, 1, 24), date(2020, 2, 12), date(2020, 3, 10)])
    stages: list[Stage] = []
    for recorded in days_between(first, first + timedelta(days=2)):
        days = recorded - timedelta(days=3), recorded - timedelta(days=1)
        stages.append(Stage(recorded, days, (_round(rng, days),)))
    return Schedule(seed, "npm", on_disk, tuple(stages))


def _round(rng: random.Random, days: tuple[date, date]) -> Round:
    together = rng.choice([1, 1, 1, 2, 2, 3, 4])
    same = _days(rng, days) if rng.random() < 0.7 else None
    return tuple(_disturbed(rng, same or _days(rng, days), alone=together == 1) for _ in range(together))


def _days(rng: random.Random, days: tuple[date, date]) -> tuple[date, date]:
    """All days, one of them or some in a row."""
    some = days_between(*days)
    first, last = sorted(rng.choices(some, k=2))
    return rng.choice([days, (first, first), (first, last)])


def _disturbed(rng: random.Random, days: tuple[date, date], *, alone: bool) -> Run:
    kill = None
    if rng.random() < (0.7 if alone else 0.3):
        kind = rng.choice([Kill.REQUEST, Kill.STEP, Kill.STEP, Kill.TABLE_STEP, Kill.TABLE_STEP, Kill.TIME, Kill.TIME])
        # Several at once take longer.
        kill = kind, rng.random() * (2 if kind is Kill.TIME and not alone else 1)
    faults: dict[int, Fault] = {}
    if rng.random() < 0.5 or (alone and not kill):
        bearable = [fault for fault in Fault if fault not in FATAL | HOSTILE]
        for number in rng.sample(range(1, 5), rng.randint(1, 3)):
            faults[number] = rng.choice(sorted(FATAL - HOSTILE) if rng.random() < 0.15 else bearable)
    return Run(
        days,
        delay=0 if alone else rng.choice([0, 0, rng.uniform(0, 1)]),
        seen=rng.choice([1, 0.6]),
        faults=tuple(sorted(faults.items())),
        kill=kill,
        pause=(rng.choice([Kill.STEP, Kill.TABLE_STEP]), rng.random()) if not alone and rng.random() < 0.6 else None,
    )


def _worse(rng: random.Random, run: Run) -> Run:
    """The run with a hostile answer or a bad table, or without."""
    hostile = {rng.randint(1, 4): rng.choice(sorted(HOSTILE))} if rng.random() < 0.15 else {}
    bad_day = rng.choice(days_between(*run.days)) if rng.random() < 0.25 else None
    return replace(run, faults=tuple(sorted({**hostile, **dict(run.faults)}.items())), bad_day=bad_day)


def _truncation(rng: random.Random, after: int) -> Truncation:
    kept = 0 if rng.random() < 0.2 else rng.random()
    return Truncation(after, rng.choice(["raw", "staging", "marts"]), rng.random(), kept)


def world(stage: Stage, organisation: str) -> list[dict[str, Any]]:
    """All repositories that GitHub knows at this stage."""
    return jenkinsci() if organisation == "jenkinsci" else npm_days()[stage.recorded]


@cache
def foreign_world(organisation: str) -> list[dict[str, Any]]:
    """What another host says of the same organisation: none of it is true."""
    repos = jenkinsci() if organisation == "jenkinsci" else max(npm_days().items())[1]
    return [repo | {"id": repo["id"] + 10**9} for repo in repos]
