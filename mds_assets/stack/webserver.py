"""Dagster's webserver, deaf to other sites' pages, and with a first page that shows something.

It has no login, and by itself it runs GraphQL mutations by GET and by POST of any content type, whatever Host and
Origin say. So any page you visit could make your browser start runs on 127.0.0.1, or read the UI's answers by giving
your machine a second name (DNS rebinding). `instance` puts this class in Dagster's place.

Dagster's own first page is a timeline of what the daemon launched: empty after `mds run`. Its asset graph begins with
closed groups. Neither has a setting.

https://cheatsheetseries.owasp.org/cheatsheets/Cross-Site_Request_Forgery_Prevention_Cheat_Sheet.html
https://developer.mozilla.org/en-US/docs/Web/HTTP/Reference/Headers/Sec-Fetch-Site
"""

import json
import re
from collections.abc import Collection
from typing import Any
from urllib.parse import urlsplit

from dagster_webserver.webserver import DagsterWebserver
from starlette.datastructures import Headers
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocketClose

from mds_assets.stack.loopback import is_loopback
from mds_assets.stack.ui_settings import ui_hosts

_READS = {"GET", "HEAD", "OPTIONS"}
# Where the UI's own script keeps which groups of the asset graph are open; once somebody has opened or closed one, this
# stays as they left it. Nothing happens if a later version of the UI reads another name.
_OPEN_GROUPS = "asset-graph-open-graph-nodes-global-__GLOBAL__"


class GuardedWebserver(DagsterWebserver[Any, Any]):
    """Dagster's webserver behind `OwnPagesOnly`."""

    def build_middleware(self) -> list[Middleware]:
        """Dagster's own, and the check before it."""
        return [Middleware(OwnPagesOnly, hosts=ui_hosts()), *super().build_middleware()]

    def make_security_headers(self) -> dict[str, str]:
        """Dagster's own, and no frame of another page around the UI, in which a click could be stolen."""
        return {**super().make_security_headers(), "X-Frame-Options": "SAMEORIGIN"}

    def index_html_endpoint(self, request: Request) -> HTMLResponse:
        """The UI's page, with a script that opens the asset graph's groups; at `/`, the way to the list of runs."""
        if not request.path_params.get("path"):
            return HTMLResponse(status_code=307, headers={"Location": f"{self._app_path_prefix}/runs"})
        page = super().index_html_endpoint(request)
        with self.request_context(request) as context:
            groups = sorted({f"global@global:{node.group_name}" for node in context.asset_graph.asset_nodes})
        opened = json.dumps({"expanded": ",".join(groups)})
        # The page's policy runs only scripts with its nonce. Without groups, the definitions did not load.
        html = bytes(page.body)
        if groups and (tag := re.search(rb'<script nonce="\w+">', html)):
            script = f'localStorage["{_OPEN_GROUPS}"] ??= {json.dumps(opened)}</script>'.encode()
            page.body = html.replace(tag[0], tag[0] + script + tag[0], 1)
            page.headers["content-length"] = str(len(page.body))
        return page


class OwnPagesOnly:
    """Answers 403 and one line to what only another page could have made a browser send."""

    def __init__(self, app: ASGIApp, hosts: Collection[str]) -> None:
        """Check requests to this app.

        Args:
            app: What answers the others.
            hosts: Names by which it may be reached, apart from those of this machine.
        """
        self.app, self.hosts = app, hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request, websocket, or event of the server's life."""
        reason = refusal(scope, self.hosts) if scope["type"] in {"http", "websocket"} else None
        if reason is None:
            await self.app(scope, receive, send)
        elif scope["type"] == "websocket":
            await WebSocketClose()(scope, receive, send)  # before it is accepted, this is an answer of 403
        else:
            await PlainTextResponse(f"{reason}\n", 403)(scope, receive, send)


def refusal(scope: Scope, hosts: Collection[str]) -> str | None:
    """Why to refuse this request or websocket, in one line; None for one of the UI's own, or of a program.

    Args:
        scope: The ASGI scope.
        hosts: Names by which the webserver may be reached, apart from those of this machine.
    """
    headers = Headers(scope=scope)
    host, method = headers.get("host", ""), scope.get("method")
    name = _hostname(host)
    if len(headers.getlist("host")) != 1 or not (is_loopback(name) or name in hosts):
        return f"Host {host!r} is not this machine: if it is your proxy's name, add it to MDS_UI_HOSTS."
    for origin in headers.getlist("origin"):
        if urlsplit(origin).netloc.lower() != host.lower():
            return f"Origin {origin!r} is not Host {host!r}: a page of another site sent this, or a proxy changed Host."
    if method in _READS:
        # Browsers send no Origin with a GET, but which kind of page it is for. Links to the UI still work.
        is_link = (headers.get("sec-fetch-mode"), headers.get("sec-fetch-dest")) == ("navigate", "document")
        if headers.get("sec-fetch-site", "none") not in {"none", "same-origin"} and not is_link:
            return "A page of another site loads this: open it by itself."
        if scope["path"].rstrip("/").endswith("/graphql") and "text/html" not in headers.get("accept", ""):
            return "GraphQL takes POST with Content-Type: application/json."
    elif method and [_essence(value) for value in headers.getlist("content-type")] != ["application/json"]:
        # The only type of these that a browser never sends to another site without asking it first.
        return f"{method} takes Content-Type: application/json, also without a body."
    return None


def _hostname(host: str) -> str:
    """The name in a Host header, in lower case, an IPv6 address in brackets; empty if there is none."""
    name, _, port = host.lower().rpartition(":") if not host.endswith("]") and ":" in host else (host.lower(), "", "")
    return name if not port or port.isdigit() else ""


def _essence(content_type: str) -> str:
    """`text/plain` of `text/plain; x=application/json`, which a browser sends to any site."""
    return content_type.partition(";")[0].strip().lower()
