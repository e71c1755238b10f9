"""Promises of staging of events: each once, as its newest observation describes it; against a plain-Python oracle."""

import json
from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from mds_assets.defs.github import staging_events
from mds_assets.defs.github.raw_columns import GITHUB_INVENTORY, GITHUB_ISSUES, GITHUB_PUSHES, GITHUB_STARS
from mds_assets.defs.github.staging import INVENTORY
from mds_assets.defs.github.staging_events import ISSUES, PUSHES, STARS
from mds_assets.stack.table import Table
from mds_assets_tests.github import oracle_events as oracle
from mds_assets_tests.github.oracle_events import Observation
from mds_assets_tests.runs import in_utc

DAY = date(2026, 3, 2)
MIDNIGHT = datetime(2026, 3, 2, tzinfo=UTC)
NEXT_DAY = MIDNIGHT + timedelta(days=1)

Raw = dict[str, Any]


def stage(name: str, declared: Table, rows: list[Raw]) -> list[Raw]:
    """What a query makes of these rows of raw; a column that a row lacks is null."""
    schema = declared.with_day().arrow_schema().append(pa.field("_dlt_load_id", pa.string()))
    table = pa.Table.from_pylist([{"day": DAY, "_dlt_load_id": "1", **row} for row in rows], schema=schema)
    query = Path(staging_events.__file__).with_name("staging") / f"{name}.sql"
    with in_utc() as con:
        con.register(f"github_{name}", table)
        return con.sql(query.read_text()).to_arrow_table().to_pylist()


def text(value: Any) -> str | None:
    """As raw holds what GitHub nests."""
    return None if value is None else json.dumps(value)


def time(seconds: int) -> str:
    """A second of the day as GitHub writes it."""
    return f"{MIDNIGHT + timedelta(seconds=seconds):%Y-%m-%dT%H:%M:%SZ}"


# --- pushes


def seen_push(number: int = 1, seconds: int = 0, **fields: Any) -> Observation:
    """An activity as a crawl of the next day saw it."""
    item = {"id": number, "timestamp": time(seconds), "activity_type": "push", "ref": "refs/heads/main"}
    repo = {"id": 7, "name": "one", "visibility": "public", "default_branch": "main"}
    return Observation("acme", NEXT_DAY, item | {"actor": {"login": "ada", "type": "User"}} | fields, repo)


def pushes_of(observations: Iterable[Observation]) -> list[Raw]:
    """What `staging/pushes.sql` makes of them, in the order of the loads."""
    rows: list[Raw] = []
    for load, each in enumerate(observations):
        at = datetime.fromisoformat(each.item["timestamp"])
        rows.append(
            {
                "org": each.org,
                "id": each.item["id"],
                "repo_id": each.repo["id"],
                "repo_name": each.repo["name"],
                "repo_visibility": each.repo.get("visibility"),
                "repo_default_branch": each.repo.get("default_branch"),
                "timestamp": at,
                "activity_type": each.item.get("activity_type"),
                "ref": each.item.get("ref"),
                "actor": text(each.item.get("actor")),
                "observed_at": each.observed_at,
                "day": at.date(),
                "_dlt_load_id": f"{load:03}",
            }
        )
    return stage("pushes", GITHUB_PUSHES, rows)


def by_day(staged: dict[date, list[Any]]) -> list[Raw]:
    """The oracle's rows as the query returns them."""
    return [row._asdict() | {"day": day} for day, rows in staged.items() for row in rows]


def ordered(rows: list[Raw]) -> list[Raw]:
    """In one order."""
    return sorted(rows, key=repr)


ACCOUNTS = st.sampled_from(
    [
        None,
        {"login": "ada", "type": "User"},
        {"login": "ci[bot]", "type": "User"},
        {"login": "copilot", "type": "Bot"},
        {"login": "bottom"},
    ]
)
ORGS = st.sampled_from(["acme", "other"])
CRAWLS = st.integers(1, 3).map(lambda days: MIDNIGHT + timedelta(days=days))


@st.composite
def _seen_push(draw: st.DrawFn) -> Observation:
    number = draw(st.integers(1, 4))
    seen = seen_push(
        number,
        number % 2 * 86_399 + number // 3 * 86_400,  # its time does not change; up to the last second of a day
        activity_type=draw(st.sampled_from(["push", "force_push", "branch_creation", None])),
        ref=draw(st.sampled_from(["refs/heads/main", "refs/heads/x", "main", None])),
        actor=draw(ACCOUNTS),
    )
    named = {"name": draw(st.sampled_from(["one", "renamed"])), "default_branch": draw(st.sampled_from(["main", None]))}
    return replace(seen, org=draw(ORGS), observed_at=draw(CRAWLS), repo=seen.repo | named)


