"""What the sample promises of its pushes, issues and stars, over the client that reads GitHub."""

import logging
from collections import Counter, defaultdict
from collections.abc import Iterable
from datetime import UTC, date, datetime, time, timedelta
from itertools import pairwise
from statistics import median
from typing import Any

import pytest
import requests
from hypothesis import given, settings
from hypothesis import strategies as st

from mds_assets.github.client import GitHub
from mds_assets.github.sample import SAMPLE_API_URL, SAMPLE_ORG, SampleTransport
from mds_assets.github.session import Session
from mds_assets_tests.github.sample.test_sample import Row, by_id, crawl, moments_between, session_at
from mds_assets_tests.github.sessions import rows_of

pytestmark = pytest.mark.slow(40)

NOON = datetime(2025, 6, 22, 12, tzinfo=UTC)  # a Sunday
DAY = timedelta(days=1)
ERA = date(2024, 1, 1)
few_examples = settings(max_examples=4, deadline=None)
moments = moments_between(2025, 2028)


def reading_at(moment: datetime) -> Session:
    """A session of the client at a moment; it may not wait."""

    def wait(seconds: float) -> None:
        pytest.fail(f"the client waits {seconds} s for the sample")

    transport = SampleTransport(now=lambda: moment)
    github = GitHub([SAMPLE_ORG], SAMPLE_API_URL, transport=transport, sleep=wait)
    return github.session(logging.getLogger(__name__))


def days_of(first: date, last: date) -> list[date]:
    return [first + number * DAY for number in range((last - first).days + 1)]


def first_page_at(moment: datetime, row: Row, path: str, **query: str | int) -> requests.Response:
    return session_at(moment).get(f"{SAMPLE_API_URL}/repos/{row['full_name']}/{path}", params=query, timeout=5)


def repository_at(moment: datetime, row: Row, path: str, **query: str | int) -> list[requests.Response]:
    """All pages of what GitHub knows of a repository."""
    session, pages = session_at(moment), [first_page_at(moment, row, path, **query)]
    while "next" in pages[-1].links:
        pages.append(session.get(pages[-1].links["next"]["url"], timeout=5))
    return pages


def search_at(moment: datetime, query: str, **parameters: str | int) -> requests.Response:
    return session_at(moment).get(f"{SAMPLE_API_URL}/search/issues", params={"q": query, **parameters}, timeout=5)


def moment_of(text: str) -> datetime:
    return datetime.fromisoformat(text)


def sample_of(rows: Iterable[Row], number: int, seed: int) -> list[Row]:
    """Some rows: those in as many places after the first, at equal distances."""
    ordered = list(rows)
    return [ordered[(seed + nth * 37) % len(ordered)] for nth in range(number)]


@pytest.fixture(scope="module")
def pushes() -> list[Row]:
    """All since the era began, the oldest first."""
    with reading_at(NOON) as session:
        rows = rows_of(session.pushes(days_of(ERA, NOON.date() - DAY)))
    return sorted(rows, key=lambda row: (row["timestamp"], row["repo_id"]))


@pytest.fixture(scope="module")
def events() -> list[Row]:
    """What happened to issues and pull requests in a year."""
    with reading_at(NOON) as session:
        return rows_of(session.issues(days_of(NOON.date() - 365 * DAY, NOON.date() - DAY)))


def people_of(rows: Iterable[Row]) -> list[Row]:
    return [row for row in rows if row["actor"]["type"] == "User"]


# Pushes


@few_examples
@given(moment=moments)
def test_the_newest_activity_is_the_push_that_the_listing_shows(moment: datetime) -> None:
    with reading_at(moment) as session:
        days = [moment.date() - 3 * DAY]
        newest: dict[int, datetime] = {}
        for row in rows_of(session.pushes(days)):
            newest[row["repo_id"]] = max(row["timestamp"], newest.get(row["repo_id"], row["timestamp"]))
        midnight = datetime.combine(days[0], time(), UTC)
        changed = session.changed(days).of(SAMPLE_ORG)
        shown = {row["id"]: row["pushed_at"] for row in changed if row["pushed_at"] and row["pushed_at"] >= midnight}
    assert newest == shown and len(newest) >= 5


