"""`mds show`, `doctor`, `dictionary`, `lineage` and `report`: what the lake holds, and whether it is sound."""

import os
import sys
import webbrowser
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from tempfile import mkdtemp
from typing import Annotated

import typer

from mds_assets.stack.cli.lake import local_file, open_lake, tables
from mds_assets.stack.cli.summary import show_marts, show_where_next
from mds_assets.stack.terminal import console, rich_table, say


def show() -> None:
    """List the partitions that exist for each table, and print the newest marts."""
    from mds_assets.stack.partitions import days_between

    lake = open_lake()
    rows: list[Sequence[object]] = []
    newest: list[date] = []
    for spec in tables():
        name = spec.key.to_user_string()
        if not spec.partitions_def:
            rows.append((name, "one" if lake.files(spec.key, None) else "none", "", "", ""))
            continue
        days = lake.days(spec.key)
        gaps = len(set(days_between(days[0], days[-1])) - set(days)) if days else 0
        rows.append((name, len(days), *(days[:1] or [""]), *(days[-1:] or [""]), gaps or ""))
        if spec.key.has_prefix(["marts"]):
            newest += days[-1:]
    columns = {"table": False, "days": True, "first": False, "last": False, "missing between": True}
    console.print(rich_table(columns, rows))
    if newest:
        show_marts(max(newest))
    show_where_next()


def doctor(
    fix: Annotated[
        bool, typer.Option("--fix", help="Move foreign and unreadable files to quarantine/, remove leftovers.")
    ] = False,
    deep: Annotated[
        bool, typer.Option("--deep", help="Read all rows of every file too, not only its footer: this takes a while.")
    ] = False,
) -> None:
    """Look for what is wrong with the lake's files and say what to do; exit code 1 if something is."""
    from mds_assets.stack.doctor import examine

    lake = open_lake()
    findings = list(examine(lake, tables(), deep=deep))
    for each in findings:
        if fix and each.fix:
            each.fix()
            say(("moved " if each.needs_run else "fixed ", "green"), (each.kind, "bold"), f" {each.what}")
        else:
            say((each.kind, "bold"), f" {each.what}")
        say("  ", (each.way_out, "dim"))
    if not findings:
        read = "all rows of every file can be read" if deep else "every file has a whole footer (--deep reads the rows)"
        say(
            f"Nothing found in {lake.root}: {read} and belongs to a table, and no day is older than what it is made "
            "from, or missing while other days or tables show that it was there."
        )
    if any(each.needs_run or not (fix and each.fix) for each in findings):
        raise typer.Exit(1)


def dictionary() -> None:
    """Print the data dictionary as markdown: every table's columns, rules and where they come from."""
    from mds_assets.stack.catalog import data_dictionary

    typer.echo(data_dictionary(tables()), nl=False)


def lineage(
    page: Annotated[Path, typer.Argument(metavar="FILE", help="The page to write.")] = Path("build/lineage.html"),
) -> None:
    """Write the column lineage as one HTML page and print its path: search a column to see what it is made from."""
    from mds_assets.stack.lineage import lineage_page

    page.parent.mkdir(parents=True, exist_ok=True)
    page.write_text(lineage_page(tables()), encoding="utf-8")
    typer.echo(page.resolve())


def report(
    open_it: Annotated[
        bool, typer.Option("--open/--no-open", help="Open it in the browser, or only print its path.")
    ] = True,
) -> None:
    """Open the newest report in the browser and print its path; without a display, only print the path."""
    from mds_assets.stack.names import LATEST_REPORT

    # The browser reads it after this command has ended.
    page = local_file(LATEST_REPORT, mkdtemp)
    typer.echo(page)
    # Without a display, Python would open a browser in the terminal.
    displays = ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER")
    if open_it and (sys.platform in ("darwin", "win32") or any(os.environ.get(name) for name in displays)):
        webbrowser.open(page.as_uri())
