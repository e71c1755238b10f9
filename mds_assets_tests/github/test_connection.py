"""Promises of a request to GitHub: retried where that helps, waited for as GitHub asks, else refused in one line."""

import logging
import re
import socket
import struct
import time
from collections.abc import Callable
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import duckdb
import pytest

from mds_assets.defs.github.raw import ACTIVE_AT, GITHUB_REPOS
from mds_assets.github.client import GitHub
from mds_assets.github.errors import GitHubError
from mds_assets.stack.landing.days import Days
from mds_assets.stack.landing.load import land
from mds_assets_tests.github.server import GitHubHandler, GitHubServer
from mds_assets_tests.github.test_client import DAY, Found, crawl, repo

TOKEN = "ghp_1234567890abcdefSECRET"
WORLD = [repo(number, "02T10:00", None) for number in range(1, 151)]  # two pages

Fault = Callable[[GitHubHandler], None]


def answers(status: int, body: Any = None, **headers: str) -> Fault:
    """A fault that answers this; an underscore in a header's name is a hyphen."""
    body = {"message": "said by GitHub"} if body is None else body
    spelt = {"x_ratelimit_remaining": "X-RateLimit-Remaining", "x_ratelimit_reset": "X-RateLimit-Reset"}

    def fault(handler: GitHubHandler) -> None:
        handler.answer(status, body, {spelt.get(name, name.replace("_", "-")): headers[name] for name in headers})

    return fault


def resets(handler: GitHubHandler) -> None:
    """Ends the connection with a TCP reset."""
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    handler.connection.close()
    handler.close_connection = True


def hangs_up(handler: GitHubHandler) -> None:
    """Ends the connection without an answer."""
    handler.close_connection = True


def breaks_off(handler: GitHubHandler) -> None:
    """Sends less than it announced."""
    handler.answer(200, [{"id": 1}], {"Content-Length": "1000"})
    handler.close_connection = True


def sends_half_a_document(handler: GitHubHandler) -> None:
    """Sends truncated JSON, as a proxy does that was itself cut off."""
    half = b'[{"id": 1, "na'
    handler.send_response(200)
    handler.send_header("Content-Type", "application/json; charset=utf-8")
    handler.send_header("Content-Length", str(len(half)))
    handler.end_headers()
    handler.wfile.write(half)


def stalls(handler: GitHubHandler) -> None:
    """Is silent until the client gives up."""
    handler.connection.settimeout(60)
    handler.connection.recv(1)
    handler.close_connection = True


def timeout_for(fault: Fault) -> tuple[float, float]:
    """The seconds a client waits to connect and to read; short only where it has to give up: machines are slow."""
    return (5, 3 if fault is stalls else 60)


def on(numbers: set[int], fault: Fault) -> Callable[[GitHubHandler, int], bool]:
    """An `intercept` that has the fault at these requests."""

    def intercept(handler: GitHubHandler, number: int) -> bool:
        if number in numbers:
            fault(handler)
        return number in numbers

    return intercept


def crawl_with(fault: Fault, at: set[int], **options: Any) -> tuple[Found, GitHubServer]:
    """A crawl of two pages on which the fault happens at these requests."""
    with GitHubServer({"acme": WORLD}, intercept=on(at, fault)) as server:
        return crawl(server, **options), server


PASSING = {
    "500": answers(500),
    "502 with HTML": answers(502, "<html>Bad gateway</html>", Content_Type="text/html"),
    "503": answers(503),
    "a reset": resets,
    "a hang-up": hangs_up,
    "a body that breaks off": breaks_off,
    "half a document": sends_half_a_document,
    "a stall": stalls,
}


@pytest.mark.slow(2)
@pytest.mark.parametrize("fault", PASSING.values(), ids=PASSING)
@pytest.mark.parametrize("at", [{1}, {2}, {1, 2, 3, 5}])
def test_a_failure_that_passes_is_retried_with_growing_waits(fault: Fault, at: set[int]):
    found, server = crawl_with(fault, at, timeout=timeout_for(fault))
    assert len(found.days[DAY]) == 150
    assert found.crawl.requests == len(server.requests) == 2 + len(at)
    waits = [1, 2, 4, 1] if len(at) == 4 else [1]
    for waited, wait in zip(found.waits, waits, strict=True):
        assert wait <= waited <= wait + 1  # and up to a second more, at random


