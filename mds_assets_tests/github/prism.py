"""Prism as a proxy before the tests' server, which holds each request and each answer to GitHub's own description.

Prism and the description are npm packages; where they are neither installed nor to be had, the tests are skipped.

https://github.com/github/rest-api-description, https://github.com/stoplightio/prism
"""

import json
import os
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Generator
from contextlib import contextmanager, suppress
from functools import cache, reduce
from operator import getitem
from pathlib import Path
from typing import Any

import pytest

from mds_assets_tests.github.server import GitHubServer

needs_node = pytest.mark.skipif(
    not (shutil.which("node") and shutil.which("npm")), reason="node and npm are not installed"
)

PACKAGES = {
    "@octokit/openapi": "23.0.2",  # the description, as GitHub publishes it, as an npm package
    "@stoplight/prism-cli": "5.14.2",  # later ones need node 24
}

PROBLEM = "application/problem+json"  # the answer of Prism itself, in place of one that breaks the description


@cache
def packages() -> Path:
    """The folder that holds PACKAGES: downloaded by the first run on a machine, found by all later ones."""
    ready = Path(tempfile.gettempdir(), "-".join(["mds-openapi", *PACKAGES.values()]))
    if not ready.exists():
        with tempfile.TemporaryDirectory(prefix="mds-openapi-") as folder:
            packages = Path(folder, "packages")
            install(packages)
            with suppress(OSError):  # another run was faster
                packages.rename(ready)
    if ready.stat().st_uid != os.getuid():
        pytest.skip(f"{ready} is another user's: its programs are not run")
    return ready / "node_modules"


def install(folder: Path) -> None:
    """Download PACKAGES, or skip the test; without the packages' own scripts, one of which reports to its makers."""
    npm = ["npm", "install", "--prefix", str(folder), *(f"{name}@{version}" for name, version in PACKAGES.items())]
    npm += ["--ignore-scripts", "--no-package-lock", "--no-audit", "--no-fund", "--loglevel=error"]
    npm += ["--engine-strict", "--fetch-retries=0"]  # a node that is too old, or no network: npm says so at once
    folder.mkdir()
    try:
        subprocess.run(npm, cwd=folder, check=True, capture_output=True, text=True, timeout=300)
    except subprocess.TimeoutExpired:
        pytest.skip("npm took more than 300 s to download GitHub's description and Prism")
    except subprocess.CalledProcessError as error:
        reason, _, _ = error.stderr.partition("\n")
        pytest.skip(f"npm cannot download GitHub's description and Prism: {reason}")
    for other in (folder / "node_modules/@octokit/openapi/generated").glob("*.json"):
        if other.name != "api.github.com.json":
            other.unlink()  # 390 MB that describe GitHub Enterprise, or the same again without references


def description() -> dict[str, Any]:
    """All that GitHub describes."""
    return json.loads((packages() / "@octokit/openapi/generated/api.github.com.json").read_text(encoding="utf-8"))


@contextmanager
def before(
    server: GitHubServer, document: dict[str, Any], folders: pytest.TempPathFactory
) -> Generator[None, None, None]:
    """Prism with this description, to which the server's `url` leads."""
    folder = folders.mktemp("prism")
    described, log = folder / "description.json", folder / "log"
    described.write_text(json.dumps(document), encoding="utf-8")
    prism = ["node", packages() / "@stoplight/prism-cli/dist/index.js", "proxy", described, server.url, "--errors"]
    listen = ["--host=127.0.0.1", "--port=0", "--multiprocess=false"]
    with log.open("w") as output, subprocess.Popen([*prism, *listen], stdout=output, stderr=output) as process:
        try:
            deadline = time.monotonic() + 60
            while not (address := re.search(r"listening on (http://127\.0\.0\.1:\d+)", log.read_text())):
                assert process.poll() is None and time.monotonic() < deadline, log.read_text()
                time.sleep(0.05)
            server.url = address[1]
            yield
        finally:
            process.kill()


def resolved(description: dict[str, Any], node: dict[str, Any]) -> dict[str, Any]:
    """What a reference such as `#/components/parameters/page` stands for; anything else as it is."""
    return reduce(getitem, node["$ref"].split("/")[1:], description) if "$ref" in node else node
