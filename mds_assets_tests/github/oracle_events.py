"""What the tables of pushes, issues, stars and the inventory must hold, computed a second time in plain Python.

Written from the tables' specification and descriptions, with loops and dictionaries instead of frames, as `oracle.py`
is for the repositories' tables. Times are UTC.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from fractions import Fraction
from statistics import median
from typing import Any, NamedTuple

PUSHES = ("push", "force_push", "pr_merge", "merge_queue_merge")  # branches that are created or deleted are none
MERGES = ("pr_merge", "merge_queue_merge")

Json = dict[str, Any]


@dataclass(frozen=True)
class Observation:
    """Something of a repository as one crawl saw it: a row of raw.

    Attributes:
        org: The organisation, as GITHUB_ORG names it.
        observed_at: When the crawl began.
        item: GitHub's JSON object: an activity, an issue, a repository.
        repo: The repository as GitHub lists it.
        event: For an issue: `opened`, `closed` or `merged`.
    """

    org: str
    observed_at: datetime
    item: Json
    repo: Json = field(default_factory=dict[str, Any])
    event: str = ""


class Push(NamedTuple):
    """A row of `staging/pushes`, in the order of its columns."""

    org: str
    push_id: int
    repo_id: int
    repo_name: str
    visibility: str | None
    pushed_at: datetime
    kind: str
    ref: str | None
    is_default_branch: bool | None
    actor: str | None
    is_bot: bool
    observed_at: datetime


class Issue(NamedTuple):
    """A row of `staging/issues`, in the order of its columns."""

    org: str
    repo_name: str
    repo_full_name: str
    number: int
    event: str
    event_at: datetime
    issue_id: int
    title: str
    author: str | None
    is_bot: bool
    is_pull_request: bool
    created_at: datetime
    closed_at: datetime | None
    merged_at: datetime | None
    comments: int | None
    labels: list[str]
    observed_at: datetime


class Listed(NamedTuple):
    """What `marts/organisation` needs of a row of `staging/inventory`."""

    org: str
    repo_id: int
    created_at: datetime
    is_archived: bool
    stars: int
    forks: int
    open_issues: int


class Active(NamedTuple):
    """A repository that was active on a day."""

    org: str
    repo_id: int


class Stars(NamedTuple):
    """Stars that a repository gained on a day."""

    org: str
    repo_id: int
    gained: int


@dataclass(frozen=True)
class Days:
    """Staging by day."""

    pushes: dict[date, list[Push]] = field(default_factory=dict[date, list[Push]])
    issues: dict[date, list[Issue]] = field(default_factory=dict[date, list[Issue]])
    inventory: dict[date, list[Listed]] = field(default_factory=dict[date, list[Listed]])
    repos: dict[date, list[Active]] = field(default_factory=dict[date, list[Active]])
    stars: dict[date, list[Stars]] = field(default_factory=dict[date, list[Stars]])

    @property
    def tables(self) -> list[dict[date, list[Any]]]:
        """The tables, in the order of the attributes."""
        return [self.pushes, self.issues, self.inventory, self.repos, self.stars]


# Staging


def staged_pushes(observations: Iterable[Observation]) -> dict[date, list[Push]]:
    """Each push once, on the date of its own time, as its newest observation describes it.

    Args:
        observations: Raw in the order of the loads. Of two with one time, the later load is the newer one.
    """
    newest: dict[tuple[str, int], Observation] = {}
    for observation in observations:
        if not observation.repo.get("name"):
            continue
        key = observation.org, observation.item["id"]
        if key not in newest or observation.observed_at >= newest[key].observed_at:
            newest[key] = observation
    days: dict[date, list[Push]] = defaultdict(list)
    for observation in newest.values():
        push = _push(observation)
        days[push.pushed_at.date()].append(push)
    return dict(days)


def staged_issues(observations: Iterable[Observation]) -> dict[date, list[Issue]]:
    """Each event of an issue or pull request once a day, as its newest observation describes it.

    Args:
        observations: Raw in the order of the loads. Of two with one time, the later load is the newer one.
    """
    newest: dict[tuple[date, str, int, str], Observation] = {}
    for observation in observations:
        happened = event_times(observation.item)[observation.event]
        key = happened.date(), observation.org, observation.item["id"], observation.event
        if key not in newest or observation.observed_at >= newest[key].observed_at:
            newest[key] = observation
    days: dict[date, list[Issue]] = defaultdict(list)
    for (day, *_), observation in newest.items():
        days[day].append(_issue(observation))
    return dict(days)


def observed_issues(
    items: Iterable[Json], org: str, observed_at: datetime, days: Collection[date]
) -> list[Observation]:
    """What a crawl of these days lands of these issues and pull requests."""
    return [
        Observation(org, observed_at, item, event=event)
        for item in items
        for event, happened in event_times(item).items()
        if happened.date() in days
    ]


def event_times(item: Json) -> dict[str, datetime]:
    """When an issue or pull request was opened, closed and merged, as far as it was."""
    times = {
        "opened": item["created_at"],
        "closed": item.get("closed_at"),
        "merged": (item.get("pull_request") or {}).get("merged_at"),
    }
    return {event: datetime.fromisoformat(time) for event, time in times.items() if time}


def is_bot(account: Json | None) -> bool:
    """Whether an account is a bot's; a deleted account is nobody's."""
    return account is not None and (account.get("type") == "Bot" or (account.get("login") or "").endswith("[bot]"))


# Marts


def push_activity(
    pushes: dict[date, list[Push]], as_of: date, lookback_days: int, landed: Collection[date]
) -> list[tuple[str, date, *tuple[int | None, ...], float | None, int]]:
    """The rows of `marts/push_activity` on the day `as_of`.

    Args:
        pushes: Staging.
        as_of: The as-of day.
        lookback_days: Days in the window.
        landed: The days that were landed, with rows or without.

    Returns:
        org, push_date, pushes, force_pushes, merges, repositories, people, bot_pushes, pushes_7d_avg, days_averaged.
    """
    window = _window(as_of, lookback_days)
    table: list[tuple[str, date, *tuple[int | None, ...], float | None, int]] = []
    for org in sorted({push.org for day in window for push in _of(pushes, day)}):
        for day in window:
            rows = [push for push in _of(pushes, day) if push.org == org]
            week = [sum(push.org == org for push in _of(pushes, other)) for other in _window(day, 7) if other in landed]
            counts = (
                len(rows),
                sum(push.kind == "force_push" for push in rows),
                sum(push.kind in MERGES for push in rows),
                len({push.repo_id for push in rows}),
                len({push.actor for push in rows if push.actor is not None and not push.is_bot}),
                sum(push.is_bot for push in rows),
            )
            mean = float(round(Fraction(sum(week), len(week)), 2)) if week else None
            table.append((org, day, *_known(counts, rows, day in landed), mean, len(week)))
    return table


def issue_flow(
    issues: dict[date, list[Issue]], as_of: date, lookback_days: int, landed: Collection[date]
) -> list[tuple[str, date, *tuple[int | None, ...], float | None, float | None]]:
    """The rows of `marts/issue_flow` on the day `as_of`.

    Args:
        issues: Staging.
        as_of: The as-of day.
        lookback_days: Days in the window.
        landed: The days that were landed, with rows or without.

    Returns:
        org, event_date, issues_opened, issues_closed, pull_requests_opened, pull_requests_merged,
        pull_requests_closed, hours_to_merge, hours_to_close.
    """
    window = _window(as_of, lookback_days)
    table: list[tuple[str, date, *tuple[int | None, ...], float | None, float | None]] = []
    for org in sorted({issue.org for day in window for issue in issues.get(day, [])}):
        for day in window:
            rows = [issue for issue in issues.get(day, []) if issue.org == org]
            closed = [row for row in rows if row.event == "closed" and not row.is_pull_request]
            merged = [row for row in rows if row.event == "merged"]
            unmerged = [row for row in rows if row.event == "closed" and row.is_pull_request and row.merged_at is None]
            counts = (
                sum(row.event == "opened" and not row.is_pull_request for row in rows),
                len(closed),
                sum(row.event == "opened" and row.is_pull_request for row in rows),
                len(merged),
                len(unmerged),
            )
            known = _known(counts, rows, day in landed)
            table.append((org, day, *known, median_hours(merged), median_hours(closed)))
    return table


def _known(counts: tuple[int, ...], rows: Collection[Any], is_landed: bool) -> tuple[int | None, ...]:
    """The counts of a date; on one that was never landed, what nobody has seen is not 0."""
    return counts if rows or is_landed else (None,) * len(counts)


def contributors(
    days: Days, as_of: date, lookback_days: int
) -> list[tuple[str, str, bool, int, int, int, date, bool | None]]:
    """The rows of `marts/contributors` on the day `as_of`, in any order.

    Args:
        days: Staging of every day that the lake has, also of days after `as_of`.
        as_of: The as-of day.
        lookback_days: Days in the window.

    Returns:
        org, person, is_bot, pushes, pull_requests_opened, pull_requests_merged, first_seen, is_new.
    """
    # A deleted account is nobody, but its traces show that the lake reaches back to their day.
    first_seen: dict[tuple[str, str | None], date] = {}
    for day, org, person in _appearances(days):
        first_seen[org, person] = min(day, first_seen.get((org, person), day))
    beginning = {org: min(day for (other, _), day in first_seen.items() if other == org) for org, _ in first_seen}
    window = _window(as_of, lookback_days)
    counts: dict[tuple[str, str], list[int]] = defaultdict(lambda: [0, 0, 0])
    bots: set[tuple[str, str]] = set()
    for day in window:
        for push in _of(days.pushes, day):
            if push.actor is not None:
                counts[push.org, push.actor][0] += 1
                bots |= {(push.org, push.actor)} if push.is_bot else set()
        for issue in days.issues.get(day, []):
            if issue.author is not None and issue.is_pull_request and issue.event in ("opened", "merged"):
                counts[issue.org, issue.author][1 if issue.event == "opened" else 2] += 1
                bots |= {(issue.org, issue.author)} if issue.is_bot else set()
    table: list[tuple[str, str, bool, int, int, int, date, bool | None]] = []
    for (org, person), (pushes, opened, merged) in counts.items():
        first = first_seen[org, person]
        is_new = first >= window[0] if beginning[org] < window[0] else None
        table.append((org, person, (org, person) in bots, pushes, opened, merged, first, is_new))
    return table


def organisation(days: Days, as_of: date, lookback_days: int) -> list[tuple[str, *tuple[int | None, ...]]]:
    """The rows of `marts/organisation` on the day `as_of`.

    Returns:
        org, repositories, new_repositories, archived_repositories, gone_repositories, stars, stars_gained, forks,
        open_issues, active_repositories, people.
    """
    window = _window(as_of, lookback_days)
    every = {row.org for table in days.tables for day in window for row in table.get(day, [])}
    people = [(org, person) for org, person, is_bot, *_ in contributors(days, as_of, lookback_days) if not is_bot]
    table: list[tuple[str, *tuple[int | None, ...]]] = []
    for org in sorted(every):
        listed = [row for row in days.inventory.get(as_of, []) if row.org == org]
        ids = {row.repo_id for row in listed}
        before = {row.repo_id for day in window for row in days.inventory.get(day, []) if row.org == org}
        active = {row.repo_id for day in window for row in days.repos.get(day, []) if row.org == org}
        gained = sum(row.gained for day in window for row in days.stars.get(day, []) if row.org == org)
        inventory: list[int | None] = [None] * 7
        if listed:
            inventory = [
                len(listed),
                sum(row.created_at.date() in window for row in listed),
                sum(row.is_archived for row in listed),
                len(before - ids),
                sum(row.stars for row in listed),
                sum(row.forks for row in listed),
                sum(row.open_issues for row in listed),
            ]
        of_org = sum(other == org for other, _ in people)
        table.append((org, *inventory[:5], gained, *inventory[5:], len(active), of_org))
    return table


def median_hours(rows: Iterable[Issue]) -> float | None:
    """The median of the hours from opened to the event, exact until it is rounded to 1 decimal; ties to even."""
    hours = [Fraction((row.event_at - row.created_at) // timedelta(seconds=1), 3600) for row in rows]
    return float(round(median(hours), 1)) if hours else None


def _window(as_of: date, days: int) -> list[date]:
    return [as_of - timedelta(days=back) for back in reversed(range(days))]


def _of(pushes: dict[date, list[Push]], day: date) -> list[Push]:
    """The pushes of a day, without branches created and deleted."""
    return [push for push in pushes.get(day, []) if push.kind in PUSHES]


def _appearances(days: Days) -> Iterator[tuple[date, str, str | None]]:
    """Every day on which somebody is in the lake."""
    for day, pushes in days.pushes.items():
        yield from ((day, push.org, push.actor) for push in pushes)
    for day, issues in days.issues.items():
        yield from ((day, issue.org, issue.author) for issue in issues)


def _push(observation: Observation) -> Push:
    item, repo = observation.item, observation.repo
    branch, ref, actor = repo.get("default_branch"), item.get("ref"), item.get("actor")
    return Push(
        org=observation.org,
        push_id=item["id"],
        repo_id=repo["id"],
        repo_name=repo["name"],
        visibility=repo.get("visibility"),
        pushed_at=datetime.fromisoformat(item["timestamp"]),
        kind=item.get("activity_type") or "unknown",
        ref=ref,
        is_default_branch=None if ref is None or branch is None else ref == f"refs/heads/{branch}",
        actor=actor["login"] if actor else None,
        is_bot=is_bot(actor),
        observed_at=observation.observed_at,
    )


def _issue(observation: Observation) -> Issue:
    item, times = observation.item, event_times(observation.item)
    owner, name = item["repository_url"].split("/")[-2:]
    user = item.get("user")
    return Issue(
        org=observation.org,
        repo_name=name,
        repo_full_name=f"{owner}/{name}",
        number=item["number"],
        event=observation.event,
        event_at=times[observation.event],
        issue_id=item["id"],
        title=item.get("title") or "",
        author=user["login"] if user else None,
        is_bot=is_bot(user),
        is_pull_request=item.get("pull_request") is not None,
        created_at=times["opened"],
        closed_at=times.get("closed"),
        merged_at=times.get("merged"),
        comments=item.get("comments"),
        labels=[label["name"] for label in item.get("labels") or []],
        observed_at=observation.observed_at,
    )
