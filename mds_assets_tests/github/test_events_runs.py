"""Promises of the event tables as a whole: GitHub over real HTTP, dlt, DuckDB, Polars and Dagster.

Over recorded answers, all of it equals a plain-Python oracle, in one run of a range or in many of a day.
"""

import random
from collections import Counter
from collections.abc import Collection, Iterable
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from statistics import median
from typing import Any

import pytest
from dagster import DagsterInstance, ExecuteInProcessResult

import mds_assets.stack.settings as stack_settings
from mds_assets.defs.github import raw
from mds_assets.stack.partitions import days_between
from mds_assets_tests.github import oracle_events as oracle
from mds_assets_tests.github.oracle_events import Days, Observation, Stars
from mds_assets_tests.github.project import Project, evaluations, failure, metadata
from mds_assets_tests.github.recordings import Events, needs_recordings, quicwg, sliced_quicwg
from mds_assets_tests.github.server import GitHubServer
from mds_assets_tests.github.sessions import MARCH, TOKEN, serving
from mds_assets_tests.github.test_connection import answers
from mds_assets_tests.github.test_raw import repo

RAW = frozenset({"raw/github_pushes", "raw/github_issues", "raw/github_stars", "raw/github_inventory"})
STAGING = frozenset(
    f"staging/{name}"
    for name in ("pushes", "issues", "stars", "inventory", "latest_issues", "pushers", "authors", "repositories")
)
FLOW = frozenset({"marts/push_activity", "marts/issue_flow"})
OF_EVENTS = RAW | STAGING | FLOW | {"marts/contributors", "marts/organisation"}
# Without stars, which a range of the past reads in many pages, and what reads them.
OF_FLOW = frozenset({"raw/github_pushes", "raw/github_issues", "staging/pushes", "staging/issues"}) | FLOW

YESTERDAY = datetime.now(UTC).date() - timedelta(days=1)
LOOKBACK_DAYS = 7

Rows = list[tuple[Any, ...]]


# --- what the lake must hold


def expected(events: Events, landed: Collection[date], gained: dict[date, int]) -> Days:
    """Staging of these days."""
    observed_at = datetime.now(UTC)
    repos = {each["full_name"]: each for each in events.repos}
    pushes = oracle.staged_pushes(
        Observation("quicwg", observed_at, each, repos[each["repository"]]) for each in events.activity
    )
    issues = oracle.staged_issues(oracle.observed_issues(events.issues, "quicwg", observed_at, landed))
    changed = [each for each in events.repos if each["pushed_at"] >= str(min(landed))]
    stars = {day: [Stars("quicwg", each["id"], gained.get(day, 0)) for each in changed] for day in landed}
    return Days({day: rows for day, rows in pushes.items() if day in landed}, issues, {}, {}, stars)


def in_order(rows: Iterable[tuple[Any, ...]]) -> Rows:
    """Rows sorted by their columns up to the sixth, as text."""
    return sorted(rows, key=lambda row: [str(cell) for cell in row[:6]])


def assert_staged(project: Project, days: Days) -> None:
    """Staging equals the oracle's, `observed_at` apart, which differs from run to run."""
    for table, by_day in (("staging/pushes", days.pushes), ("staging/issues", days.issues)):
        rows = in_order((*row[:-2], row[-1]) for row in project.rows(table))
        assert rows == in_order((*row[:-1], day) for day, of_day in by_day.items() for row in of_day)


def assert_flow(project: Project, days: Days, landed: Collection[date], as_of: Iterable[date]) -> None:
    """The marts by date equal the oracle's on each of these as-of days."""
    for day in as_of:
        pushes = oracle.push_activity(days.pushes, day, LOOKBACK_DAYS, landed)
        assert [row[:-1] for row in project.rows("marts/push_activity", day)] == pushes
        issues = oracle.issue_flow(days.issues, day, LOOKBACK_DAYS, landed)
        assert [row[:-1] for row in project.rows("marts/issue_flow", day)] == issues


def assert_people(project: Project, days: Days, as_of: Iterable[date]) -> None:
    """The marts of the window as a whole equal the oracle's on each of these as-of days."""
    for day in as_of:
        people = oracle.contributors(days, day, LOOKBACK_DAYS)
        assert [row[:-1] for row in project.rows("marts/contributors", day)] == sorted(people)
        state = oracle.organisation(days, day, LOOKBACK_DAYS)
        assert [row[:-1] for row in project.rows("marts/organisation", day)] == state


