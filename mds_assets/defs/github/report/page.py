"""The pages of the report: their charts and headline figures in words, and the templates that render them."""

import re
from collections.abc import Callable, Iterator, Sequence
from datetime import date, datetime
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from jinja2 import Environment
from markupsafe import Markup

from mds_assets.defs.github.report import by_day, words
from mds_assets.defs.github.report.figures import Inventory, Listed, Organisation, Report
from mds_assets.defs.github.report.trends import CHARTED_DAYS, Change, Point, Trends
from mds_assets.defs.github.report.words import UNKNOWN, cell, counted, signed
from mds_assets.stack.html import html_environment
from mds_assets.stack.io_managers.pages import PAGE
from mds_assets.stack.lake.layout import partition_folder

_TEMPLATES = Path(__file__).parent
# An organisation's headline figures in a page, as `parts.html.j2` writes them.
_FACTS = re.compile(r'<dl class="facts" data-organisation="([^"]*)">(.*?)</dl>', re.DOTALL)


MAX_LANGUAGES = 10  # shown at once


class Figure(NamedTuple):
    """A chart by day with its title, its caption, and its numbers as a table."""

    title: str
    caption: str
    chart: by_day.Chart
    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]
    legend: Sequence[tuple[str, str]]  # the kind of mark, and its meaning


class Fact(NamedTuple):
    """A headline figure.

    Attributes:
        label: What it is.
        value: The figure; empty if it is not known.
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
            max_languages=MAX_LANGUAGES,
            dormant_days=CHARTED_DAYS,
            none_by_day=none_by_day,
            people_in_words=people_in_words,
            repositories_in_words=repositories_in_words,
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
    for figure in trends(organisation):
        legend = "".join(f" {mark.capitalize()}: {meaning}." for mark, meaning in figure.legend)
        blocks += [
            f"**{organisation.name}: {figure.title}**",
            f"{figure.caption}{legend}",
            f"![{figure.title}]({figure.chart.image})",
        ]
    return "\n\n".join(blocks)


def trends(organisation: Organisation) -> list[Figure]:
    """An organisation's charts by day; those without data, and those of which no day has any, are left out."""
    return [_figure(measure) for measure in _measures(organisation.trends) if measure.happened]


def none_by_day(organisation: Organisation) -> str:
    """What happened on none of the days that have data, as a sentence; empty if there is no such thing."""
    nothing = [measure.title for measure in _measures(organisation.trends) if not measure.happened]
    return f"None on any day: {', '.join(nothing).lower()}." if nothing else ""


def people_in_words(organisation: Organisation) -> str:
    """What cards of people and open pull requests would say if they had somebody or something to list."""
    people, waiting = organisation.people, organisation.waiting
    sentences: list[str] = []
    if people:
        if people.new is None:
            sentences.append("Nobody is known from before this window, so it is unclear who is new.")
        elif not people.new:
            sentences.append("Nobody new.")
        elif not people.newcomers:
            new = counted(people.new, "new person is", "new people are")
            sentences.append(f"{new} not named: their repositories may be private.")
        if not people.total:
            sentences.append("Nobody contributed but bots.")
        elif not people.most_active:
            everyone = counted(people.total, "person", "people")
            sentences.append(f"{everyone}, none known to have worked in a public repository.")
    if waiting and not waiting.oldest:
        open_now = counted(waiting.total, "open pull request is", "open pull requests are")
        sentences.append(f"{open_now} not listed: their repositories may be private.")
    return " ".join(sentences)


def repositories_in_words(organisation: Organisation) -> str:
    """What lists of repositories would say if they had one to name."""

    def in_words(listed: Listed, none: str, which: str) -> str:
        if listed.repositories:
            return ""
        private = counted(listed.private, "repository", "repositories")
        return f"{private} {which} and may be private: not named." if listed.private else none

    knows_pushed, knows_lost = (
        organisation.headlines.repositories.now is not None,
        organisation.stars_gained is not None,
    )
    of_window = [
        in_words(organisation.most_pushed, "No repository was pushed to.", "were pushed to") if knows_pushed else "",
        in_words(organisation.gained, "No repository gained stars.", "gained stars"),
        in_words(organisation.lost, "No repository lost stars.", "lost stars") if knows_lost else "",
        in_words(organisation.newest, "No creation date is known.", "are among the newest"),
        in_words(
            organisation.quietest, "Every repository was active on the last day.", "were not active on the last day"
        ),
    ]
    dormant = in_words(organisation.dormant, "", f"had no push in the last {CHARTED_DAYS} days")
    return " ".join(filter(None, [*(of_window if organisation.active else ()), dormant]))


