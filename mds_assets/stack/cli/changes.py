"""`mds plan`, `diff`, `verify`, `why`: what is missing or stale, what an edit changes, where rows came from."""

import sys
from datetime import date
from typing import Annotated

import click
import typer

from mds_assets.stack.cli.lake import open_lake, tables
from mds_assets.stack.cli.options import Days, First, Last, Select, day_option, range_of
from mds_assets.stack.cli.running import selected, use_project_home
from mds_assets.stack.terminal import say
from mds_assets.stack.text import count, json_text

_NO_CHANGE = "No table's code, declaration or settings changed since these days were made.\n"


def plan(
    days: Days = None,
    first: First = None,
    last: Last = None,
    select: Select = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the whole plan as JSON.")] = False,
) -> None:
    """Show which days of which tables are there, missing or stale, why, and what a run would make; changes nothing."""
    from dagster import DagsterInstance

    from mds_assets.definitions import defs
    from mds_assets.stack.plan.plan import make_plan
    from mds_assets.stack.plan.show import show, to_json
    from mds_assets.stack.settings import loaded_sources

    start, end = range_of(days, first, last)
    use_project_home()
    with DagsterInstance.get() as instance:
        made = make_plan(defs, open_lake(), start, end, selected(defs, select), instance=instance)
    sources = {type(source).__module__.split(".")[-2]: source for source in loaded_sources()}
    if as_json:
        sys.stdout.write(json_text(to_json(made, sources) + "\n"))
    else:
        show(made, sources)


def diff(
    days: Annotated[int, typer.Option(min=1, help="How many days, ending with the last landed one.")] = 7,
    first: First = None,
    last: Annotated[date | None, day_option("--to", "Last day (UTC); default the last landed one.")] = None,
    select: Annotated[
        str | None,
        typer.Option(help="The tables, in Dagster's asset selection syntax; default those whose code changed."),
    ] = None,
    fail_on_change: Annotated[bool, typer.Option("--fail-on-change", help="Exit with 1 if rows differ.")] = False,
) -> None:
    """Show what edited SQL, marts or settings change in the data, as Markdown for a pull request; replaces nothing.

    Makes the tables whose code changed, and all downstream, in a side lake, and compares them by key.
    """
    from mds_assets.definitions import defs
    from mds_assets.stack import recompute
    from mds_assets.stack.compare import to_markdown
    from mds_assets.stack.settings import previews_allowed

    lake = open_lake()
    landed = [day for spec in tables() if spec.key.has_prefix(["raw"]) and (day := lake.newest_day(spec.key))]
    if not landed:
        raise click.ClickException(f"{lake.root} has no landed day to compare: `mds run` makes some")
    start, end = range_of(None if first else days, first, last or max(landed))
    differences = recompute.diff(
        defs, lake, start or end, end, selected(defs, select) if select else None, show_values=previews_allowed()
    )
    title = f"Data diff, {start} to {end}"
    sys.stdout.write(json_text(to_markdown(differences, title=title)) if differences else _NO_CHANGE)
    if fail_on_change and any(not each.is_empty for each in differences):
        raise typer.Exit(1)


def verify(
    days: Days = None,
    first: First = None,
    last: Last = None,
    select: Annotated[
        str | None, typer.Option(help="The tables, in Dagster's asset selection syntax; default all.")
    ] = None,
) -> None:
    """Make days again from raw in a side lake, and compare them value by value; exit code 1 if one differs.

    Finds edits by hand, damage that reads well, and code whose result depends on more than its inputs.
    """
    from mds_assets.definitions import defs
    from mds_assets.stack import recompute
    from mds_assets.stack.compare import to_markdown
    from mds_assets.stack.settings import previews_allowed

    start, end = range_of(days, first, last)
    keys = selected(defs, select) if select else None
    found = recompute.verify(defs, open_lake(), start, end, keys, show_values=previews_allowed())
    different = [each for each in found.differences if not each.is_empty]
    if different:
        sys.stdout.write(json_text(to_markdown(different, title="Not as made again from raw")))
    if not found.partitions:
        say("There is nothing to compare.")
    else:
        made = f"{count(found.partitions, 'partition')} of {count(len(found.differences), 'table')}"
        differ = f"{count(len(different), 'table')} {'differs' if len(different) == 1 else 'differ'}"
        say(f"{made} made again from raw: {differ}.")
    if found.stale:
        say(f"Left out, as they are missing or stale: {count(found.stale, 'partition')}; `mds plan` says why.")
    if different:
        say("To replace them by what raw makes of them: ", ("mds run --skip-ingest --from DAY --to DAY", "bold"))
        raise typer.Exit(1)


def why(
    table: Annotated[str, typer.Argument(help="The table, such as `marts/daily_activity`.")],
    rows: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[DAY] [COLUMN=VALUE]...",
            help="Its day (UTC), if it has daily partitions; then which rows, by any of its columns. Default: all.",
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print all of it as JSON.")] = False,
) -> None:
    """Explain rows: their file and its state, then the rows of each table they came from, down to the loads of raw."""
    from mds_assets.definitions import defs
    from mds_assets.stack.why.answer import explain
    from mds_assets.stack.why.show import show, to_json

    answer = explain(defs, open_lake(), table, rows or [])
    if as_json:
        sys.stdout.write(json_text(to_json(answer) + "\n"))
    else:
        show(answer)
