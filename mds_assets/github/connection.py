"""Requests to GitHub's API: the token, the retries and the rate limits.

What does not belong here: which repositories are asked for, and in which order (`client.py`); what a refusal means
(`errors.py`).

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
    stop_after_attempt,
    wait_exponential_jitter,
)
from urllib3.util import parse_url

from mds_assets.github.errors import GitHubError, LimitError, PacedError, PassingError, now_of, refusal, until_reset
from mds_assets.github.loopback import is_loopback
from mds_assets.github.pace import Pace

_ATTEMPTS = 5  # at a request that fails for another reason than a rate limit
_ATTEMPTS_AT_LIMIT = 10
_REDIRECTS = 5
_FIRST_WAIT_AT_LIMIT = 60.0  # seconds, when GitHub does not say how long; doubled each time
_LONGEST_WAIT = 31_536_000.0  # a year: more is nonsense, and may be no date
_SEARCHES_A_MINUTE = {True: 30, False: 10}  # with a token and without: a limit apart from the hour's


_PASSING = (
    requests.ConnectionError,
    requests.Timeout,
    requests.exceptions.ChunkedEncodingError,
    requests.exceptions.ContentDecodingError,
)


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


class Connection:
    """A session with GitHub's API, for one crawl.

    Attributes:
        requests: Requests sent so far, failed ones included.
        rate_limit_remaining: Requests left in the current hour, as GitHub last said; None when it did not.
        rate_limit_reset: When that hour ends, UTC; None when GitHub did not say.
        searches: The pace of searches, which have a limit of their own.
        clock: The newest answer's time by GitHub's clock, UTC; this machine's time before the first answer.
        log: Gets a line for each request that is sent again.
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
    ) -> None:
        """Open nothing yet; see `mds_assets.github.client.GitHub` for what the arguments mean."""
        api = parse_url(api_url)
        if token and api.scheme != "https" and not is_loopback(api.host or ""):
            raise GitHubError(f"GITHUB_API_URL={api_url!r}: GITHUB_TOKEN would travel unencrypted; use https.")
        self.requests = 0
        self.rate_limit_remaining: int | None = None
        self.rate_limit_reset: datetime | None = None
        self.searches = Pace(_SEARCHES_A_MINUTE[bool(token)], monotonic)
        self.clock = datetime.now(UTC)
        self.log = log
        self._private: dict[str, str] = {}
        self._api_url = api_url
        self._token = token
        self._timeout = timeout
        self._max_wait = max_wait
        self._sleep = sleep
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

    def get(
        self,
        organisation: str,
        url: str,
        query: dict[str, str] | None = None,
        check: Callable[[Answer], None] = lambda _: None,
    ) -> Answer:
        """Ask once, or again where a failure passes; `check` raises PassingError at an answer that has to be redone.

        Network errors, time-outs, 5xx and truncated bodies are retried 4 times, after 1, 2, 4 and 8 seconds and up to a
        second more. A rate limit is waited for as GitHub asks: `retry-after`, else until `x-ratelimit-reset` when
        nothing remains, else a minute, doubled each time.

        Raises:
            NotFoundError: GitHub answered 404.
            UnavailableError: GitHub answered 409 or 451.
            GitHubError: Any other refusal; a failure that did not pass; a wait longer than `max_wait`.
        """
        request = requests.Request("GET", url, params=query).prepare().url or url
        line = f"GITHUB_ORG {organisation!r}: GET {request}: "

        def tell(state: RetryCallState) -> None:
            told = f"{organisation}: GET {request}: {_why(state)}; again in {state.upcoming_sleep:.0f} s"
            paced = state.outcome and isinstance(state.outcome.exception(), PacedError)
            self.log.log(logging.INFO if paced else logging.WARNING, "%s", self.redacted(told))

        def failed(state: RetryCallState) -> Answer:
            raise GitHubError(
                f"{line}{_why(state)}, at the last of {state.attempt_number} attempts. Check GITHUB_API_URL, the "
                "network and https://www.githubstatus.com, and run it again.",
                retryable=True,
            )

        def limited(state: RetryCallState) -> Answer:
            raise GitHubError(line + self._come_back(state))

        passing = Retrying(
            retry=retry_if_exception_type(PassingError),
            wait=wait_exponential_jitter(initial=1, max=30),
            stop=stop_after_attempt(_ATTEMPTS),
            sleep=self._sleep,
            before_sleep=tell,
            retry_error_callback=failed,
        )
        limits = Retrying(
            retry=retry_if_exception_type(LimitError),
            wait=_wait,
            stop=lambda state: (
                state.attempt_number >= _ATTEMPTS_AT_LIMIT or state.idle_for + state.upcoming_sleep > self._max_wait
            ),
            sleep=self._sleep,
            before_sleep=tell,
            retry_error_callback=limited,
        )
        return limits(passing, self._once, organisation, request, check)

    def _once(self, organisation: str, url: str, check: Callable[[Answer], None]) -> Answer:
        response = self._send(organisation, url)
        for _ in range(_REDIRECTS):
            if not response.is_redirect:
                break
            target = self._own(organisation, response, response.headers["location"], "GitHub redirects to")
            response = self._send(organisation, target)
        if not 200 <= response.status_code < 300:
            raise refusal(organisation, response, self._message(response), self._api_url, with_token=bool(self._token))
        answer = self._read(organisation, response)
        check(answer)
        return answer

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
        for name, label in self._private.items():
            text = text.replace(name, label)
        return text.replace(self._token, "***") if self._token else text

    def keep_private(self, name: str, label: str) -> None:
        """From now on, lines of the log and errors say the label in place of this name, which URLs hold."""
        self._private[name] = label

    def _is_own(self, url: str) -> bool:
        with suppress(ValueError):
            return _origin(url) == _origin(self._api_url)
        return False

    def _is_search(self, url: str) -> bool:
        root, path = (parse_url(each).path or "" for each in (self._api_url, url))
        return path.removeprefix(root).startswith("/search/")

    def _authenticate(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        if self._token and self._is_own(request.url or ""):
            request.headers["Authorization"] = f"Bearer {self._token}"
        return request

    def _send(self, organisation: str, url: str) -> requests.Response:
        if self._is_search(url):
            self.searches.take()
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
            raise PassingError(self._clean(said)) from None
        except (OSError, ValueError, TypeError) as error:  # a URL, proxy or certificate file that cannot be used
            raise self._failed(organisation, url, str(_innermost(error))) from None
        self._note_limit(response)
        return response

    def _note_limit(self, response: requests.Response) -> None:
        """Remember what is left of the limit that this answer counts against."""
        self.clock = now_of(response)
        limit, remaining = (_number(response.headers.get(f"x-ratelimit-{name}")) for name in ("limit", "remaining"))
        wait = until_reset(response.headers.get("x-ratelimit-reset", ""), response)
        if response.headers.get("x-ratelimit-resource") == "search":
            self.searches.adjust(limit, remaining, wait)
            return
        self.rate_limit_remaining = remaining
        self.rate_limit_reset = None if wait is None else self.clock + timedelta(seconds=min(wait, _LONGEST_WAIT))

    def _failed(self, organisation: str, url: str, reason: str) -> GitHubError:
        return GitHubError(
            f"GITHUB_ORG {organisation!r}: GET {url} failed: {self._clean(reason)}. Check GITHUB_API_URL, the network, "
            "and what the environment says of proxies and certificates."
        )

    def _read(self, organisation: str, response: requests.Response) -> Answer:
        try:
            body = json.loads(response.content)
        except (ValueError, RecursionError):
            if response.content.lstrip()[:1] in {b"[", b"{"}:
                raise PassingError(f"answered {response.status_code} with JSON that breaks off") from None
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


def _number(header: str | None) -> int | None:
    return int(header) if header and header.isdecimal() else None


def _why(state: RetryCallState) -> str:
    return str(state.outcome.exception() if state.outcome else None)


def _wait(state: RetryCallState) -> float:
    limit = state.outcome.exception() if state.outcome else None
    if isinstance(limit, LimitError) and limit.wait is not None:
        return min(limit.wait, _LONGEST_WAIT)
    return _FIRST_WAIT_AT_LIMIT * 2 ** (state.attempt_number - 1)


def _innermost(error: BaseException) -> BaseException:
    """What went wrong: requests and urllib3 wrap it several times, each quoting the other."""
    while error.__context__:
        error = error.__context__
    return error


def _origin(url: str) -> tuple[str | None, str | None, int | None]:
    """Scheme, host and port, read as the library reads them that connects to them."""
    parts = parse_url(url)
    return parts.scheme, parts.host, parts.port or {"http": 80, "https": 443}.get(parts.scheme or "")
