"""A lake in a temporary folder, tiny assets that write and read it, and real Dagster runs of them."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import date
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
from dagster import (
    AssetExecutionContext,
    AssetIn,
    AssetKey,
    AssetsDefinition,
    DagsterInstance,
    DailyPartitionsDefinition,
    Definitions,
    ExecuteInProcessResult,
    PartitionMapping,
    PartitionsDefinition,
    TimeWindowPartitionMapping,
    asset,
    in_process_executor,
)

from mds_assets.stack.build import stack_resources
from mds_assets.stack.io_managers.io_manager import Rows as LakeRows
from mds_assets.stack.partitions import SINGLE_RUN, to_days
from mds_assets.stack.settings import settings
from mds_assets.stack.table import Table, column, table

Rows = list[dict[str, Any]]
Make = Callable[[list[date]], Any]

DAILY = DailyPartitionsDefinition(start_date="2024-02-26", timezone="UTC")
LOOKBACK = TimeWindowPartitionMapping(start_offset=-2, end_offset=0)
LOOKBACK_DAYS = 3

# Around a leap day.
D0, D1, D2, D3, D4 = (date(2024, 2, 26), date(2024, 2, 27), date(2024, 2, 28), date(2024, 2, 29), date(2024, 3, 1))

KINDS: dict[str, type] = {
    "relation": duckdb.DuckDBPyRelation,
    "table": pa.Table,
    "reader": pa.RecordBatchReader,
    "lazyframe": pl.LazyFrame,
    "dataframe": pl.DataFrame,
}
ENGINES = ("duckdb", "polars")

# The smallest table of interest: a column that must not be null, and one that may.
PAIRS = table([column("id", "BIGINT", "A number."), column("name", "VARCHAR", "A name.", nullable=True)])


def pairs(*rows: tuple[int | None, str | None, date | None]) -> pa.Table:
    """Rows of `PAIRS` with `day`."""
    names = ("id", "name", "day")
    schema = pa.schema([("id", pa.int64()), ("name", pa.string()), ("day", pa.date32())])
    return pa.Table.from_pylist([dict(zip(names, row, strict=True)) for row in rows], schema=schema)


def as_kind(rows: pa.Table, kind: str, batch_rows: int = 1000) -> LakeRows:
    """The same rows as one of the five types; a reader can be read only once."""
    if kind == "relation":
        return duckdb.from_arrow(rows)
    if kind == "table":
        return rows
    if kind == "reader":
        return pa.RecordBatchReader.from_batches(rows.schema, iter(rows.to_batches(batch_rows)))
    frame = pl.DataFrame(rows)
    return frame if kind == "dataframe" else frame.lazy()


def to_rows(table: Any) -> Rows:
    """The rows of any of the five types in an order of their own."""
    if isinstance(table, duckdb.DuckDBPyRelation):
        rows = table.to_arrow_table().to_pylist()
    elif isinstance(table, pa.Table):
        rows = table.to_pylist()
    elif isinstance(table, pa.RecordBatchReader):
        rows = table.read_all().to_pylist()
    else:
        rows = table.lazy().collect().to_dicts()
    return in_order(rows)


def in_order(rows: Iterable[dict[str, Any]]) -> Rows:
    """Rows in an order that every comparison agrees on."""
    return sorted(rows, key=lambda row: repr(sorted(row.items())))


def types_of(table: Any) -> dict[str, str]:
    """The columns' names and types in their order, in the words of the table's own engine; reads no row."""
    if isinstance(table, duckdb.DuckDBPyRelation):
        return dict(zip(table.columns, map(str, table.types), strict=True))
    if isinstance(table, pa.Table | pa.RecordBatchReader):
        types: dict[str, pa.DataType] = {field.name: field.type for field in table.schema}
        # DuckDB names a list's element `l`, Arrow `item` or `element`: the same type.
        return {
            name: f"list<{dtype.value_type}>" if pa.types.is_list(dtype) else str(dtype)
            for name, dtype in types.items()
        }
    return {name: str(dtype) for name, dtype in table.lazy().collect_schema().items()}


def _same(table: Any) -> Any:
    return table


def writes(
    make: Make,
    name: str = "written",
    *,
    layer: str = "staging",
    declared: Table | None = PAIRS,
    engine: str = "duckdb",
    returns: object = None,
    partitions: PartitionsDefinition[Any] | None = DAILY,
) -> AssetsDefinition:
    """An asset `<layer>/<name>` that returns what `make` gives for the days of the run."""

    def written(context: AssetExecutionContext):  # the annotation is set below
        return make(to_days(context.partition_keys) if partitions else [])

    if returns is not None:
        written.__annotations__["return"] = returns
    return asset(
        key=[layer, name],
        partitions_def=partitions,
        backfill_policy=SINGLE_RUN,
        io_manager_key=f"{engine}_io_manager",
        metadata=declared.metadata if declared else None,
    )(written)


def passes_on(
    source: AssetsDefinition,
    kind: object,
    name: str = "passed_on",
    *,
    change: Callable[[Any], Any] = _same,
    declared: Table = PAIRS,
    engine: str = "polars",
    lookback: bool = False,
    read_by: str | None = None,
    partitions: PartitionsDefinition[Any] | None = DAILY,
) -> AssetsDefinition:
    """An asset `marts/<name>` that takes `source` as `kind` (None: no annotation) and returns it, or its `change`."""

    def passed_on(rows):  # pyright: ignore  # the annotations are set below
        return change(rows)

    if kind is not None:
        passed_on.__annotations__["rows"] = kind
    return asset(
        key=["marts", name],
        ins={"rows": _input(source, lookback, read_by)},
        partitions_def=partitions,
        backfill_policy=SINGLE_RUN,
        io_manager_key=f"{engine}_io_manager",
        metadata=declared.metadata,
    )(passed_on)


def reads(
    source: AssetsDefinition,
    kind: object,
    look: Callable[[Any], None],
    name: str = "reads",
    *,
    lookback: bool = False,
    read_by: str | None = None,
    partitions: PartitionsDefinition[Any] | None = DAILY,
) -> AssetsDefinition:
    """An asset that takes `source` as `kind` (None: no annotation), looks at it and returns nothing."""

    def looks(rows) -> None:  # pyright: ignore  # the annotation is set below
        look(rows)

    if kind is not None:
        looks.__annotations__["rows"] = kind
    return asset(
        key=["looks", name],
        ins={"rows": _input(source, lookback, read_by)},
        partitions_def=partitions,
        backfill_policy=SINGLE_RUN,
    )(looks)


def _input(source: AssetsDefinition, lookback: bool, read_by: str | None) -> AssetIn:
    mapping: PartitionMapping | None = LOOKBACK if lookback else None
    manager = f"{read_by}_io_manager" if read_by else None
    return AssetIn(key=source.key, partition_mapping=mapping, input_manager_key=manager)


@cache
def _instance() -> DagsterInstance:
    # To make one takes longer than a run, and nothing of the lake reads Dagster's history.
    return DagsterInstance.ephemeral()


class Warehouse:
    """A lake at `root` and the resources over it; `options` are settings."""

    def __init__(self, root: Path, **options: Any):  # noqa: D107
        self.root = root
        # Wired as the project itself does it.
        own = {"data_dir": str(root), "preview_rows": 0, **options}
        self.resources = stack_resources(settings.model_copy(update=own), {})

    def run(
        self,
        assets: AssetsDefinition | Sequence[AssetsDefinition],
        first: date | None,
        last: date | None = None,
        *,
        only: AssetsDefinition | Sequence[AssetsDefinition] | None = None,
        raises: bool = True,
    ) -> ExecuteInProcessResult:
        """Materialize the assets, or `only` some of them, for one day, for a range in one run, or without a day.

        The first error is raised, unless `raises` is false: then the other assets still run (see `errors`).
        """
        selected = [only] if isinstance(only, AssetsDefinition) else only
        tags = {
            "dagster/asset_partition_range_start": str(first),
            "dagster/asset_partition_range_end": str(last or first),
        }
        definitions = Definitions(
            assets=[assets] if isinstance(assets, AssetsDefinition) else assets,
            resources=self.resources,
            executor=in_process_executor,
        )
        return definitions.resolve_implicit_global_asset_job_def().execute_in_process(
            asset_selection=[one.key for one in selected] if selected is not None else None,
            instance=_instance(),
            tags=tags if first else None,
            raise_on_error=raises,
            run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
        )

    def look(
        self,
        source: AssetsDefinition,
        kind: object,
        look: Callable[[Any], Any],
        first: date,
        last: date | None = None,
        *,
        lookback: bool = False,
    ) -> Any:
        """What `look` gives for the table that one asset gets when it reads `source` for these days."""
        seen: list[Any] = []
        looks = reads(source, kind, lambda table: seen.append(look(table)), lookback=lookback)
        self.run([source, looks], first, last, only=looks)
        (only,) = seen
        return only

    def folder(self, table: AssetsDefinition) -> Path:
        """Where a table lies."""
        return self.root.joinpath(*table.key.path)

    def file(self, table: AssetsDefinition, day: date | None) -> Path:
        """A day's file, or that of a table without days."""
        return self.folder(table) / (f"day={day}" if day else "") / "data.parquet"

    def content(self, table: AssetsDefinition) -> dict[str, Rows]:
        """The rows of each `day=` folder (of `.` without days), read file by file and by pyarrow alone."""
        folder = self.folder(table)
        rows: dict[str, Rows] = {}
        for file in sorted(path for path in folder.rglob("*") if path.is_file()):
            rows.setdefault(str(file.parent.relative_to(folder)), []).extend(pq.ParquetFile(file).read().to_pylist())
        return {partition: in_order(of_partition) for partition, of_partition in rows.items()}

    def land(self, table: AssetsDefinition, day: date, loads: Mapping[str, pa.Table]) -> None:
        """Put files into a day as raw does: several of them, each with the columns it happens to have."""
        folder = self.folder(table) / f"day={day}"
        folder.mkdir(parents=True, exist_ok=True)
        for name, rows in loads.items():
            pq.write_table(rows, folder / f"{name}.parquet")

    def listing(self) -> dict[str, str]:
        """Everything below the root, hidden or not: folders, and files with their content's hash."""
        return {
            str(path.relative_to(self.root)): sha256(path.read_bytes()).hexdigest() if path.is_file() else "folder"
            for path in self.root.rglob("*")
        }


