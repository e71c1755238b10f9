"""A real HTTP server on 127.0.0.1 that lists repositories and their events as api.github.com does.

Paging and the `Link` header follow the recordings; parameters and their defaults follow
https://docs.github.com/rest/repos/repos#list-organization-repositories, also for users. (The recording of 2019 was
asked for no order and is ascending by creation; today's documentation says descending.) Which repositories there are is
up to the test. How events are answered for says `events.py`.
"""

import hashlib
import itertools
import json
import re
import sys
import time
import zlib
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, date, datetime
from email.message import Message
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socket import SHUT_RDWR, socket
from threading import Thread
from types import MappingProxyType
from typing import Any, Self
from urllib.parse import parse_qsl, urlencode, urlsplit

from mds_assets_tests.github import events

Repos = list[dict[str, Any]]

# The path that `Link` points to, for each path: the account's number instead of its name.
NUMBERED = {"orgs": "organizations", "users": "user", "organizations": "organizations", "user": "user"}

SORT_FIELDS = {"created": "created_at", "updated": "updated_at", "pushed": "pushed_at", "full_name": "full_name"}
TYPES: dict[str, Callable[[dict[str, Any]], bool]] = {
    "public": lambda repo: not repo.get("private"),
    "private": lambda repo: bool(repo.get("private")),
    "forks": lambda repo: bool(repo.get("fork")),
    "sources": lambda repo: not repo.get("fork"),
}

BAD_CREDENTIALS = {
    "message": "Bad credentials",
    "documentation_url": "https://docs.github.com/rest",
    "status": "401",
}
NOT_FOUND = {
    "message": "Not Found",
    "documentation_url": "https://docs.github.com/rest/repos/repos#list-organization-repositories",
    "status": "404",
}


@dataclass(frozen=True)
class Request:
    """A request as it arrived.

    Attributes:
        method: `GET`, in all that a listing needs.
        path: The path with the server's prefix and without the query.
        query: The query's parameters; of a repeated one, the last.
        headers: The headers; names are looked up without regard to case.
    """

    method: str
    path: str
    query: dict[str, str]
    headers: Message


