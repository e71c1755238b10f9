"""Splits dlt's output into one Parquet file per day, in the declared types, with DuckDB."""

import errno
import os
import re
from collections.abc import Mapping
from contextlib import closing
from datetime import date
from pathlib import Path

import duckdb
import pyarrow as pa

from mds_assets.stack.io_managers.duckdb import SETTINGS, kv_metadata
from mds_assets.stack.landing.errors import LandingError
from mds_assets.stack.landing.to_arrow import LOAD_ID, ToArrow
from mds_assets.stack.table import DAY, literal, quote

# Fewer rows of each day in memory than for derived tables, because an API's rows are wide.
_SETTINGS = f"{SETTINGS} SET GLOBAL partitioned_write_flush_threshold = 20480;"


def split_by_day(
    con: duckdb.DuckDBPyConnection,
    parquet: list[Path],
    columns: ToArrow,
    load_id: str,
    day: str,
    requested: list[date],
    folder: Path,
    footer: Mapping[str, str],
) -> tuple[dict[date, Path], dict[date, int]]:
    """Write a file for each requested day, and one for each later day with rows.

    Returns the files, and the number of rows per day, including days before the first requested one. Each file's
    footer gets the given metadata.

    Raises:
        LandingError: A row has no day, or `day` is not a column or DuckDB expression that yields a time.
        OSError: The folder cannot be written.
    """
    folder.mkdir()
    options = f"FORMAT parquet, COMPRESSION zstd, {kv_metadata(footer)}"
    with closing(con.cursor()) as cursor:
        try:
            cursor.execute(_SETTINGS)
            cursor.execute(f"CREATE TEMP VIEW landed AS {_select(parquet, columns, load_id)}")
            expression = _day_expression(cursor, columns, day)
            rows = _count(cursor, columns.name, day, expression)
            landed = sorted(found for found in rows if found >= requested[0])
            # One day needs no split, and a plain COPY takes half the time of a partitioned one.
            files = _copy_days(cursor, expression, landed, folder, options) if len(landed) > 1 else {}
            for each in {*requested, *landed} - files.keys():
                where = f"{expression} = DATE '{each}'" if each in landed else "false"
                files[each] = _copy_day(cursor, where, folder / f"{each}.parquet", options)
        except duckdb.IOException as error:
            raise _os_error(error) from None
        except duckdb.Error as error:
            # DuckDB's messages quote values.
            message = str(error) if columns.quote_values else "a value is not one that the expression takes"
            raise LandingError(f"{columns.name}: day={day!r}: {type(error).__name__}: {message}") from error
    return files, rows


def _select(parquet: list[Path], columns: ToArrow, load_id: str) -> str:
    """A SELECT of all columns, in their declared types."""
    # dlt writes a naive timestamp as one in UTC.
    types = {name: "TIMESTAMP" for name, type_ in columns.schema.items() if type_ == pa.timestamp("us")}
    types |= columns.declared
    selected = [
        f"{quote(name)}::{types[name]} AS {quote(name)}" if name in types else quote(name) for name in columns.schema
    ]
    files = ", ".join(map(literal, parquet))
    # A column that first appears late is null in the earlier files.
    source = f"read_parquet([{files}], union_by_name = true, hive_partitioning = false)"
    return f"SELECT {', '.join(selected)}, {literal(load_id)} AS {quote(LOAD_ID)} FROM {source}"  # noqa: S608


def _day_expression(con: duckdb.DuckDBPyConnection, columns: ToArrow, day: str) -> str:
    """A SQL expression for a row's UTC date."""
    value = f"{DAY}_" if day == DAY else day
    if value in columns.schema:
        value = quote(value)
    elif re.fullmatch(r"\w+", value):
        raise LandingError(f"{columns.name}: day={day!r} is not among its columns {', '.join(columns.schema)}.")
    try:
        type_ = str(con.sql(f"SELECT {value} FROM landed").types[0])  # noqa: S608
    except duckdb.ProgrammingError as error:
        raise LandingError(f"{columns.name}: day={day!r}: {str(error).splitlines()[0]}") from error
    if type_ == "VARCHAR":  # an undeclared field of JSON
        return f"try_cast({value} AS TIMESTAMPTZ)::DATE"
    if type_.startswith("TIMESTAMP") or type_ in {"DATE", '"NULL"'}:
        return f"({value})::DATE"  # in UTC, the session's zone
    raise LandingError(
        f"{columns.name}: day={day!r} is {type_}, not a timestamp or date: make it one, as in "
        "day='to_timestamp(created)'."
    )


def _count(con: duckdb.DuckDBPyConnection, name: str, day: str, expression: str) -> dict[date, int]:
    """The number of rows by day."""
    has_day = f"{expression} BETWEEN '0001-01-01' AND '9999-12-31'"  # Python's range, so Dagster's; not `infinity`
    query = f"SELECT CASE WHEN {has_day} THEN {expression} END, count(*) FROM landed GROUP BY ALL"  # noqa: S608
    counts: dict[date | None, int] = dict(con.execute(query).fetchall())
    if missing := counts.pop(None, 0):
        rows = "1 row has" if missing == 1 else f"{missing} rows have"
        raise LandingError(
            f"{name}: {rows} no day, as {day} is null, no timestamp, or beyond the years 1 to 9999: "
            "leave them out in the source, or choose another day=."
        )
    return {found: count for found, count in counts.items() if found}


def _copy_days(
    con: duckdb.DuckDBPyConnection, expression: str, days: list[date], folder: Path, options: str
) -> dict[date, Path]:
    """Write the rows of these days, which must be all days with rows from the first one on."""
    query = f"SELECT *, {expression} AS {DAY} FROM landed WHERE {expression} >= DATE '{days[0]}'"  # noqa: S608
    copied = con.execute(
        f"COPY ({query}) TO {literal(folder)} ({options}, PARTITION_BY ({DAY}), RETURN_FILES)"
    ).fetchall()
    files = [Path(file) for _, written in copied for file in written]
    by_day = {date.fromisoformat(file.parent.name.removeprefix(f"{DAY}=")): file for file in files}
    if len(by_day) != len(files):
        raise LandingError(f"DuckDB wrote {len(files)} files for {len(by_day)} days.")
    return by_day


def _copy_day(con: duckdb.DuckDBPyConnection, where: str, target: Path, options: str) -> Path:
    con.execute(f"COPY (FROM landed WHERE {where}) TO {literal(target)} ({options})")
    return target


def _os_error(error: duckdb.IOException) -> OSError:
    """DuckDB's error as an OSError, whose errno lets the lake recognise a full or read-only disk."""
    numbers = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM)
    number = next((number for number in numbers if os.strerror(number) in str(error)), errno.EIO)
    return OSError(number, str(error))
