"""Promises of the report's numbers by date, its people and its open pull requests, on small literal tables."""

import re
from collections.abc import Collection, Mapping
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from typing import Any
from xml.etree import ElementTree

import polars as pl
import pytest

from mds_assets.defs.github.report import by_day, tables
from mds_assets.defs.github.report.figures import Organisation, of_day
from mds_assets.defs.github.report.people import PullRequest
from mds_assets.defs.github.report.tables import Tables
from mds_assets.defs.github.report.trends import Change, History, Point
from mds_assets.stack.io_managers.polars import polars_schema
from mds_assets.stack.partitions import window
from mds_assets.stack.table import Table

DAY = date(2026, 11, 21)
L = 3
THIS, BEFORE = window(DAY, L), window(DAY - timedelta(days=L), L)
ALL = [*BEFORE, *THIS]
STAGING: list[str] = ["repos", "pushes", "issues", "stars"]
MARTS: list[str] = [
    "push_activity",
    "issue_flow",
    "contributors",
    "organisation",
    "daily_activity",
    "repos_per_language",
]


def rows(table: Table, *rows: Mapping[str, Any], partitioned: bool = True) -> pl.LazyFrame:
    """Rows of acme, unless they name another organisation."""
    schema = polars_schema(table.with_day() if partitioned else table)
    return pl.LazyFrame([{"org": "acme"} | dict(row) for row in rows], schema=schema)


def acme(
    landed: Collection[date] = ALL, made: Collection[date] = ALL, *, names_shown: bool = False, **given: Any
) -> Organisation:
    """The organisation as of the day, with these tables, all landed and made on these days."""
    read = Tables(**given, landed=dict.fromkeys(STAGING, landed), made=dict.fromkeys(MARTS, made))
    organisations = of_day(DAY, History(L, read), configured=["acme"], names_shown=names_shown).organisations
    return next(one for one in organisations if one.name == "acme")


def pushes(as_of: date, counts: Mapping[date, int | None], averaged: int = 7) -> list[dict[str, Any]]:
    mean = {"pushes_7d_avg": 1.5, "days_averaged": averaged}
    return [{"push_date": on, "pushes": count, "day": as_of} | mean for on, count in counts.items()]


def at(day: date, hour: int = 12) -> datetime:
    return datetime(day.year, day.month, day.day, hour, tzinfo=UTC)


def test_a_date_has_the_number_of_the_newest_as_of_day_that_has_it():
    older = pushes(THIS[1], {THIS[0]: 1, THIS[1]: 1})
    newer = pushes(DAY, {THIS[1]: 5})
    later = pushes(DAY + timedelta(days=1), {THIS[1]: 99})
    trends = acme(push_activity=rows(tables.PUSH_ACTIVITY, *newer, *older, *later)).trends
    assert [point.value for point in trends.pushes] == [0, 0, 0, 1, 5, 0]


def test_a_day_without_data_is_not_a_day_with_nothing():
    landed = [day for day in ALL if day != THIS[1]]
    trends = acme(landed, push_activity=rows(tables.PUSH_ACTIVITY, *pushes(DAY, dict.fromkeys(THIS, 4)))).trends
    assert trends.pushes == [
        *(Point(day, 0) for day in BEFORE),
        Point(THIS[0], 4, 1.5),
        Point(THIS[1], None),
        Point(THIS[2], 4, 1.5),
    ]


def test_a_day_landed_after_its_mart_is_not_a_day_with_nothing():
    made = [*pushes(BEFORE[-1], dict.fromkeys(BEFORE, 4)), *pushes(DAY, dict.fromkeys(THIS, 4))]
    headline = acme(push_activity=rows(tables.PUSH_ACTIVITY, *made)).headlines.pushes
    assert (headline.now, headline.before) == (12, 12)
    for row in made:
        row["pushes"] = None if row["push_date"] == THIS[1] else row["pushes"]
    page = acme(push_activity=rows(tables.PUSH_ACTIVITY, *made))
    assert page.trends.pushes[-L:] == [Point(THIS[0], 4, 1.5), Point(THIS[1], None), Point(THIS[2], 4, 1.5)]
    assert (page.headlines.pushes.now, page.headlines.pushes.before) == (8, None)


