"""What a person gets of the report: the page in a real browser, the newest under one address, and who may be named.

Screenshots go to the folder that MDS_SCREENSHOTS names, else to pytest's temporary folder: look at them.
"""

import os
import shutil
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import polars as pl
import pytest
from dagster import AssetKey
from playwright.sync_api import Browser

from mds_assets.defs.github.report import tables
from mds_assets.github.sample.organisation import as_github, snapshots
from mds_assets.stack.io_managers.polars import polars_schema
from mds_assets.stack.table import Table
from mds_assets_tests.chromium import CLIPPED, UNREADABLE, chromium_browser, needs_chromium, opened
from mds_assets_tests.github.project import Project, metadata
from mds_assets_tests.github.server import GitHubServer

# One worker for all, as they share a lake and a browser.
pytestmark = pytest.mark.slow(90)

EVERYTHING = ("raw", "staging", "marts", "reports")
DAYS = [date(2019, 11, 18), date(2019, 11, 19), date(2019, 11, 20)]
LAST = DAYS[-1]
HOSTILE = """<script>alert("name")</script>{{ 7 * 7 }}"""
HOSTILE_LANGUAGE = "C<i>\"'&amp;"
LONG = "a-name-without-an-end-" * 4
TOKEN = "ghp_1234567890abcdefSECRET"

SAMPLE = as_github(snapshots(int(datetime(2026, 1, 1, tzinfo=UTC).timestamp()))[0])


def repository(
    number: int, active: date, name: str, stars: int, language: str = "Python", created: date = date(2019, 1, 1)
) -> dict[str, Any]:
    """A repository as GitHub shows it on a day on which it was pushed to."""
    return SAMPLE | {
        "id": number,
        "name": name,
        "full_name": f"owner/{name}",
        "language": language,
        "private": True,
        "visibility": "private",
        "stargazers_count": stars,
        "created_at": f"{created}T08:00:00Z",
        "updated_at": f"{active}T10:00:00Z",
        "pushed_at": f"{active}T10:00:00Z",
    }


# What GitHub shows after each day, by organisation.
WORLD: dict[date, dict[str, list[dict[str, Any]]]] = {
    DAYS[0]: {
        "acme": [
            repository(1, DAYS[0], "riser", 10),
            repository(2, DAYS[0], HOSTILE, 50, HOSTILE_LANGUAGE),
            repository(3, DAYS[0], LONG, 7),
        ],
        "other": [],
    },
    DAYS[1]: {"acme": [repository(2, DAYS[1], HOSTILE, 43, HOSTILE_LANGUAGE)], "other": []},
    DAYS[2]: {
        "acme": [repository(1, DAYS[2], "riser", 25), repository(4, DAYS[2], "newcomer", 0, created=DAYS[2])],
        "other": [repository(11, DAYS[2], "lonely", 5, "Go")],
    },
}


@dataclass
class Reported:
    """A lake with reports of two organisations, and GitHub as it was."""

    project: Project
    github: GitHubServer

    def file(self, name: str = "latest.html") -> Path:
        """A file of the report."""
        return self.project.lake / "reports/activity" / name


def make_reports(folder: Path, github: GitHubServer) -> Reported:
    """Each day fetched on its own, as the schedule does, with its report."""
    reported = Reported(Project(folder, github.url, ["acme", "other"]), github)
    for day in DAYS:
        github.repos.update(WORLD[day])
        assert reported.project.materialise(day, layers=EVERYTHING).success
    return reported


@pytest.fixture(scope="module")
def reported(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reported]:
    """Three days of two organisations, to look at and not to change."""
    with GitHubServer({"acme": [], "other": []}) as github:
        yield make_reports(tmp_path_factory.mktemp("reported"), github)


@pytest.fixture
def chromium() -> Iterator[Browser]:
    """A browser for one test."""
    with chromium_browser() as browser:
        yield browser


