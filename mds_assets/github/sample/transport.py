"""The part of GitHub's REST API that a session needs of the sample, as a transport adapter for a `requests` session.

It runs in process, without a port. The caller sees what GitHub would send: JSON, `Link` header, rate-limit headers,
redirects, 404, 422.
"""

import json
import re
from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import format_datetime
from http import HTTPStatus
from io import BytesIO
from typing import NamedTuple
from urllib.parse import parse_qsl, urlencode, urlsplit

from requests import PreparedRequest, Response
from requests.adapters import BaseAdapter

from mds_assets.github.sample import activity, search, stars
from mds_assets.github.sample.organisation import Snapshot, as_github, snapshots
from mds_assets.github.sample.repositories import (
    SAMPLE_API_URL,
    SAMPLE_ORG,
    SAMPLE_ORG_ID,
    Repository,
    repositories,
)

DOCUMENTATION = "https://docs.github.com/rest"
NOT_FOUND = {"message": "Not Found", "documentation_url": DOCUMENTATION, "status": "404"}
LAST_PAGE_OF_STARS = 100  # GitHub's maximum
NUMBERED = f"{SAMPLE_API_URL}/organizations/{SAMPLE_ORG_ID}/repos"
# GitHub's `next` link uses the second path; organisation names are case-insensitive.
REPOSITORIES = re.compile(rf"/orgs/{SAMPLE_ORG}/repos|/organizations/{SAMPLE_ORG_ID}/repos", re.IGNORECASE)
EVENTS = re.compile(
    rf"/(?:repos/{SAMPLE_ORG}/(?P<name>[\w.-]+)|repositories/(?P<number>\d+))/(?P<what>activity|stargazers/history)",
    re.IGNORECASE,
)
SORTS: dict[str, Callable[[Snapshot], tuple[int, str]]] = {
    "created": lambda snapshot: (snapshot.repository.created, ""),
    "updated": lambda snapshot: (snapshot.updated, ""),
    "pushed": lambda snapshot: (snapshot.pushed or 0, ""),
    "full_name": lambda snapshot: (0, snapshot.name),
}


class Answer(NamedTuple):
    """What the API answers; `headers` come on top of those of every answer."""

    status: HTTPStatus
    body: object
    headers: dict[str, str]


MISSING = Answer(HTTPStatus.NOT_FOUND, NOT_FOUND, {})


def utc_now() -> datetime:
    """The present moment, aware, in UTC."""
    return datetime.now(UTC)


class SampleTransport(BaseAdapter):
    """The sample organisation as the server of a session: `session.mount(SAMPLE_API_URL, SampleTransport())`.

    `now` (which returns an aware datetime) is called once per request. The response is the organisation's state at that
    moment, and the same request at the same moment gets the same bytes. So nothing counts down: 4,999 requests are
    always left.
    """

    def __init__(self, now: Callable[[], datetime] = utc_now) -> None:
        """Take the clock. Nothing is opened."""
        super().__init__()
        self._now = now

    def send(
        self,
        request: PreparedRequest,
        stream: bool = False,
        timeout: object = None,
        verify: object = True,
        cert: object = None,
        proxies: object = None,
    ) -> Response:
        """Respond to the request. The other arguments only exist for the interface."""
        moment = int(self._now().timestamp())
        address = urlsplit(str(request.url))
        answer = _answer(address.path, dict(parse_qsl(address.query)), moment) if request.method == "GET" else MISSING
        content = json.dumps(answer.body, ensure_ascii=False).encode()
        return _response(request, answer.status, {**_headers(moment), **answer.headers}, content)

    def close(self) -> None:
        """Do nothing: there is no connection."""


def _answer(path: str, query: dict[str, str], moment: int) -> Answer:
    if REPOSITORIES.fullmatch(path):
        return _listing(query, moment)
    if path == "/search/issues":
        return _search(query, moment)
    route = EVENTS.fullmatch(path)
    if not route:
        return MISSING
    name, number, what = route["name"], route["number"], route["what"]
    repository = _numbered(int(number), moment) if number else _named(name, moment)
    if not repository:
        return MISSING
    here = f"{SAMPLE_API_URL}/repositories/{repository.id}/{what}"  # where GitHub's own links lead
    if name and name.lower() != repository.name_at(moment).lower():
        moved = f"{here}?{urlencode(query)}" if query else here
        return Answer(HTTPStatus.MOVED_PERMANENTLY, {"message": "Moved Permanently", "url": moved}, {"Location": moved})
    return (
        _activities(repository, query, here, moment) if what == "activity" else _stars(repository, query, here, moment)
    )


def _listing(query: dict[str, str], moment: int) -> Answer:
    rows, page, last = _page(moment, query)
    body = [as_github(row) for row in rows]
    return Answer(HTTPStatus.OK, body, {"Link": _links(query, page, last)} if last > 1 else {})


