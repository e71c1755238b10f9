"""What a person sees in Dagster's UI: the real webserver, daemon and code server, driven in headless Chromium.

Screenshots go to the folder that MDS_SCREENSHOTS names, else to pytest's temporary folder: look at them.
"""

import os
import re
import shutil
import sqlite3
import zlib
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
from dagster import AssetSpec
from playwright.sync_api import Locator, Page, expect, sync_playwright

from mds_assets.definitions import defs
from mds_assets.stack.jobs import TRIGGER
from mds_assets.stack.settings import PROJECT_ROOT
from mds_assets.stack.table import declared_table
from mds_assets_tests.chromium import CHROMIUM, CHROMIUM_OPTIONS, needs_chromium
from mds_assets_tests.dev import LOCATION, PATIENCE, REPOSITORY, DagsterDev, dagster_dev
from mds_assets_tests.github.project import Project

pytestmark = [needs_chromium, pytest.mark.slow(90)]

TOKEN = "ghp_UiTestsMustNeverShowThis0123456789"
STEPS = {
    "raw__github_repos",
    "raw__github_pushes",
    "staging__repos",
    "staging__repositories",
    "marts__daily_activity",
    "marts__contributors",
    "marts_of_staging__repos_7_days",
    "reports__activity",
    "warehouse",
}
ASSETS = sorted(defs.resolve_all_asset_specs(), key=lambda asset: asset.key)  # in one order for all workers
# Of each kind one or two: a page takes seconds.
SHOWN = ("raw/github_repos", "staging/repos", "staging/stars", "marts/push_activity", "marts/repo_growth")
TABLES = [asset for asset in ASSETS if asset.key.to_user_string() in SHOWN]
WINDOWS = {"marts/daily_activity": 13, "marts/issue_flow": 7}  # a mean looks six days further back
MARTS = [asset for asset in ASSETS if asset.key.to_user_string() in WINDOWS]


def table_name(asset: AssetSpec) -> str:
    """`staging/repos`, as the design, the lake and the UI's address name it."""
    return asset.key.to_user_string()


@dataclass
class Browser:
    """A Chromium page on the UI.

    Attributes:
        page: The page.
        url: The UI's address.
        screenshots: The folder for screenshots.
    """

    page: Page
    url: str
    screenshots: Path

    def open(self, path: str, landmark: Callable[[Page], Locator]) -> Page:
        """Go to a page of the UI and wait for something on it."""
        self.page.goto(self.url + path)
        expect(landmark(self.page)).to_be_visible()
        return self.page

    def screenshot(self, name: str) -> None:
        """Keep what is to be seen now, once charts and layouts have moved to their places."""
        self.page.wait_for_timeout(300)
        self.page.screenshot(path=self.screenshots / f"{name}.png")


@pytest.fixture(scope="module")
def dev(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DagsterDev]:
    """`dagster dev` as `make dev` starts it, with a token in its environment; all its processes end with the tests."""
    folder = tmp_path_factory.mktemp("ui")
    project = Project(folder, token=TOKEN, tables=frozenset())
    shutil.copy(PROJECT_ROOT / ".dagster" / "dagster.yaml", project.home)
    project.environment["MDS_START_DATE"] = ""  # the default, as for everybody
    with dagster_dev(project, folder / "dagster-dev.log") as started:
        yield started


@pytest.fixture(scope="module")
def browser(dev: DagsterDev, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """A page in headless Chromium. It closes with this module, as no event loop can run beside Playwright's."""
    chosen = os.environ.get("MDS_SCREENSHOTS")
    screenshots = Path(chosen) if chosen else tmp_path_factory.mktemp("screenshots")
    screenshots.mkdir(parents=True, exist_ok=True)
    expect.set_options(timeout=PATIENCE * 1000)
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=CHROMIUM_OPTIONS)
        page = chromium.new_page(viewport={"width": 1440, "height": 1000})
        page.set_default_timeout(PATIENCE * 1000)
        opened = Browser(page, dev.url, screenshots)
        # A new instance greets with a dialog about Dagster's newsletter, unless its dagster.yaml says otherwise.
        if dev.ask("{shouldShowNux}")["shouldShowNux"]:
            opened.open("/", lambda page: page.get_by_role("button", name="Skip", exact=True))
            opened.screenshot("0-greeting")
            page.get_by_role("button", name="Skip", exact=True).click()
            expect(page.get_by_role("dialog")).to_have_count(0)
        yield opened
        chromium.close()


