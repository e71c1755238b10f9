"""The server of the tests answers as GitHub does: asked over real HTTP, measured against the recordings."""

import time
from collections.abc import Iterator
from threading import active_count
from typing import Any

import pytest
import requests

from mds_assets_tests.github.recordings import jenkinsci, jenkinsci_pages, needs_recordings
from mds_assets_tests.github.server import GitHubHandler, GitHubServer, Repos


def repo(number: int, **fields: Any) -> dict[str, Any]:
    """A repository of acme, created on January `number`, and the later updated and pushed the earlier created."""
    return {
        "id": number,
        "name": f"repo-{number}",
        "full_name": f"acme/repo-{number}",
        "owner": {"login": "acme", "id": 77},
        "private": False,
        "fork": False,
        "created_at": f"2026-01-{number:02}T00:00:00Z",
        "updated_at": f"2026-03-{31 - number:02}T00:00:00Z",
        "pushed_at": f"2026-02-{28 - number:02}T00:00:00Z",
        **fields,
    }


def follow(url: str, **params: str | int) -> Iterator[requests.Response]:
    """Every page from `url` on, by the `Link` header alone, on one connection."""
    with requests.Session() as session:
        answer = session.get(url, params=params, timeout=5)
        yield answer
        while "next" in answer.links:
            answer = session.get(answer.links["next"]["url"], timeout=5)
            yield answer


def ids(url: str, **params: str | int) -> list[int]:
    """The ids of a whole listing, in its order."""
    return [repo["id"] for answer in follow(url, **params) for repo in answer.json()]


@pytest.fixture
def seven() -> Repos:
    """Seven repositories, in no order."""
    return [repo(number) for number in (3, 1, 7, 5, 2, 6, 4)]


