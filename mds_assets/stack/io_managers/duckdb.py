"""How DuckDB reads and writes a table of the lake: relations in, one COPY out.

What does not belong here: paths and atomic replacement (`lake.py`), metadata (`io_manager.py`).
"""

import glob
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from datetime import date
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
from dagster import InitResourceContext, TableSchema
from dagster_duckdb import DuckDBResource
from pydantic import PrivateAttr
from upath import UPath

from mds_assets.stack.lake import object_store as objects
from mds_assets.stack.lake.lake import FILE_NAME, Lake
from mds_assets.stack.table import DAY, check_fits

# Name of a column that numbers the rows, and of the input metadata with which an asset asks for it in a relation.
ROW_ID = "row_id"

# GLOBAL, so that cursors have them too.
SETTINGS = """
    -- Otherwise TIMESTAMPTZ columns reach Arrow in the zone of the machine.
    SET GLOBAL TimeZone = 'UTC';
    -- With them, DuckDB 2.0 can wait for ever when a COPY fails half-way (in TaskExecutor::DrainTasks).
    SET GLOBAL async_threads = 0;
    -- At the default of 100, DuckDB splits the days of a long range over several files each.
    SET GLOBAL partitioned_write_max_open_files = 10000;
    -- Rows that a COPY over several days keeps in memory before it writes them, as many as a row group has. At the
    -- default, 7 days of 1,000,000 rows take 4.7 GB and no less time.
    SET GLOBAL partitioned_write_flush_threshold = 122880;
    -- A relation is bound several times before it runs, and dlt's many small row groups make footers large.
    SET GLOBAL parquet_metadata_cache = true;
"""


class LakeDuckDB(DuckDBResource):
    """dagster-duckdb's resource with one in-memory connection for the whole run, so that relations can be joined.

    The stock `get_connection` gives a new database at each call and leaves it open when its caller fails: here it is
    entered once, at the first use, and closed with the run, whatever happened.
    """

    lake: Lake
    database: str = ":memory:"
    _run: str = PrivateAttr()

    def setup_for_execution(self, context: InitResourceContext) -> None:
        """Take part in the run's connection."""
        self._run = context.run.run_id if context.run else "no run"
        _users[self._run] += 1

    def teardown_after_execution(self, context: InitResourceContext) -> None:
        """Close the connection with the last that takes part in it."""
        _users[self._run] -= 1
        if not _users[self._run]:
            del _users[self._run]
            if opened := _opened.pop(self._run, None):
                opened[1].close()

    @property
    def connection(self) -> duckdb.DuckDBPyConnection:
        """The run's connection, with timestamps in UTC."""
        if self._run not in _opened:
            closing = ExitStack()
            # A folder of this run: DuckDB's spill files of two processes have the same names.
            spilled = closing.enter_context(self.lake.workspace())
            connection = closing.enter_context(self.get_connection())
            connection.execute(f"{SETTINGS} SET GLOBAL temp_directory = {literal(spilled)};")
            objects.let_read(connection, self.lake.root)
            _opened[self._run] = connection, closing
        return _opened[self._run][0]


# By run, not in the resource: Dagster gives each IO manager a copy of the resource that it holds.
_users: Counter[str] = Counter()
_opened: dict[str, tuple[duckdb.DuckDBPyConnection, ExitStack]] = {}


def read(
    con: duckdb.DuckDBPyConnection, files: Sequence[UPath], schema: TableSchema, *, row_id: bool = False
) -> duckdb.DuckDBPyRelation:
    """The declared columns and `day` of these files as one lazy relation; an empty one for no file.

    A column that a file lacks is null: raw files of different loads have different columns. With `row_id` there is a
    BIGINT column of this name too, another value for each row and the same at each read.
    """
    types = {c.name: c.type for c in schema.columns} | {DAY: "DATE"} | ({ROW_ID: "BIGINT"} if row_id else {})
    # A bracket or star in the lake's own path is no pattern.
    paths = [glob.escape(str(file)) for file in files]
    # By name, as DuckDB's own `file_index` counts only the files that a scan's filters leave; no file has 2^32 rows.
    names = ", ".join(literal(file) for file in files)
    number = f"(list_position([{names}], filename)::BIGINT << 32) + file_row_number"
    numbered = f"SELECT *, coalesce({number}, error('unknown file ' || filename)) AS {ROW_ID}" if row_id else ""
    return con.sql(scan(paths, types, numbered))


