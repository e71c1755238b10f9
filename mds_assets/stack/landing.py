"""Lands any dlt resource: one dlt load, split into one Parquet file a day.

dlt runs the source: its pages, its cursor, its state, its load id. What leaves dlt is one table in a working folder.
DuckDB then puts each row into the file of its UTC day, in the declared types. Nothing is visible to anyone else: the
caller publishes the files. What does not belong here: the lake, Dagster, and any particular source.

https://dlthub.com/docs/general-usage/resource
"""

import os

# dlt decides on its telemetry once per process, when the first pipeline is made: no setting of one pipeline reaches it.
os.environ.setdefault("RUNTIME__DLTHUB_TELEMETRY", "false")

import errno
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import dlt
import duckdb
import pyarrow as pa
from dlt.destinations import filesystem
from dlt.extract import DltResource, DltSource

from mds_assets.stack.days import Days
from mds_assets.stack.io_managers.duckdb import SETTINGS
from mds_assets.stack.landing_errors import LandingError, landing_error
from mds_assets.stack.table import DAY, Table, literal, quote
from mds_assets.stack.to_arrow import LOAD_ID, ToArrow

__all__ = ["LandingError", "Load", "land", "snapshot_day"]

_ROWS = "rows"  # dlt's table, and its resource
_BATCH_ROWS = 2_000  # rows in memory at once; dlt's row groups have at most 5,000
_SCHEMA = {"names": "direct", "json": {"module": "dlt.common.normalizers.json.relational"}}

# Fewer rows of each day in memory than for derived tables: rows of an API are wide.
_SETTINGS = f"{SETTINGS} SET GLOBAL partitioned_write_flush_threshold = 20480;"


@dataclass(frozen=True)
class Load:
    """What one load landed.

    Attributes:
        load_id: dlt's id; empty where nothing was fetched.
        files: A file for each requested day that this load is complete for, also where it has no rows.
        early: A file for each day after the range that has rows. Such a day has not been landed.
        rows: Rows by requested day.
        rows_early: Rows in `early`.
        rows_before: Rows of days before the range: counted, not landed.
        skipped: Requested days that a snapshot says nothing about.
    """

    load_id: str = ""
    files: dict[date, Path] = field(default_factory=dict[date, Path])
    early: dict[date, Path] = field(default_factory=dict[date, Path])
    rows: dict[date, int] = field(default_factory=dict[date, int])
    rows_early: int = 0
    rows_before: int = 0
    skipped: list[date] = field(default_factory=list[date])


def snapshot_day(days: Days) -> date | None:
    """The day a snapshot belongs to: the newest one that has ended (UTC), if the range has it."""
    yesterday = datetime.now(UTC).date() - timedelta(days=1)
    return yesterday if yesterday in days.dates else None


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
    """Run a source, and write each day's rows as one Parquet file.

    Every file has the declared columns in their declared types, then what else the source sent, then `_dlt_load_id`.
    Undeclared columns have dlt's snake-case names; values of a second type go to `x__v_text` and the like. A field of
    the source called `day` lands as `day_`, as `day` is the partition's column. Nested values are JSON text; lists of
    Arrow tables, and columns declared as lists, stay lists.

    Args:
        source: A dlt resource, a dlt source with one selected resource, or any iterable of dicts, lists of dicts, Arrow
            tables or record batches. A snapshot that says nothing about the range does not touch it.
        table: The raw table's declaration.
        day: The column whose UTC date is a row's day, or a DuckDB expression over the columns as they land, such as
            `greatest(updated_at, pushed_at)`. TIMESTAMP and DATE count as UTC. None for a snapshot, see `snapshot_day`.
        days: The requested days.
        folder: An empty folder for dlt's working files and the result; the caller removes it.
        con: The run's DuckDB connection.
        quote_values: Whether errors may quote values.
        name: What errors call the table: `raw/orders`.

    Raises:
        LandingError: The source failed, a value does not fit its declared type, or a row has no day.
        OSError: The folder cannot be written.
        Exception: An error of the source that has a `retryable` attribute, as it is.
    """
    snapshot = snapshot_day(days) if day is None else None
    if day is None and snapshot is None:
        return Load(skipped=days.dates)
    columns = ToArrow(name, table, quote_values=quote_values)
    load_id, parquet = _load(source, columns, folder)
    with closing(con.cursor()) as cursor:
        cursor.execute(_SETTINGS)
        try:
            return _Split(cursor, columns, load_id, parquet).write(day, snapshot, days, folder / "days")
        except duckdb.IOException as error:
            raise _os_error(error) from None
        except duckdb.Error as error:
            # DuckDB's messages quote values.
            message = str(error) if quote_values else "a value is not one that the expression takes"
            raise LandingError(f"{name}: day={day!r}: {type(error).__name__}: {message}") from error


