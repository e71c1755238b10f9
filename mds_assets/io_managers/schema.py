"""What a table's declaration means to each engine.

A table declares its columns once, as Dagster's own `TableSchema` with DuckDB's type names, in its asset's metadata.
This module turns that declaration into Arrow's, DuckDB's and Polars' terms. What does not belong here: the
declarations themselves; they stand beside their assets.

Every table of the lake also has a `day` DATE column that no declaration names: it is the Hive partition in the path.
"""

from collections.abc import Mapping
from typing import Any

import pyarrow as pa
from dagster import TableColumn, TableColumnConstraints, TableSchema

COLUMN_SCHEMA = "dagster/column_schema"
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


class SchemaError(ValueError):
    """A table is not what its asset declares. The message names the table, the column and the way out."""


def column(name: str, type: str, description: str, *, nullable: bool = False) -> TableColumn:
    """Declare one column.

    Args:
        name: The column's name.
        type: A DuckDB type name: one of BIGINT, BOOLEAN, DATE, DOUBLE, INTEGER, TIMESTAMPTZ, VARCHAR, VARCHAR[].
        description: What it holds: unit, time zone, null rule.
        nullable: Whether a value may be null.

    Raises:
        SchemaError: `type` is not one of them.
    """
    if type not in _ARROW_TYPES:
        raise SchemaError(f"column {name!r} declares type {type!r}; known types are {', '.join(sorted(_ARROW_TYPES))}")
    return TableColumn(name, type, description, TableColumnConstraints(nullable=nullable))


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
