"""`mds`, a small command for people who come from scripts: it calls Dagster underneath, on the same instance.

What does not belong here: anything about runs that Dagster's own CLI and UI cannot do as well.
"""

import glob
import logging
import os
import sys
import webbrowser
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory, mkdtemp
from typing import TYPE_CHECKING, Annotated

import click
import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

if TYPE_CHECKING:
    from dagster import AssetSpec, DagsterEvent, ExecuteInProcessResult, LoggerDefinition
    from duckdb import DuckDBPyConnection, DuckDBPyRelation

# Dagster and the project are imported inside the commands, once the options have become settings.

app = typer.Typer(
    help="GitHub's API as a trusted, fast, local warehouse.", no_args_is_help=True, pretty_exceptions_enable=False
)
console = Console()

_LAYERS = ("raw", "staging", "marts")
_MOST_ROWS, _MOST_SQL_ROWS = 20, 100
_RANGE_START, _RANGE_END = "dagster/asset_partition_range_start", "dagster/asset_partition_range_end"


def main() -> None:
    """Run the command; what is wrong is one line on standard error and exit code 1."""
    try:
        app()
    except click.ClickException as error:  # typer carries a click of its own, which does not know this one
        error.show()
        sys.exit(error.exit_code)


@app.command()
def run(
    org: Annotated[
        str | None, typer.Option(help="Organisations or users, comma-separated; default GITHUB_ORG, else the sample.")
    ] = None,
    lookback_days: Annotated[int | None, typer.Option(help="The marts' window; default MDS_LOOKBACK_DAYS.")] = None,
    days: Annotated[
        int | None, typer.Option(min=1, help="How many days, ending yesterday; default the window.")
    ] = None,
    first: Annotated[
        datetime | None, typer.Option("--from", formats=["%Y-%m-%d"], help="First day (UTC), instead of --days.")
    ] = None,
    last: Annotated[
        datetime | None, typer.Option("--to", formats=["%Y-%m-%d"], help="Last day (UTC); default yesterday.")
    ] = None,
    skip_ingest: Annotated[
        bool, typer.Option("--skip-ingest", help="Ask GitHub nothing: rebuild staging and marts from raw.")
    ] = False,
) -> None:
    """Materialise all of the window that ends yesterday, with warehouse and report, and show the newest marts."""
    for variable, value in (("GITHUB_ORG", org), ("MDS_LOOKBACK_DAYS", lookback_days)):
        if value is not None:
            os.environ[variable] = str(value)
    from mds_assets.stack.settings import settings

    if days and first:
        raise click.ClickException("--days and --from both say where to start: give one of them")
    yesterday = datetime.now(UTC).date() - timedelta(days=1)
    end = last.date() if last else yesterday
    wanted = end - timedelta(days=(days or settings.lookback_days) - 1)
    start = first.date() if first else max(wanted, settings.start_date)
    if not settings.start_date <= start <= end <= yesterday:
        raise click.ClickException(
            f"{start} to {end} is no range of days between {settings.start_date} (MDS_START_DATE) and {yesterday}, "
            "the last day that has ended (UTC)"
        )
    source = ", ".join(settings.organisations) or "the built-in sample"
    period = f"{(end - start).days + 1} days, {start} to {end}," if start < end else f"{end}"
    console.print(f"{period} of [bold]{source}[/]")
    _materialise(start, end, skip_ingest=skip_ingest)
    _show_marts(end)
    _show_where_next()


@app.command()
def show() -> None:
    """Print which days of which table exist, and the newest marts."""
    from mds_assets.definitions import resources
    from mds_assets.stack.partitions import days_between
    from mds_assets.stack.settings import settings

    lake = resources(settings)["lake"]
    tables = Table("table", "days", "first", "last", "missing between")
    newest: list[date] = []
    for key in (spec.key for spec in _tables()):
        days = lake.days(key)
        missing = sorted(set(days_between(days[0], days[-1])) - set(days)) if days else []
        shown = ", ".join(map(str, missing[:3])) + (f" and {len(missing) - 3} more" if len(missing) > 3 else "")
        tables.add_row(key.to_user_string(), str(len(days)), *(str(day) for day in [*days[:1], *days[-1:]]), shown)
        if key.has_prefix(["marts"]):
            newest += days[-1:]
    console.print(tables)
    if newest:
        _show_marts(max(newest))
    _show_where_next()


