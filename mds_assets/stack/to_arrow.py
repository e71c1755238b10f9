"""Rows of any source as Arrow tables: declared columns in their declared types, all others in types of their own.

Rows reach dlt as Arrow, not as dicts. Between its steps dlt writes dicts as JSON, which turns NaN into null, takes text
that begins with U+F026 to U+F02D for a marker, and refuses integers beyond 64 bits; Arrow tables it passes on as they
are.
"""

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, date, datetime, time
from decimal import Context, Decimal
from math import isfinite
from typing import Any, NoReturn

import pyarrow as pa
from dlt.common.normalizers.naming.snake_case import NamingConvention

from mds_assets.stack.landing_errors import LandingError
from mds_assets.stack.table import DAY, Table

LOAD_ID = "_dlt_load_id"

_INSTANT = pa.timestamp("us", tz="UTC")
_NUMBER = re.compile(r"\s*[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?\s*", re.ASCII)
_ISO = re.compile(r"\d{4}-\d\d-\d\d.*", re.ASCII)
_BEYOND_MICROSECONDS = re.compile(r"[.,]\d{6}0*[1-9]", re.ASCII)
_EXACT = Context(prec=100)
_SAMPLE = 80  # characters of a value that an error quotes

# dlt's names of types, in the names of variant columns and in errors.
_TYPE_NAMES = {
    pa.bool_(): "bool",
    pa.int64(): "bigint",
    pa.float64(): "double",
    pa.string(): "text",
    pa.timestamp("us"): "timestamp",
    _INSTANT: "timestamptz",
    pa.date32(): "date",
    pa.time64("us"): "time",
    pa.binary(): "binary",
}
_DECIMAL = pa.decimal128(38, 9)  # dlt's own for a decimal that nothing declares


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
        self.schema: dict[str, pa.DataType] = {}
        self.declared: dict[str, str] = {c.name: c.type for c in table.columns if c.name != LOAD_ID}
        self._arrow = {field.name: field.type for field in table.arrow_schema()}
        for column in self.declared:
            self.schema[column] = self._arrow[column]
        self._converters = {column: _converter(declared) for column, declared in self.declared.items()}
        self._quote_values = quote_values
        self._bases: dict[Any, str] = {}  # by field
        self._fields: dict[str, Any] = {}  # by base
        self._typed: dict[tuple[str, pa.DataType], str] = {}
        # DuckDB's names of columns ignore case.
        self._taken = {column.casefold() for column in self.declared} | {DAY, LOAD_ID, "_dlt_id"}
        self._snake_case = NamingConvention().normalize_identifier

    def empty(self) -> pa.Table:
        """No rows, with the declared columns."""
        return self._table({}, 0)

    def from_rows(self, rows: Sequence[Mapping[Any, Any]]) -> pa.Table:
        """Dicts as one Arrow table.

        Raises:
            LandingError: A value does not fit its declared type.
        """
        fields = dict.fromkeys(field for row in rows for field in row)
        self._name_fields(fields)
        arrays: dict[str, pa.Array] = {}
        for field in fields:
            base = self._bases[field]
            for column, values in self._columns(base, [row.get(field) for row in rows]).items():
                arrays[column] = self._array(column, values)
        return self._table(arrays, len(rows))

    def from_arrow(self, batch: pa.RecordBatch) -> pa.Table:
        """An Arrow batch with its columns renamed and, where declared, cast.

        Raises:
            LandingError: A value does not fit its declared type, or two columns have one name.
        """
        names = batch.schema.names
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise LandingError(f"{self.name}: the source sent an Arrow table with two columns named {twice[0]}.")
        self._name_fields(names)
        arrays: dict[str, pa.Array] = {}
        for field, sent in zip(names, batch.columns, strict=True):
            array = _storage(sent)
            column = self._bases[field]
            if pa.types.is_null(array.type):
                continue
            if column in self.declared:
                arrays[column] = self._cast(column, array)
            else:
                arrays[self._column(column, array.type)] = array
        return self._table(arrays, batch.num_rows)

    def _name_fields(self, fields: Iterable[Any]) -> None:
        """Give each new field its column; those that are called like a declared column first."""
        new = [field for field in fields if field not in self._bases]
        for field in sorted(new, key=lambda field: field not in self.declared):
            name = field if field in self.declared else self._snake_case(str(field).strip() or "_")
            if name == DAY or name.startswith("_dlt_"):
                name += "_"
            if name in self.declared and (other := self._fields.get(name)):
                if field == name:
                    raise LandingError(
                        f"{self.name}.{name} is declared once, but the source sent both {other!r} and {field!r}: "
                        "rename one of them in the source."
                    )
                name = self._free(name)
            elif name not in self.declared:
                name = self._free(name)
            self._bases[field] = name
            self._fields[name] = field
            self._taken.add(name.casefold())

    def _free(self, name: str) -> str:
        number, free = 1, name
        while free.casefold() in self._taken:
            number += 1
            free = f"{name}_{number}"
        return free

    def _columns(self, base: str, values: list[Any]) -> dict[str, list[Any]]:
        """A field's values by column: one that is declared has them all."""
        if base in self.declared:
            return {base: values}
        types = set(map(type, values))
        if types <= {str, type(None)}:
            return {self._column(base, pa.string()): values} if str in types else {}
        columns: dict[str, list[Any]] = {}
        for i, value in enumerate(values):
            if value is not None:
                plain, type_ = _plain(value)
                columns.setdefault(self._column(base, type_), [None] * len(values))[i] = plain
        return columns

    def _column(self, base: str, type_: pa.DataType) -> str:
        """The column of an undeclared field's values of this type: the first type has the field's own."""
        if (base, type_) not in self._typed:
            column = base
            if base in self.schema:
                column = self._free(f"{base}__v_{_type_name(type_)}")
                self._taken.add(column.casefold())
            self._typed[base, type_] = column
            self.schema[column] = type_
        return self._typed[base, type_]

    def _table(self, arrays: Mapping[str, pa.Array], rows: int) -> pa.Table:
        """All columns so far, in one order, so that dlt begins another file only where a column turns up late."""
        columns = [arrays[name] if name in arrays else pa.nulls(rows, type_) for name, type_ in self.schema.items()]
        return pa.Table.from_arrays(columns, schema=pa.schema(list(self.schema.items())))

    def _array(self, column: str, values: Sequence[Any]) -> pa.Array:
        """Python values as the column's type."""
        convert = self._converters.get(column, _unchanged)
        converted = values
        try:
            if convert is not _unchanged:
                converted = [None if value is None else convert(value) for value in values]
            return pa.array(converted, self.schema[column])
        except (ArithmeticError, TypeError, ValueError):
            pass
        for value in values:
            try:
                pa.array([None if value is None else convert(value)], self.schema[column])
            except (ArithmeticError, TypeError, ValueError):
                self._refuse(column, value, _type_name(_plain(value)[1]))
        raise AssertionError(column)

    def _cast(self, column: str, array: pa.Array) -> pa.Array:
        """An Arrow column as its declared type; value by value where Arrow's own cast might change one."""
        declared = self._arrow[column]
        if array.type == declared:
            return array if self.declared[column] != "JSON" else self._array(column, array.to_pylist())
        try:
            if _casts_exactly(array.type, declared):
                if pa.types.is_timestamp(declared) and array.type.tz:
                    array = array.cast(_INSTANT)
                return array.cast(declared)
            return self._array(column, array.to_pylist())
        except ValueError:
            # A range, or nanoseconds: as text, the converter finds the value that does not fit.
            return self._array(column, array.cast(pa.string()).to_pylist())

    def _refuse(self, column: str, value: Any, type_name: str) -> NoReturn:
        sent = f"{repr(value)[:_SAMPLE]} ({type_name})" if self._quote_values else type_name
        type_ = self.declared.get(column, type_name)
        raise LandingError(
            f"{self.name}.{column} is declared {type_}, but the source sent {sent}: "
            "convert it in the source, or change the declaration."
        )


