"""Requests to GitHub's API: the token, the retries, the rate limits, and what a refusal means.

What does not belong here: which repositories are asked for, and in which order (`client.py`).

https://docs.github.com/en/rest/using-the-rest-api/best-practices-for-using-the-rest-api
"""

import json
import logging
import re
import socket
import ssl
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Any
from urllib.parse import urljoin, urlsplit

import requests
from requests.adapters import BaseAdapter
from tenacity import RetryCallState, Retrying, retry_if_exception_type, wait_exponential_jitter

_ATTEMPTS = 5  # at a request that fails for another reason than a rate limit
_ATTEMPTS_AT_LIMIT = 10
_REDIRECTS = 5
_FIRST_WAIT_AT_LIMIT = 60.0  # seconds, when GitHub does not say how long; doubled each time
_backoff = wait_exponential_jitter(initial=1, max=30)


class GitHubError(Exception):
    """GitHub refused a request or sent what is not a list of repositories. One line: what, why and the way out.

    Attributes:
        retryable: Whether the same may succeed some minutes later.
    """

    def __init__(self, message: str, *, retryable: bool = False) -> None:
        """Take the one line."""
        super().__init__(message)
        self.retryable = retryable


class _PassingError(Exception):
    """A request failed in a way that passes. `wait` is in seconds; None where GitHub did not say."""

    def __init__(self, reason: str, *, at_limit: bool = False, wait: float | None = None) -> None:
        super().__init__(reason)
        self.at_limit = at_limit
        self.wait = wait


@dataclass
class Answer:
    """A good answer.

    Attributes:
        url: What was asked.
        body: The parsed JSON.
        next: The URL of the next page, if there is one.
        pages: How many pages the listing has; None on the last page, where GitHub does not say.
    """

    url: str
    body: Any
    next: str | None
    pages: int | None


class NotFoundError(GitHubError):
    """GitHub answered 404."""


