"""How Polars reads and writes a table of the lake: a scan in, one streaming sink out.

This does not use dagster-polars' Parquet IO manager: with Polars 2, its scan fails (`rechunk` and `retries` are gone),
and its sink handles only one partition, is not atomic and omits the statistics that day filters rely on.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from threading import Lock
from typing import IO, Any

import polars as pl
import pyarrow as pa
from polars.io.partition import FileProviderArgs
from upath import UPath

from mds_assets.stack.lake import layout
from mds_assets.stack.lake.layout import DATA_FILE, DAY_IN_PATH
from mds_assets.stack.table import DAY, Table, check_columns

_PATH = "path of the file"  # a column that no table declares


def polars_schema(table: Table) -> pl.Schema:
    """The declaration as a Polars schema."""
    return pl.DataFrame(table.arrow_schema().empty_table()).schema


def scan(
    files: Sequence[UPath], table: Table, *, partitioned: bool = True, polars_options: Mapping[str, Any] | None = None
) -> pl.LazyFrame:
    """The declared columns of these files as one lazy frame; empty if there are no files.

    A column that a file lacks is null: raw files of different loads have different columns.

    Args:
        files: Parquet files of the table.
        table: The declaration.
        partitioned: Whether the files are in partitions, so that `day` comes from their path.
        polars_options: How to reach the files, if they are in an object store.
    """
    if not files:
        return pl.LazyFrame(schema=polars_schema(table.with_day() if partitioned else table))
    is_below_partition = partitioned and layout.is_below_partition(str(files[0]))
    is_hive = partitioned and not is_below_partition
    frame = pl.scan_parquet(
        [str(file) for file in files],
        schema=polars_schema(table),
        hive_partitioning=is_hive,
        hive_schema={DAY: pl.Date} if is_hive else None,
        include_file_paths=_PATH if is_below_partition else None,
        glob=False,
        missing_columns="insert",
        extra_columns="ignore",
        # For files written before a column was widened.
        cast_options=pl.ScanCastOptions(integer_cast="upcast", float_cast="upcast"),
        **(polars_options or {}),
    )
    if not is_below_partition:
        return frame
    return frame.with_columns(pl.col(_PATH).str.extract(DAY_IN_PATH).str.to_date().alias(DAY)).drop(_PATH)


def from_arrow(rows: pa.Table) -> pl.LazyFrame:
    """Rows in memory as a lazy frame, without a copy of columns of fixed width."""
    return pl.DataFrame(pl.from_arrow(rows, rechunk=False)).lazy()


@dataclass(frozen=True)
class DayFrames:
    """A table's days as a lazy frame each: for a step that reads another window for each of its own days.

    Attributes:
        frames: The days that have a file, with a `day` column.
        empty: The same columns without rows.
    """

    frames: Mapping[date, pl.LazyFrame]
    empty: pl.LazyFrame

    def of(self, days: Iterable[date]) -> list[pl.LazyFrame]:
        """The frames of those of these days that have a file, in this order; an empty one if none has."""
        return [self.frames[day] for day in days if day in self.frames] or [self.empty]


def typed(name: str, frame: pl.LazyFrame, table: Table) -> pl.LazyFrame:
    """The frame's declared columns, cast to their declared types.

    Raises:
        SchemaError: Columns or types are not the declared ones.
    """
    check_columns(name, pl.DataFrame(schema=frame.collect_schema()).to_arrow().schema, table)
    return frame.select(pl.col(column).cast(dtype, strict=True) for column, dtype in polars_schema(table).items())


def write(name: str, frame: pl.LazyFrame, table: Table, days: Sequence[date] | None, folder: Path) -> list[Path]:
    """Sink a frame, streamed in one pass, to `folder/day=D` per day with rows.

    Args:
        name: The table's name, for errors.
        frame: Its rows, with `day` if the table has partitions.
        table: Its declaration.
        days: The days of the run; None for a table without partitions, whose only file goes into `folder`.
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

    # Give Polars open files, not paths: when a row fails, it raises while its other threads keep creating files.
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
