"""Values in a declared type: each is kept as it is, or refused with a ValueError or the like (`REFUSALS`).

Arrow's safe casts do most of it. They read numbers from text, and refuse to cut or round. Bools and dates are numbers
to Arrow; here a number comes from a number or from text.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import date, datetime, time
from decimal import Context, Decimal
from itertools import accumulate
from math import isfinite
from typing import Any, NoReturn

import pyarrow as pa
import pyarrow.compute as pc

from mds_assets.stack.landing.days import utc
from mds_assets.stack.table import arrow_type

REFUSALS = (ArithmeticError, NotImplementedError, TypeError, ValueError)

_INSTANT = pa.timestamp("us", tz="UTC")
_UNDECLARED_DECIMAL = pa.decimal128(38, 9)  # dlt's own
_EXACT = Context(prec=100)
_ISO = re.compile(r"\d{4}-\d\d-\d\d.*", re.ASCII)
_BEYOND_MICROSECONDS = re.compile(r"[.,]\d{6}0*[1-9]", re.ASCII)
_FIRST_INEXACT = 2.0**53  # from here on a DOUBLE skips integers
_SIMPLE = {str: pa.string(), bool: pa.bool_(), date: pa.date32(), bytes: pa.binary()}

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


def type_name(type_: pa.DataType) -> str:
    """dlt's name of a type, for variant columns and errors."""
    if pa.types.is_decimal(type_):
        return "decimal"
    return _TYPE_NAMES.get(type_) or re.sub(r"\W+", "_", str(type_)).strip("_")


def by_type(values: Sequence[Any]) -> Iterator[pa.Array]:
    """Python values as one array for each type among them; each is as long as `values`, and null elsewhere."""
    classes = set(map(type, values)) - {type(None)}
    if len(classes) == 1 and (simple := _SIMPLE.get(*classes)):
        yield pa.array(values, simple)
        return
    columns: dict[pa.DataType, list[Any]] = {}
    for i, value in enumerate(values):
        if value is not None:
            plain, type_ = plain_value(value)
            columns.setdefault(type_, [None] * len(values))[i] = plain
    for type_, plain in columns.items():
        yield pa.array(plain, type_)


def plain_value(value: Any) -> tuple[Any, pa.DataType]:
    """A value and its type: nested values are JSON text, and what is out of a type's range is text."""
    match value:
        case bool():
            return value, pa.bool_()
        case int() if -(2**63) <= value < 2**63:
            return value, pa.int64()
        case float() if isfinite(value):
            return value, pa.float64()
        case Decimal() if (
            value.is_finite() and abs(value) < 10**29 and value == value.quantize(Decimal("1e-9"), context=_EXACT)
        ):
            return value, _UNDECLARED_DECIMAL
        case datetime(tzinfo=None):
            return value, pa.timestamp("us")
        case datetime():
            try:
                return utc(value), _INSTANT
            except OverflowError:
                return value.isoformat(), pa.string()
        case date():
            return value, pa.date32()
        case time():
            return value, pa.time64("us")
        case bytes() | bytearray() | memoryview():
            return bytes(value), pa.binary()
        case _:
            return _text(value), pa.string()


def convert(values: Sequence[Any], declared: str) -> pa.Array:
    """Python values in a declared type."""
    if declared.endswith("[]"):
        lists = [None if value is None else _list(value) for value in values]
        items = convert([item for items in lists if items for item in items], declared.removesuffix("[]"))
        offsets = pa.array([0, *accumulate(len(items or ()) for items in lists)], pa.int32())
        return pa.ListArray.from_arrays(offsets, items, mask=pa.array([items is None for items in lists], pa.bool_()))
    if declared in {"JSON", "VARCHAR"}:
        as_text = _json if declared == "JSON" else _text
        return pa.array([None if value is None else as_text(value) for value in values], pa.string())
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
        raise ValueError(declared)  # nobody says how bytes are text, or whether text is base64
    return _cast_number(array, type_)


def _cast_number(array: pa.Array, type_: pa.DataType) -> pa.Array:
    types = pa.types
    if (types.is_integer(type_) or types.is_floating(type_)) and (
        types.is_integer(array.type) or types.is_floating(array.type)
    ):
        return array.cast(type_)
    # A float's shortest text is what the source's JSON said. A bool's or a date's reads as no number.
    text = pc.utf8_trim_whitespace(array.cast(pa.string()))
    if types.is_integer(type_):
        return text.cast(_UNDECLARED_DECIMAL).cast(type_)  # `1e3` and `3.0` too, but not `0x10`
    numbers = text.cast(type_)
    if types.is_floating(type_):
        integers = numbers.filter(pc.match_substring_regex(text, r"^[+-]?\d+$"))
        if pc.any(pc.greater_equal(pc.abs(integers), _FIRST_INEXACT)).as_py():
            raise ValueError(type_)
    return numbers


def _cast_time(array: pa.Array, type_: pa.DataType) -> pa.Array:
    """Values without time zone count as UTC, a date as its midnight; only a midnight is a date."""
    if pa.types.is_string(array.type):
        array = pa.array([None if text is None else _instant(text) for text in array.to_pylist()], _INSTANT)
    elif not pa.types.is_timestamp(array.type) and not pa.types.is_date(array.type):
        raise ValueError(type_)  # is a number of seconds, or of milliseconds
    instants = array.cast(_INSTANT)
    times = instants.cast(type_)
    if not times.cast(_INSTANT).equals(instants):
        raise ValueError(type_)
    return times


def _instant(text: str) -> datetime:
    # Python would cut what is beyond microseconds.
    if not _ISO.fullmatch(text) or _BEYOND_MICROSECONDS.search(text):
        raise ValueError(text)
    return utc(datetime.fromisoformat(text))


def _list(value: Any) -> Sequence[Any]:
    # Databases without lists keep them as JSON text.
    parsed = json.loads(value) if isinstance(value, str) else value
    if not isinstance(parsed, list | tuple):
        raise ValueError(value)
    return parsed


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


def storage(array: pa.Array) -> pa.Array:
    """The array in a type that dlt, Parquet and DuckDB share; times beyond Python's years as text."""
    types = pa.types
    if isinstance(array.type, pa.BaseExtensionType):
        return storage(array.storage)
    if types.is_dictionary(array.type):
        return storage(array.dictionary_decode())
    if types.is_large_binary(array.type) or types.is_binary_view(array.type) or types.is_fixed_size_binary(array.type):
        return array.cast(pa.binary())
    if types.is_duration(array.type) or types.is_interval(array.type) or types.is_decimal256(array.type):
        return pa.array([None if value is None else str(value) for value in array.to_pylist()], pa.string())
    if types.is_large_string(array.type) or types.is_string_view(array.type) or not has_python_years(array):
        return array.cast(pa.string())
    return array


def has_python_years(array: pa.Array) -> bool:
    """Whether all its times lie in the years 1 to 9999.

    Python and so Dagster know no others, and Polars panics from year 262,143 on.
    """
    types = pa.types
    if types.is_struct(array.type):
        return all(map(has_python_years, array.flatten()))
    if types.is_list(array.type) or types.is_large_list(array.type):
        return has_python_years(array.flatten())
    if types.is_timestamp(array.type) and array.type.unit != "ns":  # nanoseconds end in year 2262
        array = array.cast(pa.timestamp(array.type.unit))  # in UTC
    elif not types.is_date(array.type):
        return True
    try:
        pc.min_max(array).as_py()
    except (OverflowError, ValueError):
        return False
    return True
