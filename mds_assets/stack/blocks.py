"""The building blocks of a pipeline: `@raw_table`, `staging_table`, `current_table`, `@mart`.

Each makes an ordinary Dagster asset with the stack's partitions, IO manager and declaration; whatever else `@asset`
takes (`owners`, `tags`, `group_name`, `automation_condition`, ...) passes through. Plain assets work beside them. What
does not belong here: how a load is landed (`landing/`), how a table is written (`io_managers/`).

https://docs.dagster.io/guides/build/assets
"""

import inspect
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from functools import partial
from pathlib import Path
from traceback import extract_stack
from typing import Any, TypeAlias

import duckdb
import polars as pl
from dagster import (
    AssetExecutionContext,
    AssetIn,
    AssetKey,
    AssetOut,
    AssetsDefinition,
    CodeReferencesMetadataValue,
    Failure,
    LocalFileCodeReference,
    MetadataValue,
    Output,
    ResourceParam,
    RetryRequested,
    asset,
    multi_asset,
)
from dagster._core.definitions.metadata.metadata_value import ObjectMetadataValue

from mds_assets.stack.io_managers.duckdb import read, select
from mds_assets.stack.io_managers.io_manager import file_metadata, preview, refuse_values
from mds_assets.stack.io_managers.polars import typed
from mds_assets.stack.lake.layout import Partition, load_file
from mds_assets.stack.landing.days import Days, snapshot_day
from mds_assets.stack.partitions import DAILY, ONE_RUN, days_between, lookback, to_days, window
from mds_assets.stack.session import Session
from mds_assets.stack.settings import redact, settings
from mds_assets.stack.table import COLUMN_SCHEMA, DAY, Column, SchemaError, Table, declared_table, quote, table

MART = "mds/mart"  # the metadata that holds a mart's `Mart`
CODE = "dagster/code_references"  # the UI's link from a table to the user's own function or query
SNAPSHOT = "mds/snapshot"  # the metadata of a raw table that knows only what the source says now

# Beyond the source's own attempts, which cover seconds: an outage of minutes.
_RETRIES = 2
_RETRY_SECONDS = 60

_LOAD_ID = Column("_dlt_load_id", "VARCHAR", "dlt's id of the load, seconds since 1970; also the file's name.")

_KIND = inspect.Parameter.POSITIONAL_OR_KEYWORD  # Dagster looks for inputs among these alone

Columns: TypeAlias = Sequence[Column] | Table


def raw_table(
    *,
    columns: Columns,
    day: str | None,
    key: Sequence[str] = (),
    name: str | None = None,
    partitioned: bool = True,
    **options: Any,
) -> Callable[[Callable[..., object]], AssetsDefinition]:
    """A decorator: what the function returns is landed in `raw/<name>`, all or nothing, a file a day.

    The function takes `days: Days`, and whatever else an asset's function may take (`context`, `config`, resources). It
    returns a dlt resource, a dlt source of one resource, or an iterable of rows or Arrow tables. Raw is append-only: a
    run adds a load and never removes one.

    Args:
        columns: The columns that staging reads: they exist in every file in exactly these types. Any other field that
            the source sends lands beside them.
        day: The column, or DuckDB SQL over the columns, whose UTC date is a row's partition. Rows after the run's days
            land in their own day as early rows, in a file that does not make that day a landed one; rows before are
            counted. None for a snapshot: the source only knows its present state, which belongs to the newest day that
            has ended.
        key: The columns that tell the rows of one load apart.
        name: The table; by default the function's name.
        partitioned: Whether it has daily partitions. Without them a snapshot adds one file per run.
        options: Anything else that `@asset` takes.

    Raises:
        SchemaError: `day` is given for a table without partitions.
    """

    def decorate(function: Callable[..., object]) -> AssetsDefinition:
        title = name or function.__name__
        if day and not partitioned:
            raise SchemaError(f"raw/{title} has day={day!r} and partitioned=False: a snapshot has day=None")
        declared = _with_load(_as_table(columns, key), day)
        takes_context = "context" in inspect.signature(function).parameters

        def land(context: AssetExecutionContext, session: Session, **given: Any) -> None:
            if takes_context:
                given["context"] = context
            _land(context, session, declared, day, partial(function, **given))

        _take_parameters_of(function, land)
        defaults: dict[str, Any] = {
            "key": ["raw", title],
            "description": inspect.getdoc(function),
            "partitions_def": DAILY if partitioned else None,
            "backfill_policy": ONE_RUN,
            "io_manager_key": "duckdb_io_manager",
            "group_name": "raw",
            "kinds": {"dlt", "parquet"},
        }
        metadata = {
            **declared.metadata,
            SNAPSHOT: day is None,
            CODE: _code_of(function),
            **options.pop("metadata", {}),
        }
        return asset(**defaults | options, metadata=metadata)(land)

    return decorate


