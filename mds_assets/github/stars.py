"""Stars: how many each repository gained on each date.

GitHub counts only the stars that are still held, and does not promise that its days are those of UTC.

`GET /repos/{owner}/{repo}/stargazers/history`: https://docs.github.com/en/rest/activity/starring
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from math import ceil
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from mds_assets.github.errors import NotSupportedError
from mds_assets.github.pages import cycle
from mds_assets.github.reading import Reading
from mds_assets.github.repository import Json
from mds_assets.github.rows import objects_of, parsed, repository_facts

_SINCE_VERSION = "2026-03-10"
_WEEKS_PER_PAGE = 30  # GitHub's maximum
_PAGES = 100  # GitHub's maximum: 57 years of weeks

Count = Annotated[int, Field(ge=0)]


class Week(BaseModel):
    """A week of a repository's history."""

    model_config = ConfigDict(strict=True)

    week: Annotated[int, Field(ge=0, lt=2**33)]
    days: Annotated[list[Count], Field(min_length=7, max_length=7)]

    @property
    def sunday(self) -> date:
        """Its first day: `week` is that day's midnight in GitHub's time zone, less than 12 hours from UTC's."""
        return (datetime.fromtimestamp(self.week, UTC) + timedelta(hours=12)).date()


@dataclass
class Stars(Reading):
    """The stars that each changed repository gained on each of the days, as GitHub tells them now.

    A row has `org`, `observed_at`, `repo_id`, `repo_name`, `repo_full_name`, `repo_visibility`, `repo_default_branch`,
    `date` and `gained`. It comes for 0 too: a later reading says so of stars that were given back since. Not asked are
    repositories that did not change since the first day (a new star is a change) and those without stars.

    Attributes:
        counted: Stars by repository id as an inventory from before the days counted them. A repository that still has
            as many is not asked.
    """

    what = "stars"

    counted: Mapping[int, int] = field(default_factory=dict[int, int])

    def __post_init__(self) -> None:
        """Refuse a version of the API without this endpoint, before anything is asked."""
        version = self.session.github.api_version
        if version < _SINCE_VERSION:
            raise NotSupportedError(
                f"GITHUB_API_VERSION={version!r} does not know the history of stars: set {_SINCE_VERSION} or later."
            )

    def _least_requests(self) -> int:
        return sum(
            self._least_pages(repository)
            for organisation in self.session.github.organisations
            for repository in self._starred(organisation)
        )

    def _rows(self) -> Iterator[list[Json]]:
        for organisation in self.session.github.organisations:
            yield from self._each(self._starred(organisation), self._of)

    def _starred(self, organisation: str) -> list[Json]:
        def has_moved(repository: Json) -> bool:
            stars = repository.get("stargazers_count")
            return stars is None or (stars > 0 and stars != self.counted.get(repository["id"]))

        return [repository for repository in self._changed(organisation) if has_moved(repository)]

    def _least_pages(self, repository: Json) -> int:
        """One, and more where the range begins long ago: a history is as old as its repository."""
        since = max(self._start, repository.get("created_at") or self._start)
        weeks = (self._connection.clock - since) / timedelta(weeks=1)
        return max(1, ceil(weeks / _WEEKS_PER_PAGE))

    def _of(self, repository: Json) -> list[Json]:
        facts = {**repository_facts(repository), "observed_at": self.observed_at}
        today = self._connection.clock.date()  # a week's later days have not happened yet
        gained = {
            week.sunday + timedelta(days=number): count
            for week in self._weeks(repository)
            for number, count in enumerate(week.days)
        }
        last = min(self.days[-1], today)
        return [
            {**facts, "date": day, "gained": count}
            for day, count in sorted(gained.items())
            if self.days[0] <= day <= last
        ]

    def _weeks(self, repository: Json) -> Iterator[Week]:
        """Its weeks, newest first, until one that holds the first day or is older."""
        organisation, url = repository["org"], self._url(repository, "stargazers/history")
        oldest = date.max
        for number in range(1, _PAGES + 1):
            query = {"per_page": str(_WEEKS_PER_PAGE), "page": str(number)}
            answer = self._connection.get(organisation, url, query)
            sent = objects_of(answer.body, organisation, answer.url, "weeks")
            weeks = [parsed(Week, each, organisation, "a week of stars") for each in sent]
            yield from weeks
            if not weeks or (len(weeks) < _WEEKS_PER_PAGE and not answer.next):
                return
            newest, reached = (pick(week.sunday for week in weeks) for pick in (max, min))
            if reached >= oldest or newest > oldest:
                raise cycle(organisation, answer.url)
            oldest = reached
            if oldest <= self.days[0]:
                return
