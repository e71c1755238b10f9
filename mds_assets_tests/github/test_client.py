"""Promises of the GitHub client, against a real HTTP server: nothing active is missed, nothing is asked in vain."""

import subprocess
import sys
from copy import deepcopy
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mds_assets.github.client import Crawl, GitHub
from mds_assets.github.errors import GitHubError
from mds_assets.github.repository import Json
from mds_assets.stack.partitions import days_between
from mds_assets_tests.github import oracle
from mds_assets_tests.github.recordings import jenkinsci, needs_recordings
from mds_assets_tests.github.server import GitHubHandler, GitHubServer

DAY = date(2026, 3, 2)
MOMENTS = ("created_at", "updated_at", "pushed_at")


def repo(number: int, updated: str, pushed: str | None, **fields: Any) -> dict[str, Any]:
    """A repository of acme with these times of March 2026, such as `02T10:00`."""
    name = f"repo-{number}"
    return {
        "id": number,
        "name": name,
        "full_name": f"acme/{name}",
        "owner": {"login": "acme", "id": 7},
        "created_at": "2020-01-01T00:00:00Z",
        "updated_at": f"2026-03-{updated}:00Z",
        "pushed_at": pushed and f"2026-03-{pushed}:00Z",
        **fields,
    }


@dataclass
class Found:
    """A crawl that has ended, and its rows by day: those that were requested, and later ones that have early rows."""

    crawl: Crawl
    days: dict[date, list[Json]]
    waits: list[float]


def crawl(
    server: GitHubServer, *days: date, organisations: tuple[str, ...] = ("acme",), token: str = "", **options: Any
) -> Found:
    """One crawl of these days; it only notes the waits."""
    waits: list[float] = []
    github = GitHub(organisations, server.url, token or None, sleep=waits.append, **options)
    crawl = github.crawl(days or (DAY,))
    found: dict[date, list[Json]] = {day: [] for day in crawl.days}
    for row in (row for page in crawl for row in page):
        active_at = max(moment for moment in (row["updated_at"], row["pushed_at"]) if moment)
        found.setdefault(active_at.date(), []).append(row)
    return Found(crawl, found, waits)


def ids(found: Found) -> dict[date, list[int]]:
    """The ids landed on each day."""
    return {day: sorted(row["id"] for row in rows) for day, rows in found.days.items()}


def test_a_push_that_left_updated_at_alone_is_found():
    with GitHubServer({"acme": [repo(1, "01T10:00", "02T10:00"), repo(2, "02T11:00", "01T08:00")]}) as server:
        assert ids(crawl(server)) == {DAY: [1, 2]}


def test_a_repository_belongs_to_the_day_of_its_newest_activity_in_utc():
    repos = [repo(1, "02T00:00", None), repo(2, "02T23:59", "01T00:00"), repo(3, "03T00:00", "02T12:00")]
    with GitHubServer({"acme": repos}) as server:
        assert ids(crawl(server, DAY, DAY + timedelta(days=1))) == {DAY: [1, 2], DAY + timedelta(days=1): [3]}


def test_a_repository_that_was_active_again_after_the_range_comes_early():
    with GitHubServer({"acme": [repo(1, "02T10:00", None), repo(2, "03T01:07", "02T09:00")]}) as server:
        assert ids(crawl(server)) == {DAY: [1], DAY + timedelta(days=1): [2]}


def test_a_day_of_fewer_than_100_active_repositories_takes_2_requests():
    quiet = [repo(number, "01T10:00", "01T10:00") for number in range(1, 400)]
    with GitHubServer({"acme": [*quiet, repo(400, "02T10:00", "02T10:00")]}) as server:
        assert ids(crawl(server)) == {DAY: [400]}
        assert [request.query["sort"] for request in server.requests] == ["updated", "pushed"]


def test_the_second_order_is_skipped_when_the_first_listed_everything():
    with GitHubServer({"acme": [repo(number, "02T10:00", None) for number in range(1, 251)]}) as server:
        found = crawl(server)
        assert len(found.days[DAY]) == 250
        assert found.crawl.requests == len(server.requests) == 3


