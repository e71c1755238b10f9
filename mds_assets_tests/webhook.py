"""A real HTTP server on 127.0.0.1 that takes what is posted to an incoming webhook."""

import json
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any, Self


class Webhook:
    """Takes posts while its `with` block runs.

    Attributes:
        url: Where it listens. The last part of the path is the secret, as in Slack's.
        posts: Path, headers and body of each post so far.
        answers: What it does with a post; by default it answers 200.
    """

    SECRET = "T0SECRET/B0SECRET/hunter2hunter2"  # what no log may show

    def __init__(self) -> None:
        """Listen on a free port; nothing is answered before the `with` block starts."""
        self.posts: list[tuple[str, dict[str, str], dict[str, Any]]] = []
        self.answers: Callable[[BaseHTTPRequestHandler], None] = lambda handler: answer(handler, 200)
        webhook = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, format: str, *args: Any) -> None:
                """Say nothing."""

            def do_POST(self) -> None:
                """Keep the post, and answer."""
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                webhook.posts.append((self.path, dict(self.headers), body))
                webhook.answers(self)

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self.url = f"http://127.0.0.1:{self._server.server_port}/services/{self.SECRET}"

    @property
    def texts(self) -> list[str]:
        """The text of each post so far."""
        return [body["text"] for _, _, body in self.posts]

    def __enter__(self) -> Self:
        """Answer."""
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


def answer(handler: BaseHTTPRequestHandler, status: int, location: str = "") -> None:
    """An empty answer."""
    handler.send_response(status)
    if location:
        handler.send_header("Location", location)
    handler.send_header("Content-Length", "0")
    handler.end_headers()