def test_a_failure_that_does_not_pass_ends_after_5_attempts_and_may_be_tried_later():
    with GitHubServer({"acme": []}, intercept=on(set(range(99)), answers(502))) as server:
        with pytest.raises(GitHubError) as error:
            crawl(server)
        assert len(server.requests) == 5
    assert error.value.retryable
    assert_names(error, "502", "said by GitHub", "after 5 attempts", "githubstatus.com")


def test_nothing_listens_is_one_line():
    server = GitHubServer({})
    server.url = "http://127.0.0.1:9"
    with pytest.raises(GitHubError, match=r"GET http://127\.0\.0\.1:9/orgs/acme/repos.*Connection refused") as error:
        crawl(server)
    assert not error.value.retryable


def test_a_host_that_does_not_exist_is_not_asked_twice():
    server = GitHubServer({})
    server.url = "https://no-such-host.invalid"
    with pytest.raises(GitHubError) as error:
        crawl(server)
    # Without any network a resolver may only say that it does not know yet, which may pass.
    if "Temporary failure" not in str(error.value):
        assert not error.value.retryable
    assert_names(error, "no-such-host.invalid", "GITHUB_API_URL")


def test_a_certificate_that_is_not_trusted_is_not_asked_twice():
    with GitHubServer({}) as server:
        server.url = server.url.replace("http:", "https:")  # it does not speak TLS at all
        with pytest.raises(GitHubError) as error:
            crawl(server)
    assert_names(error, "https://127.0.0.1", "GITHUB_API_URL")


def nothing_left(status: int, reset_in: float, **headers: str) -> Fault:
    """The primary rate limit, to be reset so many seconds after the answer."""
    return lambda handler: answers(
        status, x_ratelimit_remaining="0", x_ratelimit_reset=str(int(time.time() + reset_in)), **headers
    )(handler)


LIMITS = {
    "429 with retry-after": (answers(429, retry_after="7"), 7),
    "403 with retry-after": (answers(403, retry_after="7"), 7),
    "retry-after as a date": (
        lambda handler: answers(429, retry_after=format_datetime(datetime.now(UTC) + timedelta(seconds=30)))(handler),
        30,
    ),
    "retry-after before the reset": (nothing_left(403, 600, retry_after="7"), 7),
    "the primary limit": (nothing_left(403, 300), 300),
    "the primary limit by 429": (nothing_left(429, 300), 300),
    "a reset that is past": (nothing_left(403, -300), 1),
    "the secondary limit": (answers(403, {"message": "You have exceeded a secondary rate limit."}), 60),
    "429 without more": (answers(429), 60),
    "429 with nonsense": (answers(429, retry_after="soon"), 60),
}


@pytest.mark.parametrize(("fault", "wait"), LIMITS.values(), ids=LIMITS)
def test_a_rate_limit_is_waited_for_as_github_asks(fault: Fault, wait: float):
    found, server = crawl_with(fault, {2})
    assert len(found.days[DAY]) == 150
    assert found.crawl.requests == len(server.requests) == 3
    assert found.waits == [pytest.approx(wait, abs=5)]
    assert found.waits[0] >= wait - 2  # seconds are cut from dates; the test itself takes time


def test_waits_that_github_does_not_set_are_a_minute_and_growing():
    found, _ = crawl_with(answers(403, {"message": "You have exceeded a secondary rate limit"}), {1, 2, 3})
    assert found.waits == [60, 120, 240]


def test_a_reset_is_reckoned_by_githubs_clock_not_by_this_machine():
    ahead = datetime.now(UTC) + timedelta(hours=5)
    headers = {"Date": format_datetime(ahead, usegmt=True), "x_ratelimit_remaining": "0"}

    def fault(handler: GitHubHandler) -> None:
        handler.send_response_only(403)
        for name, value in (headers | {"x_ratelimit_reset": str(int(ahead.timestamp()) + 20)}).items():
            handler.send_header(name.replace("_", "-"), value)
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    assert crawl_with(fault, {1})[0].waits == [pytest.approx(21, abs=1)]


def test_a_wait_beyond_the_bound_ends_the_run_and_says_when_to_come_back():
    with GitHubServer({"acme": []}, intercept=on({1}, answers(429, retry_after="3600"))) as server:
        with pytest.raises(GitHubError) as error:
            crawl(server, max_wait=900)
        assert len(server.requests) == 1
    assert not error.value.retryable
    back = datetime.strptime(re.findall(r"Retry at (.*) UTC", str(error.value))[0] + "Z", "%Y-%m-%d %H:%M:%S%z")
    assert abs(back - datetime.now(UTC) - timedelta(hours=1)) < timedelta(minutes=1)
    assert_names(error, "429", "GITHUB_MAX_WAIT_SECONDS=900", "GITHUB_TOKEN")