@pytest.fixture(scope="module")
def screenshots(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = Path(os.environ.get("MDS_SCREENSHOTS") or tmp_path_factory.mktemp("screenshots"))
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@needs_chromium
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [375, 1440])
def test_the_page_is_one_quiet_file_that_fits_the_screen_and_can_be_read(
    reported: Reported, chromium: Browser, screenshots: Path, width: int, scheme: str
):
    page, noted = opened(chromium, reported.file(), width, scheme)
    page.screenshot(path=screenshots / f"report-{width}-{scheme}.png", full_page=True)
    page.eval_on_selector_all("details", "all => all.forEach(one => one.open = true)")
    assert page.evaluate("document.documentElement.scrollWidth") == width
    assert page.evaluate(UNREADABLE) == []
    assert page.evaluate(CLIPPED) == []
    page.screenshot(path=screenshots / f"report-{width}-{scheme}-open.png", full_page=True)
    assert [address for address in noted if address != "data:,"] == [reported.file().as_uri()]
    page.context.close()


@needs_chromium
def test_it_has_no_script_and_a_text_for_each_picture(reported: Reported, chromium: Browser):
    page, _ = opened(chromium, reported.file())
    assert page.locator("script, iframe, object, embed, link:not([href='data:,'])").count() == 0
    assert page.evaluate("[...document.querySelectorAll('*')].flatMap(e => [...e.attributes])"
                         ".filter(a => a.name.startsWith('on')).length") == 0  # fmt: skip
    pictures = page.locator("img, svg, [role=img]")
    assert pictures.count() == 2
    for picture in pictures.all():
        assert len(picture.get_attribute("aria-label") or "") > 40
    page.context.close()


@needs_chromium
def test_its_figures_are_those_of_the_marts(reported: Reported, chromium: Browser):
    page, _ = opened(chromium, reported.file())
    for organisation in ("acme", "other"):
        section = page.locator(f"section#{organisation}")

        def table(title: str, section: Any = section) -> list[list[str]]:
            """The cells below this heading."""
            card = section.locator(".card").filter(has=page.get_by_role("heading", name=title, exact=True))
            rows = card.locator("tbody tr").all()
            return [[cell.strip() for cell in row.locator("th, td").all_text_contents()] for row in rows]

        def mart(name: str, organisation: str = organisation) -> list[Any]:
            rows = reported.project.rows(f"marts/{name}", LAST)
            return [row[1:-1] for row in rows if row[0] == organisation]

        assert table("Repositories pushed to") == [
            [f"{day.day} {day:%b %Y}", str(count) if day in DAYS else "\N{EN DASH}"]
            for day, count, _, _ in mart("daily_activity")
        ]  # three days have no 7-day mean
        languages = mart("repos_per_language")
        languages.sort(key=lambda row: (-row[1], row[0]))
        assert table("Languages") == [[row[0], str(row[2]), str(row[1])] for row in languages]
        growth = {row[1]: row for row in mart("repo_growth")}
        for row in table("Gained most stars"):
            name, _, language = row[0].rpartition(" ")
            assert (language, row[1], row[2]) == (growth[name][3], str(growth[name][4]), f"+{growth[name][5]}")
    acme = page.locator("section#acme")
    assert acme.locator("td.gained").all_text_contents() == ["+15"]
    assert acme.locator("td.lost").all_text_contents() == ["\N{MINUS SIGN}7"]
    page.context.close()