@few_examples
@given(moment=moments, seed=st.integers(0, 300))
def test_so_it_is_for_quiet_and_slow_repositories(moment: datetime, seed: int) -> None:
    for row in sample_of(crawl(moment), 12, seed):
        newest = first_page_at(moment, row, "activity", per_page=1).json()
        assert [each["timestamp"] for each in newest] == [row["pushed_at"]] * bool(row["pushed_at"])


def test_every_push_was_the_newest_when_it_was_made(pushes: list[Row]) -> None:
    for push in pushes[-3_000::100]:
        (row,) = (row for row in crawl(push["timestamp"], sort="pushed") if row["id"] == push["repo_id"])
        assert moment_of(row["pushed_at"]) == push["timestamp"]


def test_activities_are_unique_and_their_pages_end_with_the_first_push() -> None:
    row = max(crawl(NOON), key=lambda row: (row["stargazers_count"], row["id"]))
    small, large = (repository_at(NOON, row, "activity", per_page=size) for size in (30, 100))
    activities, same = ([each for page in pages for each in page.json()] for pages in (small, large))
    assert activities == same and len({each["id"] for each in activities}) == len(activities) > 2_000
    assert [each["timestamp"] for each in activities] == sorted((e["timestamp"] for e in activities), reverse=True)
    assert {len(page.json()) for page in small[:-1]} == {30}
    assert (activities[-1]["timestamp"], activities[-1]["before"]) == (row["created_at"], "0" * 40)


def test_each_push_to_main_starts_where_the_one_before_ended() -> None:
    row = max(crawl(NOON), key=lambda row: (row["stargazers_count"], row["id"]))
    pages = repository_at(NOON, row, "activity", per_page=30)
    main = [each for page in pages for each in page.json() if each["ref"] == "refs/heads/main"]
    assert all(newer["before"] == older["after"] for newer, older in pairwise(main))


@pytest.mark.parametrize(("period", "days"), [("day", 1), ("week", 7), ("month", 28), ("quarter", 89), ("year", 365)])
def test_a_period_reaches_back_so_many_days(period: str, days: int) -> None:
    row = max(crawl(NOON), key=lambda row: (row["stargazers_count"], row["id"]))
    every, recent = (
        [each for page in repository_at(NOON, row, "activity", per_page=100, **query) for each in page.json()]
        for query in ({}, {"time_period": period})
    )
    assert recent == [each for each in every if moment_of(each["timestamp"]) >= NOON - days * DAY]


def test_workdays_have_some_45_pushes_by_some_11_people_and_weekends_a_quarter(pushes: list[Row]) -> None:
    numbers, people = Counter[date](), defaultdict[date, set[str]](set)
    for push in pushes:
        numbers[push["timestamp"].date()] += 1
    for push in people_of(pushes):
        people[push["timestamp"].date()].add(push["actor"]["login"])
    days = days_of(date(2024, 7, 1), NOON.date() - DAY)
    workdays, weekends = ([day for day in days if (day.weekday() < 5) == so] for so in (True, False))
    assert 35 <= median(numbers[day] for day in workdays) <= 55
    assert 8 <= median(numbers[day] for day in weekends) <= 15
    assert all(15 <= numbers[day] <= 90 for day in workdays) and all(1 <= numbers[day] <= 30 for day in weekends)
    assert 10 <= median(len(people[day]) for day in workdays) <= 13
    assert all(5 <= len(people[day]) <= 15 for day in workdays)
    assert {push["activity_type"] for push in pushes} == {"push", "force_push", "pr_merge", "merge_queue_merge"}


def test_every_month_one_or_two_people_push_for_the_first_time_and_a_few_for_the_last(pushes: list[Row]) -> None:
    made = people_of(pushes)
    first = {push["actor"]["login"]: push["timestamp"] for push in reversed(made)}
    last = {push["actor"]["login"]: push["timestamp"] for push in made}
    joined = Counter((at.year, at.month) for at in first.values())
    months = [*((2024, month) for month in range(2, 13)), *((2025, month) for month in range(1, 6))]
    assert all(joined[month] in (1, 2) for month in months)
    assert 2 <= sum(at < NOON - 60 * DAY for at in last.values()) <= len(last) / 2
    assert 30 <= sum(at >= NOON - 30 * DAY for at in last.values()) <= 50


