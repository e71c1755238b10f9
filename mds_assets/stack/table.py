"""A table's declaration, and its translation for each engine.

A table is declared once, beside its asset: its columns, its key, its rules. Dagster's schema and lineage, the types of
Arrow, DuckDB and Polars, the checks, the warehouse and the data dictionary are all generated from that.

A table with daily partitions also has a `day` DATE column that no declaration names: it is the Hive partition in the
path.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from hashlib import sha256
from typing import Any

import pyarrow as pa
from dagster import (
    AssetKey,
    TableColumn,
    TableColumnConstraints,
    TableColumnDep,
    TableColumnLineage,
    TableConstraints,
    TableSchema,
)

# Dagster's own wrapper for in-process objects; it is not exported.
from dagster._core.definitions.metadata.metadata_value import ObjectMetadataValue

COLUMN_SCHEMA = "dagster/column_schema"
COLUMN_LINEAGE = "dagster/column_lineage"
TABLE = "mds/table"  # the metadata that holds an asset's `Table`
DAY = "day"

_ARROW_TYPES: dict[str, pa.DataType] = {
    "BIGINT": pa.int64(),
    "BLOB": pa.binary(),
    "BOOLEAN": pa.bool_(),
    "DATE": pa.date32(),
    "DOUBLE": pa.float64(),
    "INTEGER": pa.int32(),
    "JSON": pa.string(),
    "TIMESTAMP": pa.timestamp("us"),
    "TIMESTAMPTZ": pa.timestamp("us", tz="UTC"),
    "VARCHAR": pa.string(),
}
_DECIMAL = re.compile(r"DECIMAL\((\d+), ?(\d+)\)")
_MAX_DIGITS = 38


class SchemaError(ValueError):
    """A table does not match its declaration. The message gives the table, the column and how to fix it."""


@dataclass(frozen=True)
class Column:
    """One column.

    Attributes:
        name: The column's name.
        type: A DuckDB type name: BIGINT, BLOB, BOOLEAN, DATE, DECIMAL(p,s), DOUBLE, INTEGER, JSON, TIMESTAMP,
            TIMESTAMPTZ, VARCHAR, or a list of one of these, such as VARCHAR[].
        description: The meaning of its values: unit, time zone, null rule.
        nullable: Whether a value may be null.
        rule: What holds for every value that is not null, as DuckDB SQL: `stars >= 0`.
        private: Whether it names what only a secret can see: terminals show it only if previews are allowed, or in
            rows that the table declares public.
    """

    name: str
    type: str
    description: str
    nullable: bool = False
    rule: str | None = None
    private: bool = False

    def __post_init__(self) -> None:
        """Reject a type that the engines do not share.

        Raises:
            SchemaError: `type` is not one of them.
        """
        try:
            arrow_type(self.type)
        except SchemaError as error:
            raise SchemaError(f"column {self.name!r} declares {error}") from None


def column(
    name: str, type: str, description: str, *, nullable: bool = False, rule: str | None = None, private: bool = False
) -> Column:
    """Declare one column; see `Column`.

    Raises:
        SchemaError: `type` is not one that the engines share.
    """
    return Column(name, type, description, nullable, rule, private)


@dataclass(frozen=True)
class Reconciliation:
    """Two queries that must return the same rows: one over the table, one over an upstream table.

    Attributes:
        source: The upstream table, such as `staging/orders`.
        rows: A SELECT over `rows`, the table's own rows of the checked days.
        expected: A SELECT over the source. For a table that reads the source day by day, select from `source`. For a
            mart, select from `in_window` (the rows of each as-of day's window; `day` is the as-of day, `seen_on` the
            row's own day, `first_day` the window's first day) or from `latest` (the newest of those rows per key).
    """

    source: str
    rows: str
    expected: str


@dataclass(frozen=True)
class Table:
    """A table's declaration.

    Attributes:
        columns: Its columns. `day` is not among them, unless the table has no partitions.
        key: The columns that identify a row within a day.
        rules: Conditions that every row satisfies, as DuckDB SQL over the columns and `day`.
        lineage: For each column, the columns it is derived from, as `layer/table.column`.
        reconciles: The numbers that must agree with an upstream table.
        rejects: A condition for rows of the upstream table to leave out, as SQL over its columns.
        public: A condition for rows that anyone may see, as SQL over the columns: `visibility = 'public'`. Previews and
            terminals show them even if a source was given a secret.
    """

    columns: tuple[Column, ...]
    key: tuple[str, ...] = ()
    rules: tuple[str, ...] = ()
    lineage: Mapping[str, Sequence[str]] = field(default_factory=dict[str, Sequence[str]])
    reconciles: Reconciliation | None = None
    rejects: str | None = None
    public: str | None = None

    def __post_init__(self) -> None:
        """Reject a declaration that contradicts itself.

        Raises:
            SchemaError: Two columns share a name, or the key or the lineage names a column that is not declared.
        """
        names = [column.name for column in self.columns]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise SchemaError(f"columns {twice} are declared more than once")
        if unknown := [name for name in (*self.key, *self.lineage) if name not in names]:
            raise SchemaError(f"key or lineage names {unknown}, which {names} does not declare")

    @property
    def names(self) -> list[str]:
        """The columns' names."""
        return [column.name for column in self.columns]

    @property
    def row_rules(self) -> list[str]:
        """The conditions that every row satisfies, as SQL: the rules of the columns, then those of the table.

        A DOUBLE is never NaN. DuckDB sorts NaN above every number, so other rules might let it through.
        """
        of_columns = [column.rule for column in self.columns if column.rule]
        no_nan = [f"NOT isnan({quote(column.name)})" for column in self.columns if column.type == "DOUBLE"]
        return [*of_columns, *no_nan, *self.rules]

    @cached_property
    def dagster_schema(self) -> TableSchema:
        """The declaration as a schema for Dagster's UI."""
        columns = [
            TableColumn(
                column.name,
                column.type,
                column.description,
                TableColumnConstraints(nullable=column.nullable, other=[column.rule] if column.rule else []),
            )
            for column in self.columns
        ]
        key = [f"UNIQUE ({', '.join(self.key)})"] if self.key else []
        return TableSchema(columns, TableConstraints([*key, *self.rules]))

    @cached_property
    def dagster_lineage(self) -> TableColumnLineage | None:
        """The columns that each column is derived from, for Dagster's UI; None if no lineage is declared."""

        def dependency(origin: str) -> TableColumnDep:
            table, _, name = origin.rpartition(".")
            return TableColumnDep(AssetKey(table.split("/")), name)

        deps = {name: [dependency(origin) for origin in origins] for name, origins in self.lineage.items()}
        return TableColumnLineage(deps) if deps else None

    @cached_property
    def version(self) -> str:
        """Changes with whatever decides about rows: names, types, nulls, rules, the key, what is rejected."""
        columns = [(each.name, each.type, each.nullable, each.rule) for each in self.columns]
        return sha256(repr((columns, self.key, self.rules, self.rejects)).encode()).hexdigest()[:12]

    @property
    def metadata(self) -> dict[str, Any]:
        """The metadata of the table's asset: `@asset(metadata=ORDERS.metadata)`."""
        lineage = self.dagster_lineage
        return {
            TABLE: ObjectMetadataValue(self),
            COLUMN_SCHEMA: self.dagster_schema,
            **({COLUMN_LINEAGE: lineage} if lineage else {}),
        }

    def with_day(self) -> "Table":
        """The declaration plus the column `day`, as a partitioned table is read."""
        return replace(self, columns=(*self.columns, Column(DAY, "DATE", "The partition: a day in UTC.")))

    def arrow_schema(self) -> pa.Schema:
        """The declared columns as an Arrow schema."""
        return pa.schema([pa.field(c.name, arrow_type(c.type), nullable=c.nullable) for c in self.columns])


