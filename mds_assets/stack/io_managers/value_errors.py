"""What an error says about rows that cannot be written: DuckDB and Polars quote values, which may be private."""

import re
from collections.abc import Generator
from contextlib import contextmanager

import duckdb
import polars as pl

from mds_assets.stack.table import SchemaError, Table

# Errors about a value. Those about a column, a type or a file quote none.
VALUE_ERRORS = (
    duckdb.DataError,
    duckdb.InvalidInputException,
    pl.exceptions.ComputeError,
    pl.exceptions.InvalidOperationError,
    pl.exceptions.OutOfBoundsError,
)

_COLUMN = re.compile(r"when casting from source column (\w+)|failed in column '([^']+)'")
_OTHER_DAY = re.compile(r"Invalid Input Error: (a row of day (?:\d{4}-\d{2}-\d{2}|NULL))")  # the IO manager's own


def reason(error: Exception, name: str, table: Table, *, quote_values: bool) -> str:
    """The error in one line; unless values may be quoted, only its type and the column, if it is a declared one.

    Args:
        error: The error of DuckDB or Polars.
        name: The table.
        table: Its declaration.
        quote_values: Whether previews are on.
    """
    text = " ".join(str(error).split())
    if quote_values or not isinstance(error, VALUE_ERRORS):
        return text
    if other_day := _OTHER_DAY.fullmatch(text):
        return other_day[1]
    for column in table.columns:
        if text.startswith(f"Invalid Input Error: {name}.{column.name} is "):
            return f"{name}.{column.name} is out of range for {column.type}"
    named = {column for match in _COLUMN.finditer(text) for column in match.groups()}
    columns = [column for column in table.names if column in named]
    of_column = f" in column {columns[0]!r}" if len(columns) == 1 else ""
    return f"{type(error).__name__}{of_column} (MDS_PREVIEW_ROWS=1 also shows its text, which may quote rows)"


@contextmanager
def value_errors(what: str, name: str, table: Table, *, quote_values: bool) -> Generator[None]:
    """Make an error of the block about a value one of the table; see `reason`.

    Args:
        what: What failed: `cannot be written`.
        name: The table.
        table: Its declaration.
        quote_values: Whether previews are on.

    Raises:
        SchemaError: A value is wrong.
    """
    try:
        yield
    except VALUE_ERRORS as error:
        raise SchemaError(
            f"{name} {what}: {reason(error, name, table, quote_values=quote_values)}. Correct the value where it is "
            "made, or change the declaration."
        ) from (error if quote_values else None)
