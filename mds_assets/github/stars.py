"""Stars: how many each repository gained on each date.

GitHub counts only stars that are still held, and does not promise that its days are UTC days.

`GET /repos/{owner}/{repo}/stargazers/history`: https://docs.github.com/en/rest/activity/starring
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from math import ceil
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from mds_assets.github.errors import NotSupportedError
from mds_assets.github.pages import loop_error
from mds_assets.github.reading import Reading
from mds_assets.github.repository import Json
from mds_assets.github.rows import parse_object, repository_facts, require_list

_FIRST_VERSION = "2026-03-10"
_WEEKS_PER_PAGE = 30  # GitHub's maximum
_PAGES = 100  # GitHub's maximum: 57 years of weeks

Count = Annotated[int, Field(ge=0, lt=2**63)]


class Week(BaseModel):
    """A week of a repository's star history."""

    model_config = ConfigDict(strict=True)

    week: Annotated[int, Field(ge=0, lt=2**33)]
    days: Annotated[list[Count], Field(min_length=7, max_length=7)]

    @property
    def sunday(self) -> date:
        """The week's first day. `week` is its midnight in GitHub's time zone, less than 12 hours off UTC."""
        return (datetime.fromtimestamp(self.week, UTC) + timedelta(hours=12)).date()


@dataclass
class Stars(Reading):
    """The stars that each changed repository gained on each day, by GitHub's current count.

    A row has `org`, `observed_at`, `repo_id`, `repo_name`, `repo_full_name`, `repo_visibility`, `repo_default_branch`,
    `date` and `gained`. There are rows for 0 too, so that a later reading can correct an earlier one after stars were
    removed. Repositories are skipped if they have no stars, or did not change since the first day (a new star is a
    change).

    Attributes:
        counted: Stars by repository id, from an inventory taken before the days. Repositories that still have as many
            are skipped.
    """

    table = "stars"

    counted: Mapping[int, int] = field(default_factory=dict[int, int])

    def __post_init__(self) -> None:
        """Reject an API version without this endpoint before any request is sent."""
        version = self.session.github.api_version
        if version < _FIRST_VERSION:
            raise NotSupportedError(
                f"GITHUB_API_VERSION={version!r} has no star history: set {_FIRST_VERSION} or later."
            )

    def _least_requests(self) -> int:
        return sum(
            self._least_pages(repository)
            for organisation in self.session.github.organisations
            for repository in self._candidates(organisation)
        )

    def _rows_of(self, organisation: str) -> Iterator[list[Json]]:
        return self._for_each(self._candidates(organisation), self._read)

    def _candidates(self, organisation: str) -> list[Json]:
        """The changed repositories whose star count may have changed."""

        def may_have_gained(repository: Json) -> bool:
            stars = repository.get("stargazers_count")
            return stars is None or (stars > 0 and stars != self.counted.get(repository["id"]))

        return [repository for repository in self._changed(organisation) if may_have_gained(repository)]

    def _least_pages(self, repository: Json) -> int:
        """The pages that reach back to the first day, or to the repository's creation if that is later."""
        since = max(self._start, repository.get("created_at") or self._start)
        weeks = (self._connection.clock - since) / timedelta(weeks=1)
        return max(1, ceil(weeks / _WEEKS_PER_PAGE))

    def _read(self, repository: Json) -> list[Json]:
        facts = {**repository_facts(repository), "observed_at": self.observed_at}
        today = self._connection.clock.date()  # GitHub sends whole weeks, future days included
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
        """The repository's weeks, newest first, back to the one that contains the first day."""
        organisation, url = repository["org"], self._url(repository, "stargazers/history")
        oldest = date.max
        for number in range(1, _PAGES + 1):
            query = {"per_page": str(_WEEKS_PER_PAGE), "page": str(number)}
            response = self._connection.get(organisation, url, query)
            items = require_list(response.body, organisation, response.url, "weeks")
            weeks = [parse_object(Week, item, organisation, "week of stars") for item in items]
            yield from weeks
            if not weeks or (len(weeks) < _WEEKS_PER_PAGE and not response.next):
                return
            newest, reached = (pick(week.sunday for week in weeks) for pick in (max, min))
            if reached >= oldest or newest > oldest:
                raise loop_error(organisation, response.url)
            oldest = reached
            if oldest <= self.days[0]:
                return
