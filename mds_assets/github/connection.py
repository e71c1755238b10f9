"""Requests to GitHub's API: authentication, retries and rate limits.

https://docs.github.com/en/rest/using-the-rest-api/best-practices-for-using-the-rest-api
"""

import json
import logging
import re
import socket
import ssl
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urljoin

import requests
from requests.adapters import BaseAdapter
from tenacity import (
    RetryCallState,
    Retrying,
    retry_if_exception_type,
    wait_exponential_jitter,
)
from urllib3.util import parse_url

from mds_assets.github.body import InvalidBodyError, parse_json
from mds_assets.github.clock import ClockSkew
from mds_assets.github.errors import (
    GitHubError,
    LimitError,
    LimitReachedError,
    PacedError,
    TransientError,
    UnreachedError,
    error_from,
)
from mds_assets.github.headers import now_of, number, until_reset
from mds_assets.github.loopback import is_loopback
from mds_assets.github.pace import Pace
from mds_assets.github.transport import BoundedSession, BoundError, Received

_ATTEMPTS = 5  # per request, rate limits aside
_ATTEMPTS_AT_LIMIT = 10
_ATTEMPTS_IF_REFUSED = 3  # connections, before any response: most likely, nothing listens there
_CALLERS_WAITS = 120.0  # seconds that whoever retries a failed run's request waits, see GitHubError.retryable
_REDIRECTS = 5
_FIRST_WAIT_AT_LIMIT = 60.0  # seconds, if GitHub sets no time; doubled on each retry
_LONGEST_WAIT = 31_536_000.0  # a year; a longer wait could overflow a datetime
_LONGEST_TEXT = 10_000  # characters that an error is made from
_MESSAGE, _URL = 200, 500  # the most characters of either in an error
_SEARCHES_A_MINUTE = {True: 30, False: 10}  # with and without a token; separate from the hourly limit


_TRANSIENT_ERRORS = (
    requests.ConnectionError,
    requests.Timeout,
    requests.exceptions.ChunkedEncodingError,
    requests.exceptions.ContentDecodingError,
)


@dataclass
class Response:
    """A successful response.

    Attributes:
        url: The requested URL.
        body: The parsed JSON.
        next: The URL of the next page, if any.
        pages: How many pages the listing has; None on the last page, where GitHub omits it.
    """

    url: str
    body: Any
    next: str | None
    pages: int | None

    @property
    def is_empty(self) -> bool:
        """Whether the page has no items."""
        return not (self.body.get("items") if isinstance(self.body, dict) else self.body)