def _storage(array: pa.Array) -> pa.Array:
    """The array in a type that dlt, Parquet and DuckDB share."""
    types = pa.types
    if isinstance(array.type, pa.BaseExtensionType):
        return _storage(array.storage)
    if types.is_dictionary(array.type):
        return _storage(array.dictionary_decode())
    if types.is_large_string(array.type) or types.is_string_view(array.type):
        return array.cast(pa.string())
    if types.is_large_binary(array.type) or types.is_binary_view(array.type) or types.is_fixed_size_binary(array.type):
        return array.cast(pa.binary())
    if types.is_duration(array.type) or types.is_interval(array.type) or types.is_decimal256(array.type):
        return pa.array([None if v is None else str(v) for v in array.to_pylist()], pa.string())
    return array


def _casts_exactly(actual: pa.DataType, declared: pa.DataType) -> bool:
    """Whether Arrow's safe cast keeps every value or raises."""
    types = pa.types
    if types.is_list(declared) and types.is_large_list(actual):
        return actual.value_type == declared.value_type
    return (
        (types.is_integer(declared) and types.is_integer(actual))
        or (types.is_floating(declared) and types.is_floating(actual))
        or (types.is_timestamp(declared) and types.is_timestamp(actual))
    )


def _plain(value: Any) -> tuple[Any, pa.DataType]:
    """A value of an undeclared field, and its type: nested ones are JSON text, numbers out of range text."""
    match value:
        case bool():
            return value, pa.bool_()
        case int():
            return (value, pa.int64()) if -(2**63) <= value < 2**63 else (str(value), pa.string())
        case float():
            return (value, pa.float64()) if isfinite(value) else (str(value), pa.string())
        case Decimal():
            fits = (
                value.is_finite() and abs(value) < 10**29 and value == value.quantize(Decimal("1e-9"), context=_EXACT)
            )
            return (value, _DECIMAL) if fits else (str(value), pa.string())
        case datetime():
            return (value, pa.timestamp("us")) if value.tzinfo is None else (value.astimezone(UTC), _INSTANT)
        case date():
            return value, pa.date32()
        case time():
            return value, pa.time64("us")
        case bytes() | bytearray() | memoryview():
            return bytes(value), pa.binary()
        case _:
            return _text(value), pa.string()