def test_a_mean_of_fewer_than_7_days_is_not_shown():
    partial = pushes(DAY, {THIS[0]: 4, THIS[1]: 4}, averaged=6)
    trends = acme(push_activity=rows(tables.PUSH_ACTIVITY, *partial, *pushes(DAY, {THIS[2]: 4}))).trends
    assert trends.pushes[-L:] == [Point(THIS[0], 4), Point(THIS[1], 4), Point(THIS[2], 4, 1.5)]
    counted = {"push_count": 4, "rolling_7d_avg": 1.5, "day": DAY}
    seen = [counted | {"push_date": on, "days_averaged": number} for on, number in zip(THIS, (5, 6, 7), strict=True)]
    trends = acme(daily_activity=rows(tables.DAILY_ACTIVITY, *seen)).trends
    assert trends.repositories[-L:] == [Point(THIS[0], 4), Point(THIS[1], 4), Point(THIS[2], 4, 1.5)]


def test_a_chart_without_a_mean_says_nothing_of_a_line():
    alone = [point._replace(other=None) for point in series(3, 4)]
    assert by_day.with_mean("Pushes", alone).alt == (
        "Bar chart. Pushes by day, 20 to 21 November 2026: 7 in all, the most on 21 November, 4."
    )


def test_a_landed_day_that_no_mart_covers_is_not_known():
    made = [BEFORE[-1]]
    trends = acme(made=made, push_activity=rows(tables.PUSH_ACTIVITY, *pushes(BEFORE[-1], {BEFORE[0]: 2}))).trends
    assert [point.value for point in trends.pushes] == [2, 0, 0, None, None, None]


def test_a_measure_of_which_nothing_is_known_is_empty_and_the_dates_begin_with_the_first_day_that_has_data():
    nothing = acme(landed=[], made=[]).trends
    assert (nothing.pushes, nothing.merged, nothing.issues, nothing.stars) == ([], [], [], [])
    days = window(DAY, 120)
    stars = rows(tables.STARS, *({"date": day, "gained": 1, "day": day} for day in days))
    assert [point.day for point in acme(days, [], stars=stars).trends.stars] == window(DAY, 90)
    assert [point.day for point in acme(THIS[:1], [], stars=stars).trends.stars] == THIS


def test_stars_are_summed_over_repositories():
    gained = [{"date": DAY, "gained": number, "day": DAY} for number in (1, 2, 30)]
    organisation = acme(stars=rows(tables.STARS, *gained, {"org": "other", "date": DAY, "gained": 7, "day": DAY}))
    assert organisation.trends.stars[-1] == Point(DAY, 33)
    assert organisation.headlines.stars_gained == Change(33, 0)


def headlines(landed: Collection[date] = ALL, made: Collection[date] = ALL) -> Any:
    flow = [
        {"event_date": day, "issues_opened": 2, "issues_closed": 1, "pull_requests_merged": number, "day": day}
        for number, day in enumerate(ALL)
    ]
    people = [{"people": number, "day": day} for number, day in enumerate(ALL)]
    merges = [
        {"is_pull_request": True, "created_at": at(day, 0), "merged_at": at(day, hour)}
        for day, hour in ((THIS[0], 1), (THIS[0], 2), (THIS[2], 9), (BEFORE[1], 4))
    ]
    return acme(
        landed,
        made,
        issue_flow=rows(tables.ISSUE_FLOW, *flow),
        organisation=rows(tables.ORGANISATION, *people),
        latest_issues=rows(tables.LATEST_ISSUES, *merges, partitioned=False),
    ).headlines


def test_headlines_set_the_window_against_the_one_before():
    found = headlines()
    assert found.merged == Change(3 + 4 + 5, 0 + 1 + 2)
    assert (found.opened, found.closed) == (Change(6, 6), Change(3, 3))
    assert found.people == Change(5, 2)
    assert found.hours_to_merge == Change(2.0, 4.0, of=3)


@pytest.mark.parametrize("missing", [THIS[1], BEFORE[0]])
def test_windows_with_a_missing_day_are_not_compared(missing: date):
    found = headlines(landed=[day for day in ALL if day != missing])
    for change in (found.merged, found.opened, found.people, found.hours_to_merge):
        assert change.now is not None
        assert change.before is None


def test_what_is_not_known_has_no_number():
    found = headlines(landed=BEFORE, made=BEFORE)
    assert (found.merged, found.people, found.stars_gained) == (Change(), Change(), Change())
    assert acme().headlines.hours_to_merge == Change()


def contributor(person: str, pushes: int = 1, *, is_bot: bool = False, is_new: bool | None = False) -> dict[str, Any]:
    numbers = {"pushes": pushes, "pull_requests_opened": 0, "pull_requests_merged": 0}
    return {"person": person, "is_bot": is_bot, "first_seen": DAY, "is_new": is_new, "day": DAY} | numbers