@needs_chromium
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [375, 1440])
def test_the_index_leads_to_every_page(
    reported: Reported, chromium: Browser, screenshots: Path, width: int, scheme: str
):
    page, noted = opened(chromium, reported.file("index.html"), width, scheme)
    page.screenshot(path=screenshots / f"index-{width}-{scheme}.png", full_page=True)
    assert page.evaluate("document.documentElement.scrollWidth") == width
    assert page.evaluate(UNREADABLE) == []
    assert [address for address in noted if address != "data:,"] == [reported.file("index.html").as_uri()]
    links = page.locator(".days a")
    assert links.all_text_contents() == ["20", "19", "18"]
    for number, day in enumerate(reversed(DAYS)):
        links.nth(number).click()
        assert unquote(page.url) == unquote(reported.file(f"day={day}/report.html").as_uri())
        page.go_back()
    page.get_by_role("link", name="other").click()
    assert unquote(page.url) == unquote(reported.file(f"day={LAST}/report.html").as_uri()) + "#other"
    page.context.close()


@needs_chromium
def test_a_hostile_name_is_shown_as_what_it_is(reported: Reported, chromium: Browser):
    page, noted = opened(chromium, reported.file())
    lost = page.locator(".card").filter(has=page.get_by_role("heading", name="Lost most stars")).first
    assert lost.locator("bdi").all_text_contents() == [HOSTILE]
    languages = page.locator(".card").filter(has=page.get_by_role("heading", name="Languages"))
    assert languages.get_by_text(HOSTILE_LANGUAGE, exact=True).count() == 1
    assert page.locator("section i").count() == 0
    assert len(noted) <= 2  # the file, and its empty icon
    page.context.close()


def test_the_newest_and_the_quietest_are_listed(reported: Reported):
    page = reported.file().read_text()
    newest = page[page.index(">Newest<") : page.index(">Quietest<")]
    assert newest.index("newcomer") < newest.index("riser")
    quietest = page[page.index(">Quietest<") :]
    assert quietest.index(LONG) < quietest.index("&lt;script&gt;")


def test_missing_days_are_those_that_the_check_warns_of(reported: Reported):
    page = reported.file().read_text()
    assert "<strong>No data for 4 of the 7 days up to this one</strong>" in page
    assert "14 to 17 November 2019." in page


def test_a_day_again_and_a_range_give_the_same_bytes_and_an_older_day_does_not_become_the_latest(
    reported: Reported, tmp_path: Path
):
    lake = tmp_path / "copy" / reported.project.lake.name
    shutil.copytree(reported.project.lake, lake)
    copy = Project(tmp_path / "copy", reported.github.url, ["acme", "other"])
    reports = lake / "reports/activity"
    days = [reports / f"day={day}" / "report.html" for day in DAYS]
    assert (reports / "latest.html").read_bytes() == days[-1].read_bytes() != days[0].read_bytes()
    before = {file: file.read_bytes() for file in (*days, reports / "latest.html", reports / "index.html")}

    copy.materialise(DAYS[0], layers=["reports"])
    assert {file: file.read_bytes() for file in before} == before
    copy.materialise(DAYS[0], LAST, layers=["reports"])
    assert {file: file.read_bytes() for file in before} == before
    # In a process of its own, whose machine is in Tokyo.
    ended = copy.command("dagster", "asset", "materialize", "-m", "mds_assets.definitions", "--select",
                         "key:reports/activity", "--partition", str(LAST))  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    assert {file: file.read_bytes() for file in before} == before
    assert sorted(path.name for path in reports.iterdir()) == [
        *(f"day={day}" for day in DAYS),
        "index.html",
        "latest.html",
    ]

    following = LAST + timedelta(days=1)
    copy.materialise(following, layers=["reports"])
    assert (reports / "latest.html").read_bytes() == (reports / f"day={following}" / "report.html").read_bytes()
    assert (
        "marts/daily_activity, marts/repos_per_language, marts/repo_growth have"
        in (reports / "latest.html").read_text()
    )


def write(project: Project, name: str, table: Table, row: dict[str, Any], days: Sequence[date | None]) -> None:
    """A row of acme for each of these days; None stands for a table without partitions."""
    for day in days:
        folder = project.lake / name / (f"day={day}" if day else "")
        folder.mkdir(parents=True)
        dated = {column: day if value is DAY else value for column, value in row.items()}
        pl.DataFrame([{"org": "acme"} | dated], schema=polars_schema(table)).write_parquet(folder / "data.parquet")