def test_people_keep_regular_hours_and_have_favourite_repositories(pushes: list[Row]) -> None:
    hours, themes = defaultdict[str, list[int]](list), defaultdict[str, Counter[str]](Counter)
    for push in people_of(each for each in pushes if each["before"] != "0" * 40):  # a repository is created at any hour
        login = push["actor"]["login"]
        hours[login].append(push["timestamp"].hour)
        themes[login][push["repo_name"].split("-")[0]] += 1
    for login, pushed_in in themes.items():
        if pushed_in.total() > 200:
            assert max(hours[login]) - min(hours[login]) <= 6
            assert sum(number for _, number in pushed_in.most_common(3)) > 0.3 * pushed_in.total()


def test_nobody_of_the_sample_can_be_a_person_on_github(pushes: list[Row]) -> None:
    logins = {(push["actor"]["login"], push["actor"]["type"]) for push in pushes}
    assert {login for login, kind in logins if kind == "Bot"} == {"mds-bot[bot]", "mds-dependencies[bot]"}
    assert all(login.endswith("_sample") for login, kind in logins if kind == "User")


# Issues and pull requests


def test_a_merge_is_a_pull_request_merged_in_the_same_second(pushes: list[Row], events: list[Row]) -> None:
    since = NOON - 300 * DAY
    merges = Counter(
        (push["repo_id"], push["timestamp"])
        for push in pushes
        if "merge" in push["activity_type"] and since <= push["timestamp"] < NOON - DAY
    )
    ids = {push["repo_name"]: push["repo_id"] for push in pushes}
    merged = Counter(
        (ids[row["repo_name"]], row["event_at"])
        for row in events
        if row["event"] == "merged" and since <= row["event_at"] < NOON - DAY
    )
    assert merges == merged and len(merged) > 1_500


def test_numbers_are_unique_in_a_repository_and_rise_with_creation(events: list[Row]) -> None:
    opened = [row for row in events if row["event"] == "opened"]
    by_repository = defaultdict[str, list[tuple[datetime, int]]](list)
    for row in opened:
        by_repository[row["repo_name"]].append((row["created_at"], row["number"]))
    for found in by_repository.values():
        numbers = [number for _, number in sorted(found)]
        assert numbers == sorted(set(numbers))
    assert len({row["id"] for row in opened}) == len(opened)
    assert any(row.get("pull_request") for row in opened) and not all(row.get("pull_request") for row in opened)


def test_a_year_in_halves_is_its_months(events: list[Row]) -> None:
    """GitHub shows 1,000 items of a search, and of these there are more."""
    found = Counter((row["id"], row["event"]) for row in events)
    assert set(found.values()) == {1} and len(found) > 10_000
    for first in (date(2024, 8, 1), date(2025, 2, 1)):
        days = days_of(first, first + 27 * DAY)
        with reading_at(NOON) as session:
            month = {(row["id"], row["event"]) for row in rows_of(session.issues(days))}
        assert month == {(row["id"], row["event"]) for row in events if row["event_at"].date() in days}


def test_most_are_merged_within_days_and_some_never_closed(events: list[Row]) -> None:
    hours = {
        event: [(row["event_at"] - row["created_at"]) / timedelta(hours=1) for row in events if row["event"] == event]
        for event in ("merged", "closed")
    }
    assert 10 <= median(hours["merged"]) <= 60 and max(hours["merged"]) > 500
    assert min(hours["closed"]) >= 0 and max(hours["closed"]) <= 180 * 24
    before_half_a_year = [row for row in events if row["event"] == "opened" and row["event_at"] < NOON - 181 * DAY]
    assert 0.02 < sum(row["state"] == "open" for row in before_half_a_year) / len(before_half_a_year) < 0.2
    closed = [row for row in events if row["event"] == "closed" and row.get("pull_request")]
    rejected = [row for row in closed if not row["pull_request"].get("merged_at")]
    assert 0.05 < len(rejected) / len(closed) < 0.3


def test_workdays_see_some_9_merges_and_7_new_issues(events: list[Row]) -> None:
    def on_workdays(event: str, *, is_pull: bool) -> list[int]:
        chosen = (row for row in events if row["event"] == event and bool(row.get("pull_request")) == is_pull)
        numbers = Counter(row["event_at"].date() for row in chosen)
        days = days_of(NOON.date() - 365 * DAY, NOON.date() - DAY)
        return [numbers[day] for day in days if day.weekday() < 5]

    assert 6 <= median(on_workdays("merged", is_pull=True)) <= 13
    assert 4 <= median(on_workdays("opened", is_pull=False)) <= 9


