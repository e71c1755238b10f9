"""The warehouse: a DuckDB file in the lake for SQL users, with one schema per layer and one view per table.

It holds no rows: the views read the Parquet files, which stay the only copy.
"""

import glob
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import Any

import duckdb
from dagster import (
    AssetExecutionContext,
    AssetKey,
    AssetsDefinition,
    AssetSpec,
    DagsterLogManager,
    Failure,
    MaterializeResult,
    MetadataValue,
    ResourceParam,
    RetryRequested,
    asset,
)
from upath import UPath

from mds_assets.stack.io_managers.duckdb import scan
from mds_assets.stack.lake import DATA_FILE, InputsChangedError, Lake
from mds_assets.stack.lake.footers import why_unreadable
from mds_assets.stack.names import RUNS_LAST, WAREHOUSE
from mds_assets.stack.partitions import SINGLE_RUN
from mds_assets.stack.table import DAY, declared_table, literal, quote

_OLDEST_CLIENT = "v1.0.0"  # the oldest DuckDB that can open the file
_RETRIES = 10  # for a build that other runs keep overtaking
_DAY_COMMENT = "The partition: a day in UTC."


def warehouse(tables: Sequence[AssetSpec], optional: Collection[AssetKey] = ()) -> AssetsDefinition:
    """The asset that builds the warehouse from these tables, which declare their columns.

    Args:
        tables: All tables of the lake.
        optional: Those that a run may skip. Dagster would skip whatever depends on them, and so the warehouse.
    """

    # Without partitions, because there is one file regardless of the run's days. For a range, Dagster still requires
    # the policy on every asset.
    @asset(
        key="warehouse",
        config_schema={},  # Dagster takes any run config where none is declared
        deps=[table.key for table in tables if table.key not in optional],
        op_tags=RUNS_LAST,
        backfill_policy=SINGLE_RUN,
        group_name="warehouse",
        kinds={"duckdb"},
    )
    def build(context: AssetExecutionContext, lake: ResourceParam[Lake]) -> MaterializeResult[Any]:
        """The lake as a DuckDB file to query: `<layer>.<table>`, and `marts.<table>_latest` for the newest day.

        It holds views, not rows: days written later are visible immediately. New tables, and new fields in raw, appear
        with the next build.
        """
        try:
            with lake.replacing_file(WAREHOUSE) as file:
                views, size = _build(file, lake, tables, context.log), file.stat().st_size
        except (InputsChangedError, duckdb.Error, OSError) as error:
            if not lake.is_remote:
                raise
            # In a store, another run may replace any file while it is being read, or replace the warehouse with one
            # built from older tables.
            raise RetryRequested(max_retries=_RETRIES, seconds_to_wait=1) from Failure(f"{error}: build it again.")
        built = MetadataValue.path(str(lake.path(WAREHOUSE)))
        return MaterializeResult(metadata={"views": views, "dagster/uri": built, "bytes": size})

    return build


def _build(file: Path, lake: Lake, tables: Iterable[AssetSpec], log: DagsterLogManager) -> int:
    """Write the file; return the number of its views."""
    with duckdb.connect() as con:
        lake.register(con)
        con.execute(f"ATTACH {literal(file)} AS warehouse (STORAGE_VERSION '{_OLDEST_CLIENT}')")
        con.execute("USE warehouse; BEGIN")
        views = sum(_add_views(con, lake, table, log) for table in tables)
        con.execute("COMMIT; USE memory; DETACH warehouse")
    return views