def scan(patterns: Sequence[str], types: Mapping[str, str], select: str = "", *, same_columns: bool = False) -> str:
    """A SELECT of these columns in these types from the files that match; of no rows for no pattern.

    Args:
        patterns: DuckDB's globs.
        types: Each column's DuckDB type, `day` among them.
        select: What is read of the files; everything by default.
        same_columns: Whether all files have all columns. Otherwise one that a file lacks is null, and DuckDB reads
            the footers of all files, even of those that a filter leaves out.
    """
    empty = f"SELECT {', '.join(f'NULL::{sql_type} AS {quote(name)}' for name, sql_type in types.items())} WHERE false"
    if not patterns:
        return empty
    # DuckDB pushes column and day filters through the UNION into the Parquet reader. The union gives every declared
    # column a type even where no file has it.
    columns = ", ".join(f"{quote(name)}::{sql_type} AS {quote(name)}" for name, sql_type in types.items())
    paths = ", ".join(map(literal, patterns))
    return (
        f"SELECT {columns} FROM ({empty} UNION ALL BY NAME {select} FROM read_parquet([{paths}], "  # noqa: S608
        f"union_by_name = {not same_columns}, hive_partitioning = true, hive_types = {{'day': DATE}}))"
    )


def select(relation: duckdb.DuckDBPyRelation, name: str, query: str) -> duckdb.DuckDBPyRelation:
    """A SELECT statement over the relation, which the statement calls `name`; lazy.

    Raises:
        ValueError: The statement is not one that returns rows.
    """
    selected = relation.query(name, query)
    if selected is None:
        raise ValueError(f"not a SELECT statement: {query}")
    return selected


def to_relation(
    con: duckdb.DuckDBPyConnection, table: duckdb.DuckDBPyRelation | pa.Table | pa.RecordBatchReader
) -> duckdb.DuckDBPyRelation:
    """Any of the types that DuckDB writes, as a relation."""
    return table if isinstance(table, duckdb.DuckDBPyRelation) else con.from_arrow(table)


def write(
    table: str,
    relation: duckdb.DuckDBPyRelation,
    schema: TableSchema,
    days: Sequence[date],
    folder: Path,
) -> list[Path]:
    """COPY a relation, run once, to one file in `folder/day=D` for each day that has rows.

    Returns:
        The files written.

    Raises:
        SchemaError: Columns or types are not the declared ones.
        duckdb.Error: A value does not fit its declared type, or the only day's rows hold another day's.
    """
    check_fits(table, _arrow_schema(relation), schema)
    for setting in duckdb.extract_statements(SETTINGS):  # the relation may be of a connection that an asset made
        relation.query("output_rows", setting.query)
    produced = dict(zip(relation.columns, map(str, relation.types), strict=True))
    columns = ", ".join(
        f"{_cast(table, column.name, produced[column.name], column.type)} AS {quote(column.name)}"
        for column in schema.columns
    )
    if len(days) == 1:
        # One day needs no split, and a plain COPY takes half the time of a partitioned one.
        (day,) = days
        target = folder / f"day={day}" / FILE_NAME
        target.parent.mkdir(parents=True, exist_ok=True)
        rows = (
            f"SELECT {columns} FROM output_rows WHERE CASE WHEN {DAY} = DATE '{day}' THEN true "  # noqa: S608
            f"ELSE error('a row of day ' || coalesce({DAY}::VARCHAR, 'NULL')) END"
        )
        options = "FORMAT parquet, COMPRESSION snappy"
    else:
        target = folder
        rows = f"SELECT {columns}, {DAY} FROM output_rows"  # noqa: S608
        options = "FORMAT parquet, COMPRESSION snappy, PARTITION_BY (day)"
    copied = select(relation, "output_rows", f"COPY ({rows}) TO {literal(target)} ({options}, RETURN_FILES)")
    return [Path(file) for _, files in copied.fetchall() for file in files]


def _arrow_schema(relation: duckdb.DuckDBPyRelation) -> pa.Schema:
    """The relation's schema, without running it: it may stand on a stream that can be read only once."""
    types = ", ".join(
        f"NULL::{sql_type} AS {quote(name)}" for name, sql_type in zip(relation.columns, relation.types, strict=True)
    )
    with duckdb.connect() as con:
        return con.from_query(f"SELECT {types}").to_arrow_table().schema


def _cast(table: str, name: str, produced: str, declared: str) -> str:
    """The column as its declared type; DuckDB's own error for a number out of range does not name the column."""
    value = quote(name)
    if declared not in {"INTEGER", "BIGINT"} or produced in {declared, '"NULL"'}:
        return f"{value}::{declared}"
    refused = f"error('{table}.{name} is ' || {value} || ', out of range for {declared}')"
    # Of BIGINT, which is the common case, a comparison tells faster than a cast that is tried.
    fits = (
        f"{value} BETWEEN -2147483648 AND 2147483647 OR {value} IS NULL"
        if produced == "BIGINT"
        else f"try_cast({value} AS {declared}) IS NOT NULL OR {value} IS NULL"
    )
    return f"CASE WHEN {fits} THEN {value}::{declared} ELSE {refused} END"


def quote(name: str) -> str:
    """The name as an identifier in SQL."""
    return '"' + name.replace('"', '""') + '"'


def literal(value: Any) -> str:
    """The value as a string in SQL."""
    return "'" + str(value).replace("'", "''") + "'"
