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
from ipaddress import ip_address
from typing import Any
from urllib.parse import urljoin, urlsplit

import requests
from requests.adapters import BaseAdapter
from tenacity import (
    RetryCallState,
    Retrying,
    retry_if_exception_type,
    stop_after_attempt,
    wait_exponential_jitter,
)
from urllib3.util import parse_url

_ATTEMPTS = 5  # at a request that fails for another reason than a rate limit
_ATTEMPTS_AT_LIMIT = 10
_REDIRECTS = 5
_FIRST_WAIT_AT_LIMIT = 60.0  # seconds, when GitHub does not say how long; doubled each time
_LONGEST_WAIT = 31_536_000.0  # a year: more is nonsense, and may be no date


_PASSING = (
    requests.ConnectionError,
    requests.Timeout,
    requests.exceptions.ChunkedEncodingError,
    requests.exceptions.ContentDecodingError,
)


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
    """A request failed in a way that passes."""


class _LimitError(Exception):
    """A rate limit. `wait` is in seconds; None where GitHub did not say."""

    def __init__(self, reason: str, wait: float | None) -> None:
        super().__init__(reason)
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
        api = parse_url(api_url)
        if token and api.scheme != "https" and not is_loopback(api.host or ""):
            raise GitHubError(f"GITHUB_API_URL={api_url!r}: GITHUB_TOKEN would travel unencrypted; use https.")
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
        # Over plain http a proxy of the environment would see the token, and would be asked for this machine's own.
        self._session.trust_env = not (api.scheme == "http" and is_loopback(api.host or ""))
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
        line = f"GITHUB_ORG {organisation!r}: GET {request}: "

        def tell(state: RetryCallState) -> None:
            told = f"{organisation}: GET {request}: {_why(state)}; again in {state.upcoming_sleep:.0f} s"
            self._log.warning("%s", self.redacted(told))

        def failed(state: RetryCallState) -> Answer:
            raise GitHubError(
                f"{line}{_why(state)}, at the last of {state.attempt_number} attempts. Check GITHUB_API_URL, the "
                "network and https://www.githubstatus.com, and run it again.",
                retryable=True,
            )

        def limited(state: RetryCallState) -> Answer:
            raise GitHubError(line + self._come_back(state))

        passing = Retrying(
            retry=retry_if_exception_type(_PassingError),
            wait=wait_exponential_jitter(initial=1, max=30),
            stop=stop_after_attempt(_ATTEMPTS),
            sleep=self._sleep,
            before_sleep=tell,
            retry_error_callback=failed,
        )
        limits = Retrying(
            retry=retry_if_exception_type(_LimitError),
            wait=_wait,
            stop=lambda state: (
                state.attempt_number >= _ATTEMPTS_AT_LIMIT or state.idle_for + state.upcoming_sleep > self._max_wait
            ),
            sleep=self._sleep,
            before_sleep=tell,
            retry_error_callback=limited,
        )
        return limits(passing, self._once, organisation, request)

    def _once(self, organisation: str, url: str) -> Answer:
        response = self._send(organisation, url)
        for _ in range(_REDIRECTS):
            if not response.is_redirect:
                break
            target = self._own(organisation, response, response.headers["location"], "GitHub redirects to")
            response = self._send(organisation, target)
        if not 200 <= response.status_code < 300:
            self._refuse(organisation, response)
        return self._read(organisation, response)

    def _own(self, organisation: str, response: requests.Response, target: str, what: str) -> str:
        """The URL that an answer names, if it leads to the configured host: the token goes nowhere else.

        Raises:
            GitHubError: It leads elsewhere.
        """
        with suppress(ValueError):  # it is none
            url = urljoin(response.url, target)
            if self._is_own(url):
                return url
        raise GitHubError(
            f"GITHUB_ORG {organisation!r}: {what} {target!r}, which is on another host than "
            f"GITHUB_API_URL={self._api_url!r} and is not asked for. Check GITHUB_API_URL and any proxy."
        )

    def redacted(self, text: str) -> str:
        """The text without the token, which GitHub or whatever stands between may have quoted."""
        return text.replace(self._token, "***") if self._token else text

    def _is_own(self, url: str) -> bool:
        with suppress(ValueError):
            return _origin(url) == _origin(self._api_url)
        return False

    def _authenticate(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        if self._token and self._is_own(request.url or ""):
            request.headers["Authorization"] = f"Bearer {self._token}"
        return request

    def _send(self, organisation: str, url: str) -> requests.Response:
        self.requests += 1
        try:
            # Redirects are followed by hand: requests would follow them to any host.
            response = self._session.get(url, timeout=self._timeout, allow_redirects=False)
        except _PASSING as error:
            reason = _innermost(error)
            said = str(reason) or type(reason).__name__
            # A name that does not exist and a certificate that is not trusted do not pass.
            unknown_name = isinstance(reason, socket.gaierror) and reason.errno == socket.EAI_NONAME
            if unknown_name or isinstance(reason, ssl.SSLCertVerificationError):
                raise self._failed(organisation, url, said) from None
            raise _PassingError(self._clean(said)) from None
        except (OSError, ValueError, TypeError) as error:  # a URL, proxy or certificate file that cannot be used
            raise self._failed(organisation, url, str(_innermost(error))) from None
        remaining = response.headers.get("x-ratelimit-remaining", "")
        self.rate_limit_remaining = int(remaining) if remaining.isdecimal() else None
        return response

    def _failed(self, organisation: str, url: str, reason: str) -> GitHubError:
        return GitHubError(
            f"GITHUB_ORG {organisation!r}: GET {url} failed: {self._clean(reason)}. Check GITHUB_API_URL, the network, "
            "and what the environment says of proxies and certificates."
        )

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
            and ("retry-after" in headers or nothing_left or re.search("rate limit|abuse", message, re.IGNORECASE))
        ):
            wait = _retry_after(headers.get("retry-after", ""), response)
            if wait is None and nothing_left:
                wait = _until_reset(headers.get("x-ratelimit-reset", ""), response)
            raise _LimitError(said, wait)
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
            if response.content.lstrip()[:1] in {b"[", b"{"}:
                raise _PassingError(f"answered {response.status_code} with JSON that breaks off") from None
            raise GitHubError(
                f"GITHUB_ORG {organisation!r}: GET {response.url} answered {response.status_code} with "
                f"{self._message(response)!r}, which is not JSON: no list of repositories. Check GITHUB_API_URL (a "
                "GitHub Enterprise Server's is https://HOST/api/v3) and any proxy."
            ) from None
        following, last = (response.links.get(relation, {}).get("url") for relation in ("next", "last"))
        if following:
            following = self._own(organisation, response, following, "the next page is")
        number = re.search(r"[?&]page=(\d+)", last or "")
        return Answer(response.url, body, following, int(number[1]) if number else None)

    def _message(self, response: requests.Response) -> str:
        """What GitHub says of it, in one line and without the token."""
        text = response.text
        with suppress(ValueError, RecursionError, KeyError, TypeError):
            text = str(json.loads(text)["message"])
        return self._clean(text)

    def _clean(self, text: str) -> str:
        text = " ".join(self.redacted(text).split())
        return text if len(text) <= 200 else f"{text[:197]}..."

    def _come_back(self, state: RetryCallState) -> str:
        wait, waited = state.upcoming_sleep, state.idle_for
        back = datetime.now(UTC) + timedelta(seconds=wait + 1)
        token = "" if self._token else " Without GITHUB_TOKEN there are 60 requests an hour, with one 5,000."
        return (
            f"{_why(state)}. Come back at {back:%Y-%m-%d %H:%M:%S} UTC: after {waited:.0f} s of waiting, {wait:.0f} s "
            f"more are asked for, beyond GITHUB_MAX_WAIT_SECONDS={self._max_wait:.0f} or {_ATTEMPTS_AT_LIMIT} attempts."
            f"{token}"
        )


