"""The shop's three systems for real: an HTTP API with pages, a PostgreSQL database, a folder of CSV files."""

import json
from collections.abc import Generator
from contextlib import contextmanager
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import psycopg2

from mds_assets_tests.services import postgres_server

_PAGE = 2  # orders in a page, though the client asks for more


class OrdersAPI(ThreadingHTTPServer):
    """`GET /orders?updated_since=...`, oldest first, in pages with a `Link` to the next; private fields and all.

    Attributes:
        orders: What it answers from; change it to let orders change.
        since: Each `updated_since` that it was asked for.
    """

    def __init__(self) -> None:
        """Listen on a free port of 127.0.0.1."""
        super().__init__(("127.0.0.1", 0), _Handler)
        self.orders: list[dict[str, Any]] = []
        self.since: list[str] = []

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    server: OrdersAPI  # pyright: ignore[reportIncompatibleVariableOverride]

    def do_GET(self) -> None:
        query = parse_qs(urlsplit(self.path).query)
        since, page = query["updated_since"][0], int(query.get("page", ["1"])[0])
        self.server.since.append(since)
        found = [order for order in self.server.orders if _moment(order["updated_at"]) >= _moment(since)]
        found.sort(key=lambda order: order["updated_at"])
        shown = found[(page - 1) * _PAGE : page * _PAGE]
        body = json.dumps(shown).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        if page * _PAGE < len(found):
            following = urlencode({"updated_since": since, "page": page + 1})
            self.send_header("Link", f'<{self.server.url}/orders?{following}>; rel="next"')
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Keep the tests' output clean."""


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text)


@contextmanager
def orders_api() -> Generator[OrdersAPI]:
    """The API, until the block ends."""
    with OrdersAPI() as server:
        Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield server
        finally:
            server.shutdown()


@contextmanager
def customers_database(folder: Path) -> Generator[str]:
    """A PostgreSQL with the table `customers`; its URL, until the block ends."""
    process, url = postgres_server(folder, "kept-secret-4711")
    url = url.replace("+psycopg2", "")  # as the documents have it
    process.start()
    try:
        process.wait_until_ready()
        execute(
            url,
            "CREATE TABLE customers (id BIGINT PRIMARY KEY, name TEXT NOT NULL, country TEXT, "
            "credit NUMERIC(12,2) NOT NULL, since DATE NOT NULL, changed_at TIMESTAMP NOT NULL)",
            "INSERT INTO customers VALUES (1, 'Ada', 'GB', 1000.50, '2020-02-29', '2026-01-01 12:00:00.123456'), "
            "(2, 'Grace', 'US', 0.01, '2021-01-01', '2026-01-02'), (3, 'Linus', NULL, 9999999999.99, '2022-01-01', "
            "'2026-01-03')",
        )
        yield url
    finally:
        process.end()


def execute(url: str, *statements: str) -> None:
    """Run SQL in the database."""
    with psycopg2.connect(url) as connection, connection.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)
    connection.close()