@few_examples
@given(moment=moments, seed=st.integers(0, 300))
def test_the_listing_counts_the_issues_that_were_open_at_the_newest_update(moment: datetime, seed: int) -> None:
    rows = sorted(crawl(moment), key=lambda row: -row["open_issues_count"])
    for row in [rows[seed % 8], *sample_of(rows, 4, seed)]:
        updated = moment_of(row["updated_at"])
        counts = [
            search_at(updated, f"repo:{row['full_name']} is:{kind} is:open").json()["total_count"]
            for kind in ("issue", "pr")
        ]
        assert sum(counts) == row["open_issues_count"]


@few_examples
@given(moment=moments, days=st.integers(1, 200))
def test_an_item_never_changes_its_past(moment: datetime, days: int) -> None:
    opened = f"{moment - 30 * DAY:%Y-%m-%dT%H:%M:%SZ}..{moment:%Y-%m-%dT%H:%M:%SZ}"
    for kind in ("issue", "pr"):
        query = f"org:{SAMPLE_ORG} is:{kind} created:{opened}"
        before, after = (
            by_id(search_at(at, query, sort="created", order="asc", per_page=100).json()["items"])
            for at in (moment, moment + days * DAY)
        )
        assert before.keys() == after.keys() and len(before) > 20
        for number, item in before.items():
            later = after[number]
            mutable = {"state", "state_reason", "closed_at", "updated_at", "comments", "pull_request"}
            renamed = {name for name in item if name.endswith("url")}
            assert {n: v for n, v in item.items() if n not in mutable | renamed} == {
                n: v for n, v in later.items() if n not in mutable | renamed
            }
            assert item["updated_at"] <= later["updated_at"] and item["comments"] <= later["comments"]
            if item["closed_at"]:
                assert (item["closed_at"], item["state_reason"]) == (later["closed_at"], later["state_reason"])
            else:
                assert not later["closed_at"] or moment_of(later["closed_at"]) > moment


def test_a_search_gives_a_thousand_items_and_counts_all() -> None:
    query = f"org:{SAMPLE_ORG} is:pr created:2024-07-01T00:00:00Z..2025-06-20T23:59:59Z"
    first, last = (search_at(NOON, query, sort="created", order="asc", per_page=100, page=page) for page in (1, 10))
    assert first.json()["total_count"] == last.json()["total_count"] > 2_000
    assert len(last.json()["items"]) == 100 and "next" not in last.links and "next" in first.links
    assert search_at(NOON, query, per_page=100, page=11).status_code == 422
    assert first.headers["x-ratelimit-resource"] == "search"


@pytest.mark.parametrize(
    "query",
    [
        f"org:{SAMPLE_ORG} created:2025-01-01T00:00:00Z..2025-12-31T23:59:59Z",
        f"org:{SAMPLE_ORG} is:issue is:pr",
        "org:other is:issue",
        "is:issue",
        f"org:{SAMPLE_ORG} is:issue created:yesterday",
    ],
)
def test_a_search_that_github_refuses_is_refused(query: str) -> None:
    answer = search_at(NOON, query)
    assert (answer.status_code, answer.json()["message"]) == (422, "Validation Failed")


# Stars


def stars_of(moment: datetime, row: Row) -> list[Row]:
    return [week for page in repository_at(moment, row, "stargazers/history") for week in page.json()]


@few_examples
@given(moment=moments, seed=st.integers(0, 300))
def test_all_weeks_add_up_to_the_stars_that_the_listing_shows(moment: datetime, seed: int) -> None:
    rows = sorted(crawl(moment), key=lambda row: -row["stargazers_count"])
    for row in [rows[seed % 8], *sample_of(rows, 6, seed)]:
        weeks = stars_of(moment, row)
        assert sum(week["total"] for week in weeks) == row["stargazers_count"]
        assert all(sum(week["days"]) == week["total"] and len(week["days"]) == 7 for week in weeks)
        sundays = [datetime.fromtimestamp(week["week"], UTC) for week in weeks]
        assert all(newer - older == 7 * DAY for newer, older in pairwise(sundays))
        assert sundays[0] <= moment < sundays[0] + 7 * DAY
        assert sundays[-1] <= moment_of(row["created_at"]) < sundays[-1] + 7 * DAY