def issue(repo: str, number: int = 1, **fields: Any) -> dict[str, Any]:
    names = {"repo_name": repo, "repo_full_name": f"acme/{repo}", "title": f"{repo} {number}"}
    return names | {"number": number, "is_pull_request": True, "created_at": at(THIS[0])} | fields


REPOSITORIES = rows(
    tables.REPOSITORIES,
    *({"repo_full_name": f"acme/{name}", "visibility": visibility}
      for name, visibility in (("open", "public"), ("secret", "private"), ("unclear", None), ("reused", "public"),
                               ("reused", "private"))),
    partitioned=False,
)  # fmt: skip


def people_of(*contributors: dict[str, Any], landed: Collection[date] = ALL, names_shown: bool = False) -> Any:
    pushed = [("public", "ada"), ("private", "bob"), (None, "cyd"), ("public", "old")]
    actors = [{"visibility": seen, "actor": actor, "day": DAY} for seen, actor in pushed[:-1]]
    actors.append({"visibility": "public", "actor": "old", "day": BEFORE[-1]})
    issues = [issue("open", author="eve"), issue("secret", author="dan"), issue("unknown", author="fay"),
              issue("open", author="gus", created_at=at(BEFORE[0]), merged_at=at(DAY))]  # fmt: skip
    organisation = acme(
        landed,
        contributors=rows(tables.CONTRIBUTORS, *contributors),
        pushes=tables.counted(rows(tables.PUSHES, *actors)),
        latest_issues=rows(tables.LATEST_ISSUES, *issues, partitioned=False),
        repositories=REPOSITORIES,
        names_shown=names_shown,
    )
    return organisation.people


def test_a_person_is_named_who_did_something_in_a_public_repository_in_the_window():
    everyone = [contributor(name, is_new=True) for name in ("ada", "bob", "cyd", "dan", "eve", "fay", "gus", "old")]
    found = people_of(*everyone)
    assert [one.person for one in found.most_active] == ["ada", "eve", "gus"]
    assert [one.person for one in found.newcomers] == ["ada", "eve", "gus"]
    assert (found.total, found.new, found.unnamed) == (8, 8, 5)
    shown = people_of(*everyone, names_shown=True)
    assert (len(shown.most_active), shown.unnamed) == (8, 0)


def test_bots_stand_apart_and_who_pushed_most_comes_first():
    bot = contributor("dependabot[bot]", 50, is_bot=True, is_new=True)
    found = people_of(contributor("eve", 2), contributor("ada", 9), bot, names_shown=True)
    assert [one.person for one in found.most_active] == ["ada", "eve"]
    assert (found.total, found.new, found.bots, found.bot_pushes) == (2, 0, 1, 50)


def test_nobody_is_new_where_the_mart_cannot_know():
    found = people_of(contributor("ada", is_new=None), landed=THIS)
    assert (found.new, found.newcomers) == (None, [])


def waiting_of(*issues: dict[str, Any], names_shown: bool = False) -> Any:
    organisation = acme(
        latest_issues=rows(tables.LATEST_ISSUES, *issues, partitioned=False),
        repositories=REPOSITORIES,
        names_shown=names_shown,
    )
    return organisation.waiting


def test_what_waits_was_open_at_the_end_of_the_day():
    after = at(DAY + timedelta(days=1), 0)
    found = waiting_of(
        issue("open", 1),
        issue("open", 2, created_at=at(date(2026, 1, 21)), closed_at=after, merged_at=after),
        issue("open", 3, closed_at=at(DAY, 23)),
        issue("open", 4, merged_at=at(DAY)),
        issue("open", 5, created_at=after),
        issue("open", 6, is_pull_request=False),
    )
    assert found.oldest == [PullRequest("open", 2, "open 2", 304), PullRequest("open", 1, "open 1", L - 1)]
    assert (found.total, found.private) == (2, 0)


def test_what_waits_is_named_in_public_repositories_only():
    issues = [issue(name) for name in ("open", "secret", "unclear", "unknown", "reused")]
    found = waiting_of(*issues)
    assert [one.repo_name for one in found.oldest] == ["open"]
    assert (found.total, found.private) == (5, 4)
    assert len(waiting_of(*issues, names_shown=True).oldest) == 5


def series(*values: int | None) -> list[Point]:
    return [
        Point(day, value, None if value is None else value / 2)
        for day, value in zip(window(DAY, len(values)), values, strict=True)
    ]


