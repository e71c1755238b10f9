"""The project: everything in `defs/`, or the sources that MDS_SOURCES names, completed by the stack.

`dg`, the webserver, the daemon and `dagster asset materialize` load `defs`; tests build their own.

https://docs.dagster.io/guides/build/projects-and-components
"""
# ruff: noqa: E402

from mds_assets.stack import memory

memory.before_imports()

import warnings
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from traceback import extract_tb
from typing import Any

from dagster import BetaWarning, ComponentTree, Definitions, PreviewWarning

import mds_assets.defs
from mds_assets.stack import build
from mds_assets.stack.environment import PROJECT_ROOT
from mds_assets.stack.file_modes import restrict_files
from mds_assets.stack.settings import Settings, settings
from mds_assets.stack.table import SchemaError


def build_definitions(
    resource_overrides: Mapping[str, Any] | None = None, settings: Settings = settings
) -> Definitions:
    """The whole project.

    Args:
        resource_overrides: Resources by name (`lake`, `github`, ...) that replace the configured ones; resources that
            depend on one of them use the override.
        settings: The stack's settings.
    """
    with warnings.catch_warnings():
        # From code references and the backfill policy, which are in beta, and from the loader.
        warnings.simplefilter("ignore", BetaWarning)
        warnings.simplefilter("ignore", PreviewWarning)
        # Like `load_from_defs_folder`, which needs pyproject.toml (a container image has none) and describes all of
        # Dagster's component types for its UI, a tenth of the import.
        try:
            packages = [import_module(f"{mds_assets.defs.__name__}.{name}") for name in settings.sources]
            trees = [ComponentTree.from_module(each, PROJECT_ROOT) for each in packages or [mds_assets.defs]]
            loaded = [tree.build_defs_at_path(Path()) for tree in trees]
        except SchemaError as error:
            raise build.DefinitionError(f"{_place(error)}: {str(error).rstrip('.')}.") from error
        sources = Definitions.merge(*loaded, Definitions(component_tree=trees[0]))
        return build.build_definitions(sources, resource_overrides, settings)


def _place(error: Exception) -> str:
    """The file and line of `defs/` that the error comes from."""
    folder = Path(mds_assets.defs.__path__[0])
    frames = [each for each in extract_tb(error.__traceback__) if folder in Path(each.filename).parents]
    return f"{Path(frames[-1].filename).relative_to(folder.parents[1])}:{frames[-1].lineno}" if frames else str(folder)


restrict_files(settings)  # every process that runs definitions imports them from here
defs = build_definitions()
memory.after_imports()
