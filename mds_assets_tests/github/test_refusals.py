"""One organisation's trouble is its own: what GitHub refuses is named by a failed check, and the others land."""

from collections.abc import Callable, Iterable
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest
from dagster import AssetCheckSeverity

from mds_assets.github.errors import GitHubError
from mds_assets.github.reading import Reading
from mds_assets_tests.github.project import Project, evaluations, failure
from mds_assets_tests.github.server import GitHubHandler, GitHubServer
from mds_assets_tests.github.sessions import TOKEN, rows_of, session_with
from mds_assets_tests.github.test_bounds import TABLES
from mds_assets_tests.github.test_client import DAY, repo
from mds_assets_tests.github.test_connection import Fault, answers

RAW = frozenset(f"raw/github_{table}" for table in ("repos", "pushes", "issues", "stars", "inventory"))
SSO = "required; url=https://github.com/orgs/bad/sso"

REFUSALS: dict[str, tuple[Fault | None, str]] = {
    "unknown": (None, "GitHub has no organisation or user of this name"),
    "forbidden": (answers(403), "GITHUB_TOKEN may not read it"),
    "single sign-on": (answers(403, x_github_sso=SSO), "single sign-on at https://github.com/orgs/bad/sso"),
    "an unknown token": (answers(401), "GITHUB_TOKEN was refused"),
    "blocked": (answers(451), "blocked for legal reasons"),
}


def of(name: str, fault: Fault | None) -> Callable[[GitHubHandler, int], bool]:
    """An `intercept` that has the fault at each request that names an organisation; without one, it is unknown."""

    def intercept(handler: GitHubHandler, _: int) -> bool:
        is_named = f"/{name}/" in handler.path or f"org%3A{name}" in handler.path
        if is_named and fault:
            fault(handler)
        return bool(is_named and fault)

    return intercept


def serving(*organisations: str, **options: Any) -> GitHubServer:
    """A server where each of these has one repository, changed and pushed to on the day."""
    repos: dict[str, list[dict[str, Any]]] = {
        name: [repo(number, "02T10:00", "02T10:00", full_name=f"{name}/repo-{number}", stargazers_count=1)]
        for number, name in enumerate(organisations, start=1)
    }
    return GitHubServer(repos, **options)


@pytest.mark.parametrize("table", TABLES)
@pytest.mark.parametrize(("fault", "reason"), REFUSALS.values(), ids=REFUSALS)
@pytest.mark.parametrize("position", [0, 1, 2])
def test_each_table_has_the_others_and_the_reason(table: str, fault: Fault | None, reason: str, position: int):
    names = ["good", "fine"]
    names.insert(position, "bad")
    with serving("good", "fine", intercept=of("bad", fault)) as server, session_with(server, *names) as session:
        reading: Iterable[list[Any]] = TABLES[table](session)
        rows = rows_of(reading)
        refused = reading.refused if isinstance(reading, Reading) else session.refused
    if table in {"repos", "stars", "inventory"}:
        assert {row["org"] for row in rows} == {"good", "fine"}
    assert list(refused) == ["bad"]
    assert "GITHUB_ORG 'bad': GET http://127.0.0.1:" in str(refused["bad"])
    assert reason in str(refused["bad"])


def test_an_organisation_refused_by_one_endpoint_lacks_that_table_alone():
    """A fine-grained token may list repositories and not read their activity."""
    with serving("good", "bad") as server, session_with(server, "good", "bad") as session:
        session.changed([DAY])
        server.intercept = of("bad", answers(403))
        pushes, issues = session.pushes([DAY]), session.issues([DAY])
        rows_of(pushes)
        server.intercept = None
        rows_of(issues)
        assert (list(pushes.refused), list(issues.refused), session.refused) == (["bad"], [], {})


@pytest.mark.parametrize("names", [("bad",), ("bad", "worse")])
def test_where_all_are_refused_the_run_fails_with_the_first_reason(names: tuple[str, ...]):
    with serving("good") as server, session_with(server, *names) as session:
        with pytest.raises(GitHubError, match=r"GITHUB_ORG 'bad'.*has no organisation or user of this name"):
            session.changed([DAY])
        with pytest.raises(GitHubError, match="GITHUB_ORG 'bad'"):
            rows_of(session.inventory())