def _with_load(declared: Table, day: str | None) -> Table:
    """Raw's declaration: each load has an id, and each row lies in its day."""
    is_identifier = day and [kind for _, kind in duckdb.tokenize(day)] == [duckdb.token_type.identifier]
    # A column may be called `at`, which SQL reserves.
    at = day if is_identifier or day not in declared.names else quote(day or "")
    in_day = (f"{at} >= {DAY} AND {at} < {DAY} + 1",) if _is_declared(day, declared) else ()  # cheaper than a cast
    return replace(
        declared,
        columns=(*declared.columns, _LOAD_ID),
        key=(_LOAD_ID.name, *declared.key) if declared.key else (),
        rules=(*in_day, *declared.rules),
    )


def _is_declared(day: str | None, declared: Table) -> bool:
    """Whether `day` can be compared with a date as it is: checks read the declared columns only."""
    types = {column.name: column.type for column in declared.columns}
    fields = re.findall(r"[A-Za-z_]\w*\b(?!\s*\()", day or "")
    is_time = day not in types or types[day] in {"DATE", "TIMESTAMP", "TIMESTAMPTZ"}
    return bool(fields) and is_time and types.keys() >= set(fields)


def _land(
    context: AssetExecutionContext, session: Session, declared: Table, day: str | None, source: Callable[..., object]
) -> None:
    # dlt takes half as long to import as Dagster: only the process that lands raw pays for it.
    from mds_assets.stack.landing.errors import landing_error
    from mds_assets.stack.landing.load import land

    name = context.asset_key.to_user_string()
    yesterday = datetime.now(UTC).date() - timedelta(days=1)
    requested: list[Partition] = [None]
    if context.assets_def.partitions_def:
        requested = list(to_days(context.partition_keys))
    days = Days.between(requested[0] or yesterday, requested[-1] or yesterday, context.log)
    if day is None and not snapshot_day(days):
        context.log.warning("%s: the source only knows its present state, which belongs to %s", name, yesterday)
        for partition in requested:
            context.add_asset_metadata({"rows_landed": 0, "observable": False}, partition_key=str(partition))
        return
    started = time.perf_counter()
    with session.lake.workspace() as folder:
        try:
            load = land(
                source(days=days),
                replace(declared, columns=declared.columns[:-1], key=()),
                day,
                days,
                folder,
                session.connection,
                name=name,
                quote_values=session.preview_rows > 0,
            )
        except (Failure, RetryRequested):
            raise
        except Exception as error:
            # The source may fail as it is called, before anything is landed.
            reason = landing_error(error, name)
            if not hasattr(reason, "retryable"):
                raise
            failure = Failure(redact(str(reason)), allow_retries=False)
            if getattr(reason, "retryable", False):
                raise RetryRequested(max_retries=_RETRIES, seconds_to_wait=_RETRY_SECONDS) from failure
            raise failure from None
        files: dict[Partition, Path] = {None: load.files[yesterday]} if requested == [None] else {**load.files}
        session.lake.add(context.asset_key, load.load_id, files, load.early)
    context.log.info("%s: %s", name, _summary(load.rows, load.rows_early, days.requests))
    facts = {
        COLUMN_SCHEMA: declared.dagster_schema,
        "load": load.load_id,
        "rows_early": load.rows_early,
        "rows_before": load.rows_before,
        "requests": days.requests,
        "seconds": round(time.perf_counter() - started, 3),
        **days.facts,
    }
    read_set = session.lake.read_set(context.asset_key, files)
    for partition in requested:
        of_day = list(read_set.get(partition, ()))
        newest = [file for file in of_day if file.name == load_file(load.load_id) and partition == requested[-1]]
        context.add_asset_metadata(
            {
                **(file_metadata(of_day) if of_day else {"observable": False}),
                **(preview(session, newest[0], declared) if newest else {}),
                **facts,
                "rows_landed": load.rows.get(partition or yesterday, 0),
            },
            partition_key=str(partition) if partition else None,
        )


