"""Whether a table's files are as declared: columns and types, nulls, keys, rules.

The IO manager audits what it wrote before it publishes it, and the check `is_valid` reports the verdicts. Messages give
counts and the keys of up to five rows, never other values: data may be private. For the same reason, private columns
of a key are only shown where previews are on.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
from upath import UPath

from mds_assets.stack.io_managers.duckdb import read, select
from mds_assets.stack.lake.footers import UNREADABLE, AnyPath, footer
from mds_assets.stack.lake.layout import Partition
from mds_assets.stack.session import Session
from mds_assets.stack.table import DAY, Table, quote
from mds_assets.stack.text import count

MAX_KEYS = 5

SCHEMA, NOT_NULL, UNIQUE_KEY, ACCEPTED_VALUES = "schema", "not_null", "unique_key", "accepted_values"


@dataclass(frozen=True)
class Verdict:
    """What is wrong with a partition of a table.

    Attributes:
        messages: One per violation, by kind.
        rows: How many rows violate anything but the key; a row counts once per rule.
        keys: How many keys come more than once.
    """

    messages: Sequence[tuple[str, str]] = ()
    rows: int = 0
    keys: int = 0

    @property
    def passed(self) -> bool:
        """Whether nothing is wrong."""
        return not self.messages

    @property
    def is_only_key(self) -> bool:
        """Whether the only violation is a key that comes more than once."""
        return {kind for kind, _ in self.messages} == {UNIQUE_KEY}

    @property
    def description(self) -> str:
        """All violations as one line."""
        return "; ".join(f"{kind}: {message}" for kind, message in self.messages)


@dataclass
class _Partition:
    """A partition as it is audited."""

    files: Sequence[AnyPath]
    footers: list[pq.FileMetaData] = field(default_factory=list[pq.FileMetaData])
    messages: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])
    rows: int = 0
    keys: int = 0


def audit(
    session: Session, table: Table, files: Mapping[Partition, Sequence[AnyPath]], *, may_have_more: bool = False
) -> dict[Partition, Verdict]:
    """Compare files with their table's declaration.

    Args:
        session: The run's.
        table: The declaration.
        files: The files of each partition, in folders named after it.
        may_have_more: Whether columns that are not declared are allowed, as in raw.

    Returns:
        A verdict for each partition.
    """
    partitions = {partition: _Partition(of_partition) for partition, of_partition in files.items()}
    for each in partitions.values():
        for file in each.files:
            name = f"{file.parent.name}/{file.name}"
            try:
                each.footers.append(footer(file))
            except UNREADABLE as error:
                each.messages.append((SCHEMA, f"{name} cannot be read: {_first_line(error)}"))
            else:
                wrong = _schema(name, each.footers[-1].schema.to_arrow_schema(), table, may_have_more)
                each.messages += [(SCHEMA, message) for message in wrong]
    # A file that cannot be read, or has other types, would fail the queries for all.
    readable = {partition: each for partition, each in partitions.items() if not each.messages}
    try:
        _audit_rows(session, table, readable)
    except (duckdb.Error, pa.ArrowInvalid, OSError) as error:
        if len(readable) > 1:
            return {
                partition: audit(session, table, {partition: each}, may_have_more=may_have_more)[partition]
                for partition, each in files.items()
            }
        for each in readable.values():
            each.messages.append((SCHEMA, f"a file cannot be read: {reason_of(error)}"))
    return {partition: Verdict(tuple(each.messages), each.rows, each.keys) for partition, each in partitions.items()}


def sample(session: Session, table: Table, rows: duckdb.DuckDBPyRelation) -> tuple[int, str]:
    """How many rows, and the first of them as text, without private columns unless previews are on."""
    number = len(rows)
    private = {column.name for column in table.columns if column.private}
    shown = [name for name in rows.columns if session.preview_rows or name not in private]
    # It runs the query again.
    columns = ", ".join(map(quote, shown))
    first = rows.project(columns).order("ALL").limit(MAX_KEYS).fetchall() if number and shown else []
    return number, "; ".join(", ".join(map("{}={}".format, shown, row)) for row in first)


def reason_of(error: Exception) -> str:
    """Why a file cannot be read. DuckDB's value errors quote the value, so only their type is shown."""
    return type(error).__name__ if isinstance(error, duckdb.DataError) else _first_line(error)


def _first_line(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), "") or type(error).__name__


def _schema(name: str, actual: pa.Schema, table: Table, may_have_more: bool) -> list[str]:
    """How a file's columns and types differ from the declared ones."""
    declared = table.arrow_schema()
    types = {field.name: _plain(field.type) for field in actual}
    wrong = [
        f"{name} has {field.name} as {types.get(field.name, 'no column')}, declared {field.type}"
        for field in declared
        if not _reads_as(types.get(field.name), field)
    ]
    extra = [column for column in actual.names if column not in declared.names]
    if extra and not may_have_more:
        wrong.append(f"{name} has undeclared columns {', '.join(extra)}")
    return wrong[:MAX_KEYS]


