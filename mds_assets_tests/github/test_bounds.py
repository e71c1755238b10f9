"""Hostile responses: each ends within its bound, in one line that names the organisation, the request and the way out.

The bounds are written down in docs/explanation/limits.md.
"""

import gzip
import json
import subprocess
import sys
import time
import zlib
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager, suppress
from socketserver import BaseRequestHandler, ThreadingTCPServer
from threading import Event, Thread
from typing import Any

import pytest

from mds_assets.github import pages, search
from mds_assets.github.client import GitHub
from mds_assets.github.errors import GitHubError
from mds_assets.github.reading import Reading
from mds_assets.github.session import Session
from mds_assets_tests.github.server import GitHubHandler, GitHubServer
from mds_assets_tests.github.sessions import rows_of, session_with
from mds_assets_tests.github.test_client import DAY, crawl, repo
from mds_assets_tests.github.test_connection import Fault, answers, on

MANY = 1_000  # requests: far more than any bound of these tests
TABLES: dict[str, Callable[[Session], Iterable[list[Any]]]] = {
    "repos": lambda session: session.crawl([DAY]),
    "pushes": lambda session: session.pushes([DAY]),
    "issues": lambda session: session.issues([DAY]),
    "stars": lambda session: session.stars([DAY]),
    "inventory": lambda session: session.inventory(),
}


def refused(fault: Fault, *named: str, retryable: bool = False, **options: Any) -> str:
    """The error of a crawl whose first responses all are this fault; the request is sent once."""
    with GitHubServer({"acme": []}, intercept=on(set(range(MANY)), fault)) as server:
        with pytest.raises(GitHubError) as error:
            crawl(server, **options)
        assert len(server.requests) == 1
    message = str(error.value)
    assert "\n" not in message
    for part in ("GITHUB_ORG 'acme': GET http://127.0.0.1:", "/orgs/acme/repos", "GITHUB_API_URL", *named):
        assert part in message
    assert error.value.retryable == retryable
    return message


def sends(content: bytes, status: int = 200, **headers: str) -> Fault:
    """A fault that sends these bytes; an underscore in a header's name is a hyphen."""

    def fault(handler: GitHubHandler) -> None:
        handler.send_response(status)
        for name, value in ({"Content_Length": str(len(content))} | headers).items():
            handler.send_header(name.replace("_", "-"), value)
        handler.end_headers()
        with suppress(ConnectionError):  # the client hangs up
            handler.wfile.write(content)

    return fault


def bomb(mebibytes: int) -> bytes:
    """An empty JSON list with so many MiB of blanks in it, gzipped to a thousandth."""
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    blanks = (packer.compress(b" " * 2**20) for _ in range(mebibytes))
    return b"".join([packer.compress(b"["), *blanks, packer.compress(b"]"), packer.flush()])


def chunked(content: bytes) -> bytes:
    """The same content in one chunk."""
    return f"{len(content):x}\r\n".encode() + content + b"\r\n0\r\n\r\n"


SMALL_BOMB = bomb(3)
BOMBS: dict[str, Fault] = {
    "a page": sends(SMALL_BOMB, Content_Encoding="gzip"),
    "an error": sends(SMALL_BOMB, 502, Content_Encoding="gzip"),
    "a redirect": sends(SMALL_BOMB, 302, Content_Encoding="gzip", Location="/elsewhere"),
    "deflate": sends(zlib.compress(b" " * 3 * 2**20), Content_Encoding="deflate"),
    "plain": sends(b" " * 3 * 2**20),
    "chunked": sends(chunked(b" " * 3 * 2**20), Transfer_Encoding="chunked"),
}


@pytest.mark.parametrize("fault", BOMBS.values(), ids=BOMBS)
def test_a_body_beyond_the_limit_is_refused_and_not_requested_again(fault: Fault):
    refused(fault, "has more than 2 MiB, decoded", max_bytes=2 * 2**20)


