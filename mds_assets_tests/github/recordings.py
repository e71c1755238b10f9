"""The recorded answers of GitHub's API, read from beside the repository.

They are described in `../shared/github/README.md`, seen from the project's root, and are never copied into the project.
Every function reads its files once and hands out the same objects again: treat them as read-only.
"""

import gzip
import json
from datetime import date
from functools import cache
from pathlib import Path
from typing import Any

import pytest

RECORDINGS = Path(__file__).resolve().parents[3] / "shared" / "github"

needs_recordings = pytest.mark.skipif(not RECORDINGS.is_dir(), reason=f"no recordings of GitHub's API at {RECORDINGS}")


@cache
def jenkinsci_pages() -> list[dict[str, Any]]:
    """The 23 pages of `GET /orgs/jenkinsci/repos` of 2019-10-26: request, status, headers and body of each."""
    with gzip.open(RECORDINGS / "jenkinsci-2019-10-26.jsonl.gz", "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


@cache
def jenkinsci() -> list[dict[str, Any]]:
    """All 2,204 repositories of jenkinsci on 2019-10-26, oldest first."""
    return [repo for page in jenkinsci_pages() for repo in page["body"]]


@cache
def npm_days() -> dict[date, list[dict[str, Any]]]:
    """All repositories of the npm organisation as a daily run saw them, for 64 days from 2020-01-20 to 2020-03-24."""
    return {
        date.fromisoformat(path.name.removesuffix(".json.gz")): json.loads(gzip.decompress(path.read_bytes()))
        for path in sorted((RECORDINGS / "npm-daily").iterdir())
    }
