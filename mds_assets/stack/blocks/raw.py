"""`@raw_table`: land what a source sends, all or nothing, as one file per day."""

import inspect
import json
import re
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from functools import cache, partial
from pathlib import Path
from typing import Any

import duckdb
from dagster import (
    AssetExecutionContext,
    AssetObservation,
    AssetsDefinition,
    Failure,
    Nothing,
    Output,
    RetryRequested,
)
from upath import UPath

from mds_assets.stack.blocks.definition import CODE, Columns, as_table, code_of, make_asset, take_parameters_of
from mds_assets.stack.completeness import scope_of
from mds_assets.stack.io_managers.io_manager import file_metadata, preview
from mds_assets.stack.lake import Files
from mds_assets.stack.lake.key_values import add_key_values
from mds_assets.stack.lake.layout import Partition, is_landed, load_file, partition_key
from mds_assets.stack.landing.days import Days, SkippedError, snapshot_day
from mds_assets.stack.names import LOAD, SKIPPED
from mds_assets.stack.partitions import DAILY, to_days
from mds_assets.stack.session import Session
from mds_assets.stack.settings import has_source_secrets, redact
from mds_assets.stack.table import COLUMN_SCHEMA, DAY, Column, SchemaError, Table, quote

SNAPSHOT = "mds/snapshot"  # the metadata of a raw table whose source only knows its present state

# The source's own retries cover seconds; these cover outages of minutes.
_RETRIES = 2
_RETRY_SECONDS = 60

_TIMES = {"DATE", "TIMESTAMP", "TIMESTAMPTZ", "TIMESTAMP WITH TIME ZONE"}  # as declared, and as DuckDB says it
_SAME_TYPE = {"greatest", "least", "to_days", "to_hours", "to_minutes", "to_seconds"}  # of times, these make times
_LOAD_ID = Column("_dlt_load_id", "VARCHAR", "dlt's id of the load, seconds since 1970; also the file's name.")


def raw_table(
    *,
    columns: Columns,
    day: str | None,
    key: Sequence[str] = (),
    name: str | None = None,
    partitioned: bool = True,
    **options: Any,
) -> Callable[[Callable[..., object]], AssetsDefinition]:
    """A decorator: land what the function returns in `raw/<name>`, all or nothing, as one file per day.

    The function takes `days: Days` and returns the rows: a dlt resource, a dlt source with one resource, or an iterable
    of dicts or Arrow tables. It can also take what any asset function can (`context`, `config`, resources), and
    `session`, the run's access to the lake. Raw is append-only: a run adds a load and never removes one.

    Args:
        columns: The columns that staging reads. Every file has them, in exactly these types. Any other field that the
            source sends lands beside them.
        day: The column, or DuckDB SQL over the columns, whose UTC date is a row's partition. Rows after the run's days
            land in their own day as early rows, in a file that does not make that day a landed one; rows before are
            counted. None for a snapshot: the source only knows its present state, which belongs to the newest day that
            has ended.
        key: The columns that identify a row within a load.
        name: The table; by default the function's name.
        partitioned: Whether it has daily partitions. Without them a snapshot adds one file per run.
        options: Anything else that `@asset` takes; `output_required=False` for a table that `days.skip` may leave out.

    Raises:
        SchemaError: `day` is given for a table without partitions, or is not DuckDB SQL.
    """

    def decorate(function: Callable[..., object]) -> AssetsDefinition:
        title = name or function.__name__
        by_day = options.get("partitions_def", DAILY if partitioned else None)
        if day and not by_day:
            given = "partitions_def=None" if partitioned else "partitioned=False"
            raise SchemaError(f"raw/{title} has day={day!r} and {given}: a snapshot has day=None")
        declared = _with_load(f"raw/{title}", as_table(columns, key), day)
        own = inspect.signature(function).parameters.keys() & {"context", "session"}

        def land(context: AssetExecutionContext, session: Session, **given: Any) -> Iterator[Output[None]]:
            given |= {name: each for name, each in (("context", context), ("session", session)) if name in own}
            try:
                _land(context, session, declared, day, partial(function, **given))
            except SkippedError as skipped:
                reason = str(skipped)
                context.log_event(AssetObservation(context.asset_key, f"skipped: {reason}", {SKIPPED: reason}))
            else:
                yield Output(None)

        take_parameters_of(function, land)
        return make_asset(
            land,
            declared,
            options,
            {SNAPSHOT: day is None, CODE: code_of(function)},
            key=["raw", title],
            description=inspect.getdoc(function),
            partitions_def=by_day,
            group_name="raw",
            kinds={"dlt", "parquet"},
            dagster_type=Nothing,
        )

    return decorate


def _with_load(name: str, declared: Table, day: str | None) -> Table:
    """The declaration plus what holds for all of raw: each load has an id, and each row lies in its day."""
    is_identifier = day and [kind for _, kind in duckdb.tokenize(day)] == [duckdb.token_type.identifier]
    # Quoted, because a column may have a name that SQL reserves, such as `at`.
    at = day if is_identifier or day not in declared.names else quote(day or "")
    lies_in_day = f"{at} >= {DAY} AND {at} < {DAY} + 1"  # cheaper than a cast
    return replace(
        declared,
        columns=(*declared.columns, _LOAD_ID),
        key=(_LOAD_ID.name, *declared.key) if declared.key else (),
        rules=(*([lies_in_day] if _is_declared(name, day, declared) else []), *declared.rules),
    )


