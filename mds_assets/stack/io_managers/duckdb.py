"""How DuckDB reads and writes a table of the lake: relations in, one COPY out."""

import glob
from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from pathlib import Path

import duckdb
import pyarrow as pa
from upath import UPath

from mds_assets.stack.lake.layout import DATA_FILE, DAY_IN_PATH, is_below_partition
from mds_assets.stack.table import DAY, Table, check_columns, literal, quote

_PATH = "path of the file"  # a column that no table declares

# GLOBAL, so that they apply to cursors too.
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


def read(
    con: duckdb.DuckDBPyConnection, files: Iterable[UPath], table: Table, *, partitioned: bool = True
) -> duckdb.DuckDBPyRelation:
    """The declared columns of these files as one lazy relation; empty if there are no files.

    A column that a file lacks is null: raw files of different loads have different columns.

    Args:
        con: The connection that the relation will belong to.
        files: Parquet files of the table.
        table: The declaration.
        partitioned: Whether the files are in partitions, so that `day` comes from their path.
    """
    # Escape brackets and stars in the lake's own path.
    patterns = [glob.escape(str(file)) for file in files]
    types = {column.name: column.type for column in (table.with_day() if partitioned else table).columns}
    return con.sql(scan(patterns, types, partitioned=partitioned))


def from_arrow(
    con: duckdb.DuckDBPyConnection, rows: pa.Table, table: Table, *, partitioned: bool
) -> duckdb.DuckDBPyRelation:
    """Rows in memory as a lazy relation in the declared types."""
    columns = (table.with_day() if partitioned else table).columns
    return con.from_arrow(rows).project(
        ", ".join(f"{quote(column.name)}::{column.type} AS {quote(column.name)}" for column in columns)
    )


def scan(
    patterns: Sequence[str], types: Mapping[str, str], *, partitioned: bool = True, same_columns: bool = False
) -> str:
    """A SELECT of these columns in these types from the matching files; without patterns, of no rows.

    Args:
        patterns: DuckDB's globs.
        types: Each column's DuckDB type, `day` among them.
        partitioned: Whether `day` comes from the files' path.
        same_columns: Whether all files have all columns. Otherwise a missing column reads as null, and DuckDB reads the
            footers of all files, even those that a filter excludes.
    """
    empty = f"SELECT {', '.join(f'NULL::{sql_type} AS {quote(name)}' for name, sql_type in types.items())} WHERE false"
    if not patterns:
        return empty
    # DuckDB pushes column and day filters through the UNION into the Parquet reader. The union gives every declared
    # column a type, even if no file has it.
    values = {name: quote(name) for name in types}
    paths = ", ".join(map(literal, patterns))
    hive = "true, hive_types = {'day': DATE}" if partitioned else "false"
    if partitioned and is_below_partition(patterns[0]):
        hive = f"false, filename = {literal(_PATH)}"
        values[DAY] = f"regexp_extract({quote(_PATH)}, {literal(DAY_IN_PATH)}, 1)"
    columns = ", ".join(f"{values[name]}::{sql_type} AS {quote(name)}" for name, sql_type in types.items())
    return (
        f"SELECT {columns} FROM ({empty} UNION ALL BY NAME FROM read_parquet([{paths}], "  # noqa: S608
        f"union_by_name = {not same_columns}, hive_partitioning = {hive}))"
    )


def select(relation: duckdb.DuckDBPyRelation, name: str, query: str) -> duckdb.DuckDBPyRelation:
    """A lazy SELECT over the relation, which the statement refers to as `name`.

    Raises:
        ValueError: The statement does not return rows.
    """
    selected = relation.query(name, query)
    if selected is None:
        raise ValueError(f"not a SELECT statement: {query}")
    return selected


def to_relation(
    con: duckdb.DuckDBPyConnection, rows: duckdb.DuckDBPyRelation | pa.Table | pa.RecordBatchReader
) -> duckdb.DuckDBPyRelation:
    """Any of the types that DuckDB can write, as a relation."""
    return rows if isinstance(rows, duckdb.DuckDBPyRelation) else con.from_arrow(rows)


