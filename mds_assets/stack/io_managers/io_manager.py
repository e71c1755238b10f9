"""The IO manager: a table of the lake in the type of an asset's annotation, for any number of days.

`lake/` places and replaces files, `duckdb.py` and `polars.py` read and write them, and `stack/table.py` defines what a
declaration means.
"""

import time
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any, Literal, TypeAlias

import duckdb
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
from dagster import InputContext, IOManager, MetadataValue, OutputContext, TableRecord
from upath import UPath

from mds_assets.stack.io_managers import duckdb as duckdb_engine
from mds_assets.stack.io_managers import polars as polars_engine
from mds_assets.stack.lake.layout import DATA_FILE, Partition, partition_folder
from mds_assets.stack.partitions import days_between, to_days, window_of
from mds_assets.stack.session import Session
from mds_assets.stack.table import COLUMN_LINEAGE, COLUMN_SCHEMA, DAY, SchemaError, Table, declared_table, quote

# DuckDB keeps the footer of every file that it has read: over a year of all tables, 130 MB. A run of fewer days reads
# few enough to keep its connection.
_MANY_DAYS = 60

Rows: TypeAlias = duckdb.DuckDBPyRelation | pa.Table | pa.RecordBatchReader | pl.LazyFrame | pl.DataFrame


class LakeIOManager(IOManager):
    """Reads and writes tables of the lake, in the type of an asset's annotation.

    | annotation | reading | writing |
    |---|---|---|
    | `duckdb.DuckDBPyRelation` | lazy, on the run's one connection | COPY, run once |
    | `pyarrow.Table` | whole | COPY |
    | `pyarrow.RecordBatchReader` | a stream, on a connection of its own | COPY, streamed |
    | `polars.LazyFrame` | lazy | sink, streamed |
    | `polars.DataFrame` | whole | sink |

    An input or output is always one table, for one day, many or none, with a `day` DATE column if it has partitions.
    Both engines share this class and differ only in the type that an unannotated input gets.
    """

    def __init__(self, session: Session, engine: Literal["duckdb", "polars"]) -> None:
        """Take the run's session."""
        self._session = session
        self._engine = engine

    def load_input(self, context: InputContext) -> Rows:
        """Load all partitions of the input as one table; days that were never materialized are skipped and reported."""
        key = context.asset_key
        upstream = context.upstream_output
        table = declared_table(key.to_user_string(), upstream.definition_metadata if upstream else None)
        partitions: list[Partition] = [None]
        if context.has_asset_partitions:
            partitions = list(to_days(context.asset_partition_keys))
        files = self._session.read(context.step_context, key, partitions)
        if context.has_asset_partitions:
            self._report_windows(context, {day for day, found in files.items() if day and found})
        wanted = context.dagster_type.typing_type
        if wanted is Any:
            wanted = {"duckdb": duckdb.DuckDBPyRelation, "polars": pl.LazyFrame}[self._engine]
        found = [file for of_day in files.values() for file in of_day]
        with self._session.reading(context.step_context):
            return self._as(wanted, found, table, partitioned=context.has_asset_partitions)

    def _as(self, wanted: type, files: Sequence[UPath], table: Table, *, partitioned: bool) -> Rows:
        if wanted in (pl.LazyFrame, pl.DataFrame):
            options = self._session.lake.polars_options
            frame = polars_engine.scan(files, table, partitioned=partitioned, polars_options=options)
            return frame if wanted is pl.LazyFrame else frame.collect()
        con = self._session.connection
        if wanted is pa.RecordBatchReader:
            # On a cursor, because a connection with an open reader cannot run other queries.
            return duckdb_engine.read(con.cursor(), files, table, partitioned=partitioned).to_arrow_reader()
        relation = duckdb_engine.read(con, files, table, partitioned=partitioned)
        if wanted is pa.Table:
            return relation.to_arrow_table()
        if wanted is duckdb.DuckDBPyRelation:
            return relation
        raise SchemaError(f"an asset cannot take a table as {wanted}: annotate it as one of {Rows}")

    def _report_windows(self, context: InputContext, present: set[date]) -> None:
        """Record on each day's materialization which days it requested and which of them exist."""
        step = context.step_context
        if not (step.assets_def and step.has_partitions and step.assets_def.partitions_def):
            return
        mapping = step.assets_def.get_partition_mapping(context.asset_key)
        name = context.asset_key.to_user_string()
        run = step.partition_key_range
        outputs = step.selected_output_names
        tables = [key for output, key in step.assets_def.keys_by_output_name.items() if output in outputs]
        for day in days_between(date.fromisoformat(run.start), date.fromisoformat(run.end)):
            requested = window_of(mapping, day)
            missing = [str(requested_day) for requested_day in requested if requested_day not in present]
            facts = {
                f"{name}/window": f"{requested[0]}...{requested[-1]}",
                f"{name}/days_found": len(requested) - len(missing),
                f"{name}/days_missing": missing,
            }
            for table in tables:
                step.add_asset_metadata(facts, table, partition_key=str(day))

    def handle_output(self, context: OutputContext, obj: Rows) -> None:
        """Write one table for all days of the run, replace each day's file atomically, and report each day's metadata.

        Raises:
            SchemaError: The table does not match its declaration, or has a row outside the run's days. Nothing visible
                has changed.
            RetryRequested: Another run changed one of the asset's inputs. Nothing visible has changed.
        """
        key = context.asset_key
        name = key.to_user_string()
        table = declared_table(name, context.definition_metadata)
        days = to_days(context.asset_partition_keys) if context.has_asset_partitions else None
        partitions: list[Partition] = list(days) if days else [None]
        started = time.perf_counter()
        facts: dict[Partition, dict[str, Any]] = {}
        with self._session.replacing(context.step_context, key) as (folder, targets):
            written = self._write(name, obj, table, days, folder)
            by_partition: dict[Partition, Path] = _by_day(name, written, days) if days else {None: written[0]}
            for partition in partitions:
                target = Path(partition_folder(partition), DATA_FILE)
                file = by_partition.get(partition) or _write_empty(folder / target, table)
                of_day = f" of {partition}" if partition else ""
                refuse_values(self._session, name, of_day, file, table)
                targets[file] = target
                # Of the file as it was written: once published, another run may replace it at any time.
                facts[partition] = file_metadata([file], self._session.lake.folder(key) / target)
            # Once, as these are what the table's page shows.
            facts[partitions[-1]] |= preview(self._session, next(reversed(targets)), table)
        if lineage := table.dagster_lineage:
            facts[partitions[-1]][COLUMN_LINEAGE] = lineage
        if len(partitions) > _MANY_DAYS and len(context.step_context.step.step_outputs) == 1:
            self._session.close()  # it opens again when it is needed
        seconds = round(time.perf_counter() - started, 3)
        for partition, of_partition in facts.items():
            context.step_context.add_asset_metadata(
                {**of_partition, COLUMN_SCHEMA: table.dagster_schema, "seconds": seconds},
                key,
                partition_key=str(partition) if partition else None,
            )

    def _write(self, name: str, obj: object, table: Table, days: Sequence[date] | None, folder: Path) -> list[Path]:
        try:
            if isinstance(obj, pl.LazyFrame | pl.DataFrame):
                return polars_engine.write(name, obj.lazy(), table, days, folder)
            if isinstance(obj, duckdb.DuckDBPyRelation | pa.Table | pa.RecordBatchReader):
                relation = duckdb_engine.to_relation(self._session.connection, obj)
                return duckdb_engine.write(name, relation, table, days, folder)
        except (duckdb.DataError, duckdb.InvalidInputException, pl.exceptions.InvalidOperationError) as error:
            period = f" for {days[0]}...{days[-1]}" if days else ""
            raise SchemaError(
                f"{name} cannot be written{period}: {' '.join(str(error).split())}. Correct the value where it is "
                "made, or change the declaration."
            ) from error
        raise SchemaError(f"{name} returned a {type(obj).__name__}: return one of {Rows}")