def _summary(rows: Mapping[date, int], early: int, requests: int) -> str:
    landed = f"{sum(rows.values()):,} rows"
    return f"{landed}{f', {early:,} early' if early else ''}{f' in {requests:,} requests' if requests else ''}"


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
    """A table `staging/<name>`: one SELECT in DuckDB's SQL over other tables of the same day.

    Args:
        name: The table.
        reads: The tables it reads, such as `raw/orders`; the query calls each by its last part.
        columns: What the query returns, without `day`, which it returns too.
        key: The columns that tell the rows of one day apart.
        sql: The query's file, seen from the module that calls this; by default `staging/<name>.sql`.
        rejects: Rows of the first table that do not pass, as SQL: `id IS NULL`. The query does not see them; each day's
            metadata counts them.
        description: What a row is.
        options: Anything else that `@asset` takes.

    Raises:
        SchemaError: Two of the tables it reads have the same last part.
    """
    declared = replace(_as_table(columns, key), rejects=rejects)
    caller = extract_stack(limit=2)[0]  # inspect.stack() takes 50 ms: it looks for the source of every frame
    file = Path(caller.filename).parent / (sql or f"staging/{name}.sql")
    query = file.read_text(encoding="utf-8")
    views = {upstream.split("/")[-1]: upstream for upstream in reads}
    if len(views) < len(reads):
        raise SchemaError(f"staging/{name} reads {', '.join(reads)}: its query calls two of them by one name")

    def stage(context: AssetExecutionContext, session: Session, **rows: duckdb.DuckDBPyRelation) -> Any:
        if rejects:
            first = next(iter(views))
            _count_rejected(context, rows[first].filter(rejects))
            rows[first] = rows[first].filter(f"NOT coalesce({rejects}, false)")
        for view, relation in rows.items():
            relation.create_view(view, replace=True)
        return session.connection.sql(query)

    inputs = [_parameter(view, duckdb.DuckDBPyRelation) for view in views]
    _set_parameters(stage, inputs, returns=duckdb.DuckDBPyRelation)
    defaults: dict[str, Any] = {
        "key": ["staging", name],
        "ins": {view: AssetIn(key=upstream.split("/")) for view, upstream in views.items()},
        "description": description,
        "partitions_def": DAILY,
        "backfill_policy": ONE_RUN,
        "io_manager_key": "duckdb_io_manager",
        "group_name": "staging",
        "kinds": {"duckdb", "sql", "parquet"},
    }
    metadata = {
        **declared.metadata,
        "sql": MetadataValue.md(f"```sql\n{query}```"),
        CODE: _code(file, 1),
        **options.pop("metadata", {}),
    }
    return asset(**defaults | options, metadata=metadata)(stage)


def _count_rejected(context: AssetExecutionContext, rejected: duckdb.DuckDBPyRelation) -> None:
    if not context.assets_def.partitions_def:
        context.add_asset_metadata({"rows_rejected": len(rejected)})
        return
    counts = dict(rejected.aggregate(f"{DAY}, count(*)", DAY).fetchall())
    for day in to_days(context.partition_keys):
        context.add_asset_metadata({"rows_rejected": counts.get(day, 0)}, partition_key=str(day))


