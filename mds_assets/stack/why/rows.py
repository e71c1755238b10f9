"""Rows of a table in DuckDB, and the SQL that finds the rows they came from, by what the declarations say."""

# ruff: noqa: S608  # names are declared ones, and quoted; values are literals

import glob
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from dagster import AssetKey
from upath import UPath

from mds_assets.stack.blocks.as_of import MART
from mds_assets.stack.blocks.current import FIRST_SEEN, IS_LISTED, LAST_SEEN
from mds_assets.stack.io_managers.duckdb import scan
from mds_assets.stack.lake.layout import Partition
from mds_assets.stack.plan.graph import Node
from mds_assets.stack.provenance import Footer, Versions, file_versions
from mds_assets.stack.table import DAY, Table, quote

LOAD_ID = "_dlt_load_id"
PARTITION, OWN, PUBLIC = "its partition", "the derived row's partition", "is public"  # no table declares these


_ADDED = {DAY, FIRST_SEEN, LAST_SEEN, IS_LISTED}  # by `current_table`


@dataclass
class Rows:
    """Rows of a table, in DuckDB.

    Attributes:
        node: The table.
        table: Its declaration.
        shown: The columns to show.
        given: The columns that identify them, if the table declares no key.
        name: The DuckDB table that has them.
        footers: The footers of the files that were read for them, by partition.
        partitions: The partitions that have such rows; if none has, those that were read.
    """

    node: Node
    table: Table
    shown: Sequence[str]
    given: Sequence[str] = ()
    name: str = ""
    footers: Mapping[Partition, Mapping[UPath, Footer]] = field(default_factory=dict[Partition, Mapping[UPath, Footer]])
    partitions: Collection[Partition] = ()

    def versions(self, partition: Partition) -> Versions:
        """The versions of a partition's files."""
        return file_versions({file.name: footer for file, footer in self.footers.get(partition, {}).items()})


def plain_types(table: Table) -> dict[str, str]:
    """The DuckDB type of each column; JSON is not parsed, as it may be invalid."""
    return {column.name: column.type.replace("JSON", "VARCHAR") for column in table.columns}


def rows_of(rows: Rows, files: Iterable[UPath], rejects: str | None) -> str:
    """A SELECT of the columns of a table that matter here, its partition, and whether anyone may see a row."""
    table, is_partitioned = rows.table, rows.node.is_partitioned
    types = plain_types(table)
    if is_partitioned:
        types[DAY] = "DATE"
    used = {*rows.shown, *table.key, *rows.given, DAY, FIRST_SEEN, LAST_SEEN, LOAD_ID}
    columns = [quote(name) for name in table.names if name in used]
    columns.append(f"{DAY if is_partitioned else 'NULL::DATE'} AS {quote(PARTITION)}")
    columns.append(f"coalesce({table.public or 'false'}, false) AS {quote(PUBLIC)}")
    source = scan([glob.escape(str(file)) for file in files], types, partitioned=is_partitioned)
    return f"SELECT {', '.join(columns)} FROM ({source}) WHERE NOT coalesce({rejects or 'false'}, false)"


