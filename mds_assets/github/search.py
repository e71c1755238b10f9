"""Issues and pull requests opened, closed or merged on some days, from GitHub's search.

A search returns at most 1,000 items, so a range with more is halved until each part fits. Ranges include both
ends and have a resolution of one second; timestamps end in Z, so that no other zone is assumed. Issues and pull
requests need separate searches: with many kinds of tokens GitHub rejects a search for both (422).

https://docs.github.com/en/rest/search/search#search-issues-and-pull-requests
https://docs.github.com/en/search-github/getting-started-with-searching-on-github/understanding-the-search-syntax
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict

from mds_assets.github.budget import Budget
from mds_assets.github.errors import GitHubError, TransientError
from mds_assets.github.pages import pages
from mds_assets.github.reading import Reading
from mds_assets.github.repository import Json, Moment, Number
from mds_assets.github.rows import event_row, parse_object, require_list

if TYPE_CHECKING:
    from mds_assets.github.connection import Connection, Response

MAX_ITEMS = 1_000  # per search, however many match
_MAX_SEARCHES = 10_000  # per event and organisation: five hours at 30 a minute
_ATTEMPTS = 3  # if a search returns fewer items than its total_count


class PullRequest(BaseModel):
    """The part of an item that only pull requests have."""

    model_config = ConfigDict(strict=True)

    merged_at: Moment | None = None


class Item(BaseModel):
    """The fields of an issue or pull request that its rows depend on."""

    model_config = ConfigDict(strict=True)

    id: Number
    number: Number
    repository_url: str
    created_at: Moment
    updated_at: Moment | None = None
    closed_at: Moment | None = None
    pull_request: PullRequest | None = None


class SearchResult(BaseModel):
    """The fields of a search response other than its items."""

    model_config = ConfigDict(strict=True)

    total_count: Number
    incomplete_results: bool


@dataclass(frozen=True)
class EventQuery:
    """A search for one event of one kind of item.

    Attributes:
        event: What happened: `opened`, `closed` or `merged`.
        kind: The search qualifier for the kind: `is:issue` or `is:pr`.
        qualifier: The search qualifier for the event's time.
        moment: Gets that time from an item; None if the event has not happened.
    """

    event: str
    kind: str
    qualifier: str
    moment: Callable[[Item], datetime | None]

    def text(self, account: str, first: int, last: int) -> str:
        """The search text for a range of Unix seconds, both ends included."""
        return f"{account} {self.kind} {self.qualifier}:{_timestamp(first)}..{_timestamp(last)}"


def _merged_at(item: Item) -> datetime | None:
    return item.pull_request.merged_at if item.pull_request else None


QUERIES = (
    EventQuery("opened", "is:issue", "created", lambda item: item.created_at),
    EventQuery("opened", "is:pr", "created", lambda item: item.created_at),
    EventQuery("closed", "is:issue", "closed", lambda item: item.closed_at),
    EventQuery("closed", "is:pr", "closed", lambda item: item.closed_at),
    EventQuery("merged", "is:pr", "merged", _merged_at),
)


class Issues(Reading):
    """Issues and pull requests opened, closed or merged on the days: one row per item and event.

    A row is GitHub's item with `created_at`, `updated_at` and `closed_at` as UTC datetimes, plus `org`, `observed_at`,
    `event` (`opened`, `closed` or `merged`; a merged pull request is also closed), `event_at` (UTC), `repo_name` and
    `repo_full_name`. Pull requests are the rows that have `pull_request`. For an item closed more than once, GitHub
    only knows the last time.
    """

    table = "issues"

    def budget(self) -> Budget:
        """The fewest requests that iterating needs. Searches have their own per-minute limit."""
        return Budget(self.table, self._least_requests(), per_minute=self._connection.searches.per_minute)

    def _least_requests(self) -> int:
        return len(QUERIES) * len(self._searchable())

    def _rows_of(self, organisation: str) -> Iterator[list[Json]]:
        if organisation not in self._searchable():
            return
        first, last = int(self._start.timestamp()), int(self._end.timestamp()) - 1
        for query in QUERIES:
            search = _Search(
                self._connection, self.session.github.api_url, organisation, self._account(organisation), query
            )
            for items in split_until_complete(search.items, first, last):
                yield [self._row(organisation, query, item, source) for item, source in items]
            for warning in search.warnings:
                self._warn(warning)

    def _searchable(self) -> list[str]:
        """The organisations with repositories: GitHub rejects a search of one without any."""
        self.session.changed(self.days, self.log)
        session = self.session
        return [
            each for each in session.github.organisations if session.listed.get(each) and each not in session.refused
        ]

    def _account(self, organisation: str) -> str:
        is_user = self.session.kinds.get(organisation) == "users"
        return f"user:{organisation}" if is_user else f"org:{organisation}"

    def _row(self, organisation: str, query: EventQuery, item: Item, source: Json) -> Json:
        owner, name = item.repository_url.split("/")[-2:]
        facts = {
            "org": organisation,
            "repo_name": name,
            "repo_full_name": f"{owner}/{name}",
            "event": query.event,
            "event_at": query.moment(item),
            "observed_at": self.observed_at,
        }
        moments = {"created_at": item.created_at, "updated_at": item.updated_at, "closed_at": item.closed_at}
        return {**event_row(source, facts), **moments}


@dataclass
class _Search:
    """One query for one organisation.

    Attributes:
        account: The search qualifier for the organisation or user.
        warnings: Anomalies that are not errors.
        searches: How many ranges were searched so far.
        most: The most ranges to search, from the first total: halving ranges takes fewer, however the items lie.
    """

    connection: "Connection"
    api_url: str
    organisation: str
    account: str
    query: EventQuery
    warnings: list[str] = field(default_factory=list[str])
    searches: int = 0
    most: int = 0

    def items(self, first: int, last: int) -> list[tuple[Item, Json]] | None:
        """The items in a range of seconds, both ends included; None if there are more than a search returns.

        Raises:
            GitHubError: There are more than that in a single second, or the totals don't add up.
        """
        text = self.query.text(self.account, first, last)
        matches: dict[int, tuple[Item, Json]] = {}
        total = 0
        for _ in range(_ATTEMPTS):
            response = self._first_page(text)
            total = self._total(response)
            self._require_end(text, total)
            if total > MAX_ITEMS:
                self._require_splittable(first, last, total)
                return None
            matches = {item.id: (item, source) for item, source in self._read(response)}
            if len(matches) >= total:
                break
        else:
            self._warn(f"the search {text!r} returned {len(matches)} of {total} items, {_ATTEMPTS} times")
        current = [(item, source) for item, source in matches.values() if self._is_within(item, first, last)]
        if len(current) < len(matches):
            outdated = len(matches) - len(current)
            self._warn(
                f"left out {outdated} results of the search {text!r}: they no longer match it (reopened, perhaps)"
            )
        return current

    def _first_page(self, text: str) -> "Response":
        # Sorted by creation time, which never changes, so items keep their places while the pages are read.
        parameters = {"q": text, "sort": "created", "order": "asc", "per_page": "100"}
        return self.connection.get(self.organisation, f"{self.api_url}/search/issues", parameters, _reject_incomplete)

    def _read(self, first: "Response") -> Iterator[tuple[Item, Json]]:
        for response in pages(self.connection, self.organisation, first, _reject_incomplete):
            self._total(response)  # validates the page
            for source in require_list(response.body.get("items"), self.organisation, response.url, "issues"):
                yield parse_object(Item, source, self.organisation, "issue"), source

    def _total(self, response: "Response") -> int:
        return parse_object(SearchResult, response.body, self.organisation, "search result").total_count

    def _is_within(self, item: Item, first: int, last: int) -> bool:
        moment = self.query.moment(item)
        return moment is not None and first <= moment.timestamp() < last + 1

    def _require_end(self, text: str, total: int) -> None:
        """At each of 32 levels of halving, no more ranges are split than hold over 1,000 of the items."""
        self.most = self.most or min(100 + total // 5, _MAX_SEARCHES)
        self.searches += 1
        if self.searches > self.most:
            raise GitHubError(
                f"GITHUB_ORG {self.organisation!r}: the search {text!r} and those before it don't end: {self.most:,} "
                f"ranges were searched, and the last still has {total:,} items. Nothing was landed. Check "
                "GITHUB_API_URL and any proxy; run fewer days at once."
            )

    def _require_splittable(self, first: int, last: int, total: int) -> None:
        if first == last:
            raise GitHubError(
                f"GITHUB_ORG {self.organisation!r}: {total} items were {self.query.event} in the single second "
                f"{_timestamp(first)}, but a search returns at most {MAX_ITEMS}. Nothing was landed. Leave this day "
                "out."
            )

    def _warn(self, warning: str) -> None:
        self.warnings.append(f"GITHUB_ORG {self.organisation!r}: {warning}.")


def split_until_complete(items: Callable[[int, int], list[Any] | None], first: int, last: int) -> Iterator[list[Any]]:
    """Everything in a range of seconds, both ends included. Where `items` returns None, the range is halved."""
    batch = items(first, last)
    if batch is not None:
        yield batch
        return
    middle = (first + last) // 2
    yield from split_until_complete(items, first, middle)
    yield from split_until_complete(items, middle + 1, last)


def _reject_incomplete(response: "Response") -> None:
    if isinstance(response.body, dict) and response.body.get("incomplete_results") is True:
        raise TransientError("answered 200 with incomplete_results: the search timed out at GitHub")


def _timestamp(second: int) -> str:
    return datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