DAY = object()  # stands for the day of a row
NOON = datetime(2019, 11, 20, 12, tzinfo=UTC)
EVENTS: dict[str, tuple[Table, dict[str, Any]]] = {
    "marts/push_activity": (tables.PUSH_ACTIVITY, {"push_date": DAY, "pushes": 1234, "pushes_7d_avg": 1200.5,
                                                   "days_averaged": 7}),
    "marts/issue_flow": (tables.ISSUE_FLOW, {"event_date": DAY, "issues_opened": 5, "issues_closed": 4,
                                             "pull_requests_merged": 3}),
    "marts/contributors": (tables.CONTRIBUTORS, {"person": "ada", "is_bot": False, "pushes": 9, "is_new": False,
                                                 "pull_requests_opened": 0, "pull_requests_merged": 0,
                                                 "first_seen": DAY}),
    "marts/organisation": (tables.ORGANISATION, {"people": 77, "repositories": 2204}),
    "staging/pushes": (tables.PUSHES, {"visibility": "public", "actor": "ada"}),
    "staging/stars": (tables.STARS, {"date": DAY, "gained": 11}),
    "staging/issues": (tables.REPOSITORIES, {}),
}  # fmt: skip


def test_a_page_has_what_there_is_of_pushes_issues_and_stars(reported: Reported, tmp_path: Path):
    lake = tmp_path / reported.project.lake.name
    shutil.copytree(reported.project.lake, lake)
    project = Project(tmp_path, reported.github.url, ["acme", "other"])
    latest = lake / "reports/activity/latest.html"
    assert "without a <code>GITHUB_TOKEN</code>" in latest.read_text()
    for name, (table, row) in EVENTS.items():
        write(project, name, table, row, DAYS)
    for source in ("pushes", "issues", "stars"):
        write(project, f"raw/github_{source}", tables.REPOSITORIES, {}, DAYS)
    pull_request = {"repo_name": "riser", "repo_full_name": "owner/riser", "number": 17, "title": HOSTILE,
                    "is_pull_request": True, "created_at": NOON}  # fmt: skip
    write(project, "staging/latest_issues", tables.LATEST_ISSUES, pull_request, [None])

    project.materialise(LAST, layers=["reports"])
    page = latest.read_text()
    assert "GITHUB_TOKEN" not in page
    acme = page[page.index('id="acme"') : page.index('id="other"')]
    for value in ("3,702", "77", "33", "15", "12", "2,204 repositories", "ada", "&lt;script&gt;", "1,200.5"):
        assert value in acme
    for title in ("Pushes", "Pull requests merged", "Issues opened and closed", "Stars gained"):
        assert f"<h4>{title}</h4>" in acme
    index = (lake / "reports/activity/index.html").read_text()
    assert "3,702" in index


def test_the_report_waits_for_tables_of_its_run_that_it_only_scans(reported: Reported):
    report = reported.project.definitions.resolve_assets_def(AssetKey(["reports", "activity"]))
    assert report.op.tags["dagster/priority"] == "-1"


def test_the_materialisation_shows_the_charts_of_the_newest_day_and_no_name(reported: Reported):
    result = reported.project.materialise(DAYS[1], LAST, layers=["reports"])
    facts = metadata(result, "reports/activity", LAST)
    assert facts["bytes"] == reported.file().stat().st_size
    assert facts["dagster/uri"] == str(reported.file(f"day={LAST}/report.html"))
    assert facts["seconds"] > 0
    assert facts["charts"].count("](data:image/svg+xml;base64,") == 2
    assert "**acme: Repositories pushed to**" in facts["charts"]
    assert "charts" not in metadata(result, "reports/activity", DAYS[1])


