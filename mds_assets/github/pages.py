"""Pagination: follow GitHub's own links from page to page.

https://docs.github.com/en/rest/using-the-rest-api/using-pagination-in-the-rest-api
"""

from collections.abc import Callable, Iterator
from itertools import count
from typing import TYPE_CHECKING

from mds_assets.github.errors import GitHubError

if TYPE_CHECKING:
    from mds_assets.github.connection import Connection, Response

MAX_PAGES = 10_000  # of any listing: a million items. One by cursor doesn't announce how many it has.
PAGE_SLACK = 10  # pages beyond the announced last one: the listing may grow while it is read
MAX_EMPTY_PAGES = 10  # in a row: a filter may leave a page empty


def pages(
    connection: "Connection",
    organisation: str,
    first: "Response",
    check: "Callable[[Response], None]" = lambda _: None,
    *,
    complete: bool = False,
) -> "Iterator[Response]":
    """The first page and all that follow, by GitHub's links: the next page may have another path.

    Args:
        connection: Sends the requests.
        organisation: The organisation they are for.
        first: The first page.
        check: Raises TransientError to reject a page.
        complete: Whether a listing that ends too early is an error.

    Raises:
        GitHubError: A page links back to an earlier one, or there are more pages than the first one announced, than
            `MAX_PAGES`, or than `MAX_EMPTY_PAGES` empty ones in a row. Where the listing must be complete: it has two
            or more pages fewer than announced, or an empty one before the last. With one page fewer, items were deleted
            while it was read.
    """
    requested = {first.url}
    response, empty = first, 0
    most = MAX_PAGES if first.pages is None else first.pages + PAGE_SLACK
    for number in count(1):
        empty = empty + 1 if response.is_empty else 0
        yield response
        if not response.next:
            missing = (first.pages or 0) - number
            if complete and (missing > 1 or (missing > 0 and response.is_empty)):
                raise _truncated_error(organisation, first.url, number, first.pages or 0)
            return
        if response.next in requested:
            raise loop_error(organisation, response.next)
        if number >= min(most, MAX_PAGES) or most > MAX_PAGES + PAGE_SLACK:
            announced = f"GitHub announced {first.pages:,}" if first.pages else "none was announced as the last"
            raise _endless_error(organisation, first.url, f"{number:,} pages were read, and {announced}")
        if empty >= MAX_EMPTY_PAGES:
            raise _endless_error(organisation, first.url, f"{empty} pages in a row are empty, and link to another one")
        requested.add(response.next)
        response = connection.get(organisation, response.next, check=check)


def loop_error(organisation: str, url: str) -> GitHubError:
    """The error for a listing that starts over instead of ending."""
    return GitHubError(
        f"GITHUB_ORG {organisation!r}: GET {url[:500]}: pagination loops back to an earlier page. Nothing was landed. "
        "Run it again; if the error persists, check GITHUB_API_URL and any proxy.",
        retryable=True,
    )


def _truncated_error(organisation: str, url: str, number: int, announced: int) -> GitHubError:
    return GitHubError(
        f"GITHUB_ORG {organisation!r}: GET {url[:500]}: the listing ends after page {number:,} of the "
        f"{announced:,} that GitHub announced. Nothing was landed. Run it again; if the error persists, check "
        "GITHUB_API_URL and any proxy.",
        retryable=True,
    )


def _endless_error(organisation: str, url: str, reason: str) -> GitHubError:
    return GitHubError(
        f"GITHUB_ORG {organisation!r}: GET {url[:500]}: the listing doesn't end: {reason}. Nothing was landed. Check "
        "GITHUB_API_URL and any proxy."
    )