def table(
    columns: Iterable[Column],
    *,
    key: Sequence[str] = (),
    rules: Sequence[str] = (),
    lineage: Mapping[str, str | Sequence[str]] | None = None,
    reconciles: Reconciliation | None = None,
    public: str | None = None,
) -> Table:
    """Declare a table; see `Table`. A single origin in `lineage` needs no list: `{"revenue": "staging/orders.total"}`.

    Raises:
        SchemaError: The declaration contradicts itself.
    """
    origins = {
        name: (given,) if isinstance(given, str) else tuple(given) for name, given in dict(lineage or {}).items()
    }
    return Table(tuple(columns), tuple(key), tuple(rules), origins, reconciles, public=public)


def declared_table(name: str, metadata: Mapping[str, Any] | None) -> Table:
    """The declaration of the table `name` in its asset's definition metadata.

    Raises:
        SchemaError: The asset declares none.
    """
    declared = (metadata or {}).get(TABLE)
    if isinstance(declared, ObjectMetadataValue) and isinstance(declared.instance, Table):
        return declared.instance
    raise SchemaError(f"{name} declares no columns: give its asset metadata=Table(...).metadata")


def arrow_type(name: str) -> pa.DataType:
    """The Arrow type of a DuckDB type name; VARCHAR and JSON are both text.

    Raises:
        SchemaError: The engines do not share this type.
    """
    if name.endswith("[]"):
        return pa.list_(arrow_type(name.removesuffix("[]")))
    if decimal := _DECIMAL.fullmatch(name):
        precision, scale = int(decimal[1]), int(decimal[2])
        if 1 <= precision <= _MAX_DIGITS and scale <= precision:
            return pa.decimal128(precision, scale)
    if name not in _ARROW_TYPES:
        known = ", ".join(sorted([*_ARROW_TYPES, f"DECIMAL(p,s) of at most {_MAX_DIGITS} digits"]))
        raise SchemaError(f"type {name!r}; known types are {known}, and lists of these, such as VARCHAR[]")
    return _ARROW_TYPES[name]


