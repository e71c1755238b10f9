"""Promises of `dagster dev` and `dg dev` on the project's instance: one at a time, and only on a free port."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from dagster import DagsterInstance

from mds_assets.stack.settings import PROJECT_ROOT
from mds_assets_tests.process import PATIENCE, Process, listens
from mds_assets_tests.store import free_ports

GUARD = yaml.safe_load((PROJECT_ROOT / ".dagster/dagster.yaml").read_text())["instance_class"]
COMMANDS = ("dagster", "dg")


def dev(program: str, home: Path, port: int) -> list[str | Path]:
    """The command that starts the UI and the daemon there, without a code location."""
    path = Path(sys.executable).with_name(program)
    return [path, "dev", "-w", home / "workspace.yaml", "--host", "127.0.0.1", "--port", str(port)]


def refusal(program: str, home: Path, port: int) -> str:
    """The one line with which the command refuses to start."""
    with subprocess.Popen(
        dev(program, home, port),
        env=os.environ | {"DAGSTER_HOME": str(home), "PYTHONWARNINGS": "ignore"},  # Dagster's, of `dagster dev`
        cwd=home,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            printed, _ = process.communicate(timeout=PATIENCE)
        except subprocess.TimeoutExpired:  # it did start
            os.killpg(process.pid, signal.SIGKILL)
            raise
    assert process.returncode == 1, printed
    (line,) = printed.splitlines()
    return line


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A Dagster home of the project."""
    (tmp_path / "home").mkdir()
    (tmp_path / "home/dagster.yaml").write_text(
        yaml.safe_dump({"telemetry": {"enabled": False}, "instance_class": GUARD})
    )
    (tmp_path / "home/workspace.yaml").write_text("load_from: []\n")
    return tmp_path / "home"


@pytest.fixture
def taken() -> Iterator[int]:
    """A port on which somebody else listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@pytest.mark.slow(2)
@pytest.mark.parametrize("program", COMMANDS)
def test_a_taken_port_is_refused_in_one_line_before_anything_starts(program: str, home: Path, taken: int):
    assert refusal(program, home, taken) == (
        f"Error: port {taken} of 127.0.0.1 is taken: choose another one, such as `make dev PORT={taken + 1}`, or "
        "`--port`."
    )
    with DagsterInstance.from_config(str(home)) as instance:
        assert not instance.get_daemon_heartbeats()


@pytest.mark.slow(13)
def test_a_second_one_on_the_same_instance_is_refused_in_one_line_until_the_first_has_ended(
    home: Path, tmp_path: Path, taken: int
):
    port, other = free_ports(2)
    first = Process("dev", dev("dg", home, port), tmp_path, {"DAGSTER_HOME": str(home)}, lambda: listens(port))
    first.start()
    try:
        first.wait_until_ready()
        for program in COMMANDS:
            assert refusal(program, home, other) == (
                f"Error: the UI and the daemon already run on {home}: stop them, or set another DAGSTER_HOME."
            )
        first.end()
        assert "is taken" in refusal("dg", home, taken)
        assert not listens(port)
    finally:
        first.kill()
    printed = first.log.read_text()
    assert f"Starting Dagster's UI on http://127.0.0.1:{port}" in printed
    assert "Traceback" not in printed


def test_make_dev_starts_it_on_the_given_port():
    recipe = subprocess.run(
        ["make", "--dry-run", "dev", "PORT=3456"], cwd=PROJECT_ROOT, check=True, capture_output=True, text=True
    ).stdout
    assert "dg dev -w workspace.yaml --host 127.0.0.1 --port 3456" in recipe
