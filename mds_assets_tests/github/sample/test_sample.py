"""What the sample organisation promises to whoever crawls it, asked over a real `requests` session."""

import hashlib
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests
from hypothesis import given, settings
from hypothesis import strategies as st

from mds_assets.github.sample import SAMPLE_API_URL, SAMPLE_ORG, SampleTransport

Row = dict[str, Any]

REPOS_URL = f"{SAMPLE_API_URL}/orgs/{SAMPLE_ORG}/repos"
NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
DAY = timedelta(days=1)


def moments_between(first_year: int, last_year: int) -> st.SearchStrategy[datetime]:
    """Return any second from January 2nd of the first year to December 30th of the last, in UTC."""
    first, last = datetime(first_year, 1, 2, tzinfo=UTC), datetime(last_year, 12, 30, tzinfo=UTC)
    return st.integers(int(first.timestamp()), int(last.timestamp())).map(lambda at: datetime.fromtimestamp(at, UTC))


hours = st.integers(min_value=0, max_value=24 * 90)
examples = settings(max_examples=20, deadline=None)


def session_at(moment: datetime) -> requests.Session:
    session = requests.Session()
    session.mount(f"{SAMPLE_API_URL}/", SampleTransport(now=lambda: moment))
    return session


def pages_at(moment: datetime, **params: str | int) -> list[requests.Response]:
    session = session_at(moment)
    pages = [session.get(REPOS_URL, params={"per_page": 100, **params}, timeout=5)]
    while "next" in pages[-1].links:
        pages.append(session.get(pages[-1].links["next"]["url"], timeout=5))
    return pages


def crawl(moment: datetime, **params: str | int) -> list[Row]:
    return [row for page in pages_at(moment, **params) for row in page.json()]


@pytest.fixture(name="rows", scope="module")
def rows_at_noon() -> list[Row]:
    return crawl(NOON)


def by_id(rows: list[Row]) -> dict[int, Row]:
    return {row["id"]: row for row in rows}


def active_at(row: Row) -> str:
    return max(row["updated_at"], row["pushed_at"] or "")


def active_days(rows: list[Row]) -> Counter[date]:
    return Counter(datetime.fromisoformat(active_at(row)).date() for row in rows)


def stars_at(moment: datetime) -> int:
    return sum(row["stargazers_count"] for row in crawl(moment))


def test_some_300_repositories_with_a_long_tail_of_stars(rows: list[Row]) -> None:
    stars = sorted((row["stargazers_count"] for row in rows), reverse=True)
    forks = [row["forks_count"] for row in sorted(rows, key=lambda row: row["stargazers_count"], reverse=True)]
    assert 290 <= len(rows) <= 320
    assert 2_000 < stars[0] < 20_000 and stars[9] > 200
    assert sum(count < 10 for count in stars) > len(stars) / 2 and stars[-1] == 0
    assert sum(forks[:30]) > 10 * sum(forks[-200:])


def test_languages_and_licences_are_a_realistic_mix(rows: list[Row]) -> None:
    languages = Counter(row["language"] for row in rows)
    licences = Counter(row["license"]["spdx_id"] for row in rows if row["license"])
    assert {"Python", "TypeScript", "Java", "Go", "Rust", "JavaScript", "C++", "Shell"} <= languages.keys()
    assert max(languages.values()) < len(rows) / 4
    assert licences.most_common(1)[0][0] == "MIT" and licences["NOASSERTION"] > 0


@pytest.mark.parametrize("field", ["language", "license", "pushed_at", "description"])
def test_some_but_not_most_repositories_have_no(field: str, rows: list[Row]) -> None:
    assert 1 <= sum(row[field] is None for row in rows) <= len(rows) / 4


def test_a_repository_without_pushes_has_no_language_and_no_size(rows: list[Row]) -> None:
    assert {(row["language"], row["size"]) for row in rows if row["pushed_at"] is None} == {(None, 0)}


def test_there_are_forks_archived_repositories_topics_and_emoji(rows: list[Row]) -> None:
    assert any(row["fork"] for row in rows) and any(row["archived"] for row in rows)
    assert any(row["topics"] for row in rows) and not all(row["topics"] for row in rows)
    assert any(not row["description"].isascii() for row in rows if row["description"])


def test_everything_says_that_it_is_synthetic(rows: list[Row]) -> None:
    for row in rows:
        assert row["description"] is None or row["description"].endswith("(synthetic)")
        assert "synthetic" in row["owner"]["node_id"] and row["owner"]["login"] == SAMPLE_ORG
        assert all(".invalid" in row[field] for field in ("url", "html_url", "clone_url", "ssh_url", "git_url"))


def test_the_same_moment_gives_the_same_bytes_in_another_process() -> None:
    script = (
        "import hashlib; from mds_assets_tests.github.sample.test_sample import NOON, pages_at;"
        "print(hashlib.sha256(b''.join(page.content for page in pages_at(NOON))).hexdigest())"
    )
    here = hashlib.sha256(b"".join(page.content for page in pages_at(NOON))).hexdigest()
    environment = {**os.environ, "PYTHONHASHSEED": "1", "TZ": "Pacific/Auckland"}
    there = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True)
    assert there.stdout.strip() == here


