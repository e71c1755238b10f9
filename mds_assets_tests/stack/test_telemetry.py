"""Promises about telemetry: no command of the environment that `make` sets up sends any, whatever its settings."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import pytest

from mds_assets.stack.environment import PROJECT_ROOT

# What dagster-webserver, dagster-daemon and `dagster dev` do with what any other command has recorded.
_UPLOAD = """
import site, sys, time
site.addsitedir(sys.argv[1])
from dagster._core.telemetry_upload import uploading_logging_thread
with uploading_logging_thread():
    time.sleep(1)
"""
_DLT = """
import site, sys
site.addsitedir(sys.argv[1])
import dlt
dlt.pipeline("a", destination="duckdb")
from dlt.common.runtime import anon_tracker
print(anon_tracker._ANON_TRACKER_ENDPOINT)
"""


@pytest.fixture
def sent() -> Iterator[tuple[str, list[str]]]:
    """A server in place of Dagster's, and the paths of what it was sent."""
    paths: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

        def do_POST(self) -> None:
            paths.append(self.path)
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/actions", paths
    server.shutdown()
    thread.join()
    server.server_close()


def environment(**added: str) -> dict[str, str]:
    """The environment of a shell that knows nothing of the project."""
    ours = {"DAGSTER_DISABLE_TELEMETRY", "RUNTIME__DLTHUB_TELEMETRY", "PYTHONPATH"}
    return {name: value for name, value in os.environ.items() if name not in ours} | added


@pytest.mark.parametrize("installed", [False, True])
def test_dagster_sends_nothing_also_from_a_home_without_settings(
    tmp_path: Path, sent: tuple[str, list[str]], installed: bool
):
    url, paths = sent
    site, home = tmp_path / "site", tmp_path / "home"
    site.mkdir()
    (home / "logs").mkdir(parents=True)
    (home / "logs" / "event.log").write_text("{}\n")
    if installed:
        shutil.copy(PROJECT_ROOT / "telemetry.pth", site)
    command = [sys.executable, "-c", _UPLOAD, site]
    variables = environment(DAGSTER_HOME=str(home), DAGSTER_TELEMETRY_URL=url, no_proxy="127.0.0.1")
    subprocess.run(command, env=variables, check=True, cwd=tmp_path)
    is_synced = "DAGSTER_DISABLE_TELEMETRY" in _variables_of_a_bare_start(tmp_path)
    assert paths == ([] if installed or is_synced else ["/actions"])


def _variables_of_a_bare_start(folder: Path) -> str:
    command = [sys.executable, "-c", "import os; print(*os.environ)"]
    return subprocess.run(command, env=environment(), check=True, cwd=folder, capture_output=True, text=True).stdout


def test_dlt_sends_nothing_before_our_code_runs(tmp_path: Path):
    shutil.copy(PROJECT_ROOT / "telemetry.pth", tmp_path)
    command = [sys.executable, "-c", _DLT, tmp_path]
    ended = subprocess.run(command, env=environment(), cwd=tmp_path, check=True, capture_output=True, text=True)
    assert ended.stdout.split()[-1] == "None"


@pytest.mark.parametrize("target", [".venv/synced", ".venv/synced-dev"])
def test_make_installs_the_file_with_the_packages(target: str):
    recipe = subprocess.run(
        ["make", "--dry-run", "--always-make", target], cwd=PROJECT_ROOT, check=True, capture_output=True, text=True
    ).stdout
    assert 'cp telemetry.pth "$(.venv/bin/python' in recipe


def test_settings_turn_it_off_where_make_did_not():
    read = "import mds_assets.stack.environment, os; print(os.environ['DAGSTER_DISABLE_TELEMETRY'])"
    command = [sys.executable, "-c", read]
    variables = environment(PYTHONPATH=str(PROJECT_ROOT))
    assert subprocess.run(command, env=variables, check=True, capture_output=True, text=True).stdout.split() == ["1"]


def test_ci_s_home_has_the_settings_that_turn_it_off():
    workflow = (PROJECT_ROOT / ".github" / "workflows" / "ci.yml").read_text()
    assert 'cp -r .dagster "$DAGSTER_HOME"' in workflow
    assert "telemetry:\n  enabled: false\n" in (PROJECT_ROOT / ".dagster" / "dagster.yaml").read_text()