def _add_views(con: duckdb.DuckDBPyConnection, lake: Lake, spec: AssetSpec, log: DagsterLogManager) -> int:
    """Add a table's view, and for a mart also that of its newest day; return how many."""
    table = declared_table(spec.key.to_user_string(), spec.metadata)
    *layer, name = spec.key.path
    partitioned = spec.partitions_def is not None
    # Escape brackets and stars in the lake's own path.
    folder = glob.escape(str(lake.folder(spec.key).absolute()))
    file = "*.parquet" if spec.key.has_prefix(["raw"]) else DATA_FILE
    files = f"{folder}/{DAY}=????-??-??/{file}" if partitioned else f"{folder}/{file}"
    # From the file names, because a day may have no rows.
    newest_day = f"(SELECT regexp_extract(max(file), '.*/{DAY}=([^/]*)', 1)::DATE FROM glob({literal(files)}))"  # noqa: S608
    ((newest,),) = con.sql(f"SELECT max(file) FROM glob({literal(files)})").fetchall()  # noqa: S608
    types = {column.name: column.type for column in table.columns}
    patterns = [files] if newest else []
    try:
        # On a cursor: a query that fails would end the transaction in which the views are made.
        landed, same_columns = _columns(con.cursor(), patterns, types, is_raw=layer == ["raw"])
    except duckdb.Error:
        # One file that cannot be read would fail every query: until it is gone, the view lists the others by name.
        listed = _files(lake, spec.key, partitioned=partitioned)
        left_out = {file: reason for file in listed if (reason := why_unreadable(file))}
        if not left_out:
            raise
        named = "; ".join(f"{file}: {reason}" for file, reason in left_out.items())
        log.error("%s: its view leaves out %s", spec.key.to_user_string(), named)
        patterns = [glob.escape(str(file.absolute())) for file in listed if file not in left_out]
        landed, same_columns = _columns(con, patterns, types, is_raw=layer == ["raw"])
    # List the columns one by one: DuckDB before 2.0 fails on a view of `*` once a file has an additional one.
    days = {DAY: "DATE"} if partitioned else {}
    rows = scan(patterns, landed | types | days, partitioned=partitioned, same_columns=same_columns)
    views = {name: rows}
    if layer == ["marts"] and partitioned:
        # The first condition is for DuckDB before 2.0, which only skips files based on constants.
        views[f"{name}_latest"] = (
            f"FROM ({rows}) WHERE {DAY} >= DATE '{Path(newest).parent.name.removeprefix(f'{DAY}=')}' "
            f"AND {DAY} = {newest_day}"
            if newest
            else rows
        )

    comments = {column.name: column.description for column in table.columns} | dict.fromkeys(days, _DAY_COMMENT)
    statements = [f"CREATE SCHEMA IF NOT EXISTS {quote('_'.join(layer))}"]
    for view, query in views.items():
        named = f"{quote('_'.join(layer))}.{quote(view)}"
        statements += [
            f"CREATE VIEW {named} AS {query}",
            f"COMMENT ON VIEW {named} IS {literal(spec.description or '')}",
            *(f"COMMENT ON COLUMN {named}.{quote(name)} IS {literal(text or '')}" for name, text in comments.items()),
        ]
    con.execute("; ".join(statements))
    return len(views)


def _columns(
    con: duckdb.DuckDBPyConnection, patterns: Sequence[str], types: dict[str, str], *, is_raw: bool
) -> tuple[dict[str, str], bool]:
    """For raw, the columns of all files, declared or not; for others, whether every file has all of `types`."""
    if not patterns:
        return {}, False
    listed = f"[{', '.join(map(literal, patterns))}]"
    if is_raw:
        landed = con.sql(f"FROM read_parquet({listed}, union_by_name = true, hive_partitioning = false)")
        return dict(zip(landed.columns, map(str, landed.types), strict=True)), False
    return {}, _all_have(con, listed, types)


def _files(lake: Lake, key: AssetKey, *, partitioned: bool) -> list[UPath]:
    """All files of a table, early ones included."""
    partitions = [*lake.days(key), *lake.early_days(key)] if partitioned else [None]
    return [file for files in lake.read_set(key, partitions).values() for file in files]


def _all_have(con: duckdb.DuckDBPyConnection, files: str, types: dict[str, str]) -> bool:
    """Whether each of these files has all of these columns in these types: then all can be read like the first."""
    wanted = ", ".join(f"({literal(name)}, typeof(NULL::{sql_type}))" for name, sql_type in types.items())
    per_file = (
        f"SELECT count(*) FILTER ((name, duckdb_type) IN ({wanted})) AS found "  # noqa: S608
        f"FROM parquet_schema({files}) GROUP BY file_name"
    )
    ((all_have,),) = con.sql(f"SELECT bool_and(found = {len(types)}) FROM ({per_file})").fetchall()  # noqa: S608
    return all_have
