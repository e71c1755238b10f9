"""Lists the repositories of the configured organisations that were active on given days.

A repository is active at the later of `updated_at` and `pushed_at`. One third of real pushes leave `updated_at`
unchanged, so the list is read in both sort orders, each until it is older than the requested range.

https://docs.github.com/en/rest/repos/repos#list-organization-repositories
"""

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from datetime import time as time_of_day
from typing import TYPE_CHECKING, Any

from mds_assets.github.clock import future_warning, is_future
from mds_assets.github.errors import GitHubError, NotFoundError
from mds_assets.github.pages import pages
from mds_assets.github.refusals import each_organisation
from mds_assets.github.repository import Json, Repository, parse, row

if TYPE_CHECKING:
    from requests.adapters import BaseAdapter

    from mds_assets.github.connection import Connection, Response
    from mds_assets.github.session import Session

Log = logging.Logger | logging.LoggerAdapter[Any]

_PER_PAGE = 100  # GitHub's maximum
_ORDERS = ("updated", "pushed")


@dataclass
class GitHub:
    """A client for the repositories of some organisations or users.

    Attributes:
        organisations: Their logins.
        api_url: The API's root, `https://api.github.com` or a GitHub Enterprise Server's `https://HOST/api/v3`.
        token: Sent only to that host, over that scheme.
        api_version: The version of the API, a date. 2022-11-28 works too, but has no star history.
        max_wait: Seconds that one request may wait for rate limits and between attempts. A longer wait is an error.
        timeout: Connect and read timeouts, in seconds. The second bounds the gap between two bytes.
        max_seconds: Seconds that one response may take, from the request to its last byte.
        max_bytes: Bytes that one decoded body may have. 100 issues with the longest texts have some 30 MB.
        transport: An adapter that replaces GitHub, in process.
        sleep: Sleeps for a number of seconds.
        monotonic: A clock in seconds, for the pace of searches.
    """

    organisations: Sequence[str]
    api_url: str
    token: str | None = field(default=None, repr=False)
    api_version: str = "2026-03-10"
    max_wait: float = 900
    timeout: tuple[float, float] = (10, 30)
    max_seconds: float = 300
    max_bytes: int = 64 * 2**20
    transport: "BaseAdapter | None" = None
    sleep: Callable[[float], None] = time.sleep
    monotonic: Callable[[], float] = time.monotonic

    def crawl(self, days: Sequence[date], log: Log = logging.getLogger(__name__)) -> "Crawl":  # noqa: B008
        """The repositories active on one of these days or since, in as few requests as GitHub allows.

        Args:
            days: UTC days, in order, without gaps.
            log: Receives a line per page, and one per retried failure.

        Returns:
            A crawl that starts when it is iterated.
        """
        return Crawl(self, days, log)

    def session(self, log: Log = logging.getLogger(__name__)) -> "Session":  # noqa: B008
        """A run's session, which all its tables share: one connection, and the list of changed repositories read once.

        Args:
            log: Gets the lines of what is read without a log of its own.

        Returns:
            A session to use in a `with` block, by one thread at a time.
        """
        from mds_assets.github.session import Session

        return Session(self, log)

    def connect(self, log: Log) -> "Connection":
        """A connection with these settings; close it."""
        # Importing requests takes a tenth as long as importing Dagster: only a crawl pays for it.
        from mds_assets.github.connection import Connection

        return Connection(
            self.api_url,
            self.token,
            api_version=self.api_version,
            timeout=self.timeout,
            max_wait=self.max_wait,
            sleep=self.sleep,
            log=log,
            transport=self.transport,
            monotonic=self.monotonic,
            max_seconds=self.max_seconds,
            max_bytes=self.max_bytes,
        )


