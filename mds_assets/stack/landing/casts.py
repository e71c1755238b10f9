"""Convert values to a declared type without loss, or reject them with one of `REFUSALS`.

Arrow's safe casts do most of the work: they neither truncate nor round. But they would turn bools and dates into
numbers; here, a number only comes from a number or from text.
"""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, date, datetime, time
from decimal import Context, Decimal
from itertools import accumulate
from math import isfinite
from typing import Any

import pyarrow as pa
import pyarrow.compute
from pydantic_core import from_json, to_json

from mds_assets.stack.landing.days import utc
from mds_assets.stack.table import arrow_type

pc: Any = pyarrow.compute  # its functions are generated at import, which type checkers cannot see

REFUSALS = (ArithmeticError, NotImplementedError, TypeError, ValueError)

_TEXT, _TIMESTAMPTZ = pa.string(), pa.timestamp("us", tz="UTC")
_DECIMAL = pa.decimal128(38, 9)  # dlt's default for an undeclared decimal
_INTEGER = pa.decimal128(38, 0)
_BYTES = bytes | bytearray | memoryview
_EXACT, _NANO = Context(prec=100), Decimal("1e-9")
_YEAR_1, _YEAR_9999 = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_ISO = re.compile(r"\d{4}-\d\d-\d\d.*", re.ASCII)
_BEYOND_MICROSECONDS = re.compile(r"[.,]\d{6}0*[1-9]", re.ASCII)

# The type of an undeclared value; text if its class is not listed, or it does not fit.
_TYPES: tuple[tuple[Any, pa.DataType, Callable[[Any], bool]], ...] = (
    (bool, pa.bool_(), lambda _: True),
    (int, pa.int64(), lambda value: -(2**63) <= value < 2**63),
    (float, pa.float64(), isfinite),
    (Decimal, _DECIMAL, lambda d: d.is_finite() and abs(d) < 10**29 and d == d.quantize(_NANO, context=_EXACT)),
    (datetime, pa.timestamp("us"), lambda value: value.tzinfo is None),
    (datetime, _TIMESTAMPTZ, lambda value: _YEAR_1 <= value <= _YEAR_9999),
    (date, pa.date32(), lambda value: not isinstance(value, datetime)),
    (time, pa.time64("us"), lambda _: True),
    (_BYTES, pa.binary(), lambda _: True),
)
# dlt's names; other types use the first word of their Arrow name.
_TYPE_NAMES = {pa.int64(): "bigint", _TEXT: "text", _TIMESTAMPTZ: "timestamptz"}


def type_name(type_: pa.DataType) -> str:
    """A type's name in variant columns and errors."""
    return _TYPE_NAMES.get(type_) or re.split(r"[^a-z]", str(type_))[0]


def type_of(value: Any) -> pa.DataType:
    """The type of a value of an undeclared field."""
    return next((type_ for cls, type_, fits in _TYPES if isinstance(value, cls) and fits(value)), _TEXT)


def by_type(values: Sequence[Any]) -> list[pa.Array]:
    """Python values as one array per type among them; each is as long as `values`, with nulls for other types."""
    if set(map(type, values)) - {type(None)} == {str}:
        return [pa.array(values, _TEXT)]
    columns: dict[int, tuple[pa.DataType, list[Any]]] = {}  # by id: hashing a type is slow
    for i, value in enumerate(values):
        if value is not None:
            type_ = type_of(value)
            columns.setdefault(id(type_), (type_, [None] * len(values)))[1][i] = value
    return [_texts(column, _text) if type_ is _TEXT else pa.array(column, type_) for type_, column in columns.values()]


def convert(values: Sequence[Any], declared: str) -> pa.Array:
    """Python values in a declared type."""
    if declared.endswith("[]"):
        lists = [None if value is None else _list(value) for value in values]
        items = convert([item for items in lists for item in items or ()], declared.removesuffix("[]"))
        offsets = pa.array([0, *accumulate(len(items or ()) for items in lists)], pa.int32())
        return pa.ListArray.from_arrays(offsets, items, mask=pa.array([items is None for items in lists], pa.bool_()))
    if declared in {"JSON", "VARCHAR"}:
        return _texts(values, _json if declared == "JSON" else _text)
    arrays = [cast(array, declared) for array in by_type(values)]
    return pc.coalesce(*arrays) if arrays else pa.nulls(len(values), arrow_type(declared))


def cast(array: pa.Array, declared: str) -> pa.Array:
    """Arrow values in a declared type."""
    type_ = arrow_type(declared)
    if array.type == type_ and declared != "JSON":
        return array
    if declared in {"JSON", "VARCHAR"} or declared.endswith("[]"):
        return convert(array.to_pylist(), declared)
    if declared in {"DATE", "TIMESTAMP", "TIMESTAMPTZ"}:
        return _cast_time(array, type_)
    if declared == "BLOB" or pa.types.is_binary(array.type):
        raise ValueError  # the encoding is unknown
    return _cast_number(array, type_)