def test_waits_of_one_request_are_bounded_together():
    with (
        GitHubServer({"acme": []}, intercept=on(set(range(99)), answers(429, retry_after="300"))) as server,
        pytest.raises(GitHubError, match="Retry"),
    ):
        crawl(server, max_wait=900)
    assert len(server.requests) == 4


def test_a_limit_that_asks_for_no_wait_is_not_requested_ever():
    with GitHubServer({"acme": []}, intercept=on(set(range(99)), answers(429, retry_after="0"))) as server:
        with pytest.raises(GitHubError, match="or 10 attempts"):
            crawl(server)
        assert len(server.requests) == 10


def test_failures_and_limits_do_not_count_against_each_other():
    with GitHubServer({"acme": WORLD}) as server:
        server.intercept = lambda handler, number: (
            on({1, 2, 3, 4, 6}, answers(429, retry_after="9"))(handler, number)
            or on({5, 7, 8, 9}, answers(502))(handler, number)
        )
        assert len(crawl(server).days[DAY]) == 150
        server.intercept = lambda handler, number: (
            on({12, 13, 14, 15}, answers(502))(handler, number) or on({16}, answers(429))(handler, number)
        )
        assert crawl(server).waits[-1] == 60


def test_without_any_wait_nothing_is_retried():
    with pytest.raises(GitHubError, match=r"502 .*, after 1 attempt\."):
        crawl_with(answers(502), {1, 2}, max_wait=0)


@pytest.mark.parametrize("wait", ["9" * 30, "9" * 400])
def test_a_wait_beyond_reason_is_still_a_line(wait: str):
    for fault in (answers(429, retry_after=wait), answers(403, x_ratelimit_remaining="0", x_ratelimit_reset=wait)):
        with pytest.raises(GitHubError, match="Retry at"):
            crawl_with(fault, {1})


def test_the_failures_of_a_user_are_told_as_they_are(tmp_path: Path):
    """GitHub has answered 404 for an organisation of this name before; through dlt too."""
    with GitHubServer({}, users={"octocat": []}, intercept=on({2, 3, 4, 5, 6}, answers(502))) as server:
        github = GitHub(["octocat"], server.url, sleep=lambda _: None)
        days = Days.between(DAY, DAY)
        with (
            duckdb.connect() as con,
            pytest.raises(GitHubError, match=r"/users/octocat/repos.*answered 502") as error,
        ):
            land(github.crawl(days.dates), GITHUB_REPOS, ACTIVE_AT, days, tmp_path, con)
    assert error.value.retryable


REFUSALS = {
    "unauthorized": (answers(401, {"message": "Bad credentials"}), ["401", "Bad credentials", "GITHUB_TOKEN"], 1),
    "forbidden": (answers(403), ["403", "said by GitHub", "Metadata: read"], 1),
    "forbidden with budget left": (answers(403, x_ratelimit_remaining="12"), ["403", "scope `repo`"], 1),
    "single sign-on": (
        answers(403, x_github_sso="required; url=https://github.com/orgs/acme/sso?a=1"),
        ["403", "single sign-on at https://github.com/orgs/acme/sso?a=1"],
        1,
    ),
    "an old server's limit": (
        answers(403, {"message": "abuse detection mechanism"}, retry_after="9999"),
        ["Retry"],
        1,
    ),
    "not found": (answers(404), ["404", "spelling", "renamed", "private", "https://HOST/api/v3"], 2),
    "a wrong version": (answers(400), ["400", "said by GitHub", "GITHUB_API_VERSION"], 1),
    "gone": (answers(410), ["410", "GITHUB_API_URL"], 1),
    "unprocessable": (answers(422), ["422"], 1),
    "an object": (answers(200, {"message": "hello"}), ["200", "dict", "hello", "no list of repositories"], 1),
    "a list of text": (answers(200, ["some text"]), ["200", "some text", "no list of repositories"], 1),
    "something else": (answers(200, [{"login": "octocat"}]), ["updated_at", "pushed_at", "belongs to no day"], 1),
    "nothing": (answers(200, None, Content_Type="application/json"), ["200"], 1),
}


@pytest.mark.parametrize(("fault", "named", "requests"), REFUSALS.values(), ids=REFUSALS)
def test_a_refusal_is_one_line_that_names_everything_and_is_not_retried(fault: Fault, named: list[str], requests: int):
    with GitHubServer({"acme": []}, intercept=on(set(range(99)), fault)) as server:
        with pytest.raises(GitHubError) as error:
            crawl(server, token=TOKEN)
        assert len(server.requests) == requests
    assert not error.value.retryable
    assert_names(error, *named)


