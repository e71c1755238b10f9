"""Client sessions for tests: against the test server, with a fake clock."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Any

from mds_assets.github.client import GitHub
from mds_assets.github.repository import Json
from mds_assets.github.session import Session
from mds_assets_tests.github.recordings import Events
from mds_assets_tests.github.server import GitHubServer

TOKEN = "ghp_1234567890abcdefSECRET"
MARCH = [date(2023, 3, 1) + timedelta(days=number) for number in range(31)]


@dataclass
class Clock:
    """A clock that only advances when something sleeps."""

    now: float = 0.0
    waits: list[float] = field(default_factory=list[float])

    def sleep(self, seconds: float) -> None:
        """Advance the clock and record the wait."""
        self.waits.append(seconds)
        self.now += seconds

    def monotonic(self) -> float:
        """The current time in seconds."""
        return self.now


def session_with(
    server: GitHubServer, *organisations: str, clock: Clock | None = None, token: str | None = TOKEN, **options: Any
) -> Session:
    """A session that sleeps on a fake clock."""
    clock = clock or Clock()
    github = GitHub(organisations, server.url, token, sleep=clock.sleep, monotonic=clock.monotonic, **options)
    return github.session()


def rows_of(reading: Iterable[list[Json]]) -> list[Json]:
    """All rows of a reading."""
    return [row for rows in reading for row in rows]


def serving(events: Events, **options: Any) -> GitHubServer:
    """A server with the recorded events of quicwg."""
    return GitHubServer({"quicwg": events.repos}, activity=events.by_repository(), issues=events.issues, **options)