def _cast_number(array: pa.Array, type_: pa.DataType) -> pa.Array:
    is_integer, is_floating = pa.types.is_integer, pa.types.is_floating
    if is_floating(array.type) and (is_floating(type_) or is_integer(type_)):
        return array.cast(type_)
    if is_integer(array.type) and is_integer(type_):
        return array.cast(type_)
    # A float's shortest text is the source's JSON literal. The text of a bool or a date is not a number.
    text = pc.utf8_trim_whitespace(array.cast(_TEXT))
    if is_integer(type_) or pa.types.is_decimal(type_):
        exact = _INTEGER if is_integer(type_) else type_
        numbers = [None if number is None else _exact(number, exact.scale) for number in text.to_pylist()]
        return pa.array(numbers, exact).cast(type_)
    numbers = text.cast(type_)
    if is_floating(type_):  # which cannot represent all integers beyond 2**53
        whole = pc.match_substring_regex(text, r"^[+-]?\d+$")
        if numbers.filter(whole).cast(_INTEGER) != text.filter(whole).cast(_INTEGER):
            raise ValueError
    return numbers


def _exact(text: str, scale: int) -> Decimal:
    # Not with Arrow, which parses 1e-50 as 0 and 123e34 as a different number.
    number = Decimal(text) if _NUMBER.fullmatch(text) else Decimal("NaN")
    scaled = number.quantize(Decimal(1).scaleb(-scale), context=_EXACT)
    if scaled != number:
        raise ValueError
    return scaled


def _cast_time(array: pa.Array, type_: pa.DataType) -> pa.Array:
    """Values without time zone are UTC, a date is its midnight, and only a midnight converts to a date."""
    if array.type == _TEXT:
        array = pa.array([None if text is None else _instant(text) for text in array.to_pylist()], _TIMESTAMPTZ)
    elif not pa.types.is_timestamp(array.type) and not pa.types.is_date(array.type):
        raise ValueError  # a number could be seconds or milliseconds
    instants = array.cast(_TIMESTAMPTZ)
    times = instants.cast(type_)
    if times.cast(_TIMESTAMPTZ) != instants:
        raise ValueError
    return times


def _instant(text: str) -> datetime:
    # Python would truncate digits beyond microseconds.
    if not _ISO.fullmatch(text) or _BEYOND_MICROSECONDS.search(text):
        raise ValueError
    return utc(datetime.fromisoformat(text))


def _list(value: Any) -> Sequence[Any]:
    # Databases without list types store lists as JSON text.
    parsed = json.loads(value) if isinstance(value, str) else value
    if not isinstance(parsed, list | tuple):
        raise ValueError
    return parsed


def _texts(values: Sequence[Any], as_text: Callable[[Any], str]) -> pa.Array:
    return pa.array([None if value is None else as_text(value) for value in values], _TEXT)


def _text(value: Any) -> str:
    if isinstance(value, _BYTES):
        raise ValueError
    if isinstance(value, bool | Mapping | list | tuple | set | frozenset):
        return _dump(value)
    return value.isoformat() if isinstance(value, date | time) else str(value)


def _json(value: Any) -> str:
    """JSON as text; text is assumed to be JSON already."""
    if isinstance(value, _BYTES):
        raise ValueError
    text = value if isinstance(value, str) else _dump(value)
    from_json(text, allow_inf_nan=False)
    return text


def _dump(value: Any) -> str:
    def plain(value: Any) -> Any:
        return dict(value) if isinstance(value, Mapping) else str(value)

    return to_json(value, inf_nan_mode="constants", fallback=plain).decode()


def storage(array: pa.Array) -> pa.Array:
    """The array in a type that dlt, Parquet and DuckDB share."""
    types, type_ = pa.types, array.type
    if isinstance(type_, pa.BaseExtensionType):
        return storage(array.storage)
    if types.is_dictionary(type_):
        return storage(array.dictionary_decode())
    if types.is_large_binary(type_) or types.is_binary_view(type_) or types.is_fixed_size_binary(type_):
        return array.cast(pa.binary())
    if types.is_duration(type_) or types.is_interval(type_) or types.is_decimal256(type_):
        return _texts(array.to_pylist(), str)
    if types.is_large_string(type_) or types.is_string_view(type_) or not has_python_times(array):
        return array.cast(_TEXT)
    return array


def has_python_times(array: pa.Array) -> bool:
    """Whether all its times have at most microseconds and are in the years 1 to 9999.

    That is what Python and Dagster support. dlt truncates to microseconds, and Polars panics from year 262,143 on.
    """
    types, type_ = pa.types, array.type
    if types.is_struct(type_):
        return all(map(has_python_times, array.flatten()))
    if types.is_list(type_) or types.is_large_list(type_):
        return has_python_times(array.flatten())
    try:
        if types.is_timestamp(type_) or types.is_date(type_):
            pc.min_max(array.cast(pa.timestamp("us"))).as_py()
    except (OverflowError, ValueError):
        return False
    return True
