"""What all tests share: settings of their own, whatever the environment and `.env` of the machine say."""

import atexit
import functools
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

# Before any test imports the project, as it reads its settings once. An empty value means the default.
os.environ |= {
    "GITHUB_ORG": "",
    "GITHUB_TOKEN": "",
    "GITHUB_API_URL": "http://127.0.0.1:9",  # nothing listens there: no test can reach GitHub by mistake
    "MDS_DATA_DIR": tempfile.mkdtemp(prefix="mds-tests-"),
    "MDS_LOOKBACK_DAYS": "",
    # A reader's own sources are not tested here, and their servers get no requests.
    "MDS_SOURCES": "github" if Path(__file__).parents[1].joinpath("mds_assets/defs/github").exists() else "",
    "MDS_START_DATE": "2019-01-01",
    "MDS_PREVIEW_ROWS": "",
    "MDS_READABLE_BY": "",
    "MDS_ALERT_WEBHOOK": "",
    "MDS_DUCKDB_MEMORY_LIMIT": "",
    "MDS_DUCKDB_THREADS": "",
}

import pytest
from alembic.util import pyfiles
from hypothesis import settings
from xdist.scheduler import LoadScopeScheduling

# Else each of the hundreds of processes compiles the project again.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

# Each new Dagster instance loads its 90 migrations twice, only to find that it needs none: a third of a short run.
_load = pyfiles.load_module_py
_load_once = functools.cache(_load)
# `env.py` notes the version in the instance's database as it is loaded.
pyfiles.load_module_py = lambda module_id, path: (_load if module_id == "env_py" else _load_once)(module_id, path)

# A machine under load is no failure.
settings.register_profile("tests", deadline=None)
settings.load_profile("tests")

# What each of these starts once, and some of their tests follow each other.
TOGETHER = (
    "stack/test_cli.py",
    "stack/test_folders.py",
    "test_chaos.py",
    "test_checks.py",
    "test_daemon.py",
    "lake/test_lake.py",
    "lake/test_side_lake.py",
    "test_object_store.py",
    "github/test_plan.py",
    "test_openapi.py",
    "test_openapi_events.py",
    "test_report.py",
    "test_sample_events.py",
    "test_store.py",
    "test_ui.py",
    "test_warehouse.py",
    "test_webserver.py",
)


class FilesTogether(LoadScopeScheduling):
    """One worker runs all tests of such a file; all other tests are spread one by one.

    pytest-xdist's own `xdist_group` does nothing with pytest 9.2: it writes groups into an attribute that is gone.
    """

    def _split_scope(self, nodeid: str) -> str:
        return scope(nodeid)


def scope(nodeid: str) -> str:
    """What one worker runs."""
    file = nodeid.partition("::")[0]
    return file if file.endswith(TOGETHER) else nodeid


def pytest_configure(config: pytest.Config) -> None:
    """End a worker without tearing Python down: DuckDB would print a page about objects that test modules hold.

    Nobody reads a worker's exit code; that of pytest itself stays Python's own.
    """
    if hasattr(config, "workerinput"):
        atexit.register(os._exit, 0)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> FilesTogether:
    """Take the place of the scheduler that `--dist` names."""
    return FilesTogether(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest first, so that no worker begins one when the others are done."""
    longest: dict[str, float] = {}
    for item in items:
        marker = item.get_closest_marker("slow")
        longest[scope(item.nodeid)] = max(longest.get(scope(item.nodeid), 0), marker.args[0] if marker else 0)
    items.sort(key=lambda item: -longest[scope(item.nodeid)])