@settings(max_examples=25)
@given(st.lists(_seen_push(), max_size=12))
def test_each_push_is_there_once_as_its_newest_observation_describes_it(observations: list[Observation]):
    assert ordered(pushes_of(observations)) == ordered(by_day(oracle.staged_pushes(observations)))


def test_the_columns_of_every_table_are_exactly_the_declared_ones():
    tables = {
        "pushes": (GITHUB_PUSHES, PUSHES),
        "issues": (GITHUB_ISSUES, ISSUES),
        "stars": (GITHUB_STARS, STARS),
        "inventory": (GITHUB_INVENTORY, INVENTORY),
    }
    for name, (raw, declared) in tables.items():
        ((columns),) = stage(name, raw, [{"observed_at": MIDNIGHT}])
        assert tuple(column for column in columns if column != "day") == tuple(declared.names)


def test_a_bot_is_one_by_its_type_or_by_its_login():
    accounts: list[Any] = [
        {"login": "ci[bot]", "type": "User"},
        {"login": "copilot", "type": "Bot"},
        {"login": "bot[bot]x", "type": "User"},
        {"login": "robot"},
        None,
    ]
    rows = pushes_of(seen_push(number, actor=actor) for number, actor in enumerate(accounts))
    assert [row["is_bot"] for row in sorted(rows, key=lambda row: row["push_id"])] == [True, True, False, False, False]


def test_the_default_branch_is_compared_whole():
    refs = ["refs/heads/main", "refs/heads/domain", "refs/tags/main", "main"]
    rows = pushes_of(seen_push(number, ref=ref) for number, ref in enumerate(refs))
    assert [row["ref"] for row in rows if row["is_default_branch"]] == ["refs/heads/main"]


def test_whether_it_is_the_default_branch_is_unknown_without_either():
    unknown = replace(seen_push(2), repo=seen_push().repo | {"default_branch": None})
    assert [row["is_default_branch"] for row in pushes_of([seen_push(1, ref=None), unknown])] == [None, None]


# --- issues


def item(number: int = 1, **fields: Any) -> dict[str, Any]:
    """An open issue as GitHub's search returns it."""
    return {
        "id": number,
        "number": number,
        "title": "It broke",
        "repository_url": "https://api.github.com/repos/Acme/one",
        "user": {"login": "ada", "type": "User"},
        "labels": [],
        "comments": 0,
        "created_at": time(0),
        "closed_at": None,
        **fields,
    }


def issues_of(observations: Iterable[Observation]) -> list[Raw]:
    """What `staging/issues.sql` makes of them, in the order of the loads."""
    rows: list[Raw] = []
    for load, each in enumerate(observations):
        owner, name = each.item["repository_url"].split("/")[-2:]
        times = oracle.event_times(each.item)
        rows.append(
            {
                **{name: each.item.get(name) for name in ("id", "number", "title", "comments")},
                **{name: text(each.item.get(name)) for name in ("user", "labels", "pull_request")},
                "org": each.org,
                "repo_name": name,
                "repo_full_name": f"{owner}/{name}",
                "event": each.event,
                "event_at": times[each.event],
                "created_at": times["opened"],
                "closed_at": times.get("closed"),
                "observed_at": each.observed_at,
                "day": times[each.event].date(),
                "_dlt_load_id": f"{load:03}",
            }
        )
    return stage("issues", GITHUB_ISSUES, rows)


@st.composite
def _seen_issues(draw: st.DrawFn) -> list[Observation]:
    """What one crawl saw of one issue: it may be closed, reopened and closed again from crawl to crawl."""
    closed_at = draw(st.none() | st.sampled_from([10, 86_399, 86_400, 2 * 86_400]).map(time))
    number = draw(st.integers(1, 3))
    fields: dict[str, Any] = {}
    if number == 3:
        fields["pull_request"] = {"merged_at": draw(st.sampled_from([None, closed_at]))}
    seen = item(
        number,
        title=draw(st.sampled_from(["It broke", "Fixed", None, "日本 'x'"])),
        user=draw(ACCOUNTS),
        labels=draw(st.sampled_from([None, [], [{"name": "bug"}], [{"name": 'a"b'}, {"name": "日本"}]])),
        comments=draw(st.sampled_from([None, 0, 5])),
        closed_at=closed_at,
        **fields,
    )
    days = [DAY + timedelta(days=number) for number in range(3)]
    return oracle.observed_issues([seen], draw(ORGS), draw(CRAWLS), days)


@settings(max_examples=25)
@given(st.lists(_seen_issues(), max_size=6))
def test_each_event_is_there_once_a_day_as_its_newest_observation_describes_it(crawls: list[list[Observation]]):
    observations = [each for crawl in crawls for each in crawl]
    assert ordered(issues_of(observations)) == ordered(by_day(oracle.staged_issues(observations)))