def _plain(actual: pa.DataType) -> pa.DataType:
    """The type as declarations name it: Polars writes large strings and lists, which are equivalent."""
    types = pa.types
    if types.is_large_string(actual) or types.is_string_view(actual):
        return pa.string()
    if types.is_large_binary(actual) or types.is_binary_view(actual):
        return pa.binary()
    return pa.list_(_plain(actual.value_type)) if types.is_large_list(actual) or types.is_list(actual) else actual


def _reads_as(actual: pa.DataType | None, declared: pa.Field) -> bool:
    """Whether a file's column reads as the declared one: the file may predate the column, or its widening."""
    if actual is None:
        return declared.nullable
    widened = pa.types.is_int32(actual) and pa.types.is_int64(declared.type)
    return widened or actual == _plain(declared.type)


def _audit_rows(session: Session, table: Table, partitions: Mapping[Partition, _Partition]) -> None:
    """Add what is wrong with the rows: two queries for all partitions, and more only where something is."""
    files = [file for each in partitions.values() for file in each.files]
    if not files:
        return
    conditions = _conditions(table, [footer for each in partitions.values() for footer in each.footers])
    if not (_any_row_meets(session, table, files, conditions) or _any_key_twice(session, table, files)):
        return
    for partition, each in partitions.items():
        if len(partitions) > 1:
            _audit_rows(session, table, {partition: each})
        else:
            _explain(session, table, each, conditions)


def _conditions(table: Table, footers: Iterable[pq.FileMetaData]) -> dict[str, str]:
    """The conditions that no row may meet, with the kind of each."""
    nulls = [f"{quote(name)} IS NULL" for name in _may_be_null(footers, table)]
    not_json = [
        f"NOT {'json_valid({})' if one.type == 'JSON' else 'list_bool_and([json_valid(x) FOR x IN {}])'}".format(
            quote(one.name)
        )
        for one in table.columns
        if one.type in {"JSON", "JSON[]"}
    ]
    broken = [f"NOT ({rule})" for rule in table.row_rules]
    return dict.fromkeys(nulls, NOT_NULL) | dict.fromkeys([*not_json, *broken], ACCEPTED_VALUES)


def _rows(session: Session, table: Table, files: Sequence[AnyPath]) -> duckdb.DuckDBPyRelation:
    # JSON as text: reading it as JSON fails on the first invalid value.
    columns = tuple(replace(column, type=column.type.replace("JSON", "VARCHAR")) for column in table.columns)
    return read(
        session.connection, map(UPath, files), replace(table, columns=columns), partitioned=_is_partitioned(files)
    )


def _is_partitioned(files: Sequence[AnyPath]) -> bool:
    return files[0].parent.name.startswith(f"{DAY}=")


def _any_row_meets(session: Session, table: Table, files: Sequence[AnyPath], conditions: Iterable[str]) -> bool:
    counts = ", ".join(f"count(*) FILTER ({condition})" for condition in conditions)
    return bool(counts) and any(_rows(session, table, files).aggregate(counts).fetchall()[0])


def _any_key_twice(session: Session, table: Table, files: Sequence[AnyPath]) -> bool:
    if not table.key:
        return False
    # Counting hashes takes half the time; `_explain` weeds out hash collisions.
    query = f"SELECT count(*) > count(DISTINCT hash({_key(table, files)})) FROM rows"  # noqa: S608  # declared names
    return bool(select(_rows(session, table, files), "rows", query).fetchall()[0][0])


def _key(table: Table, files: Sequence[AnyPath]) -> str:
    """The columns that identify a row among these files, as SQL."""
    return ", ".join(map(quote, [*([DAY] if _is_partitioned(files) else []), *table.key]))


def _explain(session: Session, table: Table, partition: _Partition, conditions: Mapping[str, str]) -> None:
    """Add what is wrong with the rows of one partition."""
    key = _key(table, partition.files)
    for condition, kind in conditions.items():
        met = _rows(session, table, partition.files).filter(condition)
        number, first = sample(session, table, met.select(key)) if key else (len(met), "")
        if number:
            partition.rows += number
            partition.messages.append((kind, f"{count(number, 'row')} with {condition}{f': {first}' if first else ''}"))
    if table.key:
        twice = f"SELECT {key} FROM rows GROUP BY ALL HAVING count(*) > 1"  # noqa: S608  # declared names
        number, first = sample(session, table, select(_rows(session, table, partition.files), "rows", twice))
        if number:
            partition.keys = number
            come = "comes" if number == 1 else "come"
            partition.messages.append((UNIQUE_KEY, f"{count(number, 'key')} ({key}) {come} more than once: {first}"))


def _may_be_null(footers: Iterable[pq.FileMetaData], table: Table) -> list[str]:
    """The columns declared not null that the footers do not prove free of nulls.

    A list column always needs a check, because its statistics count elements.
    """
    required = [column.name for column in table.columns if not column.nullable]
    never = set(required)
    for metadata in footers:
        row_groups = [metadata.row_group(number) for number in range(metadata.num_row_groups)]
        # An empty row group has no statistics.
        chunks = [group.column(number) for group in row_groups if group.num_rows for number in range(group.num_columns)]
        if chunks:
            uncertain = {c.path_in_schema for c in chunks if not c.statistics or c.statistics.null_count != 0}
            never &= {chunk.path_in_schema for chunk in chunks} - uncertain
    return [name for name in required if name not in never]
