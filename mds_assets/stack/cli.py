"""`mds`: run the whole project from a terminal. It calls Dagster underneath, on the same instance.

A source adds options to `mds run` with a module `options.py`, and closing lines with its settings.
"""

import glob
import importlib
import importlib.util
import inspect
import os
import pkgutil
import sys
import webbrowser
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory, mkdtemp
from typing import TYPE_CHECKING, Annotated, NoReturn, TypeAlias

import click
import typer

from mds_assets.stack.redaction import guard_output, shown
from mds_assets.stack.running import first_failure, materialize, selected, use_project_home
from mds_assets.stack.terminal import UNBOUNDED, console, count, fitting, rich_table, say
from mds_assets.stack.text import FORMULA, FORMULA_AS_TEXT, json_text, printable

if TYPE_CHECKING:
    import polars as pl
    from dagster import AssetSpec, ExecuteInProcessResult
    from duckdb import DuckDBPyConnection, DuckDBPyRelation

    from mds_assets.stack.lake import Lake
    from mds_assets.stack.plan.runs import Run
    from mds_assets.stack.table import Table as DeclaredTable

# Dagster and the project are imported inside the commands, after the options have been turned into settings.

app = typer.Typer(
    help="The modern data stack in a box: a local lake of Parquet, run by Dagster.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)

HEADLINE = "mds/headline"  # the tag that orders the marts which `mds run` and `mds show` print

_NO_CHANGE = "No table's code, declaration or settings changed since these days were made.\n"
_LAYERS = ("raw", "staging", "marts")
_MAX_ROWS, _MAX_SQL_ROWS, _MAX_MARTS = 12, 100, 2
_FREE_TEXT = {"varchar", "blob", "enum", "union", "variant"}  # DuckDB's types whose text may begin with anything


# Options that several commands have.
_Days: TypeAlias = Annotated[int | None, typer.Option(min=1, help="How many days; default since the first landed day.")]
_First: TypeAlias = Annotated[
    datetime | None, typer.Option("--from", formats=["%Y-%m-%d"], help="First day (UTC), instead of --days.")
]
_Last: TypeAlias = Annotated[
    datetime | None, typer.Option("--to", formats=["%Y-%m-%d"], help="Last day (UTC); default yesterday.")
]
_Select: TypeAlias = Annotated[
    str | None,
    typer.Option(help="The tables, in Dagster's asset selection syntax, such as 'group:marts'; default all."),
]


def main() -> None:
    """Run the command; an error is one line on standard error and exit code 1."""
    guard_output()
    try:
        app()
    except click.ClickException as error:  # typer vendors its own click, which doesn't recognise this exception class
        _fail(error.format_message(), error.exit_code)
    except Exception as error:
        lake = sys.modules.get("mds_assets.stack.lake")  # a command that has not imported it cannot have failed in it
        if not lake or not isinstance(error, (lake.LakeError, lake.InputsChangedError)):
            raise
        _fail(str(error), 1)


def _fail(message: str, code: int) -> NoReturn:
    click.echo(f"Error: {shown(message)}", err=True)
    sys.exit(code)


def run(
    lookback_days: Annotated[int | None, typer.Option(help="The marts' window; default MDS_LOOKBACK_DAYS.")] = None,
    days: Annotated[
        int | None, typer.Option(min=1, help="How many days, ending yesterday; default the window.")
    ] = None,
    first: _First = None,
    last: _Last = None,
    skip_ingest: Annotated[
        bool, typer.Option("--skip-ingest", help="Query no source: rebuild staging and marts from raw.")
    ] = False,
    select: _Select = None,
    missing: Annotated[
        bool, typer.Option("--missing", help="Only what `mds plan` calls missing, and what follows from it.")
    ] = False,
    stale: Annotated[
        bool, typer.Option("--stale", help="Only what `mds plan` calls stale, and what follows from it.")
    ] = False,
    known_at: Annotated[
        datetime | None,
        typer.Option(
            formats=["%Y-%m-%dT%H:%MZ", "%Y-%m-%dT%H:%M:%SZ"],
            metavar="2026-11-20T06:00Z",
            help="Rebuild staging and marts in another lake, from the loads that were there at this time (UTC).",
        ),
    ] = None,
    **source_options: str | None,
) -> None:
    """Materialize the tables for a range of days, by default the window ending yesterday, and print a summary.

    With --missing or --stale, the range is by default everything since the first landed day.
    """
    variables = {name: variable for name, (variable, _) in source_run_options().items()}
    for variable, value in (
        ("MDS_LOOKBACK_DAYS", lookback_days),
        *((variables[name], value) for name, value in source_options.items()),
    ):
        if value is not None:
            os.environ[variable] = str(value)
    from mds_assets.stack.settings import loaded_sources, settings

    if known_at:
        if missing or stale or skip_ingest or select:
            raise click.ClickException("--known-at rebuilds everything: combine it with --days, --from and --to only")
        return _known_at(known_at.replace(tzinfo=UTC), _range(days, first, last))
    if missing or stale:
        return _heal(_range(days, first, last), select, missing=missing, stale=stale, skip_ingest=skip_ingest)
    start, end = _range(days or (None if first else settings.lookback_days), first, last)
    if not start:
        raise AssertionError("a range without --missing or --stale has a start")
    period = f"{(end - start).days + 1} days, {start} to {end}" if start < end else f"{end}"
    summaries = ", ".join(filter(None, (source.summary() for source in loaded_sources())))
    say(period, *((", of ", (summaries, "bold")) if summaries else ()))
    from mds_assets.definitions import defs

    keys = {key for key in selected(defs, select) if not (skip_ingest and key.has_prefix(["raw"]))}
    result = materialize(defs, start, end, keys)
    if not result.success:
        raise click.ClickException(first_failure(result))
    _show_made(result)
    _show_skipped(result)
    _show_marts(end)
    _show_where_next()


def _range(days: int | None, first: datetime | None, last: datetime | None) -> tuple[date | None, date]:
    """The first and last day that the options ask for; no first day if neither `days` nor `first` is given.

    Raises:
        ClickException: Both are given, or it is not a range of days that have partitions.
    """
    from mds_assets.stack.settings import settings

    if days and first:
        raise click.ClickException("--days and --from both set the start: use only one")
    yesterday = datetime.now(UTC).date() - timedelta(days=1)
    end = last.date() if last else yesterday
    start = max(end - timedelta(days=days - 1), settings.start_date) if days else None
    start = first.date() if first else start
    if not settings.start_date <= (start or end) <= end <= yesterday:
        raise click.ClickException(
            f"{start or end} to {end} is not a range of days between {settings.start_date} (MDS_START_DATE) and "
            f"{yesterday}, the last day that has ended (UTC)"
        )
    return start, end


def _heal(days: tuple[date | None, date], select: str | None, *, missing: bool, stale: bool, skip_ingest: bool) -> None:
    """Make what is missing or stale, and downstream of it."""
    from dagster import AssetKey

    from mds_assets.definitions import defs
    from mds_assets.stack.plan.heal import heal
    from mds_assets.stack.plan.plan import make_plan
    from mds_assets.stack.plan.states import State

    lake, keys = _lake(), selected(defs, select)
    keys = {key for key in keys if not (skip_ingest and key.has_prefix(["raw"]))}
    acts_on = {State.MISSING, State.EARLY_ONLY} if missing else set[State]()
    acts_on |= {State.STALE} if stale else set[State]()
    warehouse = {key for key in keys if key == AssetKey(["warehouse"])}

    def make(run: "Run", left: int) -> str:
        days = f"{run.first}" if run.days == 1 else f"{run.first} to {run.last}"
        then = f", then {count(left, 'more run')}" if left else ""
        say((days, "bold"), f": {', '.join(key.to_user_string() for key in run.keys)}{then}")
        # Once, at the end: its views show whatever is there.
        result = materialize(defs, run.first, run.last, [*run.keys, *(() if left else warehouse)])
        _show_made(result)
        _show_skipped(result)
        if result.success:
            return ""
        reason = first_failure(result)
        say(("✗", "red"), f" {reason}")
        return reason

    number, failures = heal(
        lambda given_up, states, only: make_plan(
            defs, lake, *days, keys if only is None else keys.intersection(only), acts_on=states, given_up=given_up
        ),
        acts_on,
        make,
    )
    if not number:
        say("Nothing is missing or stale." if missing and stale else f"Nothing is {'missing' if missing else 'stale'}.")
    if failures:
        raise click.ClickException(f"{len(failures)} of {number} runs failed: {failures[0]}")
    if number:
        _show_where_next()


def _known_at(at: datetime, days: tuple[date | None, date]) -> None:
    """Make a lake as it would have been at a time, beside the lake."""
    from mds_assets.definitions import defs
    from mds_assets.stack import recompute

    lake = _lake()
    root = f"{lake.root}-known-at-{at:%Y%m%dT%H%M%SZ}"
    with console.status("Making tables"):
        side = recompute.known_at(defs, lake, at, root, *days)
    for spec in _tables():
        if spec.partitions_def and (landed := side.days(spec.key)):
            say(f"  {spec.key.to_user_string()}: {count(len(landed), 'day')}, {landed[0]} to {landed[-1]}")
    say(f"As known at {at:%Y-%m-%d %H:%M:%S} UTC: ", (root, "bold"))
    say("Next: ", (f"MDS_DATA_DIR={root} .venv/bin/mds show", "bold"), " prints its marts; delete it when you are done")


@app.command()
def plan(
    days: _Days = None,
    first: _First = None,
    last: _Last = None,
    select: _Select = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the whole plan as JSON.")] = False,
) -> None:
    """Show which days of which tables are there, missing or stale, why, and what a run would make; changes nothing."""
    from dagster import DagsterInstance

    from mds_assets.definitions import defs
    from mds_assets.stack.plan.plan import make_plan
    from mds_assets.stack.plan.show import show, to_json
    from mds_assets.stack.settings import loaded_sources

    start, end = _range(days, first, last)
    use_project_home()
    with DagsterInstance.get() as instance:
        made = make_plan(defs, _lake(), start, end, selected(defs, select), instance=instance)
    sources = {type(source).__module__.split(".")[-2]: source for source in loaded_sources()}
    if as_json:
        sys.stdout.write(json_text(to_json(made, sources) + "\n"))
    else:
        show(made, sources)


@app.command()
def diff(
    days: Annotated[int, typer.Option(min=1, help="How many days, ending with the last landed one.")] = 7,
    first: _First = None,
    last: Annotated[
        datetime | None, typer.Option("--to", formats=["%Y-%m-%d"], help="Last day (UTC); default the last landed one.")
    ] = None,
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

    lake = _lake()
    landed = [day for spec in _tables() if spec.key.has_prefix(["raw"]) and (day := lake.newest_day(spec.key))]
    if not landed:
        raise click.ClickException(f"{lake.root} has no landed day to compare: `mds run` makes some")
    start, end = _range(None if first else days, first, last or datetime.combine(max(landed), datetime.min.time()))
    differences = recompute.diff(
        defs, lake, start or end, end, selected(defs, select) if select else None, show_values=previews_allowed()
    )
    title = f"Data diff, {start} to {end}"
    sys.stdout.write(json_text(to_markdown(differences, title=title)) if differences else _NO_CHANGE)
    if fail_on_change and any(not each.is_empty for each in differences):
        raise typer.Exit(1)


@app.command()
def verify(
    days: _Days = None,
    first: _First = None,
    last: _Last = None,
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

    start, end = _range(days, first, last)
    keys = selected(defs, select) if select else None
    found = recompute.verify(defs, _lake(), start, end, keys, show_values=previews_allowed())
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


@app.command()
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

    answer = explain(defs, _lake(), table, rows or [])
    if as_json:
        sys.stdout.write(json_text(to_json(answer) + "\n"))
    else:
        show(answer)


def source_run_options(package: str = "mds_assets.defs") -> dict[str, tuple[str, str]]:
    """Options of `mds run` that set a source's settings: for each option, its variable and help text.

    They come from `RUN_OPTIONS` in each source's `options.py`, which imports nothing, because settings are read later.
    """
    options: dict[str, tuple[str, str]] = {}
    for source in pkgutil.iter_modules(importlib.import_module(package).__path__, f"{package}."):
        if source.ispkg and importlib.util.find_spec(f"{source.name}.options"):
            options |= importlib.import_module(f"{source.name}.options").RUN_OPTIONS
    return options


def _add_run() -> None:
    """Register `mds run` with the options of the sources: typer reads a function's signature."""
    signature = inspect.signature(run)
    own = [each for each in signature.parameters.values() if each.kind is not inspect.Parameter.VAR_KEYWORD]
    added = [
        inspect.Parameter(
            name,
            inspect.Parameter.KEYWORD_ONLY,
            default=None,
            annotation=Annotated[str | None, typer.Option(help=text)],
        )
        for name, (_, text) in source_run_options().items()
    ]
    run.__signature__ = signature.replace(parameters=[*own, *added])  # pyright: ignore[reportFunctionMemberAccess]
    run.__annotations__ |= {parameter.name: parameter.annotation for parameter in added}
    app.command()(run)


_add_run()


@app.command()
def show() -> None:
    """List the partitions that exist for each table, and print the newest marts."""
    from mds_assets.stack.partitions import days_between

    lake = _lake()
    rows: list[Sequence[object]] = []
    newest: list[date] = []
    for spec in _tables():
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
        _show_marts(max(newest))
    _show_where_next()


@app.command()
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

    lake = _lake()
    findings = list(examine(lake, _tables(), deep=deep))
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


@app.command()
def dictionary() -> None:
    """Print the data dictionary as markdown: every table's columns, rules and where they come from."""
    from mds_assets.stack.catalog import data_dictionary

    typer.echo(data_dictionary(_tables()), nl=False)


@app.command()
def lineage(
    page: Annotated[Path, typer.Argument(metavar="FILE", help="The page to write.")] = Path("build/lineage.html"),
) -> None:
    """Write the column lineage as one HTML page and print its path: search a column to see what it is made from."""
    from mds_assets.stack.lineage import lineage_page

    page.parent.mkdir(parents=True, exist_ok=True)
    page.write_text(lineage_page(_tables()), encoding="utf-8")
    typer.echo(page.resolve())


@app.command()
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
        with TemporaryDirectory() as folder, duckdb.connect(_local(WAREHOUSE, lambda: folder), read_only=True) as con:
            if is_remote(settings.data_dir):
                _lake().register(con)
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
        raise click.ClickException(" ".join(message.split())) from None


@app.command()
def report(
    open_it: Annotated[
        bool, typer.Option("--open/--no-open", help="Open it in the browser, or only print its path.")
    ] = True,
) -> None:
    """Open the newest report in the browser and print its path; without a display, only print the path."""
    from mds_assets.stack.names import LATEST_REPORT

    # The browser reads it after this command has ended.
    page = _local(LATEST_REPORT, mkdtemp)
    typer.echo(page)
    # Without a display, Python would open a browser in the terminal.
    displays = ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER")
    if open_it and (sys.platform in ("darwin", "win32") or any(os.environ.get(name) for name in displays)):
        webbrowser.open(page.as_uri())


def _local(name: str, folder: Callable[[], str]) -> Path:
    """A file of the lake; if the lake is in an object store, a copy in this folder."""
    from mds_assets.stack.settings import is_remote, settings

    if not is_remote(settings.data_dir):
        stored = Path(settings.data_dir, name)
    else:
        stored = _lake().path(name)
    if not stored.exists():
        raise click.ClickException(f"there is no {stored} yet: `mds run` creates it")
    if isinstance(stored, Path):
        return stored
    copied = Path(folder(), stored.name)
    copied.write_bytes(stored.read_bytes())
    return copied


def _lies_elsewhere(con: "DuckDBPyConnection", root: str) -> bool:
    """Whether the views read files outside this lake's folder, as they do in a copied lake."""
    folder = glob.escape(root).replace("'", "''") + "/"
    query = "SELECT bool_or(NOT contains(sql, ?)) FROM duckdb_views() WHERE NOT internal AND contains(sql, 'parquet')"
    ((elsewhere,),) = con.execute(query, [folder]).fetchall()
    return bool(elsewhere)


def _lake() -> "Lake":
    from mds_assets.stack.lake import Lake
    from mds_assets.stack.settings import settings

    return Lake(settings.data_dir)


def _tables() -> "list[AssetSpec]":
    """The assets that are tables of the lake (they declare columns), in layer order."""
    from mds_assets.definitions import defs
    from mds_assets.stack.table import TABLE

    tables = [spec for spec in defs.resolve_all_asset_specs() if TABLE in spec.metadata]
    return sorted(tables, key=lambda spec: ((*_LAYERS, layer := spec.key.path[0]).index(layer), spec.key))


def _show_made(result: "ExecuteInProcessResult") -> None:
    """Print how many rows the run wrote to each table."""
    rows: dict[str, int] = {}
    days: dict[str, set[str]] = {}
    for event in result.get_asset_materialization_events():
        metadata = event.materialization.metadata
        name = event.materialization.asset_key.to_user_string()
        count = metadata.get("rows_landed") or metadata.get("dagster/partition_row_count")
        if count is not None:
            rows[name] = rows.get(name, 0) + int(str(count.value))
            days.setdefault(name, set()).update([event.partition] if event.partition else [])
    order = {spec.key.to_user_string(): None for spec in _tables()}
    made = [(name, len(days[name]) or "", f"{rows[name]:,}") for name in order if name in rows]
    console.print(rich_table({"made": False, "days": True, "rows": True}, made))


def _show_skipped(result: "ExecuteInProcessResult") -> None:
    """Print one line for each reason why raw tables were skipped."""
    from mds_assets.stack.names import SKIPPED

    skipped: dict[str, list[str]] = {}
    for event in result.all_events:
        if event.event_type_value == "ASSET_OBSERVATION" and event.asset_key:
            observation = event.asset_observation_data.asset_observation
            if reason := observation.metadata.get(SKIPPED):
                skipped.setdefault(str(reason.value), []).append(event.asset_key.to_user_string())
    for reason, tables in skipped.items():
        say((f"Skipped {', '.join(tables)} and everything downstream:", "yellow"), f" {reason}")


def _show_marts(day: date) -> None:
    """Print the headline marts of this day, those with rows first, and list the others."""
    from mds_assets.stack.io_managers.polars import scan
    from mds_assets.stack.lake.footers import footer, why_unreadable
    from mds_assets.stack.settings import previews_allowed
    from mds_assets.stack.table import DAY, declared_table

    lake = _lake()
    marts = [
        spec
        for spec in _tables()
        if spec.key.has_prefix(["marts"])
        and (files := lake.files(spec.key, day))
        and not any(map(why_unreadable, files))
    ]
    has_rows = {spec.key: any(footer(file).num_rows for file in lake.files(spec.key, day)) for spec in marts}
    marts.sort(key=lambda spec: (not has_rows[spec.key], spec.tags.get(HEADLINE, "~")))
    for spec in marts[:_MAX_MARTS]:
        name = spec.key.to_user_string()
        table = declared_table(name, spec.metadata)
        frame = scan(lake.files(spec.key, day), table, polars_options=lake.polars_options)
        rows = (frame if previews_allowed() else _without_private(frame, table)).drop(DAY).collect()
        shown = f", {_MAX_ROWS} of {rows.height} rows" if rows.height > _MAX_ROWS else ""
        shown_rows, hidden = fitting(rows.head(_MAX_ROWS))
        without = f", without {', '.join(hidden)}" if hidden else ""
        say(f"{name} as of {day}{shown}{without}")  # a table's own title wraps where the table is narrow
        console.print(shown_rows)
    if others := [spec.key.to_user_string() for spec in marts[_MAX_MARTS:]]:
        say(f"Also as of {day}: {', '.join(others)}")


def _without_private(frame: "pl.LazyFrame", table: "DeclaredTable") -> "pl.LazyFrame":
    """The table without its private values: the terminal may be a log that others read."""
    import polars as pl

    private = [column.name for column in table.columns if column.private]
    if not table.public:
        return frame.drop(private)
    is_public = pl.sql_expr(table.public)
    return frame.with_columns(pl.when(is_public).then(pl.col(private)).otherwise(pl.lit("(private)")))


def _show_result(result: "DuckDBPyRelation") -> None:
    """Print the first rows of a query: as a table, or row by row if the table would be too wide."""
    rows = _as_text(result).limit(_MAX_SQL_ROWS + 1).fetchall()
    more, rows = rows[_MAX_SQL_ROWS:], rows[:_MAX_SQL_ROWS]
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
        say(f"The first {_MAX_SQL_ROWS} rows: --csv or --json print all.")


def _write_csv(result: "DuckDBPyRelation") -> None:
    """Write all rows as CSV that is safe to open in a spreadsheet, and on a terminal."""
    import polars as pl

    may_be_formula = [
        name
        for name, sql_type in zip(result.columns, result.types, strict=True)
        if sql_type.id in _FREE_TEXT and str(sql_type) != "JSON"
    ]
    rows = _as_text(result).pl()
    rows = rows.with_columns(pl.col(may_be_formula).str.replace(FORMULA, FORMULA_AS_TEXT))
    header = pl.Series(rows.columns).str.replace(FORMULA, FORMULA_AS_TEXT)
    document = rows.rename(dict(zip(rows.columns, header, strict=True))).write_csv()
    sys.stdout.write(printable(document, keep="\n") if sys.stdout.isatty() else document)


def _as_text(result: "DuckDBPyRelation") -> "DuckDBPyRelation":
    """Each value as text, formatted by DuckDB."""
    return result.project("COLUMNS(*)::VARCHAR")


def _show_where_next() -> None:
    from mds_assets.stack.settings import loaded_sources, settings

    say(f"Lake: {settings.data_dir}")
    for hint in _hints():
        console.print(f"Next: {hint}", soft_wrap=True)
    for source in loaded_sources():
        for hint in source.hints():
            console.print(f"      {hint}", soft_wrap=True)


def _hints() -> Iterator[str]:
    from mds_assets.stack.names import LATEST_REPORT

    lake = _lake()
    if lake.path(LATEST_REPORT).exists():
        yield "[bold].venv/bin/mds report[/] opens the newest report in the browser"
    marts = [spec for spec in _tables() if spec.key.has_prefix(["marts"]) and lake.newest_day(spec.key)]
    if marts:
        main = min(marts, key=lambda spec: spec.tags.get(HEADLINE, "~"))
        yield f'[bold].venv/bin/mds sql "FROM marts.{main.key.path[-1]}_latest"[/] queries it in SQL'
    yield "[bold]make dev[/] opens Dagster's UI on http://127.0.0.1:3000"