class Connection:
    """A session with GitHub's API, for one crawl.

    Attributes:
        requests: Requests sent so far, failed ones included.
        rate_limit_remaining: Requests left in the current hour, as GitHub last said; None when it did not.
    """

    def __init__(
        self,
        api_url: str,
        token: str | None,
        *,
        api_version: str,
        timeout: tuple[float, float],
        max_wait: float,
        sleep: Callable[[float], None],
        log: logging.Logger | logging.LoggerAdapter[Any],
        transport: BaseAdapter | None = None,
    ) -> None:
        """Open nothing yet; see `mds_assets.github.client.GitHub` for what the arguments mean."""
        self.requests = 0
        self.rate_limit_remaining: int | None = None
        self._api_url = api_url
        self._token = token
        self._timeout = timeout
        self._max_wait = max_wait
        self._sleep = sleep
        self._log = log
        self._session = requests.Session()
        self._session.headers["Accept"] = "application/vnd.github+json"
        self._session.headers["User-Agent"] = "mds-assets"
        self._session.headers["X-GitHub-Api-Version"] = api_version
        # Also without a token: where a session has no `auth`, requests sends what ~/.netrc has for the host instead.
        self._session.auth = self._authenticate
        # A plain http URL is one of this machine: a proxy of the environment would see the token.
        self._session.trust_env = urlsplit(api_url).scheme == "https"
        if transport:
            self._session.mount(api_url, transport)

    def close(self) -> None:
        """Close the sockets."""
        self._session.close()

    def get(self, organisation: str, url: str, query: dict[str, str] | None = None) -> Answer:
        """Ask once, or again where a failure passes.

        Network errors, time-outs, 5xx and truncated bodies are retried 4 times, after 1, 2, 4 and 8 seconds and up to a
        second more. A rate limit is waited for as GitHub asks: `retry-after`, else until `x-ratelimit-reset` when
        nothing remains, else a minute, doubled each time.

        Raises:
            NotFoundError: GitHub answered 404.
            GitHubError: Any other refusal; a failure that did not pass; a wait longer than `max_wait`.
        """
        request = requests.Request("GET", url, params=query).prepare().url or url

        def tell(state: RetryCallState) -> None:
            self._log.warning(
                "%s: GET %s: %s; again in %.0f s", organisation, request, _why(state), state.upcoming_sleep
            )

        def give_up(state: RetryCallState) -> Answer:
            raise self._given_up(organisation, request, state)

        return Retrying(
            retry=retry_if_exception_type(_PassingError),
            wait=_wait,
            stop=lambda state: state.attempt_number >= _attempts(state) or self._takes_too_long(state),
            sleep=self._sleep,
            before_sleep=tell,
            retry_error_callback=give_up,
        )(self._once, organisation, request)

    def _once(self, organisation: str, url: str) -> Answer:
        response = self._send(organisation, url)
        for _ in range(_REDIRECTS):
            if not response.is_redirect:
                break
            target = urljoin(response.url, response.headers["location"])
            response = self._send(organisation, self.own(organisation, target, "GitHub redirects to"))
        if not 200 <= response.status_code < 300:
            self._refuse(organisation, response)
        return self._read(organisation, response)

    def own(self, organisation: str, url: str, what: str) -> str:
        """The URL, which GitHub's answer named, if it leads to the configured host: the token goes nowhere else.

        Raises:
            GitHubError: It leads elsewhere.
        """
        if _origin(url) != _origin(self._api_url):
            raise GitHubError(
                f"GITHUB_ORG {organisation!r}: {what} {url!r}, which is on another host than "
                f"GITHUB_API_URL={self._api_url!r} and is not asked for. Check GITHUB_API_URL and any proxy."
            )
        return url

    def _authenticate(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        if self._token and _origin(request.url or "") == _origin(self._api_url):
            request.headers["Authorization"] = f"Bearer {self._token}"
        return request

    def _send(self, organisation: str, url: str) -> requests.Response:
        self.requests += 1
        try:
            # Redirects are followed by hand: requests would follow them to any host.
            response = self._session.get(url, timeout=self._timeout, allow_redirects=False)
        except requests.RequestException as error:
            reason: BaseException = error
            while reason.__context__:  # requests and urllib3 wrap it several times, each quoting the other
                reason = reason.__context__
            said = self._clean(str(reason) or type(reason).__name__)
            # A name that does not exist and a certificate that is not trusted do not pass.
            unknown_name = isinstance(reason, socket.gaierror) and reason.errno == socket.EAI_NONAME
            if (
                unknown_name
                or isinstance(reason, ssl.SSLCertVerificationError)
                or not isinstance(
                    error, requests.ConnectionError | requests.Timeout | requests.exceptions.ChunkedEncodingError
                )
            ):
                raise GitHubError(
                    f"GITHUB_ORG {organisation!r}: GET {url} failed: {said}. Check GITHUB_API_URL and the network."
                ) from None
            raise _PassingError(said) from None
        remaining = response.headers.get("x-ratelimit-remaining", "")
        self.rate_limit_remaining = int(remaining) if remaining.isdecimal() else None
        return response

    def _refuse(self, organisation: str, response: requests.Response) -> None:
        """Raise what a status other than 2xx means."""
        status, headers = response.status_code, response.headers
        message = self._message(response)
        said = f"answered {status} {message!r}"
        if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            raise _PassingError(said)
        nothing_left = headers.get("x-ratelimit-remaining") == "0"
        if status == HTTPStatus.TOO_MANY_REQUESTS or (
            status == HTTPStatus.FORBIDDEN
            and ("retry-after" in headers or nothing_left or "rate limit" in message.lower())
        ):
            wait = _retry_after(headers.get("retry-after", ""), response)
            if wait is None and nothing_left:
                wait = _until_reset(headers.get("x-ratelimit-reset", ""), response)
            raise _PassingError(said, at_limit=True, wait=wait)
        line = f"GITHUB_ORG {organisation!r}: GET {response.url} {said}: "
        if status == HTTPStatus.NOT_FOUND:
            raise NotFoundError(line + self._not_found())
        raise GitHubError(line + self._way_out(status, headers.get("x-github-sso", "")))

    def _not_found(self) -> str:
        way_out = (
            "GitHub knows no organisation or user of this name, or GITHUB_TOKEN may not see it. Check the spelling and "
            "whether it was renamed; a private one needs a GITHUB_TOKEN that may read it."
        )
        if urlsplit(self._api_url).hostname != "api.github.com":
            way_out += (
                f" Is GITHUB_API_URL={self._api_url!r} right? A GitHub Enterprise Server's is https://HOST/api/v3."
            )
        return way_out

    def _way_out(self, status: int, single_sign_on: str) -> str:
        if status == HTTPStatus.UNAUTHORIZED:
            return (
                "GITHUB_TOKEN was refused: it is mistyped, expired or revoked. Set a valid one, or unset it to read "
                "public repositories at 60 requests an hour."
            )
        if status == HTTPStatus.FORBIDDEN and "url=" in single_sign_on:
            return f"authorise GITHUB_TOKEN for its single sign-on at {single_sign_on.partition('url=')[2]}"
        if status == HTTPStatus.FORBIDDEN and self._token:
            return (
                "GITHUB_TOKEN may not read it: a classic one needs the scope `repo` for private repositories, a "
                "fine-grained one the organisation's approval and the permission Metadata: read."
            )
        if status == HTTPStatus.FORBIDDEN:
            return "set a GITHUB_TOKEN that may read it."
        return "GitHub refused the request. Check GITHUB_API_URL and GITHUB_API_VERSION."

    def _read(self, organisation: str, response: requests.Response) -> Answer:
        try:
            body = json.loads(response.content)
        except (ValueError, RecursionError):
            if "json" in response.headers.get("content-type", ""):
                raise _PassingError(f"answered {response.status_code} with JSON that breaks off") from None
            raise GitHubError(
                f"GITHUB_ORG {organisation!r}: GET {response.url} answered {response.status_code} with "
                f"{self._message(response)!r}, which is not JSON: no list of repositories. Check GITHUB_API_URL (a "
                "GitHub Enterprise Server's is https://HOST/api/v3) and any proxy."
            ) from None
        following, last = (response.links.get(relation, {}).get("url") for relation in ("next", "last"))
        if following:
            following = self.own(organisation, urljoin(response.url, following), "the next page is")
        number = re.search(r"[?&]page=(\d+)", last or "")
        return Answer(response.url, body, following, int(number[1]) if number else None)

    def _message(self, response: requests.Response) -> str:
        """What GitHub says of it, in one line and without the token."""
        text = response.text
        with suppress(ValueError, RecursionError, KeyError, TypeError):
            text = str(json.loads(text)["message"])
        return self._clean(text)

    def _clean(self, text: str) -> str:
        if self._token:
            text = text.replace(self._token, "***")
        text = " ".join(text.split())
        return text if len(text) <= 200 else f"{text[:197]}..."

    def _takes_too_long(self, state: RetryCallState) -> bool:
        return state.idle_for + state.upcoming_sleep > self._max_wait

    def _given_up(self, organisation: str, url: str, state: RetryCallState) -> GitHubError:
        line = f"GITHUB_ORG {organisation!r}: GET {url}: {_why(state)}"
        failure = _failure(state)
        if not (failure and failure.at_limit and self._takes_too_long(state)):
            return GitHubError(
                f"{line}, at the last of {state.attempt_number} attempts. Check GITHUB_API_URL, the network and "
                "https://www.githubstatus.com, and run it again.",
                retryable=True,
            )
        wait, waited = state.upcoming_sleep, state.idle_for
        back = datetime.now(UTC) + timedelta(seconds=wait + 1)
        token = "" if self._token else " Without GITHUB_TOKEN there are 60 requests an hour, with one 5,000."
        return GitHubError(
            f"{line}. Come back at {back:%Y-%m-%d %H:%M:%S} UTC: a wait of {wait:.0f} s, after {waited:.0f} s of "
            f"waiting, is longer than GITHUB_MAX_WAIT_SECONDS={self._max_wait:.0f} allows.{token}"
        )


def _failure(state: RetryCallState) -> _PassingError | None:
    error = state.outcome.exception() if state.outcome else None
    return error if isinstance(error, _PassingError) else None


def _why(state: RetryCallState) -> str:
    return str(_failure(state))


def _attempts(state: RetryCallState) -> int:
    failure = _failure(state)
    return _ATTEMPTS_AT_LIMIT if failure and failure.at_limit else _ATTEMPTS


def _wait(state: RetryCallState) -> float:
    failure = _failure(state)
    if not failure or not failure.at_limit:
        return _backoff(state)
    return failure.wait if failure.wait is not None else _FIRST_WAIT_AT_LIMIT * 2 ** (state.attempt_number - 1)


def _retry_after(value: str, response: requests.Response) -> float | None:
    """The header's seconds; it may also be a date."""
    if value.isdecimal():
        return float(value)
    with suppress(ValueError, TypeError):
        return max(0.0, (parsedate_to_datetime(value) - _now(response)).total_seconds())
    return None


def _until_reset(value: str, response: requests.Response) -> float | None:
    if not value.isdecimal():
        return None
    return max(1.0, int(value) - _now(response).timestamp() + 1)


def _now(response: requests.Response) -> datetime:
    """The time by GitHub's clock: this machine's may be wrong."""
    with suppress(KeyError, ValueError):
        return parsedate_to_datetime(response.headers["date"])
    return datetime.now(UTC)


def _origin(url: str) -> tuple[str, str | None, int | None]:
    parts = urlsplit(url)
    return parts.scheme, parts.hostname, parts.port or {"http": 80, "https": 443}.get(parts.scheme)
