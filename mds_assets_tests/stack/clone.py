"""A copy of the project with the toy as its only source, or none: what remains once GitHub is removed."""

import shutil
import sys
from pathlib import Path

from mds_assets.stack.settings import PROJECT_ROOT
from mds_assets_tests.runs import Runs

_HERE = Path(__file__).parent

# A module with a function like this has nothing else that Dagster loads.
_RESOURCES = """
from dagster import Definitions, definitions
from mds_assets.defs.toy.tables import sales

@definitions
def resources() -> Definitions:
    return Definitions(resources={"shop": sales()})
"""


class Clone(Runs):
    """A copy of the project; its commands run in processes of their own.

    Attributes:
        root: Its folder.
    """

    def __init__(self, folder: Path, *, with_toy: bool = True):
        """Copy the stack, and make the toy a folder in `defs/`."""
        super().__init__(folder)
        self.root = folder / "project"
        shutil.copytree(
            PROJECT_ROOT / "mds_assets",
            self.root / "mds_assets",
            ignore=shutil.ignore_patterns("__pycache__", "github"),
        )
        for name in ("pyproject.toml", "workspace.yaml"):
            shutil.copy(PROJECT_ROOT / name, self.root)
        (self.root / ".venv").symlink_to(Path(sys.executable).parents[1])
        defs = self.root / "mds_assets" / "defs"
        for source in (folder for folder in defs.iterdir() if folder.is_dir()):
            shutil.rmtree(source)
        if with_toy:
            (defs / "toy" / "staging").mkdir(parents=True)
            shutil.copy(_HERE / "toy.py", defs / "toy" / "tables.py")
            (defs / "toy" / "resources.py").write_text(_RESOURCES)
            shutil.copy(_HERE / "staging" / "orders.sql", defs / "toy" / "staging")
        self.environment |= {"MDS_SOURCES": "", "PYTHONPATH": str(self.root)}
