"""What the readings of pushes, issues, stars and the inventory have in common.

What does not belong here: which URLs a table asks for, and what its rows are (`activity.py`, `search.py`, `stars.py`,
`inventory.py`); what they share (`session.py`).
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from typing import TYPE_CHECKING, ClassVar, TypeVar
from urllib.parse import quote, urlsplit

from mds_assets.github.budget import Budget
from mds_assets.github.client import Log
from mds_assets.github.errors import GitHubError, NotFoundError, NotSupportedError, UnavailableError
from mds_assets.github.repository import Json, is_private

if TYPE_CHECKING:
    from mds_assets.github.connection import Connection
    from mds_assets.github.session import Session

Found = TypeVar("Found")


@dataclass
class Reading(ABC):
    """The rows of some days. Iterate it once for them, some at a time.

    Iterating raises GitHubError when GitHub refuses, or sends something else than documented: what came before is not
    all there is, and must not land.

    Attributes:
        session: Whose connection it asks over.
        days: UTC days, in order, without gaps.
        log: Gets the budget, and a line for each request that is sent again.
        observed_at: When it was made, UTC. Every row bears it.
        requests: Requests sent so far, failed ones included, those of the list too where nobody had read it before.
        skipped: Repositories that vanished between the list and the question.
        warnings: What looks wrong, though nothing was refused.
    """

    what: ClassVar[str]

    session: "Session"
    days: Sequence[date]
    log: Log
    observed_at: datetime = field(default_factory=lambda: datetime.now(UTC), init=False)
    requests: int = field(default=0, init=False)
    skipped: int = field(default=0, init=False)
    warnings: list[str] = field(default_factory=list[str], init=False)

    def __iter__(self) -> Iterator[list[Json]]:
        """Ask GitHub, one organisation after the other."""
        connection = self._connection
        before, connection.log = connection.requests, self.log
        try:
            self.log.info("%s", self.budget())
            for rows in self._rows():
                self.requests = connection.requests - before
                yield rows
        except GitHubError as error:
            error.args = (connection.redacted(str(error)),)
            raise
        finally:
            self.requests = connection.requests - before

    def budget(self) -> Budget:
        """What iterating will ask at least. Reads the list of changed repositories where nobody has."""
        requests = self._least_requests()
        return Budget(self.what, requests, self.rate_limit_remaining, self._connection.rate_limit_reset)

    @property
    def rate_limit_remaining(self) -> int | None:
        """Requests left in the current hour, as GitHub last said; None when it did not."""
        return self._connection.rate_limit_remaining

    @abstractmethod
    def _rows(self) -> Iterator[list[Json]]:
        """The rows, some at a time."""

    @abstractmethod
    def _least_requests(self) -> int:
        """How many requests `_rows` will make at least."""

    @property
    def _connection(self) -> "Connection":
        return self.session.connection

    @property
    def _start(self) -> datetime:
        return datetime.combine(self.days[0], time(), UTC)

    @property
    def _end(self) -> datetime:
        """The first moment after the days."""
        return datetime.combine(self.days[-1] + timedelta(days=1), time(), UTC)

    def _changed(self, organisation: str) -> list[Json]:
        return self.session.changed(self.days, self.log).of(organisation)

    def _url(self, repository: Json, path: str) -> str:
        return f"{self.session.github.api_url}/repos/{quote(repository['full_name'])}/{path}"

    def _each(self, repositories: Sequence[Json], ask: Callable[[Json], Found]) -> Iterator[Found]:
        """What `ask` finds of each repository of an organisation; one that has vanished meanwhile is skipped.

        Raises:
            GitHubError: Several were asked, and each answered 404: then it is not they that are missing.
        """
        vanished: list[GitHubError] = []
        for repository in repositories:
            if is_private(repository):
                self._connection.keep_private(repository["full_name"], f"(private, id {repository['id']})")
            try:
                found = ask(repository)
            except (NotFoundError, UnavailableError) as error:
                vanished.append(error)
                self._warn(
                    f"GITHUB_ORG {repository['org']!r}: repository {repository['full_name']} was listed and has "
                    f"vanished since, or is empty or blocked. It is left out of the {self.what}."
                )
            else:
                yield found
        self.skipped += len(vanished)
        not_found = [error for error in vanished if isinstance(error, NotFoundError)]
        if len(not_found) > 1 and len(not_found) == len(repositories):
            # A GitHub Enterprise Server may not have the endpoint yet.
            is_github = urlsplit(self.session.github.api_url).hostname == "api.github.com"
            raise (GitHubError if is_github else NotSupportedError)(
                f"GITHUB_ORG {repositories[0]['org']!r}: GitHub answered 404 for the {self.what} of all "
                f"{len(repositories)} repositories that were asked. Check whether GITHUB_TOKEN may read them, and "
                "whether GITHUB_API_URL is a server that knows this question."
            )

    def _warn(self, warning: str) -> None:
        warning = self._connection.redacted(warning)
        self.warnings.append(warning)
        self.log.warning("%s", warning)