def test_a_token_that_github_does_not_know_is_sent_twice_not_for_each_of_a_thousand():
    with serving("good", token=TOKEN) as server, session_with(server, *map(str, range(1_000)), token="x") as session:
        with pytest.raises(GitHubError, match=r"GITHUB_ORG '0'.*GITHUB_TOKEN was refused"):
            session.changed([DAY])
        assert len(server.requests) == 2


def test_a_refusal_on_a_later_page_fails_the_run():
    """Its first page was already passed on."""
    with serving("good") as server, session_with(server, "acme", "good") as session:
        server.repos["acme"] = [repo(number, "02T10:00", None) for number in range(150)]
        server.intercept = lambda handler, number: number == 2 and not answers(403)(handler)
        with pytest.raises(GitHubError, match=r"GITHUB_ORG 'acme'.*403"):
            session.changed([DAY])


def test_a_refusal_never_quotes_the_token():
    with serving("good") as server, session_with(server, "bad", "good") as session:
        server.intercept = of("bad", answers(403, {"message": f"not with {TOKEN}"}))
        session.changed([DAY])
        assert "not with ***" in str(session.refused["bad"])


def test_a_run_lands_the_others_and_a_check_of_each_table_names_the_one(tmp_path: Path):
    with serving("good") as server:
        project = Project(tmp_path, server.url, ["bad", "good"], TOKEN, tables=RAW | {"staging/repos"})
        ran = project.materialise(DAY, layers=["raw", "staging"])
        assert ran.success
        checks = evaluations(ran)
        assert [row[:2] for row in project.rows("staging/repos", DAY)] == [("good", 1)]
        for table in RAW - {"raw/github_inventory"}:  # of a past day there is none
            check = checks[f"{table} is_complete"]
            assert (check.passed, check.severity) == (False, AssetCheckSeverity.ERROR)
            assert "bad (1 days): GITHUB_ORG 'bad': GET http://127.0.0.1:" in (check.description or "")
            assert "Check the spelling" in (check.description or "")
            assert check.metadata["parts_missing"].value == ["bad"]
        assert checks["staging/repos is_valid"].passed  # nothing downstream was stopped

        later = project.checks()  # the newest day, from the files alone
        assert not later["raw/github_repos is_complete"].passed

        server.repos["bad"] = [repo(7, "02T11:00", None, full_name="bad/repo-7")]
        healed = evaluations(project.materialise(DAY, layers=["raw", "staging"]))
        assert all(healed[f"{table} is_complete"].passed for table in RAW - {"raw/github_inventory"})
        assert [row[:2] for row in project.rows("staging/repos", DAY)] == [("bad", 7), ("good", 1)]


def test_a_range_reads_again_only_what_was_refused(tmp_path: Path):
    yesterday = DAY - timedelta(days=1)
    with serving("good", "bad", intercept=of("bad", answers(403))) as server:
        project = Project(tmp_path, server.url, ["good", "bad"], TOKEN, tables=frozenset({"raw/github_issues"}))

        def searches(first: date, last: date) -> int:
            server.requests.clear()
            assert project.materialise(first, last, layers=["raw"]).success
            return sum(request.path == "/search/issues" for request in server.requests)

        searches(yesterday, DAY)
        server.intercept = None
        assert searches(yesterday, DAY) == 10  # the days count as missing: both organisations, each with 5 searches
        assert searches(yesterday, DAY) == 0


def test_a_single_refused_organisation_fails_the_run(tmp_path: Path):
    with serving("good") as server:
        project = Project(tmp_path, server.url, ["bad"], TOKEN)
        assert "GITHUB_ORG 'bad'" in failure(project.materialise(DAY, layers=["raw"], raise_on_error=False))
    assert project.days("raw/github_repos") == []


def test_the_command_names_it_and_succeeds_as_for_every_failed_check_that_blocks_nothing(tmp_path: Path):
    with serving("good") as server:
        project = Project(tmp_path, server.url, ["bad", "good"], tables=frozenset({"raw/github_repos"}))
        ended = project.command("mds", "run", "--from", str(DAY), "--to", str(DAY))
    assert ended.returncode == 0, ended.stderr
    (line,) = [line for line in ended.stdout.splitlines() if "✗" in line]
    assert "raw/github_repos is_complete: bad (1 days): GITHUB_ORG 'bad'" in line
