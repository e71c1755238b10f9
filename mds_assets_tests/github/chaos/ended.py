"""A run that is over: what GitHub showed it, which faults it met, and how it ended."""

import re
from collections import Counter
from dataclasses import dataclass
from datetime import date
from functools import cached_property
from pathlib import Path
from typing import Any

from mds_assets.stack.partitions import days_between
from mds_assets_tests.github import oracle
from mds_assets_tests.github.chaos.faults import Fault
from mds_assets_tests.github.chaos.schedule import Kill

STAGING = "staging/repos"


@dataclass(frozen=True)
class Ended:
    """A run that is over.

    Attributes:
        name: Of the run.
        number: Of the run in its schedule; it marks the rows that GitHub showed it.
        days: First and last.
        world: What GitHub showed it.
        well: It succeeded, by its exit code.
        killed: It was killed.
        hung: It did not end.
        excused: It met a fault that it need not get over.
        met: All faults that it met.
        kill: How it was to be killed.
        came_to: Its requests, steps and milliseconds.
        printed: Its stdout and stderr.
    """

    name: str
    number: int
    days: tuple[date, date]
    world: list[dict[str, Any]]
    well: bool
    killed: bool
    hung: bool
    excused: bool
    met: list[Fault]
    kill: Kill | None
    came_to: Counter[Kill]
    printed: Path

    @cached_property
    def expected(self) -> dict[date, list[dict[str, Any]]]:
        """What it was to land: on each of its days, and as early rows on those after them that have any."""
        expected: dict[date, list[dict[str, Any]]] = {day: [] for day in days_between(*self.days)}
        for repo in self.world:
            if (day := oracle.active_at(repo).date()) >= self.days[0]:
                expected.setdefault(day, []).append(repo)
        return expected

    def bad(self, day: date) -> set[int]:
        """The repositories of a day that break a rule of staging."""
        return {repo["id"] for repo in self.expected.get(day, []) if _is_bad(repo)}

    @cached_property
    def unpublished(self) -> set[date]:
        """The days whose staging was not as declared, by its own account."""
        days = "|".join(map(str, days_between(*self.days)))
        failures = re.findall(
            rf"{STAGING} is not as declared, and was not published: (.*)", self.printed.read_text(errors="replace")
        )
        return {date.fromisoformat(day) for failure in failures for day in re.findall(rf"({days}): ", failure)}


def _is_bad(repo: dict[str, Any]) -> bool:
    """Whether it breaks the rule of staging that the schedules have GitHub break."""
    return repo["stargazers_count"] < 0