@dataclass
class Launched:
    """A run that was launched by clicking in the UI.

    Attributes:
        run_id: Its id.
        day: The partition that the dialog offered as the latest.
        offered_on: The UTC dates on which it may have been offered; two if midnight passed meanwhile.
    """

    run_id: str
    day: date
    offered_on: set[date]


@pytest.fixture(scope="module")
def launched(dev: DagsterDev, browser: Browser) -> Launched:
    """Everything materialised for the latest day, by the clicks of a person who opens the UI for the first time."""
    before = datetime.now(UTC).date()
    groups = ",".join(f"global@global:{layer}" for layer in ("raw", "staging", "marts", "reports", "warehouse"))
    browser.page.set_viewport_size({"width": 2400, "height": 1200})  # a graph that is made to fit shows no partitions
    page = browser.open(f"/asset-groups?expanded={groups}", lambda page: page.get_by_text("daily_activity").first)
    # The graph draws only what is in view: the dialog below counts all.
    expect(page.get_by_text(re.compile(r"^\d+ partitions$")).first).to_be_visible()
    browser.screenshot("1-lineage")

    page.get_by_role("button", name="Materialize all").click()
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_text(f"Launch runs to materialize {len(ASSETS)} assets")).to_be_visible()
    dialog.get_by_role("button", name="Latest", exact=True).click()
    partition = dialog.get_by_role("textbox").first
    expect(partition).to_have_value(re.compile(r"^\d{4}-\d\d-\d\d$"))
    day = date.fromisoformat(partition.input_value())
    browser.screenshot("2-dialog")

    dialog.get_by_role("button", name="Launch 1 run").click()
    notification = page.get_by_role("region", name=re.compile("Notifications"))
    expect(notification.get_by_text("Launched run")).to_be_visible()
    link = notification.get_by_role("link", name="View").get_attribute("href")
    assert link
    return Launched(link.rsplit("/", 1)[-1], day, {before, datetime.now(UTC).date()})


@pytest.fixture(scope="module")
def by_command(dev: DagsterDev, launched: Launched) -> dict[str, str]:
    """Runs that the two commands made on the same instance while the server runs: what was printed, by run id."""
    dev.ended(launched.run_id)
    day = str(launched.day)
    printed: dict[str, str] = {}
    for command in (
        ["mds", "run", "--from", day, "--to", day],
        ["dagster", "asset", "materialize", "-m", LOCATION, "--select", "key:marts/*", "--partition", day],
    ):
        before = dev.runs().keys()
        ended = dev.project.command(*command)
        assert ended.returncode == 0, ended.stderr
        # The schedule may add a run of its own at 00:05, and the automation one of what reads the marts.
        new = [
            run_id
            for run_id, run in dev.runs().items()
            if run_id not in before and TRIGGER not in {tag["key"] for tag in run["tags"]}
        ]
        assert len(new) == 1
        printed[new[0]] = ended.stdout + ended.stderr
    return printed


def test_materialize_all_offers_yesterday_as_the_latest_day_and_every_step_succeeds(
    dev: DagsterDev, browser: Browser, launched: Launched
):
    assert launched.day + timedelta(days=1) in launched.offered_on
    run = dev.ended(launched.run_id)
    assert run["status"] == "SUCCESS", dev.last_words
    assert {step["status"] for step in run["stepStats"]} == {"SUCCESS"}
    steps = {step["stepKey"] for step in run["stepStats"]}
    assert steps >= STEPS

    page = browser.open(f"/runs/{launched.run_id}", lambda page: page.get_by_text("Success", exact=True))
    expect(page.get_by_text(f"partition: {launched.day}")).to_be_visible()
    expect(page.get_by_text(f"Succeeded ({len(steps)})")).to_be_visible()
    expect(page.get_by_text("Errored (0)")).to_be_visible()
    browser.screenshot("3-run")