def test_html_in_place_of_json_is_refused_with_its_beginning_and_is_not_retried():
    def fault(handler: GitHubHandler) -> None:
        page = b"<html><title>Log in to the proxy</title></html>"
        handler.send_response(200)
        handler.send_header("Content-Type", "text/html")
        handler.send_header("Content-Length", str(len(page)))
        handler.end_headers()
        handler.wfile.write(page)

    with GitHubServer({"acme": []}, intercept=on({1}, fault)) as server:
        with pytest.raises(GitHubError) as error:
            crawl(server)
        assert len(server.requests) == 1
    assert_names(error, "200", "Log in to the proxy", "not JSON", "https://HOST/api/v3")


QUOTES: dict[str, Fault] = {
    "a message": answers(422, {"message": f"you sent {TOKEN}"}),
    "an object": answers(200, {"headers": {"Authorization": TOKEN}}),
    "a list of text": answers(200, [TOKEN]),
    "a field": answers(200, [repo(1, "02T10:00", None, size=TOKEN)]),
    "a redirect": answers(302, Location=f"https://evil.example/{TOKEN}"),
    "a next page": answers(200, [], Link=f'<https://evil.example/{TOKEN}>; rel="next"'),
    "single sign-on": answers(403, x_github_sso=f"required; url=https://github.com/{TOKEN}"),
    "failures": answers(502, {"message": TOKEN}),
    "limits": answers(429, {"message": TOKEN}, retry_after="9"),
}


@pytest.mark.parametrize("fault", QUOTES.values(), ids=QUOTES)
def test_github_that_quotes_the_token_brings_it_into_no_error_and_no_log(
    fault: Fault, caplog: pytest.LogCaptureFixture
):
    with (
        GitHubServer({"acme": []}, intercept=on(set(range(99)), fault)) as server,
        pytest.raises(GitHubError) as error,
    ):
        crawl(server, token=TOKEN)
    assert_names(error, "***")
    assert TOKEN not in caplog.text


def test_a_redirect_on_the_same_host_is_followed_with_the_token():
    """GitHub does so for what was renamed or moved."""
    with GitHubServer({"acme": WORLD}, token=TOKEN) as server:
        moved = answers(301, Location=f"{server.url}/orgs/acme/repos?sort=updated&direction=desc&per_page=100")
        server.intercept = on({1}, moved)
        found = crawl(server, token=TOKEN)
    assert len(found.days[DAY]) == 150
    assert found.crawl.requests == 3


def test_redirects_without_end_are_refused():
    with GitHubServer({"acme": []}) as server:
        server.intercept = on(set(range(99)), lambda handler: answers(302, Location=handler.path)(handler))
        with pytest.raises(GitHubError, match="answered 302"):
            crawl(server)
        assert len(server.requests) == 6


@pytest.mark.parametrize(
    "target", ["http://evil.example\\@HOST/", "http://HOST:99999/", "http://[bad", "//evil.example"]
)
@pytest.mark.parametrize("how", ["next", "redirect"])
def test_a_url_that_only_looks_like_the_host_is_refused(how: str, target: str):
    with GitHubServer({"acme": []}) as server:
        target = target.replace("HOST", server.url.removeprefix("http://") if "evil" in target else "127.0.0.1")
        fault = answers(200, [], Link=f'<{target}>; rel="next"') if how == "next" else answers(302, Location=target)
        server.intercept = on({1}, fault)
        with pytest.raises(GitHubError, match=r"another host|Invalid IPv6 URL"):
            crawl(server)
        assert len(server.requests) == 1


