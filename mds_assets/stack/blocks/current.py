"""`current_table`: each key once, with its newest row over all days."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import date
from hashlib import sha256
from pathlib import Path
from traceback import extract_stack
from typing import Any

import duckdb
from dagster import AssetExecutionContext, AssetKey, AssetsDefinition
from upath import UPath

from mds_assets.stack.blocks.definition import CODE, Columns, as_table, code, make_asset, set_parameters
from mds_assets.stack.code_version import function_version
from mds_assets.stack.io_managers.duckdb import read, select
from mds_assets.stack.lake import Files
from mds_assets.stack.lake.footers import recorded
from mds_assets.stack.lake.layout import Partition
from mds_assets.stack.names import MERGED
from mds_assets.stack.provenance import Footer, Provenance, digest
from mds_assets.stack.session import Session
from mds_assets.stack.table import DAY, Column, SchemaError, Table, quote

FIRST_SEEN, LAST_SEEN, IS_LISTED = "first_seen", "last_seen", "is_listed"

_DAY = Column(DAY, "DATE", "The newest day that has the row, UTC.")
_HISTORY = (
    Column(FIRST_SEEN, "DATE", "The oldest day that has the row, UTC."),
    Column(LAST_SEEN, "DATE", "The newest day that has the row, UTC."),
)


def current_table(
    name: str,
    *,
    reads: str,
    columns: Columns,
    key: Sequence[str] = (),
    history: bool = False,
    listed_by: Sequence[str] = (),
    description: str | None = None,
    **options: Any,
) -> AssetsDefinition:
    """A table without partitions in the layer of the table it reads: each key once, with its newest row over all days.

    A run merges the days that changed since the last one into the existing table, whose footer records them. The result
    is the same as a rebuild from all days, in whatever order the days ran, also after a run that was killed. The table
    has one more column, `day`: the newest day that has the key.

    Args:
        name: The table.
        reads: The table it reads, such as `staging/customers`; its columns are the same.
        columns: The columns to keep. If a day may have a key several times, only those that the key determines.
        key: The columns that identify a row; by default the key of `columns`.
        history: In place of `day`, add `first_seen` and `last_seen`: the oldest and the newest day that has the key.
        listed_by: For a table that lists everything there is each day, with `history`: columns such as `account`. Adds
            `is_listed`: whether the newest day that has any row of the same account still has the key.
        description: What a row is.
        options: Anything else that `@asset` takes.

    Raises:
        SchemaError: There is no key, or `listed_by` is given without `history`.
    """
    source = AssetKey(reads.split("/"))
    title = "/".join([*source.path[:-1], name])
    kept = as_table(columns, key)
    if not kept.key:
        raise SchemaError(f"{title} has no key: name the columns that identify a row, as in key=[{kept.names[0]!r}]")
    if listed_by and not history:
        raise SchemaError(f"{title} has listed_by={list(listed_by)!r} and history=False: add history=True")
    added = _HISTORY if history else (_DAY,)
    if listed_by:
        newest = f"the newest listing of its {' and '.join(listed_by)}"
        added += (Column(IS_LISTED, "BOOLEAN", f"Whether {newest} still has it."),)
    lineage = {each: [f"{reads}.{each}"] for each in kept.names} | {each.name: [f"{reads}.{DAY}"] for each in added}
    if listed_by:
        lineage[IS_LISTED] = [f"{reads}.{each}" for each in (DAY, *listed_by)]
    declared = replace(kept, columns=(*kept.columns, *added), reconciles=None, lineage=lineage)
    rules = function_version(_merged, _spans, _rows)
    code_version: str = options.setdefault("code_version", digest(repr((rules, history, listed_by)).encode()))

    def merge(context: AssetExecutionContext, session: Session) -> duckdb.DuckDBPyRelation:
        step, table = context.get_step_execution_context(), context.asset_key
        with session.reading(step):
            own = session.read(step, table, [None])[None]
            merged = _merged_days(own)
            # Not recorded as inputs: days that others publish meanwhile are merged by the next run.
            now = {str(day): _hash(files) for day, files in _all_days(session, source).items()}
            days = [date.fromisoformat(day) for day, version in now.items() if merged.get(day) != version]
            changed = session.read(step, source, days)
            before = read(session.connection, own, declared, partitioned=False)
            before = _spans(before, kept, *((FIRST_SEEN, LAST_SEEN) if history else (DAY, DAY)), replaced=days)
            made_from = _made_from(session, own)
            is_known = merged.keys() <= now.keys() and made_from is not None
            if made_from and (made_from.code, made_from.declaration) != (code_version, declared.version):
                is_known = False
            if not is_known or _is_row_removed(session, before, kept, changed, history=history):
                changed = session.read(step, source, map(date.fromisoformat, now))
                merged, before, made_from = {}, None, None
            read_days = {str(day): _hash(files) for day, files in changed.items() if files}
            session.footers[table] = {MERGED: json.dumps(merged | read_days, separators=(",", ":"))}
            session.merged_before[table] = {
                each: {day: files for day, files in days.items() if str(day) in merged}
                for each, days in (made_from.inputs.items() if made_from else ())
            }
            rows = _rows(session, kept, changed)
            return select(rows if before is None else rows.union(before), "spans", _merged(kept, history, listed_by))

    set_parameters(merge, [], returns=duckdb.DuckDBPyRelation)
    caller = extract_stack(limit=2)[0]
    return make_asset(
        merge,
        declared,
        options,
        {CODE: code(Path(caller.filename), caller.lineno or 1)},
        key=title.split("/"),
        deps=[source],
        description=description,
        group_name=source.path[0],
        kinds={"duckdb", "parquet"},
    )


def _rows(session: Session, kept: Table, of_days: Mapping[Partition, Mapping[UPath, str]]) -> duckdb.DuckDBPyRelation:
    files = [file for of_day in of_days.values() for file in of_day]
    return _spans(read(session.connection, files, kept), kept, DAY, DAY)


def _spans(
    rows: duckdb.DuckDBPyRelation, kept: Table, first: str, last: str, replaced: Sequence[date] = ()
) -> duckdb.DuckDBPyRelation:
    """The columns to keep, the first and last day of each row, and whether the run replaces the row of its last day."""
    is_replaced = f"{last} IN ({_dates(replaced)})" if replaced else "false"
    return rows.project(f"{_list(kept.names)}, {first} AS first_day, {last} AS last_day, {is_replaced} AS is_replaced")


def _merged(kept: Table, history: bool, listed_by: Sequence[str]) -> str:
    """Of all rows with one key, the newest, with the days that they span together.

    On ties (a key several times a day), the choice has to be the same in any order of runs: by value.
    """
    others = [name for name in kept.names if name not in kept.key]
    order = ", ".join(["last_day DESC", "is_replaced", *map(quote, others)])
    keys = _list(kept.key)
    added = f"min(first_day) OVER (PARTITION BY {keys}) AS {FIRST_SEEN}, last_day AS {LAST_SEEN}"
    if listed_by:
        added += f", last_day = max(last_day) OVER (PARTITION BY {_list(listed_by)}) AS {IS_LISTED}"
    return (
        f"SELECT {_list(kept.names)}, {added if history else f'last_day AS {DAY}'} FROM spans "  # noqa: S608
        f"QUALIFY row_number() OVER (PARTITION BY {keys} ORDER BY {order}) = 1"
    )


def _dates(days: Iterable[date]) -> str:
    return ", ".join(f"DATE '{day}'" for day in days)


def _list(names: Iterable[str]) -> str:
    return ", ".join(map(quote, names))


def _all_days(session: Session, source: AssetKey) -> dict[Partition, Files]:
    return session.lake.read_set(source, session.lake.days(source))


def _merged_days(own: Files) -> dict[str, str]:
    """The days that are merged into the table, each with the hash of the files that it had; none if it is unknown."""
    merged: dict[str, str] = {}
    for file in own:
        found = recorded(file, MERGED)
        merged |= found if isinstance(found, dict) else {}
    return merged


def _made_from(session: Session, own: Files) -> Provenance | None:
    return next((Footer.of(session.lake, file).provenance for file in own), None)


def _hash(files: Files) -> str:
    """Which versions of which files."""
    return sha256(repr(sorted((file.name, version) for file, version in files.items())).encode()).hexdigest()[:12]


def _is_row_removed(
    session: Session,
    before: duckdb.DuckDBPyRelation,
    kept: Table,
    changed: Mapping[Partition, Mapping[UPath, str]],
    *,
    history: bool,
) -> bool:
    """Whether one of these days had the newest row of a key (or, with history, its first) and no longer has the key.

    Only a rebuild from all days then gives the row that takes its place.
    """
    before.create_view("before", replace=True)
    _rows(session, kept, changed).create_view("changed", replace=True)
    listed, keys = _dates(day for day in changed if day), _list(kept.key)
    is_same = " AND ".join(f"before.{name} IS NOT DISTINCT FROM now.{name}" for name in map(quote, kept.key))
    is_first_removed = f"(before.first_day IN ({listed}) AND coalesce(now.first_day > before.first_day, true))"
    query = f"""
        SELECT count(*)
        FROM before LEFT JOIN (
            SELECT {keys}, min(last_day) AS first_day, max(last_day) AS last_day FROM changed GROUP BY ALL
        ) AS now ON {is_same}
        WHERE (before.last_day IN ({listed}) AND coalesce(now.last_day < before.last_day, true))
        OR ({history} AND {is_first_removed})
    """  # noqa: S608  # declared names and dates
    ((number,),) = session.connection.sql(query).fetchall()
    return number > 0