@pytest.mark.parametrize("asset", TABLES, ids=table_name)
def test_the_catalog_shows_rows_columns_kinds_and_description_of_each_table(
    asset: AssetSpec, dev: DagsterDev, browser: Browser, launched: Launched
):
    dev.ended(launched.run_id)
    table = table_name(asset)
    schema = declared_table(table, asset.metadata).dagster_schema
    browser.page.set_viewport_size({"width": 1440, "height": 1900})
    last_column = schema.columns[-1].name
    page = browser.open(f"/assets/{table}", lambda page: page.get_by_role("cell", name=last_column, exact=True))

    # The page draws descriptions, which are Markdown, after everything else of the table.
    for column in schema.columns:
        assert column.description
        described = page.get_by_role("cell", name=column.description.replace("`", ""), exact=True)
        expect(described.first).to_be_visible()
    columns = _rows(page, titled="Column name")
    for column in schema.columns:
        column_type, description = columns[column.name]
        shown = [column.type, *([] if column.constraints.nullable else ["non-nullable"]), *column.constraints.other]
        # The page cuts long rules.
        visible, cut, _ = " ".join(column_type.split()).partition("...")
        expected = " ".join(" ".join(shown).split())
        assert expected.startswith(visible) if cut else visible == expected
        assert description == (column.description or "").replace("`", "")

    rows = len(dev.project.rows(table, launched.day))
    assert rows > 0
    _, shown = _rows(page, titled="Key")["dagster/partition_row_count"]
    assert int(shown) == rows

    expect(page.get_by_role("link", name=asset.group_name, exact=True).first).to_be_visible()
    for kind in asset.kinds:
        expect(page.get_by_role("img", name=kind, exact=True).first).to_be_visible()
    expect(page.get_by_text((asset.description or "").splitlines()[0])).to_be_visible()
    expect(page.get_by_text(str(launched.day), exact=True).first).to_be_visible()
    browser.screenshot(f"4-{table.replace('/', '-')}")


def _rows(page: Page, titled: str) -> dict[str, list[str]]:
    """The page's table with this heading: the other cells of each row by its first cell."""
    table = page.get_by_role("table").filter(has=page.get_by_role("cell", name=titled, exact=True))
    rows = [
        [cell.strip() for cell in row.get_by_role("cell").all_inner_texts()]
        for row in table.first.get_by_role("row").all()
    ]
    return {row[0]: row[1:] for row in rows if row}  # the heading of a preview within has no cells


@pytest.mark.parametrize("mart", MARTS, ids=table_name)
def test_a_mart_shows_which_days_its_window_lacks(
    mart: AssetSpec, dev: DagsterDev, browser: Browser, launched: Launched
):
    dev.ended(launched.run_id)
    browser.page.set_viewport_size({"width": 1440, "height": 1000})
    page = browser.open(
        f"/assets/{table_name(mart)}?view=checks&checkDetail=window_is_complete",
        lambda page: page.get_by_text("Evaluation result"),
    )
    expect(page.get_by_text("window_is_complete", exact=True).first).to_be_visible()
    checks = [check for checks in defs.asset_checks or () for check in checks.check_specs]
    (check,) = (each for each in checks if each.asset_key == mart.key and each.name == "window_is_complete")
    assert check.description
    expect(page.get_by_text(check.description)).to_be_visible()
    # One day was materialized, and the window has more: a warning, and no failure of the run.
    days = WINDOWS[table_name(mart)]
    expect(page.get_by_text(f"{days - 1} of the {days} days")).to_be_visible()
    expect(page.get_by_role("img", name="warning_outline").first).to_be_visible()
    browser.screenshot(f"5-check-of-{mart.key.path[-1]}")


def test_the_report_shows_its_charts_and_beside_a_token_names_public_repositories(
    dev: DagsterDev, browser: Browser, launched: Launched
):
    dev.ended(launched.run_id)
    page = browser.open("/assets/reports/activity", lambda page: page.get_by_text("Show markdown"))
    page.get_by_text("Show markdown").click()
    charts = page.get_by_role("dialog").locator("img")
    expect(charts).to_have_count(4)
    assert all(chart.evaluate("image => image.naturalWidth") for chart in charts.all())
    browser.screenshot("8-report")
    page.keyboard.press("Escape")

    report = (dev.project.lake / "reports/activity/latest.html").read_text()
    names = {row[2] for row in dev.project.rows("staging/repos", launched.day)}
    assert len([name for name in names if name in report]) > 4  # all of the sample's are public


