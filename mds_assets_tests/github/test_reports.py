"""Promises of the report without Dagster and without a browser: what is there, its words, its bytes."""

import re
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from html import unescape
from typing import Any
from xml.etree import ElementTree

import hypothesis
import polars as pl
import pytest

from mds_assets.defs.github.marts import REPOS_PER_LANGUAGE
from mds_assets.defs.github.movement import REPO_GROWTH
from mds_assets.defs.github.report.figures import (
    MAX_ORGANISATIONS,
    Inventory,
    Language,
    Listed,
    Organisation,
    Report,
    Repository,
    of_day,
)
from mds_assets.defs.github.report.page import inventory, pictures, render, render_index, trends
from mds_assets.defs.github.report.people import Contributor, People, PullRequest, Waiting
from mds_assets.defs.github.report.tables import Tables
from mds_assets.defs.github.report.trends import Change, Headlines, History, Point, Trends
from mds_assets.defs.github.report.words import period, periods
from mds_assets.defs.github.staging import REPOS
from mds_assets.stack.io_managers.polars import polars_schema
from mds_assets.stack.partitions import window
from mds_assets.stack.text import printable
from mds_assets_tests.hostile import TEXT, acting

DAY = date(2026, 11, 21)
BEFORE = DAY - timedelta(days=1)
EARLIER = DAY - timedelta(days=3)
HOSTILE = """</svg><script>alert(1)</script><img src=x onerror='x'>"{{ 7 * 7 }}&amp;"""

Rows = list[dict[str, Any]]


def growth(repo_id: int, gained: int | None = 0, last_seen: date = DAY, **fields: Any) -> dict[str, Any]:
    """A row of `marts/repo_growth`, of a public repository seen on two days."""
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
        "visibility": "public",
    } | fields


def organisation_of(rows: Rows, created: dict[int, date] | None = None, *, names_shown: bool = False) -> Organisation:
    """The one organisation with these rows of growth; `created` says when by repository."""
    staging = [
        {"day": DAY, "org": "acme", "repo_id": repo_id, "created_at": datetime(on.year, on.month, on.day, tzinfo=UTC)}
        for repo_id, on in (created or {}).items()
    ]
    language = {"day": DAY, "org": "acme", "language": "Python", "repo_count": len(rows)}
    schema = dict(polars_schema(REPO_GROWTH.with_day())) | {"visibility": pl.String()}
    tables = Tables(
        repos_per_language=pl.LazyFrame([language], schema=polars_schema(REPOS_PER_LANGUAGE.with_day())),
        repo_growth=pl.LazyFrame(rows, schema=schema),
        repos=pl.LazyFrame(staging, schema=polars_schema(REPOS.with_day())),
    )
    (organisation,) = of_day(DAY, History(7, tables), names_shown=names_shown).organisations
    return organisation


def names(listed: Listed) -> list[str]:
    return [repository.repo_name for repository in listed.repositories]


def test_what_moved_most_is_ten_repositories_each_way_the_most_first_and_equal_ones_by_name():
    gains = [growth(number, number) for number in range(1, 13)]
    losses = [growth(100 + number, -number) for number in range(1, 13)]
    tie = growth(50, 12, repo_name="a-tie")
    organisation = organisation_of([*gains, *losses, tie, growth(60, 0), growth(61, None)])
    assert names(organisation.gained) == ["a-tie", *(f"repo-{number}" for number in range(12, 3, -1))]
    assert names(organisation.lost) == [f"repo-{100 + number}" for number in range(12, 2, -1)]
    assert organisation.stars_gained == 12


def test_repositories_that_may_be_private_are_counted_unless_previews_are_allowed():
    rows = [growth(1, 5), growth(2, 9, visibility="private"), growth(3, 7, visibility=None), growth(4, -1)]
    organisation = organisation_of(rows, dict.fromkeys((1, 2), DAY))
    assert organisation.gained == replace(organisation.gained, private=2)
    assert names(organisation.gained) == ["repo-1"]
    assert (names(organisation.lost), organisation.lost.private) == (["repo-4"], 0)
    assert (names(organisation.newest), organisation.newest.private) == (["repo-1"], 1)
    assert organisation.stars_gained == 20
    everything = organisation_of(rows, names_shown=True)
    assert (names(everything.gained), everything.gained.private) == (["repo-2", "repo-3", "repo-1"], 0)
    hidden = organisation_of([growth(2, 9, visibility="internal")])
    assert hidden.gained == Listed([], 1, 1)


