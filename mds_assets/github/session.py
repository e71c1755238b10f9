"""A run's session with GitHub: what its tables share, and nothing that outlives it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from functools import cached_property
from typing import TYPE_CHECKING, Self

from mds_assets.github.activity import Pushes
from mds_assets.github.client import Crawl, GitHub, Log
from mds_assets.github.inventory import Inventory
from mds_assets.github.repository import Json
from mds_assets.github.search import Issues
from mds_assets.github.stars import Stars

if TYPE_CHECKING:
    from mds_assets.github.connection import Connection


@dataclass
class Changed:
    """The repositories that changed since a day: the list as `crawl` found it.

    Attributes:
        crawl: The crawl, which has ended.
        pages: Its rows, a page of GitHub's at a time.
    """

    crawl: Crawl
    pages: list[list[Json]]

    def of(self, organisation: str) -> list[Json]:
        """Its repositories, each once and as last seen; without those that have no id or name to ask for."""
        rows = [row for page in self.pages for row in page if row["org"] == organisation]
        newest = {row["id"]: row for row in sorted(rows, key=_active_at) if row.get("id") and row.get("full_name")}
        return list(newest.values())


@dataclass
class Session:
    """The connection of a run, and the lists of changed repositories that it has read.

    Use it in a `with` block, by one thread at a time. `changed` asks GitHub once for each first day, whoever needs the
    list; one that could not be read is not remembered. Every other method returns a reading, which asks once it is
    iterated.

    Attributes:
        github: Whom to ask, and for whom.
        log: Gets the lines of what is read without a log of its own.
        listed: For each organisation, how many repositories GitHub lists, as far as a list has said so.
        kinds: For each organisation, what GitHub lists it under: `orgs` or `users`.
    """

    github: GitHub
    log: Log
    listed: dict[str, int] = field(default_factory=dict[str, int], init=False)
    kinds: dict[str, str] = field(default_factory=dict[str, str], init=False)
    _only: dict[tuple[str, ...], "Session"] = field(
        default_factory=dict[tuple[str, ...], "Session"], init=False, repr=False
    )
    _changed: dict[date, Changed] = field(default_factory=dict[date, Changed], init=False, repr=False)

    def __enter__(self) -> Self:
        """Nothing is asked yet."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the connection."""
        if "connection" in self.__dict__:
            self.connection.close()

    @cached_property
    def connection(self) -> "Connection":
        """The one connection: what it knows of the limits holds for all tables."""
        return self.github.connect(self.log)

    def only(self, organisations: Sequence[str]) -> "Session":
        """The session limited to these of its organisations: the same one each time, over the same connection."""
        names = tuple(organisations)
        if names not in self._only:
            self._only[names] = Session(replace(self.github, organisations=names), self.log)
            self._only[names].__dict__["connection"] = self.connection
        return self._only[names]

    def changed(self, days: Sequence[date], log: Log | None = None) -> Changed:
        """The repositories active on the first of these days or since, read once.

        Raises:
            GitHubError: As iterating a crawl.
        """
        if days[0] not in self._changed:
            log = self.connection.log = log or self.log
            crawl = Crawl(self.github, days, log, self.connection)
            crawl.kinds = self.kinds
            self._changed[days[0]] = Changed(crawl, list(crawl))
            self.listed |= crawl.listed
        return self._changed[days[0]]

    def pushes(self, days: Sequence[date], log: Log | None = None) -> Pushes:
        """The pushes of these days and since."""
        return Pushes(self, days, log or self.log)

    def issues(self, days: Sequence[date], log: Log | None = None) -> Issues:
        """What happened to issues and pull requests on these days."""
        return Issues(self, days, log or self.log)

    def stars(self, days: Sequence[date], log: Log | None = None, counted: Mapping[int, int] | None = None) -> Stars:
        """The stars gained on these days; `counted` as in `Stars`.

        Raises:
            GitHubError: The API's version does not know the history of stars.
        """
        return Stars(self, days, log or self.log, counted or {})

    def inventory(self, log: Log | None = None) -> Inventory:
        """Every repository as it is now."""
        return Inventory(self, (), log or self.log)


def _active_at(row: Json) -> datetime:
    return max(moment for moment in (row["updated_at"], row["pushed_at"]) if moment)