def _is_declared(name: str, day: str | None, declared: Table) -> bool:
    """Whether `day` can be compared with a date as is, and reads declared columns only: checks read no others.

    Raises:
        SchemaError: It is not DuckDB SQL.
    """
    types = {column.name: column.type for column in declared.columns}
    if day is None or day in types or re.fullmatch(r"\w+", day):
        return types.get(day or "") in _TIMES
    # Opening a connection takes 50 ms, at every start; most expressions are one time compared with another.
    words = {word.strip('"') for word in re.findall(r'"[^"]*"|\w+', day)}
    is_of_times = all(word.isdigit() or word in _SAME_TYPE or types.get(word) in _TIMES for word in words)
    if is_of_times and "-" not in day and day.count("(") == day.count(")"):
        return not words.isdisjoint(types)
    nulls = ", ".join(f"NULL::{type_} AS {quote(column)}" for column, type_ in types.items())
    with duckdb.connect() as con:
        try:
            with suppress(duckdb.BinderException):
                con.sql(f"SELECT ({day})")
                return False  # it reads no column at all
            (type_,) = con.sql(f"SELECT ({day}) FROM (SELECT {nulls})").types  # noqa: S608
        except duckdb.BinderException:
            return False
        except duckdb.Error as error:
            message, _, _ = str(error).partition("\n\nLINE ")
            raise SchemaError(f"{name} has day={day!r}, which is not DuckDB SQL: {' '.join(message.split())}") from None
    return str(type_) in _TIMES


def _land(
    context: AssetExecutionContext, session: Session, declared: Table, day: str | None, source: Callable[..., object]
) -> None:
    # Importing dlt takes half as long as importing Dagster: only the process that lands raw pays for it.
    from mds_assets.stack.landing.load import land

    name = context.asset_key.to_user_string()
    yesterday = datetime.now(UTC).date() - timedelta(days=1)
    requested: list[Partition] = [None]
    if context.assets_def.partitions_def:
        requested = list(to_days(context.partition_keys))
    days = Days.between(requested[0] or yesterday, requested[-1] or yesterday, context.log)
    listed = cache(lambda: session.lake.read_set(context.asset_key, days.dates))  # once: a store bills each listing
    days.scopes_of = lambda day: _scopes(_readable(session, {day: listed()[day]})[day])
    if day is None and requested == [None]:
        day = f"DATE '{yesterday}'"  # of all rows, also when midnight passes meanwhile
    if day is None and not snapshot_day(days):
        context.log.warning("%s: the source only knows its present state, which belongs to %s", name, yesterday)
        for partition in requested:
            context.add_asset_metadata({"rows_landed": 0, "observable": False}, partition_key=str(partition))
        return
    began, started = datetime.now(UTC), time.perf_counter()
    with session.lake.workspace() as folder:
        with _classified_errors(name):
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
        published = {
            "run": context.run.run_id,
            "days": [str(days.dates[0]), str(days.dates[-1])],
            "requests": days.requests,
            "began": began.isoformat(),
            "published": datetime.now(UTC).isoformat(),
        }
        for file in (*load.files.values(), *load.early.values()):
            add_key_values(file, {LOAD: json.dumps(published)})
        files: dict[Partition, Path] = {None: load.files[yesterday]} if requested == [None] else {**load.files}
        if files:
            if has_source_secrets():
                session.lake.mark_private()
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
    if days.covered:
        context.log.info("%s: %s of %s days were landed before", name, len(days.covered), len(days.dates))
    read_set = _readable(session, session.lake.read_set(context.asset_key, [*files, *days.covered]))
    session.lake.flush(file for day in days.covered for file in read_set[day])  # its run may have been killed
    for partition in requested:
        of_day = read_set.get(partition, [])
        newest = [file for file in of_day if file.name == load_file(load.load_id) and partition == requested[-1]]
        context.add_asset_metadata(
            {
                **(file_metadata(of_day) if of_day else {"observable": False}),
                **(preview(session, newest[0], declared) if newest else {}),
                **facts,
                **(days.facts_once if partition == requested[-1] else {}),
                "rows_landed": load.rows.get(partition or yesterday, 0),
            },
            partition_key=partition_key(partition),
        )


@contextmanager
def _classified_errors(name: str) -> Generator[None]:
    """Make an error of the source one redacted line, and have Dagster run the step again if that may help.

    The source may fail when it is called, before anything lands.
    """
    from mds_assets.stack.landing.errors import landing_error

    try:
        yield
    except (Failure, RetryRequested):
        raise
    except SkippedError as skipped:
        raise SkippedError(redact(str(skipped))) from None
    except Exception as error:
        reason = landing_error(error, name)
        if not hasattr(reason, "retryable"):
            raise
        failure = Failure(redact(str(reason)), allow_retries=False)
        if getattr(reason, "retryable", False):
            raise RetryRequested(max_retries=_RETRIES, seconds_to_wait=_RETRY_SECONDS) from failure
        raise failure from None


def _readable(session: Session, read_set: Mapping[Partition, Files]) -> dict[Partition, list[UPath]]:
    """The files that can be read. The check `is_complete` names the others."""
    left_out = session.unreadable(read_set)
    return {partition: [file for file in files if file not in left_out] for partition, files in read_set.items()}


def _scopes(files: Iterable[UPath]) -> list[frozenset[str]]:
    """The scope of each of a day's files that landed it; empty for files written before scopes were recorded."""
    landed = [file for file in files if is_landed([file.name])]
    return [scope_of(file) for file in landed]


def _summary(rows: Mapping[date, int], early: int, requests: int) -> str:
    landed = f"{sum(rows.values()):,} rows"
    return f"{landed}{f', {early:,} early' if early else ''}{f' in {requests:,} requests' if requests else ''}"