def test_with_a_token_repositories_are_named_only_if_preview_rows_ask_for_it(reported: Reported, tmp_path: Path):
    lake = tmp_path / reported.project.lake.name
    shutil.copytree(reported.project.lake, lake)
    project = Project(tmp_path, reported.github.url, ["acme", "other"], TOKEN)
    latest = lake / "reports/activity/latest.html"
    named = latest.read_bytes()
    command = ["dagster", "asset", "materialize", "-m", "mds_assets.definitions", "--select", "key:reports/activity"]

    assert project.command(*command, "--partition", str(LAST)).returncode == 0
    page = latest.read_text()
    assert "repository gained stars and may be private: not named" in page
    assert "MDS_PREVIEW_ROWS" in page
    for name in ("riser", "newcomer", "lonely", "alert", LONG):
        assert name not in page
    assert "Languages" in page
    for file in (file for file in project.home.rglob("*") if file.is_file()):
        assert b"newcomer" not in file.read_bytes()

    project.environment["MDS_PREVIEW_ROWS"] = "1"
    assert project.command(*command, "--partition", str(LAST)).returncode == 0
    assert latest.read_bytes() == named


@pytest.fixture
def quiet(tmp_path: Path) -> Path:
    """The report of an organisation without repositories."""
    with GitHubServer({"quiet": []}) as github:
        project = Project(tmp_path, github.url, ["quiet"])
        assert project.materialise(DAYS[0], layers=EVERYTHING).success
    return project.lake / "reports/activity/latest.html"


@needs_chromium
def test_a_window_without_activity_has_a_page(quiet: Path, chromium: Browser, screenshots: Path):
    page, noted = opened(chromium, quiet, 375)
    assert page.get_by_text("No activity.").is_visible()
    assert page.evaluate("document.documentElement.scrollWidth") == 375
    page.screenshot(path=screenshots / "report-empty.png", full_page=True)
    assert len(noted) <= 2
    page.context.close()


def test_everything_of_a_day_and_of_a_range_through_the_dagster_command(tmp_path: Path):
    project = Project(tmp_path)
    yesterday = datetime.now(UTC).date() - timedelta(days=1)
    ended = project.dagster("--partition", str(yesterday))
    assert ended.returncode == 0, ended.stderr
    latest = project.lake / "reports/activity/latest.html"
    alone = latest.read_text()
    assert f"mds-sample: activity as of {yesterday.day} {yesterday:%B %Y}" in alone
    ended = project.dagster("--partition-range", f"{yesterday - timedelta(days=1)}...{yesterday}")
    assert ended.returncode == 0, ended.stderr
    assert len(list((project.lake / "reports/activity").glob("day=*/report.html"))) == 2
    assert latest.read_text() != alone  # it looks back on a day more


def test_mds_report_says_where_it_is_and_opens_it(tmp_path: Path, reported: Reported):
    project = Project(tmp_path)
    project.environment |= {"DISPLAY": "", "WAYLAND_DISPLAY": "", "BROWSER": ""}
    ended = project.command("mds", "report")
    assert ended.returncode == 1
    latest = project.lake / "reports/activity/latest.html"
    assert ended.stderr == f"Error: there is no {latest} yet: `mds run` creates it\n"

    shutil.copytree(reported.project.lake, project.lake)
    browser, seen = tmp_path / "browser", tmp_path / "seen"
    browser.write_text(f'#!/bin/sh\necho "$1" > {seen}\n')
    browser.chmod(browser.stat().st_mode | stat.S_IXUSR)
    for variables, options, opens in (
        ({}, (), False),
        ({"BROWSER": str(browser)}, ("--no-open",), False),
        ({"BROWSER": str(browser)}, (), True),
    ):
        project.environment |= variables
        ended = project.command("mds", "report", *options)
        assert (ended.returncode, ended.stdout, ended.stderr) == (0, f"{latest}\n", "")
        assert seen.exists() == opens
    assert seen.read_text() == f"{latest.as_uri()}\n"
