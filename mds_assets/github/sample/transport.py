"""The part of GitHub's REST API that a crawl of the sample needs, as a transport adapter for a `requests` session.

It runs in process, without a port. The caller sees what GitHub would send: JSON, `Link` header, rate-limit headers,
404.
"""

import json
import re
from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import format_datetime
from http import HTTPStatus
from io import BytesIO
from urllib.parse import parse_qsl, urlencode, urlsplit

from requests import PreparedRequest, Response
from requests.adapters import BaseAdapter

from mds_assets.github.sample.organisation import (
    SAMPLE_API_URL,
    SAMPLE_ORG,
    SAMPLE_ORG_ID,
    Snapshot,
    as_github,
    snapshots,
)

NOT_FOUND = {"message": "Not Found", "documentation_url": "https://docs.github.com/rest", "status": "404"}
# GitHub's `next` link uses the second path; organisation names are case-insensitive.
REPOSITORIES = re.compile(rf"/orgs/{SAMPLE_ORG}/repos|/organizations/{SAMPLE_ORG_ID}/repos", re.IGNORECASE)
SORTS: dict[str, Callable[[Snapshot], tuple[int, str]]] = {
    "created": lambda snapshot: (snapshot.repository.created, ""),
    "updated": lambda snapshot: (snapshot.updated, ""),
    "pushed": lambda snapshot: (snapshot.pushed or 0, ""),
    "full_name": lambda snapshot: (0, snapshot.name),
}


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
        query = dict(parse_qsl(address.query))
        headers = _headers(moment)
        if request.method == "GET" and REPOSITORIES.fullmatch(address.path):
            status = HTTPStatus.OK
            rows, page, last = _page(moment, query)
            body: object = [as_github(row) for row in rows]
            if last > 1:
                headers["Link"] = _links(query, page, last)
        else:
            status, body = HTTPStatus.NOT_FOUND, NOT_FOUND
        return _response(request, status, headers, json.dumps(body, ensure_ascii=False).encode())

    def close(self) -> None:
        """Do nothing: there is no connection."""


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


def _links(query: dict[str, str], page: int, last: int) -> str:
    pages = {"prev": min(page - 1, last), "next": page + 1, "last": last, "first": 1}
    there = (["prev"] if page > 1 else []) + (["next", "last"] if page < last else []) + (["first"] if page > 1 else [])
    root = f"{SAMPLE_API_URL}/organizations/{SAMPLE_ORG_ID}/repos"
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
