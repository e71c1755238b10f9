"""Options that several commands have."""

from datetime import UTC, date, datetime, timedelta
from typing import Annotated, Any, TypeAlias

import click
import typer


def _day(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise typer.BadParameter(f"{text!r} is not a day: write it as YYYY-MM-DD") from None


def day_option(name: str, what: str) -> Any:
    """An option that takes a day."""
    return typer.Option(name, parser=_day, metavar="YYYY-MM-DD", help=what)


Days: TypeAlias = Annotated[int | None, typer.Option(min=1, help="How many days; default since the first landed day.")]
First: TypeAlias = Annotated[date | None, day_option("--from", "First day (UTC), instead of --days.")]
Last: TypeAlias = Annotated[date | None, day_option("--to", "Last day (UTC); default yesterday.")]
Select: TypeAlias = Annotated[
    str | None,
    typer.Option(help="The tables, in Dagster's asset selection syntax, such as 'group:marts'; default all."),
]


def range_of(days: int | None, first: date | None, last: date | None) -> tuple[date | None, date]:
    """The first and last day that the options ask for; no first day if neither `days` nor `first` is given.

    Raises:
        ClickException: Both are given, or it is not a range of days that have partitions.
    """
    from mds_assets.stack.settings import settings

    if days and first:
        raise click.ClickException("--days and --from both set the start: use only one")
    yesterday = datetime.now(UTC).date() - timedelta(days=1)
    end = last or yesterday
    start = first or (max(end - timedelta(days=days - 1), settings.start_date) if days else None)
    if start and start > end:
        raise click.ClickException(f"--from {start} is after --to {end}: swap them")
    if not settings.start_date <= (start or end) <= end <= yesterday:
        raise click.ClickException(
            f"{start or end} to {end} is not a range of days between {settings.start_date} (MDS_START_DATE) and "
            f"{yesterday}, the last day that has ended (UTC)"
        )
    return start, end
