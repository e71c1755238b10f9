"""The toy on lakes of its own: built once, and copied for each test that changes something."""

import shutil
from datetime import date
from pathlib import Path
from typing import Any

from mds_assets_tests.runs import Runs
from mds_assets_tests.stack import toy

LAYERS = ("raw", "staging", "marts", "warehouse")


def runs_in(folder: Path, *, preview_rows: int = 0, **replaced: Any) -> Runs:
    """The toy on an empty lake, with some of its assets replaced: `raw`, `staged`, `current`, `mart`."""
    assets = {"raw": toy.orders, "staged": toy.staged, "current": toy.current, "mart": toy.revenue} | replaced
    return Runs.of(folder, *assets.values(), shop=toy.sales(), preview_rows=preview_rows)


def built_lake(folder: Path, first: date, last: date) -> Path:
    """The lake of the toy after one run of these days."""
    runs = runs_in(folder)
    assert runs.materialise(first, last, LAYERS).success
    return runs.lake


def copy_of(lake: Path, folder: Path, *, preview_rows: int = 0) -> Runs:
    """The toy on a copy of a lake: other modification times, other inodes."""
    runs = runs_in(folder, preview_rows=preview_rows)
    shutil.copytree(lake, runs.lake)
    return runs
