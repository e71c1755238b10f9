"""The sample's search for issues and pull requests: which match a query, and how GitHub shows them.

Qualifiers: `org:` or `user:`, `repo:`, `is:issue` or `is:pr`, `is:open` or `is:closed`, and `created:`, `closed:` or
`merged:` with a range of moments in UTC, both ends included. Any other is ignored.

`GET /search/issues`: https://docs.github.com/en/rest/search/search#search-issues-and-pull-requests
"""

import re
from collections.abc import Iterator
from datetime import datetime
from functools import lru_cache
from typing import NamedTuple

from mds_assets.github.sample import people, wording
from mds_assets.github.sample.draws import DAY, draw, timestamp
from mds_assets.github.sample.issues import LONGEST_LIFE, Item, items
from mds_assets.github.sample.repositories import SAMPLE_API_URL, SAMPLE_ORG, Repository, repositories

MOST_ITEMS = 1_000
"""GitHub shows no more of a search's items, however many match."""

FIRST_ID = 7_000_000_000
_IDS_A_REPOSITORY = 1_000_000
_QUALIFIER = re.compile(r"(\w+):(\S+)")
_RANGE = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ)\.\.(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ)")


class SearchError(ValueError):
    """GitHub refuses the query with status 422 and this message."""


class Query(NamedTuple):
    """What is searched for: `event` is `created`, `closed` or `merged`, from `first` to `last`, both included."""

    is_pull: bool
    event: str
    first: int
    last: int
    repository: str | None
    state: str | None


def parsed(text: str, moment: int) -> Query:
    """The query `q` of a search at a moment.

    Raises:
        SearchError: It names neither issues nor pull requests, an unknown account, or a range that is none.
    """
    qualifiers = _qualifiers(text)
    kinds = {"issue", "pr", "pull-request"} & qualifiers.get("is", set())
    if len(kinds) != 1:
        raise SearchError("Query must include 'is:issue' or 'is:pull-request'")
    accounts = qualifiers.get("org", set[str]()) | qualifiers.get("user", set())
    repository = next(iter(qualifiers.get("repo", ())), None)
    accounts |= {repository.split("/")[0]} if repository else set()
    if {account.lower() for account in accounts} != {SAMPLE_ORG}:
        raise SearchError("The listed users and repositories cannot be searched: they do not exist or are not visible.")
    event = next((name for name in ("created", "closed", "merged") if name in qualifiers), "created")
    first, last = 0, moment
    if event in qualifiers:
        written = next(iter(qualifiers[event]))
        found = _RANGE.fullmatch(written)
        if not found:
            raise SearchError(f"{written} is no range of moments in UTC")
        first, last = (int(datetime.fromisoformat(end).timestamp()) for end in found.groups())
    state = next(iter({"open", "closed"} & qualifiers.get("is", set())), None)
    return Query(kinds != {"issue"}, event, first, last, repository and repository.split("/")[-1].lower(), state)


def found(query: Query, moment: int) -> tuple[Item, ...]:
    """All items that match at a moment, in order of creation."""
    return _found(query._replace(last=min(query.last, moment)), moment if query.state or query.repository else 0)


def as_github(item: Item, moment: int) -> dict[str, object]:
    """The item as GitHub shows it in a search at a moment, without the URLs that follow from `url`; times in UTC.

    Null as on GitHub: body, closed_at, state_reason, milestone, assignee, active_lock_reason.
    """
    repository, number = item.repository, item.number
    key = (repository.id, number)
    name = f"{SAMPLE_ORG}/{repository.name_at(moment)}"
    closed = item.closed if item.closed is not None and item.closed <= moment else None
    url = f"{SAMPLE_API_URL}/repos/{name}/issues/{number}"
    path = "pull" if item.is_pull else "issues"
    comments = [at for at in _comments(item) if at <= moment]
    row: dict[str, object] = {
        "id": FIRST_ID + repository.nth * _IDS_A_REPOSITORY + number,
        "node_id": f"{'PR' if item.is_pull else 'I'}_synthetic_{repository.nth}_{number}",
        "number": number,
        "title": wording.title(item),
        "user": people.as_github(item.author),
        "labels": wording.labels(item),
        "state": "open" if closed is None else "closed",
        "state_reason": None if closed is None or item.is_pull else wording.reason(item),
        "locked": False,
        "active_lock_reason": None,
        "assignee": None,
        "assignees": [],
        "milestone": None,
        "comments": len(comments),
        "created_at": timestamp(item.created),
        "updated_at": timestamp(max([item.created, *comments, closed or 0])),
        "closed_at": None if closed is None else timestamp(closed),
        "author_association": _association(item),
        "body": f"{wording.body(item)} (synthetic)" if draw(*key, "body") > 0.1 else None,
        "url": url,
        "repository_url": f"{SAMPLE_API_URL}/repos/{name}",
        "labels_url": f"{url}/labels{{/name}}",
        "comments_url": f"{url}/comments",
        "events_url": f"{url}/events",
        "html_url": f"{SAMPLE_API_URL}/{name}/{path}/{number}",
        "score": 1.0,
    }
    if item.is_pull:
        html_url = f"{SAMPLE_API_URL}/{name}/pull/{number}"
        row["draft"] = not item.is_merged and draw(*key, "draft") < 0.3
        row["pull_request"] = {
            "url": f"{SAMPLE_API_URL}/repos/{name}/pulls/{number}",
            "html_url": html_url,
            "diff_url": f"{html_url}.diff",
            "patch_url": f"{html_url}.patch",
            "merged_at": timestamp(closed) if item.is_merged and closed is not None else None,
        }
    return row


def _qualifiers(text: str) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for name, value in _QUALIFIER.findall(text):
        found.setdefault(name, set()).add(value)
    return found


@lru_cache(maxsize=16)  # every page of a search, and the next one's
def _found(query: Query, moment: int) -> tuple[Item, ...]:
    searched = [each for each in repositories() if query.repository in (None, each.name_at(moment).lower())]
    matching = [item for repository in searched for item in _opened(repository, query) if _matches(item, query, moment)]
    matching.sort(key=lambda item: (item.created, item.repository.nth, item.number))
    return tuple(matching)


def _opened(repository: Repository, query: Query) -> Iterator[Item]:
    """Those that may match: opened within the range, or so long before it as an item that is closed may live."""
    since = query.first if query.event == "created" else query.first - (LONGEST_LIFE + 1) * DAY
    return items(repository, since, query.last) if repository.created <= query.last else iter(())


def _matches(item: Item, query: Query, moment: int) -> bool:
    if item.is_pull != query.is_pull or (query.state and item.is_open(moment) != (query.state == "open")):
        return False
    if query.event == "created":
        return True
    return (
        item.closed is not None
        and query.first <= item.closed <= query.last
        and (query.event == "closed" or item.is_merged)
    )


def _comments(item: Item) -> list[int]:
    """When someone commented: at even distances while it was open, for half a year at most."""
    number = int(8 * draw(item.repository.id, item.number, "comments") ** 2)
    end = item.created + LONGEST_LIFE * DAY if item.closed is None else item.closed
    return [item.created + (end - item.created) * nth // (number + 1) for nth in range(1, number + 1)]


def _association(item: Item) -> str:
    """Members have been there for a quarter; a bot is none."""
    if item.author.is_bot:
        return "NONE"
    return "MEMBER" if item.created // DAY >= item.author.joined + 91 else "CONTRIBUTOR"
