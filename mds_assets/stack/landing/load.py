"""Lands any dlt resource: one dlt load in a working folder, split into one Parquet file per day.

dlt extracts and normalizes: it runs the source's pages, its cursor and its state, and makes a load package. The lake is
not one of dlt's destinations, because it takes a load whole or not at all: the caller publishes the package's files.
This package depends on neither the lake nor Dagster nor any particular source.

https://dlthub.com/docs/general-usage/resource
"""

import os

# dlt reads its telemetry setting once per process; it can't be set per pipeline.
os.environ.setdefault("RUNTIME__DLTHUB_TELEMETRY", "false")

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date
from itertools import groupby, islice
from pathlib import Path
from typing import Any
from uuid import uuid4

import dlt
import duckdb
import pyarrow as pa
from dlt.destinations import filesystem
from dlt.extract import DltResource, DltSource

from mds_assets.stack.landing.days import Days, snapshot_day
from mds_assets.stack.landing.errors import LandingError, landing_error
from mds_assets.stack.landing.split import split_by_day
from mds_assets.stack.landing.to_arrow import ToArrow
from mds_assets.stack.table import Table

_ROWS = "rows"  # dlt's table, and its resource
_BATCH_ROWS = 2_000  # rows in memory at once; dlt's row groups have at most 5,000
_SCHEMA = {"names": "direct", "json": {"module": "dlt.common.normalizers.json.relational"}}


@dataclass(frozen=True)
class Load:
    """What one load landed.

    Attributes:
        load_id: dlt's id; empty if nothing was fetched.
        files: A file for each requested day that this load covers, even if it has no rows.
        early: A file for each day after the range that has rows. It does not make such a day a landed one.
        rows: Rows by requested day.
        rows_early: Rows in `early`.
        rows_before: Rows of days before the range: counted, not landed.
        skipped: Requested days that a snapshot does not cover.
    """

    load_id: str = ""
    files: dict[date, Path] = field(default_factory=dict[date, Path])
    early: dict[date, Path] = field(default_factory=dict[date, Path])
    rows: dict[date, int] = field(default_factory=dict[date, int])
    rows_early: int = 0
    rows_before: int = 0
    skipped: list[date] = field(default_factory=list[date])


def land(
    source: Any,
    table: Table,
    day: str | None,
    days: Days,
    folder: Path,
    con: duckdb.DuckDBPyConnection,
    quote_values: bool = False,
    name: str = "the raw table",
) -> Load:
    """Run a source, and write each day's rows to one Parquet file.

    Every file has the declared columns in their declared types, then everything else the source sent (`ToArrow` chooses
    the names), then `_dlt_load_id`. Undeclared nested values are JSON text; those of Arrow tables stay nested.

    Args:
        source: A dlt resource, a dlt source with one selected resource, or any iterable of dicts, lists of dicts, Arrow
            tables or record batches. It is not run for a snapshot that does not cover the range.
        table: The raw table's declaration.
        day: The column whose UTC date is a row's day, or a DuckDB expression over the columns as they land, such as
            `greatest(updated_at, pushed_at)`. A TIMESTAMP is taken as UTC. None for a snapshot, see `snapshot_day`.
        days: The requested days.
        folder: An empty folder for dlt's working files and the result; the caller removes it.
        con: The run's DuckDB connection.
        quote_values: Whether errors may quote values.
        name: The table's name in errors, such as `raw/orders`.

    Raises:
        LandingError: The source failed, a value does not fit its declared type, or a row has no day.
        OSError: The folder cannot be written.
        Exception: An error of the source that has a `retryable` attribute, unchanged.
    """
    requested = days.dates
    if day is None:
        snapshot = snapshot_day(days)
        if not snapshot:
            return Load(skipped=requested)
        requested, day = [snapshot], f"DATE '{snapshot}'"
    columns = ToArrow(name, table, quote_values=quote_values)
    load_id, parquet = _load(source, columns, folder)
    # Known only now: a source that resumes has left out the days that earlier loads cover.
    requested = [date for date in requested if date not in days.covered]
    if not requested:
        return Load(load_id, skipped=days.dates)
    files, rows = split_by_day(con, parquet, columns, load_id, day, requested, folder / "days", days.footer)
    early = sorted(files.keys() - requested)
    return Load(
        load_id=load_id,
        files={date: files[date] for date in requested},
        early={date: files[date] for date in early},
        rows={date: rows.get(date, 0) for date in requested},
        rows_early=sum(rows[date] for date in early),
        rows_before=sum(count for date, count in rows.items() if date < requested[0]),
        skipped=sorted(set(days.dates) - set(requested)),
    )


