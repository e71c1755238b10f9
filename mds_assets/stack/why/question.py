"""A question for `mds why`: a table, a day, and values of columns."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from difflib import get_close_matches

import click
import duckdb
from dagster import AssetKey

from mds_assets.stack.lake.layout import Partition
from mds_assets.stack.plan.graph import Node
from mds_assets.stack.table import Table, literal

_WHOLE_NUMBERS = {"INTEGER", "BIGINT"}  # DuckDB would round 3.7


@dataclass(frozen=True)
class Question:
    """The rows to explain.

    Attributes:
        node: Their table.
        table: Its declaration.
        partition: Their day; None for a table without partitions.
        values: The columns that identify them, with their values as text; without any, all rows of the day.
    """

    node: Node
    table: Table
    partition: Partition
    values: Mapping[str, str]


def parse(nodes: Mapping[AssetKey, Node], name: str, words: Sequence[str]) -> Question:
    """The question in the words of the command line: `marts/revenue 2026-11-26 country=A`.

    Raises:
        ClickException: There is no such table or column, or a word is not a day or a value that fits its column.
    """
    tables = {node.name: node for node in nodes.values() if node.table}
    node = tables.get(name)
    if not node or not node.table:
        close = get_close_matches(name, tables, n=3, cutoff=0.5)
        close = close or [each for each in tables if name.split("/")[-1] in each]
        hint = f"did you mean {' or '.join(close)}?" if close else "`mds show` lists the tables"
        raise click.ClickException(f"there is no table {name!r}: {hint}")
    partition = None
    if node.is_partitioned:
        if not words:
            raise click.ClickException(f"{name} has a file per day: name one, as in `mds why {name} 2026-11-26`")
        partition, words = _day(name, words[0]), words[1:]
    values: dict[str, str] = {}
    for word in words:
        column, separator, value = word.partition("=")
        if not separator:
            without = "" if node.is_partitioned else f", and {name} has no days"
            raise click.ClickException(f"{word!r} is not a `column=value` pair{without}")
        values[column] = _checked(name, node.table, column, value)
    return Question(node, node.table, partition, values)


def _day(name: str, word: str) -> date:
    try:
        return date.fromisoformat(word) if re.fullmatch(r"\d{4}-\d\d-\d\d", word) else date.fromisoformat("")
    except ValueError:
        raise click.ClickException(
            f"{word!r} is not a day: after {name} comes a day such as 2026-11-26, then `column=value` pairs"
        ) from None


def _checked(name: str, table: Table, column: str, value: str) -> str:
    types = {each.name: each.type for each in table.columns}
    if column not in types:
        close = get_close_matches(column, types, n=1)
        hint = f"did you mean {close[0]}?" if close else f"its columns are {', '.join(types)}"
        raise click.ClickException(f"{name} has no column {column!r}: {hint}")
    fits = types[column] not in _WHOLE_NUMBERS or re.fullmatch(r"[+-]?\d+", value.strip())
    with duckdb.connect() as con:
        query = f"SELECT try_cast({literal(value)} AS {types[column]}) IS NOT NULL"
        if not fits or not con.sql(query).fetchall()[0][0]:
            raise click.ClickException(f"{column}={value}: {name}.{column} is {types[column]}, which this is not")
    return value
