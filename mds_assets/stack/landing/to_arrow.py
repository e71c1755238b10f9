"""Rows of any source as Arrow tables: declared columns in their declared types, all others in inferred types.

Rows reach dlt as Arrow, not as dicts. Between its steps, dlt serializes dicts to JSON, which turns NaN into null, takes
text that begins with U+F026 to U+F02D for a marker, and rejects integers beyond 64 bits. Its own type inference comes
after that, so undeclared fields cannot use it. It passes Arrow tables on unchanged.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NoReturn

import pyarrow as pa
from dlt.common.normalizers.naming.snake_case import NamingConvention

from mds_assets.stack.landing import casts
from mds_assets.stack.landing.errors import LandingError
from mds_assets.stack.table import DAY, Table

LOAD_ID = "_dlt_load_id"

_SAMPLE = 80  # characters of a value that an error quotes


class ToArrow:
    """Converts one table's rows to Arrow, and maps each field to its column.

    A declared field keeps its name. Any other gets dlt's snake-case name, with a suffix if that name is taken, is `day`
    (the partition), or is one of dlt's own. If its values have several types, each further type gets a column of its
    own, `x__v_text`.

    A value that does not fit its declared type raises a LandingError, which quotes it only with `quote_values`.
    """

    def __init__(self, name: str, table: Table, *, quote_values: bool) -> None:
        """Start with the declared columns. `name` is the table's name in errors."""
        self.name, self.quote_values = name, quote_values
        self.declared = {column.name: column.type for column in table.columns if column.name != LOAD_ID}
        self.schema = {field.name: field.type for field in table.arrow_schema() if field.name != LOAD_ID}
        self._names: dict[Any, str] = {}  # by field
        self._fields: dict[str, Any] = {}  # by name
        self._columns = {(name, type_): name for name, type_ in self.schema.items()}  # by name and type
        self._taken = set(map(str.casefold, self.declared))  # DuckDB's column names are case-insensitive
        self._snake_case = NamingConvention().normalize_identifier

    def from_rows(self, rows: Sequence[Mapping[Any, Any]]) -> pa.Table:
        """Dicts as one Arrow table."""
        fields = dict.fromkeys(field for row in rows for field in row)
        return self._table([(field, [row.get(field) for row in rows]) for field in fields], len(rows))

    def from_arrow(self, batch: pa.RecordBatch) -> pa.Table:
        """An Arrow batch with its columns renamed and, where declared, cast."""
        names = batch.schema.names
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise LandingError(f"{self.name}: the source sent an Arrow table with two columns named {twice[0]}.")
        return self._table(list(zip(names, batch.columns, strict=True)), batch.num_rows)

    def _table(self, fields: Sequence[tuple[Any, Sequence[Any] | pa.Array]], rows: int) -> pa.Table:
        """All columns so far, in a fixed order, so that dlt only starts another file when a new column appears."""
        self._name_fields(field for field, _ in fields)
        arrays = {column: array for field, values in fields for column, array in self._land(field, values)}
        columns = [arrays[name] if name in arrays else pa.nulls(rows, type_) for name, type_ in self.schema.items()]
        return pa.Table.from_arrays(columns, schema=pa.schema(list(self.schema.items())))

    def _name_fields(self, fields: Iterable[Any]) -> None:
        """Name each new field; those named like a declared column go first."""
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
        """A field's values by column. An undeclared field's first type uses the field's own name."""
        name = self._names[field]
        try:
            arrays = self._fit(name, values)
        except casts.REFUSALS:
            self._refuse(name, values)
        for array in arrays:
            if (name, array.type) not in self._columns:
                column = self._free(f"{name}__v_{casts.type_name(array.type)}") if name in self.schema else name
                self._columns[name, array.type] = column
                self.schema[column] = array.type
            yield self._columns[name, array.type], array

    def _fit(self, name: str, values: Sequence[Any] | pa.Array) -> list[pa.Array]:
        """The values in the declared type, or in their own if none is declared."""
        declared = self.declared.get(name)
        if not isinstance(values, pa.Array):
            return [casts.convert(values, declared)] if declared else casts.by_type(values)
        array = casts.storage(values)
        if pa.types.is_null(array.type):
            return []
        return [casts.cast(array, declared) if declared else array]

    def _refuse(self, name: str, values: Any) -> NoReturn:
        """Raise an error about the first value that does not fit."""
        for i, value in enumerate(values):
            one = values[i : i + 1]
            try:
                self._fit(name, one)
            except casts.REFUSALS:
                is_arrow = isinstance(values, pa.Array)
                sent = casts.type_name(values.type if is_arrow else casts.type_of(value))
                if is_arrow and not casts.has_python_times(one):
                    sent += " beyond microseconds or the years 1 to 9999"
                if self.quote_values:
                    sent = f"{repr(value)[:_SAMPLE]} ({sent})"
                raise LandingError(
                    f"{self.name}.{name} is declared {self.declared.get(name, 'nowhere')}, but the source sent {sent}: "
                    "convert it in the source, or change the declaration."
                ) from None
        raise AssertionError(name)
