"""Where a table's files are, and what their names mean.

    <layer>/<table>/day=2026-11-21/data.parquet           one day of a staging table or mart
    <layer>/<table>/day=2026-11-21/<load>.parquet         what one load landed for the day
    <layer>/<table>/day=2026-11-21/<load>.early.parquet   what a load of earlier days already fetched of this day
    <layer>/<table>/day=2026-11-21/<load>.compacted.parquet   what all loads up to this one landed, see `compact`
    <layer>/<table>/data.parquet                          a table without days; `<load>.parquet` in raw

An early file holds observations from a day that nobody has requested yet: readers of the day get its rows, but it does
not make the day a landed one. This module only computes names; it never accesses files.
"""

import re
from collections.abc import Iterable
from datetime import date
from typing import TYPE_CHECKING, TypeAlias

from mds_assets.stack.table import DAY

if TYPE_CHECKING:
    from dagster import AssetKey

# None is the one partition of a table without days.
Partition: TypeAlias = date | None

DATA_FILE = "data.parquet"

_PARQUET = ".parquet"
_EARLY = ".early.parquet"
_COMPACTED = ".compacted"
# The day in the path of a partition's file, for engines that take no list of the folders that are partitions.
DAY_IN_PATH = rf"/{DAY}=([0-9-]+)/[^/]*$"

_DAY_FOLDER = re.compile(rf"{DAY}=(\d{{4}}-\d\d-\d\d)")


def partition_folder(partition: Partition) -> str:
    """A partition's folder within the table's folder; empty for a table without days."""
    return f"{DAY}={partition}" if partition else ""


def partition_key(partition: Partition) -> str | None:
    """Dagster's key of a partition; None for a table without days."""
    return str(partition) if partition else None


def load_file(load: str, *, early: bool = False) -> str:
    """The name of a load's file in any of its partitions."""
    return f"{load}{_EARLY if early else _PARQUET}"


def compacted_file(names: Iterable[str]) -> str:
    """The name of a file into which files with these names are merged, all of them landed or all early."""
    newest = max(names)
    return load_file(load_of(newest) + _COMPACTED, early=newest.endswith(_EARLY))


def load_of(name: str) -> str:
    """The load that wrote a file of raw; of a compacted one, its newest load. A later load has a greater name."""
    return name.removesuffix(_PARQUET).removesuffix(".early").removesuffix(_COMPACTED)


def parse_folder(name: str) -> date | None:
    """The day of a partition's folder; None for any other folder."""
    matched = _DAY_FOLDER.fullmatch(name)
    try:
        return date.fromisoformat(matched[1]) if matched else None
    except ValueError:  # day=2026-02-30
        return None


def parse_path(path: str) -> tuple[Partition, str] | None:
    """The partition and the name of a file, from its path within the table's folder; None for other folders."""
    folder, separator, name = path.rpartition("/")
    if not separator:
        return None, name
    return (day, name) if (day := parse_folder(folder)) else None


def is_below_partition(path: str) -> bool:
    """Whether a folder above a partition's own is named like one (`x=y`): an engine would read it as a column."""
    return any("=" in folder for folder in path.split("/")[:-2])


def is_table_file(key: "AssetKey", name: str) -> bool:
    """Whether a file holds rows of this table: any Parquet file in raw, early rows included; else `data.parquet` only.

    A stray copy beside `data.parquet` would double every figure.
    """
    return name.endswith(_PARQUET) if key.has_prefix(["raw"]) else name == DATA_FILE


def table_files(key: "AssetKey", names: Iterable[str]) -> list[str]:
    """Those of these files that hold rows of this table."""
    return [name for name in names if is_table_file(key, name)]


def is_landed(names: Iterable[str]) -> bool:
    """Whether a table's files with these names make their day a landed one; early files alone do not."""
    return any(name.endswith(_PARQUET) and not name.endswith(_EARLY) for name in names)


def is_early(names: Iterable[str]) -> bool:
    """Whether a day with files of these names only has early rows."""
    names = list(names)
    return any(name.endswith(_EARLY) for name in names) and not is_landed(names)
