"""The lake: one Parquet file a table and day, written atomically, and the IO manager that Dagster sees.

The type annotation of an asset decides what it gets and may return. What does not belong here: how an engine reads or
writes (`duckdb.py`, `polars.py`), what a table's declaration means (`schema.py`).
"""

import os
import time
from collections.abc import Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import date, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal, TypeAlias
from uuid import uuid4

import duckdb
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
from dagster import (
    AssetKey,
    ConfigurableIOManager,
    ConfigurableResource,
    InputContext,
    MetadataValue,
    OutputContext,
    TableRecord,
    TableSchema,
    TimeWindowPartitionMapping,
)
from upath import UPath

from mds_assets.io_managers import duckdb as duckdb_engine
from mds_assets.io_managers import polars as polars_engine
from mds_assets.io_managers.schema import COLUMN_SCHEMA, DAY, SchemaError, arrow_schema, declared_schema
from mds_assets.partitions import days_between, to_days

Table: TypeAlias = duckdb.DuckDBPyRelation | pa.Table | pa.RecordBatchReader | pl.LazyFrame | pl.DataFrame


class Lake(ConfigurableResource[None]):
    """Where tables lie: `<root>/<asset key>/day=YYYY-MM-DD/*.parquet`."""

    root: str

    def folder(self, key: AssetKey) -> UPath:
        """The folder of a table."""
        return UPath(self.root).joinpath(*key.path)

    def files(self, key: AssetKey, day: date) -> list[UPath]:
        """The Parquet files of one day in order of name; none when the day was never materialised.

        Only this day is listed: thousands of other days cost nothing.
        """
        return sorted(self.folder(key).joinpath(f"{DAY}={day}").glob("*.parquet"))

    def days(self, key: AssetKey) -> list[date]:
        """The days that are materialised, in order."""
        days = (path.name.removeprefix(f"{DAY}=") for path in self.folder(key).glob(f"{DAY}=*"))
        return [day for day in to_days(days) if self.files(key, day)]

    @property
    def scratch(self) -> Path:
        """A folder on the lake's own file system for what is not a table: spilled memory, loads under way."""
        return Path(self.root) / ".tmp"

    @contextmanager
    def workspace(self) -> Generator[Path]:
        """A new empty folder below `scratch`, removed with all that is in it when the block ends."""
        self.scratch.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=self.scratch) as folder:
            yield Path(folder)

    def add(self, key: AssetKey, name: str, files: Mapping[date, Path]) -> None:
        """Move each day's file into the table under this name, beside the files that are there.

        Raises:
            FileExistsError: A day has a file of this name; nothing has moved then.
        """
        targets = {day: Path(str(self.folder(key))) / f"{DAY}={day}" / name for day in files}
        for target in targets.values():
            if target.exists():
                raise FileExistsError(f"{target} exists: raw is append-only, a load never replaces another")
        for day, target in targets.items():
            target.parent.mkdir(parents=True, exist_ok=True)
            os.replace(files[day], target)

    @contextmanager
    def replacing(self, key: AssetKey, days: Sequence[date]) -> Generator[tuple[Path, str, dict[Path, Path]]]:
        """Replace files of these days atomically: all that were written, once the block ends well; none when it fails.

        Yields:
            The table's folder, a file name for the block to write under in any `day=` folder of it, and a mapping
            for the block to fill, from each file it wrote to the file that it becomes.
        """
        folder = Path(str(self.folder(key)))
        folder.mkdir(parents=True, exist_ok=True)
        token = f".data-{uuid4().hex}"
        becomes: dict[Path, Path] = {}
        try:
            yield folder, f"{token}.tmp", becomes
            for written, target in becomes.items():
                os.replace(written, target)
        except BaseException:
            made = {folder / f"{DAY}={day}" for day in days}
            for leftover in folder.glob(f"{DAY}=*/{token}*"):
                leftover.unlink()
                made.add(leftover.parent)
            for day_folder in made:
                with suppress(OSError):  # it is not there, or not empty
                    day_folder.rmdir()
            raise


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
        files = {day: found for day in days if (found := self.lake.files(key, day))}
        self._report_windows(context, set(files))
        wanted = context.dagster_type.typing_type
        if wanted is Any:
            wanted = {"duckdb": duckdb.DuckDBPyRelation, "polars": pl.LazyFrame}[self.engine]
        return self._read(wanted, [file for found in files.values() for file in found], schema)

    def _read(self, wanted: type, files: Sequence[UPath], schema: TableSchema) -> Table:
        if wanted is pl.LazyFrame:
            return polars_engine.scan(files, schema)
        if wanted is pl.DataFrame:
            return polars_engine.scan(files, schema).collect()
        if wanted is duckdb.DuckDBPyRelation:
            return duckdb_engine.read(self.duckdb.connection, files, schema)
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
        for day in days_between(date.fromisoformat(run.start), date.fromisoformat(run.end)):
            asked = days_between(day + timedelta(days=first), day + timedelta(days=last))
            missing = [str(day) for day in asked if day not in found]
            step.add_asset_metadata(
                {
                    f"{name}/window": f"{asked[0]}...{asked[-1]}",
                    f"{name}/days_found": len(asked) - len(missing),
                    f"{name}/days_missing": missing,
                },
                partition_key=str(day),
            )

    def handle_output(self, context: OutputContext, obj: Table) -> None:
        """Write one table for all days of the run, each day's file at once, and report each day's facts.

        Raises:
            SchemaError: The table is not what its asset declares, or has a row outside the run's days. Nothing
                visible has changed then.
        """
        key = context.asset_key
        table = key.to_user_string()
        schema = declared_schema(table, context.definition_metadata)
        if not context.has_asset_partitions:
            raise SchemaError(f"{table} has no daily partitions: give its asset partitions_def=DAILY")
        days = to_days(context.asset_partition_keys)
        started = time.perf_counter()
        with self.lake.replacing(key, days) as (folder, file_name, becomes):
            written = self._write(table, obj, schema, days, folder, file_name)
            by_day = _by_day(table, written, days)
            for day in days:
                file = by_day.get(day) or _write_empty(folder / f"{DAY}={day}" / file_name, schema)
                _refuse_nulls(table, file, schema)
                becomes[file] = file.with_name("data.parquet")
        seconds = time.perf_counter() - started
        for day in days:
            file = self.lake.folder(key) / f"{DAY}={day}" / "data.parquet"
            context.step_context.add_asset_metadata(
                {**file_metadata([file]), COLUMN_SCHEMA: schema, "seconds": round(seconds, 3)}
                | self._preview(file, schema),
                partition_key=str(day),
            )

    def _write(
        self, table: str, obj: object, schema: TableSchema, days: Sequence[date], folder: Path, file_name: str
    ) -> list[Path]:
        try:
            if isinstance(obj, pl.LazyFrame | pl.DataFrame):
                return polars_engine.write(table, obj.lazy(), schema, folder, file_name)
            if isinstance(obj, duckdb.DuckDBPyRelation | pa.Table | pa.RecordBatchReader):
                relation = duckdb_engine.to_relation(self.duckdb.connection, obj)
                return duckdb_engine.write(table, relation, schema, days, folder, file_name)
        except (duckdb.DataError, duckdb.InvalidInputException, pl.exceptions.InvalidOperationError) as error:
            raise SchemaError(f"{table} cannot be written for {days[0]}...{days[-1]}: {error}") from error
        raise SchemaError(f"{table} returned a {type(obj).__name__}: return one of {Table}")

    def _preview(self, file: UPath, schema: TableSchema) -> dict[str, MetadataValue]:
        if not self.preview_rows:
            return {}
        # Imported here: few ask for a preview, and the import takes a fifth of Dagster's own time.
        from dagster_polars.io_managers.utils import cast_polars_single_value_to_dagster_table_types as to_cell

        rows = polars_engine.scan([file], schema).drop(DAY).head(self.preview_rows).collect().to_dicts()
        records = [TableRecord({name: to_cell(value) for name, value in row.items()}) for row in rows]
        return {"preview": MetadataValue.table(records, schema)}


