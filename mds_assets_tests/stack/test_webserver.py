"""Promises of the guarded webserver: pages of others can't use it, its own pages and programs can.

Each attack also runs against Dagster's own webserver, which it gets through: without that a refusal would prove little.
"""

import sys
from collections.abc import Generator, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import quote

import pytest
import requests
import yaml
from dagster import AssetKey, DagsterInstance
from playwright.sync_api import sync_playwright

from mds_assets.stack.environment import SettingsError
from mds_assets.stack.settings import PROJECT_ROOT
from mds_assets.stack.ui_settings import ui_hosts
from mds_assets.stack.webserver import refusal
from mds_assets_tests.chromium import CHROMIUM, CHROMIUM_OPTIONS, needs_chromium
from mds_assets_tests.process import Process
from mds_assets_tests.store import free_ports

GUARD = yaml.safe_load((PROJECT_ROOT / ".dagster/dagster.yaml").read_text())["instance_class"]
# It needs no code location, and what it did is easy to see.
MUTATION = 'mutation {setConcurrencyLimit(concurrencyKey: "%s", limit: 1)}'
JSON = {"Content-Type": "application/json"}


@dataclass
class Webserver:
    """A webserver in a process of its own, without a code location, on an instance of its own."""

    url: str
    home: Path
    port: int

    def changed(self) -> set[str]:
        """The names under which mutations came through."""
        with DagsterInstance.from_config(str(self.home)) as instance:
            return instance.event_log_storage.get_concurrency_keys()

    def send(self, method: str, path: str, headers: dict[str, str], body: str | None) -> requests.Response:
        """A request with these headers; `requests` itself adds no Origin."""
        given = {name: value.format(port=self.port) for name, value in headers.items()}
        return requests.request(method, self.url + path, headers=given, data=body, timeout=60)


@contextmanager
def webserver(folder: Path, config: dict[str, Any], *options: str, **environment: str) -> Generator[Webserver]:
    (port,) = free_ports(1)
    (folder / "home").mkdir(parents=True)
    (folder / "home/dagster.yaml").write_text(yaml.safe_dump({"telemetry": {"enabled": False}, **config}))
    started = Webserver(f"http://127.0.0.1:{port}", folder / "home", port)

    def ready() -> bool:
        with suppress(requests.ConnectionError):
            return requests.get(f"{started.url}/server_info", timeout=60).ok
        return False

    program = Path(sys.executable).with_name("dagster-webserver")
    command = [program, "-h", "127.0.0.1", "-p", str(port), "--empty-workspace", *options]
    process = Process("webserver", command, folder, {"DAGSTER_HOME": str(started.home), **environment}, ready)
    process.start()
    try:
        process.wait_until_ready()
        yield started
    finally:
        process.end()


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Webserver]:
    with webserver(tmp_path_factory.mktemp("guarded"), {"instance_class": GUARD}) as started:
        yield started


@pytest.fixture(scope="module")
def stock(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Webserver]:
    with webserver(tmp_path_factory.mktemp("stock"), {}) as started:
        yield started


def attacks(name: str) -> dict[str, tuple[str, str, dict[str, str], str | None]]:
    """What a page elsewhere can make a browser send; each would leave a name of its own."""
    in_url = f"/graphql?query={quote(MUTATION % name)}"
    in_body = f'{{"query": "{(MUTATION % name).replace(chr(34), chr(92) + chr(34))}"}}'
    return {
        "image": ("GET", in_url, {"Accept": "image/*"}, None),
        "form": ("POST", in_url, {"Content-Type": "text/plain"}, "a=b"),
        "urlencoded": ("POST", in_url, {"Content-Type": "application/x-www-form-urlencoded"}, "a=b"),
        "multipart": ("POST", in_url, {"Content-Type": "multipart/form-data; boundary=x"}, "--x--"),
        "beacon": ("POST", in_url, {}, None),
        "parameter": ("POST", "/graphql", {"Content-Type": "text/plain; application/json"}, in_body),
        "graphql": ("POST", "/graphql", {"Content-Type": "application/graphql"}, MUTATION % name),
        "rebound": ("POST", "/graphql", {**JSON, "Host": "evil.example:{port}"}, in_body),
        "rebound_lookalike": ("POST", "/graphql", {**JSON, "Host": "127.0.0.1.evil.example"}, in_body),
        "other_port": ("POST", "/graphql", {**JSON, "Origin": "http://127.0.0.1:1"}, in_body),
        "other_host": ("POST", "/graphql", {**JSON, "Origin": "https://evil.example"}, in_body),
        "sandbox": ("POST", "/graphql", {**JSON, "Origin": "null"}, in_body),
    }


@pytest.mark.parametrize("name", attacks(""))
def test_what_another_page_sends_is_refused_in_one_line(name: str, guarded: Webserver, stock: Webserver):
    attack = attacks(name)[name]
    assert stock.send(*attack).status_code == 200
    assert name in stock.changed()
    answer = guarded.send(*attack)
    assert answer.status_code == 403
    assert len(answer.text.splitlines()) == 1
    assert name not in guarded.changed()