@examples
@given(moment=moments_between(2024, 2040), later=hours)
def test_unchanged_timestamps_mean_an_unchanged_row(moment: datetime, later: int) -> None:
    before, after = by_id(crawl(moment)), by_id(crawl(moment + timedelta(hours=later)))
    assert before.keys() <= after.keys()
    for number, row in before.items():
        if (row["updated_at"], row["pushed_at"]) == (after[number]["updated_at"], after[number]["pushed_at"]):
            assert row == after[number]


@examples
@given(moment=moments_between(2024, 2040), later=hours)
@pytest.mark.slow(3)
def test_timestamps_never_go_backwards(moment: datetime, later: int) -> None:
    after = by_id(crawl(moment + timedelta(hours=later)))
    for row in crawl(moment):
        assert row["updated_at"] <= after[row["id"]]["updated_at"]
        assert (row["pushed_at"] or "") <= (after[row["id"]]["pushed_at"] or "")


@examples
@given(moment=moments_between(2024, 2040))
def test_timestamps_lie_between_creation_and_now(moment: datetime) -> None:
    for row in crawl(moment):
        assert row["created_at"] <= row["updated_at"] <= f"{moment:%Y-%m-%dT%H:%M:%SZ}"
        assert row["pushed_at"] is None or row["created_at"] <= row["pushed_at"] <= f"{moment:%Y-%m-%dT%H:%M:%SZ}"


@examples
@given(moment=moments_between(2025, 2028))
def test_yesterday_and_each_of_the_last_seven_days_have_activity_at_any_hour(moment: datetime) -> None:
    active = active_days(crawl(moment))
    assert active[moment.date() - DAY] >= 5
    assert all(active[moment.date() - days * DAY] > 0 for days in range(1, 8))


@pytest.mark.slow(3)
def test_workdays_are_busier_than_weekends() -> None:
    monday = datetime(2026, 7, 6, tzinfo=UTC)
    actives: Counter[bool] = Counter()
    pushes: Counter[bool] = Counter()
    for yesterday in (monday + days * DAY for days in range(13 * 7)):
        session, weekend = session_at(yesterday + DAY), yesterday.weekday() >= 5
        updated, pushed = (
            by_id(session.get(REPOS_URL, params={"sort": sort, "per_page": 100}, timeout=5).json())
            for sort in ("updated", "pushed")
        )
        actives[weekend] += active_days(list((updated | pushed).values()))[yesterday.date()]
        pushes[weekend] += sum((row["pushed_at"] or "").startswith(str(yesterday.date())) for row in pushed.values())
    assert actives[False] / 5 > 1.5 * actives[True] / 2
    assert pushes[False] / 5 > 2 * pushes[True] / 2


@examples
@given(moment=moments_between(2024, 2040))
def test_the_stars_of_the_organisation_grow_from_day_to_day(moment: datetime) -> None:
    assert stars_at(moment) < stars_at(moment + DAY)


def test_a_repository_may_lose_a_star(rows: list[Row]) -> None:
    before, after = by_id(rows), by_id(crawl(NOON + 60 * DAY))
    assert any(after[number]["stargazers_count"] < row["stargazers_count"] for number, row in before.items())


def test_a_third_of_the_pushes_leaves_updated_at_alone() -> None:
    days = [by_id(crawl(NOON + days * DAY)) for days in range(30)]
    pushed = [
        before[number]["updated_at"] == row["updated_at"]
        for before, after in pairwise(days)
        for number, row in after.items()
        if number in before and before[number]["pushed_at"] != row["pushed_at"]
    ]
    assert len(pushed) > 300
    assert 0.2 < sum(pushed) / len(pushed) < 0.5


def test_some_repositories_were_pushed_on_a_later_day_than_updated(rows: list[Row]) -> None:
    assert sum((row["pushed_at"] or "")[:10] > row["updated_at"][:10] for row in rows) > 20


def test_a_rename_keeps_the_id_and_is_an_update_at_its_fixed_moment() -> None:
    moment = datetime(2026, 2, 17, 9, 41, tzinfo=UTC)
    before, after = by_id(crawl(moment - timedelta(seconds=1))), by_id(crawl(moment))
    renamed = {number: row for number, row in after.items() if row["name"] != before[number]["name"]}
    assert [(before[number]["name"], row["name"]) for number, row in renamed.items()] == [
        ("heron-etl", "heron-pipelines")
    ]
    for row in renamed.values():
        assert row["updated_at"] == "2026-02-17T09:41:00Z"
        assert row["full_name"] == f"{SAMPLE_ORG}/heron-pipelines"