def file_metadata(files: Iterable[UPath]) -> dict[str, Any]:
    """What Dagster shows of a day: rows and bytes of its files, and their (or their folder's) URI."""
    files = list(files)
    rows = sum(pq.read_metadata(file).num_rows for file in files)
    uri = files[0] if len(files) == 1 else files[0].parent
    return {
        "dagster/partition_row_count": rows,
        "dagster/uri": MetadataValue.path(str(uri)),
        "bytes": sum(file.stat().st_size for file in files),
    }


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


def _refuse_nulls(table: str, file: Path, schema: TableSchema) -> None:
    """Refuse nulls where the declaration has none.

    The statistics in the file's footer tell, so no row is read again; but for lists, whose statistics count elements.
    """
    required = [column.name for column in schema.columns if not column.constraints.nullable]
    lists = [column.name for column in schema.columns if column.type.endswith("[]") and column.name in required]
    nulls = dict.fromkeys(required, 0)
    footer = pq.read_metadata(file)
    for row_group in map(footer.row_group, range(footer.num_row_groups)):
        for chunk in map(row_group.column, range(row_group.num_columns)):
            if chunk.path_in_schema in nulls and row_group.num_rows:  # an empty row group has no statistics
                nulls[chunk.path_in_schema] += chunk.statistics.null_count
    if lists:
        nulls |= pl.scan_parquet(file, glob=False).select(pl.col(lists).null_count()).collect().row(0, named=True)
    for name, count in nulls.items():
        if count:
            raise SchemaError(
                f"{table}.{name} is null in {count} rows of {file.parent.name}, declared not null: "
                "fill or drop them, or declare it nullable."
            )