GAINED = {day: day.day % 3 for day in MARCH}


def serving_stars(events: Events) -> GitHubServer:
    """A server with recorded events, and stars."""
    return serving(events, stars={each["full_name"]: GAINED for each in events.repos}, token=TOKEN)


# --- recorded answers


@pytest.mark.slow(8)
def test_march_2023_in_one_run_equals_the_oracle_day_by_day(tmp_path: Path):
    events = sliced_quicwg()
    with serving_stars(events) as server:
        project = Project(tmp_path, server.url, ["quicwg"], TOKEN, OF_EVENTS)
        result = project.materialise(MARCH[0], MARCH[-1])
        requests = Counter(request.path.rpartition("/")[-1] for request in server.requests)
    days = expected(events, MARCH, GAINED)
    assert_staged(project, days)
    assert_flow(project, days, MARCH, MARCH)
    assert_people(project, days, MARCH)

    pushes, issues = project.rows("staging/pushes"), project.rows("staging/issues")
    assert (len(pushes), len({row[2] for row in pushes}), len({row[9] for row in pushes})) == (31, 3, 7)
    assert not any(row[10] for row in pushes)  # is_bot
    assert Counter((row[4], row[10]) for row in issues if not (row[4] == "closed" and row[13])) == {
        ("opened", False): 34,
        ("closed", False): 25,
        ("opened", True): 29,
        ("merged", True): 30,
        ("closed", True): sum(row[4] == "closed" and row[10] and row[13] is None for row in issues),
    }
    hours = [(row[5] - row[11]) / timedelta(hours=1) for row in issues if row[4] == "merged"]
    assert round(median(hours), 1) == 85.7

    # Four repositories were pushed to since, each with one page of pushes.
    assert (requests["repos"], requests["activity"], requests["issues"]) == (1, 4, 5)
    of_table = {name: metadata(result, f"raw/github_{name}", MARCH[0])["requests"] for name in ("pushes", "issues")}
    assert of_table["pushes"] - 4 + of_table["issues"] - 5 <= 1  # the list counts for whichever needed it first
    assert {name for name, check in evaluations(result).items() if "reconciles" in name and not check.passed} <= {
        "staging/inventory reconciles",
        "marts/organisation reconciles",
    }


@pytest.mark.slow(10)
def test_single_days_in_any_order_and_some_twice_equal_the_oracle(tmp_path: Path):
    events = sliced_quicwg()
    landed = MARCH[5:10]
    order = [*landed, landed[2]]
    random.Random(4).shuffle(order)
    tables = RAW - {"raw/github_inventory", "raw/github_stars"} | {
        "staging/pushes", "staging/issues", "staging/pushers", "staging/authors"
    } | FLOW | {"marts/contributors"}  # fmt: skip
    with serving_stars(events) as server, DagsterInstance.ephemeral() as instance:
        project = Project(tmp_path, server.url, ["quicwg"], TOKEN, tables)
        for day in order:
            project.materialise(day, layers=["raw", "staging"], instance=instance)
        project.materialise(landed[0], landed[-1], layers=["marts"], instance=instance)
    days = expected(events, landed, {})
    assert_staged(project, days)
    assert_flow(project, days, landed, landed)
    for day in landed:
        assert [row[:-1] for row in project.rows("marts/contributors", day)] == sorted(
            oracle.contributors(days, day, LOOKBACK_DAYS)
        )


@needs_recordings
@pytest.mark.slow(15)
def test_2021_in_one_run_equals_the_oracle(tmp_path: Path):
    events, landed = quicwg(), days_between(date(2021, 1, 1), date(2021, 12, 31))
    with serving(events) as server:
        project = Project(tmp_path, server.url, ["quicwg"], TOKEN, OF_FLOW)
        project.materialise(landed[0], landed[-1], layers=["raw", "staging"])
        project.materialise(landed[-31], landed[-1], layers=["marts"])
    days = expected(events, landed, {})
    assert sum(map(len, days.issues.values())) > 1_000
    assert_staged(project, days)
    assert_flow(project, days, landed, landed[-31:])


# --- late truth


