"""The pages of the report: their charts and headline figures in words, and the templates that render them."""

import re
from collections.abc import Callable, Iterator, Sequence
from datetime import date, datetime
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from mds_assets.defs.github.report import by_day, charts, words
from mds_assets.defs.github.report.figures import Inventory, Organisation, Report
from mds_assets.defs.github.report.trends import Change, Point
from mds_assets.defs.github.report.words import UNKNOWN, cell, counted, signed
from mds_assets.stack.io_managers.pages import PAGE
from mds_assets.stack.lake.layout import partition_folder
from mds_assets.stack.text import printable

_TEMPLATES = Path(__file__).parent
# An organisation's headline figures in a page, as `parts.html.j2` writes them.
_FACTS = re.compile(r'<dl class="facts" data-organisation="([^"]*)">(.*?)</dl>', re.DOTALL)


class Figure(NamedTuple):
    """A chart with its title, its caption, and its numbers as a table."""

    title: str
    caption: str
    chart: charts.Chart
    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]
    legend: Sequence[tuple[str, str]] = ()  # the kind of mark, and its meaning
    is_by_day: bool = False


class Fact(NamedTuple):
    """A headline figure.

    Attributes:
        label: What it is.
        value: The figure.
        change: How it has changed, with an arrow; empty if that is not known.
        before: What it was before.
        words: Both, for a screen reader; empty if there is nothing to compare with.
    """

    label: str
    value: str
    change: str = ""
    before: str = ""
    words: str = ""


def render(report: Report) -> str:
    """The page as a self-contained HTML document; text from GitHub is escaped."""
    return (
        _environment()
        .get_template("activity.html.j2")
        .render(
            report=report,
            day=report.window[-1],
            by_day=trends,
            facts=facts,
            inventory=inventory,
            languages=languages,
            period=words.period,
            words=words,
        )
    )


def render_index(days: Sequence[date], newest: str) -> str:
    """The index of all pages.

    Args:
        days: The days that have a page, newest first.
        newest: The newest page: its headline figures are the index's.
    """
    organisations = [(Markup(name), Markup(shown)) for name, shown in _FACTS.findall(newest)]  # noqa: S704  # our own page
    template = _environment().get_template("index.html.j2")
    return template.render(days=days, organisations=organisations, period=words.period)


def pictures(organisation: Organisation) -> str:
    """An organisation's charts as Markdown with embedded images. They name no repository."""
    blocks: list[str] = []
    for figure in (*trends(organisation), *languages(organisation)):
        legend = "".join(f" {mark.capitalize()}: {meaning}." for mark, meaning in figure.legend)
        blocks += [
            f"**{organisation.name}: {figure.title}**",
            f"{figure.caption}{legend}",
            f"![{figure.title}]({figure.chart.image})",
        ]
    return "\n\n".join(blocks)


def trends(organisation: Organisation) -> Iterator[Figure]:
    """An organisation's charts by day; those without data are left out."""
    known = organisation.trends
    mean = ("line", "7-day mean")
    if known.pushes:
        yield _by_day(
            "Pushes",
            "To any branch, by people and bots.",
            by_day.with_mean("Pushes", known.pushes),
            known.pushes,
            ("bars", "pushes"),
            mean,
        )
    elif known.repositories:
        yield _by_day(
            "Repositories pushed to",
            "Each counts once on each day on which it was seen pushed to.",
            by_day.with_mean("Repositories pushed to", known.repositories),
            known.repositories,
            ("bars", "repositories"),
            mean,
        )
    if known.merged:
        chart = by_day.alone("Pull requests merged", known.merged)
        yield _by_day("Pull requests merged", "On the day of the merge.", chart, known.merged, ("bars", "merged"))
    if known.issues:
        yield _by_day(
            "Issues opened and closed",
            "Without pull requests.",
            by_day.against("Issues opened", "Issues closed", known.issues),
            known.issues,
            ("bars", "opened"),
            ("below", "closed"),
        )
    if known.stars:
        chart = by_day.alone("Stars gained", known.stars)
        yield _by_day("Stars gained", "Stars that are still held.", chart, known.stars, ("bars", "stars"))


