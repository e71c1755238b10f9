"""A copy of the project, without GitHub and with other sources, and the real commands on it."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import duckdb

from mds_assets.stack.environment import PROJECT_ROOT, source_folders
from mds_assets_tests import forkserver

_GITHUB = ("mds_assets/defs/github", "mds_assets/github", "mds_assets_tests/github")
_COPIED = (
    *("mds_assets", "mds_assets_tests", "examples", "deploy", "docs"),
    *(".dagster", ".env.example", "Makefile", "README.md", "pyproject.toml"),
)


class CopiedProject:
    """The project below `folder`, with these examples and without GitHub.

    Attributes:
        root: The copy.
        lake: Its lake.
        environment: What its commands get on top of the machine's; add a source's settings.
    """

    def __init__(self, folder: Path, examples: Iterable[str] = (), *, with_github: bool = False) -> None:
        """Copy the project."""
        self.root, self.lake, self.home = folder / "project", folder / "lake", folder / "dagster"
        self.root.mkdir()
        self.home.mkdir()
        for name in _COPIED:
            source = PROJECT_ROOT / name
            if source.is_dir():
                shutil.copytree(source, self.root / name, ignore=shutil.ignore_patterns("__pycache__", "*.db*"))
            else:
                shutil.copy(source, self.root / name)
        shutil.copy(PROJECT_ROOT / ".dagster/dagster.yaml", self.home)
        for removed in () if with_github else _GITHUB:
            shutil.rmtree(self.root / removed)
        for source in source_folders():
            if source != "github":  # a reader's own
                shutil.rmtree(self.root / "mds_assets/defs" / source)
        for example in examples:
            shutil.copytree(PROJECT_ROOT / "examples" / example, self.root / "mds_assets/defs" / example)
        self.environment = {
            "PYTHONPATH": str(self.root),
            "DAGSTER_HOME": str(self.home),
            "MDS_DATA_DIR": str(self.lake),
            "MDS_LOOKBACK_DAYS": "7",
            "MDS_SOURCES": "",
            "COLUMNS": "80",
        }

    def command(self, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """`mds ...`, `dagster ...` or `python ...` in the copy."""
        program = Path(sys.executable).with_name(words[0])
        return forkserver.run([program, *words[1:]], os.environ | self.environment | environment, self.root)

    def rows(self, table: str, columns: str = "*") -> list[tuple[Any, ...]]:
        """A table's rows in some order that never changes."""
        files = f"{self.lake}/{table}/**/*.parquet"
        with duckdb.connect() as con:
            con.execute("SET TimeZone = 'UTC'")
            query = f"SELECT {columns} FROM read_parquet('{files}', union_by_name = true) ORDER BY ALL"  # noqa: S608
            return con.sql(query).fetchall()
