"""How Polars reads and writes a table of the lake: a scan in, one streaming sink out.

dagster-polars' Parquet IO manager is not used for this: with Polars 2 its scan fails (`rechunk` and `retries` are
gone), and its sink takes one partition only, is not atomic and leaves out the statistics that day filters live on.

What does not belong here: paths and atomic replacement (`lake.py`), metadata (`io_manager.py`).
"""

from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path
from threading import Lock
from typing import IO, Any

import polars as pl
from polars.io.partition import FileProviderArgs
from upath import UPath

from mds_assets.stack.lake.layout import DATA_FILE
from mds_assets.stack.table import DAY, Table, check_columns


def polars_schema(table: Table) -> pl.Schema:
    """The declaration as a Polars schema."""
    return pl.DataFrame(table.arrow_schema().empty_table()).schema


def scan(
    files: Sequence[UPath], table: Table, *, partitioned: bool = True, polars_options: Mapping[str, Any] | None = None
) -> pl.LazyFrame:
    """The declared columns of these files as one lazy frame; an empty one for no file.

    A column that a file lacks is null: raw files of different loads have different columns.

    Args:
        files: Parquet files of the table.
        table: The declaration.
        partitioned: Whether the files lie in partitions, so that `day` comes from their path.
        polars_options: How to reach the files, where they lie in an object store.
    """
    if not files:
        return pl.LazyFrame(schema=polars_schema(table.with_day() if partitioned else table))
    return pl.scan_parquet(
        [str(file) for file in files],
        schema=polars_schema(table),
        hive_partitioning=partitioned,
        hive_schema={DAY: pl.Date} if partitioned else None,
        glob=False,
        missing_columns="insert",
        extra_columns="ignore",
        # Files from before a column was declared wider.
        cast_options=pl.ScanCastOptions(integer_cast="upcast", float_cast="upcast"),
        **(polars_options or {}),
    )


def typed(name: str, frame: pl.LazyFrame, table: Table) -> pl.LazyFrame:
    """The frame's declared columns in their declared types.

    Raises:
        SchemaError: Columns or types are not the declared ones.
    """
    check_columns(name, pl.DataFrame(schema=frame.collect_schema()).to_arrow().schema, table)
    return frame.select(pl.col(column).cast(dtype, strict=True) for column, dtype in polars_schema(table).items())


def write(name: str, frame: pl.LazyFrame, table: Table, days: Sequence[date] | None, folder: Path) -> list[Path]:
    """Sink a frame, run once and streamed, to `folder/day=D` for each day that has rows.

    Args:
        name: The table's name, for errors.
        frame: Its rows, with `day` where the table has partitions.
        table: Its declaration.
        days: The days of the run; None where the table has no partitions, whose one file lies in `folder`.
        folder: Where to write.

    Returns:
        The files written.

    Raises:
        SchemaError: Columns or types are not the declared ones.
        polars.exceptions.PolarsError: A value does not fit its declared type.
    """
    rows = typed(name, frame, table.with_day() if days else table)
    if days is None:
        rows.sink_parquet(folder / DATA_FILE, compression="zstd", statistics=True)
        return [folder / DATA_FILE]

    written: list[Path] = []
    opening, failed = Lock(), False

    # Polars is given open files, not paths: when a row fails, it raises while its other threads go on to create theirs.
    def opened(args: FileProviderArgs) -> IO[bytes]:
        file = folder / f"{DAY}={args.partition_keys.item()}" / DATA_FILE
        with opening:
            if failed:
                raise InterruptedError("the sink has failed")
            file.parent.mkdir(exist_ok=True)
            written.append(file)
            return file.open("wb")

    try:
        rows.sink_parquet(
            pl.PartitionBy(
                folder, key=DAY, include_key=False, file_path_provider=opened, approximate_bytes_per_file=None
            ),
            compression="zstd",
            statistics=True,
        )
    except BaseException:
        with opening:
            failed = True
        raise
    return written