def preview(session: Session, file: Path | UPath, table: Table) -> dict[str, MetadataValue]:
    """The first rows, ordered by key so that the same table shows the same rows; empty if previews are off.

    If previews are off only because rows may be private, the first public rows, where the table declares some.
    """
    limit, shown = session.preview_rows, "true"
    if not limit and table.public:
        limit, shown = session.public_rows, table.public
    if not limit:
        return {}
    order = ", ".join(table.key) or "ALL"
    relation = duckdb_engine.read(session.connection, [UPath(file)], table, partitioned=False)
    first = relation.filter(shown).order(order).limit(limit).fetchall()
    records = [
        TableRecord({c.name: _cell(value) for c, value in zip(table.columns, row, strict=True)}) for row in first
    ]
    return {"preview": MetadataValue.table(records, table.dagster_schema)}


def _cell(value: object) -> str | int | float | bool | None:
    """A value as one of the types that Dagster's table metadata accepts."""
    return value if value is None or isinstance(value, str | int | float) else str(value)


def file_metadata(files: Sequence[Path | UPath], uri: UPath | None = None) -> dict[str, Any]:
    """A day's metadata: rows and bytes of its files, and the URI, by default of the file (or of their folder)."""
    rows = sum(footer(file).num_rows for file in files)
    uri = uri or UPath(files[0] if len(files) == 1 else files[0].parent)
    return {
        "dagster/partition_row_count": rows,
        "dagster/uri": MetadataValue.path(str(uri)),
        "bytes": sum(file.stat().st_size for file in files),
    }


