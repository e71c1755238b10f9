"""What `mds` prints to the terminal: lines and tables of plain text."""

import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from mds_assets.stack.redaction import shown

if TYPE_CHECKING:
    import polars as pl

console = Console(emoji=False)  # `:tada:` was never an emoji
UNBOUNDED = console.options.update(width=sys.maxsize)


def say(*parts: str | tuple[str, str]) -> None:
    """Print one line: plain text, or pairs of text and style. Nothing in it is markup or an emoji's name."""
    styled = [(part, "") if isinstance(part, str) else part for part in parts]
    console.print(Text.assemble(*((shown(text), style) for text, style in styled)), soft_wrap=True)


def rich_table(
    numeric: Mapping[str, bool], rows: Iterable[Sequence[object]], keep: str = "", *, compact: bool = False
) -> Table:
    """Rows as a table. `numeric` maps each column to whether it is numeric. Text is truncated if space is short."""
    # Compact: without a rule, and empty lines around.
    table = Table(box=None, padding=(0, 2, 0, 0)) if compact else Table(box=SIMPLE_HEAD, pad_edge=False)
    for name, is_number in numeric.items():
        if is_number:
            table.add_column(Text(shown(name)), justify="right", no_wrap=True)
        else:
            table.add_column(Text(shown(name)), overflow="ellipsis", no_wrap=True)
    for row in rows:
        table.add_row(*(Text("NULL", "dim") if value is None else Text(shown(str(value), keep)) for value in row))
    return table


def fitting(rows: "pl.DataFrame", *, compact: bool = False) -> tuple[Table, list[str]]:
    """The rows as a table, without the last columns if the console is too narrow for them, and their names."""
    numeric = {column: dtype.is_numeric() for column, dtype in rows.schema.items()}
    hidden: list[str] = []
    while True:
        table = rich_table(numeric, rows.select(list(numeric)).iter_rows(), compact=compact)
        if len(numeric) == 1 or console.measure(table, options=UNBOUNDED).maximum <= console.width:
            return table, hidden
        hidden.insert(0, list(numeric)[-1])
        del numeric[hidden[0]]