def test_an_issue_closed_again_on_another_day_keeps_the_row_of_each():
    first, again = (
        Observation("acme", observed_at, item(closed_at=closed_at), event="closed")
        for observed_at, closed_at in ((NEXT_DAY, time(60)), (NEXT_DAY + timedelta(days=1), time(86_400)))
    )
    assert {row["day"]: row["closed_at"] for row in issues_of([first, again])} == {
        DAY: MIDNIGHT + timedelta(seconds=60),
        DAY + timedelta(days=1): NEXT_DAY,
    }


def test_a_pull_request_is_one_whether_merged_or_not():
    merged, closed, issue = (
        Observation("acme", NEXT_DAY, item(number, closed_at=time(9), **fields), event="closed")
        for number, fields in (
            (1, {"pull_request": {"merged_at": time(9)}}),
            (2, {"pull_request": {"merged_at": None}}),
            (3, {}),
        )
    )
    rows = sorted(issues_of([merged, closed, issue]), key=lambda row: row["number"])
    assert [row["is_pull_request"] for row in rows] == [True, True, False]
    assert [row["merged_at"] for row in rows] == [MIDNIGHT + timedelta(seconds=9), None, None]


# --- stars


def test_the_newest_count_of_a_day_replaces_the_earlier_ones_a_0_too():
    rows = [
        {"org": "acme", "repo_id": 1, "repo_name": "one", "date": DAY, "gained": gained, "observed_at": observed_at}
        for gained, observed_at in ((5, NEXT_DAY), (0, NEXT_DAY + timedelta(days=9)), (7, NEXT_DAY + timedelta(days=1)))
    ]
    (row,) = stage("stars", GITHUB_STARS, rows)
    assert row["gained"] == 0


@settings(max_examples=25)
@given(st.lists(st.tuples(ORGS, st.integers(1, 2), st.integers(0, 1), st.integers(0, 9), CRAWLS), max_size=10))
def test_each_repository_s_stars_of_a_date_are_counted_once(seen: list[tuple[str, int, int, int, datetime]]):
    newest: dict[tuple[date, str, int], tuple[datetime, int]] = {}
    rows: list[Raw] = []
    for load, (org, repo_id, offset, gained, observed_at) in enumerate(seen):
        day = DAY + timedelta(days=offset)
        rows.append(
            {"org": org, "repo_id": repo_id, "repo_name": "one", "date": day, "gained": gained, "day": day,
             "observed_at": observed_at, "_dlt_load_id": f"{load:03}"}
        )  # fmt: skip
        if (day, org, repo_id) not in newest or observed_at >= newest[day, org, repo_id][0]:
            newest[day, org, repo_id] = observed_at, gained
    staged = stage("stars", GITHUB_STARS, rows)
    assert {(row["day"], row["org"], row["repo_id"]): (row["observed_at"], row["gained"]) for row in staged} == newest
    assert len(staged) == len(newest)


# --- inventory


def listed(number: int | None, crawl: datetime = NEXT_DAY, **fields: Any) -> Raw:
    """A repository of an inventory."""
    return {"org": "acme", "id": number, "name": f"repo-{number}", "observed_at": crawl, **fields}


def test_a_repository_that_the_day_s_newest_inventory_lacks_is_not_there():
    again = NEXT_DAY + timedelta(hours=5)
    rows = stage("inventory", GITHUB_INVENTORY, [listed(1), listed(2), listed(2, again), listed(3, again)])
    assert sorted(row["repo_id"] for row in rows) == [2, 3]


def test_each_organisation_and_day_has_a_newest_inventory_of_its_own():
    again = NEXT_DAY + timedelta(hours=5)
    rows = stage(
        "inventory",
        GITHUB_INVENTORY,
        [listed(1), listed(2, again, org="other"), listed(3, day=DAY - timedelta(days=1), observed_at=MIDNIGHT)],
    )
    assert {(row["day"], row["org"], row["repo_id"]) for row in rows} == {
        (DAY, "acme", 1),
        (DAY, "other", 2),
        (DAY - timedelta(days=1), "acme", 3),
    }


def test_a_repository_listed_twice_by_one_inventory_is_there_once_as_the_later_load_has_it():
    rows = stage("inventory", GITHUB_INVENTORY, [listed(1, _dlt_load_id="2", name="b"), listed(1, name="a")])
    assert [row["repo_name"] for row in rows] == ["b"]


def test_an_inventory_s_nulls_are_those_of_staging_repos():
    (row,) = stage("inventory", GITHUB_INVENTORY, [listed(1, updated_at=MIDNIGHT)])
    assert (row["description"], row["language"], row["topics"], row["license"]) == ("", "Unknown", [], None)
    assert row["active_at"] == MIDNIGHT