def test_a_body_within_the_limit_is_read_whole():
    with GitHubServer({"acme": []}, intercept=on({1}, sends(SMALL_BOMB, Content_Encoding="gzip"))) as server:
        assert crawl(server, max_bytes=3 * 2**20 + 2).days == {DAY: []}


@pytest.mark.slow(9)
@pytest.mark.parametrize("status", [200, 302, 404])
def test_a_bomb_of_a_gibibyte_takes_no_more_memory_than_the_limit(status: int):
    code = f"""
import resource
from mds_assets_tests.github.test_bounds import *
fault = sends(bomb(1024), {status}, Content_Encoding="gzip", Location="/elsewhere")
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
refused(fault, "has more than 64 MiB, decoded")
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""
    ended = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert int(ended.stdout) < 200


@pytest.mark.parametrize("layers", [2, 4])
def test_a_body_compressed_more_than_once_is_refused_unread(layers: int):
    """Gzipped empty members decode to nothing: no count of bytes would ever stop them."""
    content = b"[]"
    for _ in range(layers):
        content = gzip.compress(content)
    refused(sends(content, Content_Encoding=", ".join(["gzip"] * layers)), "is compressed more than once ('gzip, gzip")


def dripping(first: bytes, drop: bytes) -> Fault:
    """A fault that sends a beginning, then a drop every 10 ms until the client hangs up."""

    def fault(handler: GitHubHandler) -> None:
        handler.close_connection = True
        with suppress(ConnectionError):
            handler.wfile.write(first)
            for _ in range(3_000):
                handler.wfile.write(drop)
                Event().wait(0.01)

    return fault


OK = b"HTTP/1.1 200 OK\r\n"
EMPTY_MEMBER = gzip.compress(b"")
DRIPS = {
    "a body of known length": (OK + b"Content-Length: 99999\r\n\r\n[", b" "),
    "a body without length": (OK + b"Connection: close\r\n\r\n[", b" "),
    "a body without length that is valid so far": (OK + b"Connection: close\r\n\r\n[]", b" "),
    "chunks": (OK + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\n \r\n"),
    "the length of a chunk": (OK + b"Transfer-Encoding: chunked\r\n\r\n", b"0"),
    "trailers": (OK + b"Transfer-Encoding: chunked\r\n\r\n2\r\n[]\r\n0\r\n", b"X: y\r\n"),
    "gzip that decodes to nothing": (OK + b"Content-Encoding: gzip\r\nConnection: close\r\n\r\n", EMPTY_MEMBER),
    "the status line": (b"HTTP/1.1 200 ", b"O"),
    "a header": (OK + b"X-Endless: ", b"x"),
    "responses that announce another one": (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    "an error": (b"HTTP/1.1 502 Bad\r\nContent-Length: 99999\r\n\r\n", b" "),
    "a redirect": (b"HTTP/1.1 302 Found\r\nLocation: /x\r\nContent-Length: 99999\r\n\r\n", b" "),
}


@pytest.mark.parametrize(("first", "drop"), DRIPS.values(), ids=DRIPS)
def test_a_response_that_drips_ends_at_its_deadline_whatever_drips(first: bytes, drop: bytes):
    """Like a time-out, it may be tried later; it isn't requested again at once."""
    refused(dripping(first, drop), "took longer than 0.2 s", retryable=True, max_seconds=0.2)


@contextmanager
def dripping_port(first: bytes, drop: bytes) -> Generator[int]:
    """A port that answers whatever arrives as `dripping` does."""

    class Handler(BaseRequestHandler):
        def handle(self) -> None:
            self.request.recv(1000)
            with suppress(ConnectionError):
                self.request.sendall(first)
                for _ in range(3_000):
                    self.request.sendall(drop)
                    Event().wait(0.01)

    with ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}).start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()


