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


def why_unreadable(file: AnyPath, *, deep: bool = False) -> str | None:
    """Why a file is no Parquet file, as one line; None if it is one.

    Args:
        file: The file.
        deep: Whether to read all rows, too, a row group at a time: pages may be damaged though the footer is whole.
    """
    try:
        footer(file)
        if deep:
            with file.open("rb") as opened:
                parquet = pq.ParquetFile(opened)
                for number in range(parquet.num_row_groups):
                    parquet.read_row_group(number)
    except (pa.ArrowException, OSError, ValueError) as error:
        return (str(error) or type(error).__name__).splitlines()[0]
    return None