@app.command()
def dictionary() -> None:
    """Print the data dictionary as markdown: every table's columns, rules and where they come from."""
    from mds_assets.stack.catalog import data_dictionary

    typer.echo(data_dictionary(_tables()), nl=False)


@app.command()
def sql(
    query: Annotated[str, typer.Argument(help="DuckDB's SQL; `SHOW ALL TABLES` lists the tables.")],
    as_csv: Annotated[bool, typer.Option("--csv", help="Print all rows as CSV.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print all rows as a JSON list of objects.")] = False,
) -> None:
    """Ask the warehouse, which is only read; timestamps are in UTC."""
    import duckdb

    from mds_assets.stack.names import WAREHOUSE
    from mds_assets.stack.settings import is_remote, settings

    if as_csv and as_json:
        raise click.ClickException("--csv and --json both say how to print: give one of them")
    try:
        if not duckdb.extract_statements(query):
            raise click.ClickException("there is no statement to execute")
        with TemporaryDirectory() as folder, duckdb.connect(_local(WAREHOUSE, lambda: folder), read_only=True) as con:
            if is_remote(settings.data_dir):
                from mds_assets.stack.lake import object_store as objects

                objects.let_read(con, settings.data_dir)
            con.execute("SET TimeZone = 'UTC'")
            if _lies_elsewhere(con, settings.data_dir):
                file = f"{settings.data_dir}/{WAREHOUSE}"
                raise click.ClickException(f"{file} is of a lake that lay elsewhere: `mds run` makes it anew")
            result = con.sql(query)
            if as_csv:
                sys.stdout.write(_as_text(result).pl().write_csv())
            elif as_json:
                rows = result.set_alias("output_rows").project("to_json(output_rows)").fetchall()
                sys.stdout.write("[" + ",\n".join(row for (row,) in rows) + "]\n")
            else:
                _show_result(result)
    except duckdb.Error as error:
        # Without the query itself, which DuckDB repeats to point at the place.
        message, _, _ = str(error).partition("\n\nLINE ")
        raise click.ClickException(" ".join(message.split())) from None


@app.command()
def report(
    open_it: Annotated[bool, typer.Option("--open/--no-open", help="Whether to open it in the browser.")] = True,
) -> None:
    """Open the newest report in the browser and print its path; where there is no display, print it only."""
    from mds_assets.stack.names import LATEST_REPORT

    # The browser reads it after this command has ended.
    page = _local(LATEST_REPORT, mkdtemp)
    typer.echo(page)
    # Without a display Python would look for a browser that runs in the terminal.
    displays = ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER")
    if open_it and (sys.platform in ("darwin", "win32") or any(os.environ.get(name) for name in displays)):
        webbrowser.open(page.as_uri())


def _local(name: str, folder: Callable[[], str]) -> Path:
    """A file of the lake; of an object store's its copy in this folder."""
    from mds_assets.stack.settings import is_remote, settings

    if not is_remote(settings.data_dir):
        stored = Path(settings.data_dir, name)
    else:
        from mds_assets.stack.lake import object_store as objects  # it takes time, which a local lake need not

        stored = objects.path(settings.data_dir) / name
    if not stored.exists():
        raise click.ClickException(f"there is no {stored} yet: `mds run` makes it")
    if isinstance(stored, Path):
        return stored
    copied = Path(folder(), stored.name)
    copied.write_bytes(stored.read_bytes())
    return copied


def _lies_elsewhere(con: "DuckDBPyConnection", root: str) -> bool:
    """Whether the views read files below another folder than this lake's, as those of a copied lake do."""
    folder = glob.escape(root).replace("'", "''") + "/"
    query = "SELECT bool_or(NOT contains(sql, ?)) FROM duckdb_views() WHERE NOT internal AND contains(sql, 'parquet')"
    ((elsewhere,),) = con.execute(query, [folder]).fetchall()
    return bool(elsewhere)


