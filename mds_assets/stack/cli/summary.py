"""What `mds run` and `mds show` print at the end."""

from collections.abc import Iterator, Sequence
from datetime import date
from typing import TYPE_CHECKING

from mds_assets.stack.cli.lake import open_lake, tables
from mds_assets.stack.terminal import console, fitting, say
from mds_assets.stack.text import count

if TYPE_CHECKING:
    import polars as pl
    from dagster import ExecuteInProcessResult

    from mds_assets.stack.cli.running import Ran
    from mds_assets.stack.table import Table as DeclaredTable

HEADLINE = "mds/headline"  # the tag that orders the marts which `mds run` and `mds show` print

_MAX_MARTS, _MAX_ROWS, _MAX_ROWS_IN_ALL = 2, 7, 11  # so that a summary fits a screen of 80 x 24


def show_made(ran: "Ran") -> None:
    """Print in one line what a run made."""
    progress = ran.progress
    days = len({day for of_table in progress.days.values() for day in of_table})
    facts = [count(sum(progress.rows.values()), "row")]
    facts += [count(progress.requests, "request")] if progress.requests else []
    console.print()
    say(
        (count(len(progress.rows), "table"), "bold"),
        f" of {count(days, 'day')}: {', '.join(facts)}, {ran.seconds:.1f} s",
    )


def show_inactive(newest_activity: str, start: date) -> None:
    """Print since when nothing has happened, if that was before this day."""
    if newest_activity and newest_activity < str(start):
        say((f"Nothing happened in these days: newest activity is {newest_activity}", "yellow"))


def show_skipped(result: "ExecuteInProcessResult") -> None:
    """Print one line for each reason why raw tables were skipped."""
    from mds_assets.stack.names import SKIPPED

    skipped: dict[str, list[str]] = {}
    for event in result.all_events:
        if event.event_type_value == "ASSET_OBSERVATION" and event.asset_key:
            observation = event.asset_observation_data.asset_observation
            if reason := observation.metadata.get(SKIPPED):
                skipped.setdefault(str(reason.value), []).append(event.asset_key.to_user_string())
    for reason, names in skipped.items():
        say((f"Skipped {', '.join(names)} and everything downstream:", "yellow"), f" {reason}")


def show_marts(day: date) -> None:
    """Print the headline marts of this day that have rows, the largest rows first."""
    from mds_assets.stack.io_managers.polars import scan
    from mds_assets.stack.lake.footers import footer, why_unreadable
    from mds_assets.stack.settings import previews_allowed
    from mds_assets.stack.table import DAY, declared_table

    lake = open_lake()
    marts = [
        (spec, sum(footer(file).num_rows for file in files))
        for spec in tables()
        if spec.key.has_prefix(["marts"])
        and (files := lake.files(spec.key, day))
        and not any(map(why_unreadable, files))
    ]
    shown = sorted((each for each in marts if each[1]), key=lambda each: each[0].tags.get(HEADLINE, "~"))
    left = _MAX_ROWS_IN_ALL
    for number, (spec, height) in enumerate(shown[:_MAX_MARTS]):
        name = spec.key.to_user_string()
        table = declared_table(name, spec.metadata)
        frame = scan(lake.files(spec.key, day), table, polars_options=lake.polars_options)
        rows = (frame if previews_allowed() else _without_private(frame, table)).drop(DAY).collect()
        rows = _largest(rows.select(name for name in rows.columns if not _is_id(name)), table.key, min(left, _MAX_ROWS))
        left -= rows.height
        printed, hidden = fitting(rows, compact=True)
        facts = [f"{rows.height} of {height} rows"] if rows.height < height else []
        facts += [f"{rows.width - len(hidden)} of {len(table.columns)} columns"] if hidden else []
        if number:
            console.print()
        say((name, "bold"), f" as of {', '.join([str(day), *facts])}")
        console.print(printed)


def _is_id(column: str) -> bool:
    return column == "id" or column.endswith("_id")


def _largest(rows: "pl.DataFrame", key: Sequence[str], number: int) -> "pl.DataFrame":
    """The rows if they are few, else those with the largest first figure."""
    figures = [name for name, dtype in rows.schema.items() if dtype.is_numeric() and name not in key]
    if rows.height <= number or not figures:
        return rows.head(number)
    return rows.sort(figures[0], descending=True, maintain_order=True, nulls_last=True).head(number)


def _without_private(frame: "pl.LazyFrame", table: "DeclaredTable") -> "pl.LazyFrame":
    """The table without its private values: the terminal may be a log that others read."""
    import polars as pl

    private = [column.name for column in table.columns if column.private]
    if not table.public:
        return frame.drop(private)
    is_public = pl.sql_expr(table.public)
    return frame.with_columns(pl.when(is_public).then(pl.col(private)).otherwise(pl.lit("(private)")))


def show_where_next() -> None:
    """Print the commands to go on with."""
    from mds_assets.stack.settings import loaded_sources, settings

    hints = [*_hints(), *(hint for source in loaded_sources() for hint in source.hints())]
    width = max(len(command) for command, _ in hints)
    console.print()
    for command, what in hints:
        say((command, "bold"), f"{' ' * (width - len(command))}  {what}")
    say(f"Lake: {settings.data_dir}")


def _hints() -> Iterator[tuple[str, str]]:
    from mds_assets.stack.names import LATEST_REPORT

    lake = open_lake()
    if lake.path(LATEST_REPORT).exists():
        yield ".venv/bin/mds report", "the report, in the browser"
    marts = [spec for spec in tables() if spec.key.has_prefix(["marts"]) and lake.newest_day(spec.key)]
    if marts:
        main = min(marts, key=lambda spec: spec.tags.get(HEADLINE, "~"))
        yield f'.venv/bin/mds sql "FROM marts.{main.key.path[-1]}_latest"', "a table, in SQL"
    yield "make dev", "Dagster's UI, on port 3000"
