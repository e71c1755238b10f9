"""The client's event requests and parsing, checked against GitHub's OpenAPI description of both API versions.

The description is of 2022-11-28 and includes the patches for each newer version. It lacks the star history, so this
file describes it; a test below fails once GitHub does.
"""

from collections.abc import Iterator
from copy import deepcopy
from datetime import UTC, datetime
from typing import Any

import pytest

from mds_assets.github.errors import GitHubError
from mds_assets.github.repository import Json
from mds_assets_tests.github import prism
from mds_assets_tests.github.server import GitHubHandler, GitHubServer
from mds_assets_tests.github.sessions import rows_of, session_with
from mds_assets_tests.github.test_activity import push
from mds_assets_tests.github.test_client import DAY

pytestmark = [prism.needs_node, pytest.mark.slow(8)]

OLD, NEW = "2022-11-28", "2026-03-10"
PATCHED = ("minimal-repository", "issue-search-result-item")

LISTING, ACTIVITY, SEARCH = "/orgs/{org}/repos", "/repos/{owner}/{repo}/activity", "/search/issues"
HISTORY = "/repos/{owner}/{repo}/stargazers/history"

WEEK = {
    "type": "object",
    "required": ["week", "total", "days"],
    "properties": {
        "week": {"type": "integer"},
        "total": {"type": "integer"},
        "days": {"type": "array", "minItems": 7, "maxItems": 7, "items": {"type": "integer"}},
    },
}


def described_history(parameters: list[Json]) -> Json:
    """The star history operation, with these path parameters."""
    numbers = [
        {"name": name, "in": "query", "schema": {"type": "integer", "minimum": 1, "maximum": most}}
        for name, most in (("per_page", 30), ("page", 100))
    ]
    content = {"application/json": {"schema": {"type": "array", "items": WEEK}}}
    return {
        "get": {
            "parameters": [*parameters, *numbers],
            "responses": {"200": {"description": "Weeks", "content": content}},
        }
    }


def merged(node: Any, patch: Any) -> Any:
    """Apply a JSON merge patch (RFC 7386): null removes a key."""
    if not isinstance(patch, dict):
        return patch
    kept = dict(node) if isinstance(node, dict) else {}
    for name, change in patch.items():
        if change is None:
            kept.pop(name, None)
        else:
            kept[name] = merged(kept.get(name), change)
    return kept


def as_of(description: Json, version: str) -> Json:
    """The description of this version, reduced to the paths that a session requests."""
    described = deepcopy(description)
    schemas = described["components"]["schemas"]
    for name in PATCHED:
        for change in schemas[name]["x-github-breaking-changes"]:
            if change["version"] <= version:
                schemas[name] = merged(schemas[name], change["patch"])
    # Prism can't compile this property's schema, and would then accept any search response.
    del schemas["issue-search-result-item"]["properties"]["issue_field_values"]
    paths = described["paths"]
    activity = paths[ACTIVITY]["get"]
    by_number = [each for each in activity["parameters"] if each.get("$ref") != "#/components/parameters/owner"]
    repository = [{"$ref": f"#/components/parameters/{name}"} for name in ("owner", "repo")]
    described["paths"] = {
        **{path: paths[path] for path in (LISTING, SEARCH, ACTIVITY)},
        # The paths in GitHub's `Link` headers: the same, with numbers in place of names.
        "/organizations/{org}/repos": paths[LISTING],
        "/repositories/{repo}/activity": {"get": {**activity, "parameters": by_number}},
        HISTORY: described_history(repository),
    }
    return described


@pytest.fixture(scope="module")
def description() -> Json:
    """GitHub's complete description."""
    return prism.description()


@pytest.fixture(scope="module", params=[OLD, NEW])
def version(request: pytest.FixtureRequest) -> str:
    """An API version."""
    return request.param


@pytest.fixture(scope="module")
def proxied(version: str, description: Json, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GitHubServer]:
    """The test server behind Prism, which validates requests and responses against that version."""
    with GitHubServer({}) as server, prism.before(server, as_of(description, version), tmp_path_factory):
        yield server


@pytest.fixture
def github(proxied: GitHubServer, description: Json, version: str) -> GitHubServer:
    """GitHub's own examples, moved to `DAY`: a repository with 150 pushes, 150 issues and 150 pull requests."""
    proxied.requests.clear()
    proxied.intercept = None
    examples = description["components"]["examples"]
    listed = examples["minimal-repository-items"]["value"][0]
    moment = "2026-03-02T10:00:00Z"
    name = {"name": "repo-1", "full_name": "acme/repo-1", "owner": {**listed["owner"], "login": "acme"}}
    repo = listed | name | {"id": 1, "updated_at": moment, "pushed_at": moment, "stargazers_count": 3}
    item = examples["issue-search-result-item-paginated"]["value"]["items"][0]
    dropped = {"has_downloads", "assignee"} if version == NEW else set[str]()
    proxied.repos = {"acme": [{field: value for field, value in repo.items() if field not in dropped}]}
    user = listed["owner"]
    proxied.activity = {"acme/repo-1": [push(number, "02T10:00", actor=user) for number in range(150)]}
    proxied.issues = [
        {field: value for field, value in item.items() if field not in dropped}
        | {"id": number, "created_at": moment, "closed_at": moment, "state": "closed"}
        | {"repository_url": "https://api.github.com/repos/acme/repo-1"}
        | {"pull_request": {**item["pull_request"], "merged_at": moment} if number % 2 else None}
        for number in range(300)
    ]
    for each in proxied.issues:
        if not each["pull_request"]:
            del each["pull_request"]
    proxied.stars = {"acme/repo-1": {DAY: 3}}
    return proxied


