"""A server between a client and a store: it notes each request, and may refuse one or lose its answer."""

from collections.abc import Generator
from contextlib import contextmanager
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import cast
from urllib.parse import urlsplit

# Of the connection, not of the content.
_HOP_BY_HOP = {"connection", "content-length", "date", "server", "transfer-encoding"}

LOST = (0, "")  # The store carries out the request, and the client never gets the response.


class Proxy(ThreadingHTTPServer):
    """Forwards every request to one store.

    Attributes:
        requests: Method and path of each request so far.
        answers: For a method, what its next requests get instead of the store's answer: status and error code.
    """

    daemon_threads = True

    def __init__(self, endpoint: str) -> None:
        """Listen on a free port of 127.0.0.1."""
        super().__init__(("127.0.0.1", 0), _Handler)
        self.store = urlsplit(endpoint).netloc
        self.requests: list[str] = []
        self.answers: dict[str, list[tuple[int, str]]] = {}

    @property
    def endpoint(self) -> str:
        """The URL to use in place of the store's."""
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def forward(self) -> None:
        proxy = cast(Proxy, self.server)
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        proxy.requests.append(f"{self.command} {self.path}")
        planned = proxy.answers.get(self.command)
        status, code = planned.pop(0) if planned else (None, "")
        if status:
            content = f"<Error><Code>{code}</Code><Message>as planned</Message></Error>".encode()
            self.answer(status, {}, content)
            return
        connection = HTTPConnection(proxy.store)
        # With the client's own Host header, which it has signed.
        connection.request(self.command, self.path, body, dict(self.headers))
        answer = connection.getresponse()
        content = answer.read()
        headers = {name: value for name, value in answer.getheaders() if name.lower() not in _HOP_BY_HOP}
        if self.command == "HEAD":
            headers["Content-Length"] = answer.getheader("Content-Length") or "0"
        connection.close()
        if status == 0:
            self.close_connection = True
            return
        self.answer(answer.status, headers, content)

    def answer(self, status: int, headers: dict[str, str], content: bytes) -> None:
        self.send_response(status)
        for name, value in ({"Content-Length": str(len(content))} | headers).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = forward  # noqa: N815

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@contextmanager
def proxied(endpoint: str) -> Generator[Proxy]:
    """A proxy of this store, which ends with the block."""
    with Proxy(endpoint) as proxy:
        thread = Thread(target=proxy.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield proxy
        finally:
            proxy.shutdown()
            thread.join()