def world(events: Events, moment: datetime) -> Events:
    """What GitHub knew at this moment."""
    until = f"{moment:%Y-%m-%dT%H:%M:%SZ}"
    activity = [each for each in events.activity if each["timestamp"] <= until]
    pushed = {each["repository"]: each["timestamp"] for each in activity}  # oldest first
    repos = [
        each | {"pushed_at": pushed.get(each["full_name"]), "updated_at": each["created_at"]} for each in events.repos
    ]
    return Events(repos, [_known(each, until) for each in events.issues if each["created_at"] <= until], activity)


def _known(item: dict[str, Any], until: str) -> dict[str, Any]:
    """An issue or pull request as GitHub described it before it was closed, if that came later."""
    if not item["closed_at"] or item["closed_at"] <= until:
        return item
    known: dict[str, Any] = item | {"state": "open", "closed_at": None}
    pull_request: dict[str, Any] | None = item.get("pull_request")
    return known | {"pull_request": pull_request | {"merged_at": None}} if pull_request else known


def move(server: GitHubServer, events: Events, moment: datetime) -> None:
    """Make the server's world the one of this moment."""
    known = world(events, moment)
    server.repos, server.activity, server.issues = {"quicwg": known.repos}, known.by_repository(), known.issues
    server.now = lambda: moment


def after(day: date, minutes: int = 5) -> datetime:
    """This many minutes after the day has ended."""
    return datetime.combine(day + timedelta(days=1), time(), UTC) + timedelta(minutes=minutes)


def facts(project: Project) -> tuple[Rows, Rows]:
    """All pushes, and of all issues what cannot change later: which event, when, and of what."""
    return [row[:-2] for row in project.rows("staging/pushes")], [
        (*row[:7], row[10], row[11], row[-1]) for row in project.rows("staging/issues")
    ]


@pytest.mark.slow(6)
def test_days_run_as_they_end_equal_the_same_days_run_a_month_later(tmp_path: Path):
    events, days = sliced_quicwg(), MARCH[9:13]
    with serving(events) as server, DagsterInstance.ephemeral() as instance:
        daily = Project(tmp_path / "daily", server.url, ["quicwg"], TOKEN, OF_FLOW)
        for day in days:
            move(server, events, after(day))
            daily.materialise(day, instance=instance)
        move(server, events, after(days[-1] + timedelta(days=30)))
        late = Project(tmp_path / "late", server.url, ["quicwg"], TOKEN, OF_FLOW)
        late.materialise(days[0], days[-1])
    assert facts(daily) == facts(late)
    assert {row[4] for row in facts(daily)[1]} == {"opened", "closed", "merged"}
    for table in ("marts/push_activity", "marts/issue_flow"):
        assert daily.rows(table, days[-1]) == late.rows(table, days[-1])


@pytest.mark.slow(8)
def test_what_a_later_run_can_no_longer_see(tmp_path: Path):
    """An issue closed a second time, stars given back, and a repository that was deleted."""
    day = MARCH[6]
    item = sliced_quicwg().issues[0] | {"created_at": f"{day}T01:00:00Z", "closed_at": f"{day}T02:00:00Z"}
    moment = f"{day}T03:00:00Z"
    repos = [repo(number, full_name=f"quicwg/{number}", name=str(number), pushed_at=moment) for number in (1, 2)]
    pushes = {each["full_name"]: [{"id": each["id"], "timestamp": moment, "activity_type": "push"}] for each in repos}
    tables = RAW - {"raw/github_inventory"} | {"staging/pushes", "staging/issues", "staging/stars"}
    with GitHubServer(
        {"quicwg": repos}, activity=pushes, issues=[item], stars={"quicwg/1": {day: 3}, "quicwg/2": {day: 1}}
    ) as server:
        daily = Project(tmp_path / "daily", server.url, ["quicwg"], TOKEN, tables)
        daily.materialise(day)
        server.repos = {"quicwg": repos[:1]}
        server.issues = [item | {"closed_at": f"{day + timedelta(days=3)}T02:00:00Z"}]
        server.stars = {"quicwg/1": {day: 1}}
        late = Project(tmp_path / "late", server.url, ["quicwg"], TOKEN, tables)
        late.materialise(day)
        daily.materialise(day)  # once more, over what raw holds already

    def seen(project: Project) -> tuple[set[str], set[int], dict[int, int]]:
        events = {row[4] for row in project.rows("staging/issues", day)}
        pushed = {row[2] for row in project.rows("staging/pushes", day)}
        return events, pushed, {row[1]: row[5] for row in project.rows("staging/stars", day)}

    assert seen(late) == ({"opened"}, {1}, {1: 1})
    # Raw keeps what was there; only stars are counted anew.
    assert seen(daily) == ({"opened", "closed"}, {1, 2}, {1: 1, 2: 1})