def test_stars_gained_are_unknown_while_no_repository_was_seen_on_two_days():
    assert organisation_of([growth(1, 0, first_seen=DAY)]).stars_gained is None
    assert organisation_of([growth(1, None)]).stars_gained is None
    assert organisation_of([growth(1, 0)]).stars_gained == 0
    most = 2**31 - 1
    assert organisation_of([growth(1, most, stars=most), growth(2, most, stars=most)]).stars_gained == 2 * most


def test_the_newest_are_those_created_last_and_the_quietest_those_longest_ago_active():
    rows = [growth(number, last_seen=DAY - timedelta(days=number)) for number in range(7)]
    organisation = organisation_of(rows, {number: date(2020, 1, 1 + number) for number in range(7)})
    assert names(organisation.newest) == [f"repo-{number}" for number in (6, 5, 4, 3, 2)]
    assert organisation.newest.repositories[0].created_at == datetime(2020, 1, 7, tzinfo=UTC)
    assert names(organisation.quietest) == [f"repo-{number}" for number in (6, 5, 4, 3, 2)]


def test_in_a_window_of_one_day_nothing_is_quiet():
    assert organisation_of([growth(1, first_seen=DAY)]).quietest == Listed()


def test_rows_of_other_days_are_left_out():
    organisation = organisation_of([growth(1, 5), growth(2, 9, day=BEFORE)], {1: DAY})
    assert names(organisation.gained) == ["repo-1"]
    assert names(organisation.newest) == ["repo-1"]


def points(days: list[date], *, has_other: bool = True) -> list[Point]:
    return [Point(day, number % 30, number / 4 if has_other else None) for number, day in enumerate(days)]


def organisation(name: str = "acme", days: list[date] | None = None, language: str = "Python") -> Organisation:
    days = window(DAY, 90) if days is None else days
    row = Repository(HOSTILE, language, 1234, 56, BEFORE, datetime(2026, 11, 20, tzinfo=UTC))
    pushed = Repository(HOSTILE, language, pushes=1200, people=7)
    asleep = Repository(HOSTILE, language, 1234, pushed_at=datetime(2020, 2, 29, 23, tzinfo=UTC))
    person = Contributor(HOSTILE, 12, 3, 2, BEFORE)
    return Organisation(
        name=name,
        headlines=Headlines(
            pushes=Change(1234, 1200),
            people=Change(30, 30),
            active=Change(1237, None),
            repositories=Change(81, None),
            merged=Change(52, 59),
            hours_to_merge=Change(17.5, 20.0, of=52),
            opened=Change(0, 2),
            closed=Change(None, None),
            stars_gained=Change(50, 40),
        ),
        trends=Trends(
            pushes=points(days),
            merged=points(days, has_other=False),
            issues=points(days),
            stars=points(days, has_other=False),
            repositories=points(days),
        ),
        people=People([person], 30, [person], 4, 2, 1, 99),
        waiting=Waiting([PullRequest(HOSTILE, 17, HOSTILE, 1234)], 41, 9),
        inventory=Inventory(2204, 3, 412, 81003, 1, None),
        languages=[Language(language, 1234, 1071.9, 13.2), Language("Java", 3, None, None)],
        stars_gained=50,
        gained=Listed([row]),
        lost=Listed([row._replace(stars_gained=-6)], 3),
        newest=Listed([row]),
        quietest=Listed([row], 1),
        most_pushed=Listed([pushed], 0, 81),
        dormant=Listed([asleep], 0, 48),
    )