def metadata_by_day(result: ExecuteInProcessResult, key: AssetKey) -> dict[str, dict[str, Any]]:
    """The metadata of each day's materialization of one table, as plain values; `None` for a table without days."""
    events = [event for event in result.get_asset_materialization_events() if event.asset_key == key]
    return {
        str(event.partition): {name: value.value for name, value in event.materialization.metadata.items()}
        for event in events
    }


def errors(result: ExecuteInProcessResult) -> dict[str, str]:
    """The error of each asset that failed, by its step's name: `<class>: <message>`."""
    failures = [event for event in result.all_events if event.is_step_failure]
    messages: dict[str, str] = {}
    for event in failures:
        error = event.step_failure_data.error
        if error and error.cause and str(error.cls_name).startswith("Dagster"):
            error = error.cause
        messages[str(event.step_key)] = error.message if error else ""
    return messages


def declared_types(declared: Table, kind: str, *, partitioned: bool = True) -> dict[str, str]:
    """What `types_of` must say of a table of this declaration, `day` last where it has partitions."""
    declared = declared.with_day() if partitioned else declared
    if kind == "relation":
        return {c.name: c.type.replace("TIMESTAMPTZ", "TIMESTAMP WITH TIME ZONE") for c in declared.columns}
    empty = declared.arrow_schema().empty_table()
    return types_of(pl.DataFrame(empty) if kind in {"lazyframe", "dataframe"} else empty)
