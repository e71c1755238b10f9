"""The recorded answers of GitHub's API: the full ones from beside the repository, or the slice that is part of it.

`recorded/README.md` describes the slice, `../shared/github/README.md`, seen from the project's root, the full
recordings. Every function reads its files once and hands out the same objects again: treat them as read-only.
"""

import gzip
import json
from collections import defaultdict
from dataclasses import dataclass
from datetime import date, timedelta
from functools import cache
from pathlib import Path
from typing import Any, TypeAlias

import pytest

Recorded: TypeAlias = list[dict[str, Any]]

FULL = RECORDINGS = Path(__file__).resolve().parents[3] / "shared" / "github"
SLICE = Path(__file__).with_name("recorded")

# For tests of what only the full recordings hold: all 2,204 repositories, all fields, all 64 days.
needs_recordings = pytest.mark.skipif(not FULL.is_dir(), reason=f"no full recordings of GitHub's API at {FULL}")

JENKINSCI, NPM = "jenkinsci-2019-10-26.jsonl.gz", "npm-daily"
SLICED_JENKINSCI, SLICED_NPM = "jenkinsci-2019-10-26.jsonl.gz", "npm-2020-02-11.jsonl.gz"
QUICWG, SLICED_QUICWG = "quicwg", "quicwg-2023-03.jsonl.gz"
NPM_DAYS = [date(2020, 2, 11) + timedelta(days=number) for number in range(10)]
SLICE_FIELDS = (
    *("id", "node_id", "name", "full_name", "private", "owner", "html_url", "description", "fork", "url", "keys_url"),
    *("forks_url", "created_at", "updated_at", "pushed_at", "size", "stargazers_count", "language", "forks_count"),
    *("open_issues_count", "archived", "disabled", "license", "default_branch"),
)


@dataclass(frozen=True)
class Events:
    """Five repositories of quicwg and what happened to them, as GitHub's API of today tells it.

    Attributes:
        repos: The repositories.
        issues: Their issues and pull requests, oldest first.
        activity: Their pushes, oldest first, each with its `repository`.
    """

    repos: Recorded
    issues: Recorded
    activity: Recorded

    def by_repository(self) -> dict[str, Recorded]:
        """The pushes by the repository's full name."""
        pushes: dict[str, Recorded] = defaultdict(list)
        for activity in self.activity:
            pushes[activity["repository"]].append(activity)
        return pushes


@cache
def quicwg() -> Events:
    """Nine years of quicwg, or the slice's March of 2023."""
    return read_quicwg(FULL) if FULL.is_dir() else sliced_quicwg()


@cache
def jenkinsci_pages() -> list[dict[str, Any]]:
    """The 23 pages of `GET /orgs/jenkinsci/repos` of 2019-10-26: request, status, headers and body of each."""
    return _lines(FULL / JENKINSCI)


@cache
def jenkinsci() -> Recorded:
    """All 2,204 repositories of jenkinsci on 2019-10-26, oldest first; of the slice those of the active week."""
    return read_jenkinsci(FULL) if FULL.is_dir() else sliced_jenkinsci()


@cache
def npm_days() -> dict[date, Recorded]:
    """All repositories of the npm organisation as a daily run saw them: 64 days from 2020-01-20, or the slice's ten."""
    return read_npm_days(FULL) if FULL.is_dir() else sliced_npm_days()


@cache
def sliced_jenkinsci() -> Recorded:
    """What the slice has of `jenkinsci`."""
    return _lines(SLICE / SLICED_JENKINSCI)


@cache
def sliced_npm_days() -> dict[date, Recorded]:
    """What the slice has of `npm_days`."""
    listed, *states = _lines(SLICE / SLICED_NPM)
    return {date.fromisoformat(day): [states[number] for number in numbers] for day, numbers in listed.items()}


@cache
def sliced_quicwg() -> Events:
    """What the slice has of `quicwg`."""
    (events,) = _lines(SLICE / SLICED_QUICWG)
    return Events(**events)


def read_quicwg(folder: Path) -> Events:
    """The events of full recordings in this folder."""
    repos = json.loads(gzip.decompress((folder / QUICWG / "repos.json.gz").read_bytes()))
    issues, activity = (_lines(folder / QUICWG / f"{name}.jsonl.gz") for name in ("issues", "activity"))
    return Events(repos, issues, activity)


def read_jenkinsci(folder: Path) -> Recorded:
    """The repositories of full recordings in this folder."""
    return [repo for page in _lines(folder / JENKINSCI) for repo in page["body"]]


def read_npm_days(folder: Path) -> dict[date, Recorded]:
    """The days of full recordings in this folder."""
    return {
        date.fromisoformat(path.name.removesuffix(".json.gz")): json.loads(gzip.decompress(path.read_bytes()))
        for path in sorted((folder / NPM).iterdir())
    }


def _lines(file: Path) -> list[dict[str, Any]]:
    with gzip.open(file, "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]
