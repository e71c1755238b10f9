"""The pages of a listing: GitHub's own links, from one page to the next.

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
    answer: "Response",
    check: "Callable[[Response], None]" = lambda _: None,
) -> "Iterator[Response]":
    """This page and those after it. The next may have another path: only GitHub's own link is right.

    Raises:
        GitHubError: A page refers to one before it: nobody would ever see the end.
    """
    asked = {answer.url}
    yield answer
    while answer.next:
        if answer.next in asked:
            raise cycle(organisation, answer.next)
        asked.add(answer.next)
        answer = connection.get(organisation, answer.next, check=check)
        yield answer


def cycle(organisation: str, url: str) -> GitHubError:
    """The error of a listing that begins anew instead of ending."""
    return GitHubError(
        f"GITHUB_ORG {organisation!r}: GET {url}: the pages go round in a circle. Nothing was landed. Run it again; "
        "if it stays so, check GITHUB_API_URL and any proxy.",
        retryable=True,
    )