def report(*organisations: Organisation, **fields: Any) -> Report:
    whole = Report(
        window=window(DAY, 7),
        organisations=organisations,
        observed_at=datetime(2026, 11, 22, 0, 5, 13, tzinfo=UTC),
        has_events=True,
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
    assert page.count("&lt;script&gt;alert(1)&lt;/script&gt;") >= 12
    assert "49" not in text(page).replace("{{ 7 * 7 }}", "")
    for svg in re.findall(r"<svg.*?</svg>", page, re.DOTALL):
        drawing = ElementTree.fromstring(svg)  # noqa: S314  # our own
        assert {element.tag for element in drawing.iter()} <= {"svg", "g", "path", "rect", "text"}


def test_control_characters_neither_end_the_process_nor_reach_the_page():
    controls = "".join(map(chr, (0, 1, 8, 0x1B, 0x7F, 0x9B, 0xFFFE, 0xFFFF)))
    shown = organisation(language=f"C{controls}D")
    waiting = Waiting([PullRequest("riser", 1, f"a title {controls}", 5)], 1, 0)
    page = render(report(replace(shown, waiting=waiting)))
    assert not set(controls) & set(page)
    assert page.endswith("</html>\n")


@hypothesis.settings(max_examples=40)
@hypothesis.given(TEXT)
def test_whatever_a_name_is_the_page_keeps_its_elements_and_shows_the_name(name: str):
    def page_of(name: str) -> str:
        waiting = Waiting([PullRequest(name, 1, name, 5)], 1, 0)
        return render(report(replace(organisation(language=name), waiting=waiting)))

    page, plain = page_of(name), page_of("plain")
    tags = re.compile("<[a-z0-9/]+")
    assert tags.findall(page) == tags.findall(plain)
    assert not acting(page, keep="\n")
    titles = re.findall(r'<bdi class="title">(.*?)</bdi>', page, re.DOTALL)
    assert [unescape(title) for title in titles] == [printable(name)]
    for svg in re.findall(r"<svg.*?</svg>", page, re.DOTALL):
        ElementTree.fromstring(svg.encode())  # noqa: S314  # our own


def test_a_page_loads_nothing_and_runs_nothing():
    page = render(report(organisation(), organisation("other")))
    assert "default-src 'none'" in page
    elements = "".join(re.findall(r"<[^>]*>|<style>.*?</style>", page, re.DOTALL))
    addresses = re.findall(r"""(?:src|href|url|action)\s*[=(]\s*["']?([^"')>\s]+)""", elements)
    assert set(addresses) == {"data:,", "#acme", "#other"}
    assert "http" not in page.replace("http-equiv", "")


def test_what_may_be_private_is_counted_and_the_page_says_how_to_name_it():
    page = text(render(report(organisation(), names_shown=False)))
    assert "3 repositories that may be private are not named." in page
    assert "1 repository that may be private is not named." in page
    assert "And 1 more." in page
    assert "2 people are not named: their repositories may be private." in page
    assert "9 are in repositories that may be private and are not listed." in page
    assert "set MDS_PREVIEW_ROWS to 1 or more" in page
    assert "MDS_PREVIEW_ROWS" not in render(report(organisation()))
    assert "alert" not in pictures(organisation())


def test_headline_figures_have_their_change_in_signs_and_in_words():
    page = text(render(report(organisation())))
    assert "pushes 1,234 ↑ 34 from 1,200 up 34 from the week before, 1,200" in page
    assert "people 30 = as the week before the same as the week before" in page
    assert "repositories pushed to 81 the week before: \N{EN DASH} the week before is not known" in page
    assert "median hours to merge, 52 PRs 17.5 ↓ 2.5 from 20.0 down 2.5 from the week before, 20.0" in page
    assert "Not known: issues closed." in page
    one = text(render(report(Organisation("acme", headlines=Headlines(hours_to_merge=Change(3.0, of=1))))))
    assert "median hours to merge, 1 PR 3.0" in one
    assert "This week 15 to 21 November 2026, compared with the week before" in page
    page = text(render(report(organisation(), window=window(DAY, 14))))
    assert "The last 14 days 8 to 21 November 2026, compared with the 14 days before" in page
    assert "up 34 from the 14 days before, 1,200" in page


def test_without_pushes_issues_and_stars_the_page_has_what_there_is_and_names_the_token():
    shown = organisation()
    shown = replace(shown, trends=Trends(repositories=shown.trends.repositories), people=None, waiting=None)
    page = render(report(shown, has_events=False))
    assert "issues and stars by day are missing for this day. Run it again; without a GITHUB_TOKEN" in text(page)
    assert "active repositories 1,237" in text(page)
    assert "stars gained +50" in text(page)
    assert [figure.title for figure in trends(shown)] == ["Repositories pushed to"]
    assert "People and open work" not in page
    assert "GITHUB_TOKEN" not in render(report(organisation()))


def test_missing_days_and_marts_are_named():
    seen = window(DAY, 7)
    whole = render(report(organisation()))
    assert "All 7 days have data." in text(whole)
    assert 'class="notice"' not in whole
    page = text(render(report(organisation(), missing=[seen[0], seen[1], seen[4]])))
    assert "No data for 3 of the 7 days up to this one : 15 to 16 November 2026, 19 November 2026." in page
    assert "4 of the 7 days have data." in page
    page = text(render(report(organisation(), too_early=seen[:2])))
    assert "All 5 days since the first partition have data. 2 days of the window lie before" in page
    page = text(render(report(not_made=["marts/repo_growth"])))
    assert "marts/repo_growth has no data for this day" in page


def test_no_activity_and_a_window_of_one_day_give_sane_pages():
    page = text(render(report(observed_at=None)))
    assert "No activity." in page
    one = render(report(organisation(days=[DAY]), window=[DAY]))
    assert "The last day 21 November 2026, compared with the day before" in text(one)
    assert one.count("<svg") == 0
    assert "None on any day: pushes, " in one


def test_an_organisation_has_the_charts_that_there_are():
    titles = ["Pushes", "Pull requests merged", "Issues opened and closed", "Stars gained"]
    assert [figure.title for figure in trends(organisation())] == titles
    bare = Organisation("acme", languages=[Language("Go", 1, None, None)])
    assert trends(bare) == []
    assert "No repository gained stars." in render(report(bare))
    nothing = render(report(Organisation("quiet"), organisation()))
    assert "No activity." in nothing
    assert "quiet, acme" in nothing


def test_who_is_new_is_open_without_earlier_data_and_the_page_says_so_in_plain_words():
    shown = organisation()
    assert shown.people
    first = replace(shown, people=replace(shown.people, new=None, newcomers=[]))
    page = text(render(report(first)))
    assert "Nobody is known from before this window, so it is unclear who is new." in page
    assert not re.search(r"\blake\b", page + text(render(report(shown))))
    nobody = replace(shown, people=replace(shown.people, new=0, newcomers=[], unnamed=0))
    assert "Nobody new." in render(report(nobody))


def test_an_inventory_is_one_line_of_what_is_known():
    line = "2,204 repositories · 3 created in the last 7 days · 412 archived · 81,003 stars · 1 fork"
    assert inventory(Inventory(2204, 3, 412, 81003, 1, None), 7) == line
    assert inventory(Inventory(1, 0, None, None, None, 2), 7) == "1 repository · 2 open issues and pull requests"


def test_several_organisations_have_a_section_each_and_many_fit_into_the_title():
    page = render(report(*(organisation(name) for name in ("a", "b", "c", "d", "e"))))
    assert re.findall(r'<section class="organisation" id="(\w)"', page) == ["a", "b", "c", "d", "e"]
    assert "<h1>a, b, c and 2 more</h1>" in page
    assert len(set(re.findall(r' id="([^"]+)"', page))) == len(re.findall(r' id="', page))


def test_of_too_many_organisations_those_with_the_most_active_repositories_are_shown():
    day = {"day": DAY, "language": "Go"}
    counts = [day | {"org": f"o{number:03}", "repo_count": number % 60} for number in range(1, 121)]
    tables = Tables(repos_per_language=pl.LazyFrame(counts, schema=polars_schema(REPOS_PER_LANGUAGE.with_day())))
    figures = of_day(DAY, History(7, tables), configured=["quiet"])
    assert len(figures.organisations) == MAX_ORGANISATIONS
    assert figures.others == 121 - MAX_ORGANISATIONS
    assert min(one.active for one in figures.organisations) == 60 - MAX_ORGANISATIONS // 2
    assert [one.name for one in figures.organisations] == sorted(one.name for one in figures.organisations)
    page = text(render(report(*figures.organisations, others=figures.others)))
    assert f"{121 - 3} more" in page
    shown = f"These are the {MAX_ORGANISATIONS} organisations with the most active repositories."
    assert f"{shown} {figures.others} more are in" in page


def test_an_organisation_takes_less_than_150_kb_and_ten_over_a_year_less_than_3_mb():
    assert len(render(report(organisation())).encode()) < 150_000
    year = window(DAY, 366)
    page = render(report(*(organisation(f"acme-{number}", year) for number in range(10)), window=year))
    assert len(page.encode()) < 3_000_000


def headings(page: str) -> list[str]:
    """The headings of a page's cards."""
    cards = re.findall(r'<(?:section|figure) class="card">(.*?)</(?:section|figure)>', page, re.DOTALL)
    return [re.findall(r"<h\d>(.*?)</h\d>", card)[0] for card in cards]


def test_languages_are_ordered_by_repositories_not_by_the_mean_over_one():
    shown = [Language("Python", 40, 12.5, 1.0), Language("Zig", 1, 90_000.0, 1.0)]
    page = render(report(replace(organisation(), languages=shown)))
    card = text(page[page.index("<h3>Languages</h3>") :])
    assert "Language Mean stars Repositories Python 12.5 40 Zig 90,000.0 1" in card
    assert page.count("90,000.0") == 1
    many = [Language(f"L{number}", 20 - number, None, None) for number in range(12)]
    card = text(render(report(replace(organisation(), languages=many)))).partition("2 more languages")
    assert "L9 \N{EN DASH} 11" in card[0]
    assert "L10 \N{EN DASH} 10 L11 \N{EN DASH} 9" in card[2]


def test_a_card_without_anything_to_list_is_left_out_and_its_section_says_so():
    whole = organisation()
    assert whole.people
    assert whole.waiting
    everything = ["New people", "Most active people", "Pull requests open longest", "Most active", "Languages",
                  "Newest", "Gained most stars", "Lost most stars", "Quietest", "Dormant"]  # fmt: skip
    assert headings(render(report(whole)))[4:] == everything
    words = text(render(report(whole)))
    assert "Most active 81 repositories pushed to, most pushes first. Repository People Pushes" in words
    assert "48 repositories without a push in the last 90 days, most stars first. Archived ones are left out." in words
    assert "1,234 29 Feb 2020" in words

    nothing = replace(
        whole,
        people=replace(whole.people, new=0, newcomers=[], unnamed=0),
        gained=Listed(),
        lost=Listed(),
        newest=Listed(),
        quietest=Listed(),
        most_pushed=Listed(),
        dormant=Listed(),
    )
    page = render(report(nothing))
    assert headings(page)[4:] == ["Most active people", "Pull requests open longest", "Languages"]
    in_words = ("Nobody new.", "No repository was pushed to. No repository gained stars. No repository lost stars. "
                "No creation date is known. Every repository was active on the last day.")  # fmt: skip
    assert all(sentence in page for sentence in in_words)

    private = replace(
        whole,
        people=replace(whole.people, most_active=[], newcomers=[], new=2, unnamed=2),
        waiting=Waiting([], 41, 41),
        gained=Listed((), 3),
        lost=Listed((), 1),
        most_pushed=Listed((), 4, 4),
        dormant=Listed((), 5, 5),
    )
    page = render(report(private))
    assert headings(page)[4:] == ["Languages", "Newest", "Quietest"]
    in_words = (
        "2 new people are not named: their repositories may be private.",
        "30 people, none known to have worked in a public repository.",
        "41 open pull requests are not listed: their repositories may be private.",
        "3 repositories gained stars and may be private: not named.",
        "1 repository lost stars and may be private: not named.",
        "4 repositories were pushed to and may be private: not named.",
        "5 repositories had no push in the last 90 days and may be private: not named.",
    )
    for sentence in in_words:
        assert sentence in page
    assert "Nobody contributed but bots." in render(
        report(replace(whole, people=replace(whole.people, total=0, most_active=[], newcomers=[], new=0)))
    )


@pytest.mark.parametrize("measure", ["pushes", "repositories"])
def test_the_legend_and_the_figures_have_a_mean_only_if_there_is_one(measure: str):
    def chart(*points: Point) -> Any:
        (figure,) = trends(replace(organisation(), trends=Trends(**{measure: points})))
        return figure

    with_mean, without = chart(Point(BEFORE, 2), Point(DAY, 3, 1.5)), chart(Point(BEFORE, 2), Point(DAY, 3))
    assert with_mean.legend[1:] == (("line", "7-day mean"),)
    assert with_mean.columns[2:] == ("7-day mean",)
    assert without.legend[1:] == ()
    assert without.columns[2:] == ()


def test_an_organisation_in_which_nothing_happens_has_its_dormant_repositories():
    asleep = Organisation("acme", dormant=organisation().dormant)
    page = render(report(asleep))
    assert headings(page) == ["Dormant"]
    assert "No activity." in page
    assert "No repository gained stars." not in page


def test_a_measure_without_a_number_on_any_day_has_no_chart_and_is_named():
    known = replace(organisation().trends, merged=[Point(DAY, 0)], stars=[Point(BEFORE, 0), Point(DAY, None)])
    shown = replace(organisation(), trends=known)
    assert [figure.title for figure in trends(shown)] == ["Pushes", "Issues opened and closed"]
    assert "None on any day: pull requests merged, stars gained." in render(report(shown))
    assert "None on any day" not in render(report(organisation()))
    never = replace(organisation(), trends=Trends(stars=[Point(DAY, 0)]))
    assert trends(never) == []
    assert "None on any day: stars gained." in render(report(never))


def test_periods_are_brief():
    assert period(DAY, DAY) == "21 November 2026"
    assert period(date(2026, 11, 15), DAY) == "15 to 21 November 2026"
    assert period(date(2026, 10, 30), DAY) == "30 October to 21 November 2026"
    assert period(date(2025, 12, 30), date(2026, 1, 2)) == "30 December 2025 to 2 January 2026"
    assert periods([EARLIER, BEFORE, DAY]) == "18 November 2026, 20 to 21 November 2026"


def test_the_page_says_why_it_has_no_number_of_open_issues():
    assert "GitHub counts open issues and pull requests together" in text(render(report(organisation())))


def test_the_index_lists_every_day_by_month_with_the_newest_pages_figures():
    page = render(report(organisation("acme"), organisation("other")))
    index = render_index([DAY, BEFORE, date(2026, 10, 31), date(2025, 11, 21)], page)
    assert re.findall(r'href="(day=[^"#]*)" aria-label="([^"]*)"', index) == [
        ("day=2026-11-21/report.html", "21 November 2026"),
        ("day=2026-11-20/report.html", "20 November 2026"),
        ("day=2026-10-31/report.html", "31 October 2026"),
        ("day=2025-11-21/report.html", "21 November 2025"),
    ]
    assert re.findall(r"<h3>(.*?)</h3>", index) == ["November 2026", "October 2026", "November 2025"]
    assert re.findall(r'href="day=2026-11-21/report.html#(\w+)"', index) == ["acme", "other"]
    assert text(index).count("pushes 1,234 ↑ 34 from 1,200") == 2
    assert "default-src 'none'" in index
    assert "alert" not in index


def test_the_index_does_without_the_figures_of_a_page_that_has_none():
    index = render_index([DAY], "<html>of an older version</html>\n")
    assert "1 day, 21 November 2026" in index
    assert 'class="facts"' not in index


@pytest.mark.parametrize("name", ["pushes", "repositories"])
def test_numbers_that_fall_together_are_drawn(name: str):
    assert render(report(replace(organisation(), trends=Trends(**{name: [Point(DAY, 0, None)]}))))
