"""The IO manager: a table of the lake as whichever type an asset's annotation names, for any number of days.

What does not belong here: where files lie and how they are replaced (`lake.py`), how an engine reads or writes
(`duckdb.py`, `polars.py`), what a table's declaration means (`schema.py`).
"""

import time
from collections.abc import Generator, Iterable, Sequence
from contextlib import contextmanager
from datetime import date, timedelta
from pathlib import Path
from typing import Any, Literal, TypeAlias

import duckdb
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
from dagster import (
    AssetKey,
    ConfigurableIOManager,
    Failure,
    InputContext,
    MetadataValue,
    OutputContext,
    RetryRequested,
    StepExecutionContext,
    TableRecord,
    TableSchema,
    TimeWindowPartitionMapping,
)
from upath import UPath

from mds_assets.stack.io_managers import duckdb as duckdb_engine
from mds_assets.stack.io_managers import polars as polars_engine
from mds_assets.stack.lake.lake import FILE_NAME, Found, InputsChangedError, Lake
from mds_assets.stack.partitions import days_between, to_days
from mds_assets.stack.table import (
    COLUMN_LINEAGE,
    COLUMN_SCHEMA,
    DAY,
    SchemaError,
    arrow_schema,
    declared_schema,
    key_of,
)

Table: TypeAlias = duckdb.DuckDBPyRelation | pa.Table | pa.RecordBatchReader | pl.LazyFrame | pl.DataFrame


