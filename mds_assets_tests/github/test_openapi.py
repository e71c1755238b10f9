"""GitHub's own OpenAPI description, against what the client asks for, what was recorded and what the sample answers.

Prism stands as a proxy before the tests' server and holds each request and each answer to the description. Both are
npm packages; where they are neither installed nor to be had, these tests are skipped.

Two things the description does not say, so nothing here can hold the client to them: it declares no header of a
request, and of `per_page` it says "max 100" in words only.

https://github.com/github/rest-api-description, https://github.com/stoplightio/prism
"""

import json
import re
from collections.abc import Iterator
from datetime import UTC, date, datetime
from typing import Any

import pytest
import requests

from mds_assets.defs.github.raw import GITHUB_REPOS
from mds_assets.github.client import GitHub
from mds_assets.github.sample import SAMPLE_API_URL, SAMPLE_ORG, SampleTransport
from mds_assets.stack.table import Column
from mds_assets_tests.github import prism
from mds_assets_tests.github.recordings import jenkinsci, needs_recordings, npm_days
from mds_assets_tests.github.server import GitHubServer, Repos

pytestmark = [prism.needs_node, pytest.mark.slow(19)]

# What the client asks for, and where GitHub's `Link` sends it for the second page. The description does not know the
# second path. It leads to the same listing, so it is held to the words of the first.
LISTINGS = {
    "/orgs/{org}/repos": "/organizations/{org}/repos",
    "/users/{username}/repos": "/user/{username}/repos",
}


@pytest.fixture(scope="module")
def description() -> dict[str, Any]:
    """All that GitHub describes."""
    return prism.description()