def rows_behind(
    own: Rows,
    table: Table,
    same: Mapping[str, str],
    pairs: Collection[tuple[Partition, Partition]],
    *,
    is_newest: bool,
) -> str:
    """A SELECT of the rows of `s` that these rows came from.

    Args:
        own: The derived rows.
        table: The table that `s` has rows of.
        same: The columns that are the same in both.
        pairs: Their partitions, each with one it was made from.
        is_newest: Whether only the newest row of each key counts.
    """
    mine, theirs = quote(OWN), quote(PARTITION)
    types = plain_types(own.table)
    equal: list[str] = []
    for name, origin in same.items():
        value = f"s.{quote(origin if origin in table.names else PARTITION)}"
        equal.append(f"try_cast({value} AS {types[name]}) IS NOT DISTINCT FROM own.{quote(name)}")
    columns, of_own, source, by = [f"r.{quote(name)}" for name in same], f"{own.name} AS r", "s", ""
    # Rows of one partition came from all that was read. With pairs, a year's table without days would be joined to each
    # of its days.
    if len({one for one, _ in pairs}) > 1:
        values = ", ".join(f"({_date(one)}, {_date(other)})" for one, other in sorted(pairs, key=str))
        reads = f"(VALUES {values}) AS reads({mine}, {theirs})"
        columns.append("reads.*")
        of_own += f" JOIN {reads} ON r.{theirs} IS NOT DISTINCT FROM reads.{mine}"
        source, by = f"s JOIN {reads} ON s.{theirs} = reads.{theirs}", f"reads.{mine}, "
        joined = mine if is_newest else theirs
        equal.append(f"s.{joined} IS NOT DISTINCT FROM own.{joined}")
    wanted = f"SELECT DISTINCT {', '.join(columns) or 'true'} FROM {of_own}"
    semi_join = f"SEMI JOIN ({wanted}) AS own ON {' AND '.join(equal) or 'true'}"
    if not is_newest:
        return f"SELECT * FROM s {semi_join}"
    # Before others are left out: the newest row of a key may have another value than an older one.
    newest = (
        f"SELECT s.*{f', reads.{mine}' * bool(by)} FROM {source} "
        f"QUALIFY row_number() OVER (PARTITION BY {by}{', '.join(map(quote, table.key))} ORDER BY s.{theirs} DESC) = 1"
    )
    return f"SELECT DISTINCT *{f' EXCLUDE ({mine})' * bool(by)} FROM ({newest}) AS s {semi_join}"


def same_columns(own: Rows, source: Node) -> dict[str, str]:
    """The columns that identify these rows and are derived from just one column of a table each, with that one.

    Others would leave out rows that count: a measure is equal to none of those it was computed from.
    """
    origins = {name: origins_of(own, name, source) for name in own.table.key or own.given}
    same = {name: of_name[0] for name, of_name in origins.items() if len(of_name) == 1}
    return same | ({DAY: DAY} if is_current(own.node, source) and DAY in own.table.names else {})


def origins_of(own: Rows, name: str, source: Node) -> list[str]:
    """The columns of a table that a column is derived from."""
    names = source.table.names if source.table else []
    if is_current(own.node, source):
        return [name] if name in names else []
    origins = [each.rpartition(".") for each in own.table.lineage.get(name, ())]
    found = [column for table, _, column in origins if table == source.name and column in names]
    if not found and _is_newest_of_another(source):  # a table of the newest rows of another: the same columns, by name
        behind = {key.to_user_string() for key in source.reads}
        found = [column for table, _, column in origins if table in behind and column in names]
    return found


def is_current(node: Node, source: Node) -> bool:
    """Whether it is a `current_table` of this one: it has the columns of the same names."""
    names = source.table.names if source.table else []
    return _is_newest_of_another(node) and bool(node.table) and {*node.table.names} - _ADDED <= {*names}


def _is_newest_of_another(node: Node) -> bool:
    """Whether it is a table without partitions whose columns all come from those of the same names of one other."""
    if node.is_partitioned or not node.table or len(node.reads) != 1:
        return False
    (source,) = (key.to_user_string() for key in node.reads)
    kept = {name: origins for name, origins in node.table.lineage.items() if name not in _ADDED}
    return all(list(origins) == [f"{source}.{name}"] for name, origins in kept.items())


def is_latest(node: Node, source: AssetKey) -> bool:
    """Whether a mart takes only the newest row of each key of a table."""
    mart = getattr(node.spec.metadata.get(MART), "instance", None)
    others = [*mart.window.values(), *mart.same_day.values()] if mart else []
    return bool(mart) and source in mart.latest.values() and source not in others


def _date(partition: Partition) -> str:
    return f"DATE '{partition}'" if partition else "NULL::DATE"
