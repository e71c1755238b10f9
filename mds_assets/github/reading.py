"""The base class for reading pushes, issues, stars and the inventory.

What does not belong here: a table's URLs and rows (`activity.py`, `search.py`, `stars.py`, `inventory.py`), and the
state that the tables share (`session.py`).
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from typing import TYPE_CHECKING, ClassVar, TypeVar
from urllib.parse import quote, urlsplit

from mds_assets.github.budget import Budget
from mds_assets.github.client import Log
from mds_assets.github.clock import future_warning
from mds_assets.github.errors import (
    GitHubError,
    NotFoundError,
    NotSupportedError,
    RefusedError,
    UnavailableError,
)
from mds_assets.github.refusals import each_organisation
from mds_assets.github.repository import Json, is_private

if TYPE_CHECKING:
    from mds_assets.github.connection import Connection
    from mds_assets.github.session import Session

Result = TypeVar("Result")


@dataclass
class Reading(ABC):
    """A table's rows for some days. Iterate it once; it yields them in batches.

    Iterating raises GitHubError if GitHub rejects a request or returns something undocumented. The batches before the
    error are incomplete and must not land.

    Attributes:
        session: Provides the connection and the changed repositories.
        days: UTC days, in order, without gaps.
        log: Receives the budget, and a line per retry.
        observed_at: When the reading was created, UTC. Stored on every row.
        requests: Requests sent so far, failed ones included, plus those for the list of changed repositories if this
            reading was the first to need it.
        refused: Organisations left out because GitHub refuses them, while it serves others; each with the reason.
        future: Rows dated in the future.
        skipped: Repositories left out because they were deleted since they were listed, or are empty or blocked.
        warnings: Anomalies that are not errors.
    """

    table: ClassVar[str]
    nouns: ClassVar[str] = "rows"

    session: "Session"
    days: Sequence[date]
    log: Log
    observed_at: datetime = field(default_factory=lambda: datetime.now(UTC), init=False)
    requests: int = field(default=0, init=False)
    refused: dict[str, GitHubError] = field(default_factory=dict[str, GitHubError], init=False)
    future: int = field(default=0, init=False)
    skipped: int = field(default=0, init=False)
    warnings: list[str] = field(default_factory=list[str], init=False)

    def __iter__(self) -> Iterator[list[Json]]:
        """Query GitHub, one organisation after another."""
        connection = self._connection
        before, connection.log = connection.requests, self.log
        try:
            self.log.info("%s", self.budget())  # reads the list, so that it is known which organisations are refused
            self.refused |= self.session.refused
            organisations = self.session.github.organisations
            for rows in each_organisation(organisations, self._rows_of, self.refused, connection):
                self.requests = connection.requests - before
                yield rows
            if self.future:
                self._warn(future_warning(self.future, self.nouns))
        except GitHubError as error:
            error.args = (connection.redacted(str(error)),)
            raise
        finally:
            self.requests = connection.requests - before
            self.warnings += connection.take_warnings()

    def budget(self) -> Budget:
        """The fewest requests that iterating needs. Reads the list of changed repositories unless it is cached."""
        requests = self._least_requests()
        return Budget(self.table, requests, self.rate_limit_remaining, self._connection.rate_limit_reset)

    @property
    def rate_limit_remaining(self) -> int | None:
        """Requests left in the current hour, from GitHub's last response; None if unknown."""
        return self._connection.rate_limit_remaining

    @abstractmethod
    def _rows_of(self, organisation: str) -> Iterator[list[Json]]:
        """An organisation's rows, in batches."""

    @abstractmethod
    def _least_requests(self) -> int:
        """A lower bound for the requests that `_rows_of` sends for all organisations."""

    @property
    def _connection(self) -> "Connection":
        return self.session.connection

    @property
    def _start(self) -> datetime:
        return datetime.combine(self.days[0], time(), UTC)

    @property
    def _end(self) -> datetime:
        """Midnight after the last day."""
        return datetime.combine(self.days[-1] + timedelta(days=1), time(), UTC)

    def _changed(self, organisation: str) -> list[Json]:
        return self.session.changed(self.days, self.log).of(organisation)

    def _url(self, repository: Json, path: str) -> str:
        return f"{self.session.github.api_url}/repos/{quote(repository['full_name'])}/{path}"

    def _for_each(self, repositories: Sequence[Json], read: Callable[[Json], Result]) -> Iterator[Result]:
        """Read each repository of an organisation. Skip those that GitHub answers with 404, 409 or 451.

        Raises:
            GitHubError: Several repositories were requested and all returned 404: the token or the endpoint is wrong,
                not the repositories.
        """
        unavailable: list[GitHubError] = []
        for repository in repositories:
            if is_private(repository):
                self._connection.keep_private(repository["full_name"], f"(private, id {repository['id']})")
            try:
                result = read(repository)
            except (NotFoundError, UnavailableError) as error:
                unavailable.append(error)
                self._warn(
                    f"GITHUB_ORG {repository['org']!r}: skipped the {self.table} of repository "
                    f"{repository['full_name']}: it was deleted since it was listed, or is empty or blocked. If it "
                    "still exists, check that GITHUB_TOKEN may read it."
                )
            else:
                yield result
        self.skipped += len(unavailable)
        not_found = [error for error in unavailable if isinstance(error, NotFoundError)]
        if len(not_found) > 1 and len(not_found) == len(repositories):
            # A GitHub Enterprise Server may not have the endpoint yet.
            is_github = urlsplit(self.session.github.api_url).hostname == "api.github.com"
            raise (RefusedError if is_github else NotSupportedError)(
                f"GITHUB_ORG {repositories[0]['org']!r}: GitHub answered 404 for the {self.table} of all "
                f"{len(repositories)} repositories. Check that GITHUB_TOKEN may read them, and that the server at "
                "GITHUB_API_URL supports this endpoint."
            )

    def _warn(self, warning: str) -> None:
        warning = self._connection.redacted(warning)
        self.warnings.append(warning)
        self.log.warning("%s", warning)
