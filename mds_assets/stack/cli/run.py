"""`mds run`: materialize tables for a range of days."""

import importlib
import importlib.util
import inspect
import os
import pkgutil
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Annotated

import click
import typer

from mds_assets.stack.cli.lake import open_lake, tables
from mds_assets.stack.cli.options import First, Last, Select, range_of
from mds_assets.stack.cli.running import first_failure, materialize, selected
from mds_assets.stack.cli.summary import show_inactive, show_made, show_marts, show_skipped, show_where_next
from mds_assets.stack.terminal import console, say
from mds_assets.stack.text import count

if TYPE_CHECKING:
    from mds_assets.stack.plan.runs import Run


def run(
    lookback_days: Annotated[int | None, typer.Option(help="The marts' window; default MDS_LOOKBACK_DAYS.")] = None,
    days: Annotated[
        int | None, typer.Option(min=1, help="How many days, ending yesterday; default the window.")
    ] = None,
    first: First = None,
    last: Last = None,
    skip_ingest: Annotated[
        bool, typer.Option("--skip-ingest", help="Query no source: rebuild staging and marts from raw.")
    ] = False,
    select: Select = None,
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
        return _known_at(known_at.replace(tzinfo=UTC), range_of(days, first, last))
    if missing or stale:
        return _heal(range_of(days, first, last), select, missing=missing, stale=stale, skip_ingest=skip_ingest)
    start, end = range_of(days or (None if first else settings.lookback_days), first, last)
    if not start:
        raise AssertionError("a range without --missing or --stale has a start")
    period = f"{(end - start).days + 1} days, {start} to {end}" if start < end else f"{end}"
    summaries = ", ".join(filter(None, (source.summary() for source in loaded_sources())))
    say(period, *((", of ", (summaries, "bold")) if summaries else ()))
    from mds_assets.definitions import defs

    with open_lake().workspace():  # fails in one line, before each table would, if it cannot be written
        pass
    keys = selected(defs, select)
    if skip_ingest:
        lake, raw = open_lake(), [spec for spec in tables() if spec.key.has_prefix(["raw"])]
        if not any(lake.days(spec.key) if spec.partitions_def else lake.files(spec.key, None) for spec in raw):
            raise click.ClickException(f"{lake.root} has no raw rows to rebuild from: run without --skip-ingest first")
        keys = {key for key in keys if not key.has_prefix(["raw"])}
    ran = materialize(defs, start, end, keys)
    if not ran.result.success:
        raise click.ClickException(first_failure(ran.result))
    show_made(ran)
    show_inactive(ran.progress.newest_activity, start)
    show_skipped(ran.result)
    show_marts(end)
    show_where_next()


def _heal(days: tuple[date | None, date], select: str | None, *, missing: bool, stale: bool, skip_ingest: bool) -> None:
    """Make what is missing or stale, and downstream of it."""
    from dagster import AssetKey

    from mds_assets.definitions import defs
    from mds_assets.stack.plan.heal import heal
    from mds_assets.stack.plan.plan import make_plan
    from mds_assets.stack.plan.states import State

    lake, keys = open_lake(), selected(defs, select)
    keys = {key for key in keys if not (skip_ingest and key.has_prefix(["raw"]))}
    acts_on = {State.MISSING, State.EARLY_ONLY} if missing else set[State]()
    acts_on |= {State.STALE} if stale else set[State]()
    warehouse = {key for key in keys if key == AssetKey(["warehouse"])}

    def make(run: "Run", left: int) -> str:
        days = f"{run.first}" if run.days == 1 else f"{run.first} to {run.last}"
        then = f", then {count(left, 'more run')}" if left else ""
        say((days, "bold"), f": {', '.join(key.to_user_string() for key in run.keys)}{then}")
        # Once, at the end: its views show whatever is there.
        ran = materialize(defs, run.first, run.last, [*run.keys, *(() if left else warehouse)])
        show_made(ran)
        show_skipped(ran.result)
        return "" if ran.result.success else first_failure(ran.result)

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
        show_where_next()


def _known_at(at: datetime, days: tuple[date | None, date]) -> None:
    """Make a lake as it would have been at a time, beside the lake."""
    from mds_assets.definitions import defs
    from mds_assets.stack import recompute

    lake = open_lake()
    root = f"{lake.root}-known-at-{at:%Y%m%dT%H%M%SZ}"
    with console.status("Making tables"):
        side = recompute.known_at(defs, lake, at, root, *days)
    for spec in tables():
        if spec.partitions_def and (landed := side.days(spec.key)):
            say(f"  {spec.key.to_user_string()}: {count(len(landed), 'day')}, {landed[0]} to {landed[-1]}")
    say(f"As known at {at:%Y-%m-%d %H:%M:%S} UTC: ", (root, "bold"))
    say("Next: ", (f"MDS_DATA_DIR={root} .venv/bin/mds show", "bold"), " prints its marts; delete it when you are done")


def source_run_options(package: str = "mds_assets.defs") -> dict[str, tuple[str, str]]:
    """Options of `mds run` that set a source's settings: for each option, its variable and help text.

    They come from `RUN_OPTIONS` in each source's `options.py`, which imports nothing, because settings are read later.
    """
    options: dict[str, tuple[str, str]] = {}
    for source in pkgutil.iter_modules(importlib.import_module(package).__path__, f"{package}."):
        if source.ispkg and importlib.util.find_spec(f"{source.name}.options"):
            options |= importlib.import_module(f"{source.name}.options").RUN_OPTIONS
    return options


def _add_source_options() -> None:
    """Add the options of the sources to `mds run`: typer reads a function's signature."""
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


_add_source_options()
