"""The errors of requests to GitHub, and how to fix each.

https://docs.github.com/en/rest/using-the-rest-api/troubleshooting-the-rest-api
"""

import re
from http import HTTPStatus
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from mds_assets.github.headers import retry_after, until_reset

if TYPE_CHECKING:
    import requests


class GitHubError(Exception):
    """GitHub rejected a request, or returned something undocumented. One line: what, why, how to fix it.

    Attributes:
        retryable: Whether the same request may succeed in a few minutes.
    """

    def __init__(self, message: str, *, retryable: bool = False) -> None:
        """Take the one-line message."""
        super().__init__(message)
        self.retryable = retryable


class NotFoundError(GitHubError):
    """GitHub returned 404."""


class RefusedError(GitHubError):
    """GitHub returned 401, 403 or 422: this token may not read it, or needs single sign-on."""


class UnauthorizedError(RefusedError):
    """GitHub returned 401: it knows no such token."""


class LimitReachedError(GitHubError):
    """A rate limit asks for a longer wait than allowed."""


class NotSupportedError(GitHubError):
    """This API, or this version of it, does not have the endpoint."""


class UnavailableError(GitHubError):
    """GitHub returned 409 (empty repository) or 451 (blocked for legal reasons)."""


class TransientError(Exception):
    """A request failed for a reason that may pass: retry it."""


class UnreachedError(TransientError):
    """The connection was refused: nothing listens there, now or at all."""


class LimitError(Exception):
    """A rate limit: retry after `wait` seconds; None if GitHub set no time."""

    def __init__(self, reason: str, wait: float | None) -> None:
        """Take the reason and the wait."""
        super().__init__(reason)
        self.wait = wait


class PacedError(LimitError):
    """The request would exceed a limit, so it is held back for `wait` seconds."""


def error_from(
    organisation: str, response: "requests.Response", message: str, api_url: str, *, with_token: bool
) -> Exception:
    """Classify a response outside 2xx: a permanent error to raise, or one to retry.

    Args:
        organisation: The organisation the request was for.
        response: The response.
        message: GitHub's message.
        api_url: The configured API root.
        with_token: Whether a token is set.
    """
    status, headers = response.status_code, response.headers
    reason = f"answered {status} {message!r}"
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return TransientError(reason)
    nothing_left = headers.get("x-ratelimit-remaining") == "0"
    if status == HTTPStatus.TOO_MANY_REQUESTS or (
        status == HTTPStatus.FORBIDDEN
        and ("retry-after" in headers or nothing_left or re.search("rate limit|abuse", message, re.IGNORECASE))
    ):
        wait = retry_after(headers.get("retry-after", ""), response)
        if wait is None and nothing_left:
            wait = until_reset(headers.get("x-ratelimit-reset", ""), response)
        return LimitError(reason, wait)
    line = f"GITHUB_ORG {organisation!r}: GET {response.url} {reason}: "
    if status == HTTPStatus.NOT_FOUND:
        return NotFoundError(line + _not_found(api_url))
    if status in (HTTPStatus.CONFLICT, HTTPStatus.UNAVAILABLE_FOR_LEGAL_REASONS):
        return UnavailableError(
            line + "GitHub can't serve it: the repository is empty (409) or blocked for legal reasons (451)."
        )
    kinds: dict[int, type[GitHubError]] = {
        HTTPStatus.UNAUTHORIZED: UnauthorizedError,
        HTTPStatus.FORBIDDEN: RefusedError,
        HTTPStatus.UNPROCESSABLE_ENTITY: RefusedError,
    }
    way_out = _way_out(status, headers.get("x-github-sso", "")[:500], with_token=with_token)
    return kinds.get(status, GitHubError)(line + way_out)


def _not_found(api_url: str) -> str:
    way_out = (
        "GitHub has no organisation or user of this name, or GITHUB_TOKEN may not read it. Check the spelling and "
        "whether it was renamed; a private one needs a GITHUB_TOKEN that may read it."
    )
    if urlsplit(api_url).hostname != "api.github.com":
        way_out += f" Is GITHUB_API_URL={api_url!r} right? A GitHub Enterprise Server's is https://HOST/api/v3."
    return way_out


def _way_out(status: int, single_sign_on: str, *, with_token: bool) -> str:
    if status == HTTPStatus.UNAUTHORIZED:
        return (
            "GITHUB_TOKEN was refused: it is mistyped, expired or revoked. Set a valid one, or unset it to read "
            "public repositories at 60 requests an hour."
        )
    if status == HTTPStatus.FORBIDDEN and "url=" in single_sign_on:
        return f"authorise GITHUB_TOKEN for its single sign-on at {single_sign_on.partition('url=')[2]}"
    if status == HTTPStatus.FORBIDDEN and with_token:
        return (
            "GITHUB_TOKEN may not read it: for private repositories, a classic token needs the scope `repo`; a "
            "fine-grained one needs the organisation's approval and the permission Metadata: read."
        )
    if status == HTTPStatus.FORBIDDEN:
        return "set a GITHUB_TOKEN that may read it."
    return "GitHub rejected the request. Check GITHUB_API_URL and GITHUB_API_VERSION."
