"""Pushes: what happened to a repository's branches, and who did it.

https://docs.github.com/en/rest/repos/repos#list-repository-activities
"""

from collections.abc import Iterator
from datetime import timedelta

from pydantic import BaseModel, ConfigDict

from mds_assets.github.pages import cycle, pages
from mds_assets.github.reading import Reading
from mds_assets.github.repository import Json, Moment, Number
from mds_assets.github.rows import event_row, objects_of, parsed, repository_facts

# GitHub's names of periods that end now, and how many days the shortest such period has. An hour less is counted on:
# time passes between the answer that told GitHub's clock and the next request.
_PERIODS = {"day": 1, "week": 7, "month": 28, "quarter": 89, "year": 365}
_MARGIN = timedelta(hours=1)


class Activity(BaseModel):
    """The fields of an activity that its row depends on."""

    model_config = ConfigDict(strict=True)

    id: Number
    timestamp: Moment


class Pushes(Reading):
    """Every activity since the first of the days: pushes, force pushes, merges, branches created and deleted.

    A row is GitHub's activity with `timestamp` as a moment in UTC, plus `org`, `observed_at`, and of the repository
    `repo_id`, `repo_name`, `repo_full_name`, `repo_visibility` and `repo_default_branch`. Activities after the last day
    come too. Only repositories whose `pushed_at` is not older than the first day are asked.
    """

    what = "pushes"

    def _least_requests(self) -> int:
        return sum(len(self._pushed_to(organisation)) for organisation in self.session.github.organisations)

    def _rows(self) -> Iterator[list[Json]]:
        for organisation in self.session.github.organisations:
            yield from self._each(self._pushed_to(organisation), self._of)

    def _pushed_to(self, organisation: str) -> list[Json]:
        changed = self._changed(organisation)
        return [each for each in changed if each["pushed_at"] and each["pushed_at"] >= self._start]

    def _of(self, repository: Json) -> list[Json]:
        """The rows of one repository: all of them, as one that vanishes between two pages gives none."""
        organisation = repository["org"]
        query = {"per_page": "100", **self._period()}
        first = self._connection.get(organisation, self._url(repository, "activity"), query)
        rows: dict[int, Json] = {}
        for answer in pages(self._connection, organisation, first):
            sent = objects_of(answer.body, organisation, answer.url, "activities")
            page = {each.id: (each, item) for each, item in ((self._parsed(organisation, item), item) for item in sent)}
            if page and page.keys() <= rows.keys():  # a cursor that looks new each time, and is not
                raise cycle(organisation, answer.url)
            recent = {
                number: self._row(repository, activity, item)
                for number, (activity, item) in page.items()
                if activity.timestamp >= self._start
            }
            rows |= recent
            if len(recent) < len(page):
                break  # they come newest first
        return list(rows.values())

    def _parsed(self, organisation: str, sent: Json) -> Activity:
        return parsed(Activity, sent, organisation, "an activity")

    def _row(self, repository: Json, activity: Activity, sent: Json) -> Json:
        facts = {**repository_facts(repository), "observed_at": self.observed_at}
        return {**event_row(sent, facts), "timestamp": activity.timestamp}

    def _period(self) -> dict[str, str]:
        """The shortest period that goes back to the first day; none where a year is too short."""
        age = self._connection.clock - self._start + _MARGIN
        names = [name for name, days in _PERIODS.items() if age <= timedelta(days=days)]
        return {"time_period": names[0]} if names else {}
