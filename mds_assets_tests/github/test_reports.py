"""Promises of the report without Dagster and without a browser: its figures, its words, its bytes."""

import re
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any
from xml.etree import ElementTree

import polars as pl
import pytest

from mds_assets.defs.github.marts import DAILY_ACTIVITY, REPOS_PER_LANGUAGE
from mds_assets.defs.github.movement import REPO_GROWTH
from mds_assets.defs.github.report import charts
from mds_assets.defs.github.report.figures import (
    MAX_ORGANISATIONS,
    Day,
    Language,
    Organisation,
    Report,
    Repository,
    of_day,
)
from mds_assets.defs.github.report.page import figures, period, periods, pictures, render
from mds_assets.defs.github.staging import REPOS
from mds_assets.stack.io_managers.polars import polars_schema
from mds_assets.stack.partitions import window

DAY = date(2026, 11, 21)
BEFORE = DAY - timedelta(days=1)
EARLIER = DAY - timedelta(days=3)
HOSTILE = """</svg><script>alert(1)</script><img src=x onerror='x'>"{{ 7 * 7 }}&amp;"""

Rows = list[dict[str, Any]]


def growth(repo_id: int, gained: int | None = 0, last_seen: date = DAY, **fields: Any) -> dict[str, Any]:
    """A row of `marts/repo_growth`, of a repository seen on two days."""
    return {
        "day": DAY,
        "org": "acme",
        "repo_id": repo_id,
        "repo_name": f"repo-{repo_id}",
        "language": "Python",
        "stars": 100 + (gained or 0),
        "stars_gained": gained,
        "forks_gained": 0,
        "first_seen": last_seen - timedelta(days=1),
        "last_seen": last_seen,
    } | fields


def told(rows: Rows, created: dict[int, date] | None = None, day: date = DAY) -> Organisation:
    """What is told of the one organisation with these rows of growth; `created` says when by repository."""
    staging = [
        {"day": day, "org": "acme", "repo_id": repo_id, "created_at": datetime(on.year, on.month, on.day, tzinfo=UTC)}
        for repo_id, on in (created or {}).items()
    ]
    language = {"day": day, "org": "acme", "language": "Python", "repo_count": len(rows)}
    (organisation,), *_ = of_day(
        day,
        7,
        pl.LazyFrame(schema=polars_schema(DAILY_ACTIVITY.with_day())),
        pl.LazyFrame([language], schema=polars_schema(REPOS_PER_LANGUAGE.with_day())),
        pl.LazyFrame(rows, schema=polars_schema(REPO_GROWTH.with_day())),
        pl.LazyFrame(staging, schema=polars_schema(REPOS.with_day())),
    )
    return organisation


def names(repositories: Any) -> list[str]:
    return [repository.repo_name for repository in repositories]


def test_what_moved_most_is_ten_repositories_each_way_the_most_first_and_equal_ones_by_name():
    gains = [growth(number, number) for number in range(1, 13)]
    losses = [growth(100 + number, -number) for number in range(1, 13)]
    tie = growth(50, 12, repo_name="a-tie")
    organisation = told([*gains, *losses, tie, growth(60, 0), growth(61, None)])
    assert names(organisation.gained) == ["a-tie", *(f"repo-{number}" for number in range(12, 3, -1))]
    assert names(organisation.lost) == [f"repo-{100 + number}" for number in range(12, 2, -1)]
    assert organisation.stars_gained == 12


def test_stars_gained_are_unknown_while_no_repository_was_seen_on_two_days():
    assert told([growth(1, 0, first_seen=DAY)]).stars_gained is None
    assert told([growth(1, None)]).stars_gained is None
    assert told([growth(1, 0)]).stars_gained == 0
    most = 2**31 - 1
    assert told([growth(1, most, stars=most), growth(2, most, stars=most)]).stars_gained == 2 * most


def test_the_newest_are_those_created_last_and_the_quietest_those_longest_ago_active():
    rows = [growth(number, last_seen=DAY - timedelta(days=number)) for number in range(7)]
    organisation = told(rows, {number: date(2020, 1, 1 + number) for number in range(7)})
    assert names(organisation.newest) == [f"repo-{number}" for number in (6, 5, 4, 3, 2)]
    assert organisation.newest[0].created_at == datetime(2020, 1, 7, tzinfo=UTC)
    assert names(organisation.quietest) == [f"repo-{number}" for number in (6, 5, 4, 3, 2)]


def test_in_a_window_of_one_day_nothing_is_quiet():
    assert told([growth(1, first_seen=DAY)]).quietest == []