def _type_name(type_: pa.DataType) -> str:
    if pa.types.is_decimal(type_):
        return "decimal"
    return _TYPE_NAMES.get(type_) or re.sub(r"\W+", "_", str(type_)).strip("_")


def _converter(declared: str) -> Callable[[Any], Any]:
    """A function that gives a value in a declared type, or raises ValueError if the value would not be kept."""
    if declared.endswith("[]"):
        convert = _converter(declared.removesuffix("[]"))

        def items(value: Any) -> list[Any]:
            # Databases without lists keep them as JSON text.
            parsed = json.loads(value) if isinstance(value, str) else value
            if not isinstance(parsed, list | tuple):
                raise ValueError(value)
            return [None if item is None else convert(item) for item in parsed]

        return items
    if declared.startswith("DECIMAL"):
        scale = int(declared.rstrip(")").rpartition(",")[2])
        return lambda value: _decimal(value, scale)
    return _CONVERTERS[declared]


def _unchanged(value: Any) -> Any:
    return value


def _boolean(value: Any) -> bool:
    text = str(value).strip().lower()
    if not isinstance(value, bool | int | str) or text not in {"true", "false", "1", "0"}:
        raise ValueError(value)
    return text in {"true", "1"}


def _number(value: Any) -> Any:
    """A number as it was sent, text included; never a bool."""
    if isinstance(value, str) and _NUMBER.fullmatch(value):
        return Decimal(value)
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
        raise ValueError(value)
    return value


def _integer(value: Any) -> int:
    number = _number(value)
    if int(number) != number:
        raise ValueError(value)
    return int(number)


def _double(value: Any) -> float:
    if isinstance(value, str) and value.strip().lower() in {"nan", "inf", "-inf", "infinity", "-infinity"}:
        return float(value)
    number = _number(value)
    if isinstance(number, int) and int(float(number)) != number:
        raise ValueError(value)
    return float(number)


def _decimal(value: Any, scale: int) -> Decimal:
    number = _number(value)
    # A float's shortest text is what the source's JSON said.
    exact = Decimal(repr(number)) if isinstance(number, float) else Decimal(number)
    scaled = exact.quantize(Decimal(1).scaleb(-scale), context=_EXACT)
    if scaled != exact:
        raise ValueError(value)
    return scaled


def _text(value: Any) -> str:
    match value:
        case str():
            return value
        case bool():
            return str(value).lower()
        case Mapping() | list() | tuple() | set() | frozenset():
            return _json_text(value)
        case date() | time():
            return value.isoformat()
        case bytes() | bytearray() | memoryview():
            raise ValueError(value)
        case _:
            return str(value)


def _json_text(value: Any, *, allow_nan: bool = True) -> str:
    nested = dict(value) if isinstance(value, Mapping) else list(value) if isinstance(value, set | frozenset) else value
    return json.dumps(nested, ensure_ascii=False, separators=(",", ":"), allow_nan=allow_nan, default=_text)


def _json(value: Any) -> str:
    """JSON as text; text is taken for JSON already."""
    if not isinstance(value, str):
        return _json_text(value, allow_nan=False)

    def refuse(constant: str) -> NoReturn:
        raise ValueError(constant)

    json.loads(value, parse_constant=refuse)
    return value


def _blob(value: Any) -> bytes:
    if not isinstance(value, bytes | bytearray | memoryview):
        raise ValueError(value)  # of text: nobody says whether it is base64
    return bytes(value)


def _datetime(value: Any) -> datetime:
    """An instant in UTC; a value without time zone counts as UTC, a date as its midnight."""
    if isinstance(value, str):
        # Python would cut what is beyond microseconds.
        if not _ISO.fullmatch(value) or _BEYOND_MICROSECONDS.search(value):
            raise ValueError(value)
        value = datetime.fromisoformat(value)
    elif isinstance(value, date) and not isinstance(value, datetime):
        value = datetime(value.year, value.month, value.day, tzinfo=UTC)
    elif not isinstance(value, datetime):
        raise ValueError(value)
    return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


def _date(value: Any) -> date:
    if isinstance(value, date) and not isinstance(value, datetime):
        return value
    instant = _datetime(value)
    if instant.time() != time():
        raise ValueError(value)
    return instant.date()


_CONVERTERS: dict[str, Callable[[Any], Any]] = {
    "BIGINT": _integer,
    "BLOB": _blob,
    "BOOLEAN": _boolean,
    "DATE": _date,
    "DOUBLE": _double,
    "INTEGER": _integer,
    "JSON": _json,
    "TIMESTAMP": lambda value: _datetime(value).replace(tzinfo=None),
    "TIMESTAMPTZ": _datetime,
    "VARCHAR": _text,
}