def languages(organisation: Organisation) -> Iterator[Figure]:
    """An organisation's charts of languages; those without data are left out."""
    counts = [(language.language, language.repo_count) for language in organisation.languages]
    if counts:
        yield Figure(
            "Languages by repositories",
            f"Active repositories by main language{_first_of(counts)}.",
            charts.languages("Repositories by language", counts),
            ("Language", "Repositories"),
            counts,
        )
    known = [language for language in organisation.languages if language.avg_stars is not None]
    stars = sorted(((row.language, row.avg_stars or 0.0) for row in known), key=lambda row: (-row[1], row[0]))
    if stars:
        yield Figure(
            "Languages by stars",
            f"Mean stars of an active repository by main language{_first_of(stars)}.",
            charts.languages("Mean stars of a repository by language", stars),
            ("Language", "Mean stars"),
            stars,
        )


def facts(organisation: Organisation, report: Report) -> list[Fact]:
    """An organisation's headline figures."""
    known, days = organisation.headlines, len(report.window)
    if not report.has_events:
        gained = organisation.stars_gained
        return [
            _fact("active repositories", known.active, days),
            Fact("repositories pushed to", cell(organisation.pushed)),
            Fact("languages", cell(len(organisation.languages))),
            Fact("stars gained" if gained is not None else "stars gained: not known yet",
                 UNKNOWN if gained is None else signed(gained)),
        ]  # fmt: skip
    return [
        _fact("pushes", known.pushes, days),
        _fact("people", known.people, days),
        _fact("repositories pushed to", known.repositories, days),
        _fact("pull requests merged", known.merged, days),
        _fact("median hours to merge", known.hours_to_merge, days),
        _fact("issues opened", known.opened, days),
        _fact("issues closed", known.closed, days),
        _fact("stars gained", known.stars_gained, days),
    ]


def inventory(known: Inventory, days: int) -> str:
    """What an organisation has, in a sentence."""
    new, archived = known.new_repositories, known.archived_repositories
    parts = [counted(known.repositories or 0, "repository", "repositories")]
    parts += [f"{cell(new)} created in the last {days} days"] if new else []
    parts += [f"{cell(archived)} archived"] if archived else []
    parts += [counted(known.stars, "star")] if known.stars is not None else []
    parts += [counted(known.forks, "fork")] if known.forks is not None else []
    parts += [f"{cell(known.open_issues)} open issues and pull requests"] if known.open_issues is not None else []
    return " · ".join(parts)


def _fact(label: str, change: Change, days: int) -> Fact:
    now, before, earlier = change.now, change.before, words.window_before(days)
    if now is None:
        return Fact(label, UNKNOWN)
    if before is None:
        return Fact(label, cell(now), before=f"{earlier}: {UNKNOWN}", words=f"{earlier} is not known")
    moved = round(now - before, 1)
    if not moved:
        return Fact(label, cell(now), "=", f"as {earlier}", f"the same as {earlier}")
    arrow, direction = ("\N{UPWARDS ARROW}", "up") if moved > 0 else ("\N{DOWNWARDS ARROW}", "down")
    amount = cell(abs(moved))
    return Fact(
        label,
        cell(now),
        f"{arrow} {amount}",
        f"from {cell(before)}",
        f"{direction} {amount} from {earlier}, {cell(before)}",
    )


def _by_day(title: str, caption: str, chart: charts.Chart, points: Sequence[Point], *legend: tuple[str, str]) -> Figure:
    """A chart by day; a second number, if any, is the legend's second mark."""
    has_gap = any(point.value is None for point in points)
    columns = ("Day", *(meaning.capitalize() for _, meaning in legend))
    rows = [point[: len(columns)] for point in points]
    marks = (*legend, ("gap", "no data")) if has_gap else legend
    return Figure(title, caption, chart, columns, rows, marks, is_by_day=True)


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        finalize=_printable,
    )
    filters: dict[str, Callable[..., Any]] = {
        "address": _address,
        "as_day": _as_day,
        "brief": words.brief,
        "cell": cell,
        "counted": counted,
        "long": words.long,
        "periods": words.periods,
        "short": words.short,
        "signed": signed,
    }
    environment.filters.update(filters)
    return environment


def _first_of(values: Sequence[object]) -> str:
    return f": the first {charts.MAX_BARS} of {len(values)}" if len(values) > charts.MAX_BARS else ""


def _printable(value: object) -> object:
    """What a template writes; its own markup, such as a macro's, keeps its line breaks."""
    return printable(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _address(day: date) -> str:
    """A day's page, relative to the index."""
    return f"{partition_folder(day)}/{PAGE}"


def _as_day(value: date) -> date:
    return value.date() if isinstance(value, datetime) else value
