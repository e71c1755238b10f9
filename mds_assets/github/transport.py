"""HTTP with bounds: no response takes more than a given time or memory, whatever the server sends.

What does not belong here: retries, rate limits and what a response means (`connection.py`).
"""

import socket
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from threading import Timer
from typing import Any, NamedTuple, Self

import requests
from requests.adapters import HTTPAdapter

_CHUNK = 2**16


class BoundError(Exception):
    """A response exceeds a bound. The message continues the sentence `the response ...`.

    Attributes:
        retryable: Whether the same request may succeed in a few minutes.
    """

    def __init__(self, message: str, *, retryable: bool) -> None:
        """Take the message."""
        super().__init__(message)
        self.retryable = retryable


class Received(NamedTuple):
    """A complete response.

    Attributes:
        response: Status and headers; its own `content` is consumed.
        content: The decoded body.
        at: When the headers arrived, by the local clock, UTC.
    """

    response: requests.Response
    content: bytearray
    at: datetime


class BoundedSession(requests.Session):
    """A session whose responses are bounded in time and size, and that follows no redirects.

    The timeouts of requests bound only the gap between two bytes, and `Response.content` reads whatever arrives.
    """

    def __init__(self, max_seconds: float, max_bytes: int) -> None:
        """Open nothing yet.

        Args:
            max_seconds: For one response, from connecting to the last byte of the body.
            max_bytes: For one decoded body.
        """
        super().__init__()
        self._max_seconds = max_seconds
        self._max_bytes = max_bytes
        self._deadline: _Deadline | None = None
        for scheme in ("http://", "https://"):
            self.mount(scheme, _Adapter(self._watch, self._watch_connecting))

    def get_redirect_target(self, resp: requests.Response) -> None:
        """None: `requests` reads the whole body of a redirect, even with `allow_redirects=False`."""

    def fetch(self, url: str, timeout: tuple[float, float]) -> Received:
        """Send a GET request and read the response to its end.

        Raises:
            BoundError: The response takes too long, or its body is too large or compressed more than once.
            requests.RequestException: It failed in another way.
        """
        received = None
        with _Deadline(self._max_seconds) as self._deadline:
            try:
                with self.get(url, timeout=timeout, allow_redirects=False, stream=True) as response:
                    received = Received(response, bytearray(), datetime.now(UTC))
                    self._read(received)
            except Exception:
                if not self._deadline.has_passed:
                    raise
        # Without a length, a body that was cut short ends like any other.
        if not received or self._deadline.has_passed:
            raise BoundError(f"took longer than {self._max_seconds:g} s", retryable=True)
        return received

    def _read(self, received: Received) -> None:
        response, content, _ = received
        encoding = response.headers.get("content-encoding", "")
        if "," in encoding:
            # Each layer may expand a thousandfold, so that even its intermediate results take hours.
            raise BoundError(f"is compressed more than once ({encoding[:50]!r})", retryable=False)
        for chunk in response.iter_content(_CHUNK):
            content += chunk
            if len(content) > self._max_bytes:
                raise BoundError(f"has more than {self._max_bytes / 2**20:g} MiB, decoded", retryable=False)

    def _watch(self, connected: object) -> None:
        if self._deadline:
            self._deadline.watch(connected)

    def _watch_connecting(self, connecting: socket.socket) -> None:
        if self._deadline:
            self._deadline.watch_connecting(connecting)


class _Deadline:
    """Shuts a socket down once the time is up, whatever is being read.

    That may be a proxy's answer, a TLS handshake, headers, chunks, trailers or an endless body.
    """

    def __init__(self, seconds: float) -> None:
        self.has_passed = False
        self._socket: object = None
        self._connecting: socket.socket | None = None
        self._timer = Timer(seconds, self._end)
        self._timer.daemon = True

    def __enter__(self) -> Self:
        self._timer.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()
        if self._connecting:
            self._connecting.close()

    def watch_connecting(self, connecting: socket.socket) -> None:
        """Watch a duplicate: TLS takes the socket over before its handshake."""
        if self._connecting:
            self._connecting.close()
        self._connecting = connecting.dup()
        self.watch(self._connecting)

    def watch(self, connected: object) -> None:
        self._socket = connected
        if self.has_passed:
            self._shut_down()

    def _end(self) -> None:
        self.has_passed = True
        self._shut_down()

    def _shut_down(self) -> None:
        if isinstance(self._socket, socket.socket):
            with suppress(OSError):
                # Not SSLSocket's own method, which pulls the TLS state from under the thread that reads.
                socket.socket.shutdown(self._socket, socket.SHUT_RDWR)


class _Adapter(HTTPAdapter):
    """Passes on the socket of each new connection and of each response, before the first byte is read."""

    def __init__(self, watch: Callable[[object], None], watch_connecting: Callable[[socket.socket], None]) -> None:
        self._watch = watch
        self._watch_connecting = watch_connecting
        super().__init__()

    def get_connection_with_tls_context(self, *args: Any, **options: Any) -> Any:
        pool: Any = super().get_connection_with_tls_context(*args, **options)
        if not hasattr(pool.ConnectionCls, "is_watched"):
            pool.ConnectionCls = _watched(pool.ConnectionCls, self._watch, self._watch_connecting)
        return pool


def _watched(
    connection: Any, watch: Callable[[object], None], watch_connecting: Callable[[socket.socket], None]
) -> Any:
    class Watched(connection):
        is_watched = True

        def _new_conn(self) -> socket.socket:
            connecting: socket.socket = super()._new_conn()
            watch_connecting(connecting)  # before a proxy's answer to CONNECT, and the TLS handshake
            return connecting

        def getresponse(self) -> Any:
            watch(self.sock)  # afterwards, it may belong to the response alone
            return super().getresponse()

    return Watched