def _search(query: dict[str, str], moment: int) -> Answer:
    limit = {"X-RateLimit-Resource": "search"}  # of its own, and so large that nobody waits
    size, page = min(_positive(query.get("per_page"), 30), 100), _positive(query.get("page"), 1)
    try:
        if (page - 1) * size >= search.MOST_ITEMS:
            raise search.SearchError("Only the first 1000 search results are available")
        found = search.found(search.parsed(query.get("q", ""), moment), moment)
    except search.SearchError as error:
        return Answer(HTTPStatus.UNPROCESSABLE_ENTITY, _refusal(str(error)), limit)
    ordered = found if query.get("order") == "asc" else found[::-1]  # by creation, whatever `sort` asks for
    shown = ordered[: search.MOST_ITEMS][(page - 1) * size : page * size]
    body = {
        "total_count": len(found),
        "incomplete_results": False,
        "items": [search.as_github(item, moment) for item in shown],
        "search_type": "lexical",
    }
    last = -(-min(len(found), search.MOST_ITEMS) // size)
    links = _links(query, page, last, f"{SAMPLE_API_URL}/search/issues") if last > 1 else ""
    return Answer(HTTPStatus.OK, body, limit | ({"Link": links} if links else {}))


def _activities(repository: Repository, query: dict[str, str], here: str, moment: int) -> Answer:
    size = min(_positive(query.get("per_page"), 30), 100)
    try:
        listed, after = activity.page(repository, moment, size, query.get("time_period"), query.get("after"))
    except ValueError:
        return Answer(HTTPStatus.UNPROCESSABLE_ENTITY, _refusal("Invalid cursor"), {})
    return Answer(HTTPStatus.OK, listed, _next(here, {**query, "after": after}) if after else {})


def _stars(repository: Repository, query: dict[str, str], here: str, moment: int) -> Answer:
    size, page = min(_positive(query.get("per_page"), 30), 30), _positive(query.get("page"), 1)
    weeks, after = stars.page(repository, moment, size, page) if page <= LAST_PAGE_OF_STARS else ([], None)
    return Answer(HTTPStatus.OK, weeks, _next(here, {**query, "page": str(after)}) if after else {})


def _named(name: str, moment: int) -> Repository | None:
    """The repository of a name that it has, or had before."""
    existing = [each for each in repositories() if each.created <= moment]
    names = {each.name.lower(): each for each in existing} | {each.name_at(moment).lower(): each for each in existing}
    return names.get(name.lower())


def _numbered(number: int, moment: int) -> Repository | None:
    return next((each for each in repositories() if each.id == number and each.created <= moment), None)


def _next(url: str, query: dict[str, str]) -> dict[str, str]:
    return {"Link": f'<{url}?{urlencode(query)}>; rel="next"'}


def _refusal(message: str) -> dict[str, object]:
    errors = [{"message": message, "resource": "Search", "field": "q", "code": "invalid"}]
    return {"message": "Validation Failed", "errors": errors, "documentation_url": DOCUMENTATION, "status": "422"}


def _page(moment: int, query: dict[str, str]) -> tuple[list[Snapshot], int, int]:
    """The requested page, its number, and the number of the last page."""
    sort = query.get("sort", "created")
    ascending = query.get("direction", "asc" if sort == "full_name" else "desc") == "asc"
    rows = [row for row in snapshots(moment) if _is_of_type(row, query.get("type", "all"))]
    rows.sort(key=SORTS.get(sort, SORTS["created"]), reverse=not ascending)
    size, page = min(_positive(query.get("per_page"), 30), 100), _positive(query.get("page"), 1)
    return rows[(page - 1) * size : page * size], page, -(-len(rows) // size)


def _is_of_type(row: Snapshot, kind: str) -> bool:
    if kind in ("forks", "sources"):
        return row.repository.fork == (kind == "forks")
    return kind not in ("private", "internal", "member")  # the organisation is public, and its crawler not a member


def _positive(text: str | None, default: int) -> int:
    """The number, or the default where GitHub would also ignore the value."""
    return int(text) if text and text.isdecimal() and int(text) > 0 else default


def _links(query: dict[str, str], page: int, last: int, root: str = NUMBERED) -> str:
    pages = {"prev": min(page - 1, last), "next": page + 1, "last": last, "first": 1}
    there = (["prev"] if page > 1 else []) + (["next", "last"] if page < last else []) + (["first"] if page > 1 else [])
    return ", ".join(f'<{root}?{urlencode({**query, "page": pages[rel]})}>; rel="{rel}"' for rel in there)


def _headers(moment: int) -> dict[str, str]:
    return {
        "Date": format_datetime(datetime.fromtimestamp(moment, UTC), usegmt=True),
        "Content-Type": "application/json; charset=utf-8",
        "Server": "mds-sample (synthetic)",
        "X-RateLimit-Limit": "5000",
        "X-RateLimit-Remaining": "4999",
        "X-RateLimit-Used": "1",
        "X-RateLimit-Reset": str((moment // 3_600 + 1) * 3_600),
        "X-RateLimit-Resource": "core",
    }


def _response(request: PreparedRequest, status: HTTPStatus, headers: dict[str, str], body: bytes) -> Response:
    response = Response()
    response.status_code, response.reason = status.value, status.phrase
    response.headers.update(headers)
    response.encoding = "utf-8"
    response.raw = BytesIO(body)
    response.url, response.request = str(request.url), request
    return response