def facts(organisation: Organisation, report: Report) -> list[Fact]:
    """An organisation's headline figures."""
    known, days = organisation.headlines, len(report.window)
    if not report.has_events:
        gained = organisation.stars_gained
        return [
            _fact("active repositories", known.active, days),
            Fact("repositories pushed to", cell(organisation.pushed)),
            Fact("languages", cell(len(organisation.languages))),
            Fact("stars gained", "" if gained is None else signed(gained)),
        ]
    return [
        _fact("pushes", known.pushes, days),
        _fact("people", known.people, days),
        _fact("repositories pushed to", known.repositories, days),
        _fact("pull requests merged", known.merged, days),
        _fact(_median("median hours to merge", known.hours_to_merge), known.hours_to_merge, days),
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


def _median(label: str, change: Change) -> str:
    """The label of a median, with the number of pull requests that it is of."""
    return f"{label}, {counted(change.of, 'PR')}" if change.of else label


def _fact(label: str, change: Change, days: int) -> Fact:
    now, before, earlier = change.now, change.before, words.window_before(days)
    if now is None:
        return Fact(label, "")
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


class _Measure(NamedTuple):
    """What a chart by day shows."""

    title: str
    caption: str
    points: Sequence[Point]
    draw: Callable[[Sequence[Point]], by_day.Chart]
    legend: Sequence[tuple[str, str]]

    @property
    def happened(self) -> bool:
        """Whether there is anything to draw."""
        return any(point.value or point.other for point in self.points)


def _measures(known: Trends) -> Iterator[_Measure]:
    """The measures that have data."""

    def with_mean(name: str) -> Callable[[Sequence[Point]], by_day.Chart]:
        return lambda points: by_day.with_mean(name, points)

    def alone(name: str) -> Callable[[Sequence[Point]], by_day.Chart]:
        return lambda points: by_day.alone(name, points)

    def against(points: Sequence[Point]) -> by_day.Chart:
        return by_day.against("Issues opened", "Issues closed", points)

    def counted_and_mean(bars: str, points: Sequence[Point]) -> Sequence[tuple[str, str]]:
        has_mean = any(point.other is not None for point in points)
        return (("bars", bars), ("line", "7-day mean")) if has_mean else (("bars", bars),)

    opened_and_closed = (("bars", "opened"), ("below", "closed"))
    measures = [
        _Measure("Pushes", "To any branch, by people and bots.", known.pushes, with_mean("Pushes"),
                 counted_and_mean("pushes", known.pushes)),
        _Measure("Pull requests merged", "On the day of the merge.", known.merged, alone("Pull requests merged"),
                 (("bars", "merged"),)),
        _Measure("Issues opened and closed", "Without pull requests.", known.issues, against, opened_and_closed),
        _Measure("Stars gained", "Stars that are still held.", known.stars, alone("Stars gained"),
                 (("bars", "stars"),)),
    ]  # fmt: skip
    if not known.pushes:
        caption = "Each counts once on each day on which it was seen pushed to."
        legend = counted_and_mean("repositories", known.repositories)
        title = "Repositories pushed to"
        measures[0] = _Measure(title, caption, known.repositories, with_mean(title), legend)
    return (measure for measure in measures if measure.points)


def _figure(measure: _Measure) -> Figure:
    """A measure's chart; a second number, if any, is the legend's second mark."""
    has_gap = any(point.value is None for point in measure.points)
    columns = ("Day", *(meaning.capitalize() for _, meaning in measure.legend))
    rows = [point[: len(columns)] for point in measure.points]
    marks = (*measure.legend, ("gap", "no data")) if has_gap else measure.legend
    return Figure(measure.title, measure.caption, measure.draw(measure.points), columns, rows, marks)


@cache
def _environment() -> Environment:
    environment = html_environment(_TEMPLATES)
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


def _address(day: date) -> str:
    """A day's page, relative to the index."""
    return f"{partition_folder(day)}/{PAGE}"


def _as_day(value: date) -> date:
    return value.date() if isinstance(value, datetime) else value
