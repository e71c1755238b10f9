"""`current_table`: each key once, with its newest row over all days."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import date
from pathlib import Path
from traceback import extract_stack
from typing import Any

import duckdb
from dagster import AssetExecutionContext, AssetKey, AssetsDefinition

from mds_assets.stack.blocks.definition import CODE, Columns, as_table, code, make_asset, set_parameters
from mds_assets.stack.io_managers.duckdb import read, select
from mds_assets.stack.lake.layout import Partition
from mds_assets.stack.names import DAY_TAG, FIRST_DAY_TAG, LAST_DAY_TAG
from mds_assets.stack.partitions import days_between
from mds_assets.stack.session import Session
from mds_assets.stack.table import DAY, Column, Table, quote


def current_table(
    name: str, *, reads: str, columns: Columns, key: Sequence[str] = (), description: str | None = None, **options: Any
) -> AssetsDefinition:
    """A table without partitions in the layer of the table it reads: each key once, with its newest row over all days.

    A run merges its own days into the existing table. The result is the same as a rebuild from all days, in whatever
    order the days ran. The table has one more column, `day`: the newest day that has the key.

    Args:
        name: The table.
        reads: The table it reads, such as `staging/customers`; its columns are the same.
        columns: The columns to keep.
        key: The columns that identify a row; by default the key of `columns`.
        description: What a row is.
        options: Anything else that `@asset` takes.
    """
    source = AssetKey(reads.split("/"))
    kept = as_table(columns, key)
    seen = Column(DAY, "DATE", "The newest day that has the row, UTC.")
    declared = replace(kept, columns=(*kept.columns, seen), reconciles=None, lineage={})

    def merge(context: AssetExecutionContext, session: Session) -> duckdb.DuckDBPyRelation:
        step = context.get_step_execution_context()
        days = _days_of_run(context.run.tags)
        with session.reading(step):
            own = session.read(step, context.asset_key, [None])[None]
            changed = session.read(step, source, days)
            if not own or not days or _newest_row_removed(session, declared, kept, own, changed):
                changed = session.read(step, source, session.lake.days(source))
                own = {}
            files = [file for of_day in changed.values() for file in of_day]
            rows = read(session.connection, files, kept)
            if own:
                listed = ", ".join(f"DATE '{day}'" for day in days)
                before = read(session.connection, own, declared, partitioned=False)
                rows = before.filter(f"{DAY} NOT IN ({listed})").union(rows)
            newest = f"SELECT * FROM newest QUALIFY row_number() OVER ({_by(kept.key)} DESC) = 1"  # noqa: S608
            return select(rows, "newest", newest)

    set_parameters(merge, [], returns=duckdb.DuckDBPyRelation)
    caller = extract_stack(limit=2)[0]
    return make_asset(
        merge,
        declared,
        options,
        {CODE: code(Path(caller.filename), caller.lineno or 1)},
        key=[*source.path[:-1], name],
        deps=[source],
        description=description,
        group_name=source.path[0],
        kinds={"duckdb", "parquet"},
    )


def _by(key: Sequence[str]) -> str:
    return f"PARTITION BY {', '.join(map(quote, key))} ORDER BY {DAY}"


def _days_of_run(tags: Mapping[str, str]) -> list[date]:
    """The days of a run, even for a table without partitions; none if the run has none."""
    if day := tags.get(DAY_TAG):
        return [date.fromisoformat(day)]
    first, last = tags.get(FIRST_DAY_TAG), tags.get(LAST_DAY_TAG)
    return days_between(date.fromisoformat(first), date.fromisoformat(last)) if first and last else []


def _newest_row_removed(
    session: Session,
    declared: Table,
    kept: Table,
    own: Iterable[Any],
    changed: Mapping[Partition, Mapping[Any, str]],
) -> bool:
    """Whether a key's newest row came from one of these days and is gone, so an earlier day's is now the newest."""
    files = [file for of_day in changed.values() for file in of_day]
    read(session.connection, own, declared, partitioned=False).create_view("before", replace=True)
    read(session.connection, files, kept).create_view("changed", replace=True)
    listed = ", ".join(f"DATE '{day}'" for day in changed)
    keys = ", ".join(map(quote, kept.key))
    query = f"""
        SELECT count(*)
        FROM before LEFT JOIN (SELECT {keys}, max({DAY}) AS newest FROM changed GROUP BY ALL) USING ({keys})
        WHERE {DAY} IN ({listed}) AND (newest IS NULL OR newest < {DAY})
    """  # noqa: S608  # declared names and dates
    ((removed,),) = session.connection.sql(query).fetchall()
    return removed > 0
