"""The column lineage: every column's way from raw to the marts, from the declarations, as one HTML page.

Open-source Dagster draws the lineage of tables, but prints that of columns as JSON, one step at a time.
`catalog.py` has the same declarations as text.
"""

import base64
from collections.abc import Iterable, Mapping, Sequence
from hashlib import sha256
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

from dagster import AssetSpec
from markupsafe import Markup

from mds_assets.stack.html import html_environment
from mds_assets.stack.table import DAY, TABLE, declared_table

_FOLDER = Path(__file__).parent
_SCRIPT = "lineage.js"


class LineageColumn(NamedTuple):
    """A column on the page.

    Attributes:
        number: Identifies it on the page.
        name: Its name.
        type: Its declared type.
        description: The meaning of its values.
        origins: The columns that it is derived from, as `layer/table.column`.
        origin_numbers: The numbers of those that are on the page.
    """

    number: int
    name: str
    type: str
    description: str
    origins: Sequence[str]
    origin_numbers: Sequence[int]


class LineageTable(NamedTuple):
    """A table on the page: its asset key, and its columns in order."""

    name: str
    description: str
    columns: Sequence[LineageColumn]

    @property
    def layer(self) -> str:
        """The first part of its key."""
        return self.name.partition("/")[0]


def lineage_page(specs: Iterable[AssetSpec]) -> str:
    """The page: self-contained, with one script of its own and no network. All text from declarations is escaped.

    Args:
        specs: The tables, those of a layer next to each other, from raw to the marts; assets without columns are left
            out.
    """
    script = _FOLDER.joinpath(_SCRIPT).read_text(encoding="utf-8")
    script_hash = base64.b64encode(sha256(script.encode()).digest()).decode()
    layers = [(layer, list(tables)) for layer, tables in groupby(lineage_tables(specs), lambda table: table.layer)]
    # The page's policy runs no other script: the hash is of exactly this text.
    own_script = Markup(script)  # noqa: S704
    template = html_environment(_FOLDER, keep="\n").get_template("lineage.html.j2")
    return template.render(layers=layers, script=own_script, script_hash=script_hash)


def lineage_tables(specs: Iterable[AssetSpec]) -> list[LineageTable]:
    """The tables with their columns, in the order of `specs`. Of a table with partitions, `day` is a column too."""
    declared = {
        spec.key.to_user_string(): (spec, declared_table(spec.key.to_user_string(), spec.metadata))
        for spec in specs
        if TABLE in spec.metadata
    }
    columns = {
        name: (table.with_day() if spec.partitions_def and DAY not in table.names else table).columns
        for name, (spec, table) in declared.items()
    }
    names = [f"{name}.{column.name}" for name, of_table in columns.items() for column in of_table]
    numbers: Mapping[str, int] = {name: number for number, name in enumerate(names)}
    tables: list[LineageTable] = []
    for name, (spec, table) in declared.items():
        shown: list[LineageColumn] = []
        for column in columns[name]:
            origins = table.lineage.get(column.name, ())
            known = [numbers[origin] for origin in origins if origin in numbers]
            number = numbers[f"{name}.{column.name}"]
            shown.append(LineageColumn(number, column.name, column.type, column.description, origins, known))
        tables.append(LineageTable(name, spec.description or "", shown))
    return tables