def _os_error(error: duckdb.IOException) -> OSError:
    """DuckDB's error as the system's, which has the number by which the lake knows a full or read-only disk."""
    numbers = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM)
    number = next((number for number in numbers if os.strerror(number) in str(error)), errno.EIO)
    return OSError(number, str(error))


def _load(source: Any, columns: ToArrow, folder: Path) -> tuple[str, list[Path]]:
    """Land everything in one table of one dlt load; its id, and its Parquet files."""
    pipeline = dlt.pipeline(
        # Two runs with one name or one folder corrupt each other.
        pipeline_name=f"land_{uuid4().hex}",
        pipelines_dir=str(folder / "working"),
        # dlt warns of `direct` names in folders; here is one table, whose name is ours.
        destination=filesystem(bucket_url=(folder / "loaded").as_uri(), warn_unsafe_layout_separators=False),
        dataset_name="landed",
    )
    # The state goes with the folder, so there is none to fetch.
    pipeline.config.restore_from_destination = False
    # `ToArrow` has named the columns: dlt would turn `day_` into `dayx`.
    schema = dlt.Schema(_ROWS, normalizers=_SCHEMA)  # pyright: ignore[reportArgumentType]
    try:
        rows = dlt.resource(_tables(source, columns), name=_ROWS, max_table_nesting=0, write_disposition="append")
        load = pipeline.run(rows, schema=schema, loader_file_format="parquet")
    except Exception as error:
        broken = landing_error(error, columns.name)
        raise broken from broken.__cause__
    finally:
        pipeline.deactivate()
    (load_id,) = load.loads_ids
    return load_id, sorted((folder / "loaded" / "landed" / _ROWS).glob("*.parquet"))


def _tables(source: Any, columns: ToArrow) -> Iterator[pa.Table]:
    """The source's rows as Arrow tables, the first an empty one with the declared columns."""
    yield columns.empty()
    dicts: list[Mapping[str, Any]] = []
    for item in _items(source, columns.name):
        if isinstance(item, Mapping):
            dicts.append(item)
            if len(dicts) == _BATCH_ROWS:
                yield columns.from_rows(dicts)
                dicts = []
        elif isinstance(item, pa.Table | pa.RecordBatch):
            # Rows keep their order: what came as dicts goes first.
            if dicts:
                yield columns.from_rows(dicts)
                dicts = []
            for batch in [item] if isinstance(item, pa.RecordBatch) else item.to_batches():
                yield columns.from_arrow(batch)
        else:
            raise LandingError(
                f"{columns.name}: the source sent a {type(item).__name__}: yield dicts, lists of them, or Arrow tables."
            )
    if dicts:
        yield columns.from_rows(dicts)


def _items(source: Any, name: str) -> Iterator[Any]:
    """Dicts and Arrow tables, one by one."""
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
        raise LandingError(f"{name}: a {type(source).__name__} is no source: return a dlt resource or rows.")
    for item in source:
        if isinstance(item, list | tuple):
            yield from item
        elif item is not None:
            yield item