def _why(state: RetryCallState) -> str:
    return str(state.outcome.exception() if state.outcome else None)


def _wait(state: RetryCallState) -> float:
    limit = state.outcome.exception() if state.outcome else None
    if isinstance(limit, _LimitError) and limit.wait is not None:
        return min(limit.wait, _LONGEST_WAIT)
    return _FIRST_WAIT_AT_LIMIT * 2 ** (state.attempt_number - 1)


def _innermost(error: BaseException) -> BaseException:
    """What went wrong: requests and urllib3 wrap it several times, each quoting the other."""
    while error.__context__:
        error = error.__context__
    return error


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
    return max(1.0, float(value) - _now(response).timestamp() + 1)


def _now(response: requests.Response) -> datetime:
    """The time by GitHub's clock: this machine's may be wrong."""
    with suppress(KeyError, ValueError):
        return parsedate_to_datetime(response.headers["date"])
    return datetime.now(UTC)


def is_loopback(host: str) -> bool:
    """Whether this host is this machine."""
    with suppress(ValueError):
        return ip_address(host.strip("[]")).is_loopback
    return host == "localhost"


def _origin(url: str) -> tuple[str | None, str | None, int | None]:
    """Scheme, host and port, read as the library reads them that connects to them."""
    parts = parse_url(url)
    return parts.scheme, parts.host, parts.port or {"http": 80, "https": 443}.get(parts.scheme or "")