def test_stars_are_gained_on_the_day_on_which_the_count_moves() -> None:
    midnights = [datetime(2026, 3, 2, tzinfo=UTC) + number * DAY for number in range(13)]
    counts = [by_id(crawl(midnight - timedelta(seconds=1))) for midnight in midnights]
    with reading_at(midnights[-1] + timedelta(hours=2)) as session:
        gained = {
            (row["repo_id"], row["date"]): row["gained"]
            for row in rows_of(session.stars(days_of(midnights[0].date(), midnights[-2].date())))
        }
    lost = 0
    for midnight, before, after in zip(midnights, counts, counts[1:], strict=False):
        for number, row in after.items():
            moved = row["stargazers_count"] - before[number]["stargazers_count"]
            lost += gained.get((number, midnight.date()), 0) != moved
    assert sum(gained.values()) > 100 and lost <= 3


def test_the_history_of_a_repository_without_stars_is_not_empty() -> None:
    row = next(row for row in crawl(NOON) if row["stargazers_count"] == 0)
    assert stars_of(NOON, row) and not any(week["total"] for week in stars_of(NOON, row))


# All tables


@pytest.mark.parametrize("day", [date(2025, 3, 11), date(2026, 11, 14)])
def test_a_back_fill_a_month_later_gives_the_same_day(day: date) -> None:
    def read(moment: datetime) -> tuple[set[Any], set[Any], dict[int, int]]:
        with reading_at(moment) as session:
            pushes = rows_of(session.pushes([day]))
            issues = rows_of(session.issues([day]))
            stars = rows_of(session.stars([day]))
        return (
            {(row["repo_id"], row["id"], row["after"]) for row in pushes if row["timestamp"].date() == day},
            {(row["id"], row["event"], row["event_at"]) for row in issues},
            {row["repo_id"]: row["gained"] for row in stars if row["gained"]},
        )

    next_night = datetime.combine(day + DAY, time(2), UTC)
    (pushes, issues, stars), (later_pushes, later_issues, later_stars) = read(next_night), read(next_night + 30 * DAY)
    assert pushes == later_pushes and issues == later_issues and len(pushes) > 3
    assert stars.keys() <= later_stars.keys() | {number for number in stars if stars[number] == 1}
    assert sum(stars.values()) - sum(later_stars.values()) in (0, 1, 2)  # some are given back


def test_the_inventory_is_every_repository_oldest_first() -> None:
    with reading_at(NOON) as session:
        rows = rows_of(session.inventory())
    assert [row["created_at"] for row in rows] == sorted(row["created_at"] for row in rows)
    assert {row["id"] for row in rows} == by_id(crawl(NOON)).keys() and len(rows) > 300


def test_a_run_of_one_day_asks_for_what_changed() -> None:
    with reading_at(NOON) as session:
        day = [NOON.date() - DAY]
        readings = [session.pushes(day), session.issues(day), session.stars(day), session.inventory()]
        assert all(rows_of(reading) for reading in readings)
        assert not any(reading.warnings or reading.skipped for reading in readings)
        assert sum(reading.requests for reading in readings) < 120


@pytest.mark.parametrize("path", ["activity", "stargazers/history"])
def test_a_repository_that_is_not_there_yet_or_unknown_is_404(path: str) -> None:
    before = datetime(2025, 3, 11, 10, 14, tzinfo=UTC)
    for name, moment in (("no-such", NOON), ("tide-console", before), ("tide-console/x", NOON)):
        answer = session_at(moment).get(f"{SAMPLE_API_URL}/repos/{SAMPLE_ORG}/{name}/{path}", timeout=5)
        assert (answer.status_code, answer.json()["message"]) == (404, "Not Found")


@pytest.mark.parametrize("path", ["activity", "stargazers/history"])
def test_an_old_name_leads_to_the_repository(path: str) -> None:
    old, new = (f"{SAMPLE_API_URL}/repos/{SAMPLE_ORG}/{name}/{path}" for name in ("tide-web", "tide-console"))
    session = session_at(NOON)
    assert session.get(old, allow_redirects=False, timeout=5).status_code == 301
    assert session.get(old, timeout=5).json() == session.get(new, timeout=5).json() != []