def current_table(
    name: str, *, reads: str, columns: Columns, key: Sequence[str] = (), description: str | None = None, **options: Any
) -> AssetsDefinition:
    """A table without partitions in the layer of the table it reads: each key once, with its newest row over all days.

    A run merges its own days into what is there, and gives what a rebuild from all days would give, whatever the order
    of the days. The table has one more column, `day`: the newest day that has the key.

    Args:
        name: The table.
        reads: The table it reads, such as `staging/customers`; its columns are the same.
        columns: The columns that are kept.
        key: The columns that tell rows apart; without them those of `columns`.
        description: What a row is.
        options: Anything else that `@asset` takes.
    """
    source = AssetKey(reads.split("/"))
    kept = _as_table(columns, key)
    seen = Column(DAY, "DATE", "The newest day that has the row, UTC.")
    declared = replace(kept, columns=(*kept.columns, seen), reconciles=None, lineage={})

    def merge(context: AssetExecutionContext, session: Session) -> duckdb.DuckDBPyRelation:
        step = context.get_step_execution_context()
        days = _days_of_run(context.run.tags)
        own = session.read(step, context.asset_key, [None])[None]
        changed = session.read(step, source, days)
        if not own or not days or _has_gaps(session, declared, kept, own, changed):
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

    _set_parameters(merge, [], returns=duckdb.DuckDBPyRelation)
    defaults: dict[str, Any] = {
        "key": [*source.path[:-1], name],
        "deps": [source],
        "description": description,
        "backfill_policy": ONE_RUN,
        "io_manager_key": "duckdb_io_manager",
        "group_name": source.path[0],
        "kinds": {"duckdb", "parquet"},
    }
    caller = extract_stack(limit=2)[0]
    code = _code(Path(caller.filename), caller.lineno or 1)
    metadata = {**declared.metadata, CODE: code, **options.pop("metadata", {})}
    return asset(**defaults | options, metadata=metadata)(merge)


def _by(key: Sequence[str]) -> str:
    return f"PARTITION BY {', '.join(map(quote, key))} ORDER BY {DAY}"


def _days_of_run(tags: Mapping[str, str]) -> list[date]:
    """The days of a run, also for a table without partitions; none where the run has none."""
    if day := tags.get("dagster/partition"):
        return [date.fromisoformat(day)]
    first, last = (tags.get(f"dagster/asset_partition_range_{end}") for end in ("start", "end"))
    return days_between(date.fromisoformat(first), date.fromisoformat(last)) if first and last else []


def _has_gaps(
    session: Session,
    declared: Table,
    kept: Table,
    own: Iterable[Any],
    changed: Mapping[Partition, Mapping[Any, str]],
) -> bool:
    """Whether a key's newest row came from one of these days and is gone: an earlier day's is the newest now."""
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
    ((gaps,),) = session.connection.sql(query).fetchall()
    return gaps > 0


@dataclass(frozen=True)
class AsOf:
    """The as-of day that a mart's function makes a table for.

    Attributes:
        day: The as-of day.
        lookback_days: Calendar days in the window, the as-of day included.
        landed: The days that were landed, in order, of all that the mart reads: the window and its `extra_days`.
    """

    day: date
    lookback_days: int = settings.lookback_days
    landed: Sequence[date] = ()

    @property
    def days(self) -> list[date]:
        """The days of the window, oldest first."""
        return window(self.day, self.lookback_days)


