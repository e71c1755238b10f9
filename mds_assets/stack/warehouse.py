"""The warehouse: a DuckDB file in the lake for SQL users, with one schema per layer and one view per table.

It holds no rows: the views read the Parquet files, which stay the only copy.
"""

import glob
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import Any

import duckdb
from dagster import (
    AssetKey,
    AssetsDefinition,
    AssetSpec,
    Failure,
    MaterializeResult,
    MetadataValue,
    ResourceParam,
    RetryRequested,
    asset,
)

from mds_assets.stack.io_managers.duckdb import scan
from mds_assets.stack.lake import InputsChangedError, Lake
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
    def build(lake: ResourceParam[Lake]) -> MaterializeResult[Any]:
        """The lake as a DuckDB file to query: `<layer>.<table>`, and `marts.<table>_latest` for the newest day.

        It holds views, not rows: days written later are visible immediately. New tables, and new fields in raw, appear
        with the next build.
        """
        try:
            with lake.replacing_file(WAREHOUSE) as file:
                views, size = _build(file, lake, tables), file.stat().st_size
        except (InputsChangedError, duckdb.Error, OSError) as error:
            if not lake.is_remote:
                raise
            # In a store, another run may replace any file while it is being read, or replace the warehouse with one
            # built from older tables.
            raise RetryRequested(max_retries=_RETRIES, seconds_to_wait=1) from Failure(f"{error}: build it again.")
        built = MetadataValue.path(str(lake.path(WAREHOUSE)))
        return MaterializeResult(metadata={"views": views, "dagster/uri": built, "bytes": size})

    return build


def _build(file: Path, lake: Lake, tables: Iterable[AssetSpec]) -> int:
    """Write the file; return the number of its views."""
    with duckdb.connect() as con:
        lake.register(con)
        con.execute(f"ATTACH {literal(file)} AS warehouse (STORAGE_VERSION '{_OLDEST_CLIENT}')")
        con.execute("USE warehouse; BEGIN")
        views = sum(_add_views(con, lake, table) for table in tables)
        con.execute("COMMIT; USE memory; DETACH warehouse")
    return views


def _add_views(con: duckdb.DuckDBPyConnection, lake: Lake, spec: AssetSpec) -> int:
    """Add a table's view, and for a mart also that of its newest day; return how many."""
    table = declared_table(spec.key.to_user_string(), spec.metadata)
    *layer, name = spec.key.path
    partitioned = spec.partitions_def is not None
    # Escape brackets and stars in the lake's own path.
    folder = glob.escape(str(lake.folder(spec.key).absolute()))
    files = f"{folder}/{DAY}=????-??-??/*.parquet" if partitioned else f"{folder}/*.parquet"
    # From the file names, because a day may have no rows.
    newest_day = f"(SELECT regexp_extract(max(file), '.*/{DAY}=([^/]*)', 1)::DATE FROM glob({literal(files)}))"  # noqa: S608
    ((newest,),) = con.sql(f"SELECT max(file) FROM glob({literal(files)})").fetchall()  # noqa: S608

    types = {column.name: column.type for column in table.columns}
    same_columns = bool(newest) and layer != ["raw"] and _all_have(con, files, types)
    if newest and layer == ["raw"]:  # including the fields that are not declared
        landed = con.sql(f"FROM read_parquet({literal(files)}, union_by_name = true, hive_partitioning = false)")
        types = dict(zip(landed.columns, map(str, landed.types), strict=True)) | types
    # List the columns one by one: DuckDB before 2.0 fails on a view of `*` once a file has an additional one.
    days = {DAY: "DATE"} if partitioned else {}
    rows = scan([files] if newest else [], types | days, partitioned=partitioned, same_columns=same_columns)
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
    con.execute(f"CREATE SCHEMA IF NOT EXISTS {quote('_'.join(layer))}")
    for view, query in views.items():
        named = f"{quote('_'.join(layer))}.{quote(view)}"
        con.execute(f"CREATE VIEW {named} AS {query}")
        con.execute(f"COMMENT ON VIEW {named} IS {literal(spec.description or '')}")
        for column, comment in comments.items():
            con.execute(f"COMMENT ON COLUMN {named}.{quote(column)} IS {literal(comment or '')}")
    return len(views)


def _all_have(con: duckdb.DuckDBPyConnection, files: str, types: dict[str, str]) -> bool:
    """Whether every file has all of these columns in these types, so that all files can be read like the first."""
    wanted = ", ".join(f"({literal(name)}, typeof(NULL::{sql_type}))" for name, sql_type in types.items())
    per_file = (
        f"SELECT count(*) FILTER ((name, duckdb_type) IN ({wanted})) AS found "  # noqa: S608
        f"FROM parquet_schema({literal(files)}) GROUP BY file_name"
    )
    ((all_have,),) = con.sql(f"SELECT bool_and(found = {len(types)}) FROM ({per_file})").fetchall()  # noqa: S608
    return all_have