class LakeIOManager(ConfigurableIOManager):
    """Reads and writes tables of the lake, as whichever type an asset's annotation names.

    | annotation | reading | writing |
    |---|---|---|
    | `duckdb.DuckDBPyRelation` | lazy, on the run's one connection | COPY, run once |
    | `pyarrow.Table` | whole | COPY |
    | `pyarrow.RecordBatchReader` | a stream, on a connection of its own | COPY, streamed |
    | `polars.LazyFrame` | lazy | sink, streamed |
    | `polars.DataFrame` | whole | sink |

    A table is always one table, with a `day` DATE column, for one day, many or none. Both layers of tables share this
    class and differ only in `engine`: the type that an asset without an annotation gets.
    """

    lake: Lake
    duckdb: duckdb_engine.LakeDuckDB
    engine: Literal["duckdb", "polars"]
    preview_rows: int = 0

    def load_input(self, context: InputContext) -> Table:
        """One table for all partitions of the input; what was never materialised is left out and reported."""
        key = context.asset_key
        upstream = context.upstream_output
        schema = declared_schema(key.to_user_string(), upstream.definition_metadata if upstream else None)
        days = to_days(context.asset_partition_keys) if context.has_asset_partitions else self.lake.days(key)
        found = self.lake.found(key, days)
        if context.has_asset_partitions:
            read = _inputs.setdefault(_attempt(context.step_context), {})
            read.update({(key, day): files for day, files in found.items()})
        self._report_windows(context, {day for day, files in found.items() if files})
        wanted = context.dagster_type.typing_type
        if wanted is Any:
            wanted = {"duckdb": duckdb.DuckDBPyRelation, "polars": pl.LazyFrame}[self.engine]
        row_id = bool((context.definition_metadata or {}).get(duckdb_engine.ROW_ID))
        return self._read(wanted, [file for files in found.values() for file in files], schema, row_id=row_id)

    def _read(self, wanted: type, files: Sequence[UPath], schema: TableSchema, *, row_id: bool) -> Table:
        if row_id and wanted is not duckdb.DuckDBPyRelation:
            raise SchemaError(
                f"an asset cannot take a table with {duckdb_engine.ROW_ID} as {wanted}: only as a relation"
            )
        if wanted is pl.LazyFrame:
            return polars_engine.scan(files, schema)
        if wanted is pl.DataFrame:
            return polars_engine.scan(files, schema).collect()
        if wanted is duckdb.DuckDBPyRelation:
            return duckdb_engine.read(self.duckdb.connection, files, schema, row_id=row_id)
        if wanted is pa.Table:
            return duckdb_engine.read(self.duckdb.connection, files, schema).to_arrow_table()
        if wanted is pa.RecordBatchReader:
            # While a reader is open its connection refuses any other query.
            return duckdb_engine.read(self.duckdb.connection.cursor(), files, schema).to_arrow_reader()
        raise SchemaError(f"an asset cannot take a table as {wanted}: annotate it as one of {Table}")

    def _report_windows(self, context: InputContext, found: set[date]) -> None:
        """Put on each day's materialisation which days it asked for and which there were."""
        step = context.step_context
        if not (context.has_asset_partitions and step.assets_def and step.has_partitions):
            return
        mapping = step.assets_def.get_partition_mapping(context.asset_key)
        name = context.asset_key.to_user_string()
        first, last = (
            (mapping.start_offset, mapping.end_offset) if isinstance(mapping, TimeWindowPartitionMapping) else (0, 0)
        )
        run = step.partition_key_range
        outputs = step.selected_output_names
        tables = [key for output, key in step.assets_def.keys_by_output_name.items() if output in outputs]
        for day in days_between(date.fromisoformat(run.start), date.fromisoformat(run.end)):
            asked = days_between(day + timedelta(days=first), day + timedelta(days=last))
            missing = [str(day) for day in asked if day not in found]
            facts = {
                f"{name}/window": f"{asked[0]}...{asked[-1]}",
                f"{name}/days_found": len(asked) - len(missing),
                f"{name}/days_missing": missing,
            }
            for table in tables:
                step.add_asset_metadata(facts, table, partition_key=str(day))

    def handle_output(self, context: OutputContext, obj: Table) -> None:
        """Write one table for all days of the run, each day's file at once, and report each day's facts.

        Raises:
            SchemaError: The table is not what its asset declares, or has a row outside the run's days. Nothing
                visible has changed then.
            RetryRequested: Another run changed the asset's input meanwhile. Nothing visible has changed then either.
        """
        key = context.asset_key
        table = key.to_user_string()
        schema = declared_schema(table, context.definition_metadata)
        if not context.has_asset_partitions:
            raise SchemaError(f"{table} has no daily partitions: give its asset partitions_def=DAILY")
        days = to_days(context.asset_partition_keys)
        started = time.perf_counter()
        with replacing(self.lake, context) as (folder, becomes):
            by_day = _by_day(table, self._write(table, obj, schema, days, folder), days)
            for day in days:
                file = by_day.get(day) or _write_empty(folder / f"{DAY}={day}" / FILE_NAME, schema)
                _refuse_nulls(table, file, schema)
                becomes[file] = Path(f"{DAY}={day}", FILE_NAME)
        seconds = time.perf_counter() - started
        for day in days:
            file = self.lake.folder(key) / f"{DAY}={day}" / FILE_NAME
            facts = {**file_metadata([file]), COLUMN_SCHEMA: schema, "seconds": round(seconds, 3)}
            if day == days[-1]:  # once, as it is what the table's page shows
                facts |= preview(self.duckdb.connection, file, schema, self.preview_rows)
                if COLUMN_LINEAGE in context.definition_metadata:
                    facts[COLUMN_LINEAGE] = context.definition_metadata[COLUMN_LINEAGE]
            context.step_context.add_asset_metadata(facts, key, partition_key=str(day))

    def _write(self, table: str, obj: object, schema: TableSchema, days: Sequence[date], folder: Path) -> list[Path]:
        try:
            if isinstance(obj, pl.LazyFrame | pl.DataFrame):
                return polars_engine.write(table, obj.lazy(), schema, folder)
            if isinstance(obj, duckdb.DuckDBPyRelation | pa.Table | pa.RecordBatchReader):
                relation = duckdb_engine.to_relation(self.duckdb.connection, obj)
                return duckdb_engine.write(table, relation, schema, days, folder)
        except (duckdb.DataError, duckdb.InvalidInputException, pl.exceptions.InvalidOperationError) as error:
            raise SchemaError(f"{table} cannot be written for {days[0]}...{days[-1]}: {error}") from error
        raise SchemaError(f"{table} returned a {type(obj).__name__}: return one of {Table}")


def preview(con: duckdb.DuckDBPyConnection, file: UPath, schema: TableSchema, rows: int) -> dict[str, MetadataValue]:
    """The first rows in the order of the key, so that the same table shows the same rows; nothing for no rows."""
    if not rows:
        return {}
    order = ", ".join(key_of(schema)) or "ALL"
    first = duckdb_engine.read(con, [file], schema).order(order).limit(rows).fetchall()
    records = [
        TableRecord({c.name: _cell(value) for c, value in zip(schema.columns, row, strict=False)}) for row in first
    ]
    return {"preview": MetadataValue.table(records, schema)}