def test_pushes_on_both_sides_of_midnight_each_land_on_their_own_date(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    day, following = MARCH[6], MARCH[7]
    moments = [f"{day}T23:50:00Z", f"{following}T00:03:00Z", f"{following}T09:00:00Z"]
    pushes = [
        {"id": number, "timestamp": moment, "activity_type": "push", "actor": {"login": "ada", "type": "User"}}
        for number, moment in enumerate(moments)
    ]
    now = after(day)

    class Clock(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> datetime:
            return now

    monkeypatch.setattr(raw, "datetime", Clock)
    tables = frozenset({"raw/github_pushes", "staging/pushes", "marts/push_activity"})
    with GitHubServer({"quicwg": []}, now=lambda: now) as server:
        project = Project(tmp_path, server.url, ["quicwg"], TOKEN, tables)

        def run(end: int) -> list[tuple[date, int | None]]:
            server.activity = {"quicwg/one": pushes[:end]}
            changed = {"full_name": "quicwg/one", "name": "one", "pushed_at": moments[end - 1]}
            server.repos = {"quicwg": [repo(1, **changed)]}
            requested = now.date() - timedelta(days=1)
            project.materialise(requested)
            return [(row[1], row[2]) for row in project.rows("marts/push_activity", requested)[-2:]]

        assert run(2) == [(day - timedelta(days=1), None), (day, 1)]
        (early,) = (project.lake / "raw/github_pushes" / f"day={following}").iterdir()
        assert early.name.endswith(".early.parquet")
        now = after(following)
        assert run(3) == [(day, 1), (following, 2)]
    assert [row[1] for row in project.rows("staging/pushes")] == [0, 1, 2]
    assert len(project.rows("raw/github_pushes", following)) == 3  # the early one twice


# --- resuming


def paths(server: GitHubServer, ending: str) -> list[str]:
    """The requests so far whose path has this end, and forgets them."""
    requested = [request.path for request in server.requests if request.path.endswith(ending)]
    server.requests.clear()
    return requested


@pytest.mark.slow(7)
def test_a_range_requests_only_days_that_no_run_of_the_same_organisations_has_landed(tmp_path: Path):
    events, days = sliced_quicwg(), MARCH[:8]
    tables = frozenset({"raw/github_pushes", "raw/github_issues"})
    with serving(events) as server, DagsterInstance.ephemeral() as instance:
        project = Project(tmp_path, server.url, ["quicwg"], TOKEN, tables)

        def landed() -> list[int]:
            return [len(list((project.lake / "raw/github_pushes" / f"day={day}").glob("*.parquet"))) for day in days]

        project.materialise(days[0], days[2], instance=instance)
        project.materialise(days[6], days[7], instance=instance)
        server.requests.clear()
        project.materialise(days[0], days[-1], instance=instance)
        (searched,) = {request.query["q"].rpartition(":closed")[0] or request.query["q"] for request in server.requests
                       if "created" in request.query.get("q", "") and "is:issue" in request.query["q"]}  # fmt: skip
        assert f"created:{days[3]}T00:00:00Z..{days[5]}T23:59:59Z" in searched
        assert len(paths(server, "/activity")) == 4
        assert landed() == [1] * 8

        again = project.materialise(days[0], days[-1], instance=instance)
        assert server.requests == []
        assert landed() == [1] * 8
        assert metadata(again, "raw/github_pushes", days[-1])["requests"] == 0

        project.materialise(days[1], instance=instance)
        assert len(paths(server, "/activity")) == 4
        assert landed() == [1, 2, *[1] * 6]

        server.repos["other"] = []
        both = Project(tmp_path, server.url, ["quicwg", "other"], TOKEN, tables)
        both.materialise(days[0], days[-1], instance=instance)
        assert len(paths(server, "/activity")) == 4
        assert landed() == [2, 3, *[2] * 6]
        both.materialise(days[0], days[-1], instance=instance)
        assert server.requests == []
        # Fewer organisations than were landed are covered too.
        project.materialise(days[0], days[-1], instance=instance)
        assert server.requests == []


# --- tables that are skipped


def crowd() -> dict[str, list[dict[str, Any]]]:
    """An organisation of 300 repositories, all active yesterday, with stars."""
    moment = f"{YESTERDAY}T10:00:00Z"
    return {"acme": [repo(number, updated_at=moment, pushed_at=moment) for number in range(1, 301)]}


CLASSIC = ("marts/repos_per_language", "marts/daily_activity", "marts/repo_growth", "marts/language_trend")
SKIPPED = ("raw/github_pushes", "raw/github_stars")
BELOW = (
    *("staging/pushes", "staging/stars", "staging/pushers"),
    *("marts/push_activity", "marts/contributors", "marts/organisation"),
)


def test_without_a_token_tables_beyond_the_rate_limit_are_skipped_and_the_rest_runs(tmp_path: Path):
    with GitHubServer(crowd()) as server, DagsterInstance.ephemeral() as instance:
        server.rate_limit = 60
        project = Project(tmp_path, server.url, ["acme"], tables=frozenset())
        result = project.materialise(YESTERDAY, instance=instance)
        assert not paths(server, "/activity")
    assert result.success
    for table in (*CLASSIC, "raw/github_issues", "raw/github_inventory", "staging/inventory", "marts/issue_flow"):
        assert project.days(table) == [YESTERDAY], table
    for table in (*SKIPPED, *BELOW):
        assert not (project.lake / table).exists(), table
    checks = evaluations(result)
    assert checks
    assert not [name for name, check in checks.items() if check.passed and name.split()[0] in (*SKIPPED, *BELOW)]
    observed = [event for event in result.all_events if event.event_type_value == "ASSET_OBSERVATION"]
    reasons = {
        event.asset_key.to_user_string(): str(event.asset_observation_data.asset_observation.metadata["skipped"].value)
        for event in observed
        if event.asset_key
    }
    assert reasons.keys() == set(SKIPPED)
    assert all("GITHUB_TOKEN" in reason and "\n" not in reason for reason in reasons.values())


@pytest.mark.slow(6)
def test_without_a_token_the_command_succeeds_and_says_in_one_line_what_it_skipped(tmp_path: Path):
    with GitHubServer(crowd()) as server:
        server.rate_limit = 60
        project = Project(tmp_path, server.url, ["acme"], tables=frozenset())
        ended = project.command("mds", "run", "--days", "1")
    assert ended.returncode == 0, ended.stderr
    (line,) = [line for line in ended.stdout.splitlines() if "GITHUB_TOKEN" in line]
    assert line.startswith("Skipped raw/github_pushes, raw/github_stars and everything downstream: ")
    assert ended.stdout.count("Skip") == 1
    assert not ended.stderr
    assert "marts/daily_activity" in ended.stdout


def test_an_api_version_without_star_history_skips_stars_alone(tmp_path: Path):
    with serving(sliced_quicwg()) as server:
        project = Project(tmp_path, server.url, ["quicwg"], TOKEN, OF_EVENTS, api_version="2022-11-28")
        result = project.materialise(MARCH[6], MARCH[7])
    assert result.success
    assert not (project.lake / "raw/github_stars").exists()
    assert not (project.lake / "marts/organisation").exists()
    for table in ("staging/pushes", "staging/issues", "marts/push_activity", "marts/issue_flow", "marts/contributors"):
        assert project.days(table) == MARCH[6:8]
    (reason,) = (
        event.asset_observation_data.asset_observation.metadata["skipped"].value
        for event in result.all_events
        if event.event_type_value == "ASSET_OBSERVATION"
    )
    assert reason == "GITHUB_API_VERSION='2022-11-28' has no star history: set 2026-03-10 or later."


# --- private repositories


def secret_world() -> GitHubServer:
    """A public and two private repositories with a push, an issue and a star each; the last cannot be read."""
    day = f"{YESTERDAY}T10:00:00Z"
    names = {1: "open-house", 2: "hush-project", 3: "hush-ruin"}
    repos = [
        repo(number, name=name, full_name=f"acme/{name}", updated_at=day, pushed_at=day, private=number > 1,
             visibility="private" if number > 1 else "public", default_branch="main")
        for number, name in names.items()
    ]  # fmt: skip
    pushes = {
        f"acme/{name}": [
            {"id": number, "timestamp": day, "activity_type": "push", "ref": f"refs/heads/{name}",
             "actor": {"login": f"{name}-author", "type": "User"}}
        ]
        for number, name in names.items()
    }  # fmt: skip
    issues = [
        sliced_quicwg().issues[0]
        | {"id": number, "number": number, "title": f"{name} broke", "created_at": day, "closed_at": day}
        | {"repository_url": f"https://api.github.com/repos/acme/{name}", "user": {"login": f"{name}-author"}}
        for number, name in names.items()
    ]
    stars = {f"acme/{name}": {YESTERDAY: 1} for name in names.values()}

    def intercept(handler: Any, number: int) -> bool:
        is_gone = "hush-ruin/" in handler.path
        return is_gone and bool(answers(404, {"message": "no hush-ruin"})(handler) or True)

    return GitHubServer({"acme": repos}, activity=pushes, issues=issues, stars=stars, intercept=intercept)


def previewed(result: ExecuteInProcessResult) -> dict[str, Any]:
    """The rows that the event log shows, by table."""
    return {
        event.asset_key.to_user_string(): event.materialization.metadata["preview"].value
        for event in result.get_asset_materialization_events()
        if "preview" in event.materialization.metadata and event.asset_key
    }


@pytest.mark.slow(5)
def test_with_a_token_the_event_log_shows_rows_of_public_repositories_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    with secret_world() as server, DagsterInstance.ephemeral() as instance:
        # As where GITHUB_TOKEN is set in the environment: the project's own settings are read once, without it.
        monkeypatch.setattr(stack_settings, "given_secrets", lambda _: [TOKEN])
        project = Project(tmp_path, server.url, ["acme"], TOKEN, frozenset(), previews=None)
        result = project.materialise(YESTERDAY, instance=instance)
        logged = "".join(repr(entry) for entry in instance.all_logs(result.run_id))
    for table in ("raw/github_pushes", "staging/pushes", "staging/stars", "staging/inventory", "marts/repo_growth"):
        assert len(previewed(result)[table].records) == 1, table
    assert "open-house" in logged
    assert "hush" not in logged
    assert "hush" not in caplog.text
    assert "(private, id 3)" in logged  # the warning about the one that cannot be read
    assert len(project.rows("staging/issues")) == 6


@pytest.mark.parametrize(("status", "path"), [(403, "hush-project/activity"), (200, "hush-project/stargazers")])
def test_an_error_about_a_private_repository_does_not_name_it(tmp_path: Path, status: int, path: str):
    """GitHub's own words are no exception."""
    with secret_world() as server, DagsterInstance.ephemeral() as instance:
        refused = answers(status, {"message": "acme/hush-project is not for you"})
        server.intercept = lambda handler, _: path in handler.path and bool(refused(handler) or True)
        tables = frozenset({"raw/github_pushes", "raw/github_stars"})
        project = Project(tmp_path, server.url, ["acme"], TOKEN, tables)
        result = project.materialise(YESTERDAY, instance=instance, raise_on_error=False)
        logged = "".join(repr(entry) for entry in instance.all_logs(result.run_id))
    assert "(private, id 2)" in failure(result)
    assert "hush" not in logged


def test_a_rule_that_a_private_issue_breaks_is_reported_without_its_name(tmp_path: Path):
    with secret_world() as server, DagsterInstance.ephemeral() as instance:
        for issue in server.issues:
            issue["closed_at"] = f"{YESTERDAY}T09:00:00Z"  # before it was opened
        tables = frozenset({"raw/github_issues", "staging/issues"})
        project = Project(tmp_path, server.url, ["acme"], TOKEN, tables)
        result = project.materialise(YESTERDAY, instance=instance, raise_on_error=False)
        logged = "".join(repr(entry) for entry in instance.all_logs(result.run_id))
        broken = project.verdicts("staging/issues")[str(YESTERDAY)]
    assert not broken.passed
    assert f"day={YESTERDAY}, org=acme, number=2, event=closed" in str(broken.description)
    assert "hush" not in logged


def test_previews_that_are_allowed_may_show_private_rows(tmp_path: Path):
    with secret_world() as server:
        tables = frozenset({"raw/github_pushes", "staging/pushes"})
        project = Project(tmp_path, server.url, ["acme"], TOKEN, tables, previews=3)
        result = project.materialise(YESTERDAY)
    names = [record.data["repo_name"] for record in previewed(result)["staging/pushes"].records]
    assert names == ["open-house", "hush-project"]
