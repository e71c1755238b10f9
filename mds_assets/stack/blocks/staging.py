"""`staging_table`: one SELECT in DuckDB SQL, in one file per table."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from traceback import extract_stack
from typing import Any

import duckdb
from dagster import AssetExecutionContext, AssetIn, AssetsDefinition, MetadataValue

from mds_assets.stack.blocks.definition import CODE, Columns, as_table, code, make_asset, parameter, set_parameters
from mds_assets.stack.code_version import sql_version
from mds_assets.stack.io_managers.value_errors import value_errors
from mds_assets.stack.partitions import DAILY, to_days
from mds_assets.stack.provenance import digest
from mds_assets.stack.session import Session
from mds_assets.stack.table import DAY, SchemaError


def staging_table(
    name: str,
    *,
    reads: Sequence[str],
    columns: Columns,
    key: Sequence[str] = (),
    sql: str | None = None,
    rejects: str | None = None,
    description: str | None = None,
    **options: Any,
) -> AssetsDefinition:
    """A table `staging/<name>`: one SELECT in DuckDB SQL over other tables of the same day.

    Args:
        name: The table.
        reads: The tables it reads, such as `raw/orders`; the query refers to each by its last part.
        columns: The columns that the query returns; it also returns `day`, which is not declared.
        key: The columns that identify a row within a day.
        sql: The query's file, relative to the calling module; by default `staging/<name>.sql`.
        rejects: A SQL condition for rows of the first table to leave out: `id IS NULL`. The query does not see them;
            each day's metadata counts them.
        description: What a row is.
        options: Anything else that `@asset` takes.

    Raises:
        SchemaError: Its query's file does not exist, or two of the tables it reads have the same last part.
    """
    declared = replace(as_table(columns, key), rejects=rejects)
    caller = extract_stack(limit=2)[0]  # inspect.stack() takes 50 ms: it reads the source of every frame
    file = Path(caller.filename).parent / (sql or f"staging/{name}.sql")
    try:
        query = file.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise SchemaError(f"staging/{name} has no query: write {file}, or name its file with sql=") from None
    views = {upstream.split("/")[-1]: upstream for upstream in reads}
    if len(views) < len(reads):
        raise SchemaError(f"staging/{name} reads {', '.join(reads)}: its query calls two of them by one name")

    def stage(context: AssetExecutionContext, session: Session, **rows: duckdb.DuckDBPyRelation) -> Any:
        if rejects:
            first = next(iter(views))
            step, quote_values = context.get_step_execution_context(), session.preview_rows > 0
            with (
                session.reading(step),
                value_errors("cannot be staged", f"staging/{name}", declared, quote_values=quote_values),
            ):
                _count_rejected(context, rows[first].filter(rejects))
            rows[first] = rows[first].filter(f"NOT coalesce({rejects}, false)")
        for view, relation in rows.items():
            relation.create_view(view, replace=True)
        return session.connection.sql(query)

    options.setdefault("code_version", digest(repr((sql_version(query), views)).encode()))
    inputs = [parameter(view, duckdb.DuckDBPyRelation) for view in views]
    set_parameters(stage, inputs, returns=duckdb.DuckDBPyRelation)
    return make_asset(
        stage,
        declared,
        options,
        {"sql": MetadataValue.md(f"```sql\n{query}```"), CODE: code(file, 1)},
        key=["staging", name],
        ins={view: AssetIn(key=upstream.split("/")) for view, upstream in views.items()},
        description=description,
        partitions_def=DAILY,
        group_name="staging",
        kinds={"duckdb", "sql", "parquet"},
    )


def _count_rejected(context: AssetExecutionContext, rejected: duckdb.DuckDBPyRelation) -> None:
    if not context.assets_def.partitions_def:
        context.add_asset_metadata({"rows_rejected": len(rejected)})
        return
    counts = dict(rejected.aggregate(f"{DAY}, count(*)", DAY).fetchall())
    for day in to_days(context.partition_keys):
        context.add_asset_metadata({"rows_rejected": counts.get(day, 0)}, partition_key=str(day))