@pytest.fixture(scope="module")
def proxied(description: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Iterator[GitHubServer]:
    """The tests' server behind Prism: its `url`, and so each `Link` that it sends, leads through Prism."""
    # Prism needs 2 s to load the listings and 7 s to load all paths, on two idle cores.
    paths = {path: description["paths"][first] for first, further in LISTINGS.items() for path in (first, further)}
    with GitHubServer({}) as server, prism.before(server, {**description, "paths": paths}, tmp_path_factory):
        yield server


@pytest.fixture
def github(proxied: GitHubServer) -> GitHubServer:
    """The same, without repositories and requests of another test."""
    proxied.repos, proxied.users = {}, {}
    proxied.requests.clear()
    return proxied


@pytest.fixture
def repository(description: dict[str, Any]) -> dict[str, Any]:
    """The schema of a repository, the same in both listings."""
    answers = [description["paths"][path]["get"]["responses"]["200"]["content"] for path in LISTINGS]
    schema, same = [prism.resolved(description, answer["application/json"]["schema"]["items"]) for answer in answers]
    assert schema is same
    return schema


@pytest.fixture
def example(description: dict[str, Any]) -> dict[str, Any]:
    """The repository that GitHub gives as an example."""
    return description["components"]["examples"]["minimal-repository-items"]["value"][0]


def violations(github: GitHubServer, path: str, **query: str | int) -> set[str]:
    """What Prism says against one request and its answer, in its words but for the repositories' places in the list."""
    answer = requests.get(f"{github.url}{path}", params=query, timeout=30)
    if answer.headers["Content-Type"] != prism.PROBLEM:
        answer.raise_for_status()
        return set()
    problem = answer.json()
    found = [violation["message"] for violation in problem.get("validation", [])] or [problem["title"]]
    return {re.sub(r"\d+[. ]", "", message) for message in found}


def violations_of_all(github: GitHubServer, repos: Repos) -> set[str]:
    """What Prism says against the pages that list these repositories."""
    github.repos = {"acme": repos}
    pages = range(1, len(repos) // 100 + 2)
    return set[str]().union(*(violations(github, "/orgs/acme/repos", per_page=100, page=page) for page in pages))


@pytest.mark.parametrize("kind", ["organisation", "user"])
def test_a_crawl_asks_only_for_what_github_describes(
    kind: str, github: GitHubServer, description: dict[str, Any], example: dict[str, Any]
):
    """Of 250 repositories 120 were active on the day: it takes both orders, and two pages of each."""
    times = ["2026-03-02T10:00:00Z"] * 120 + ["2026-03-01T10:00:00Z"] * 130
    repos = [example | {"id": number, "updated_at": time, "pushed_at": time} for number, time in enumerate(times)]
    github.repos, github.users = ({"acme": repos}, {}) if kind == "organisation" else ({}, {"acme": repos})
    crawl = GitHub(["acme"], github.url, "ghp_VALID", sleep=lambda _: None).crawl([date(2026, 3, 2)])
    # What Prism has against a request or an answer is a status that the client refuses.
    assert sum(map(len, crawl)) == 120

    assert {(request.query["sort"], request.query.get("page", "1")) for request in github.requests} == {
        ("updated", "1"),
        ("updated", "2"),
        ("pushed", "1"),
        ("pushed", "2"),
    }
    # Prism lets a parameter pass that the description does not know.
    for path in LISTINGS:
        parameters = description["paths"][path]["get"]["parameters"]
        names = {prism.resolved(description, parameter)["name"] for parameter in parameters}
        assert {name for request in github.requests for name in request.query} <= names


def test_github_does_not_describe_the_paths_of_further_pages(description: dict[str, Any]):
    """Once it does, LISTINGS must not speak for it any longer."""
    assert description["paths"].keys() & LISTINGS.values() == set()


@pytest.mark.parametrize(
    ("path", "query", "violation"),
    [
        ("/orgs/acme/repos", {"sort": "starred"}, "Request query parameter sort must be equal to one of"),
        ("/orgs/acme/repos", {"direction": "down"}, "Request query parameter direction must be equal to one of"),
        ("/orgs/acme/repos", {"per_page": "all"}, "Request query parameter per_page must be integer"),
        ("/organizations/7/repos", {"page": "last"}, "Request query parameter page must be integer"),
        ("/users/acme/repos", {"type": "forks"}, "Request query parameter type must be equal to one of"),
        ("/user/7/repos", {"sort": "stars"}, "Request query parameter sort must be equal to one of"),
        ("/orgs/acme/repositories", {}, "Route not resolved, no path matched"),
    ],
)
def test_a_wrong_request_is_reported(path: str, query: dict[str, str], violation: str, github: GitHubServer):
    (reported,) = violations(github, path, **query)
    assert reported.startswith(violation)


@pytest.mark.parametrize(
    ("field", "value", "violation"),
    [
        ("id", "1", "property id must be integer"),
        ("name", None, "property name must be string"),
        ("topics", "etl", "property topics must be array"),
        ("pushed_at", "yesterday", 'property pushed_at must match format "date-time"'),
        ("owner", {"login": "octocat", "id": 1}, "property owner must have required property 'node_id'"),
    ],
)
def test_a_wrong_answer_is_reported(
    field: str, value: object, violation: str, github: GitHubServer, example: dict[str, Any]
):
    """On every path: Prism takes any answer as right, without a word, if it cannot make sense of the description."""
    github.repos = github.users = {"octocat": [example | {field: value}]}
    for path in ("/orgs/octocat/repos", "/organizations/1/repos", "/users/octocat/repos", "/user/1/repos"):
        assert f"Response body {violation}" in violations(github, path)


def test_github_s_example_is_as_described(github: GitHubServer, example: dict[str, Any]):
    assert violations_of_all(github, [example]) == set()


@needs_recordings
def test_the_recorded_answers_are_as_described(github: GitHubServer):
    """Those of 2019 and 2020 lack nothing that is required today. What they lack is optional, such as `topics`."""
    assert violations_of_all(github, jenkinsci()) == set()
    every_state = {json.dumps(repo, sort_keys=True): repo for day in npm_days().values() for repo in day}
    assert violations_of_all(github, list(every_state.values())) == set()


# URLs that extend the `url` beside them, which the client does not land anyway.
SAMPLE_LACKS = {
    "property": """
        archive_url assignees_url blobs_url collaborators_url comments_url compare_url contents_url contributors_url
        deployments_url downloads_url events_url forks_url git_commits_url git_refs_url git_tags_url hooks_url
        issue_comment_url issue_events_url keys_url labels_url merges_url milestones_url notifications_url pulls_url
        releases_url stargazers_url statuses_url subscribers_url subscription_url tags_url teams_url trees_url
    """,
    "property owner": """
        events_url followers_url following_url gists_url organizations_url received_events_url starred_url
        subscriptions_url
    """,
}


def test_the_sample_answers_as_described_but_for_what_it_is_known_to_lack(
    github: GitHubServer, description: dict[str, Any], repository: dict[str, Any]
):
    session = requests.Session()
    session.mount(SAMPLE_API_URL, SampleTransport(now=lambda: datetime(2026, 11, 22, 12, tzinfo=UTC)))
    url = f"{SAMPLE_API_URL}/orgs/{SAMPLE_ORG}/repos?per_page=100"
    repos = [repo for page in range(1, 5) for repo in session.get(f"{url}&page={page}", timeout=5).json()]
    assert len(repos) > 300

    assert violations_of_all(github, repos) == {
        f"Response body {where} must have required property '{name}'"
        for where, names in SAMPLE_LACKS.items()
        for name in names.split()
    }
    # A field of a name that GitHub does not know is no violation: there may be more than is described.
    owner = prism.resolved(description, repository["properties"]["owner"])
    for repo in repos:
        assert repo.keys() <= repository["properties"].keys()
        assert repo["owner"].keys() <= owner["properties"].keys()


# What the description may say of a column that raw declares: its format, or its type where there is no format.
DESCRIBED_AS = {
    "BIGINT": {"integer", "int64"},
    "BOOLEAN": {"boolean"},
    "TIMESTAMPTZ": {"date-time"},
    "VARCHAR": {"string"},
}
JSON_TEXT = {"license": {"object"}, "topics": {"array"}}
OURS = {"org", "observed_at", "_dlt_load_id"}  # facts of the load


@pytest.mark.parametrize("column", [c for c in GITHUB_REPOS.columns if c.name not in OURS], ids=lambda c: c.name)
def test_a_field_that_staging_reads_is_described_with_the_type_that_raw_declares(
    column: Column, repository: dict[str, Any]
):
    field = repository["properties"][column.name]
    assert field.get("format", field["type"]) in JSON_TEXT.get(column.name, DESCRIBED_AS[column.type])
    may_be_null = field.get("nullable") or column.name not in repository["required"]
    assert column.nullable or not may_be_null


def test_what_staging_reads_within_a_field_is_described_as_text(repository: dict[str, Any]):
    fields = repository["properties"]
    assert fields["license"]["properties"]["spdx_id"]["type"] == "string"
    assert fields["topics"]["items"]["type"] == "string"
