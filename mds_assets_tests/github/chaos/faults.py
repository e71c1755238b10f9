"""What GitHub, or whatever stands between, does wrong with one request."""

import json
import os
import socket
import struct
import time
import zlib
from collections.abc import Callable
from enum import StrEnum
from functools import cache

from mds_assets_tests.github.server import BAD_CREDENTIALS, GitHubHandler


class Fault(StrEnum):
    """How a request is answered instead."""

    ERROR = "500"
    BAD_GATEWAY = "502"
    ECHO = "502 that quotes the request"
    RESET = "connection reset"
    TRUNCATED = "truncated body"
    TOO_MANY = "429"
    RATE_LIMIT = "403 rate limit"
    SECONDARY_LIMIT = "403 secondary limit"
    STALL = "stall"
    HTML = "HTML with 200"
    OBJECT = "object, no list"
    FORBIDDEN = "403 forbidden"
    UNAUTHORIZED = "401"
    FOREIGN_NEXT = "foreign next page"
    FOREIGN_REDIRECT = "foreign redirect"
    BOMB = "gzip bomb"
    NESTED = "deep nesting"
    ENDLESS = "endless empty pages"
    DIGITS = "headers of 5,000 digits"


# No trouble that passes: an answer that is made to do harm.
HOSTILE = {Fault.BOMB, Fault.NESTED, Fault.ENDLESS, Fault.DIGITS}

# A run may end with these. It must get over each of the others.
FATAL = {
    Fault.HTML,
    Fault.OBJECT,
    Fault.FORBIDDEN,
    Fault.UNAUTHORIZED,
    Fault.FOREIGN_NEXT,
    Fault.FOREIGN_REDIRECT,
    Fault.BOMB,
    Fault.NESTED,
    Fault.ENDLESS,
}

_HTML = b"<html><body><h1>Unicorn!</h1>We had issues producing the response to your request.</body></html>"
_NESTED = b"[" * 100_000 + b"]" * 100_000
_BOMB_MEBIBYTES = 100  # decoded
_ENDLESS = "endless"  # in the query of the pages that follow an endless one


def is_endless(path: str) -> bool:
    """Whether a request is for the next of endless pages, which are all answered alike."""
    return _ENDLESS in path


def strike(fault: Fault, handler: GitHubHandler, foreign_url: str) -> bool:
    """Answer a request with a fault; False when the server is to answer it in spite of it.

    Args:
        fault: What goes wrong.
        handler: The request.
        foreign_url: The root of a server that is not GitHub.
    """
    retry = {"Retry-After": str(int(handler.path.count("page=2") > 0))}  # 0 or 1 second
    answers: dict[Fault, Callable[[], object]] = {
        Fault.ERROR: lambda: handler.answer(500, {"message": "Server Error"}),
        Fault.BAD_GATEWAY: lambda: _send(handler, 502, _HTML),
        Fault.ECHO: lambda: _send(handler, 502, _quoted(handler)),
        Fault.RESET: lambda: _hang_up(handler),
        Fault.TRUNCATED: lambda: _send(handler, 200, json.dumps([{"id": 1, "name": "x" * 999}]).encode(), cut=500),
        Fault.TOO_MANY: lambda: handler.answer(429, {"message": "Too many requests"}, retry),
        Fault.RATE_LIMIT: lambda: handler.answer(
            403,
            {"message": "API rate limit exceeded"},
            {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": str(int(time.time()) + 1)},
        ),
        Fault.SECONDARY_LIMIT: lambda: handler.answer(
            403, {"message": "You have exceeded a secondary rate limit."}, retry
        ),
        Fault.HTML: lambda: _send(handler, 200, _HTML),
        Fault.OBJECT: lambda: handler.answer(200, {"message": "Hello"}),
        Fault.FORBIDDEN: lambda: handler.answer(403, {"message": "Resource not accessible by personal access token"}),
        Fault.UNAUTHORIZED: lambda: handler.answer(401, BAD_CREDENTIALS),
        Fault.FOREIGN_NEXT: lambda: handler.answer(200, [], {"Link": f'<{foreign_url}{handler.path}>; rel="next"'}),
        Fault.FOREIGN_REDIRECT: lambda: handler.answer(302, {}, {"Location": f"{foreign_url}{handler.path}"}),
        Fault.BOMB: lambda: _send(handler, 200, _bomb(), {"Content-Encoding": "gzip"}),
        Fault.NESTED: lambda: _send(handler, 200, _NESTED),
        Fault.ENDLESS: lambda: handler.answer(200, [], {"Link": f'<{_next_of_endless(handler)}>; rel="next"'}),
    }
    if fault is Fault.STALL:
        time.sleep(1)
        return False
    if fault is Fault.DIGITS:
        names = ("X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset", "Retry-After")
        handler.more_headers = dict.fromkeys(names, "9" * 5000)
        return False
    answers[fault]()
    return True


@cache
def _bomb() -> bytes:
    """An empty list with very many blanks in it, packed to a thousandth."""
    packed = zlib.compressobj(wbits=zlib.MAX_WBITS | 16)
    blanks = [packed.compress(b" " * 2**20) for _ in range(_BOMB_MEBIBYTES)]
    return b"".join([packed.compress(b"["), *blanks, packed.compress(b"]"), packed.flush()])


def _next_of_endless(handler: GitHubHandler) -> str:
    number = handler.path.rpartition(f"{_ENDLESS}=")[2]
    return f"{handler.server.github.url}/endless?{_ENDLESS}={int(number) + 1 if number.isdecimal() else 2}"


def _quoted(handler: GitHubHandler) -> bytes:
    """The page of a proxy that shows the request that it could not pass on."""
    return f"<pre>Authorization: {handler.headers['Authorization']}\n{handler.headers}</pre>".encode()


def _send(
    handler: GitHubHandler, status: int, content: bytes, headers: dict[str, str] | None = None, cut: int | None = None
) -> None:
    """Send these bytes; with `cut` only the first so many, and then hang up."""
    handler.send_response(status)
    handler.send_header("Content-Type", "text/html" if content is _HTML else "application/json")
    handler.send_header("Content-Length", str(len(content)))
    for name, value in (headers or {}).items():
        handler.send_header(name, value)
    handler.end_headers()
    handler.wfile.write(content[:cut])
    handler.close_connection = handler.close_connection or cut is not None


def _hang_up(handler: GitHubHandler) -> None:
    # Closed at once, and with 0 seconds to linger, the kernel sends a reset and no ordinary end.
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    os.close(handler.connection.detach())
    handler.close_connection = True
