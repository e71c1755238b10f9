"""Pagination: follow GitHub's own links from page to page.

https://docs.github.com/en/rest/using-the-rest-api/using-pagination-in-the-rest-api
"""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from mds_assets.github.errors import GitHubError

if TYPE_CHECKING:
    from mds_assets.github.connection import Connection, Response


def pages(
    connection: "Connection",
    organisation: str,
    first: "Response",
    check: "Callable[[Response], None]" = lambda _: None,
) -> "Iterator[Response]":
    """The first page and all that follow, by GitHub's links: the next page may have another path.

    Raises:
        GitHubError: A page links back to an earlier one.
    """
    requested = {first.url}
    response = first
    yield response
    while response.next:
        if response.next in requested:
            raise loop_error(organisation, response.next)
        requested.add(response.next)
        response = connection.get(organisation, response.next, check=check)
        yield response


def loop_error(organisation: str, url: str) -> GitHubError:
    """The error for a listing that starts over instead of ending."""
    return GitHubError(
        f"GITHUB_ORG {organisation!r}: GET {url}: pagination loops back to an earlier page. Nothing was landed. Run "
        "it again; if the error persists, check GITHUB_API_URL and any proxy.",
        retryable=True,
    )