class Connection:
    """An HTTP connection to GitHub's API, for one run.

    Attributes:
        requests: Requests sent so far, failed ones included.
        rate_limit_remaining: Requests left in the current hour, from GitHub's last response; None if it had no such
            header.
        rate_limit_reset: When that hour ends, UTC; None if unknown.
        searches: Paces searches, which have their own per-minute limit.
        clock: The time of GitHub's last response by its own clock, UTC; the local time before the first.
        warnings: Anomalies that concern no single table: whoever reports them takes them with `take_warnings`.
        log: Receives a line per retry.
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
        monotonic: Callable[[], float] = time.monotonic,
        max_seconds: float,
        max_bytes: int,
    ) -> None:
        """Open nothing yet. `mds_assets.github.client.GitHub` documents the arguments."""
        api = parse_url(api_url)
        if token and api.scheme != "https" and not is_loopback(api.host or ""):
            raise GitHubError(f"GITHUB_API_URL={api_url!r}: GITHUB_TOKEN would travel unencrypted; use https.")
        self.requests = 0
        self.rate_limit_remaining: int | None = None
        self.rate_limit_reset: datetime | None = None
        self.searches = Pace(_SEARCHES_A_MINUTE[bool(token)], monotonic)
        self.clock = datetime.now(UTC)
        self.warnings: list[str] = []
        self.log = log
        self._private: dict[str, str] = {}
        self._api_url = api_url
        self._token = token
        self._timeout = timeout
        self._max_wait = max_wait
        self._sleep = sleep
        self._was_reached = False  # whether there was any response, or a connection that failed in another way
        self._is_unreachable = False  # whether that was given up: the run's other tables need not try for as long
        self._skew = ClockSkew()
        self._session = BoundedSession(max_seconds, max_bytes)
        self._session.headers["Accept"] = "application/vnd.github+json"
        self._session.headers["User-Agent"] = "mds-assets"
        self._session.headers["X-GitHub-Api-Version"] = api_version
        # Set even without a token: if a session has no `auth`, requests sends the host's entry in ~/.netrc.
        self._session.auth = self._authenticate
        # Over plain http, a proxy from the environment would see the token, even for requests to this machine.
        self._session.trust_env = not (api.scheme == "http" and is_loopback(api.host or ""))
        if transport:
            self._session.mount(api_url, transport)

    def close(self) -> None:
        """Close the sockets."""
        self._session.close()

    def get(
        self,
        organisation: str,
        url: str,
        query: dict[str, str] | None = None,
        check: Callable[[Response], None] = lambda _: None,
    ) -> Response:
        """Send a request, and retry it on transient errors: `check` raises TransientError to reject a response.

        Network errors, time-outs, 5xx and truncated bodies are retried 4 times, after 1, 2, 4 and 8 seconds, each plus
        up to a second; twice, if the very first connections are refused. A response that exceeds a bound is not: it
        took minutes, or will be as large again. On a rate limit, wait as GitHub asks: `retry-after`, else until
        `x-ratelimit-reset` if nothing remains, else a minute, doubled each time.

        Raises:
            NotFoundError: GitHub returned 404.
            UnavailableError: GitHub returned 409 or 451.
            GitHubError: Any other error status; a transient error that persisted; a wait longer than `max_wait`.
        """
        request = requests.Request("GET", url, params=query).prepare().url or url
        shown = _cut(request, _URL)
        line = f"GITHUB_ORG {organisation!r}: GET {shown}: "

        def log_retry(state: RetryCallState) -> None:
            message = f"{organisation}: GET {shown}: {_why(state)}; again in {state.upcoming_sleep:.0f} s"
            paced = state.outcome and isinstance(state.outcome.exception(), PacedError)
            self.log.log(logging.INFO if paced else logging.WARNING, "%s", self.redacted(message))

        def too_often(state: RetryCallState) -> bool:
            attempts = _ATTEMPTS
            if not self._was_reached and state.outcome and isinstance(state.outcome.exception(), UnreachedError):
                attempts = 1 if self._is_unreachable else _ATTEMPTS_IF_REFUSED
            return state.attempt_number >= attempts or state.idle_for + state.upcoming_sleep > self._max_wait

        def failed(state: RetryCallState) -> Response:
            self._is_unreachable = not self._was_reached
            attempts = "1 attempt" if state.attempt_number == 1 else f"{state.attempt_number} attempts"
            raise GitHubError(
                f"{line}{_why(state)}, after {attempts}. Check GITHUB_API_URL, the network and "
                "https://www.githubstatus.com, and run it again.",
                retryable=self._was_reached and self._max_wait >= _CALLERS_WAITS,
            )

        def limited(state: RetryCallState) -> Response:
            raise LimitReachedError(line + self._limit_exceeded(state))

        passing = Retrying(
            retry=retry_if_exception_type(TransientError),
            wait=wait_exponential_jitter(initial=1, max=30),
            stop=too_often,
            sleep=self._sleep,
            before_sleep=log_retry,
            retry_error_callback=failed,
        )
        limits = Retrying(
            retry=retry_if_exception_type(LimitError),
            wait=_wait,
            stop=lambda state: (
                state.attempt_number >= _ATTEMPTS_AT_LIMIT or state.idle_for + state.upcoming_sleep > self._max_wait
            ),
            sleep=self._sleep,
            before_sleep=log_retry,
            retry_error_callback=limited,
        )
        return limits(passing, self._once, organisation, request, check)

    def _once(self, organisation: str, url: str, check: Callable[[Response], None]) -> Response:
        received = self._send(organisation, url)
        for _ in range(_REDIRECTS):
            response = received.response
            if not response.is_redirect:
                break
            target = self._same_host_url(organisation, response, response.headers["location"], "GitHub redirects to")
            received = self._send(organisation, target)
        if not 200 <= received.response.status_code < 300:
            message = self._message(received.content)
            raise error_from(organisation, received.response, message, self._api_url, with_token=bool(self._token))
        parsed = self._read(organisation, received)
        check(parsed)
        return parsed

    def _same_host_url(self, organisation: str, response: requests.Response, target: str, source: str) -> str:
        """The absolute URL of a link or redirect, if it is on the configured host: the token goes nowhere else.

        Raises:
            GitHubError: It is on another host.
        """
        with suppress(ValueError):  # not a URL
            url = urljoin(response.url, target)
            if self._is_api_host(url):
                return url
        raise GitHubError(
            f"GITHUB_ORG {organisation!r}: {source} {_cut(target, _URL)!r}, which is on another host than "
            f"GITHUB_API_URL={self._api_url!r} and was not requested. Check GITHUB_API_URL and any proxy."
        )

    def redacted(self, text: str) -> str:
        """The text without private names and without the token, which GitHub or a proxy may quote."""
        # Longest first: one name may be the beginning of another, whose rest would then stay readable.
        for name in sorted(self._private, key=len, reverse=True):
            text = text.replace(name, self._private[name])
        return text.replace(self._token, "***") if self._token else text

    def keep_private(self, name: str, label: str) -> None:
        """From now on, replace this name with the label in logs and errors: URLs contain it."""
        self._private[name] = label

    def _is_api_host(self, url: str) -> bool:
        with suppress(ValueError):
            return _origin(url) == _origin(self._api_url)
        return False

    def _is_search(self, url: str) -> bool:
        root, path = (parse_url(each).path or "" for each in (self._api_url, url))
        return path.removeprefix(root).startswith("/search/")

    def _authenticate(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        if self._token and self._is_api_host(request.url or ""):
            request.headers["Authorization"] = f"Bearer {self._token}"
        return request

    def take_warnings(self) -> list[str]:
        """The warnings that were not taken yet."""
        taken, self.warnings = self.warnings, []
        return taken

    def _send(self, organisation: str, url: str) -> Received:
        if self._is_search(url):
            self.searches.take()
        self.requests += 1
        try:
            # Redirects are followed by hand: requests would follow them to any host.
            received = self._session.fetch(url, self._timeout)
        except BoundError as error:
            raise GitHubError(
                f"GITHUB_ORG {organisation!r}: GET {_cut(url, _URL)}: the response {error}. Nothing was landed. "
                "GitHub's own are smaller and faster: check GITHUB_API_URL and any proxy.",
                retryable=error.retryable and self._max_wait >= _CALLERS_WAITS,
            ) from None
        except _TRANSIENT_ERRORS as error:
            cause = _innermost(error)
            reason = str(cause) or type(cause).__name__
            # An unknown host name and an untrusted certificate are not transient.
            unknown_name = isinstance(cause, socket.gaierror) and cause.errno == socket.EAI_NONAME
            if unknown_name or isinstance(cause, ssl.SSLCertVerificationError):
                raise self._failed(organisation, url, reason) from None
            if isinstance(cause, ConnectionRefusedError):
                raise UnreachedError(self._clean(reason)) from None
            self._was_reached = True
            raise TransientError(self._clean(reason)) from None
        except (OSError, ValueError, TypeError) as error:  # an unusable URL, proxy or certificate file
            raise self._failed(organisation, url, str(_innermost(error))) from None
        self._was_reached = True
        self._record_clock(received)
        self._record_limit(received.response)
        return received

    def _record_clock(self, received: Received) -> None:
        """Store GitHub's time, and warn once if the local clock differs."""
        self.clock = now_of(received.response)
        if warning := self._skew.warning(received.response, received.at):
            self.warnings.append(warning)
            self.log.warning("%s", warning)

    def _record_limit(self, response: requests.Response) -> None:
        """Store what is left of the rate limit that this response counted against."""
        limit, remaining = (number(response.headers.get(f"x-ratelimit-{name}")) for name in ("limit", "remaining"))
        wait = until_reset(response.headers.get("x-ratelimit-reset", ""), response)
        if self._is_search(response.url):
            # After an error, the retry waits as the response asks.
            if response.ok and response.headers.get("x-ratelimit-resource") == "search":
                self.searches.adjust(limit, remaining, wait)
            return
        self.rate_limit_remaining = remaining
        self.rate_limit_reset = None if wait is None else self.clock + timedelta(seconds=min(wait, _LONGEST_WAIT))

    def _failed(self, organisation: str, url: str, reason: str) -> GitHubError:
        return GitHubError(
            f"GITHUB_ORG {organisation!r}: GET {_cut(url, _URL)} failed: {self._clean(reason)}. Check "
            "GITHUB_API_URL, the network, and the environment's proxy and certificate settings."
        )

    def _read(self, organisation: str, received: Received) -> Response:
        response, content, _ = received
        line = f"GITHUB_ORG {organisation!r}: GET {_cut(response.url, _URL)} answered {response.status_code} with "
        try:
            body = parse_json(content)
        except InvalidBodyError as error:
            raise GitHubError(
                f"{line}{error}, which GitHub never sends. Nothing was landed. Check GITHUB_API_URL and any proxy."
            ) from None
        except ValueError:
            if content.lstrip().startswith((b"[", b"{")):
                raise TransientError(f"answered {response.status_code} with truncated JSON") from None
            raise GitHubError(
                f"{line}{self._message(content)!r}, which is not JSON. Check GITHUB_API_URL (a GitHub Enterprise "
                "Server's is https://HOST/api/v3) and any proxy."
            ) from None
        following, last = (response.links.get(relation, {}).get("url") for relation in ("next", "last"))
        if following:
            following = self._same_host_url(organisation, response, following, "the next page is")
        page = re.search(r"[?&]page=(\d+)", last or "")
        return Response(response.url, body, following, number(page[1]) if page else None)

    def _message(self, content: bytearray) -> str:
        """GitHub's message, on one line and without the token."""
        text = content.decode(errors="replace")
        with suppress(ValueError, RecursionError, KeyError, TypeError):
            text = str(json.loads(text)["message"])
        return self._clean(text)

    def _clean(self, text: str) -> str:
        text = self.redacted(text)[:_LONGEST_TEXT]  # splitting 64 MiB into words takes gigabytes
        return _cut(" ".join(text.split()), _MESSAGE)

    def _limit_exceeded(self, state: RetryCallState) -> str:
        wait, waited = state.upcoming_sleep, state.idle_for
        back = datetime.now(UTC) + timedelta(seconds=wait + 1)
        token = "" if self._token else " GitHub allows 60 requests an hour without GITHUB_TOKEN, 5,000 with one."
        return (
            f"{_why(state)}. Retry at {back:%Y-%m-%d %H:%M:%S} UTC: after {waited:.0f} s of waiting, another "
            f"{wait:.0f} s would exceed GITHUB_MAX_WAIT_SECONDS={self._max_wait:.0f} or {_ATTEMPTS_AT_LIMIT} attempts."
            f"{token}"
        )


def _cut(text: str, length: int) -> str:
    return text if len(text) <= length else f"{text[: length - 3]}..."


def _why(state: RetryCallState) -> str:
    return str(state.outcome.exception() if state.outcome else None)


def _wait(state: RetryCallState) -> float:
    limit = state.outcome.exception() if state.outcome else None
    if isinstance(limit, LimitError) and limit.wait is not None:
        return min(limit.wait, _LONGEST_WAIT)
    return _FIRST_WAIT_AT_LIMIT * 2 ** (state.attempt_number - 1)


def _innermost(error: BaseException) -> BaseException:
    """The original error: requests and urllib3 wrap it several times, each quoting the last."""
    while error.__context__:
        error = error.__context__
    return error


def _origin(url: str) -> tuple[str | None, str | None, int | None]:
    """Scheme, host and port, parsed by the library that connects to them."""
    parts = parse_url(url)
    return parts.scheme, parts.host, parts.port or {"http": 80, "https": 443}.get(parts.scheme or "")