def footer(file: Path | UPath) -> pq.FileMetaData:
    """A Parquet file's footer, from disk or an object store."""
    with file.open("rb") as opened:
        return pq.read_metadata(opened)


def _by_day(name: str, written: Sequence[Path], days: Sequence[date]) -> dict[Partition, Path]:
    """The written files by day; rejects days outside the run, and two files for one day."""
    by_name = {f"{DAY}={day}": day for day in days}
    outside = sorted({file.parent.name for file in written} - by_name.keys())
    if outside:
        raise SchemaError(f"{name} has rows of {outside} outside the run's days {days[0]}...{days[-1]}")
    if len({file.parent for file in written}) != len(written):
        raise SchemaError(f"{name}: a day was split over several files, which a reader could see half replaced")
    return {by_name[file.parent.name]: file for file in written}


def _write_empty(file: Path, table: Table) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table.arrow_schema().empty_table(), file, compression="zstd")
    return file


def may_be_null(files: Iterable[Path | UPath], table: Table) -> list[str]:
    """The columns declared not null that the files' footers do not prove free of nulls.

    A list column always needs a check, because its statistics count elements.
    """
    required = [column.name for column in table.columns if not column.nullable]
    never = set(required)
    for metadata in map(footer, files):
        row_groups = [metadata.row_group(number) for number in range(metadata.num_row_groups)]
        # An empty row group has no statistics.
        chunks = [group.column(number) for group in row_groups if group.num_rows for number in range(group.num_columns)]
        if chunks:
            uncertain = {c.path_in_schema for c in chunks if not c.statistics or c.statistics.null_count != 0}
            never &= {chunk.path_in_schema for chunk in chunks} - uncertain
    return [name for name in required if name not in never]


def refuse_values(session: Session, name: str, of_day: str, file: Path, table: Table) -> None:
    """Reject a written file whose values violate its declaration in ways that types cannot express.

    Raises:
        SchemaError: A value is null in a column declared not null, or is not JSON. Names the table and the column.
    """
    _refuse_nulls(name, of_day, file, table)
    _refuse_invalid_json(session, name, of_day, file, table)


def _refuse_nulls(name: str, of_day: str, file: Path, table: Table) -> None:
    """Reject nulls in columns declared not null; only columns whose footer statistics are inconclusive are read."""
    columns = may_be_null([file], table)
    counts = pl.scan_parquet(file, glob=False).select(pl.col(columns).null_count()).collect() if columns else None
    for column, count in (counts.to_dicts()[0] if counts is not None else {}).items():
        if count:
            raise SchemaError(
                f"{name}.{column} is null in {count} rows{of_day}, declared not null: "
                "fill or drop them, or declare it nullable."
            )


def _refuse_invalid_json(session: Session, name: str, of_day: str, file: Path, table: Table) -> None:
    """Reject invalid JSON in a column declared JSON; Polars has no such type."""
    declared = [column for column in table.columns if column.type in {"JSON", "JSON[]"}]
    for column in [replace(column, type=column.type.replace("JSON", "VARCHAR")) for column in declared]:
        is_valid = "json_valid({})" if column.type == "VARCHAR" else "list_bool_and([json_valid(x) FOR x IN {}])"
        rows = duckdb_engine.read(session.connection, [UPath(file)], Table((column,)), partitioned=False)
        ((count,),) = rows.filter(f"NOT {is_valid.format(quote(column.name))}").aggregate("count(*)").fetchall()
        if count:
            raise SchemaError(
                f"{name}.{column.name} is not JSON in {count} rows{of_day}: "
                "make it JSON where it is made, such as with to_json, or declare it VARCHAR."
            )