def _load(source: Any, columns: ToArrow, folder: Path) -> tuple[str, list[Path]]:
    """Run the source as one dlt load with one table; return its id and the Parquet files of its package."""
    pipeline = dlt.pipeline(
        # Two runs that share a name or a folder corrupt each other.
        pipeline_name=f"land_{uuid4().hex}",
        pipelines_dir=str(folder / "working"),
        # Says what the package's files may look like. Nothing is loaded into it.
        destination=filesystem(bucket_url=folder.as_uri(), warn_unsafe_layout_separators=False),
    )
    # The state is deleted with the folder, so there is none to restore.
    pipeline.config.restore_from_destination = False
    # dlt would drop an interrupt that comes while it normalizes.
    pipeline.runtime_config.intercept_signals = False
    # `ToArrow` has named the columns: dlt would turn `day_` into `dayx`.
    schema = dlt.Schema(_ROWS, normalizers=_SCHEMA)  # pyright: ignore[reportArgumentType]
    try:
        rows = dlt.resource(_tables(source, columns), name=_ROWS, max_table_nesting=0, write_disposition="append")
        pipeline.extract(rows, schema=schema, loader_file_format="parquet")
        (load_id,) = pipeline.normalize().loads_ids
        jobs = pipeline.get_load_package_info(load_id).jobs["new_jobs"]
    except Exception as error:
        broken = landing_error(error, columns.name)
        raise broken from broken.__cause__
    finally:
        pipeline.deactivate()
    return load_id, sorted(Path(job.file_path) for job in jobs if job.job_file_info.table_name == _ROWS)


def _tables(source: Any, columns: ToArrow) -> Iterator[pa.Table]:
    """The source's rows as Arrow tables, in order; the first is empty and has the declared columns."""
    yield columns.from_rows([])
    for are_dicts, items in groupby(_items(source, columns.name), lambda item: isinstance(item, Mapping)):
        while are_dicts and (rows := list(islice(items, _BATCH_ROWS))):
            yield columns.from_rows(rows)
        for item in items:
            if not isinstance(item, pa.Table | pa.RecordBatch):
                raise LandingError(
                    f"{columns.name}: the source sent a {type(item).__name__}: "
                    "yield dicts, lists of them, or Arrow tables."
                )
            for batch in item.to_batches() if isinstance(item, pa.Table) else [item]:
                yield columns.from_arrow(batch)


def _items(source: Any, name: str) -> Iterator[Any]:
    """The source's dicts and Arrow tables, one by one."""
    if isinstance(source, DltSource):
        selected = list(source.selected_resources)
        if len(selected) != 1:
            raise LandingError(
                f"{name}: the source has the resources {', '.join(selected) or 'none'}, and a table has one: "
                f"select it with .with_resources({selected[0] if selected else '...'!r})."
            )
        source = source.resources[selected[0]]
    if isinstance(source, Mapping | pa.Table | pa.RecordBatch):
        source = [source]
    if not isinstance(source, DltResource | Iterable) or isinstance(source, str | bytes):
        raise LandingError(f"{name}: a {type(source).__name__} is not a source: return a dlt resource or rows.")
    for item in source:
        if isinstance(item, list | tuple):
            yield from item
        elif item is not None:
            yield item