def test_schedules_and_sensors_are_on_and_a_daemon_runs_them_but_pruning_waits_to_be_switched_on(
    dev: DagsterDev, browser: Browser
):
    answer = dev.ask(
        "query ($repository: RepositorySelector!) {schedulesOrError(repositorySelector: $repository) "
        "{... on Schedules {results {name cronSchedule executionTimezone pipelineName scheduleState {status}}}}}",
        repository=REPOSITORY,
    )
    assert {
        schedule.pop("name"): [*schedule.pop("scheduleState").values(), *schedule.values()]
        for schedule in answer["schedulesOrError"]["results"]
    } == {
        "daily_refresh_schedule": ["RUNNING", "5 0 * * *", "UTC", "daily_refresh"],
        "table_checks_schedule": ["RUNNING", "30 6 * * *", "UTC", "table_checks"],
        "prune_schedule": ["STOPPED", "0 3 * * 0", "UTC", "prune"],
        "compact_schedule": ["STOPPED", "0 4 * * 0", "UTC", "compact"],
        "heal_schedule": ["STOPPED", "35 * * * *", "UTC", "daily_refresh"],
    }

    def daemons_are_healthy() -> bool:
        health = dev.ask("{instance {daemonHealth {allDaemonStatuses {daemonType required healthy}}}}")["instance"]
        required = {
            daemon["daemonType"]: daemon["healthy"]
            for daemon in health["daemonHealth"]["allDaemonStatuses"]
            if daemon["required"]
        }
        ours = {
            "SCHEDULER",
            "SENSOR",
            "ASSET",
            "BACKFILL",
            "QUEUED_RUN_COORDINATOR",
            "MONITORING",
            "EVENT_LOG_CONSUMER",
        }
        return required.keys() >= ours and all(required.values())

    dev.eventually("healthy daemons", daemons_are_healthy, seconds=2 * PATIENCE)
    page = browser.open("/automation", lambda page: page.get_by_role("link", name="daily_refresh_schedule"))
    for name, on in {
        "daily_refresh_schedule": True, "follow_staging": True, "failed_runs": True, "failed_checks": True,
        "prune_schedule": False, "compact_schedule": False, "heal_schedule": False,
    }.items():  # fmt: skip
        switch = page.get_by_role("link", name=name).locator("xpath=following::input[@type='checkbox'][1]")
        expect(switch).to_be_checked(checked=on)
    browser.screenshot("6-automation")


def test_the_first_page_shows_all_runs_those_of_the_command_line_too(
    dev: DagsterDev, browser: Browser, launched: Launched, by_command: dict[str, str]
):
    assert len(by_command) == 2
    page = browser.open("/", lambda page: page.get_by_role("link", name=launched.run_id[:8]))
    for run_id in by_command:
        expect(page.get_by_role("link", name=run_id[:8])).to_be_visible()
        assert dev.runs()[run_id]["status"] == "SUCCESS"
    browser.screenshot("7-runs")
    page.get_by_role("link", name=next(iter(by_command))[:8]).click()
    expect(page.get_by_text("Success", exact=True)).to_be_visible()
    expect(page.get_by_text("Errored (0)")).to_be_visible()


def test_neither_commands_nor_the_daemon_print_dagsters_own_events(dev: DagsterDev, by_command: dict[str, str]):
    _, materialize = by_command.values()
    printed = dev.log.read_text()
    for text in (materialize, printed):
        assert 'Finished execution of step "marts__contributors"' in text
        assert "DEBUG" not in text
        assert "STEP_START" not in text


def test_the_asset_graph_shows_tables_until_somebody_closes_a_group(browser: Browser, launched: Launched):
    browser.page.set_viewport_size({"width": 1440, "height": 900})
    page = browser.open("/", lambda page: page.get_by_role("link", name=launched.run_id[:8]))
    page.locator("a[href='/asset-groups']").click()
    tables = page.get_by_text(re.compile("^(repos|issue_flow|daily_activity|github_repos)$"))
    expect(tables.first).to_be_visible()
    browser.screenshot("11-graph")

    page.evaluate("for (const key in localStorage) if (key.startsWith('asset-graph-open')) localStorage[key] = '{}'")
    page = browser.open("/asset-groups", lambda page: page.locator("svg").get_by_text("staging", exact=True))
    expect(tables).to_have_count(0)