@dataclass
class Crawl:
    """One crawl. Iterate it once for the rows to land, one page at a time.

    A row is GitHub's repository plus `org` and `observed_at`. Each repository appears once, or twice if it was active
    again between the two passes. Repositories active after the last day are included, because no later crawl may see
    that state. An organisation that GitHub refuses from the start is left out, unless it refuses all of them. Iterating
    raises GitHubError if GitHub returns any other error, or anything but repositories.

    Attributes:
        observed_at: When the crawl started, UTC. Stored on every row.
        requests: Requests sent so far, failed ones included.
        rate_limit_remaining: Requests left in the current hour, from GitHub's last response; None if it had no such
            header.
        listed: For each organisation, how many repositories GitHub lists: exact up to 100, an upper bound above.
        kinds: For each organisation, the path GitHub lists it under: `orgs`, or `users` for a user.
        future: Rows dated in the future: created, updated or pushed to.
        newest: The newest activity of any repository listed, UTC; None without one.
        refused: The organisations that are left out, each with the reason.
        warnings: Anomalies that are not errors.
        connection: The session's, which stays open; without it the crawl opens its own.
    """

    github: GitHub
    days: Sequence[date]
    log: Log
    connection: "Connection | None" = field(default=None, repr=False)
    observed_at: datetime = field(default_factory=lambda: datetime.now(UTC), init=False)
    requests: int = field(default=0, init=False)
    rate_limit_remaining: int | None = field(default=None, init=False)
    listed: dict[str, int] = field(default_factory=dict[str, int], init=False)
    kinds: dict[str, str] = field(default_factory=dict[str, str], init=False)
    future: int = field(default=0, init=False)
    newest: datetime | None = field(default=None, init=False)
    refused: dict[str, GitHubError] = field(default_factory=dict[str, GitHubError], init=False)
    warnings: list[str] = field(default_factory=list[str], init=False)
    _requests_before: int = field(default=0, init=False, repr=False)
    _reported_pages: int | None = field(default=None, init=False, repr=False)

    def __iter__(self) -> Iterator[list[Json]]:
        """Query GitHub, one organisation after another."""
        connection = self.connection or self.github.connect(self.log)
        self._requests_before = connection.requests
        try:
            yield from each_organisation(
                self.github.organisations,
                lambda organisation: self._rows_of(connection, organisation),
                self.refused,
                connection,
            )
            if self.future:
                self._warn(future_warning(self.future, "repositories"))
        except GitHubError as error:
            error.args = (connection.redacted(str(error)),)
            raise
        finally:
            self.warnings += connection.take_warnings()
            if not self.connection:
                connection.close()

    def _rows_of(self, connection: "Connection", organisation: str) -> Iterator[list[Json]]:
        seen: set[tuple[int | None, datetime]] = set()
        for page in self._listing(connection, organisation):
            rows: list[Json] = []
            for sent, repository in page:
                active = repository.active_at
                self.newest = max(active, self.newest or active)
                observation = (repository.id, active)
                if active.date() >= self.days[0] and (repository.id is None or observation not in seen):
                    seen.add(observation)
                    self.future += is_future(repository.created_at, active)
                    rows.append(row(sent, repository, organisation, self.observed_at))
            yield rows

    def _listing(self, connection: "Connection", organisation: str) -> Iterator[list[tuple[Json, Repository]]]:
        """Everything active since the first day, plus the rest of the last page; in both orders if needed."""
        since = datetime.combine(self.days[0], time_of_day(), UTC)
        for order in _ORDERS:
            query = {"sort": order, "direction": "desc", "per_page": str(_PER_PAGE)}
            first = first_page(connection, self.github.api_url, organisation, query, self.kinds)
            for number, answer in enumerate(pages(connection, organisation, first), start=1):
                page = [(sent, parse(sent, organisation)) for sent in repositories_of(answer, organisation)]
                self._log_page(connection, organisation, order, number, answer, len(page))
                yield page
                if not answer.next:
                    return  # everything is listed: the other order has nothing to add
                moments = [getattr(repository, f"{order}_at") for _, repository in page]
                if any(moment and moment < since for moment in moments):
                    break

    def _log_page(
        self, connection: "Connection", organisation: str, order: str, number: int, answer: "Response", length: int
    ) -> None:
        """Log the page and warn about anomalies."""
        self.requests = connection.requests - self._requests_before
        self.rate_limit_remaining = connection.rate_limit_remaining
        first = number == 1
        if first:
            self._reported_pages = answer.pages
            if order == _ORDERS[0] and not (answer.next and not answer.pages):
                self.listed[organisation] = length if answer.pages is None else answer.pages * _PER_PAGE
        self.log.info(
            "%s: page %s of %s by %s_at; %s requests left this hour",
            organisation,
            number,
            self._reported_pages or number,
            order,
            "unknown" if self.rate_limit_remaining is None else self.rate_limit_remaining,
        )
        if first and not length:
            self._warn(
                f"GITHUB_ORG {organisation!r}: GitHub lists no repository at all. If it has some, GITHUB_TOKEN may not "
                "see them."
            )
        elif not length or (not answer.next and self._reported_pages and number < self._reported_pages):
            self._warn(
                f"GITHUB_ORG {organisation!r}: page {number} by {order}_at ends the listing or is empty, though GitHub "
                f"reported {self._reported_pages} pages. Run it again if repositories are missing."
            )

    def _warn(self, warning: str) -> None:
        self.warnings.append(warning)
        self.log.warning("%s", warning)


def first_page(
    connection: "Connection", api_url: str, organisation: str, query: dict[str, str], kinds: dict[str, str]
) -> "Response":
    """The first page of its repositories. `kinds` remembers which path GitHub lists it under."""
    kind = kinds.get(organisation, "orgs")
    with nullcontext() if organisation in kinds else suppress(NotFoundError):
        answer = connection.get(organisation, f"{api_url}/{kind}/{organisation}/repos", query)
        kinds[organisation] = kind
        return answer
    # GitHub does not treat a user as an organisation: users have their own path.
    answer = connection.get(organisation, f"{api_url}/users/{organisation}/repos", query)
    kinds[organisation] = "users"
    return answer


def repositories_of(answer: "Response", organisation: str) -> list[Json]:
    """The repositories of a page.

    Raises:
        GitHubError: The response is not a list of repositories.
    """
    body = answer.body
    if isinstance(body, list) and all(isinstance(item, dict) for item in body):
        return body
    found = (
        f"a list that holds {next(repr(item)[:50] for item in body if not isinstance(item, dict))}"
        if isinstance(body, list)
        else f"{type(body).__name__} {repr(body)[:100]}"
    )
    raise GitHubError(
        f"GITHUB_ORG {organisation!r}: GET {answer.url} answered 200 with {found}: no list of repositories. "
        "Check GITHUB_API_URL and any proxy."
    )
