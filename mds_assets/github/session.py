"""A run's session with GitHub: the state that its tables share, discarded at the end of the run."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from functools import cached_property
from typing import TYPE_CHECKING, Self

from mds_assets.github.activity import Pushes
from mds_assets.github.client import Crawl, GitHub, Log
from mds_assets.github.clock import require_ended
from mds_assets.github.errors import GitHubError
from mds_assets.github.inventory import Inventory
from mds_assets.github.repository import Json
from mds_assets.github.search import Issues
from mds_assets.github.stars import Stars

if TYPE_CHECKING:
    from mds_assets.github.connection import Connection


# What the other tables read of a repository.
_KEPT = (
    *("org", "id", "name", "full_name", "private", "visibility", "default_branch"),
    *("stargazers_count", "created_at", "updated_at", "pushed_at"),
)


@dataclass
class Changed:
    """The repositories that changed since a day.

    Attributes:
        crawl: The finished crawl that listed them.
        rows: Its rows in order, with the fields that other tables read.
    """

    crawl: Crawl
    rows: list[Json]

    def of(self, organisation: str) -> list[Json]:
        """The newest row of each of its repositories. Rows without an id or name are left out: no URL leads there."""
        rows = [row for row in self.rows if row["org"] == organisation]
        newest = {row["id"]: row for row in sorted(rows, key=_active_at) if row.get("id") and row.get("full_name")}
        return list(newest.values())


@dataclass
class Session:
    """A run's connection, and its cache of changed repositories.

    Use it in a `with` block, from one thread at a time. `changed` reads the list once per first day and caches it; a
    failed read is not cached. The other methods return a reading, which sends its requests when iterated.

    Attributes:
        github: The API's URL, the token and the organisations to read.
        log: The default log.
        listed: Number of repositories by organisation, for those whose list was read: exact up to 100, an upper bound
            above.
        kinds: The path that GitHub lists each organisation under: `orgs`, or `users` for a user.
        refused: The organisations whose list GitHub refuses, each with the reason: no table has them.
    """

    github: GitHub
    log: Log
    listed: dict[str, int] = field(default_factory=dict[str, int], init=False)
    kinds: dict[str, str] = field(default_factory=dict[str, str], init=False)
    refused: dict[str, GitHubError] = field(default_factory=dict[str, GitHubError], init=False)
    _only: dict[tuple[str, ...], "Session"] = field(
        default_factory=dict[tuple[str, ...], "Session"], init=False, repr=False
    )
    _changed: dict[date, Changed] = field(default_factory=dict[date, Changed], init=False, repr=False)

    def __enter__(self) -> Self:
        """Send nothing yet."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the connection."""
        if "connection" in self.__dict__:
            self.connection.close()

    @cached_property
    def connection(self) -> "Connection":
        """The connection, opened on first use and shared, so that all tables count against the same rate limits."""
        return self.github.connect(self.log)

    def only(self, organisations: Sequence[str]) -> "Session":
        """The session limited to these of its organisations: the same one each time, over the same connection."""
        names = tuple(organisations)
        if names not in self._only:
            self._only[names] = Session(replace(self.github, organisations=names), self.log)
            self._only[names].__dict__["connection"] = self.connection
        return self._only[names]

    def crawl(self, days: Sequence[date], log: Log | None = None) -> Iterator[list[Json]]:
        """The rows of the repositories active on or after the first of these days, page by page as they arrive.

        `changed` has the list once all pages were read, so read it before the tables that need it.

        Raises:
            GitHubError: The crawl failed.
        """
        log = self.connection.log = log or self.log
        crawl = Crawl(self.github, days, log, self.connection)
        crawl.kinds = self.kinds
        rows: list[Json] = []
        for page in crawl:
            # Not all fields: 10,000 repositories would take 60 MB.
            rows += [{name: row.get(name) for name in _KEPT} for row in page]
            yield page
        self.listed |= crawl.listed
        self.refused = crawl.refused
        self._changed[days[0]] = Changed(crawl, rows)

    def require_ended(self, day: date) -> None:
        """Refuse a day that has not ended on GitHub's clock, as of its last response.

        Raises:
            GitHubError: It has not.
        """
        require_ended(day, self.connection.clock, ", ".join(self.github.organisations))

    def changed(self, days: Sequence[date], log: Log | None = None) -> Changed:
        """The repositories active on or after the first of these days, cached by that day.

        Raises:
            GitHubError: The crawl failed.
        """
        if days[0] not in self._changed:
            for _ in self.crawl(days, log):
                pass
        return self._changed[days[0]]

    def pushes(self, days: Sequence[date], log: Log | None = None) -> Pushes:
        """The pushes on or after the first of these days."""
        return Pushes(self, days, log or self.log)

    def issues(self, days: Sequence[date], log: Log | None = None) -> Issues:
        """Issues and pull requests opened, closed or merged on these days."""
        return Issues(self, days, log or self.log)

    def stars(self, days: Sequence[date], log: Log | None = None, counted: Mapping[int, int] | None = None) -> Stars:
        """The stars gained on these days; `Stars` documents `counted`.

        Raises:
            GitHubError: The configured API version has no star history.
        """
        return Stars(self, days, log or self.log, counted or {})

    def inventory(self, log: Log | None = None) -> Inventory:
        """Every repository in its current state."""
        return Inventory(self, (), log or self.log)


def _active_at(row: Json) -> datetime:
    return max(moment for moment in (row["updated_at"], row["pushed_at"]) if moment)
