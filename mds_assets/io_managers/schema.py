"""What a table's declaration means to each engine.

A table declares its columns once, as Dagster's own `TableSchema` with DuckDB's type names, in its asset's metadata.
This module turns that declaration into Arrow's, DuckDB's and Polars' terms. What does not belong here: the
declarations themselves; they stand beside their assets.

Every table of the lake also has a `day` DATE column that no declaration names: it is the Hive partition in the path.
"""

from collections.abc import Iterable, Mapping, Sequence
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

COLUMN_SCHEMA = "dagster/column_schema"
COLUMN_LINEAGE = "dagster/column_lineage"
DAY = "day"

_ARROW_TYPES: dict[str, pa.DataType] = {
    "BIGINT": pa.int64(),
    "BOOLEAN": pa.bool_(),
    "DATE": pa.date32(),
    "DOUBLE": pa.float64(),
    "INTEGER": pa.int32(),
    "TIMESTAMPTZ": pa.timestamp("us", tz="UTC"),
    "VARCHAR": pa.string(),
    "VARCHAR[]": pa.list_(pa.string()),
}


_UNIQUE = "UNIQUE ("


class SchemaError(ValueError):
    """A table is not what its asset declares. The message names the table, the column and the way out."""


def column(name: str, type: str, description: str, *, nullable: bool = False, check: str | None = None) -> TableColumn:
    """Declare one column.

    Args:
        name: The column's name.
        type: A DuckDB type name: one of BIGINT, BOOLEAN, DATE, DOUBLE, INTEGER, TIMESTAMPTZ, VARCHAR, VARCHAR[].
        description: What it holds: unit, time zone, null rule.
        nullable: Whether a value may be null.
        check: What holds for every value that is not null, as DuckDB SQL: `stars >= 0`.

    Raises:
        SchemaError: `type` is not one of them.
    """
    if type not in _ARROW_TYPES:
        raise SchemaError(f"column {name!r} declares type {type!r}; known types are {', '.join(sorted(_ARROW_TYPES))}")
    return TableColumn(
        name, type, description, TableColumnConstraints(nullable=nullable, other=[check] if check else [])
    )


def table_schema(columns: Sequence[TableColumn], *, key: Sequence[str], checks: Sequence[str] = ()) -> TableSchema:
    """Declare a table.

    Args:
        columns: Its columns, without `day`.
        key: The columns that tell the rows of one day apart.
        checks: What holds for every row, as DuckDB SQL over the columns and `day`.
    """
    return TableSchema(list(columns), TableConstraints([f"{_UNIQUE}{', '.join(key)})", *checks]))


def key_of(schema: TableSchema) -> list[str]:
    """The columns that tell the rows of one day apart; none when the declaration names none."""
    unique = [rule for rule in schema.constraints.other if rule.startswith(_UNIQUE)]
    return unique[0].removeprefix(_UNIQUE).removesuffix(")").split(", ") if unique else []


def rules_of(schema: TableSchema) -> list[str]:
    """What holds for every row, as SQL: the rules of the columns, then those of the table.

    A DOUBLE is never NaN: for DuckDB that is larger than any number, so that no other rule would refuse it.
    """
    of_columns = [rule for column in schema.columns for rule in column.constraints.other]
    of_columns += [f"NOT isnan({column.name})" for column in schema.columns if column.type == "DOUBLE"]
    return of_columns + [rule for rule in schema.constraints.other if not rule.startswith(_UNIQUE)]


def lineage(source: str, columns: Mapping[str, Iterable[str]]) -> TableColumnLineage:
    """Which columns of the table `source` each column is made from."""
    upstream = AssetKey(source.split("/"))
    return TableColumnLineage(
        {name: [TableColumnDep(upstream, column) for column in origins] for name, origins in columns.items()}
    )


def declared_schema(table: str, metadata: Mapping[str, Any] | None) -> TableSchema:
    """The declaration of `table` in its asset's definition metadata.

    Raises:
        SchemaError: The asset declares none.
    """
    declared = (metadata or {}).get(COLUMN_SCHEMA)
    declared = getattr(declared, "schema", declared)  # Dagster wraps it into a MetadataValue in some contexts
    if not isinstance(declared, TableSchema):
        raise SchemaError(f"{table} declares no columns: give its asset metadata[{COLUMN_SCHEMA!r}], a TableSchema")
    return declared


def arrow_schema(schema: TableSchema, *, with_day: bool) -> pa.Schema:
    """The declaration as an Arrow schema; `with_day` adds the partition column that files do not repeat."""
    fields = [pa.field(c.name, _ARROW_TYPES[c.type], nullable=c.constraints.nullable) for c in schema.columns]
    if with_day:
        fields.append(pa.field(DAY, pa.date32(), nullable=False))
    return pa.schema(fields)


def check_fits(table: str, produced: pa.Schema, schema: TableSchema) -> None:
    """Refuse a table whose columns are not the declared ones, or whose types would need more than a safe cast.

    A safe cast keeps every value: between integers (its range is checked value by value when written), from an integer
    or a float to a float, from DuckDB's decimal sums to an integer, from all-null. A string is never parsed, a float
    never cut, a timestamp without time zone never guessed to be UTC.

    Raises:
        SchemaError: Names the table, the columns and what to do.
    """
    declared = arrow_schema(schema, with_day=True)
    missing = [name for name in declared.names if name not in produced.names]
    extra = [name for name in produced.names if name not in declared.names]
    if missing or extra or len(produced.names) != len(set(produced.names)):
        raise SchemaError(
            f"{table} does not have its declared columns: missing {missing}, undeclared {extra}. "
            "Return exactly the declared columns and `day`, or change the declaration."
        )
    for field in declared:
        actual = produced.field(field.name).type
        if not _casts_safely(actual, field.type):
            raise SchemaError(
                f"{table}.{field.name} is {actual}, declared {field.type}: cast it where it is made, "
                "or change the declaration."
            )


def _casts_safely(actual: pa.DataType, declared: pa.DataType) -> bool:
    types = pa.types
    if actual.equals(declared) or types.is_null(actual):
        return True
    if types.is_dictionary(actual):
        return _casts_safely(actual.value_type, declared)
    if types.is_string(declared):
        return types.is_large_string(actual) or types.is_string_view(actual)
    if types.is_integer(declared):
        return types.is_integer(actual) or (types.is_decimal(actual) and actual.scale == 0)
    if types.is_floating(declared):
        return types.is_floating(actual) or types.is_integer(actual) or types.is_decimal(actual)
    if types.is_timestamp(declared):
        return types.is_timestamp(actual) and actual.tz is not None
    if types.is_list(declared):
        return (types.is_list(actual) or types.is_large_list(actual)) and _casts_safely(
            actual.value_type, declared.value_type
        )
    return False
