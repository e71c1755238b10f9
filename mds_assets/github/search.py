"""Issues and pull requests that were opened, closed or merged, by GitHub's search.

A search gives at most 1,000 items, so a range with more is halved until its parts have fewer. GitHub counts both ends
of a range in, and knows moments to the second; each is written with Z, so that it cannot mean another zone. Issues and
pull requests are searched apart: with many kinds of tokens GitHub refuses a search for both (422).

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
from mds_assets.github.rows import event_row, objects_of, parsed

if TYPE_CHECKING:
    from mds_assets.github.connection import Connection, Response

MOST_ITEMS = 1_000  # of a search, however many match
_ATTEMPTS = 3  # at a search whose pages hold fewer items than it counts


class PullRequest(BaseModel):
    """What makes an item a pull request."""

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


class Found(BaseModel):
    """What a search says beside its items."""

    model_config = ConfigDict(strict=True)

    total_count: Number
    incomplete_results: bool


@dataclass(frozen=True)
class Question:
    """An event to search for: items of a kind, by the moment at which it happened to them."""

    event: str
    kind: str
    qualifier: str
    moment: Callable[[Item], datetime | None]

    def query(self, account: str, first: int, last: int) -> str:
        """The search for those from one second to another, seconds since 1970, both included."""
        return f"{account} {self.kind} {self.qualifier}:{_timestamp(first)}..{_timestamp(last)}"


def _merged_at(item: Item) -> datetime | None:
    return item.pull_request.merged_at if item.pull_request else None


QUESTIONS = (
    Question("opened", "is:issue", "created", lambda item: item.created_at),
    Question("opened", "is:pr", "created", lambda item: item.created_at),
    Question("closed", "is:issue", "closed", lambda item: item.closed_at),
    Question("closed", "is:pr", "closed", lambda item: item.closed_at),
    Question("merged", "is:pr", "merged", _merged_at),
)


class Issues(Reading):
    """What happened to issues and pull requests on the days: one row for each event of each.

    A row is GitHub's item with `created_at`, `updated_at` and `closed_at` as moments in UTC, plus `org`, `observed_at`,
    `event` (`opened`, `closed` or `merged`; a merged pull request is closed as well), `event_at` (UTC), `repo_name` and
    `repo_full_name`. It is a pull request where `pull_request` is there. Of an item that was closed more than once
    GitHub knows the last time only.
    """

    what = "issues"

    def budget(self) -> Budget:
        """What iterating will ask at least. Searches have a limit of their own, by the minute."""
        return Budget(self.what, self._least_requests(), per_minute=self._connection.searches.per_minute)

    def _least_requests(self) -> int:
        return len(QUESTIONS) * len(self._organisations())

    def _rows(self) -> Iterator[list[Json]]:
        first, last = int(self._start.timestamp()), int(self._end.timestamp()) - 1
        for organisation in self._organisations():
            for question in QUESTIONS:
                search = _Search(
                    self._connection, self.session.github.api_url, organisation, self._account(organisation), question
                )
                for items in halved(search.items, first, last):
                    yield [self._row(organisation, question, item, sent) for item, sent in items]
                for warning in search.warnings:
                    self._warn(warning)

    def _organisations(self) -> list[str]:
        """Those with repositories: GitHub refuses to search where there are none."""
        self.session.changed(self.days, self.log)
        return [each for each in self.session.github.organisations if self.session.listed.get(each) != 0]

    def _account(self, organisation: str) -> str:
        is_user = self.session.kinds.get(organisation) == "users"
        return f"user:{organisation}" if is_user else f"org:{organisation}"

    def _row(self, organisation: str, question: Question, item: Item, sent: Json) -> Json:
        owner, name = item.repository_url.split("/")[-2:]
        facts = {
            "org": organisation,
            "repo_name": name,
            "repo_full_name": f"{owner}/{name}",
            "event": question.event,
            "event_at": question.moment(item),
            "observed_at": self.observed_at,
        }
        moments = {"created_at": item.created_at, "updated_at": item.updated_at, "closed_at": item.closed_at}
        return {**event_row(sent, facts), **moments}


@dataclass
class _Search:
    """One question about one organisation.

    Attributes:
        account: The organisation or user as a qualifier of a search.
        warnings: What looks wrong with its answers.
    """

    connection: "Connection"
    api_url: str
    organisation: str
    account: str
    question: Question
    warnings: list[str] = field(default_factory=list[str])

    def items(self, first: int, last: int) -> list[tuple[Item, Json]] | None:
        """The items of a range of seconds, both ends included; None where there are too many.

        Raises:
            GitHubError: Too many of one second.
        """
        query = self.question.query(self.account, first, last)
        found: dict[int, tuple[Item, Json]] = {}
        total = 0
        for _ in range(_ATTEMPTS):
            answer = self._first_page(query)
            total = self._total(answer)
            if total > MOST_ITEMS:
                self._require_several_seconds(first, last, total)
                return None
            found = {item.id: (item, sent) for item, sent in self._listed(answer)}
            if len(found) >= total:
                break
        else:
            self._warn(f"the search {query!r} counts {total} items and gave {len(found)}, {_ATTEMPTS} times")
        happened = [(item, sent) for item, sent in found.values() if self._is_within(item, first, last)]
        if len(happened) < len(found):
            gone = len(found) - len(happened)
            self._warn(f"{gone} items of the search {query!r} no longer match it, as one that was reopened since")
        return happened

    def _first_page(self, query: str) -> "Response":
        # By creation, which never changes: items keep their places while the pages are read.
        parameters = {"q": query, "sort": "created", "order": "asc", "per_page": "100"}
        return self.connection.get(self.organisation, f"{self.api_url}/search/issues", parameters, _require_all)

    def _listed(self, first: "Response") -> Iterator[tuple[Item, Json]]:
        for answer in pages(self.connection, self.organisation, first, _require_all):
            self._total(answer)
            for sent in objects_of(answer.body.get("items"), self.organisation, answer.url, "issues"):
                yield parsed(Item, sent, self.organisation, "an issue"), sent

    def _total(self, answer: "Response") -> int:
        return parsed(Found, answer.body, self.organisation, "a search").total_count

    def _is_within(self, item: Item, first: int, last: int) -> bool:
        moment = self.question.moment(item)
        return moment is not None and first <= moment.timestamp() < last + 1

    def _require_several_seconds(self, first: int, last: int, total: int) -> None:
        if first == last:
            raise GitHubError(
                f"GITHUB_ORG {self.organisation!r}: {total} items were {self.question.event} within the one second "
                f"{_timestamp(first)}, and GitHub's search gives {MOST_ITEMS} at most. Nothing was landed. Leave this "
                "day out."
            )

    def _warn(self, warning: str) -> None:
        self.warnings.append(f"GITHUB_ORG {self.organisation!r}: {warning}.")


def halved(items: Callable[[int, int], list[Any] | None], first: int, last: int) -> Iterator[list[Any]]:
    """All of a range of seconds, both ends included: as `items` gives it, or its two halves where that gives None."""
    found = items(first, last)
    if found is not None:
        yield found
        return
    middle = (first + last) // 2
    yield from halved(items, first, middle)
    yield from halved(items, middle + 1, last)


def _require_all(answer: "Response") -> None:
    if isinstance(answer.body, dict) and answer.body.get("incomplete_results") is True:
        raise TransientError("answered 200 with incomplete_results: the search took GitHub too long")


def _timestamp(second: int) -> str:
    return datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