@pytest.mark.parametrize("kind", ["materialization", "check", "observation"])
def test_no_form_reports_events_of_assets(kind: str, guarded: Webserver, stock: Webserver):
    form = ("POST", f"/report_asset_{kind}/stolen?check_name=c&passed=true", {"Content-Type": "text/plain"}, "a=b")
    assert stock.send(*form).status_code != 403
    assert guarded.send(*form).status_code == 403
    with DagsterInstance.from_config(str(guarded.home)) as instance:
        assert AssetKey("stolen") not in instance.all_asset_keys()
    sent = guarded.send("POST", f"/report_asset_{kind}/raw/orders", JSON, '{"check_name": "c", "passed": true}')
    assert sent.status_code != 403  # a program


@pytest.mark.parametrize("origin", ["http://127.0.0.1:{port}", "http://127.0.0.1:1", "https://evil.example", "null"])
def test_a_websocket_only_opens_for_its_own_page(origin: str, guarded: Webserver, stock: Webserver):
    def answer(server: Webserver, host: str = "127.0.0.1:{port}") -> int:
        headers = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13", "Host": host}
        headers |= {"Sec-WebSocket-Key": "x" * 22 + "==", "Sec-WebSocket-Protocol": "graphql-ws", "Origin": origin}
        given = {name: value.format(port=server.port) for name, value in headers.items()}
        with requests.get(f"{server.url}/graphql", headers=given, timeout=60, stream=True) as response:
            return response.status_code

    assert answer(stock) == 101
    assert answer(guarded) == (101 if "{port}" in origin else 403)
    assert answer(guarded, "evil.example:{port}") == 403


@pytest.mark.parametrize("host", ["127.0.0.1:{port}", "localhost:{port}", "LOCALHOST", "[::1]:{port}", "127.0.0.1"])
def test_the_uis_own_requests_and_programs_get_their_answers(host: str, guarded: Webserver):
    for origin in ({}, {"Origin": f"http://{host}"}):
        query = guarded.send("POST", "/graphql", {**JSON, "Host": host, **origin}, '{"query": "{version}"}')
        assert query.json()["data"]["version"]
        page = guarded.send("GET", "/runs", {"Host": host, "Accept": "text/html", **origin}, None)
        assert page.headers["X-Frame-Options"] == "SAMEORIGIN"
        assert guarded.send("GET", "/graphql", {"Host": host, "Accept": "text/html"}, None).ok  # GraphiQL


def test_the_first_page_is_the_list_of_runs(guarded: Webserver, stock: Webserver):
    """Dagster's own is a timeline, of runs that the daemon launched."""
    page = {"Accept": "text/html"}
    assert stock.send("GET", "/", page, None).url == f"{stock.url}/"
    assert guarded.send("GET", "/", page, None).url == f"{guarded.url}/runs"


def scope(method: str | None = "GET", path: str = "/runs", **headers: str) -> dict[str, Any]:
    given = {"host": "127.0.0.1:3000", **{name.replace("_", "-"): value for name, value in headers.items()}}
    return {
        "type": "http" if method else "websocket",
        "path": path,
        "headers": [(name.encode(), value.encode()) for name, value in given.items()],
        **({"method": method} if method else {}),
    }


@pytest.mark.parametrize(
    ("request_", "why"),
    [
        (scope(sec_fetch_site="same-origin", sec_fetch_mode="cors"), None),
        (scope(sec_fetch_site="none", sec_fetch_mode="navigate", sec_fetch_dest="document"), None),
        (scope(sec_fetch_site="cross-site", sec_fetch_mode="navigate", sec_fetch_dest="document"), None),  # a link
        (scope(sec_fetch_site="cross-site", sec_fetch_mode="navigate", sec_fetch_dest="iframe"), "another site"),
        (scope(sec_fetch_site="same-site", sec_fetch_mode="no-cors", sec_fetch_dest="script"), "another site"),
        (scope(path="/graphql/", accept="*/*"), "GraphQL takes POST"),
        (scope(path="/prefix/graphql", accept="*/*"), "GraphQL takes POST"),
        (scope("DELETE"), "DELETE takes"),
        (scope(None, "/graphql", origin="http://127.0.0.1:3000"), None),
        (scope(None, "/graphql"), None),  # a program
        (scope(None, "/graphql", origin="http://localhost:3000"), "Origin"),
        (scope(host="mds.example.org", origin="https://mds.example.org"), None),
        (scope(host="MDS.example.org:8443", origin="https://mds.example.org:8443"), None),
        (scope(host="evil.mds.example.org"), "MDS_UI_HOSTS"),
        (scope(host="127.0.0.1:3000", origin="https://mds.example.org"), "a proxy changed Host"),
        (scope(host="10.0.0.1:3000"), "MDS_UI_HOSTS"),
        (scope(host="localhost:3000.evil.example"), "MDS_UI_HOSTS"),
        (scope(host=""), "MDS_UI_HOSTS"),
        ({**scope(), "headers": [(b"host", b"localhost"), (b"host", b"evil.example")]}, "MDS_UI_HOSTS"),
        ({**scope(), "headers": []}, "MDS_UI_HOSTS"),
        (scope("POST", content_type="application/json, text/plain"), "POST"),
    ],
)  # fmt: skip
def test_each_rule(request_: dict[str, Any], why: str | None):
    reason = refusal(request_, hosts=("mds.example.org",))
    assert (reason is None) == (why is None)
    assert (why or "") in (reason or "")