@dataclass(frozen=True)
class Mart:
    """A mart as `@mart` declares it. `latest`, `window`, `same_day` and `current` map parameters to tables."""

    key: AssetKey
    function: Callable[..., pl.LazyFrame | pl.DataFrame]
    table: Table
    latest: Mapping[str, AssetKey]
    window: Mapping[str, AssetKey]
    same_day: Mapping[str, AssetKey]
    current: Mapping[str, AssetKey]
    extra_days: int
    options: Mapping[str, Any] = field(default_factory=dict[str, Any])

    @property
    def days_read(self) -> int:
        """How many days it reads of the tables that it looks back on."""
        return settings.lookback_days + self.extra_days

    @property
    def inputs(self) -> dict[AssetKey, AssetIn]:
        """What it reads, with the partitions of it."""
        same = {key: AssetIn(key=key) for key in (*self.same_day.values(), *self.current.values())}
        back = {
            key: AssetIn(key=key, partition_mapping=lookback(self.days_read))
            for key in (*self.latest.values(), *self.window.values())
        }
        return same | back


def mart(
    *,
    columns: Columns,
    key: Sequence[str] = (),
    latest: Mapping[str, str] | None = None,
    window: Mapping[str, str] | None = None,
    same_day: Mapping[str, str] | None = None,
    current: Mapping[str, str] | None = None,
    extra_days: int = 0,
    name: str | None = None,
    layer: str = "marts",
    **options: Any,
) -> Callable[[Callable[..., pl.LazyFrame | pl.DataFrame]], AssetsDefinition]:
    """A decorator: the function makes a table `marts/<name>`, once for each as-of day, from frames that are as of it.

    The function is pure: lazy frames in, a lazy frame out, without `day`, which the stack adds. It may also take
    `as_of: AsOf`. Each of the four mappings names parameters of the function and the tables they stand for:

    Args:
        columns: The columns of the mart.
        key: The columns that tell the rows of one as-of day apart.
        latest: Each key of the table once, with its newest row in the lookback window; `day` is that row's day.
        window: All rows in the lookback window, in any order.
        same_day: The rows of the as-of day.
        current: All rows of a table without partitions.
        extra_days: Days before the window that `latest` and `window` also hold, for a mean that looks further back.
        name: The table; by default the function's name.
        layer: The first part of its key.
        options: What an asset takes: `description`, `group_name`, `owners`, `tags`, `kinds`, `automation_condition`,
            and `pool`.
    """

    def decorate(function: Callable[..., pl.LazyFrame | pl.DataFrame]) -> AssetsDefinition:
        described = {"description": inspect.getdoc(function), "group_name": layer, "kinds": {"polars", "parquet"}}
        declared = Mart(
            key=AssetKey([layer, name or function.__name__]),
            function=function,
            table=_as_table(columns, key),
            latest=_keys(latest),
            window=_keys(window),
            same_day=_keys(same_day),
            current=_keys(current),
            extra_days=extra_days,
            options=described | options,
        )
        return marts_step([declared])

    return decorate


def _keys(tables: Mapping[str, str] | None) -> dict[str, AssetKey]:
    return {parameter: AssetKey(name.split("/")) for parameter, name in (tables or {}).items()}


def share_steps(assets: Iterable[AssetsDefinition]) -> list[AssetsDefinition]:
    """The same assets; marts that read the same days of the same tables become one step.

    Finding each key's newest row in the window is most of a mart's work: in one step it is done once.
    """
    others: list[AssetsDefinition] = []
    groups: dict[object, list[Mart]] = {}
    for definition in assets:
        marts: list[Mart] = [spec.metadata[MART].instance for spec in definition.specs if MART in spec.metadata]
        for each in marts:
            reads = frozenset((key, given.partition_mapping) for key, given in each.inputs.items())
            groups.setdefault((reads, each.key.path[0], each.options.get("pool")), []).append(each)
        others += [] if marts else [definition]
    return [*others, *(marts_step(marts) for marts in groups.values())]


