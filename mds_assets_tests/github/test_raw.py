"""Promises of raw: append-only, every field, declared columns always there, a changed type never."""

import json
import random
import shutil
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from dagster import DagsterInstance

from mds_assets.defs.github import resources
from mds_assets.defs.github.raw import GITHUB_REPOS
from mds_assets.defs.github.staging import REPOS
from mds_assets.stack.blocks import raw as raw_block
from mds_assets_tests.github.project import Project, failure, metadata
from mds_assets_tests.github.server import GitHubServer
from mds_assets_tests.github.test_connection import answers, on

DAY = date(2026, 3, 2)


def repo(number: int, **fields: Any) -> dict[str, Any]:
    """A repository of acme that was active on the day, with only the fields that GitHub has always had."""
    return {
        "id": number,
        "name": f"repo-{number}",
        "full_name": f"acme/repo-{number}",
        "description": None,
        "stargazers_count": 1,
        "forks_count": 0,
        "open_issues_count": 0,
        "size": 10,
        "language": None,
        "fork": False,
        "archived": False,
        "created_at": "2020-01-01T00:00:00Z",
        "updated_at": "2026-03-02T10:00:00Z",
        "pushed_at": None,
        **fields,
    }


def loads(project: Project, day: date = DAY) -> list[Path]:
    """The day's load files in order."""
    return sorted((project.lake / "raw/github_repos" / f"day={day}").iterdir())


def test_each_run_adds_one_load_a_day_and_touches_no_other(tmp_path: Path):
    with GitHubServer({"acme": [repo(1)]}) as server:
        project = Project(tmp_path, server.url, ["acme"])
        project.materialise(DAY, layers=["raw"])
        first = project.contents()
        server.repos["acme"] = [repo(1, stargazers_count=2)]
        project.materialise(date(2026, 3, 1), DAY, layers=["raw"])
    assert len(loads(project)) == 2
    assert len(loads(project, date(2026, 3, 1))) == 1
    assert project.contents().items() >= first.items()
    assert {path.name for path in project.lake.iterdir()} == {"raw", ".tmp"}
    assert list((project.lake / ".tmp").iterdir()) == []


def test_a_declared_column_exists_and_is_typed_even_when_all_values_are_null(tmp_path: Path):
    with GitHubServer({"acme": [repo(1)]}) as server:
        project = Project(tmp_path, server.url, ["acme"])
        project.materialise(date(2026, 3, 1), DAY, layers=["raw"])
    (with_rows,), (without_rows,) = loads(project), loads(project, date(2026, 3, 1))
    declared = ["license", "topics", "pushed_at", "description", "language", "stargazers_count", "observed_at"]
    types = [str(pq.read_schema(with_rows).field(name).type) for name in declared]
    assert types == ["string", "string", "timestamp[us, tz=UTC]", "string", "string", "int64", "timestamp[us, tz=UTC]"]
    assert [str(pq.read_schema(without_rows).field(name).type) for name in declared] == types
    assert pq.read_metadata(without_rows).num_rows == 0


def test_a_new_field_of_github_lands_and_staging_passes_over_it(tmp_path: Path):
    with GitHubServer({"acme": [repo(1)]}) as server:
        project = Project(tmp_path, server.url, ["acme"])
        project.materialise(DAY)
        server.repos["acme"] = [repo(2, novelty="yes", deep={"er": [1, 2]}, topics=["a"])]
        project.materialise(DAY)
    newest = pq.ParquetFile(loads(project)[-1]).read().to_pylist()[0]
    assert newest["novelty"] == "yes"
    assert newest["deep"] == '{"er":[1,2]}'
    assert [row[1] for row in project.rows("staging/repos", DAY)] == [1, 2]


