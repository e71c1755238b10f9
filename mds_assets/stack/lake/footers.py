"""The footers of Parquet files: what a file says of its rows, and whether it can be read at all."""

import json
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeAlias

import pyarrow as pa
import pyarrow.parquet as pq
from upath import UPath

from mds_assets.stack.lake.backend import StoreError

AnyPath: TypeAlias = Path | UPath

# What reading a file that is no whole Parquet file raises: a name that is not UTF-8 is a ValueError.
UNREADABLE = (ValueError, OSError, pa.ArrowException)

_KEPT = 256  # footers: a week of a source's tables
_BATCH_ROWS = 16_384  # bounds the memory for a file with large values


def footer(file: AnyPath) -> pq.FileMetaData:
    """A Parquet file's footer, from disk or an object store.

    Raises:
        pyarrow.ArrowException: It is not a whole Parquet file.
        ValueError: The same; a name in it that is not UTF-8 is a UnicodeDecodeError.
        OSError: The same, or it cannot be opened.
    """
    if isinstance(file, Path):
        stat = file.stat()
        return _footer_of(Path(str(file)), stat.st_ino, stat.st_mtime_ns, stat.st_size)
    with file.open("rb") as opened:
        return pq.read_metadata(opened)


@lru_cache(maxsize=_KEPT)
def _footer_of(file: Path, *_version: int) -> pq.FileMetaData:
    """The footer of a local file in one version; a run's audit, metadata and checks all read it."""
    with file.open("rb") as opened:
        return pq.read_metadata(opened)


def recorded(file: AnyPath, name: str) -> Any:
    """A value of the file's footer; None if there is none, or another program wrote something else under this name."""
    try:
        return json.loads((footer(file).metadata or {}).get(name.encode(), b"null"))
    except (ValueError, RecursionError):  # no JSON, or no UTF-8
        return None


def why_unreadable(file: AnyPath, *, deep: bool = False) -> str | None:
    """Why a file is no Parquet file, as one line; None if it is one.

    Args:
        file: The file.
        deep: Read all rows as well: a file with a whole footer may have damaged pages.

    Raises:
        StoreError: The store does not respond, which says nothing about the file.
    """
    try:
        if deep:
            _read_rows(file)
        else:
            footer(file)
    except StoreError:
        raise
    except UNREADABLE as error:
        return next(iter(str(error).splitlines()), "") or type(error).__name__
    return None


def _read_rows(file: AnyPath) -> None:
    """Read and validate all rows, a batch of one row group at a time.

    Raises:
        ValueError: A value is invalid, such as text that is not UTF-8, or rows are missing.
        pyarrow.ArrowException: Pages are damaged.
        OSError: The same.
    """
    with file.open("rb") as opened, pq.ParquetFile(opened, page_checksum_verification=True) as parquet:
        expected, rows = parquet.metadata.num_rows, 0
        for group in range(parquet.num_row_groups):
            for batch in parquet.iter_batches(_BATCH_ROWS, row_groups=[group]):
                batch.validate(full=True)
                rows += batch.num_rows
    if rows != expected:
        raise ValueError(f"it has {rows} of {expected} rows")
