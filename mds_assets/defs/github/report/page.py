"""The page of a report: its charts with their captions, its text, and the template that renders them."""

from collections.abc import Iterator, Sequence
from datetime import date, timedelta
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from mds_assets.defs.github.report import charts
from mds_assets.defs.github.report.figures import Organisation, Report

_TEMPLATES = Path(__file__).parent


class Figure(NamedTuple):
    """A chart with its title, its caption, and its numbers as a table."""

    title: str
    caption: str
    chart: charts.Chart
    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]
    legend: Sequence[tuple[str, str]] = ()  # the kind of mark, and its meaning


def render(report: Report) -> str:
    """The page as a self-contained HTML document; text from GitHub is escaped."""
    template = _environment().get_template("activity.html.j2")
    return template.render(report=report, day=report.window[-1], figures=figures, period=period)


def pictures(organisation: Organisation) -> str:
    """An organisation's charts as Markdown with embedded images. They name no repository."""
    blocks: list[str] = []
    for figure in figures(organisation):
        legend = "".join(f" {mark.capitalize()}: {meaning}." for mark, meaning in figure.legend)
        blocks += [
            f"**{organisation.name}: {figure.title}**",
            f"{figure.caption}{legend}",
            f"![{figure.title}]({figure.chart.image})",
        ]
    return "\n\n".join(blocks)


def figures(organisation: Organisation) -> Iterator[Figure]:
    """An organisation's charts; those without data are left out."""
    if organisation.days:
        yield Figure(
            "Activity by day",
            "A repository counts once on each day on which it was seen pushed to.",
            charts.activity(organisation.days),
            ("Day", "Repositories", "7-day average"),
            organisation.days,
            (("bars", "repositories"), ("line", "7-day average")),
        )
    counts = [(language.language, language.repo_count) for language in organisation.languages]
    if counts:
        yield Figure(
            "Languages by repositories",
            f"Repositories active in the window, by main language{_first_of(counts)}.",
            charts.languages("Repositories by language", counts),
            ("Language", "Repositories"),
            counts,
        )
    known = [language for language in organisation.languages if language.avg_stars is not None]
    stars = sorted(((row.language, row.avg_stars or 0.0) for row in known), key=lambda row: (-row[1], row[0]))
    if stars:
        yield Figure(
            "Languages by stars",
            f"Stars of a repository on average, by main language{_first_of(stars)}.",
            charts.languages("Mean stars of a repository by language", stars),
            ("Language", "Mean stars"),
            stars,
        )


def period(first: date, last: date) -> str:
    """From one day to another, both included, in the shortest form."""
    if first == last:
        return _long(first)
    if first.year != last.year:
        return f"{_long(first)} to {_long(last)}"
    return f"{first.day}{'' if first.month == last.month else f' {first:%B}'} to {_long(last)}"


def periods(days: Sequence[date]) -> str:
    """Days in order, with consecutive ones grouped."""
    starts = [day for day in days if day - timedelta(days=1) not in days]
    ends = [day for day in days if day + timedelta(days=1) not in days]
    return ", ".join(map(period, starts, ends))


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"cell": _cell, "long": _long, "periods": periods, "short": _short, "signed": _signed}
    return environment


def _first_of(values: Sequence[object]) -> str:
    return f": the first {charts.MAX_BARS} of {len(values)}" if len(values) > charts.MAX_BARS else ""


def _long(day: date) -> str:
    return f"{day.day} {day:%B %Y}"


def _short(day: date) -> str:
    return f"{day.day} {day:%b %Y}"


def _cell(value: date | str | float | None) -> str:
    """A value as a table shows it."""
    if value is None:
        return "\N{EN DASH}"
    if isinstance(value, date):
        return _short(value)
    return value if isinstance(value, str) else f"{value:,}"


def _signed(value: int) -> str:
    return f"{value:+,}".replace("-", "\N{MINUS SIGN}")
