"""How Polars reads and writes a table of the lake: a scan in, one streaming sink out.

dagster-polars' Parquet IO manager is not used for this: with Polars 2 its scan fails (`rechunk` and `retries` are
gone), and its sink takes one partition only, is not atomic and leaves out the statistics that day filters live on.

What does not belong here: paths and atomic replacement (`lake.py`), metadata (`io_manager.py`).
"""

from collections.abc import Sequence
from pathlib import Path
from threading import Lock
from typing import IO

import polars as pl
from dagster import TableSchema
from polars.io.partition import FileProviderArgs
from upath import UPath

from mds_assets.stack.lake import object_store as objects
from mds_assets.stack.lake.lake import FILE_NAME
from mds_assets.stack.settings import is_remote
from mds_assets.stack.table import DAY, arrow_schema, check_fits


def polars_schema(schema: TableSchema, *, with_day: bool) -> pl.Schema:
    """The declaration as a Polars schema."""
    empty = pl.DataFrame(arrow_schema(schema, with_day=with_day).empty_table())
    return empty.schema


def scan(files: Sequence[UPath], schema: TableSchema) -> pl.LazyFrame:
    """The declared columns and `day` of these files as one lazy frame; an empty one for no file.

    A column that a file lacks is null: raw files of different loads have different columns.
    """
    if not files:
        return pl.LazyFrame(schema=polars_schema(schema, with_day=True))
    return pl.scan_parquet(
        [str(file) for file in files],
        schema=polars_schema(schema, with_day=False),
        hive_partitioning=True,
        hive_schema={DAY: pl.Date},
        glob=False,
        missing_columns="insert",
        extra_columns="ignore",
        # Files from before a column was declared wider.
        storage_options=objects.polars_options() if is_remote(str(files[0])) else None,
        cast_options=pl.ScanCastOptions(integer_cast="upcast", float_cast="upcast"),
    )


def write(table: str, frame: pl.LazyFrame, schema: TableSchema, folder: Path) -> list[Path]:
    """Sink a frame, run once and streamed, to `folder/day=D` for each day that has rows.

    Returns:
        The files written.

    Raises:
        SchemaError: Columns or types are not the declared ones.
        polars.exceptions.PolarsError: A value does not fit its declared type.
    """
    produced = pl.DataFrame(schema=frame.collect_schema()).to_arrow().schema
    check_fits(table, produced, schema)

    written: list[Path] = []
    opening, failed = Lock(), False

    # Polars is given open files, not paths: when a row fails, it raises while its other threads go on to create theirs.
    def opened(args: FileProviderArgs) -> IO[bytes]:
        file = folder / f"day={args.partition_keys.item()}" / FILE_NAME
        with opening:
            if failed:
                raise InterruptedError("the sink has failed")
            file.parent.mkdir(exist_ok=True)
            written.append(file)
            return file.open("wb")

    try:
        frame.select(
            pl.col(name).cast(dtype, strict=True) for name, dtype in polars_schema(schema, with_day=True).items()
        ).sink_parquet(
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