def test_a_chart_has_its_numbers_and_its_gaps_in_words():
    points = series(3, None, None, 1234, None, 5)
    assert by_day.with_mean("Pushes", points).alt == (
        "Bar chart with a line. Pushes by day, 16 to 21 November 2026: 1,242 in all, the most on 19 November, 1,234. "
        "No data for 17 to 18 November 2026, 20 November 2026. "
        "7-day mean: 1.5 on 16 November, 2.5 on 21 November."
    )
    assert by_day.alone("Stars gained", series(0, 0)).alt == (
        "Bar chart. Stars gained by day, 20 to 21 November 2026: 0 in all."
    )
    both = by_day.against("Issues opened", "Issues closed", series(4, None, 8)).alt
    assert "Issues opened by day, 19 to 21 November 2026: 12 in all" in both
    assert "Issues closed by day, 19 to 21 November 2026: 6 in all" in both
    assert both.count("No data for 20 November 2026.") == 1


def bars(drawing: str) -> int:
    """How many bars a drawing has: rectangles that begin with a vertical line."""
    return len(re.findall(r"M[\d.]+ [\d.]+V[\d.]+h[\d.]+V[\d.]+z", drawing))


def test_a_gap_is_hatched_a_zero_is_not_and_the_line_stops_at_the_gap():
    whole, zero, gap = (by_day.with_mean("x", series(4, middle, 4)).drawing for middle in (4, 0, None))
    assert (bars(whole), bars(zero), bars(gap)) == (3, 2, 2)
    assert ["fill-opacity" in drawing for drawing in (whole, zero, gap)] == [False, False, True]
    lines = [re.findall(r'd="([^"]*)" stroke="var\(--average', drawing)[0] for drawing in (whole, zero, gap)]
    assert [line.count("M") for line in lines] == [1, 1, 2]


def test_a_lone_mean_is_wide_enough_to_be_seen_on_its_bar():
    """As on the last of a first run's 7 days."""
    points = [Point(day, 4, 3.5 if day == DAY else None) for day in window(DAY, 7)]
    (width,) = re.findall(r"m-[\d.]+ 0h([\d.]+)", by_day.with_mean("x", points).drawing)
    assert float(width) > 25