def marts_step(marts: Sequence[Mart]) -> AssetsDefinition:
    """One step that makes these marts, which read the same days of the same tables."""
    by_output = {each.key.path[-1]: each for each in marts}
    inputs = {"__".join(key.path): given for key, given in marts[0].inputs.items()}
    name = "__".join(marts[0].key.path)
    pool = marts[0].options.get("pool")
    if len(marts) > 1:
        days = f"_{marts[0].days_read}_days" if marts[0].latest or marts[0].window else ""
        name = f"{marts[0].key.path[0]}_of_{'_and_'.join(inputs)}{days}{f'_in_{pool}' if pool else ''}"

    def make(context: AssetExecutionContext, session: Session, **rows: pl.LazyFrame) -> Iterator[Output[pl.LazyFrame]]:
        names = context.op_execution_context.selected_output_names
        selected = {output: each for output, each in by_output.items() if output in names}
        days = to_days(context.partition_keys)
        by_key = {key: rows["__".join(key.path)] for key in marts[0].inputs}
        with session.lake.workspace() as folder:
            made, errors = _make(context, session, selected, days, by_key, folder)
            for output, files in made.items():
                yield Output(pl.scan_parquet(files, glob=False, hive_partitioning=False), output)
            if errors:  # a failed mart does not stop the others
                raise errors[0]

    _set_parameters(make, [_parameter(given, pl.LazyFrame) for given in inputs])
    return multi_asset(
        name=name,
        outs={output: _out(each) for output, each in by_output.items()},
        ins=inputs,
        partitions_def=DAILY,
        backfill_policy=ONE_RUN,
        can_subset=True,
        **({"pool": pool} if pool else {}),
    )(make)


def _out(mart: Mart) -> AssetOut:
    options = {name: given for name, given in mart.options.items() if name not in {"pool", "metadata"}}
    metadata = {
        **mart.table.metadata,
        MART: ObjectMetadataValue(mart),
        CODE: _code_of(mart.function),
        **mart.options.get("metadata", {}),
    }
    defaults: dict[str, Any] = {"key": mart.key, "io_manager_key": "polars_io_manager", "is_required": False}
    return AssetOut(**defaults | options, metadata=metadata)


def _make(
    context: AssetExecutionContext,
    session: Session,
    marts: Mapping[str, Mart],
    days: Sequence[date],
    rows: Mapping[AssetKey, pl.LazyFrame],
    folder: Path,
) -> tuple[dict[str, list[Path]], list[Exception]]:
    """Write each mart's table of each day, one day after the other, so that memory holds one window.

    All windows of a range in one query would be faster on paper; with Polars 2.1 they can deadlock its thread pool.
    """
    made: dict[str, list[Path]] = {}
    errors: list[Exception] = []
    try:
        for day in days:
            frames = _Frames(context, session, day, rows)
            files = {output: folder / f"{output} {day}.parquet" for output in marts}
            # What the IO manager would refuse is refused here: Dagster ends a step at the first output that fails.
            names = {output: each.key.to_user_string() for output, each in marts.items()}
            sinks = [
                typed(names[output], frames.call(each), each.table.with_day()).sink_parquet(files[output], lazy=True)
                for output, each in marts.items()
            ]
            pl.collect_all(sinks, engine="streaming")
            for output, file in files.items():
                refuse_values(session, names[output], f" of {day}", file, marts[output].table)
                made.setdefault(output, []).append(file)
    except Exception as error:
        if len(marts) == 1:
            (each,) = marts.values()
            if isinstance(error, pl.exceptions.PolarsError):  # which does not say of which table
                error = SchemaError(f"{each.key.to_user_string()} cannot be made for {days[0]}...{days[-1]}: {error}")
            return {}, [error]
        made = {}
        for output, each in marts.items():
            alone, failed = _make(context, session, {output: each}, days, rows, folder)
            made |= alone
            errors += failed
    return made, errors