@needs_recordings
def test_everything_of_jenkinsci_takes_23_requests():
    with GitHubServer({"jenkinsci": jenkinsci()}) as server:
        found = crawl(server, *days_between(date(2008, 1, 1), date(2019, 10, 26)), organisations=("jenkinsci",))
        assert sum(map(len, found.days.values())) == 2204
        assert found.crawl.requests == 23


@given(
    repos=st.lists(st.tuples(st.integers(0, 9), st.none() | st.integers(0, 9), st.integers(0, 86_399)), max_size=30),
    first=st.integers(0, 9),
    length=st.integers(1, 10),
)
def test_a_crawl_sees_exactly_what_is_active_in_the_range_or_since(
    repos: list[tuple[int, int | None, int]], first: int, length: int
):
    def moment(day: int, second: int) -> str:
        return f"{datetime(2026, 3, 1 + day, tzinfo=UTC) + timedelta(seconds=second):%Y-%m-%dT%H:%M:%SZ}"

    listed = [
        repo(number, "", None)
        | {"updated_at": moment(updated, second), "pushed_at": None if pushed is None else moment(pushed, second)}
        for number, (updated, pushed, second) in enumerate(repos)
    ]
    days = [date(2026, 3, 1) + timedelta(days=first + offset) for offset in range(length)]
    expected: dict[date, list[int]] = {day: [] for day in days}
    for seen in oracle.observations_seen(listed, "acme", datetime.now(UTC), days[0]):
        expected.setdefault(oracle.active_at(seen.repo).date(), []).append(seen.repo["id"])
    with GitHubServer({"acme": listed}) as server:
        assert ids(crawl(server, *days)) == expected


def test_a_repository_that_changes_between_the_two_orders_lands_as_both_observations():
    """It was active on the day, and again, on the next day, while the crawl ran."""
    later = DAY + timedelta(days=1)
    world = [repo(1, "02T10:00", "02T10:00"), *(repo(number, "01T10:00", None) for number in range(2, 102))]
    with GitHubServer({"acme": world}) as server:

        def push_after_the_first_request(_: GitHubHandler, number: int) -> bool:
            if number == 2:
                server.repos["acme"] = [repo(1, "03T10:00", "03T10:00"), *world[1:]]
            return False

        server.intercept = push_after_the_first_request
        assert ids(crawl(server, DAY, later)) == {DAY: [1], later: [1]}


def test_users_and_organisations_are_crawled_alike_and_each_row_names_the_one_requested():
    with GitHubServer({"acme": [repo(1, "02T10:00", None)]}, users={"octocat": [repo(2, "02T10:00", None)]}) as server:
        found = crawl(server, organisations=("acme", "octocat"))
    assert [(row["org"], row["id"]) for row in found.days[DAY]] == [("acme", 1), ("octocat", 2)]


def test_every_field_of_github_is_kept_but_urls_that_extend_another():
    fields = {
        "url": "https://api.github.com/repos/acme/repo-1",
        "keys_url": "https://api.github.com/repos/acme/repo-1/keys{/key_id}",
        "forks_url": "https://api.github.com/repos/acme/repo-1/forks",
        "html_url": "https://github.com/acme/repo-1",
        "mirror_url": None,
        "brand_new": {"url": "https://api.github.com/x", "self_url": "https://api.github.com/x/y", "kept": 1},
    }
    original = repo(1, "02T10:00", None, **fields)
    with GitHubServer({"acme": [deepcopy(original)]}) as server:
        found = crawl(server)
    row = found.days[DAY][0]
    assert row == {
        **{key: value for key, value in original.items() if key not in {"keys_url", "forks_url"}},
        **{name: original[name] and datetime.fromisoformat(original[name]) for name in MOMENTS},
        "brand_new": {"url": "https://api.github.com/x", "kept": 1},
        "org": "acme",
        "observed_at": found.crawl.observed_at,
    }