def test_the_token_is_nowhere_in_files_output_or_answers(dev: DagsterDev, by_command: dict[str, str]):
    answers = [
        dev.ask("{instance {info}}"),
        dev.ask(
            "query ($repository: RepositorySelector!) {allTopLevelResourceDetailsOrError(repositorySelector: "
            "$repository) {... on ResourceDetailsList {results {name configFields {name defaultValueAsJson} "
            "configuredValues {key value} nestedResources {name}}}}}",
            repository=REPOSITORY,
        ),
        dev.ask(
            "{assetNodes {assetMaterializations {metadataEntries {label description ... on PathMetadataEntry {path} "
            "... on TextMetadataEntry {text} ... on JsonMetadataEntry {jsonString}}}}}"
        ),
        dev.runs(),
    ]
    places = {
        "the answers of GraphQL": str(answers).encode(),
        "the output of the commands": str(by_command).encode(),
        **_contents(dev.project.home, dev.project.lake, dev.log),
    }
    # The search sees through what Dagster compresses: the job's steps are in its snapshot.
    assert {name.split("/")[-1] for name, content in places.items() if b"staging__repos" in content} >= {
        "the answers of GraphQL",
        "runs.db table snapshots",
    }
    assert [name for name, content in places.items() if TOKEN.encode() in content] == []


def _contents(*roots: Path) -> dict[str, bytes]:
    """All bytes below the roots by file; of SQLite databases also each table, with what Dagster compresses unpacked."""
    contents: dict[str, bytes] = {}
    for file in (file for root in roots for file in (root, *root.rglob("*")) if file.is_file()):
        contents[str(file)] = file.read_bytes()
        if file.suffix != ".db":
            continue
        with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as con:
            tables = [name for (name,) in con.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
            for table in tables:
                values = (value for row in con.execute(f"SELECT * FROM {table}") for value in row)  # noqa: S608
                contents[f"{file} table {table}"] = b"\n".join(map(_unpacked, values))
    return contents


def _unpacked(value: object) -> bytes:
    if isinstance(value, bytes):
        with suppress(zlib.error):
            return zlib.decompress(value)
        return value
    return str(value).encode()


def test_all_checks_are_green_once_every_day_of_the_window_is_there(
    dev: DagsterDev, browser: Browser, launched: Launched, by_command: dict[str, str]
):
    """The newest day looks back on six more, and so does each of these."""
    assert by_command  # it counts runs: it has to come first
    first = str(launched.day - timedelta(days=12))
    filled = dev.project.command("mds", "run", "--from", first, "--to", str(launched.day))
    assert filled.returncode == 0, filled.stderr
    checked = dev.project.command("dagster", "job", "execute", "-m", LOCATION, "-j", "table_checks")
    assert checked.returncode == 0, checked.stderr

    answer = dev.ask(
        "{assetNodes {assetKey {path} assetChecksOrError {... on AssetChecks "
        "{checks {name executionForLatestMaterialization {evaluation {success description}}}}}}}"
    )
    evaluations = {
        f"{'/'.join(node['assetKey']['path'])} {check['name']}": check["executionForLatestMaterialization"][
            "evaluation"
        ]
        for node in answer["assetNodes"]
        for check in node["assetChecksOrError"].get("checks", [])
    }
    assert len(evaluations) > 2 * len(TABLES)
    # Of the days before the first run there is no inventory, and there never will be.
    unlike = {name: one["description"] for name, one in evaluations.items() if not one["success"]}
    assert unlike.keys() == {"marts/organisation window_is_complete"}
    assert "have no snapshot" in unlike["marts/organisation window_is_complete"]

    browser.page.set_viewport_size({"width": 1440, "height": 1000})
    page = browser.open("/assets/staging/repos?view=checks", lambda page: page.get_by_text("is_valid").first)
    expect(page.get_by_role("img", name="warning_outline")).to_have_count(0)
    browser.screenshot("9-checks")
    page = browser.open("/assets/staging/repos?view=lineage", lambda page: page.get_by_text("github_repos").first)
    expect(page.get_by_text("repos_per_language").first).to_be_visible()
    browser.screenshot("10-lineage-of-staging")