@pytest.mark.parametrize("what", ["the answer of a proxy", "a TLS handshake"])
def test_a_connection_that_drips_before_its_first_request_ends_at_its_deadline(
    monkeypatch: pytest.MonkeyPatch, what: str
):
    is_proxy = what == "the answer of a proxy"
    # A TLS record of a handshake, with 16,384 bytes.
    first, drop = (b"HTTP/1.1 200 OK\r\nX: ", b"x") if is_proxy else (b"\x16\x03\x03\x40\x00", b"\x02")
    with dripping_port(first, drop) as port:
        for name in ("https_proxy", "HTTPS_PROXY"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{port}" if is_proxy else "")
        monkeypatch.setenv("no_proxy", "")
        started = time.monotonic()
        url = "https://github.example" if is_proxy else f"https://127.0.0.1:{port}"
        with pytest.raises(GitHubError, match=r"took longer than 0\.2 s") as error:
            rows_of(GitHub(["acme"], url, max_seconds=0.2, sleep=lambda _: None).crawl([DAY]))
        assert time.monotonic() - started < 8  # it drips for 30 s
    assert error.value.retryable


def test_after_a_deadline_the_next_request_gets_a_connection_of_its_own():
    with GitHubServer({"acme": [repo(1, "02T10:00", None)]}) as server:
        server.intercept = on({1}, dripping(*DRIPS["chunks"]))
        with session_with(server, "acme", max_seconds=0.2) as session:
            with pytest.raises(GitHubError):
                session.changed([DAY])
            session.connection._session._max_seconds = 60  # pyright: ignore[reportPrivateUsage]
            assert [row["id"] for row in session.changed([DAY]).of("acme")] == [1]


DIGITS = "9" * 5_000
NONSENSE = [DIGITS, "٣", "-1", "nan", "inf", "1e400", "", "Fri, 31 Dec 9999 23:59:59 GMT",
            "Mon, 01 Jan 0001 00:00:00 GMT",
            f"Mon, {DIGITS} Jan 2026 00:00:00 GMT", "Mon, 99999999999 Jan 2026 00:00:00 GMT",
            "Mon, 01 Jan 2026 00:00:00 +999999999999"]  # fmt: skip


@pytest.mark.parametrize("value", NONSENSE)
@pytest.mark.parametrize("name", ["Date", "X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset"])
def test_a_header_of_nonsense_counts_as_absent(name: str, value: str):
    def nonsense(handler: GitHubHandler) -> None:
        handler.send_response_only(200)
        for header, sent in {"Content-Length": "2", "X-RateLimit-Reset": "99999999999", name: value}.items():
            handler.send_header(header, sent.encode("utf-8").decode("latin-1"))
        handler.end_headers()
        handler.wfile.write(b"[]")

    with GitHubServer({"acme": []}, intercept=on({1}, nonsense)) as server:
        assert crawl(server).days == {DAY: []}


@pytest.mark.parametrize("value", NONSENSE)
def test_a_wait_of_nonsense_is_a_wait_or_a_line(value: str):
    """Some are dates far away; the others count as absent, so that the wait is a minute."""
    sent = value.encode("utf-8").decode("latin-1")
    limits = answers(429, retry_after=sent), answers(403, x_ratelimit_remaining="0", x_ratelimit_reset=sent)
    for limit in limits:
        with GitHubServer({"acme": []}, intercept=on({1}, limit)) as server, suppress(GitHubError):
            crawl(server)


@pytest.mark.parametrize("number", [DIGITS, "٣"])
def test_a_last_page_of_nonsense_counts_as_unknown(number: str):
    link = f'<http://127.0.0.1/x?page={number}>; rel="last"'.encode().decode("latin-1")
    with GitHubServer({"acme": []}, intercept=on({1}, answers(200, [], Link=link))) as server:
        assert crawl(server).crawl.listed == {"acme": 0}


BODIES = {
    "an int of 10,000 digits": (b'[{"id": ' + b"9" * 10_000 + b"}]", "a number with over 4,300 digits"),
    "NaN": (b'[{"id": NaN}]', "the number NaN"),
    "Infinity": (b'[{"id": -Infinity}]', "the number -Infinity"),
    "a float that overflows": (b'[{"id": 1e999}]', "the number 1e999"),
    "nesting beyond Python": (b"[" * 100_000 + b"]" * 100_000, "too many levels of nesting"),
    "nesting beyond us": (b"[" * 101 + b"]" * 101, "more than 100 levels of nesting"),
    "objects beyond us": (b'{"a":' * 101 + b"1" + b"}" * 101, "more than 100 levels of nesting"),
}


@pytest.mark.parametrize(("content", "reason"), BODIES.values(), ids=BODIES)
def test_a_body_that_python_cannot_use_is_refused_by_name(content: bytes, reason: str):
    refused(sends(content), f"answered 200 with {reason}")
    status = sends(content, 400)  # an error's body is only quoted
    assert len(refused(status, "answered 400")) < 1_000


def test_a_message_of_megabytes_is_cut_and_never_shows_part_of_the_token():
    token = "ghp_1234567890abcdefSECRET"
    padding = " " * (9_990 - len(token) // 2)  # so that a cut before redaction would halve it
    message = refused(answers(400, {"message": f"{padding}{token} a" + " b" * 2**20}), "answered 400", token=token)
    assert len(message) < 1_000
    assert token[:8] not in message


def test_more_headers_than_a_response_may_have_are_an_error_after_5_attempts():
    headers = "".join(f"X-{number}: y\r\n" for number in range(200))
    fault = dripping(f"HTTP/1.1 200 OK\r\n{headers}\r\n".encode(), b"[]")
    with (
        GitHubServer({"acme": []}, intercept=on(set(range(MANY)), fault)) as server,
        pytest.raises(GitHubError, match="more than 100 headers, after 5 attempts"),
    ):
        crawl(server)


def listing_with(
    *, last: int | None, body: Callable[[int], Any], path: str = ""
) -> Callable[[GitHubHandler, int], bool]:
    """An `intercept` whose pages always link to another one, below a cursor that never repeats."""

    def intercept(handler: GitHubHandler, number: int) -> bool:
        if path not in handler.path:
            return False
        here = f"{handler.server.github.url}{handler.path.partition('?')[0]}"
        link = f'<{here}?after=c{number}>; rel="next"'
        handler.answer(200, body(number), {"Link": link + (f', <{here}?page={last}>; rel="last"' if last else "")})
        return True

    return intercept


def search_result(number: int) -> Any:
    """A page of a search with one issue, always another one."""
    url = "https://api.github.com/repos/acme/repo-1"
    item = {"id": number, "number": number, "repository_url": url, "created_at": "2026-03-02T10:00:00Z"}
    return {"total_count": 900, "incomplete_results": False, "items": [item]}


def activity(number: int) -> Any:
    """A page of activities with one push, always another one."""
    return [{"id": number, "timestamp": "2026-03-02T10:00:00Z"}]


ENDLESS: dict[str, tuple[str, Callable[[int], Any]]] = {
    "repos": ("/orgs/", lambda number: [repo(number, "02T10:00", None)]),
    "inventory": ("sort=created", lambda number: [repo(number, "02T10:00", None)]),
    "pushes": ("/activity", activity),
    "issues": ("/search/", search_result),
}


def read(table: str, intercept: Callable[[GitHubHandler, int], bool]) -> tuple[str, int]:
    """The error of reading a table, and the number of requests that the bound of pages is for."""
    with GitHubServer({"acme": [repo(1, "02T10:00", "02T10:00")]}, intercept=intercept) as server:
        with session_with(server, "acme") as session, pytest.raises(GitHubError) as error:
            if isinstance(reading := TABLES[table](session), Reading):
                session.changed([DAY])
                server.requests.clear()
            rows_of(reading)
        assert not error.value.retryable
        assert "GITHUB_ORG 'acme': " in str(error.value)
        assert "GITHUB_API_URL" in str(error.value)
        return str(error.value), len(server.requests)


@pytest.mark.parametrize("table", ENDLESS)
def test_a_million_pages_end_soon_after_the_announced_last_one(table: str):
    path, body = ENDLESS[table]
    # The first page of a listing's continuation has another path, so `path` only selects where it begins.
    message, requests = read(table, everything_after(path, listing_with(last=3, body=body)))
    assert "the listing doesn't end: 13 pages were read, and GitHub announced 3" in message
    assert requests == 13


@pytest.mark.parametrize("table", ENDLESS)
def test_a_million_pages_without_an_announced_end_stop_at_the_limit(table: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(pages, "MAX_PAGES", 30)
    path, body = ENDLESS[table]
    message, requests = read(table, everything_after(path, listing_with(last=None, body=body)))
    assert "30 pages were read, and none was announced as the last" in message
    assert requests == 30


@pytest.mark.parametrize("table", ENDLESS)
def test_an_announcement_of_a_million_pages_is_refused_after_the_first(table: str):
    path, body = ENDLESS[table]
    message, requests = read(table, everything_after(path, listing_with(last=1_000_000, body=body)))
    assert "1 pages were read, and GitHub announced 1,000,000" in message
    assert requests == 1


@pytest.mark.parametrize("table", ENDLESS)
def test_empty_pages_that_link_to_ever_new_ones_end_after_10(table: str):
    empty: Any = {"total_count": 0, "incomplete_results": False, "items": []} if table == "issues" else []
    message, requests = read(table, everything_after(ENDLESS[table][0], listing_with(last=None, body=lambda _: empty)))
    assert "10 pages in a row are empty" in message
    assert requests == 10


def everything_after(
    path: str, intercept: Callable[[GitHubHandler, int], bool]
) -> Callable[[GitHubHandler, int], bool]:
    """The same `intercept`, from the first request on whose URL contains `path`."""
    begun = Event()

    def later(handler: GitHubHandler, number: int) -> bool:
        if path in handler.path:
            begun.set()
        return begun.is_set() and intercept(handler, number)

    return later


def test_weeks_of_stars_end_at_githubs_last_page():
    def weeks(number: int) -> Any:
        return [{"week": 8_000_000_000 - (30 * number + week) * 604_800, "days": [0] * 7} for week in range(30)]

    with GitHubServer({"acme": [repo(1, "02T10:00", None, stargazers_count=5)]}) as server:
        server.intercept = everything_after("/stargazers", listing_with(last=None, body=weeks))
        with session_with(server, "acme") as session:
            rows_of(session.stars([DAY]))
        assert len(server.requests) <= 101


def test_searches_whose_totals_never_fit_end(monkeypatch: pytest.MonkeyPatch):
    """Each range has more items than a search returns, down to single seconds."""
    monkeypatch.setattr(search, "_MAX_SEARCHES", 500)

    def answer(handler: GitHubHandler, _: int) -> bool:
        if "/search/" not in handler.path:
            return False
        first, last = handler.path.partition("created%3A")[2].partition("&")[0].split("..")
        total = 10 if first == last else 10**12
        handler.answer(200, {"total_count": total, "incomplete_results": False, "items": []})
        return True

    with GitHubServer({"acme": [repo(1, "02T10:00", None)]}, intercept=answer) as server:
        with session_with(server, "acme") as session, pytest.raises(GitHubError, match="500 ranges were searched") as e:
            rows_of(session.issues([DAY]))
        assert "GITHUB_ORG 'acme': the search" in str(e.value)
        assert len(server.requests) == 502  # and one for the repositories


def test_a_star_count_beyond_64_bits_is_an_error_that_names_it():
    week = json.loads(f'{{"week": 1772323200, "days": [0, 0, 0, 0, 0, 0, {2**63}]}}')
    with GitHubServer({"acme": [repo(1, "02T10:00", None, stargazers_count=5)]}) as server:
        server.intercept = everything_after("/stargazers", on(set(range(MANY)), answers(200, [week])))
        with (
            session_with(server, "acme") as session,
            pytest.raises(GitHubError, match=r"invalid week of stars: days\.6"),
        ):
            rows_of(session.stars([DAY]))
