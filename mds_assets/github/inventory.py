"""The inventory: every repository as it is now.

https://docs.github.com/en/rest/repos/repos#list-organization-repositories
"""

from collections.abc import Iterator
from math import ceil

from mds_assets.github.client import first_page, repositories_of
from mds_assets.github.pages import pages
from mds_assets.github.reading import Reading
from mds_assets.github.repository import Json, parse, row

_PER_PAGE = 100


class Inventory(Reading):
    """Every repository that GitHub lists, once; rows as in a crawl. It has no days."""

    what = "inventory"

    def _least_requests(self) -> int:
        listed = [self.session.listed.get(organisation, 1) for organisation in self.session.github.organisations]
        return sum(max(1, ceil(number / _PER_PAGE)) for number in listed)

    def _rows(self) -> Iterator[list[Json]]:
        github, kinds = self.session.github, self.session.kinds
        # Oldest first: a repository that is created meanwhile then comes last, and moves no other to another page.
        query = {"sort": "created", "direction": "asc", "per_page": str(_PER_PAGE)}
        for organisation in github.organisations:
            seen: set[int | None] = set()
            first = first_page(self._connection, github.api_url, organisation, query, kinds)
            for answer in pages(self._connection, organisation, first):
                listed = [(sent, parse(sent, organisation)) for sent in repositories_of(answer, organisation)]
                fresh = [(sent, each) for sent, each in listed if each.id is None or each.id not in seen]
                seen |= {each.id for _, each in fresh}
                yield [row(sent, each, organisation, self.observed_at) for sent, each in fresh]
            if not seen:
                self._warn(f"GITHUB_ORG {organisation!r}: GitHub lists no repository at all.")