def _materialise(start: date, end: date, *, skip_ingest: bool) -> None:
    """One Dagster run of the job `daily_refresh` over these days; its failure ends the command with one line."""
    from dagster import DagsterInstance, Definitions

    from mds_assets.definitions import defs
    from mds_assets.stack.settings import PROJECT_ROOT

    # The same instance as `make dev` has, so that the UI shows what ran here.
    os.environ.setdefault("DAGSTER_HOME", str(PROJECT_ROOT / ".dagster"))
    keys = [key for key in defs.resolve_all_asset_keys() if not (skip_ingest and key.has_prefix(["raw"]))]
    with DagsterInstance.get() as instance, console.status("Starting") as status:
        progress = Definitions(loggers={"progress": _progress_logger(lambda step: status.update(step))})
        result = (
            Definitions.merge(defs, progress)
            .resolve_job_def("daily_refresh")
            .execute_in_process(
                instance=instance,
                asset_selection=keys,
                # Dagster shows the day of a run of one partition, but not the range of a run of several.
                partition_key=str(end) if start == end else None,
                tags={_RANGE_START: str(start), _RANGE_END: str(end)} if start < end else None,
                run_config={"loggers": {"progress": {}}},
                raise_on_error=False,
            )
        )
    if not result.success:
        raise click.ClickException(_first_failure(result))


def _progress_logger(on_step: Callable[[str], None]) -> "LoggerDefinition":
    """A Dagster logger that tells of steps as they start and end, and of what assets log themselves."""
    from dagster import AssetCheckSeverity, InitLoggerContext, logger

    passed: dict[str | None, list[str]] = {}  # the tables whose checks passed, a check each, of each step of checks
    tables: dict[str | None, list[str]] = {}  # of each step, once each, though they have a materialisation a day

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            event: DagsterEvent | None = getattr(record, "dagster_event", None)
            if event is None and record.levelno in (logging.INFO, logging.WARNING):  # what an asset logs itself
                message: str = getattr(record, "dagster_meta", {}).get("orig_message", record.getMessage())
                style = "dim" if record.levelno == logging.INFO else "yellow"
                console.print(f"  [{style}]{escape(message)}[/]", soft_wrap=True)
            elif event is None:
                return
            elif event.event_type_value == "STEP_START":
                on_step(_table(event))
            elif event.event_type_value == "ASSET_MATERIALIZATION" and event.asset_key:
                table = event.asset_key.to_user_string()
                if table not in tables.setdefault(event.step_key, []):
                    tables[event.step_key].append(table)
            elif event.event_type_value == "STEP_UP_FOR_RETRY":
                retry = event.step_retry_data
                cause = retry.error and retry.error.cause
                wait = f"again in {retry.seconds_to_wait} s" if retry.seconds_to_wait else "again"
                console.print(f"  [yellow]{escape(cause.message.strip() if cause else '')} {wait}[/]", soft_wrap=True)
            elif event.event_type_value == "ASSET_CHECK_EVALUATION":
                check = event.asset_check_evaluation_data
                table = check.asset_key.to_user_string()
                passed.setdefault(event.step_key, []).extend([table] if check.passed else [])
                if not check.passed:
                    sign = "[yellow]![/]" if check.severity == AssetCheckSeverity.WARN else "[red]✗[/]"
                    said = escape(check.description or "")
                    console.print(f"  {sign} {table} {check.check_name}: [dim]{said}[/]", soft_wrap=True)
            elif event.event_type_value == "STEP_SUCCESS" and event.step_key in passed:
                sound = passed[event.step_key]
                console.print(f"  [green]✓[/] {len(sound)} checks of {', '.join(dict.fromkeys(sound))}")
            elif event.event_type_value == "STEP_SUCCESS":
                seconds = event.step_success_data.duration_ms / 1000
                console.print(f"  [green]✓[/] {', '.join(tables[event.step_key])} [dim]{seconds:.1f} s[/]")

    @logger
    def progress(_: InitLoggerContext) -> logging.Logger:
        handling = logging.Logger("progress", logging.INFO)
        handling.setLevel(logging.DEBUG)
        handling.addHandler(Handler())
        return handling

    return progress


def _table(event: "DagsterEvent") -> str:
    return (event.step_key or "").replace("__", "/", 1)


