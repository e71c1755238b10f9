"""Rows of any source as Arrow tables: declared columns in their declared types, all others in types of their own.

Rows reach dlt as Arrow, not as dicts. Between its steps dlt writes dicts as JSON, which turns NaN into null, takes text
that begins with U+F026 to U+F02D for a marker, and refuses integers beyond 64 bits; only then does it infer types, so
that cannot serve undeclared fields either. Arrow tables it passes on as they are.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, NoReturn

import pyarrow as pa
from dlt.common.normalizers.naming.snake_case import NamingConvention

from mds_assets.stack.landing.casts import (
    REFUSALS,
    by_type,
    cast,
    convert,
    has_python_years,
    plain_value,
    storage,
    type_name,
)
from mds_assets.stack.landing.errors import LandingError
from mds_assets.stack.table import DAY, Table

LOAD_ID = "_dlt_load_id"

_SAMPLE = 80  # characters of a value that an error quotes


class ToArrow:
    """Turns one table's rows into Arrow, and knows which field lands in which column.

    A declared field keeps its name. Any other gets the name that dlt would give it in snake case, with a suffix if that
    is taken, or if it is `day` (the partition) or one of dlt's own; where its values have several types, each further
    type has a column of its own, `x__v_text`.
    """

    def __init__(self, name: str, table: Table, *, quote_values: bool) -> None:
        """Start with the declared columns.

        Args:
            name: What errors call the table: `raw/orders`.
            table: Its declaration.
            quote_values: Whether errors may quote a value.
        """
        self.name = name
        self.quote_values = quote_values
        self.declared = {column.name: column.type for column in table.columns if column.name != LOAD_ID}
        self.schema: dict[str, pa.DataType] = {
            field.name: field.type for field in table.arrow_schema() if field.name != LOAD_ID
        }
        self._names: dict[Any, str] = {}  # by field
        self._fields: dict[str, Any] = {}  # by name
        self._columns = {(name, type_): name for name, type_ in self.schema.items()}  # by name and type
        self._taken = {name.casefold() for name in self.declared}  # DuckDB's names of columns ignore case
        self._snake_case = NamingConvention().normalize_identifier

    def empty(self) -> pa.Table:
        """No rows, with the declared columns."""
        return self._table([], 0)

    def from_rows(self, rows: Sequence[Mapping[Any, Any]]) -> pa.Table:
        """Dicts as one Arrow table.

        Raises:
            LandingError: A value does not fit its declared type.
        """
        fields = dict.fromkeys(field for row in rows for field in row)
        return self._table([(field, [row.get(field) for row in rows]) for field in fields], len(rows))

    def from_arrow(self, batch: pa.RecordBatch) -> pa.Table:
        """An Arrow batch with its columns renamed and, where declared, cast.

        Raises:
            LandingError: A value does not fit its declared type, or two columns have one name.
        """
        names = batch.schema.names
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise LandingError(f"{self.name}: the source sent an Arrow table with two columns named {twice[0]}.")
        return self._table(list(zip(names, batch.columns, strict=True)), batch.num_rows)

    def _table(self, fields: Sequence[tuple[Any, Sequence[Any] | pa.Array]], rows: int) -> pa.Table:
        """All columns so far, in one order, so that dlt begins another file only where a column turns up late."""
        self._name_fields(field for field, _ in fields)
        arrays = {column: array for field, values in fields for column, array in self._land(field, values)}
        columns = [arrays[name] if name in arrays else pa.nulls(rows, type_) for name, type_ in self.schema.items()]
        return pa.Table.from_arrays(columns, schema=pa.schema(list(self.schema.items())))

    def _name_fields(self, fields: Iterable[Any]) -> None:
        """Name each new field; those that are called like a declared column first."""
        new = [field for field in fields if field not in self._names]
        for field in sorted(new, key=lambda field: field not in self.declared):
            name = field if field in self.declared else self._snake_case(str(field).strip() or "_")
            if name == DAY or name.startswith("_dlt_"):
                name += "_"
            if field in self.declared and (other := self._fields.get(name)):
                raise LandingError(
                    f"{self.name}.{name} is declared once, but the source sent both {other!r} and {field!r}: "
                    "rename one of them in the source."
                )
            if name not in self.declared or name in self._fields:
                name = self._free(name)
            self._names[field] = name
            self._fields[name] = field

    def _free(self, name: str) -> str:
        number, free = 1, name
        while free.casefold() in self._taken:
            number += 1
            free = f"{name}_{number}"
        self._taken.add(free.casefold())
        return free

    def _land(self, field: Any, values: Sequence[Any] | pa.Array) -> Iterator[tuple[str, pa.Array]]:
        """A field's values by column. An undeclared field's first type has the field's own name."""
        name = self._names[field]
        try:
            arrays = self._fit(name, values)
        except REFUSALS:
            self._refuse(name, values)
        for array in arrays:
            if (name, array.type) not in self._columns:
                column = self._free(f"{name}__v_{type_name(array.type)}") if name in self.schema else name
                self._columns[name, array.type] = column
                self.schema[column] = array.type
            yield self._columns[name, array.type], array

    def _fit(self, name: str, values: Sequence[Any] | pa.Array) -> list[pa.Array]:
        """The values in the declared type, or else in their own."""
        declared = self.declared.get(name)
        if not isinstance(values, pa.Array):
            return [convert(values, declared)] if declared else list(by_type(values))
        array = storage(values)
        if pa.types.is_null(array.type):
            return []
        return [cast(array, declared) if declared else array]

    def _refuse(self, name: str, values: Sequence[Any] | pa.Array) -> NoReturn:
        """Name the first value that does not fit."""
        for i in range(len(values)):
            try:
                self._fit(name, values[i : i + 1])
            except REFUSALS:
                type_, kind = self.declared.get(name), _kind(values[i : i + 1])
                sent = f"{repr(values[i])[:_SAMPLE]} ({kind})" if self.quote_values else kind
                raise LandingError(
                    f"{self.name}.{name} is {f'declared {type_}' if type_ else 'not declared'}, but the source sent "
                    f"{sent}: convert it in the source, or change the declaration."
                ) from None
        raise AssertionError(name)


def _kind(values: Sequence[Any] | pa.Array) -> str:
    """What a refused value is."""
    if isinstance(values, pa.Array):
        kind, in_range = type_name(values.type), has_python_years(values)
    else:
        try:
            plain, type_ = plain_value(values[0])
        except REFUSALS:
            return type(values[0]).__name__
        kind, in_range = type_name(type_), not isinstance(values[0], datetime) or isinstance(plain, datetime)
    return kind if in_range else f"{kind} beyond the years 1 to 9999"