@needs_recordings
def test_no_field_of_a_real_answer_is_lost_but_derivable_urls():
    originals = {repo["id"]: repo for repo in jenkinsci()}
    with GitHubServer({"jenkinsci": jenkinsci()}) as server:
        found = crawl(server, date(2019, 10, 25), organisations=("jenkinsci",))
    for row in found.days[date(2019, 10, 25)]:
        original = originals[row["id"]]
        lost = original.keys() - row.keys()
        assert lost
        assert all(original[key].startswith(original["url"] + "/") for key in lost)


def test_the_crawl_tells_its_requests_and_what_is_left_of_the_limit():
    with GitHubServer({"acme": [repo(1, "02T10:00", None)]}) as server:
        before = datetime.now(UTC)
        found = crawl(server)
        assert before <= found.crawl.observed_at <= datetime.now(UTC)
        assert found.crawl.requests == 1
        assert found.crawl.rate_limit_remaining == 4999


def test_requests_introduce_themselves_and_carry_the_token():
    with GitHubServer({"acme": []}, token="ghp_VALID") as server:
        crawl(server, token="ghp_VALID")
    headers = server.requests[0].headers
    assert headers["Authorization"] == "Bearer ghp_VALID"
    assert headers["User-Agent"] == "mds-assets"
    assert headers["X-GitHub-Api-Version"]
    assert server.requests[0].query == {"sort": "updated", "direction": "desc", "per_page": "100"}


def test_github_enterprise_has_its_api_below_a_path():
    with GitHubServer(
        {"acme": [repo(number, "02T10:00", None) for number in range(150)]}, url_prefix="/api/v3"
    ) as server:
        assert len(crawl(server).days[DAY]) == 150


def test_the_client_imports_neither_dagster_nor_dlt_nor_the_stack():
    modules = "mds_assets.github.connection, mds_assets.github.session, mds_assets.github.sample"
    others = "{'dagster', 'dlt', 'mds_assets.stack', 'mds_assets.defs'} & set(sys.modules)"
    ended = subprocess.run(
        [sys.executable, "-c", f"import sys, {modules}; print(*{others})"], check=True, capture_output=True, text=True
    )
    assert ended.stdout.split() == []


def test_a_single_page_is_requested_once_even_when_part_of_it_is_older_than_the_range():
    with GitHubServer({"acme": [repo(1, "02T10:00", None), repo(2, "01T10:00", None)]}) as server:
        assert ids(crawl(server)) == {DAY: [1]}
        assert len(server.requests) == 1


def test_a_user_is_not_requested_as_an_organisation_a_second_time():
    repos = [repo(number, "01T10:00", "01T10:00") for number in range(150)]
    with GitHubServer({}, users={"octocat": repos}) as server:
        crawl(server, organisations=("octocat",))
    assert [request.path.split("/")[1] for request in server.requests] == ["orgs", "users", "users"]


@pytest.mark.parametrize("token", ["", "ghp_VALID"])
def test_a_next_page_on_another_host_is_refused_and_never_requested(token: str):
    with GitHubServer({"acme": []}) as elsewhere:

        def answer(handler: GitHubHandler, _: int) -> bool:
            handler.answer(200, [], {"Link": f'<{elsewhere.url}/orgs/acme/repos>; rel="next"'})
            return True

        with (
            GitHubServer({"acme": []}, intercept=answer) as server,
            pytest.raises(GitHubError, match="another host") as error,
        ):
            crawl(server, token=token)
        assert token not in str(error.value) or not token
        assert "GITHUB_ORG 'acme'" in str(error.value)
        assert elsewhere.requests == []


@pytest.mark.parametrize("token", ["", "ghp_VALID"])
def test_credentials_in_netrc_are_never_sent(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, token: str):
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login someone password netrc-secret\n")
    monkeypatch.setenv("NETRC", str(netrc))
    with GitHubServer({"acme": []}) as server:
        crawl(server, token=token)
    assert server.requests[0].headers["Authorization"] == (f"Bearer {token}" if token else None)


def test_a_clone_credential_that_github_sends_does_not_land():
    nested = {"parent": {"temp_clone_token": "ABC"}, "forks": [{"temp_clone_token": "ABC"}]}
    with GitHubServer({"acme": [repo(1, "02T10:00", None, temp_clone_token="ABC", **nested)]}) as server:
        assert "ABC" not in str(crawl(server).days)