def _first_failure(result: "ExecuteInProcessResult") -> str:
    """Why the first failed step failed, in one line."""
    from mds_assets.stack.failures import reason

    for event in result.all_events:
        if event.is_step_failure:
            failure = event.step_failure_data.user_failure_data
            return reason(event) if failure and failure.description else f"{_table(event)}: {reason(event)}"
    return "the run failed before its first step: `make dev` shows its log"


def _tables() -> "list[AssetSpec]":
    """The assets that are tables of the lake, those that declare columns, in the order of the layers."""
    from mds_assets.definitions import defs
    from mds_assets.stack.table import COLUMN_SCHEMA

    tables = [spec for spec in defs.resolve_all_asset_specs() if COLUMN_SCHEMA in spec.metadata]
    return sorted(tables, key=lambda spec: ((*_LAYERS, layer := spec.key.path[0]).index(layer), spec.key))


def _show_marts(day: date) -> None:
    """Print each mart of this day."""
    from mds_assets.definitions import resources
    from mds_assets.stack.io_managers.polars import scan
    from mds_assets.stack.settings import settings
    from mds_assets.stack.table import declared_schema

    lake = resources(settings)["lake"]
    for spec in _tables():
        files = lake.files(spec.key, day) if spec.key.has_prefix(["marts"]) else []
        if not files:
            continue
        mart = spec.key.to_user_string()
        # The terminal may be a log that others read.
        hidden = ["day"] if settings.repositories_may_be_named else ["day", "repo_name"]
        rows = scan(files, declared_schema(mart, spec.metadata)).drop(hidden, strict=False).collect()
        shown = f", the first {_MOST_ROWS} of {rows.height} rows" if rows.height > _MOST_ROWS else ""
        numeric = {name: dtype.is_numeric() for name, dtype in rows.schema.items()}
        console.print(_drawn(numeric, rows.head(_MOST_ROWS).iter_rows(), f"{mart} as of {day}{shown}"))


def _show_result(result: "DuckDBPyRelation") -> None:
    """Print the first rows of a query: as a table, or each row on its own where a table would have to break words."""
    rows = _as_text(result).limit(_MOST_SQL_ROWS + 1).fetchall()
    more, rows = rows[_MOST_SQL_ROWS:], rows[:_MOST_SQL_ROWS]
    types = (sql_type.id for sql_type in result.types)
    numeric = {
        name: of_type.endswith(("int", "integer", "decimal", "float", "double"))
        for name, of_type in zip(result.columns, types, strict=True)
    }
    table = _drawn(numeric, rows)
    unbounded = console.options.update(width=sys.maxsize)
    if rows and console.measure(table, options=unbounded).minimum > console.width:
        for row in rows:
            record = _drawn({"column": False, "value": False}, zip(numeric, row, strict=True))
            record.show_header = False
            console.print(record)
    else:
        console.print(table)
    if more:
        console.print(f"The first {_MOST_SQL_ROWS} rows: --csv or --json print all.")


def _as_text(result: "DuckDBPyRelation") -> "DuckDBPyRelation":
    """Each value as DuckDB itself writes it, whatever its type."""
    return result.project("COLUMNS(*)::VARCHAR")


def _drawn(numeric: Mapping[str, bool], rows: Iterable[Sequence[object]], title: str | None = None) -> Table:
    """Rows as a table; `numeric` says of each column whether it holds numbers."""
    table = Table(title=title, title_justify="left")
    for name, is_number in numeric.items():
        table.add_column(escape(name), justify="right" if is_number else "left", overflow="fold")
    for row in rows:
        table.add_row(*("[dim]NULL[/]" if value is None else escape(str(value)) for value in row))
    return table


def _show_where_next() -> None:
    from mds_assets.stack.settings import settings

    console.print(f"Lake: {escape(settings.data_dir)}", soft_wrap=True)
    console.print("Next: [bold].venv/bin/mds report[/] opens the newest report in the browser;")
    console.print('      [bold].venv/bin/mds sql "FROM marts.daily_activity_latest"[/] asks in SQL;')
    console.print("      [bold]make dev[/] opens Dagster's UI on http://127.0.0.1:3000")
    if not settings.organisations:
        console.print("      [bold]GITHUB_ORG=your-organisation make run[/] runs it on your own organisation;")
        console.print("      add [bold]MDS_DATA_DIR=data/your-organisation[/] to keep it apart from this sample")
