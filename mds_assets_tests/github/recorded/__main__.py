"""Cuts the slice anew from the full recordings: `python -m mds_assets_tests.github.recorded`."""

import gzip
import json
from dataclasses import asdict
from datetime import date, datetime
from typing import Any

from mds_assets_tests.github.oracle import active_at
from mds_assets_tests.github.recordings import (
    FULL,
    NPM_DAYS,
    SLICE,
    SLICE_FIELDS,
    SLICED_JENKINSCI,
    SLICED_NPM,
    SLICED_QUICWG,
    Events,
    Recorded,
    read_jenkinsci,
    read_npm_days,
    read_quicwg,
)

FIRST_JENKINSCI_DAY = date(2019, 10, 19)
_OLDER = 80  # repositories before that day in either order: with them a listing ends where the full one does


def trimmed(repo: dict[str, Any]) -> dict[str, Any]:
    """The fields of a repository that tests need."""
    return {name: repo[name] for name in SLICE_FIELDS}


def week_of_jenkinsci(repos: Recorded) -> Recorded:
    """What was active since the first day, and in both orders what comes after it."""
    kept = {repo["id"] for repo in repos if active_at(repo).date() >= FIRST_JENKINSCI_DAY}
    for field in ("updated_at", "pushed_at"):
        older = [repo for repo in repos if datetime.fromisoformat(repo[field]).date() < FIRST_JENKINSCI_DAY]
        kept |= {repo["id"] for repo in sorted(older, key=lambda repo: str(repo[field]))[-_OLDER:]}
    return [trimmed(repo) for repo in repos if repo["id"] in kept]


def march_of_quicwg(events: Events) -> Events:
    """What was opened, closed, merged or pushed in March of 2023, and each repository's last push before."""
    issues = [item for item in events.issues if any(moment[:7] == "2023-03" for moment in _moments(item))]
    activity = [push for push in events.activity if push["timestamp"][:7] == "2023-03"]
    for repo in events.repos:
        before = [push for push in events.activity if push["repository"] == repo["full_name"]]
        activity += [push for push in before if push["timestamp"] < "2023-03"][-1:]
    dropped = {"assignees", "author_association", "draft", "node_id"}
    trimmed = [{name: value for name, value in item.items() if name not in dropped} for item in issues]
    return Events(events.repos, trimmed, sorted(activity, key=lambda push: (push["timestamp"], push["id"])))


def _moments(item: dict[str, Any]) -> list[str]:
    moments = (item["created_at"], item["closed_at"], (item.get("pull_request") or {}).get("merged_at"))
    return [moment for moment in moments if moment]


def write(name: str, lines: list[Any]) -> None:
    """Write JSON lines; equal ones give equal bytes."""
    text = "".join(json.dumps(line, ensure_ascii=False, separators=(",", ":")) + "\n" for line in lines)
    (SLICE / name).write_bytes(gzip.compress(text.encode(), mtime=0))


if __name__ == "__main__":
    write(SLICED_JENKINSCI, week_of_jenkinsci(read_jenkinsci(FULL)))
    days = {day: repos for day, repos in read_npm_days(FULL).items() if day in NPM_DAYS}
    # Most repositories are as they were the day before: each state once, and each day by the numbers of its states.
    states = list({json.dumps(trimmed(repo)): trimmed(repo) for repos in days.values() for repo in repos}.values())
    numbers = {json.dumps(state): number for number, state in enumerate(states)}
    listed = {str(day): [numbers[json.dumps(trimmed(repo))] for repo in repos] for day, repos in days.items()}
    write(SLICED_NPM, [listed, *states])
    write(SLICED_QUICWG, [asdict(march_of_quicwg(read_quicwg(FULL)))])
