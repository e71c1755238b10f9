"""One organisation's trouble is its own: GitHub may refuse one of several organisations and serve the others.

What does not belong here: which response is which error (`errors.py`).
"""

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from mds_assets.github.errors import GitHubError, NotFoundError, RefusedError, UnauthorizedError, UnavailableError
from mds_assets.github.repository import Json

if TYPE_CHECKING:
    from mds_assets.github.connection import Connection

_OF_ONE_ORGANISATION = (NotFoundError, RefusedError, UnavailableError)


def each_organisation(
    organisations: Sequence[str],
    read: Callable[[str], Iterator[list[Json]]],
    refused: dict[str, GitHubError],
    connection: "Connection",
) -> Iterator[list[Json]]:
    """The rows of one organisation after another, without those that GitHub refuses.

    Only an error before an organisation's first rows leaves it out: the rows of a later page can't be taken back, and
    waiting for the last page would hold a whole organisation in memory.

    Args:
        organisations: Their logins.
        read: Yields an organisation's rows, in batches.
        refused: Organisations to leave out, with their errors; new ones are added.
        connection: Logs each new one.

    Raises:
        GitHubError: Every organisation is refused, a token is (401), or an organisation fails in another way.
    """
    is_any_served = False
    for organisation in organisations:
        if organisation in refused:
            continue
        batches = read(organisation)
        try:
            first = next(batches, None)
        except _OF_ONE_ORGANISATION as error:
            error.args = (connection.redacted(str(error)),)
            is_again = isinstance(error, UnauthorizedError) and _is_unauthorized(refused)
            refused[organisation] = error
            # GitHub locks out whoever repeats a token that it doesn't know: two are enough to blame the token.
            if len(refused) == len(organisations) or (is_again and not is_any_served):
                raise next(iter(refused.values())) from None
            connection.log.error("%s The other organisations go on.", error)
            continue
        is_any_served = True
        if first is not None:
            yield first
        yield from batches


def _is_unauthorized(refused: dict[str, GitHubError]) -> bool:
    return any(isinstance(error, UnauthorizedError) for error in refused.values())
