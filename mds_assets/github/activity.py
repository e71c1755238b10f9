"""Pushes: every change to a repository's branches, and who made it.

https://docs.github.com/en/rest/repos/repos#list-repository-activities
"""

from collections.abc import Iterator
from datetime import timedelta

from pydantic import BaseModel, ConfigDict

from mds_assets.github.clock import is_future
from mds_assets.github.pages import loop_error, pages
from mds_assets.github.reading import Reading
from mds_assets.github.repository import Json, Moment, Number
from mds_assets.github.rows import event_row, parse_object, repository_facts, require_list

# `time_period` values, which all end now, with the fewest days each can cover. The margin of an hour covers the time
# between the response that GitHub's clock was read from and the next request.
_PERIODS = {"day": 1, "week": 7, "month": 28, "quarter": 89, "year": 365}
_MARGIN = timedelta(hours=1)


class Activity(BaseModel):
    """The fields of an activity that its row depends on."""

    model_config = ConfigDict(strict=True)

    id: Number
    timestamp: Moment


class Pushes(Reading):
    """Every activity since the first day: pushes, force pushes, merges, branches created and deleted.

    A row is GitHub's activity with `timestamp` as a UTC datetime, plus `org`, `observed_at` and, from the repository,
    `repo_id`, `repo_name`, `repo_full_name`, `repo_visibility` and `repo_default_branch`. Activities after the last day
    are included. Only repositories whose `pushed_at` is on or after the first day are requested.
    """

    table = nouns = "pushes"

    def _least_requests(self) -> int:
        return sum(len(self._pushed_to(organisation)) for organisation in self.session.github.organisations)

    def _rows_of(self, organisation: str) -> Iterator[list[Json]]:
        return self._for_each(self._pushed_to(organisation), self._read)

    def _pushed_to(self, organisation: str) -> list[Json]:
        changed = self._changed(organisation)
        return [each for each in changed if each["pushed_at"] and each["pushed_at"] >= self._start]

    def _read(self, repository: Json) -> list[Json]:
        """One repository's rows, returned together: if it disappears between two pages, none of them land."""
        organisation = repository["org"]
        query = {"per_page": "100", **self._period()}
        first = self._connection.get(organisation, self._url(repository, "activity"), query)
        rows: dict[int, Json] = {}
        for response in pages(self._connection, organisation, first):
            items = require_list(response.body, organisation, response.url, "activities")
            parsed = ((parse_object(Activity, item, organisation, "activity"), item) for item in items)
            page = {activity.id: (activity, item) for activity, item in parsed}
            if page and page.keys() <= rows.keys():  # the cursor is new each time, but the page isn't
                raise loop_error(organisation, response.url)
            recent = {
                number: self._row(repository, activity, item)
                for number, (activity, item) in page.items()
                if activity.timestamp >= self._start
            }
            rows |= recent
            self.future += sum(is_future(page[number][0].timestamp) for number in recent)
            if len(recent) < len(page):
                break  # newest first: the other pages are older
        return list(rows.values())

    def _row(self, repository: Json, activity: Activity, item: Json) -> Json:
        facts = {**repository_facts(repository), "observed_at": self.observed_at}
        return {**event_row(item, facts), "timestamp": activity.timestamp}

    def _period(self) -> dict[str, str]:
        """The shortest period that reaches back to the first day; empty if even a year is too short."""
        age = self._connection.clock - self._start + _MARGIN
        names = [name for name, days in _PERIODS.items() if age <= timedelta(days=days)]
        return {"time_period": names[0]} if names else {}
