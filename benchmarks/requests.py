"""How many requests a year of history and a day take, by the size of an organisation.

The organisations are samples of the 2,204 repositories of jenkinsci, recorded on 26 October 2019, behind a server on
127.0.0.1 that answers like GitHub: the shares of repositories pushed to, starred and changed are real. Issues and pull
requests are not recorded: those of a busy organisation of that size are assumed, see `ISSUES_A_YEAR`.

    python -m benchmarks.requests
"""

import random
from datetime import UTC, date, datetime, timedelta
from functools import partial
from itertools import count
from typing import Any

from rich import print as show

from mds_assets.github.client import GitHub
from mds_assets.github.session import Session
from mds_assets_tests.github.recordings import jenkinsci
from mds_assets_tests.github.server import GitHubServer

NOW = datetime.now(UTC)
AGE = NOW - datetime(2019, 10, 26, 1, 27, tzinfo=UTC)  # of the recording
SIZES = (50, 500, 5_000)
ISSUES_A_YEAR = 4  # issues, and as many pull requests, for each repository
SECONDS_A_REQUEST = 0.25
AN_HOUR = 5_000  # requests, with a token
TABLES = ("repos", "pushes", "issues", "stars", "inventory")


def organisation(size: int, seed: int = 1) -> list[dict[str, Any]]:
    """A sample of the recorded repositories, each with an id and a name of its own."""
    chosen = random.Random(seed).choices(jenkinsci(), k=size)  # noqa: S311  # a sample, not a secret
    return [
        {name: _as_of_now(value) if name.endswith("_at") else value for name, value in repo.items()}
        | {"id": n, "name": f"repo-{n}", "full_name": f"acme/repo-{n}"}
        for n, repo in enumerate(chosen, 1)
    ]


def _as_of_now(moment: str | None) -> str | None:
    return _text(datetime.fromisoformat(moment) + AGE) if moment else None


def _text(moment: datetime) -> str:
    return f"{moment:%Y-%m-%dT%H:%M:%SZ}"


def issues(size: int, seed: int = 1) -> list[dict[str, Any]]:
    """Issues and merged pull requests, evenly over a year; each is closed after a week."""
    draw = random.Random(seed)  # noqa: S311
    items: list[dict[str, Any]] = []
    for number in range(2 * ISSUES_A_YEAR * size):
        opened = NOW - timedelta(days=372) * draw.random()
        closed = _text(opened + timedelta(days=7))
        item = {"id": number, "number": number, "closed_at": closed, "created_at": _text(opened)}
        item["repository_url"] = "https://api.github.com/repos/acme/repo-1"
        items.append(item | ({"pull_request": {"merged_at": closed}} if number % 2 else {}))
    return items


def requests_of(session: Session, days: list[date]) -> list[int]:
    """The requests of each table."""
    counts = [session.changed(days).crawl.requests]
    for reading in (session.pushes(days), session.issues(days), session.stars(days), session.inventory()):
        for _ in reading:
            pass
        counts.append(reading.requests)
    return counts


def main() -> None:
    """Print a table of requests and minutes."""
    yesterday = NOW.date() - timedelta(days=1)
    for size in SIZES:
        with GitHubServer({"acme": organisation(size)}, issues=issues(size)) as server:
            for days in (365, 1):
                dates = [yesterday - timedelta(days=back) for back in reversed(range(days))]
                # Time passes a minute at a look, so that nothing waits for the pace of searches.
                clock = count(0, 60)
                github = GitHub(["acme"], server.url, "a-token", sleep=lambda _: None, monotonic=partial(next, clock))
                with github.session() as session:
                    counts = requests_of(session, dates)
                core, searches = sum(counts) - counts[2], counts[2]
                minutes = max(sum(counts) * SECONDS_A_REQUEST, searches * 2) / 60 + (core - 1) // AN_HOUR * 60
                show(size, f"{days} days", dict(zip(TABLES, counts, strict=True)), f"{minutes:.0f} minutes")


if __name__ == "__main__":
    main()