class _Frames:
    """What the functions of one as-of day are given; what two of them ask for is made once."""

    def __init__(
        self, context: AssetExecutionContext, session: Session, day: date, rows: Mapping[AssetKey, pl.LazyFrame]
    ) -> None:
        self._context, self._session, self._day, self._rows = context, session, day, rows
        self._latest: dict[tuple[AssetKey, int], pl.LazyFrame] = {}

    def call(self, mart: Mart) -> pl.LazyFrame:
        """The mart's table of the day, with `day`."""
        days = window(self._day, mart.days_read)
        given: dict[str, Any] = {name: self._newest(key, days) for name, key in mart.latest.items()}
        given |= {name: self._between(key, days) for name, key in mart.window.items()}
        given |= {name: self._between(key, [self._day]) for name, key in mart.same_day.items()}
        given |= {name: self._rows[key] for name, key in mart.current.items()}
        if "as_of" in inspect.signature(mart.function).parameters:
            given["as_of"] = AsOf(self._day, landed=self._landed(mart, days))
        return mart.function(**given).lazy().with_columns(pl.lit(self._day, pl.Date).alias(DAY))

    def _between(self, key: AssetKey, days: Sequence[date]) -> pl.LazyFrame:
        return self._rows[key].filter(pl.col(DAY).is_between(days[0], days[-1]))

    def _newest(self, key: AssetKey, days: Sequence[date]) -> pl.LazyFrame:
        known = self._latest.get((key, len(days)))
        if known is None:
            spec = self._context.op_execution_context.job_def.asset_layer.get(key)
            source = declared_table(key.to_user_string(), spec.metadata)
            known = self._latest[key, len(days)] = newest_rows(self._rows[key], source.key, days)
        return known

    def _landed(self, mart: Mart, days: Sequence[date]) -> list[date]:
        sources = {*mart.latest.values(), *mart.window.values()}
        return sorted(set(days).intersection(*(self._session.landed(key, days) for key in sources)))


def newest_rows(rows: pl.LazyFrame, key: Sequence[str], days: Sequence[date]) -> pl.LazyFrame:
    """Each key once, with its newest row in these days.

    Args:
        rows: Rows with `day`, in any order; at most one per key and day.
        key: The columns that tell rows of one day apart.
        days: The days, oldest first.
    """
    # A lazy query keeps no order of rows, but a concatenation keeps the order of its parts: the newest day first.
    newest_first = pl.concat([rows.filter(pl.col(DAY) == day) for day in reversed(days)])
    return newest_first.filter((pl.struct(key) if len(key) > 1 else pl.col(key[0])).is_first_distinct())


def _as_table(columns: Columns, key: Sequence[str]) -> Table:
    if not isinstance(columns, Table):
        return table(columns, key=key)
    return replace(columns, key=tuple(key)) if key else columns


def _code_of(function: Callable[..., object]) -> CodeReferencesMetadataValue:
    lines = inspect.getsourcelines(function)[1]
    return _code(Path(inspect.getsourcefile(function) or ""), lines)


def _code(file: Path, line: int) -> CodeReferencesMetadataValue:
    return CodeReferencesMetadataValue(
        code_references=[LocalFileCodeReference(file_path=str(file.absolute()), line_number=line)]
    )


def _parameter(name: str, annotation: Any) -> inspect.Parameter:
    return inspect.Parameter(name, _KIND, annotation=annotation)


def _set_parameters(
    function: Callable[..., Any], parameters: Iterable[inspect.Parameter], returns: Any = inspect.Signature.empty
) -> None:
    """Declare the parameters of a function that takes them as keywords: Dagster reads its signature."""
    context = _parameter("context", AssetExecutionContext)
    signature = inspect.Signature(
        [context, _parameter("session", ResourceParam[Session]), *parameters], return_annotation=returns
    )
    function.__signature__ = signature  # pyright: ignore[reportFunctionMemberAccess]


def _take_parameters_of(function: Callable[..., Any], asset_function: Callable[..., Any]) -> None:
    """Ask Dagster for what the user's function takes, but for what the stack itself gives it."""
    taken = [
        parameter.replace(kind=_KIND)
        for name, parameter in inspect.signature(function).parameters.items()
        if name not in {"days", "context"}
    ]
    _set_parameters(asset_function, taken, returns=None)