def test_rows_of_other_days_are_not_told():
    organisation = told([growth(1, 5), growth(2, 9, day=BEFORE)], {1: DAY})
    assert names(organisation.gained) == ["repo-1"]
    assert names(organisation.newest) == ["repo-1"]


def organisation(name: str = "acme", days: list[date] | None = None, language: str = "Python") -> Organisation:
    days = window(DAY, 7) if days is None else days
    row = Repository(HOSTILE, language, 1234, 56, BEFORE, datetime(2026, 11, 20, tzinfo=UTC))
    return Organisation(
        name=name,
        days=[Day(day, number % 30, number / 4) for number, day in enumerate(days)],
        languages=[Language(language, 1234, 1071.9, 13.2), Language("Java", 3, None, None)],
        stars_gained=50,
        gained=[row],
        lost=[row._replace(stars_gained=-6)],
        newest=[row],
        quietest=[row],
    )


def report(*organisations: Organisation, **fields: Any) -> Report:
    whole = Report(
        window=window(DAY, 7),
        organisations=organisations,
        observed_at=datetime(2026, 11, 22, 0, 5, 13, tzinfo=UTC),
        missing=[],
        too_early=[],
        not_made=[],
        names_shown=True,
    )
    return replace(whole, **fields)


def text(page: str) -> str:
    """The page's words, as they stand in its source."""
    return re.sub(r"\s+", " ", re.sub(r"<style>.*?</style>|<[^>]*>", " ", page, flags=re.DOTALL))


def test_the_same_figures_give_the_same_bytes_whatever_was_drawn_before():
    first = render(report(organisation()))
    render(report(organisation("other"), organisation("third")))
    assert render(report(organisation())) == first


def test_whatever_github_says_is_text_in_the_page_and_in_the_charts():
    page = render(report(organisation(language=HOSTILE)))
    assert "<script" not in page
    assert "<img" not in page
    assert page.count("&lt;script&gt;alert(1)&lt;/script&gt;") >= 8
    assert "49" not in text(page)
    for svg in re.findall(r"<svg.*?</svg>", page, re.DOTALL):
        drawing = ElementTree.fromstring(svg)  # noqa: S314  # our own
        assert {element.tag for element in drawing.iter()} <= {"svg", "g", "path", "line", "text"}
    # In the chart it is cut to fit.
    assert f">{HOSTILE[:17]}…<".replace("</svg><script>", "&lt;/svg&gt;&lt;script&gt;")[:20] in page


def test_a_page_loads_nothing_and_runs_nothing():
    page = render(report(organisation(), organisation("other")))
    assert "default-src 'none'" in page
    elements = "".join(re.findall(r"<[^>]*>|<style>.*?</style>", page, re.DOTALL))
    addresses = re.findall(r"""(?:src|href|url|action)\s*[=(]\s*["']?([^"')>\s]+)""", elements)
    assert set(addresses) == {"data:,", "#acme", "#other"}
    assert "http" not in page.replace("http-equiv", "")


def test_names_are_left_out_where_they_may_be_private_and_the_page_says_how_to_get_them():
    page = render(report(organisation(), names_shown=False))
    assert "alert" not in page
    assert "GITHUB_TOKEN is set" in page
    assert "set MDS_PREVIEW_ROWS to 1 or more" in page
    assert "1,237" in page  # the figures are there all the same
    assert "alert" not in pictures(organisation())


def test_missing_days_and_marts_are_told():
    seen = window(DAY, 7)
    whole = render(report(organisation()))
    assert "Every day of the window was landed and staged." in whole
    assert 'class="notice"' not in whole
    page = text(render(report(organisation(), missing=[seen[0], seen[1], seen[4]])))
    assert "3 of the 7 days of the window were never landed and staged" in page
    assert "15 to 16 November 2026, 19 November 2026." in page
    assert "Landed and staged: 4 of the 7 days of the window." in page
    page = text(render(report(organisation(), too_early=seen[:2])))
    assert "Every day of the window from the first partition on was landed and staged. 2 lie before" in page
    page = text(render(report(not_made=["marts/repo_growth"])))
    assert "marts/repo_growth was never made for this day" in page


def test_no_activity_and_a_window_of_one_day_give_sane_pages():
    page = text(render(report(observed_at=None)))
    assert "No activity" in page
    assert "No repository is known to have been active in the window." in page
    one = render(report(organisation(days=[DAY]), window=[DAY]))
    assert "looking back on one day (UTC)" in text(one)
    assert one.count("<svg") == 3


