"""The lake, its tables and its files, as the commands find them."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from dagster import AssetSpec

    from mds_assets.stack.lake import Lake

_LAYERS = ("raw", "staging", "marts")


def open_lake() -> "Lake":
    """The lake that the settings name."""
    from mds_assets.stack.lake import Lake
    from mds_assets.stack.settings import settings

    return Lake(settings.data_dir)


def tables() -> "list[AssetSpec]":
    """The assets that are tables of the lake (they declare columns), in layer order."""
    from mds_assets.definitions import defs
    from mds_assets.stack.table import TABLE

    tables = [spec for spec in defs.resolve_all_asset_specs() if TABLE in spec.metadata]
    return sorted(tables, key=lambda spec: ((*_LAYERS, layer := spec.key.path[0]).index(layer), spec.key))


def local_file(name: str, folder: Callable[[], str]) -> Path:
    """A file of the lake; if the lake is in an object store, a copy in this folder."""
    from mds_assets.stack.settings import is_remote, settings

    if not is_remote(settings.data_dir):
        stored = Path(settings.data_dir, name)
    else:
        stored = open_lake().path(name)
    if not stored.exists():
        raise click.ClickException(f"there is no {stored} yet: `mds run` creates it")
    if isinstance(stored, Path):
        return stored
    copied = Path(folder(), stored.name)
    copied.write_bytes(stored.read_bytes())
    return copied