@pytest.mark.parametrize("days", [1, 2, 7, 31, 90])
@pytest.mark.parametrize("most", [0, 1, 7, 99, 100, 101, 1_999, 5_000, 12_345, 1_000_000])
def test_every_drawing_is_within_its_box_and_labels_the_newest_day(days: int, most: int):
    values = [None if number % 5 == 3 else most * number // days for number in range(days)]
    values[-1] = most
    for drawn in (by_day.with_mean("x", series(*values)), by_day.against("x", "y", series(*values))):
        root = ElementTree.fromstring(f"<svg>{drawn.drawing}</svg>")  # noqa: S314  # our own
        texts = [element.text or "" for element in root.iter("text")]
        labels = [text for text in texts if re.fullmatch(r"\d+ [A-Z][a-z]{2}", text)]
        assert "21 Nov" in labels
        assert len(labels) <= 4
        numbers = [text for text in texts if text not in labels]
        assert 2 <= len(numbers) <= 7
        assert all(len(text) <= 4 for text in numbers)
        heights = [float(height) for height in re.findall(r"V([\d.]+)h", drawn.drawing)]
        assert all(16 <= height <= drawn.height for height in heights)


def test_a_higher_bar_counts_more():
    drawn = by_day.alone("x", series(1, 2, 3, 4, 5)).drawing
    tops = [float(top) for top in re.findall(r"V([\d.]+)h", drawn)]
    assert all(one > other for one, other in pairwise(tops))


def test_repositories_pushed_to_are_counted_once_in_each_window():
    pushed = [
        {"repo_id": repo, "kind": kind, "day": day}
        for repo, kind, day in (
            *((1, "push", THIS[0]), (1, "pr_merge", THIS[1]), (2, "force_push", THIS[2])),
            *((3, "branch_deletion", THIS[2]), (4, "push", BEFORE[0])),
        )
    ]
    assert acme(pushes=tables.counted(rows(tables.PUSHES, *pushed))).headlines.repositories == Change(2, 1)
    assert acme(landed=[]).headlines.repositories == Change()


def test_the_most_active_repositories_are_those_with_the_most_pushes_of_the_window():
    pushed = [
        {"repo_id": repo, "repo_name": name, "visibility": seen, "kind": kind, "actor": actor, "is_bot": actor == "bot",
         "day": day}
        for repo, name, seen, kind, actor, day, times in (
            (1, "old-name", "public", "push", "ada", THIS[0], 2),
            (1, "name", "public", "pr_merge", "bob", THIS[1], 1),
            (1, "name", "public", "push", None, THIS[1], 1),
            (2, "robots", "public", "force_push", "bot", DAY, 5),
            (2, "robots", "public", "branch_creation", "ada", DAY, 9),
            (3, "b-tie", "public", "push", "ada", DAY, 1), (4, "a-tie", "public", "push", "ada", DAY, 1),
            (5, "secret", "private", "push", "ada", DAY, 7), (6, "unclear", None, "push", "ada", DAY, 7),
            (7, "published", "private", "push", "ada", THIS[0], 1), (7, "published", "public", "push", "ada", DAY, 1),
            (8, "before", "public", "push", "ada", BEFORE[-1], 50),
        )
        for _ in range(times)
    ]  # fmt: skip
    listed = [{"repo_id": 1, "repo_name": "name", "language": "Go"}]
    given: dict[str, Any] = {
        "pushes": tables.counted(rows(tables.PUSHES, *pushed)),
        "repositories": rows(tables.REPOSITORIES, *listed, partitioned=False),
    }
    most = acme(**given).most_pushed
    assert [(one.repo_name, one.pushes, one.people, one.language) for one in most.repositories] == [
        ("robots", 5, 0, ""),
        ("name", 4, 2, "Go"),
        ("a-tie", 1, 1, ""),
        ("b-tie", 1, 1, ""),
    ]
    assert (most.private, most.total) == (3, 7)
    named = acme(**given, names_shown=True).most_pushed
    assert [one.repo_name for one in named.repositories][:2] == ["secret", "unclear"]
    assert named.private == 0
    assert acme().most_pushed.total == 0


def test_dormant_are_the_repositories_without_a_push_on_a_charted_day_most_stars_first():
    first = window(DAY, 90)[0]
    old = first - timedelta(days=1)
    listed = [
        {"repo_id": number, "repo_name": name, "visibility": "public", "language": "Go", "stars": stars,
         "pushed_at": at(old, 23), "is_listed": True, "is_archived": False} | fields
        for number, (name, stars, fields) in enumerate([
            ("few", 1, {}), ("b-many", 9, {}), ("a-many", 9, {}), ("unknown", None, {"is_archived": None}),
            ("in-time", 9, {"pushed_at": at(first, 0)}), ("never", 9, {"pushed_at": None}),
            ("archived", 9, {"is_archived": True}), ("gone", 9, {"is_listed": False}),
            ("woken", 9, {}), ("secret", 9, {"visibility": "private"}), ("elsewhere", 9, {"org": "other"}),
        ])
    ]  # fmt: skip
    woken = {"repo_id": 8, "pushed_at": at(DAY), "observed_at": at(DAY), "day": DAY}
    given: dict[str, Any] = {
        "repositories": rows(tables.REPOSITORIES, *listed, partitioned=False),
        "repos": rows(tables.REPOS, woken),
    }
    dormant = acme(**given).dormant
    assert [one.repo_name for one in dormant.repositories] == ["a-many", "b-many", "few", "unknown"]
    assert dormant.repositories[0].pushed_at == at(old, 23)
    assert (dormant.private, dormant.total) == (1, 5)
    assert acme(**given, names_shown=True).dormant.private == 0
    assert acme().dormant.total == 0


def test_the_repositories_that_gained_stars_are_those_of_the_dates_of_the_window():
    """Though a crawl saw each of them once, as in a lake that was filled later."""
    gained = [
        {"repo_id": repo, "date": day, "gained": number, "day": day}
        for repo, day, number in ((1, THIS[0], 2), (1, THIS[1], 3), (2, THIS[2], 9), (3, BEFORE[0], 50), (4, DAY, 0))
    ]
    listed = [
        {"repo_id": repo, "repo_name": f"repo-{repo}", "visibility": seen, "language": "Go", "stars": 100}
        for repo, seen in ((1, "public"), (2, "private"), (3, "public"), (4, "public"))
    ]
    organisation = acme(stars=rows(tables.STARS, *gained), repositories=rows(tables.REPOSITORIES, *listed))
    assert [(one.repo_name, one.stars_gained) for one in organisation.gained.repositories] == [("repo-1", 5)]
    assert organisation.gained.private == 1