def test_a_certificate_file_that_is_not_there_is_one_line(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/no/such/file")
    server = GitHubServer({})
    server.url = "https://127.0.0.1:9"
    with pytest.raises(GitHubError, match=r"/no/such/file.*certificate settings"):
        crawl(server)


def test_a_client_made_by_hand_refuses_a_token_over_plain_http_too():
    server = GitHubServer({})
    server.url = "http://github.corp"
    with pytest.raises(GitHubError, match="unencrypted"):
        crawl(server, token=TOKEN)


@pytest.mark.parametrize("token", ["", TOKEN])
@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize("how", ["next", "redirect"])
def test_neither_a_next_page_nor_a_redirect_leads_to_another_host_or_scheme(how: str, scheme: str, token: str):
    with GitHubServer({"acme": []}) as elsewhere, GitHubServer({"acme": []}) as server:
        foreign = elsewhere.url if scheme == "http" else server.url.replace("http", "https")
        target = f"{foreign}/orgs/acme/repos"
        fault = answers(200, [], Link=f'<{target}>; rel="next"') if how == "next" else answers(302, Location=target)
        server.intercept = on({1}, fault)
        with pytest.raises(GitHubError) as error:
            crawl(server, token=token)
        assert len(server.requests) == 1
        assert elsewhere.requests == []
    assert_names(error, "another host", target, "GITHUB_API_URL")


def test_a_proxy_of_the_environment_does_not_see_what_goes_to_this_machine(monkeypatch: pytest.MonkeyPatch):
    with GitHubServer({}) as proxy, GitHubServer({"acme": WORLD}) as server:
        monkeypatch.setenv("http_proxy", proxy.url)
        monkeypatch.delenv("no_proxy", raising=False)
        assert len(crawl(server, token=TOKEN).days[DAY]) == 150
        assert proxy.requests == []


def test_each_page_and_each_retry_is_told(caplog: pytest.LogCaptureFixture):
    caplog.set_level(logging.INFO)
    crawl_with(answers(500), {2})
    said = [record.getMessage() for record in caplog.records if record.name.startswith("mds_assets")]
    assert said[0] == "acme: page 1 of 2 by updated_at; 4999 requests left this hour"
    assert re.fullmatch(r"acme: GET http://.*page=2: answered 500 'said by GitHub'; again in [12] s", said[1])
    assert said[2] == "acme: page 2 of 2 by updated_at; 4997 requests left this hour"


def test_an_organisation_without_any_repository_is_a_warning():
    with GitHubServer({"acme": [], "other": WORLD}) as server:
        found = crawl(server, organisations=("acme", "other"))
    assert [warning[:50] for warning in found.crawl.warnings] == ["GITHUB_ORG 'acme': GitHub lists no repository at a"]
    assert found.crawl.listed == {"acme": 0, "other": 200}


def test_a_listing_that_ends_before_its_announced_end_is_a_warning():
    with GitHubServer({"acme": [repo(number, "02T10:00", None) for number in range(1, 351)]}) as server:
        server.intercept = on({2}, answers(200, []))
        found = crawl(server)
    assert len(found.crawl.warnings) == 1
    assert "page 2" in found.crawl.warnings[0]
    assert "4 pages" in found.crawl.warnings[0]


def assert_names(error: pytest.ExceptionInfo[GitHubError], *named: str) -> None:
    """The error is one line that names the organisation, the request and the rest, and never the token."""
    line = str(error.value)
    assert "\n" not in line
    assert TOKEN not in line
    for part in ("GITHUB_ORG 'acme'", *named):
        assert part in line


# --- an API that cannot be reached at all


def nobody_listens() -> str:
    """A URL on this machine that refuses connections."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{taken.getsockname()[1]}"


def test_an_api_that_refuses_the_first_connection_is_given_up_within_seconds_and_not_tried_again():
    waits: list[float] = []
    github = GitHub(["acme"], nobody_listens(), sleep=waits.append)
    with github.session(logging.getLogger(__name__)) as session:
        for attempts in ("3 attempts", "1 attempt"):  # the second table of the run
            with pytest.raises(GitHubError, match=f"Connection refused, after {attempts}\\.") as refused:
                list(session.crawl([DAY]))
            assert not refused.value.retryable
    assert sum(waits) <= 6


def test_a_refused_connection_after_a_response_is_an_outage():
    waits: list[float] = []
    with ExitStack() as running:
        server = running.enter_context(GitHubServer({"acme": WORLD}))
        github = GitHub(["acme"], server.url, sleep=waits.append)
        with github.session(logging.getLogger(__name__)) as session:
            assert list(session.crawl([DAY]))
            running.close()  # the server is gone
            with pytest.raises(GitHubError, match="after 5 attempts") as failed:
                list(session.inventory(logging.getLogger(__name__)))
    assert failed.value.retryable
    assert len(waits) == 4


@pytest.mark.parametrize("max_wait", [0, 2, 5])
def test_the_longest_wait_bounds_retries_too(max_wait: int):
    waits: list[float] = []
    with GitHubServer({"acme": WORLD}) as server:
        server.intercept = on(set(range(99)), answers(502))
        with pytest.raises(GitHubError, match="502") as failed:
            list(GitHub(["acme"], server.url, max_wait=max_wait, sleep=waits.append).crawl([DAY]))
    assert sum(waits) <= max_wait
    assert not failed.value.retryable  # whoever retries it would wait for minutes