def _cell(value: object) -> str | int | float | bool | None:
    """A value as one of the types that Dagster's tables take."""
    return value if value is None or isinstance(value, str | int | float) else str(value)


def _attempt(step: StepExecutionContext) -> tuple[str, str, int]:
    return step.run_id, step.step.key, step.previous_attempt_count


# What each step under way has read. Here, because a step's input and its output have different IO managers.
_inputs: dict[tuple[str, str, int], dict[tuple[AssetKey, date], Found]] = {}

_RETRIES = 10  # of a step whose inputs other runs keep changing


@contextmanager
def replacing(
    lake: Lake, context: OutputContext, newest: str | None = None
) -> Generator[tuple[Path, dict[Path, Path]]]:
    """`Lake.replacing` of the output's files, as long as nothing that its step has read has changed.

    Raises:
        RetryRequested: Something has; nothing is replaced then.
    """
    inputs = _inputs.get(_attempt(context.step_context), {})  # a step may have several outputs
    try:
        with lake.replacing(context.asset_key, inputs, newest) as writing:
            yield writing
    except InputsChangedError as error:
        name = context.asset_key.to_user_string()
        raise RetryRequested(max_retries=_RETRIES) from Failure(f"{name}: {error}: run it again.")


def file_metadata(files: Iterable[UPath]) -> dict[str, Any]:
    """What Dagster shows of a day: rows and bytes of its files, and their (or their folder's) URI."""
    files = list(files)
    rows = sum(footer(file).num_rows for file in files)
    uri = files[0] if len(files) == 1 else files[0].parent
    return {
        "dagster/partition_row_count": rows,
        "dagster/uri": MetadataValue.path(str(uri)),
        "bytes": sum(file.stat().st_size for file in files),
    }


def footer(file: Path | UPath) -> pq.FileMetaData:
    """What a file says of itself, wherever it lies."""
    with file.open("rb") as opened:
        return pq.read_metadata(opened)


def _by_day(table: str, written: Sequence[Path], days: Sequence[date]) -> dict[date, Path]:
    """The written files by their day; refuses any other day than the run's, and two files of one day."""
    by_name = {f"{DAY}={day}": day for day in days}
    outside = sorted({file.parent.name for file in written} - by_name.keys())
    if outside:
        raise SchemaError(f"{table} has rows of {outside} outside the run's days {days[0]}...{days[-1]}")
    if len({file.parent for file in written}) != len(written):
        raise SchemaError(f"{table}: a day was split over several files, which a reader could see half replaced")
    return {by_name[file.parent.name]: file for file in written}


def _write_empty(file: Path, schema: TableSchema) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(arrow_schema(schema, with_day=False).empty_table(), file, compression="zstd")
    return file


def may_be_null(files: Iterable[Path | UPath], schema: TableSchema) -> list[str]:
    """The columns that are declared not null, but for those that the files' footers say never are null.

    A list is never among those: its statistics count elements.
    """
    required = [column.name for column in schema.columns if not column.constraints.nullable]
    never = set(required)
    for told in map(footer, files):
        row_groups = [told.row_group(number) for number in range(told.num_row_groups)]
        # An empty row group has no statistics.
        columns = [
            group.column(number) for group in row_groups if group.num_rows for number in range(group.num_columns)
        ]
        if columns:
            uncertain = {one.path_in_schema for one in columns if not one.statistics or one.statistics.null_count != 0}
            never &= {one.path_in_schema for one in columns} - uncertain
    return [name for name in required if name not in never]


def _refuse_nulls(table: str, file: Path, schema: TableSchema) -> None:
    """Refuse nulls where the declaration has none; only a column of which the footer does not tell is read."""
    names = may_be_null([file], schema)
    nulls = pl.scan_parquet(file, glob=False).select(pl.col(names).null_count()).collect().to_dicts() if names else []
    for name, count in (nulls[0] if nulls else {}).items():
        if count:
            raise SchemaError(
                f"{table}.{name} is null in {count} rows of {file.parent.name}, declared not null: "
                "fill or drop them, or declare it nullable."
            )