@pytest.mark.parametrize("per_page", [1, 2, 3, 6, 7, 8, 100])
def test_following_next_lists_every_repository_once(seven: Repos, per_page: int) -> None:
    with GitHubServer({"acme": seven}) as server:
        assert ids(f"{server.url}/orgs/acme/repos", per_page=per_page) == [7, 6, 5, 4, 3, 2, 1]
        assert len(server.requests) == -(-7 // per_page)


@pytest.mark.parametrize(
    ("params", "size"),
    [({}, 30), ({"per_page": "50"}, 50), ({"per_page": "500"}, 100), ({"per_page": "0"}, 30), ({"per_page": "x"}, 30)],
)
def test_a_page_has_30_repositories_unless_asked_and_never_more_than_100(params: dict[str, str], size: int) -> None:
    with GitHubServer({"acme": [repo(1, id=number) for number in range(120)]}) as server:
        assert len(next(follow(f"{server.url}/orgs/acme/repos", **params)).json()) == size


@pytest.mark.parametrize(
    ("params", "expected"),
    [
        ({"sort": "updated"}, [1, 2, 3]),
        ({"sort": "updated", "direction": "asc"}, [3, 2, 1]),
        ({"sort": "pushed", "direction": "desc"}, [1, 3, 2]),
        ({"sort": "pushed", "direction": "asc"}, [2, 3, 1]),
        ({"sort": "full_name"}, [3, 1, 2]),
        ({"sort": "full_name", "direction": "desc"}, [2, 1, 3]),
        ({"sort": "created"}, [3, 2, 1]),
        ({"sort": "stars"}, [3, 2, 1]),
    ],
)
def test_the_order_is_the_one_requested(params: dict[str, str], expected: list[int]) -> None:
    repos = [repo(2, pushed_at=None), repo(3, full_name="acme/A"), repo(1, full_name="acme/b")]
    with GitHubServer({"acme": repos}) as server:
        assert ids(f"{server.url}/orgs/acme/repos", **params) == expected


@pytest.mark.parametrize(
    ("kind", "expected"),
    [("all", [3, 2, 1]), ("public", [3, 1]), ("private", [2]), ("forks", [3]), ("sources", [2, 1])],
)
def test_the_type_narrows_the_listing(kind: str, expected: list[int]) -> None:
    with GitHubServer({"acme": [repo(1), repo(2, private=True), repo(3, fork=True)]}) as server:
        assert ids(f"{server.url}/orgs/acme/repos", type=kind) == expected


def test_link_leads_to_the_numbered_path_and_keeps_the_other_parameters(seven: Repos) -> None:
    with GitHubServer({"acme": seven}) as server:
        answers = list(follow(f"{server.url}/orgs/acme/repos", sort="updated", direction="desc", per_page=3))
        here = f"{server.url}/organizations/77/repos?sort=updated&direction=desc&per_page=3&page="
        assert [answer.headers["Link"] for answer in answers] == [
            f'<{here}2>; rel="next", <{here}3>; rel="last"',
            f'<{here}1>; rel="prev", <{here}3>; rel="next", <{here}3>; rel="last", <{here}1>; rel="first"',
            f'<{here}2>; rel="prev", <{here}1>; rel="first"',
        ]
        assert [request.path for request in server.requests] == ["/orgs/acme/repos"] + ["/organizations/77/repos"] * 2
        assert server.requests[2].query == {"sort": "updated", "direction": "desc", "per_page": "3", "page": "3"}


def test_a_listing_on_one_page_has_no_link(seven: Repos) -> None:
    with GitHubServer({"acme": seven, "empty": []}) as server:
        assert "Link" not in next(follow(f"{server.url}/orgs/acme/repos")).headers
        empty = next(follow(f"{server.url}/orgs/empty/repos"))
        assert (empty.status_code, empty.json(), "Link" in empty.headers) == (200, [], False)


def test_users_are_found_under_users_only_and_organisations_under_both(seven: Repos) -> None:
    with GitHubServer({"acme": seven}, users={"octocat": [repo(9), repo(8)]}) as server:
        assert ids(f"{server.url}/users/octocat/repos", per_page=1) == [9, 8]
        assert server.requests[-1].path.startswith("/user/")
        assert ids(f"{server.url}/users/ACME/repos", per_page=5) == [7, 6, 5, 4, 3, 2, 1]
        assert server.requests[-1].path == "/user/77/repos"
        assert next(follow(f"{server.url}/orgs/octocat/repos")).status_code == 404


@pytest.mark.parametrize("path", ["/orgs/nobody/repos", "/users/nobody/repos", "/organizations/1/repos", "/orgs/acme"])
def test_what_does_not_exist_is_not_found(path: str, seven: Repos) -> None:
    with GitHubServer({"acme": seven}) as server:
        answer = next(follow(f"{server.url}{path}"))
        assert (answer.status_code, answer.json()["message"]) == (404, "Not Found")


def test_a_missing_or_wrong_token_is_refused_where_one_is_needed(seven: Repos) -> None:
    right = "right"
    with GitHubServer({"acme": seven}, token=right) as server:
        url = f"{server.url}/orgs/acme/repos"
        answers = [
            requests.get(url, headers=headers, timeout=5)
            for headers in ({}, {"Authorization": "Bearer wrong"}, {"authorization": f"Bearer {right}"})
        ]
        assert [answer.status_code for answer in answers] == [401, 401, 200]
        assert answers[1].json() == {
            "message": "Bad credentials",
            "documentation_url": "https://docs.github.com/rest",
            "status": "401",
        }
        assert server.requests[1].headers["AUTHORIZATION"] == "Bearer wrong"


def test_any_token_is_accepted_where_none_is_needed(seven: Repos) -> None:
    with GitHubServer({"acme": seven}) as server:
        headers = {"Authorization": "Bearer whatever"}
        assert requests.get(f"{server.url}/orgs/acme/repos", headers=headers, timeout=5).status_code == 200


def test_behind_a_prefix_every_path_carries_it(seven: Repos) -> None:
    with GitHubServer({"acme": seven}, url_prefix="/api/v3") as server:
        assert server.url.endswith("/api/v3")
        assert ids(f"{server.url}/orgs/acme/repos", per_page=4) == [7, 6, 5, 4, 3, 2, 1]
        assert server.requests[1].path == "/api/v3/organizations/77/repos"
        outside = server.url.removesuffix("/api/v3")
        assert next(follow(f"{outside}/orgs/acme/repos")).status_code == 404


def test_the_world_moves_on_between_requests(seven: Repos) -> None:
    with GitHubServer({"acme": seven}) as server:
        before = next(follow(f"{server.url}/orgs/acme/repos"))
        server.repos["acme"] = [repo(8), *seven]
        after = next(follow(f"{server.url}/orgs/acme/repos"))
        assert [len(before.json()), len(after.json())] == [7, 8]
        assert before.headers["ETag"] != after.headers["ETag"]
        del server.repos["acme"]
        assert next(follow(f"{server.url}/orgs/acme/repos")).status_code == 404


def test_every_answer_tells_the_rate_limit(seven: Repos) -> None:
    with GitHubServer({"acme": seven}) as server:
        first, second = (next(follow(f"{server.url}/orgs/acme/repos")).headers for _ in range(2))
        assert [first["X-RateLimit-Limit"], first["X-RateLimit-Remaining"]] == ["5000", "4999"]
        assert second["X-RateLimit-Remaining"] == "4998"
        assert 0 < int(first["X-RateLimit-Reset"]) - time.time() <= 3600
        assert first["Content-Type"] == "application/json; charset=utf-8"


def test_intercept_answers_in_place_of_the_server(seven: Repos) -> None:
    def refuse_the_first(handler: GitHubHandler, number: int) -> bool:
        if number == 1:
            handler.answer(429, {"message": "Slow down"}, {"Retry-After": "1"})
        elif number == 2:
            handler.close_connection = True
        return number < 3

    with GitHubServer({"acme": seven}, intercept=refuse_the_first) as server:
        url = f"{server.url}/orgs/acme/repos"
        refused = requests.get(url, timeout=5)
        assert (refused.status_code, refused.headers["Retry-After"]) == (429, "1")
        with pytest.raises(requests.ConnectionError):
            requests.get(url, timeout=5)
        assert requests.get(url, timeout=5).status_code == 200
        assert len(server.requests) == 3


def test_an_error_in_intercept_fails_the_test_around_it(seven: Repos) -> None:
    def mistaken(handler: GitHubHandler, number: int) -> bool:
        raise ZeroDivisionError

    with (
        pytest.raises(ZeroDivisionError),
        GitHubServer({"acme": seven}, intercept=mistaken) as server,
        pytest.raises(requests.ConnectionError),
    ):
        requests.get(f"{server.url}/orgs/acme/repos", timeout=5)


def test_the_end_of_the_block_ends_kept_connections_and_threads(
    seven: Repos, capfd: pytest.CaptureFixture[str]
) -> None:
    threads = active_count()
    with requests.Session() as session:
        with GitHubServer({"acme": seven}) as server:
            for _ in range(3):
                session.get(f"{server.url}/orgs/acme/repos", timeout=5)
            assert active_count() == threads + 2  # one that listens, and one for the one connection
        assert active_count() == threads
        with pytest.raises(requests.ConnectionError):
            session.get(f"{server.url}/orgs/acme/repos", timeout=5)
    assert capfd.readouterr().err == ""


@needs_recordings
def test_jenkinsci_is_paged_as_it_was_recorded() -> None:
    with GitHubServer({"jenkinsci": jenkinsci()[::-1]}) as server:
        answers = list(follow(f"{server.url}/orgs/jenkinsci/repos", per_page=100, sort="created", direction="asc"))
        recorded = jenkinsci_pages()
        assert [[repo["id"] for repo in answer.json()] for answer in answers] == [
            [repo["id"] for repo in page["body"]] for page in recorded
        ]
        assert answers[4].json() == recorded[4]["body"]
        # The recording did not ask for an order: all else in the header is the same.
        assert [answer.headers["Link"].replace("&sort=created&direction=asc", "") for answer in answers] == [
            page["headers"]["Link"].replace("https://api.github.com", server.url) for page in recorded
        ]