def test_an_organisation_without_languages_or_days_has_the_charts_that_there_are():
    assert [figure.title for figure in figures(organisation(days=[]))] == [
        "Languages by repositories",
        "Languages by stars",
    ]
    bare = Organisation("acme", [], [Language("Go", 1, None, None)], None, [], [], [], [])
    assert [figure.title for figure in figures(bare)] == ["Languages by repositories"]
    assert "No repository is known to have gained stars" in render(report(bare))
    nothing = render(report(Organisation("quiet", [], [], None, [], [], [], []), organisation()))
    assert "No repository is known to have been active in the window." in nothing
    assert "quiet, acme" in nothing


def test_several_organisations_have_a_section_each_and_many_fit_into_the_title():
    page = render(report(*(organisation(name) for name in ("a", "b", "c", "d", "e"))))
    assert re.findall(r'<section class="organisation" id="(\w)"', page) == ["a", "b", "c", "d", "e"]
    assert "<h1>a, b, c and 2 more</h1>" in page
    assert len(set(re.findall(r' id="([^"]+)"', page))) == len(re.findall(r' id="', page))


def test_of_too_many_organisations_those_with_the_most_active_repositories_are_told():
    day = {"day": DAY, "language": "Go"}
    counts = [day | {"org": f"o{number:03}", "repo_count": number % 60} for number in range(1, 121)]
    organisations, _, others = of_day(
        DAY,
        7,
        pl.LazyFrame(schema=polars_schema(DAILY_ACTIVITY.with_day())),
        pl.LazyFrame(counts, schema=polars_schema(REPOS_PER_LANGUAGE.with_day())),
        pl.LazyFrame(schema=polars_schema(REPO_GROWTH.with_day())),
        pl.LazyFrame(schema=polars_schema(REPOS.with_day())),
        configured=["quiet"],
    )
    assert len(organisations) == MAX_ORGANISATIONS
    assert others == 121 - MAX_ORGANISATIONS
    assert min(one.active for one in organisations) == 60 - MAX_ORGANISATIONS // 2
    assert [one.name for one in organisations] == sorted(one.name for one in organisations)
    page = text(render(report(*organisations, others=others)))
    assert f"{121 - 3} more" in page
    assert f"The {MAX_ORGANISATIONS} organisations with the most active repositories. {others} more are in" in page


def test_ten_organisations_over_a_year_stay_below_3_mb():
    year = window(DAY, 366)
    page = render(report(*(organisation(f"acme-{number}", year) for number in range(10)), window=year))
    assert len(page.encode()) < 3_000_000


def test_a_chart_says_its_numbers_in_words():
    days = [Day(BEFORE, 1234, 617.0), Day(DAY, 5, 619.5)]
    assert charts.activity(days).alt == (
        "Bar chart with a line. Repositories pushed to by day: 20 November 1,234, 21 November 5. "
        "Their 7-day average, 20 November 617.0 to 21 November 619.5."
    )
    long = [Day(day, number, 1.0) for number, day in enumerate(window(DAY, 40))]
    assert "780 in 40 days, most of them on 21 November, 39" in charts.activity(long).alt
    values = [(f"L{number}", number) for number in range(20, 0, -1)]
    assert charts.languages("Repositories by language", values).alt == (
        "Bar chart. Repositories by language: L20 20, L19 19, L18 18, L17 17, L16 16, L15 15, L14 14, L13 13, L12 12, "
        "L11 11; 10 more languages are not drawn."
    )


@pytest.mark.parametrize("days", [1, 7, 31, 32, 366])
def test_the_newest_day_is_labelled_however_long_the_window(days: int):
    drawing = charts.activity([Day(day, 1, 1.0) for day in window(DAY, days)]).drawing
    labels = re.findall(r">(\d+ [A-Z][a-z]{2})<", drawing)
    assert labels[-1] == "21 Nov"
    assert len(labels) <= 6


def test_zeros_alone_are_drawn():
    assert charts.activity([Day(day, 0, 0.0) for day in window(DAY, 7)]).drawing
    assert charts.languages("Stars", [("Python", 0.0)]).drawing


def test_periods_are_said_briefly():
    assert period(DAY, DAY) == "21 November 2026"
    assert period(date(2026, 11, 15), DAY) == "15 to 21 November 2026"
    assert period(date(2026, 10, 30), DAY) == "30 October to 21 November 2026"
    assert period(date(2025, 12, 30), date(2026, 1, 2)) == "30 December 2025 to 2 January 2026"
    assert periods([EARLIER, BEFORE, DAY]) == "18 November 2026, 20 to 21 November 2026"


def test_dates_whose_week_was_never_landed_have_no_average():
    days = [Day(day, 0, None) for day in window(BEFORE, 6)] + [Day(DAY, 3, 3.0)]
    assert charts.activity(days).drawing
    assert charts.activity(days[:-1]).drawing
    assert "None" not in charts.activity(days).alt + charts.activity(days[:-1]).alt