def test_requests_and_responses_match_the_description(github: GitHubServer, version: str, description: Json):
    """Prism turns a violation into an error status, which fails the reading."""
    with session_with(github, "acme", api_version=version) as session:
        readings = [session.pushes([DAY]), session.issues([DAY]), session.inventory()]
        counts = [len(rows_of(reading)) for reading in readings]
        assert counts == [150, 5 * 150, 1]
        assert [reading.requests for reading in readings] == [1 + 2, 5 * 2, 1]
        if version == NEW:
            assert [(row["date"], row["gained"]) for row in rows_of(session.stars([DAY]))] == [(DAY, 3)]
    assert {request.headers["X-GitHub-Api-Version"] for request in github.requests} == {version}
    # Prism accepts unknown query parameters.
    described = as_of(description, version)
    for path, end in ((LISTING, "/repos"), (ACTIVITY, "/activity"), (SEARCH, SEARCH), (HISTORY, "/history")):
        parameters = [prism.resolved(described, each) for each in described["paths"][path]["get"]["parameters"]]
        requested = {name for request in github.requests if request.path.endswith(end) for name in request.query}
        assert requested <= {parameter["name"] for parameter in parameters}


def test_every_requested_period_is_described(github: GitHubServer):
    now = github.now
    try:
        for days_ago, period in ((0, "day"), (3, "week"), (10, "month"), (40, "quarter"), (100, "year")):
            moment = datetime(2026, 3, DAY.day, 12, tzinfo=UTC).timestamp() + days_ago * 86_400
            github.now = lambda moment=moment: datetime.fromtimestamp(moment, UTC)
            with session_with(github, "acme") as session:
                rows_of(session.pushes([DAY]))
            assert [request for request in github.requests if request.query.get("time_period") == period]
    finally:
        github.now = now


@pytest.mark.parametrize(
    ("end", "body"),
    [
        ("/activity", [push(1, "02T10:00", actor=None) | {"activity_type": "stash"}]),
        ("/search/issues", {"total_count": 0, "incomplete_results": False, "items": []}),  # no `search_type`
        ("/history", [{"week": 1772323200, "total": 0, "days": [0] * 6}]),
    ],
)
def test_prism_rejects_an_undocumented_response(github: GitHubServer, version: str, end: str, body: object):
    """Prism silently accepts any response if it can't compile the description, so prove that it validates."""

    def wrong(handler: GitHubHandler, _: int) -> bool:
        if handler.path.partition("?")[0].endswith(end):
            handler.answer(200, body)
            return True
        return False

    github.intercept = wrong
    with session_with(github, "acme", api_version=version) as session:
        table = {"/activity": session.pushes, "/search/issues": session.issues, "/history": session.stars}[end]
        is_unknown = version == OLD and end == "/history"
        with pytest.raises(GitHubError, match="has no star history" if is_unknown else "answered 500"):
            rows_of(table([DAY]))


def test_the_newer_version_keeps_every_field_that_rows_depend_on(description: Json):
    for name in PATCHED:
        old, new = (as_of(description, version)["components"]["schemas"][name]["properties"] for version in (OLD, NEW))
        assert old.keys() - new.keys() <= {"has_downloads", "assignee"}
        assert new.keys() <= old.keys()


def test_github_does_not_describe_the_star_history_yet(description: Json):
    """Once it does, replace `described_history` with GitHub's description."""
    assert HISTORY not in description["paths"]


def test_every_field_that_rows_depend_on_is_described_with_its_type(description: Json):
    schemas = description["components"]["schemas"]
    activity, item = schemas["activity"]["properties"], schemas["issue-search-result-item"]["properties"]
    assert (activity["id"]["type"], activity["timestamp"]["format"]) == ("integer", "date-time")
    assert {item[name]["type"] for name in ("id", "number")} == {"integer"}
    assert {item[name]["format"] for name in ("created_at", "updated_at", "closed_at")} == {"date-time"}
    assert item["closed_at"]["nullable"]
    merged_at = item["pull_request"]["properties"]["merged_at"]
    assert (merged_at["format"], merged_at["nullable"]) == ("date-time", True)