@dataclass
class _Split:
    """dlt's files of one load, split by day."""

    con: duckdb.DuckDBPyConnection
    columns: ToArrow
    load_id: str
    parquet: list[Path]

    def write(self, day: str | None, snapshot: date | None, days: Days, folder: Path) -> Load:
        """Write a file for each requested day, and one for each later day with rows."""
        requested = [snapshot] if snapshot else days.dates
        expression = f"DATE '{snapshot}'" if snapshot else self._day_expression(day or "")
        query = f"SELECT {expression} AS {quote(DAY)}, count(*) FROM {self._source} GROUP BY ALL ORDER BY ALL"  # noqa: S608
        counts: dict[date | None, int] = dict(self.con.execute(query).fetchall()) if self.parquet else {}
        if missing := counts.pop(None, 0):
            raise LandingError(
                f"{self.columns.name}: {missing} rows have no day, as {day} is null or no timestamp: "
                "leave them out in the source, or choose another day=."
            )
        rows = {found: count for found, count in counts.items() if found}
        landed = sorted(found for found in rows if found >= requested[0])
        files = self._copy(expression, landed, folder) if landed else {}
        for empty in set(requested) - set(files):
            files[empty] = self._copy_query(f"{self._select('')} WHERE false", folder / f"{empty}.parquet")
        early = [found for found in landed if found > requested[-1]]
        return Load(
            load_id=self.load_id,
            files={requested_day: files[requested_day] for requested_day in requested},
            early={early_day: files[early_day] for early_day in early},
            rows={requested_day: rows.get(requested_day, 0) for requested_day in requested},
            rows_early=sum(rows[early_day] for early_day in early),
            rows_before=sum(count for found, count in rows.items() if found < requested[0]),
            skipped=[skipped for skipped in days.dates if skipped not in requested],
        )

    @property
    def _source(self) -> str:
        """What dlt wrote, as SQL; a column that a file lacks is null."""
        if not self.parquet:
            nulls = ", ".join(f"NULL AS {quote(name)}" for name in self.columns.schema)
            return f"(SELECT {nulls} WHERE false)"
        return (
            f"read_parquet([{', '.join(map(literal, self.parquet))}], union_by_name = true, hive_partitioning = false)"
        )

    def _select(self, day: str) -> str:
        """The columns of a file, in their declared types, with `day` where it is given."""
        # dlt writes a naive timestamp as an instant.
        types = {name: "TIMESTAMP" for name, type_ in self.columns.schema.items() if type_ == pa.timestamp("us")}
        types |= self.columns.declared
        columns = [
            f"{quote(name)}::{types[name]} AS {quote(name)}" if name in types else quote(name)
            for name in self.columns.schema
        ]
        load_id = f"{literal(self.load_id)} AS {quote(LOAD_ID)}"
        return (
            f"SELECT {', '.join([*columns, load_id, *([f'{day} AS {quote(DAY)}'] if day else [])])} FROM {self._source}"  # noqa: S608
        )

    def _day_expression(self, day: str) -> str:
        """A row's UTC date as SQL."""
        value = f"{DAY}_" if day == DAY else day
        if value in self.columns.schema:
            value = quote(value)
        elif re.fullmatch(r"\w+", value) and self.parquet:
            raise LandingError(
                f"{self.columns.name}: day={day!r} is not among its columns {', '.join(self.columns.schema)}."
            )
        try:
            described = self.con.execute(f"DESCRIBE SELECT {value} FROM {self._source}").fetchall()  # noqa: S608
        except duckdb.ProgrammingError as error:
            reason = str(error).splitlines()[0]
            raise LandingError(f"{self.columns.name}: day={day!r}: {reason}") from error
        type_ = str(described[0][1])
        if type_ == "VARCHAR":  # an undeclared field of JSON
            value, type_ = f"try_cast({value} AS TIMESTAMPTZ)", "TIMESTAMP WITH TIME ZONE"
        if type_ == "TIMESTAMP WITH TIME ZONE":
            return f"(({value}) AT TIME ZONE 'UTC')::DATE"
        if type_.startswith("TIMESTAMP") or type_ in {"DATE", '"NULL"'}:
            return f"({value})::DATE"
        raise LandingError(
            f"{self.columns.name}: day={day!r} is {type_}, not a timestamp or date: make it one, as in "
            "day='to_timestamp(created)'."
        )

    def _copy(self, day: str, landed: list[date], folder: Path) -> dict[date, Path]:
        """Write the rows of these days, which are all from the first of them on."""
        if len(landed) == 1:
            # One day needs no split, and a plain COPY takes half the time of a partitioned one.
            query = f"{self._select('')} WHERE {day} = DATE '{landed[0]}'"
            return {landed[0]: self._copy_query(query, folder / f"{landed[0]}.parquet")}
        folder.mkdir(parents=True, exist_ok=True)
        query = f"{self._select(day)} WHERE {day} >= DATE '{landed[0]}'"
        options = f"FORMAT parquet, COMPRESSION zstd, PARTITION_BY ({quote(DAY)}), RETURN_FILES"
        copied = self.con.execute(f"COPY ({query}) TO {literal(folder)} ({options})").fetchall()
        files = [Path(file) for _, written in copied for file in written]
        by_day = {date.fromisoformat(file.parent.name.removeprefix("day=")): file for file in files}
        if len(by_day) != len(files):
            raise LandingError(f"{self.columns.name}: DuckDB wrote {len(files)} files for {len(by_day)} days.")
        return by_day

    def _copy_query(self, query: str, target: Path) -> Path:
        target.parent.mkdir(parents=True, exist_ok=True)
        self.con.execute(f"COPY ({query}) TO {literal(target)} (FORMAT parquet, COMPRESSION zstd)")
        return target
