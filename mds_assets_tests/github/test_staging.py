"""Promises of staging: the newest observation a day, null rules, exact values; against a plain-Python oracle."""

from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from mds_assets.defs.github import staging
from mds_assets.defs.github.raw import GITHUB_REPOS
from mds_assets.defs.github.staging import REPOS
from mds_assets_tests.github.project import Project, metadata
from mds_assets_tests.github.server import GitHubServer
from mds_assets_tests.github.test_raw import DAY, repo
from mds_assets_tests.runs import in_utc

REPOS_SQL = Path(staging.__file__).with_name("staging") / "repos.sql"

MIDNIGHT = datetime(2026, 3, 2, tzinfo=UTC)

Raw = dict[str, Any]


def stage(rows: list[Raw]) -> list[dict[str, Any]]:
    """What `staging/repos.sql` makes of these rows of raw; a column that a row lacks is null."""
    schema = GITHUB_REPOS.with_day().arrow_schema().append(pa.field("_dlt_load_id", pa.string()))
    table = pa.Table.from_pylist([{"day": DAY, "_dlt_load_id": "1", **row} for row in rows], schema=schema)
    with in_utc() as con:
        con.register("github_repos", table)
        return con.sql(REPOS_SQL.read_text()).to_arrow_table().to_pylist()


def raw(minutes: int = 0, **fields: Any) -> Raw:
    """A row of raw, active at this minute of the day."""
    moment = MIDNIGHT + timedelta(minutes=minutes)
    return {"org": "acme", "id": 1, "name": "one", "updated_at": moment, "observed_at": MIDNIGHT, **fields}


def test_its_columns_are_exactly_the_declared_ones():
    assert [column for column in stage([raw()])[0] if column != "day"] == [column.name for column in REPOS.columns]


def test_nulls_become_what_the_table_says_and_missing_fields_are_null():
    (row,) = stage([raw()])
    assert row["description"] == ""
    assert row["language"] == "Unknown"
    assert row["topics"] == []
    assert row["license"] is None
    assert row["pushed_at"] is None
    assert row["stars"] is None
    assert row["active_at"] == MIDNIGHT


def test_values_pass_exactly():
    topics, text = '["data","日本","a\\"b"]', "🚀 'quoted' \n \x00".replace("\x00", "")
    fields: dict[str, Any] = {
        "stargazers_count": 2**31 - 1,
        "size": 0,
        "description": text,
        "topics": topics,
        "archived": True,
    }
    (row,) = stage([raw(license='{"key":"mit","spdx_id":"MIT"}', full_name="acme/one", language="C++", **fields)])
    assert row["stars"] == 2**31 - 1
    assert row["size_kb"] == 0
    assert row["description"] == text
    assert row["topics"] == ["data", "日本", 'a"b']
    assert row["license"] == "MIT"
    assert row["is_archived"] is True
    assert row["repo_full_name"] == "acme/one"
    assert row["language"] == "C++"


def test_active_at_is_the_later_of_both_times():
    pushed = MIDNIGHT + timedelta(hours=3)
    assert stage([raw(pushed_at=pushed)])[0]["active_at"] == pushed
    assert stage([raw(minutes=300, pushed_at=pushed)])[0]["active_at"] == MIDNIGHT + timedelta(minutes=300)


def test_a_rename_keeps_one_row_with_the_newest_name():
    rows = stage([raw(minutes=5, name="new"), raw(minutes=1, name="old")])
    assert [row["repo_name"] for row in rows] == ["new"]


def test_equal_activity_is_decided_by_observation_then_by_load():
    later = MIDNIGHT + timedelta(days=1)
    assert stage([raw(name="late", observed_at=later), raw(name="early")])[0]["repo_name"] == "late"
    assert stage([raw(name="b", _dlt_load_id="2"), raw(name="a", _dlt_load_id="1")])[0]["repo_name"] == "b"


def test_organisations_do_not_mix():
    assert {row["org"] for row in stage([raw(), raw(org="other")])} == {"acme", "other"}


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["acme", "other"]),
            st.integers(1, 3),
            st.integers(0, 2),  # day
            st.integers(0, 3),  # minute of the day
            st.integers(0, 2),  # crawl
        ),
        max_size=25,
    )
)
def test_it_keeps_the_newest_observation_of_each_repository_and_day(observed: list[tuple[str, int, int, int, int]]):
    rows: list[Raw] = []
    newest: dict[tuple[date, str, int], tuple[tuple[int, int, str], str]] = {}
    for position, (org, number, day_offset, minute, crawl) in enumerate(observed):
        day, load, name = DAY + timedelta(days=day_offset), f"{position:03}", f"name-{position}"
        rows.append(
            raw(
                minutes=day_offset * 1440 + minute,
                org=org,
                id=number,
                name=name,
                day=day,
                observed_at=MIDNIGHT + timedelta(days=9, hours=crawl),
                _dlt_load_id=load,
            )
        )
        candidate = ((minute, crawl, load), name)
        newest[day, org, number] = max(newest.get((day, org, number), candidate), candidate)
    staged = stage(rows)
    newest_staged = {(row["day"], row["org"], row["repo_id"]): row["repo_name"] for row in staged}
    assert newest_staged == {key: name for key, (_, name) in newest.items()}
    assert len(staged) == len(newest)


def test_rows_without_an_id_or_a_name_do_not_pass_and_are_counted(tmp_path: Path):
    nameless = [repo(1) | {"id": None}, repo(2) | {"name": None}, repo(3)]
    with GitHubServer({"acme": nameless}) as server:
        project = Project(tmp_path, server.url, ["acme"])
        result = project.materialise(DAY)
    assert [row[1] for row in project.rows("staging/repos", DAY)] == [3]
    assert metadata(result, "staging/repos", DAY)["rows_rejected"] == 2


def test_more_stars_than_an_integer_holds_pass(tmp_path: Path):
    with GitHubServer({"acme": [repo(1, stargazers_count=2**40)]}) as server:
        project = Project(tmp_path, server.url, ["acme"])
        project.materialise(DAY)
    assert project.rows("staging/repos", DAY)[0][5] == 2**40
