"""The footers of Parquet files: what a file says of its rows, and whether it can be read at all."""

from pathlib import Path
from typing import TypeAlias

import pyarrow as pa
import pyarrow.parquet as pq
from upath import UPath

AnyPath: TypeAlias = Path | UPath


def footer(file: AnyPath) -> pq.FileMetaData:
    """A Parquet file's footer, from disk or an object store.

    Raises:
        pyarrow.ArrowInvalid: It is not a whole Parquet file.
        OSError: It cannot be opened.
    """
    with file.open("rb") as opened:
        return pq.read_metadata(opened)


def why_unreadable(file: AnyPath) -> str | None:
    """Why a file is no Parquet file, as one line; None if it is one."""
    try:
        footer(file)
    except (pa.ArrowInvalid, OSError) as error:
        return str(error).splitlines()[0]
    return None