class GitHubServer:
    """Answers for organisations' and users' repositories and their events, while its `with` block runs.

    Example:
        >>> with GitHubServer({"acme": [{"id": 1, "created_at": "2026-01-01T00:00:00Z"}]}) as server:
        ...     requests.get(f"{server.url}/orgs/acme/repos").json()
        [{'id': 1, 'created_at': '2026-01-01T00:00:00Z'}]

    Attributes:
        url: Where it listens, prefix included: what `GITHUB_API_URL` should be.
        repos: Repositories by organisation. Change it between two requests, and the world has moved on.
        users: Repositories by user.
        activity: Activities by a repository's full name.
        issues: Issues and pull requests of all repositories.
        stars: Stars gained by date, by a repository's full name.
        now: Tells the time by the server's clock.
        rate_limit: Requests an hour, as answers tell it.
        requests: Every request so far, also those that were refused.
        intercept: Called before each answer with the handler and the request's number, counted from 1. True says that
            it has answered itself, with `handler.answer(...)`, or has hung up (`handler.close_connection = True`).
    """

    def __init__(
        self,
        repos: dict[str, Repos],
        users: dict[str, Repos] | None = None,
        *,
        activity: dict[str, list[events.Json]] | None = None,
        issues: list[events.Json] | None = None,
        stars: dict[str, dict[date, int]] | None = None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        url_prefix: str = "",
        token: str | None = None,
        intercept: Callable[["GitHubHandler", int], bool] | None = None,
    ) -> None:
        """Prepare the server; nothing listens before the `with` block starts.

        Args:
            repos: Repositories by organisation.
            users: Repositories by user.
            activity: See the attribute.
            issues: See the attribute.
            stars: See the attribute.
            now: See the attribute.
            url_prefix: What precedes every path, such as `/api/v3` on a GitHub Enterprise Server.
            token: The only token that is accepted. Without it every token is, and none is needed.
            intercept: See the attribute.
        """
        self.repos = repos
        self.users = users or {}
        self.activity = activity or {}
        self.issues = issues or []
        self.stars = stars or {}
        self.now = now
        self.searches: list[float] = []
        self.url_prefix = url_prefix
        self.route = re.compile(rf"{re.escape(url_prefix)}/({'|'.join(NUMBERED)})/([^/]+)/repos")
        self.token = token
        self.intercept = intercept
        self.requests: list[Request] = []
        self.rate_limit = 5000
        self.rate_limit_reset = int(time.time()) + 3600
        self.request_numbers = itertools.count(1)

    def __enter__(self) -> Self:
        """Listen on a free port."""
        self._listener = _Listener(self)
        self.url = f"http://127.0.0.1:{self._listener.server_port}{self.url_prefix}"
        # shutdown() waits for the next poll.
        self._thread = Thread(target=self._listener.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop listening, end all connections and raise the first error that a handler or `intercept` raised."""
        self._listener.shutdown()
        self._thread.join()
        self._listener.hang_up()
        self._listener.server_close()
        if self._listener.errors:
            raise self._listener.errors[0]

    def events(self, path: str, query: dict[str, str]) -> events.Reply | None:
        """The answer for the events of a repository or an account; None where there is no such path or repository."""
        path = path.removeprefix(self.url_prefix)
        if path == "/search/issues":
            accounts = dict.fromkeys(self.users, "user") | dict.fromkeys(self.repos, "org")
            return events.issues(self.issues, accounts, query, f"{self.url}{path}")
        route = re.fullmatch(r"/(?:repos/([^/]+/[^/]+)|repositories/(\d+))/(activity|stargazers/history)", path)
        listed = [repo for repos in (self.repos | self.users).values() for repo in repos]
        repo = next(
            (repo for repo in listed if route and route[1 + bool(route[2])] == _name(repo, bool(route[2]))), None
        )
        if not route or not repo:
            return None
        url, name = f"{self.url}/repositories/{repo['id']}/{route[3]}", repo["full_name"]
        if route[3] == "activity":
            return events.activities(self.activity.get(name, []), query, url, self.now())
        since = datetime.fromisoformat(repo["created_at"]).date()
        return events.star_weeks(self.stars.get(name, {}), since, query, url, self.now())

    def find(self, kind: str, name: str) -> tuple[int, Repos] | None:
        """The number and the repositories of an account, or None where there is no such account of that kind."""
        # GitHub lists organisations under /users as well, but no user under /orgs.
        accounts = self.repos if NUMBERED[kind] == "organizations" else self.users | self.repos
        for login, repos in accounts.items():
            number = account_number(login, repos)
            if name == str(number) if kind == NUMBERED[kind] else name.casefold() == login.casefold():
                return number, repos
        return None


def _name(repo: dict[str, Any], by_number: bool) -> str:
    return str(repo["id"]) if by_number else repo["full_name"]


def account_number(login: str, repos: Repos) -> int:
    """The account's id as its repositories give it, or one made from its name where they do not."""
    for repo in repos:
        owner: dict[str, Any] = repo.get("owner") or {}
        if owner.get("login", "").casefold() == login.casefold():
            return owner["id"]
    return zlib.crc32(login.encode())


class _Listener(ThreadingHTTPServer):
    daemon_threads = False  # server_close() then waits for every handler's thread

    def __init__(self, github: GitHubServer) -> None:
        super().__init__(("127.0.0.1", 0), GitHubHandler)
        self.github = github
        self.connections: set[socket] = set()
        self.errors: list[BaseException] = []

    def get_request(self) -> tuple[socket, Any]:
        connection, address = super().get_request()
        self.connections.add(connection)
        return connection, address

    def close_request(self, request: Any) -> None:
        self.connections.discard(request)
        super().close_request(request)

    def hang_up(self) -> None:
        """Wake the handlers that wait for a next request on a connection that its client keeps alive."""
        for connection in list(self.connections):
            with suppress(OSError):  # its client or its handler was faster
                connection.shutdown(SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:
        error = sys.exception()
        # A client that goes away is its own affair; everything else is a mistake in the test or in this file.
        if error and not isinstance(error, ConnectionError):
            self.errors.append(error)


class GitHubHandler(BaseHTTPRequestHandler):
    """Answers the requests of one connection."""

    server: _Listener  # pyright: ignore[reportIncompatibleVariableOverride]
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # head and body are two writes: the second would wait 40 ms for the client's ACK
    more_headers: Mapping[str, str] = MappingProxyType({})  # of this request's answer; `intercept` may set them

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing: the standard library would write every request to stderr."""

    def do_GET(self) -> None:
        """Record the request and answer it."""
        github, self.more_headers = self.server.github, {}
        url = urlsplit(self.path)
        query = dict(parse_qsl(url.query))
        number = next(github.request_numbers)
        github.requests.append(Request("GET", url.path, query, self.headers))
        if github.intercept and github.intercept(self, number):
            return
        if github.token and self.headers.get("Authorization") != f"Bearer {github.token}":
            return self.answer(HTTPStatus.UNAUTHORIZED, BAD_CREDENTIALS)

        answered = github.events(url.path, query)
        if answered:
            status, body, links = answered
            headers = self.search_limit() if "/search/" in url.path else {}
            return self.answer(status, body, headers | ({"Link": links} if links else {}))

        route = github.route.fullmatch(url.path)
        account = github.find(*route.groups()) if route else None
        if not route or not account:
            return self.answer(HTTPStatus.NOT_FOUND, NOT_FOUND)

        number, repos = account
        page, links = page_of(listing(repos, query), query, f"{github.url}/{NUMBERED[route[1]]}/{number}/repos")
        self.answer(HTTPStatus.OK, page, {"Link": links} if links else {})

    def search_limit(self) -> dict[str, str]:
        """What is left of this minute's searches: 30 with a token, 10 without. Sent, never enforced."""
        now, searches, limit = time.time(), self.server.github.searches, 30 if self.headers["Authorization"] else 10
        searches[:] = [at for at in searches if at > now - 60] + [now]
        return {
            "X-RateLimit-Resource": "search",
            "X-RateLimit-Limit": str(limit),
            "X-RateLimit-Remaining": str(max(0, limit - len(searches))),
            "X-RateLimit-Reset": str(int(searches[0]) + 60),
        }

    def date_time_string(self, timestamp: float | None = None) -> str:
        """The header `Date`, by the server's clock."""
        return super().date_time_string(self.server.github.now().timestamp() if timestamp is None else timestamp)

    def answer(self, status: int, body: Any, headers: dict[str, str] | None = None) -> None:
        """Send a whole answer, the body as JSON; `headers` come on top of, and replace, those of every answer."""
        content = json.dumps(body).encode()
        github = self.server.github
        self.send_response(status)
        for name, value in {
            "Content-Type": "application/json; charset=utf-8",
            "Content-Length": str(len(content)),
            "ETag": f'W/"{hashlib.md5(content, usedforsecurity=False).hexdigest()}"',
            # Told, never enforced: a test that wants a refusal plays it with `intercept`.
            "X-RateLimit-Limit": str(github.rate_limit),
            "X-RateLimit-Remaining": str(github.rate_limit - len(github.requests)),
            "X-RateLimit-Reset": str(github.rate_limit_reset),
            **(headers or {}),
            **self.more_headers,
        }.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)


def listing(repos: Repos, query: dict[str, str]) -> Repos:
    """The repositories of the asked `type` in the asked order; GitHub, too, ignores a value that it does not know."""
    field = SORT_FIELDS.get(query.get("sort", ""), "created_at")
    ascending = query.get("direction", "asc" if field == "full_name" else "desc") == "asc"

    def position(repo: dict[str, Any]) -> tuple[str, int]:
        # Timestamps are all "…Z", so they sort as text. A repository without a push comes last when descending. Equal
        # times go by id, as in the recording.
        return (repo.get(field) or "").casefold(), repo.get("id") or 0

    return sorted(filter(TYPES.get(query.get("type", "")), repos), key=position, reverse=not ascending)


def page_of(repos: Repos, query: dict[str, str], url: str) -> tuple[Repos, str]:
    """The asked page and its `Link` header: relations in GitHub's order, empty where all fits on one page."""
    per_page = min(positive(query.get("per_page"), 30), 100)
    page = positive(query.get("page"), 1)
    last = max(1, -(-len(repos) // per_page))
    relations: dict[str, int] = {}
    if page > 1:
        relations["prev"] = min(page - 1, last)
    if page < last:
        relations |= {"next": page + 1, "last": last}
    if page > 1:
        relations["first"] = 1
    links = [f'<{url}?{urlencode(query | {"page": n})}>; rel="{relation}"' for relation, n in relations.items()]
    return repos[(page - 1) * per_page : page * per_page], ", ".join(links)


def positive(text: str | None, otherwise: int) -> int:
    """The whole number in a query, or `otherwise` where there is none above 0."""
    return int(text) if text and text.isdecimal() and int(text) > 0 else otherwise
