"""The IO manager: a table of the lake in the type of an asset's annotation, for any number of days.

`lake/` places and replaces files, `duckdb.py` and `polars.py` read and write them, and `stack/table.py` defines what a
declaration means.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any, Literal, TypeAlias

import duckdb
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
from dagster import (
    AssetKey,
    Failure,
    InputContext,
    IOManager,
    MetadataValue,
    OutputContext,
    StepExecutionContext,
    TableRecord,
)
from upath import UPath

from mds_assets.stack.audit import SCHEMA, Verdict, audit
from mds_assets.stack.event_log import report_materializations, report_verdicts
from mds_assets.stack.io_managers import duckdb as duckdb_engine
from mds_assets.stack.io_managers import polars as polars_engine
from mds_assets.stack.io_managers.polars import DayFrames
from mds_assets.stack.io_managers.provenances import provenances
from mds_assets.stack.io_managers.value_errors import value_errors
from mds_assets.stack.lake import Files
from mds_assets.stack.lake.footers import footer
from mds_assets.stack.lake.key_values import add_key_values
from mds_assets.stack.lake.layout import DATA_FILE, Partition, partition_folder, partition_key
from mds_assets.stack.names import PROVENANCE
from mds_assets.stack.partitions import days_between, to_days, window_of
from mds_assets.stack.session import Session
from mds_assets.stack.table import COLUMN_LINEAGE, COLUMN_SCHEMA, DAY, SchemaError, Table, declared_table
from mds_assets.stack.text import count

# DuckDB keeps the footer of every file that it has read: over a year of all tables, 130 MB. A run of fewer days reads
# few enough to keep its connection.
_MANY_DAYS = 60
_MAX_WRONG = 3  # days whose violations an error shows

Rows: TypeAlias = duckdb.DuckDBPyRelation | pa.Table | pa.RecordBatchReader | pl.LazyFrame | pl.DataFrame


@dataclass(frozen=True)
class Written:
    """A written table that is not published yet. An asset may return one.

    Attributes:
        files: The file of each partition with rows, in a folder named after it, with the declared columns and types.
        verdicts: Those of an audit of the files, if there was one.
        rows: The rows of partitions that were in memory anyway.
    """

    files: Mapping[Partition, Path]
    verdicts: Mapping[Partition, Verdict] = field(default_factory=dict[Partition, Verdict])
    rows: Mapping[Partition, pa.Table] = field(default_factory=dict[Partition, pa.Table])


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
        name, quote_values = key.to_user_string(), self._session.preview_rows > 0
        with (
            self._session.reading(context.step_context),
            value_errors("cannot be read", name, table, quote_values=quote_values),
        ):
            return self._as(wanted, files, table)

    def _as(self, wanted: type, files: Mapping[Partition, Files], table: Table) -> Rows | DayFrames:
        frame = self._session.frame
        if wanted is DayFrames:
            days = {day: frame({day: found}, table) for day, found in files.items() if day and found}
            return DayFrames(days, frame({date.min: {}}, table))
        if wanted in (pl.LazyFrame, pl.DataFrame):
            return frame(files, table) if wanted is pl.LazyFrame else frame(files, table).collect()
        con = self._session.connection
        if wanted is pa.RecordBatchReader:
            # On a cursor, because a connection with an open reader cannot run other queries.
            return self._session.relation(con.cursor(), files, table).to_arrow_reader()
        if wanted is pa.Table:
            return self._session.rows(files, table)
        if wanted is duckdb.DuckDBPyRelation:
            return self._session.relation(con, files, table)
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

    def handle_output(self, context: OutputContext, obj: Rows | Written) -> None:
        """Write one table for all days of the run, audit it, replace the file of each day that is as declared.

        Raises:
            SchemaError: Columns or types are not the declared ones, a value does not fit, or a row lies outside the
                run's days. Nothing visible has changed.
            Failure: Some days violate the declaration. They keep their last file, and the others are published.
            RetryRequested: Another run changed one of the asset's inputs. Nothing visible has changed.
        """
        key = context.asset_key
        table = declared_table(key.to_user_string(), context.definition_metadata)
        days = to_days(context.asset_partition_keys) if context.has_asset_partitions else None
        publish(
            self._session,
            context.step_context,
            key,
            table,
            days,
            lambda folder: obj if isinstance(obj, Written) else self._write(key, obj, table, days, folder),
        )
        if days and len(days) > _MANY_DAYS and len(context.step_context.step.step_outputs) == 1:
            self._session.close()  # it opens again when it is needed

    def _write(self, key: AssetKey, obj: Rows, table: Table, days: Sequence[date] | None, folder: Path) -> Written:
        name = key.to_user_string()
        written = self._write_rows(name, obj, table, days, folder)
        files: dict[Partition, Path] = _by_day(name, written, days) if days else {None: written[0]}
        in_memory = isinstance(obj, pa.Table | pl.DataFrame) and len(files) == 1
        return Written(files, rows={next(iter(files)): _as_arrow(obj)} if in_memory else {})

    def _write_rows(self, name: str, obj: Rows, table: Table, days: Sequence[date] | None, folder: Path) -> list[Path]:
        what = f"cannot be written for {days[0]}...{days[-1]}" if days else "cannot be written"
        with value_errors(what, name, table, quote_values=self._session.preview_rows > 0):
            if isinstance(obj, pl.LazyFrame | pl.DataFrame):
                return polars_engine.write(name, obj.lazy(), table, days, folder)
            if isinstance(obj, duckdb.DuckDBPyRelation | pa.Table | pa.RecordBatchReader):
                relation = duckdb_engine.to_relation(self._session.connection, obj)
                return duckdb_engine.write(self._session.connection.cursor(), name, relation, table, days, folder)
        raise SchemaError(f"{name} returned a {type(obj).__name__}: return one of {Rows}")


def publish(
    session: Session,
    step: StepExecutionContext,
    key: AssetKey,
    table: Table,
    days: Sequence[date] | None,
    write: Callable[[Path], Written],
) -> None:
    """Write a table, audit it, and only then move the files of those partitions into place that are as declared.

    Args:
        session: The run's.
        step: The step that made the table.
        key: The table.
        table: Its declaration.
        days: The run's days; None for a table without partitions.
        write: Writes the table to a folder.

    Raises:
        Failure: Some partitions violate the declaration. Each has a failed `is_valid` of its own in the event log. The
            others are published, and materialized in the event log.
        RetryRequested: Another run changed one of the asset's inputs. Nothing visible has changed.
    """
    partitions: list[Partition] = list(days) if days else [None]
    started = time.perf_counter()
    facts: dict[Partition, dict[str, Any]] = {}
    with session.replacing(step, key) as (folder, targets):
        written = write(folder)
        files = {each: written.files.get(each) or _write_empty(folder / _target(each), table) for each in partitions}
        verdicts = dict(written.verdicts or audit(session, table, {each: [file] for each, file in files.items()}))
        lost = session.lost(step)
        verdicts |= {each: Verdict(((SCHEMA, lost[each]),)) for each in partitions if each in lost}
        provenance = provenances(session, step, key, table)
        layer = step.job_def.asset_layer
        is_read = not layer.asset_graph.get(key).child_keys.isdisjoint(layer.selected_asset_keys)
        for partition, file in files.items():
            if verdicts[partition].passed:
                made_from = {PROVENANCE: provenance(partition).to_json()}
                add_key_values(file, {**session.footers.get(key, {}), **made_from})
                targets[file] = _target(partition)
                # Of the file as it was written: once published, another run may replace it at any time.
                lake_file = session.lake.folder(key) / _target(partition)
                facts[partition] = file_metadata([file], lake_file)
                if is_read and (version := session.lake.version_of(file)):
                    session.handed.keep(lake_file, version, file, table, written.rows.get(partition))
        if targets:  # once, as the last ones are what the table's page shows
            facts[next(reversed(facts))] |= preview(session, next(reversed(targets)), table)
    session.verdicts[key] = verdicts
    if facts and (lineage := table.dagster_lineage):
        facts[next(reversed(facts))][COLUMN_LINEAGE] = lineage
    shared = {COLUMN_SCHEMA: table.dagster_schema, "seconds": round(time.perf_counter() - started, 3)}
    for partition, of_partition in facts.items():
        step.add_asset_metadata(of_partition | shared, key, partition_key=partition_key(partition))
    if len(facts) < len(partitions):
        # Dagster would call all partitions of a step that succeeds materialized, and none of one that fails.
        report_materializations(step, key, facts)
        report_verdicts(step, key, verdicts)
        raise Failure(_unpublished(key, verdicts), allow_retries=False)


def _unpublished(key: AssetKey, verdicts: Mapping[Partition, Verdict]) -> str:
    wrong = {partition: verdict for partition, verdict in verdicts.items() if not verdict.passed}
    shown = list(wrong.items())[:_MAX_WRONG]
    of_days = "; ".join(f"{f'{partition}: ' if partition else ''}{verdict.description}" for partition, verdict in shown)
    more = f"; and {count(len(wrong) - len(shown), 'more day')}" if len(wrong) > len(shown) else ""
    good = len(verdicts) - len(wrong)
    others = "day is" if good == 1 else f"{good} days are"
    published = f" The other {others} published." if good else ""
    return (
        f"{key.to_user_string()} is not as declared, and was not published: {of_days}{more}.{published} Correct the "
        "rows where they are made, or change the declaration, and run it again: until then, the last file stays."
    )


def _as_arrow(rows: pa.Table | pl.DataFrame) -> pa.Table:
    return rows if isinstance(rows, pa.Table) else rows.to_arrow()


def _target(partition: Partition) -> Path:
    return Path(partition_folder(partition), DATA_FILE)


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