@pytest.mark.slow(4)
def test_a_proxys_name_is_a_setting(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("MDS_UI_HOSTS", "MDS.example.org, [fd00::1]")
    assert ui_hosts() == ("mds.example.org", "[fd00::1]")
    for wrong in ("https://mds.example.org", "mds.example.org:443", "*.example.org", "a b"):
        monkeypatch.setenv("MDS_UI_HOSTS", wrong)
        with pytest.raises(SettingsError, match=r"MDS_UI_HOSTS=.*is not a host name"):
            ui_hosts()
    # The webserver needs no setting of any source: theirs may be secrets.
    environment = {"MDS_UI_HOSTS": "mds.example.org", "GITHUB_API_URL": "none of its business"}
    with webserver(tmp_path, {"instance_class": GUARD}, "--read-only", **environment) as started:
        assert started.send("GET", "/server_info", {"Host": "mds.example.org"}, None).ok
        body = attacks("by_proxy")["other_host"][3]
        refused = started.send("POST", "/graphql", {**JSON, "Host": "mds.example.org"}, body)
        assert "Unauthorized" in refused.text
        assert started.changed() == set()


@pytest.mark.parametrize("file", [".dagster/dagster.yaml", "deploy/celery/dagster.yaml"])
def test_every_instance_of_the_project_is_guarded(file: str):
    assert yaml.safe_load((PROJECT_ROOT / file).read_text())["instance_class"] == GUARD


@pytest.mark.slow(7)
@needs_chromium
def test_a_page_on_another_port_does_nothing_in_a_real_browser(guarded: Webserver, stock: Webserver, tmp_path: Path):
    """Another port of the same host is the nearest another origin comes: browsers call it the same site."""
    (tmp_path / "page.html").write_text(PAGE)
    serve = partial(SimpleHTTPRequestHandler, directory=str(tmp_path))
    with ThreadingHTTPServer(("127.0.0.1", 0), serve) as server, sync_playwright() as playwright:
        Thread(target=server.serve_forever, daemon=True).start()
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=CHROMIUM_OPTIONS)
        seen: dict[str, tuple[str, bool]] = {}
        for target in (stock, guarded):
            page = chromium.new_page()
            page.goto(f"http://127.0.0.1:{server.server_port}/page.html")
            mutations = {way: MUTATION % f"page_{way}" for way in WAYS}
            socket = page.evaluate(f"attack({{url: {target.url!r}, mutations: {mutations!r}}})")
            (frame,) = (frame.content() for frame in page.frames if frame.url == f"{target.url}/runs")
            seen[target.url] = (socket, "A page of another site loads this" in frame)
            page.close()
        chromium.close()
        server.shutdown()
    assert {name for name in stock.changed() if name.startswith("page_")} == {f"page_{way}" for way in WAYS}
    assert not {name for name in guarded.changed() if name.startswith("page_")}
    assert seen == {stock.url: ("open", False), guarded.url: ("closed", True)}


WAYS = ("image", "form", "fetch", "beacon")
PAGE = """
<!doctype html><title>Somebody else's page</title><body><script>
const later = ms => new Promise(done => setTimeout(done, ms));
async function attack({url, mutations}) {
  const at = way => url + "/graphql?query=" + encodeURIComponent(mutations[way]);
  const image = new Image();
  await new Promise(done => { image.onload = image.onerror = done; image.src = at("image"); });
  await fetch(at("fetch"), {method: "POST", mode: "no-cors", body: "{}"}).catch(() => null);
  navigator.sendBeacon(at("beacon"), new Blob(["{}"], {type: "text/plain"}));
  const target = document.createElement("iframe");
  target.name = "target";
  document.body.append(target);
  const form = document.createElement("form");
  Object.assign(form, {action: at("form"), method: "POST", enctype: "text/plain", target: "target"});
  document.body.append(form);
  const answered = new Promise(done => { target.onload = done; });
  form.submit();
  await answered;
  const socket = await new Promise(done => {
    const opened = new WebSocket(url.replace("http", "ws") + "/graphql", "graphql-ws");
    opened.onopen = () => done("open");
    opened.onerror = () => done("closed");
  });
  const frame = document.createElement("iframe");
  const loads = new Promise(done => { frame.onload = done; });
  frame.src = url + "/runs";
  document.body.append(frame);
  await loads;
  await later(1000);  // for the beacon, which tells nobody when it arrives
  return socket;
}
</script>
"""