def write(
    con: duckdb.DuckDBPyConnection,
    name: str,
    relation: duckdb.DuckDBPyRelation,
    table: Table,
    days: Sequence[date] | None,
    folder: Path,
) -> list[Path]:
    """COPY a relation, in one pass, to one file in `folder/day=D` per day with rows.

    Args:
        con: Any connection.
        name: The table's name, for errors.
        relation: Its rows, with `day` if the table has partitions.
        table: Its declaration.
        days: The days of the run; None for a table without partitions, whose only file goes into `folder`.
        folder: Where to write.

    Returns:
        The files written.

    Raises:
        SchemaError: Columns or types are not the declared ones.
        duckdb.Error: A value does not fit its declared type, or a single-day run has rows of another day.
    """
    check_columns(name, _arrow_schema(con, relation), table.with_day() if days else table)
    for setting in duckdb.extract_statements(SETTINGS):  # the relation may belong to an asset's own connection
        relation.query("output_rows", setting.query)
    produced = dict(zip(relation.columns, map(str, relation.types), strict=True))
    columns = ", ".join(
        f"{_cast(name, column.name, produced[column.name], column.type)} AS {quote(column.name)}"
        for column in table.columns
    )
    options = "FORMAT parquet, COMPRESSION snappy"
    if days is None or len(days) == 1:
        # One day needs no split, and a plain COPY takes half the time of a partitioned one.
        target = folder / (f"{DAY}={days[0]}" if days else "") / DATA_FILE
        target.parent.mkdir(parents=True, exist_ok=True)
        rows = f"SELECT {columns} FROM output_rows"  # noqa: S608
        if days:
            rows += (
                f" WHERE CASE WHEN {DAY} = DATE '{days[0]}' THEN true "
                f"ELSE error('a row of day ' || coalesce({DAY}::VARCHAR, 'NULL')) END"
            )
    else:
        target = folder
        rows = f"SELECT {columns}, {DAY} FROM output_rows"  # noqa: S608
        options += f", PARTITION_BY ({DAY})"
    copied = select(relation, "output_rows", f"COPY ({rows}) TO {literal(target)} ({options}, RETURN_FILES)")
    return [Path(file) for _, files in copied.fetchall() for file in files]


def kv_metadata(facts: Mapping[str, str]) -> str:
    """The option of COPY that records these facts in the footer."""
    return f"KV_METADATA {{{', '.join(f'{name}: {literal(value)}' for name, value in facts.items())}}}"


def _arrow_schema(con: duckdb.DuckDBPyConnection, relation: duckdb.DuckDBPyRelation) -> pa.Schema:
    """The relation's schema, without running it: it may be based on a stream that can only be read once."""
    types = ", ".join(
        f"NULL::{sql_type} AS {quote(name)}" for name, sql_type in zip(relation.columns, relation.types, strict=True)
    )
    return con.from_query(f"SELECT {types}").to_arrow_table().schema


def _cast(table: str, name: str, produced: str, declared: str) -> str:
    """The column cast to its declared type. DuckDB's own error for a number out of range does not name the column."""
    value = quote(name)
    element = declared.removesuffix("[]")
    if element == "JSON":
        # As text: Polars reads DuckDB's lists of JSON as bytes. The IO manager rejects invalid JSON.
        return f"{value}::{declared.replace('JSON', 'VARCHAR')}"
    if not element.startswith(("INTEGER", "BIGINT", "DECIMAL")) or produced in {declared, '"NULL"'}:
        return f"{value}::{declared}"
    refused = f"error({literal(f'{table}.{name} is ')} || {value}::VARCHAR || ', out of range for {declared}')"
    # For BIGINT, the common case, a comparison is faster than a try_cast.
    if produced == "BIGINT" and declared == "INTEGER":
        fits = f"{value} BETWEEN -2147483648 AND 2147483647 OR {value} IS NULL"
    elif element == declared:
        fits = f"try_cast({value} AS {declared}) IS NOT NULL OR {value} IS NULL"
    else:  # elements that do not fit become null
        fits = f"list_count(try_cast({value} AS {declared})) = list_count({value}) OR {value} IS NULL"
    return f"CASE WHEN {fits} THEN {value}::{declared} ELSE {refused} END"