def test_a_handful_of_renames_and_a_few_births_over_the_years() -> None:
    old, new = by_id(crawl(datetime(2024, 1, 10, tzinfo=UTC))), by_id(crawl(datetime(2030, 1, 1, tzinfo=UTC)))
    assert 4 <= sum(row["name"] != new[number]["name"] for number, row in old.items()) <= 10
    assert 3 <= len(new.keys() - old.keys()) <= 20
    assert min(new.keys() - old.keys()) > max(old)


@pytest.mark.parametrize("per_page", [13, 30, 100])
def test_following_the_link_header_covers_every_repository_once(per_page: int, rows: list[Row]) -> None:
    ids = [row["id"] for row in crawl(NOON, per_page=per_page)]
    assert len(ids) == len(set(ids)) and set(ids) == by_id(rows).keys()


SORT_FIELDS: dict[str, Callable[[Row], str]] = {
    "created": lambda row: row["created_at"],
    "updated": lambda row: row["updated_at"],
    "pushed": lambda row: row["pushed_at"] or "",
    "full_name": lambda row: row["full_name"],
}


@pytest.mark.parametrize("sort", SORT_FIELDS)
@pytest.mark.parametrize("direction", ["asc", "desc", None])
def test_every_sort_orders_all_pages(sort: str, direction: str | None, rows: list[Row]) -> None:
    ordered = crawl(NOON, sort=sort, **({"direction": direction} if direction else {}))
    descending = direction == "desc" or (direction is None and sort != "full_name")
    fields = [SORT_FIELDS[sort](row) for row in ordered]
    assert fields == sorted(fields, reverse=descending)
    assert by_id(ordered) == by_id(rows)


def test_the_default_order_is_the_newest_creation_first_and_30_a_page(rows: list[Row]) -> None:
    assert session_at(NOON).get(REPOS_URL, timeout=5).json() == rows[:30]
    assert crawl(NOON, sort="created", direction="desc") == rows


def test_the_link_header_leaves_for_the_numbered_organisation_as_on_github() -> None:
    first, *_, last = pages_at(NOON, sort="pushed")
    assert urlsplit(first.links["next"]["url"]).path == f"/organizations/{first.json()[0]['owner']['id']}/repos"
    assert first.links["next"]["url"].endswith("?per_page=100&sort=pushed&page=2")
    assert first.links.keys() == {"next", "last"} and last.links.keys() == {"prev", "first"}
    assert first.links["last"]["url"] == last.url


def test_a_page_beyond_the_end_is_empty_and_a_page_holds_100_at_most() -> None:
    session = session_at(NOON)
    assert session.get(REPOS_URL, params={"page": 99}, timeout=5).json() == []
    assert len(session.get(REPOS_URL, params={"per_page": 500}, timeout=5).json()) == 100


def test_types_split_the_repositories_into_forks_and_sources(rows: list[Row]) -> None:
    forks, sources = crawl(NOON, type="forks"), crawl(NOON, type="sources")
    assert all(row["fork"] for row in forks) and not any(row["fork"] for row in sources)
    assert by_id(forks) | by_id(sources) == by_id(crawl(NOON, type="public")) == by_id(rows)
    assert crawl(NOON, type="private") == []


@pytest.mark.parametrize(
    "path", ["/orgs/other/repos", f"/users/{SAMPLE_ORG}/repos", "/organizations/1/repos", "/", "/x"]
)
def test_anything_else_is_github_s_404(path: str) -> None:
    response = session_at(NOON).get(f"{SAMPLE_API_URL}{path}", timeout=5)
    assert (response.status_code, response.reason) == (404, "Not Found")
    assert response.json() == {
        "message": "Not Found",
        "documentation_url": "https://docs.github.com/rest",
        "status": "404",
    }
    with pytest.raises(requests.HTTPError, match=r"404 Client Error: Not Found for url: https://sample\.invalid"):
        response.raise_for_status()


def test_the_answer_carries_github_s_headers() -> None:
    headers = session_at(NOON).get(REPOS_URL, timeout=5).headers
    assert headers["Content-Type"] == "application/json; charset=utf-8"
    assert headers["x-ratelimit-limit"] == "5000" and int(headers["x-ratelimit-remaining"]) > 0
    assert int(headers["x-ratelimit-reset"]) > NOON.timestamp()


def test_a_streamed_answer_reads_like_a_plain_one() -> None:
    session = session_at(NOON)
    plain = session.get(REPOS_URL, timeout=(3, 5))
    with session.get(REPOS_URL, timeout=5, stream=True) as streamed:
        assert b"".join(streamed.iter_content(1_000)) == plain.content
    assert plain.history == [] and plain.request.url == plain.url == REPOS_URL
    assert plain.ok and plain.elapsed > timedelta(0)


def test_without_a_clock_the_answer_is_of_now() -> None:
    session = requests.Session()
    session.mount(f"{SAMPLE_API_URL}/", SampleTransport())
    before = datetime.now(UTC)
    newest = max(map(active_at, session.get(REPOS_URL, params={"sort": "updated"}, timeout=5).json()))
    assert before - 2 * DAY < datetime.fromisoformat(newest) <= datetime.now(UTC)
