"""`mds sql`: query the warehouse."""

import glob
import re
import sys
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated

import click
import typer

from mds_assets.stack.cli.lake import local_file, open_lake
from mds_assets.stack.terminal import UNBOUNDED, console, rich_table, say
from mds_assets.stack.text import FORMULA, FORMULA_AS_TEXT, json_text, printable

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection, DuckDBPyRelation

_MAX_ROWS = 100
_FREE_TEXT = {"varchar", "blob", "enum", "union", "variant"}  # DuckDB's types whose text may begin with anything


def sql(
    query: Annotated[str, typer.Argument(help="DuckDB SQL; `SHOW ALL TABLES` lists the tables.")],
    as_csv: Annotated[
        bool,
        typer.Option(
            "--csv", help="Print all rows as CSV; text that a spreadsheet would compute, such as =1+1, begins with a '."
        ),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print all rows as a JSON list of objects.")] = False,
) -> None:
    """Query the warehouse (read-only); timestamps are in UTC."""
    import duckdb

    from mds_assets.stack.names import WAREHOUSE
    from mds_assets.stack.settings import is_remote, settings

    if as_csv and as_json:
        raise click.ClickException("--csv and --json both set the output format: use only one")
    try:
        if not duckdb.extract_statements(query):
            raise click.ClickException("there is no statement to execute")
        with (
            TemporaryDirectory() as folder,
            duckdb.connect(local_file(WAREHOUSE, lambda: folder), read_only=True) as con,
        ):
            if is_remote(settings.data_dir):
                open_lake().register(con)
            con.execute("SET TimeZone = 'UTC'")
            if _lies_elsewhere(con, settings.data_dir):
                file = f"{settings.data_dir}/{WAREHOUSE}"
                raise click.ClickException(f"{file} belongs to a lake in another folder: `mds run` builds a new one")
            result = con.sql(query)
            if as_csv:
                _write_csv(result)
            elif as_json:
                rows = result.set_alias("output_rows").project("to_json(output_rows)").fetchall()
                sys.stdout.write(json_text("[" + ",\n".join(row for (row,) in rows) + "]\n"))
            else:
                _show_result(result)
    except duckdb.Error as error:
        # Without the query itself, which DuckDB repeats to point at the place.
        message, _, _ = str(error).partition("\n\nLINE ")
        raise click.ClickException(" ".join(_with_schema(message, query).split())) from None


def _with_schema(message: str, query: str) -> str:
    """DuckDB's message, with the schema in its suggestion: it leaves it out if the query gives the right one."""
    if missing := re.match(r"Catalog Error: Table with name (\w+) does not exist!", message):
        schema = re.search(rf"""(\w+)"?\."?{missing[1]}\b""", query, re.IGNORECASE)
        if schema:
            return re.sub(r'Did you mean "(\w+)"', rf'Did you mean "{schema[1]}.\1"', message)
    return message


def _lies_elsewhere(con: "DuckDBPyConnection", root: str) -> bool:
    """Whether the views read files outside this lake's folder, as they do in a copied lake."""
    folder = glob.escape(root).replace("'", "''") + "/"
    query = "SELECT bool_or(NOT contains(sql, ?)) FROM duckdb_views() WHERE NOT internal AND contains(sql, 'parquet')"
    ((elsewhere,),) = con.execute(query, [folder]).fetchall()
    return bool(elsewhere)


def _show_result(result: "DuckDBPyRelation") -> None:
    """Print the first rows of a query: as a table, or row by row if the table would be too wide."""
    rows = _as_text(result).limit(_MAX_ROWS + 1).fetchall()
    more, rows = rows[_MAX_ROWS:], rows[:_MAX_ROWS]
    types = (sql_type.id for sql_type in result.types)
    numeric = {
        name: of_type.endswith(("int", "integer", "decimal", "float", "double"))
        for name, of_type in zip(result.columns, types, strict=True)
    }
    table = rich_table(numeric, rows, keep="\n" if "explain_value" in numeric else "")  # a drawing of DuckDB's
    if rows and console.measure(table, options=UNBOUNDED).minimum > console.width:
        for row in rows:
            record = rich_table({"column": False, "value": False}, zip(numeric, row, strict=True))
            record.show_header = False
            console.print(record)
    else:
        console.print(table)
    if more:
        say(f"The first {_MAX_ROWS} rows: --csv or --json print all.")


def _write_csv(result: "DuckDBPyRelation") -> None:
    """Write all rows as CSV that is safe to open in a spreadsheet, and on a terminal."""
    import polars as pl

    may_be_formula = [
        name
        for name, sql_type in zip(result.columns, result.types, strict=True)
        if sql_type.id in _FREE_TEXT and str(sql_type) != "JSON"
    ]
    rows = _as_text(result).pl()
    # By series: to `pl.col`, a column named `*` or `^...$` is a pattern.
    rows = rows.with_columns(rows[name].str.replace(FORMULA, FORMULA_AS_TEXT) for name in may_be_formula)
    header = pl.Series(rows.columns).str.replace(FORMULA, FORMULA_AS_TEXT)
    document = rows.rename(dict(zip(rows.columns, header, strict=True))).write_csv()
    sys.stdout.write(printable(document, keep="\n") if sys.stdout.isatty() else document)


def _as_text(result: "DuckDBPyRelation") -> "DuckDBPyRelation":
    """Each value as text, formatted by DuckDB."""
    return result.project("COLUMNS(*)::VARCHAR")