def check_columns(name: str, produced: pa.Schema, table: Table) -> None:
    """Reject a table whose columns differ from those of `table`, or whose types need more than a safe cast.

    A safe cast keeps every value: between integers and between decimals (values are checked as they are written), from
    an integer or a float to a float, from DuckDB's decimal sums to an integer, from all-null. Strings are never parsed,
    floats and nanoseconds never truncated, and a timestamp without time zone is never assumed to be UTC.

    Raises:
        SchemaError: The message gives the table, the columns and how to fix it.
    """
    declared = table.arrow_schema()
    missing = [column for column in declared.names if column not in produced.names]
    extra = [column for column in produced.names if column not in declared.names]
    if missing or extra or len(produced.names) != len(set(produced.names)):
        day = " and `day`" if DAY in declared.names else ""
        raise SchemaError(
            f"{name} does not have its declared columns: missing {missing}, undeclared {extra}. "
            f"Return exactly the declared columns{day}, or change the declaration."
        )
    for wanted in declared:
        actual = produced.field(wanted.name).type
        if not _casts_safely(actual, wanted.type):
            raise SchemaError(
                f"{name}.{wanted.name} is {actual}, declared {wanted.type}: cast it where it is made, "
                "or change the declaration."
            )


def _casts_safely(actual: pa.DataType, declared: pa.DataType) -> bool:
    types = pa.types
    if actual.equals(declared) or types.is_null(actual):
        return True
    if types.is_dictionary(actual):
        return _casts_safely(actual.value_type, declared)
    if isinstance(actual, pa.JsonType):
        return _casts_safely(actual.storage_type, declared)
    if types.is_string(declared):
        return types.is_large_string(actual) or types.is_string_view(actual)
    if types.is_binary(declared):
        return types.is_large_binary(actual) or types.is_binary_view(actual)
    if types.is_integer(declared):
        return types.is_integer(actual) or (types.is_decimal(actual) and actual.scale == 0)
    if types.is_decimal(declared):
        return types.is_integer(actual) or (types.is_decimal(actual) and actual.scale <= declared.scale)
    if types.is_floating(declared):
        return types.is_floating(actual) or types.is_integer(actual) or types.is_decimal(actual)
    if types.is_timestamp(declared):
        return types.is_timestamp(actual) and actual.unit != "ns" and (actual.tz is None) == (declared.tz is None)
    if types.is_list(declared):
        return (types.is_list(actual) or types.is_large_list(actual)) and _casts_safely(
            actual.value_type, declared.value_type
        )
    return False


def quote(name: str) -> str:
    """The name as an identifier in SQL."""
    return '"' + name.replace('"', '""') + '"'


def literal(value: object) -> str:
    """The value as a string in SQL."""
    return "'" + str(value).replace("'", "''") + "'"
