"""The sample's activities: pushes as GitHub shows them, a page at a time, newest first.

`GET /repos/{owner}/{repo}/activity`: https://docs.github.com/en/rest/repos/repos#list-repository-activities
"""

import hashlib
from itertools import islice

from mds_assets.github.sample import people
from mds_assets.github.sample.draws import DAY, SEED, pick, timestamp
from mds_assets.github.sample.pushes import Push, pushes
from mds_assets.github.sample.repositories import Repository

PERIODS = {"day": 1, "week": 7, "month": 28, "quarter": 89, "year": 365}
"""The values of `time_period`, in days: as few as GitHub may count."""

NOTHING = "0" * 40  # the commit before a branch's first
BRANCHES = ("fix", "feature", "docs", "refactor", "try")
_IDS_A_SECOND = 1_000  # more than there are repositories


def page(
    repository: Repository, moment: int, size: int, period: str | None, cursor: str | None
) -> tuple[list[dict[str, object]], str | None]:
    """A page of the activities until a moment, and the cursor of the next page; None: this is the last.

    A cursor is the number of a page's last activity. It leads to the same activities however many are added.
    """
    since = moment - PERIODS[period] * DAY if period in PERIODS else 0
    until = min(moment, _second_of(cursor) - 1) if cursor else moment
    walk = pushes(repository, until)
    taken = list(islice(walk, size + 1))
    listed = [push for push in taken if push.at >= since]
    shown = listed[:size]
    heads = [push.at for push in taken if push.is_on_main]
    heads += [push.at for push in islice((push for push in walk if push.is_on_main), 1)]
    following = f"{_number(repository, shown[-1]):x}" if len(listed) > size else None
    return [_as_github(repository, push, _before(repository, push, heads)) for push in shown], following


def _before(repository: Repository, push: Push, heads: list[int]) -> str:
    """The commit that the branch pointed to: on `main` that of the push before."""
    if not push.is_on_main:
        return _commit(repository, "before", push.at)
    return next((_commit(repository, "after", at) for at in heads if at < push.at), NOTHING)


def _as_github(repository: Repository, push: Push, before: str) -> dict[str, object]:
    number = _number(repository, push)
    kind = "dependencies" if push.actor.is_bot else pick(BRANCHES, number, "branch")
    branch = "main" if push.is_on_main else f"{kind}/{pick(people.NOUNS, number, 'noun')}-{number % 1_000}"
    return {
        "id": number,
        "node_id": f"PSH_synthetic_{number}",
        "before": before,
        "after": _commit(repository, "after", push.at),
        "ref": f"refs/heads/{branch}",
        "timestamp": timestamp(push.at),
        "activity_type": push.kind,
        "actor": people.as_github(push.actor),
    }


def _number(repository: Repository, push: Push) -> int:
    """Unique in the organisation, and rising: a repository has at most one push a second."""
    return push.at * _IDS_A_SECOND + repository.nth


def _second_of(cursor: str) -> int:
    return int(cursor, 16) // _IDS_A_SECOND


def _commit(repository: Repository, *key: object) -> str:
    return hashlib.blake2b(repr((SEED, repository.id, *key)).encode(), digest_size=20).hexdigest()