@pytest.fixture(scope="module")
def one_landed(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A lake with one repository on the day."""
    with GitHubServer({"acme": [repo(1)]}) as server:
        project = Project(tmp_path_factory.mktemp("landed"), server.url, ["acme"])
        project.materialise(DAY)
    return project


@pytest.mark.slow(1)
@pytest.mark.parametrize(
    ("drift", "named"),
    [
        ({"stargazers_count": "many"}, "stargazers_count='many'"),
        ({"stargazers_count": 2**63}, "stargazers_count=9223372036854775808"),
        ({"stargazers_count": 3.0}, "stargazers_count=3.0"),
        ({"forks_count": True}, "forks_count=True"),
        ({"id": True}, "id=True"),
        ({"name": 7}, "name=7"),
        ({"size": 1.5}, "size=1.5"),
        ({"archived": "perhaps"}, "archived='perhaps'"),
        ({"license": "MIT"}, "license='MIT'"),
        ({"license": {"spdx_id": 1}}, "license.spdx_id=1"),
        ({"topics": "a,b"}, "topics='a,b'"),
        ({"topics": ["a", 1]}, "topics.1=1"),
        ({"created_at": 1577836800}, "created_at=1577836800"),
        ({"created_at": "2020-01-01T00:00:00"}, "created_at='2020-01-01T00:00:00': it has no time zone"),
        ({"pushed_at": "yesterday"}, "pushed_at='yesterday'"),
        ({"pushed_at": "0001-01-01T00:00:00+01:00"}, "outside the years 1 to 9999"),
        ({"pushed_at": "2026-03-02T10:00:00.1234567Z"}, "at most microseconds"),
        ({"updated_at": None}, "neither updated_at nor pushed_at"),
        ({"description": "broken \ud800"}, "description="),
        ({"novelty": "\ufdd0abc"}, "novelty='\\ufdd0abc': it begins with a noncharacter"),
        ({"novelty": {"deep": ["broken \udfff"]}}, "not Unicode"),
    ],
)
def test_a_field_of_another_type_fails_the_run_by_name_and_lands_nothing(
    tmp_path: Path, one_landed: Project, drift: dict[str, Any], named: str
):
    with GitHubServer({"acme": [repo(1)]}) as server:
        project = Project(tmp_path, server.url, ["acme"])
        shutil.copytree(one_landed.lake, project.lake)
        before = project.contents()
        # The last of the second page: the rest was read before.
        server.repos["acme"] = [repo(number) for number in range(1, 110)] + [repo(200, **drift)]
        result = project.materialise(DAY, raise_on_error=False)
    said = failure(result)
    assert said.startswith("GITHUB_ORG 'acme': GitHub sent repository ")
    assert ("acme/repo-200" in said) and (named in said)
    assert "\n" not in said
    assert project.contents() == before
    assert list((project.lake / ".tmp").iterdir()) == []


@pytest.mark.parametrize("private", [{"private": True}, {"private": False, "visibility": "internal"}])
@pytest.mark.parametrize("drift", [{"description": 7_777}, {"description": "7777 \ud800"}, {"x": "\ufdd07777"}])
def test_of_a_private_repository_a_refusal_tells_neither_name_nor_value(
    tmp_path: Path, private: dict[str, Any], drift: dict[str, Any]
):
    with GitHubServer({"acme": [repo(1, **private, **drift)]}) as server:
        said = failure(Project(tmp_path, server.url, ["acme"]).materialise(DAY, raise_on_error=False))
    assert said.startswith("GITHUB_ORG 'acme': GitHub sent repository of id 1, which is private, with ")
    assert "=<int>: " in said or "=<str>: " in said
    assert "repo-1" not in said
    assert "7777" not in said


def test_a_preview_shows_declared_columns_of_the_last_days_load(tmp_path: Path):
    with GitHubServer({"acme": [repo(2), repo(1)]}) as server:
        project = Project(tmp_path, server.url, ["acme"])
        result = project.materialise(DAY - timedelta(days=1), DAY)
    preview = metadata(result, "raw/github_repos", DAY)["preview"]
    assert [row.data["id"] for row in preview.records] == [1, 2]
    assert list(preview.records[0].data) == [*GITHUB_REPOS.names, "_dlt_load_id"]
    assert "preview" not in metadata(result, "raw/github_repos", DAY - timedelta(days=1))


def test_extreme_values_pass_through_staging_exactly(tmp_path: Path):
    nulls = dict.fromkeys(repo(3)) | {"id": 3, "name": "nulls", "updated_at": "2026-03-02T10:00:00Z"}
    fields = {
        "stargazers_count": 2**63 - 1,
        "size": 0,
        "description": "\U0001f389 \x00 '\"\\\n" + "x" * 1_000_000,
        "topics": ["\U0001f389", ""],
        "license": {"spdx_id": "MIT", "more": [1]},
        "created_at": "1970-01-01T00:00:00.000001+00:00",
        "updated_at": "2026-03-03T01:30:00+05:30",
        "pushed_at": "2026-03-02T20:00:00.123456Z",
    }
    with GitHubServer(
        {"acme": [repo(1, **fields), {"id": 2, "name": "bare", "pushed_at": "2026-03-02T10:00:00Z"}, nulls]}
    ) as server:
        project = Project(tmp_path, server.url, ["acme"])
        project.materialise(DAY)
    names = [column.name for column in REPOS.columns]
    extreme, bare, empty = (dict(zip(names, row, strict=False)) for row in project.rows("staging/repos", DAY))
    assert extreme["stars"] == 2**63 - 1
    assert extreme["size_kb"] == 0
    assert extreme["description"] == fields["description"]
    assert extreme["topics"] == fields["topics"]
    assert extreme["license"] == "MIT"
    assert extreme["created_at"] == datetime(1970, 1, 1, 0, 0, 0, 1, UTC)
    assert extreme["updated_at"] == datetime(2026, 3, 2, 20, tzinfo=UTC)
    assert extreme["active_at"] == extreme["pushed_at"] == datetime(2026, 3, 2, 20, 0, 0, 123456, UTC)
    for row, name in ((bare, "bare"), (empty, "nulls")):
        assert row["repo_name"] == name
        assert (row["description"], row["language"], row["topics"]) == ("", "Unknown", [])
        assert {row[column] for column in ("stars", "forks", "size_kb", "license", "is_fork", "created_at")} == {None}


NOVELTIES = [
    None, True, False, 0, 1, 7, 2**63 - 1, 2**64 + 1, 1.5, 2.0, 1e300, "", "0", "007", " 12 ", "1_000", "1.10", "nan",
    "yes", "main", "2024-01-01T00:00:00Z", "\uf02babc", "\uf026123", {}, [], {"a": [2**64 + 1, None]}, [1, "b"],
]  # fmt: skip


@pytest.mark.parametrize("seed", range(3))
def test_a_field_that_staging_does_not_read_lands_as_it_is_whatever_its_types(tmp_path: Path, seed: int):
    """No value decides what becomes of another, in whichever order they come."""
    sent = random.Random(seed).sample(NOVELTIES, len(NOVELTIES))
    with GitHubServer({"acme": [repo(number, novelty=value) for number, value in enumerate(sent)]}) as server:
        project = Project(tmp_path, server.url, ["acme"])
        project.materialise(DAY, layers=["raw"])
    for row in pq.ParquetFile(loads(project)[0]).read().to_pylist():
        landed = [row[name] for name in row if name.startswith("novelty") and row[name] is not None]
        expected = sent[row["id"]]
        if isinstance(expected, dict | list):
            expected = json.dumps(expected, separators=(",", ":"))
        elif expected == 2**64 + 1:
            expected = str(expected)
        assert [(type(value), value) for value in landed] == [(type(expected), expected)] * (expected is not None)


def test_no_field_takes_the_column_of_another(tmp_path: Path):
    """However dlt would spell them; what staging reads and what the lake adds keep their names."""
    alike = {"stargazersCount": 7, "updatedAt": "2030-01-01T00:00:00Z", "fooBar": 1, "foo_bar": 2, "FooBar": 3}
    own = {"day": "Monday", "Day ": "Tuesday", "github_day": "x", "org": "theirs", "Org": "o", "_dlt_load_id": 7}
    odd = {"é": 1, "日本": 2, "_": 3, "": 4, "n" * 300: 5, "observed_at": "never", "_dlt_id": "y"}
    with GitHubServer({"acme": [repo(1, stargazers_count=1, **alike, **own, **odd)]}) as server:
        project = Project(tmp_path, server.url, ["acme"])
        project.materialise(DAY)
    (landed,) = pq.ParquetFile(loads(project)[0]).read().to_pylist()
    assert (landed["org"], landed["stargazers_count"]) == ("acme", 1)
    assert landed["updated_at"] == datetime(2026, 3, 2, 10, tzinfo=UTC)
    assert "day" not in landed
    values = list(landed.values())
    for value in [*alike.values(), *own.values(), *odd.values()]:
        assert value in values
    assert [values.count(number) for number in (2, 3, 4, 5)] == [2, 2, 1, 1]
    assert [row[:2] for row in project.rows("staging/repos", DAY)] == [("acme", 1)]


def test_a_field_that_turns_up_late_in_a_long_day_lands_in_the_same_file(tmp_path: Path):
    """Or else dlt begins another file where a column turns up after it has written rows."""
    repos = [repo(number) | ({"late": "here"} if number > 5_200 else {}) for number in range(5_300)]
    with GitHubServer({"acme": repos}) as server:
        project = Project(tmp_path, server.url, ["acme"])
        project.materialise(DAY, layers=["raw"])
    (load,) = loads(project)
    late = pq.ParquetFile(load).read(["late"])["late"].to_pylist()
    assert (len(late), late.count("here")) == (5_300, 99)


def test_an_outage_is_tried_again_by_dagster_and_a_refusal_is_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(raw_block, "_RETRY_SECONDS", 0.1)
    patient = resources.client
    monkeypatch.setattr(resources, "client", lambda settings: replace(patient(settings), sleep=lambda _: None))
    with GitHubServer({"acme": [repo(1)]}) as server:
        project = Project(tmp_path, server.url, ["acme"])
        server.intercept = on(set(range(1, 6)), answers(502))  # all that the client itself tries
        result = project.materialise(DAY)
        assert result.success
        assert len(server.requests) == 6
        assert len([event for event in result.all_events if event.is_step_up_for_retry]) == 1

        server.intercept = on(set(range(99)), answers(403))
        result = project.materialise(DAY, raise_on_error=False)
        assert len(server.requests) == 7
        assert not [event for event in result.all_events if event.is_step_up_for_retry]

        server.intercept = on(set(range(99)), answers(502))
        assert "502" in failure(project.materialise(DAY, raise_on_error=False))
        assert len(server.requests) == 22  # at first, and twice again


@pytest.mark.slow(6)
def test_a_listing_that_shrinks_or_is_empty_is_a_warning_of_the_next_run(tmp_path: Path):
    instance = DagsterInstance.ephemeral()

    def warnings() -> list[str]:
        return metadata(project.materialise(DAY, instance=instance), "raw/github_repos", DAY)["warnings"]

    with GitHubServer({"acme": [repo(number) for number in range(1, 951)]}) as server:
        project = Project(tmp_path, server.url, ["acme"])
        assert warnings() == []
        server.repos["acme"] = [repo(number) for number in range(1, 802)]  # one more than eight pages
        assert warnings() == []
        other = Project(tmp_path / "other", server.url, ["acme", "other"])  # another organisation comes and goes
        server.repos |= {"other": [repo(number) for number in range(1, 60)]}
        other.materialise(DAY, instance=instance)
        server.repos["acme"] = [repo(number) for number in range(1, 601)]
        (shrunk,) = warnings()
        assert "GITHUB_ORG 'acme': GitHub lists at most 600 repositories, and listed about 900" in shrunk
        server.repos["acme"] = []
        empty, shrunk = warnings()
        assert "no repository at all" in empty
        assert "at most 0" in shrunk


def test_what_is_listed_is_recorded_once_a_range_for_the_configured_organisations_only(tmp_path: Path):
    instance, yesterday = DagsterInstance.ephemeral(), DAY - timedelta(days=1)
    with GitHubServer({"acme": [repo(1), repo(2)], "other": [repo(3)]}) as server:
        for organisations, warnings in ((["acme", "other"], 0), (["acme"], 1)):
            project = Project(tmp_path, server.url, organisations, tables=frozenset({"raw/github_repos"}))
            result = project.materialise(yesterday, DAY, instance=instance)
            facts = metadata(result, "raw/github_repos", DAY)
            assert list(facts["repositories_listed"]) == organisations
            assert len(facts["warnings"]) == warnings
            server.repos["acme"] = [repo(1)]
            earlier = metadata(result, "raw/github_repos", yesterday)
            assert not {"repositories_listed", "warnings"} & earlier.keys()
            assert earlier["rows_future"] == 0


def test_organisations_never_mix_and_one_that_is_added_later_backfills_on_its_own(tmp_path: Path):
    """Also where both have a repository of the same id, as when it moved from one to the other."""
    yesterday = DAY - timedelta(days=1)
    older = {"updated_at": "2026-03-01T10:00:00Z"}
    repos = {"acme": [repo(1, stargazers_count=10), repo(2, **older)], "other": [repo(1, stargazers_count=20)]}
    with GitHubServer(repos) as server:
        project = Project(tmp_path, server.url, ["acme"])
        project.materialise(yesterday, DAY)
        alone = project.rows("staging/repos")
        marts = project.rows("marts/repos_per_language", DAY)
        added = Project(tmp_path, server.url, ["other"])
        added.materialise(yesterday, DAY)
        assert [row for row in added.rows("staging/repos") if row[0] == "acme"] == alone
        assert [row[:2] for row in added.rows("staging/repos") if row[0] == "other"] == [("other", 1)]
        assert [row for row in added.rows("marts/repos_per_language", DAY) if row[0] == "acme"] == marts
        together = Project(tmp_path, server.url, ["acme", "other"])
        together.materialise(yesterday, DAY)
    assert [(row[0], row[1], row[5]) for row in together.rows("staging/repos", DAY)] == [
        ("acme", 1, 10),
        ("other", 1, 20),
    ]


def test_each_days_metadata_tells_the_load(tmp_path: Path):
    early, before = {"updated_at": "2026-03-03T00:02:00Z"}, {"updated_at": "2026-03-01T10:00:00Z"}
    with GitHubServer({"acme": [repo(1), repo(2), repo(3, **early), repo(4, **before)]}) as server:
        project = Project(tmp_path, server.url, ["acme"])
        project.materialise(DAY, layers=["raw"])
        result = project.materialise(DAY, layers=["raw"])
    told = metadata(result, "raw/github_repos", DAY)
    assert (told["rows_landed"], told["rows_early"], told["rows_before"]) == (2, 1, 0)  # the client asks for no older
    assert told["dagster/partition_row_count"] == 4  # of both loads
    assert told["requests"] == 1
    assert told["rate_limit_remaining"] == 4998
    assert f"{told['load']}.parquet" == loads(project)[-1].name
    assert told["bytes"] == sum(load.stat().st_size for load in loads(project))
    assert abs((datetime.fromisoformat(told["observed_at"]) - datetime.now(UTC)).total_seconds()) < 600
