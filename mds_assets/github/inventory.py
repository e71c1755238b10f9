"""The inventory: every repository in its current state.

https://docs.github.com/en/rest/repos/repos#list-organization-repositories
"""

from collections.abc import Iterator
from math import ceil

from mds_assets.github.client import first_page, repositories_of
from mds_assets.github.clock import is_future
from mds_assets.github.pages import pages
from mds_assets.github.reading import Reading
from mds_assets.github.repository import Json, parse, row

_PER_PAGE = 100  # GitHub's maximum


class Inventory(Reading):
    """Every listed repository, once, with the same row as in a crawl. It has no days."""

    table = "inventory"
    nouns = "repositories"

    def _least_requests(self) -> int:
        counts = [self.session.listed.get(organisation, 1) for organisation in self.session.github.organisations]
        return sum(max(1, ceil(count / _PER_PAGE)) for count in counts)

    def _rows_of(self, organisation: str) -> Iterator[list[Json]]:
        github, kinds = self.session.github, self.session.kinds
        # Oldest first: a repository created while the pages are read comes last and shifts no other one.
        query = {"sort": "created", "direction": "asc", "per_page": str(_PER_PAGE)}
        known_ids: set[int | None] = set()
        first = first_page(self._connection, github.api_url, organisation, query, kinds)
        for number, response in enumerate(pages(self._connection, organisation, first, complete=True), start=1):
            if number > 1 and response.is_empty:
                self._warn(
                    f"GITHUB_ORG {organisation!r}: page {number} of the listing is empty. Run it again if repositories "
                    "are missing."
                )
            page = [(item, parse(item, organisation)) for item in repositories_of(response, organisation)]
            new = [(item, each) for item, each in page if each.id is None or each.id not in known_ids]
            known_ids |= {each.id for _, each in new}
            self.future += sum(is_future(each.created_at, each.active_at) for _, each in new)
            yield [row(item, each, organisation, self.observed_at) for item, each in new]
        if not known_ids:
            self._warn(
                f"GITHUB_ORG {organisation!r}: GitHub lists no repositories. If it has some, check that "
                "GITHUB_TOKEN may read them."
            )
