"""Promises of the documentation: what it tells people to run runs, and what it names exists.

The fences of `DOCUMENTS` are executed in order, as a reader would, in a fresh copy of the repository: one copy for each
section (`##`), and for a page of `WHOLE`, whose sections build on each other, one for the page.

- `sh`: each command literally, unless `INSTEAD` has an entry for it; an `export` holds until the section ends.
- `python`: run as a script; a `text` fence right after it is its output, to the letter. If its first line is a comment
  that names a file, it is appended to that file instead, as is `sql`.
- `diff`: its first line names the file; the `-` lines, which must be there once, become the `+` lines.
- A fence of any language with a file's path behind the language quotes that file, and is not run: its lines stand there
  one after the other, whatever their indentation; `...` stands for lines that are left out.

What does not belong here: whether a generated reference page is stale (beside what generates it).
"""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable, Generator, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import entry_points
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Thread

import duckdb
import pytest
import requests

from mds_assets.definitions import defs
from mds_assets.stack.environment import source_folders, variables
from mds_assets.stack.settings import PROJECT_ROOT, Settings, loaded_sources
from mds_assets.stack.ui_settings import UISettings
from mds_assets_tests import forkserver
from mds_assets_tests.store import free_ports, running

# The documents describe the project as it comes.
pytest.importorskip("mds_assets.defs.github", reason="GitHub was removed")

SETTINGS = {name for kind in (Settings, UISettings, *map(type, loaded_sources())) for name in variables(kind)}

# Pages whose sections build on each other.
WHOLE = re.compile(r"docs/tutorial/.*|docs/how-to/(add|know)-.*")

# What a section of the README, or a whole page, leaves behind when its commands have run.
LEAVES = {
    "Start": "data/marts/daily_activity/day=*/data.parquet",
    "Your own organisation": "data/staging/repos/day=*/data.parquet",
    "The report": "data/reports/activity/day=*/report.html",
    "docs/how-to/know-what-changed.md": "data-known-at-*/marts/push_activity/day=2026-11-26/data.parquet",
    "docs/how-to/add-a-mart.md": "data/marts/licenses/day=*/data.parquet",
    "docs/tutorial/1-landing.md": "data/raw/visits/day=*/*.parquet",
    "docs/tutorial/2-staging.md": "data/staging/repos/day=*/data.parquet",
    "docs/tutorial/3-arrow.md": "data/marts/stars_by_language/day=*/data.parquet",
    "docs/tutorial/6-backfill.md": "data/staging/pushes/day=*/data.parquet",
}


# Sections whose commands run as processes of their own, each of them, as on the machine of a reader.
REAL = {("README.md", "Start")}


@dataclass
class Reader:
    """Somebody with a fresh copy of the repository, whose `.venv` is the one that runs the tests.

    Attributes:
        folder: The copy.
        landed: Where what `make run` leaves behind in a fresh copy is kept; None to run it.
        exports: The section's `export` commands so far.
        variables: What the environment has besides.
        is_fresh: Whether nothing has been run or changed yet.
    """

    folder: Path
    landed: Path | None = None
    exports: list[str] = field(default_factory=list[str])
    variables: dict[str, str] = field(default_factory=dict[str, str])
    is_fresh: bool = True

    def run(self, *command: str, **variables: str) -> str:
        """Run a program there and give what it printed."""
        self.is_fresh = False
        ended = subprocess.run(
            command, cwd=self.folder, env=self.environment | variables, capture_output=True, text=True, check=False
        )
        assert ended.returncode == 0, f"{' '.join(command)}\n{ended.stdout[-3000:]}\n{ended.stderr[-3000:]}"
        return ended.stdout

    def shell(self, command: str, **variables: str) -> str:
        """Run a command line there, after the section's exports so far, and give what it printed."""
        return self.run("bash", "-euc", "\n".join([*self.exports, command]), **variables)

    def make_run(self) -> None:
        """`make run`; many pages begin with it, and the first of a day does it for all of them."""
        kept = self.landed / f"{datetime.now(UTC):%Y-%m-%d}" if self.landed and self.is_fresh else None
        if kept and kept.exists():
            shutil.copytree(kept, self.folder, dirs_exist_ok=True)
            self.is_fresh = False
            return
        self.shell("make run")
        if kept:
            for made in ("data", ".dagster"):
                shutil.copytree(self.folder / made, kept / made)

    @property
    def environment(self) -> dict[str, str]:
        """The environment without settings, Dagster's home and the `make` that may have started the tests."""
        ours = re.compile("GITHUB_|MDS_|DAGSTER_|MAKE|MFLAGS|PYTEST_")
        # The copy's package, not the repository's: `.venv` holds a link to the latter.
        others = {name: value for name, value in os.environ.items() if not ours.match(name)}
        return others | {"PYTHONPATH": str(self.folder)} | self.variables


@pytest.fixture(scope="module")
def bin_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The programs of `.venv`; those that run the project start through the fork server."""
    real, folder = Path(sys.prefix) / "bin", tmp_path_factory.mktemp("bin")
    if not (real / "uv").exists() or not (PROJECT_ROOT / ".git").exists():
        pytest.skip("needs a git checkout and the environment that `make` creates")
    forked = {"dagster", "dg", "mds"}
    for program in real.iterdir():
        if program.name in forked:
            forkserver.write_launcher(program, folder / program.name)
        else:
            folder.joinpath(program.name).symlink_to(program)
    return folder


@pytest.fixture
def reader(bin_folder: Path, tmp_path_factory: pytest.TempPathFactory, document: str, section: str) -> Reader:
    """A copy in the same folder for every test, as what `make run` makes names its folder."""
    base = tmp_path_factory.getbasetemp()
    folder = base / "reader"
    if folder.exists():
        shutil.rmtree(folder)
    listed = subprocess.run(
        ["git", "ls-files", "-coz", "--exclude-standard"], cwd=PROJECT_ROOT, capture_output=True, text=True, check=True
    )
    own = tuple(f"mds_assets/defs/{source}/" for source in source_folders() if source != "github")
    for name in filter(None, listed.stdout.split("\0")):
        if (PROJECT_ROOT / name).is_file() and not name.startswith(own):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(PROJECT_ROOT / name, folder / name)  # with its time: what was compiled stays so
    # A folder of links, and not a link, so that `make` finds it up to date and never syncs the real one to the copy.
    is_real = (document, section) in REAL
    (folder / ".venv").mkdir()
    (folder / ".venv" / "bin").symlink_to(Path(sys.prefix) / "bin" if is_real else bin_folder)
    for link in ("lib", "pyvenv.cfg"):
        (folder / ".venv" / link).symlink_to(Path(sys.prefix) / link)
    for done in ("synced", "synced-dev"):
        (folder / ".venv" / done).touch()
    return Reader(folder, None if is_real else base / "landed")


def dry_run(reader: Reader, command: str) -> None:
    """They would run this test again, and `make lint` is what `.ci/run` begins with: the target is only read."""
    assert reader.shell(f"{command} --dry-run").strip()


def own_organisation(reader: Reader, command: str) -> None:
    """GitHub is not asked: a local server lists the sample's repositories as that organisation's, given its token."""
    token = "ghp_thisIsNotARealToken"
    from mds_assets.github.sample.organisation import as_github, snapshots
    from mds_assets_tests.github.server import GitHubServer

    repositories = [as_github(snapshot) for snapshot in snapshots(int(datetime.now(UTC).timestamp()))]
    with GitHubServer({"dagster-io": repositories}, token=token) as server:
        printed = reader.shell(command.replace("365", "3"), GITHUB_API_URL=server.url, GITHUB_TOKEN=token)
    assert "of dagster-io" in printed
    assert token not in printed
    for folder in (".dagster", "data"):
        for file in (reader.folder / folder).rglob("*"):
            assert not file.is_file() or token.encode() not in file.read_bytes(), f"the token is in {file}"


def fewer_days(reader: Reader, command: str) -> None:
    """A year takes minutes: nine days are filled."""
    reader.shell(command.replace("365", "9"))


def report_unopened(reader: Reader, command: str) -> None:
    """It may open a browser: the page is asked for instead."""
    assert Path(reader.shell(f"{command} --no-open").strip()) == reader.folder / "data/reports/activity/latest.html"


def user_interface(reader: Reader, command: str) -> None:
    """A server never ends: it is started on a free port, asked for its tables, and stopped."""
    (port,) = free_ports(1)
    with (reader.folder / "server.log").open("w") as log:
        server = subprocess.Popen(
            # A process group of its own, which no process of the fork server would belong to.
            [*command.split(), f"BIN={Path(sys.prefix) / 'bin'}", f"PORT={port}"],
            cwd=reader.folder,
            env=reader.environment,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        try:
            tables = ask_for_tables(f"http://127.0.0.1:{port}/graphql", server)
        finally:
            stop(server)
    assert tables == {key.to_user_string() for key in defs.resolve_all_asset_keys()}


def ask_for_tables(url: str, server: subprocess.Popen[bytes]) -> set[str]:
    ends = time.monotonic() + 120
    while time.monotonic() < ends and server.poll() is None:
        try:
            answer = requests.post(url, json={"query": "{assetNodes{assetKey{path}}}"}, timeout=30)
            tables = {"/".join(node["assetKey"]["path"]) for node in answer.json()["data"]["assetNodes"]}
        except requests.ConnectionError:
            tables = set[str]()
        if tables:
            return tables
        time.sleep(0.2)
    pytest.fail(f"{url} did not answer; exit code {server.poll()}")


def stop(server: subprocess.Popen[bytes]) -> None:
    """Stop the server and all that it started, which is its own process group."""
    try:
        os.killpg(server.pid, signal.SIGINT)
        ends = time.monotonic() + 30
        while time.monotonic() < ends:
            server.poll()
            os.killpg(server.pid, 0)
            time.sleep(0.1)
        os.killpg(server.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass  # all of the group have ended
    server.wait()


def hooks_exist(reader: Reader, command: str) -> None:
    """It would download pre-commit: the hooks' programs are asked for their version instead."""
    config = (reader.folder / ".pre-commit-config.yaml").read_text(encoding="utf-8")
    programs = set(re.findall(r"entry: (\S+)", config))
    assert programs == {".venv/bin/ruff", ".venv/bin/basedpyright", ".venv/bin/lint-imports"}
    for program in programs:
        reader.run(program, "--help")


def tiny_bench(reader: Reader, command: str) -> None:
    """It would take an hour: the same command runs once, on 20 rows a day."""
    (name,) = re.findall(r"make (bench)", command)
    printed = reader.shell(f"make {name} BENCH='--tiny --rows 20 --rounds 1 --days 1 --case limit --case ours'")
    assert "limit and ours: 20 rows of staging/repos" in printed
    assert list(reader.folder.glob("build/bench-results/*.json"))


def duckdb_cli(reader: Reader, command: str) -> None:
    """DuckDB's own program is none of the project's: it runs where it is installed."""
    if shutil.which("duckdb"):
        assert "mds-sample" in reader.shell(command)


def in_a_store(reader: Reader, command: str) -> None:
    """Nobody's bucket is asked: a local store has one of this name."""
    folder = reader.folder / "store"
    folder.mkdir()
    with running(folder) as store:
        store.make_bucket("your-bucket")
        printed = reader.shell(command, **store.environment)
        assert "Lake: s3://your-bucket/lake" in printed
        assert "lake/warehouse.duckdb" in store.contents("s3://your-bucket")


def known_now(reader: Reader, command: str) -> None:
    """The loads of this copy are newer than any time that a page can name: what is known now is made instead."""
    reader.shell(re.sub(r"--known-at \S+", f"--known-at {datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}", command))


def in_the_lake_known_now(reader: Reader, command: str) -> None:
    """The same: that lake has another name."""
    (lake,) = reader.folder.glob("data-known-at-*")
    assert "2026-11-23" in reader.shell(re.sub(r"data-known-at-\w+", lake.name, command))


def status_page(reader: Reader, _: str) -> None:
    """A server never ends: one on a free port serves that folder already."""
    served = requests.get(f"{reader.variables['STATUS_API_URL']}/incidents.json", timeout=30).json()["incidents"]
    assert [set(each) for each in served] == [INCIDENTS[0].keys() - {"name", "components"}]


def checked_out(reader: Reader, command: str) -> None:
    """The copy is no checkout: the repository's file takes the changed one's place."""
    file = command.removeprefix("git checkout ")
    shutil.copy(PROJECT_ROOT / file, reader.folder / file)


def would_sync(reader: Reader, command: str) -> None:
    """It would change the environment of the tests, which has the extra."""
    reader.shell(f"{command} --dry-run")


@contextmanager
def other_systems(reader: Reader) -> Generator[dict[str, str]]:
    """What `add-a-source.md` reads, for real: a status page, the shop's API, PostgreSQL, a folder; as variables.

    The status page is what that page makes; for a page that goes on from there, `INCIDENTS`.
    """
    from mds_assets_tests.examples.shop import customers_database, execute, orders_api
    from mds_assets_tests.services import postgres_bins

    if not postgres_bins():
        pytest.skip("PostgreSQL is not installed")
    status, prices = reader.folder / "status", reader.folder / "prices"
    for folder in (status, prices):
        folder.mkdir()
    (status / "incidents.json").write_text(json.dumps({"incidents": INCIDENTS}), encoding="utf-8")
    (prices / "2026-01.csv").write_text("sku,price\ntea,1.25\n", encoding="utf-8")
    with ExitStack() as stack:
        # Where PostgreSQL's own user may enter, unlike pytest's folders.
        home = Path(stack.enter_context(TemporaryDirectory(dir="/tmp")))
        home.chmod(0o755)
        database = stack.enter_context(customers_database(home))
        execute(
            database,
            "CREATE TABLE impacts (impact TEXT PRIMARY KEY, cost_per_hour NUMERIC(10,2) NOT NULL)",
            "INSERT INTO impacts VALUES ('minor', 10.50), ('major', 100)",
        )
        shop = stack.enter_context(orders_api())
        yesterday = datetime.now(UTC).date() - timedelta(days=1)
        order = {"id": 1, "customer_id": 1, "sku": "tea", "quantity": 2, "status": "open"}
        shop.orders = [order | {"updated_at": f"{yesterday}T10:00:00Z"}]
        server = ThreadingHTTPServer(("127.0.0.1", 0), partial(SimpleHTTPRequestHandler, directory=status))
        page = stack.enter_context(server)
        Thread(target=page.serve_forever, daemon=True).start()
        stack.callback(page.shutdown)
        yield {
            "STATUS_API_URL": f"http://127.0.0.1:{page.server_port}",
            "STATUS_DATABASE_URL": database,
            "SHOP_API_URL": shop.url,
            "SHOP_DATABASE_URL": database,
            "SHOP_PRICES_DIR": str(prices),
        }
    served = json.loads((status / "incidents.json").read_text(encoding="utf-8"))["incidents"]
    with duckdb.connect() as con:
        files = f"{reader.folder}/data/marts/downtime/day={OF_PAGE}/data.parquet"
        rows = con.read_parquet(files, hive_partitioning=False).project("impact, incidents, hours").order("impact")
        # The page's one incident, or what `INCIDENTS` adds up to.
        expected = [("minor", 1, 0.5)] if len(served) == 1 else [("major", 1, 0.0), ("minor", 2, 1.0)]
        assert rows.fetchall() == expected
        if "cost" in con.read_parquet(files).columns:
            costs = con.read_parquet(files).project("impact, cost").order("impact").fetchall()
            assert costs == [("major", 0.0), ("minor", 10.5)]


OF_PAGE = date(2026, 11, 26)  # the day of the page's incident
INCIDENTS: list[dict[str, object]] = [
    {
        "id": str(number),
        "name": "Delays",
        "impact": impact,
        "created_at": f"{day}T12:00:00.123Z",
        "updated_at": f"{day}T13:00:00Z",
        "resolved_at": f"{day}T12:30:00.123Z" if resolved else None,
        "components": [{"id": "1"}],  # a field that the page does not declare
    }
    for number, (day, impact, resolved) in enumerate(
        [(OF_PAGE, "minor", True), (OF_PAGE, "major", False), (OF_PAGE - timedelta(days=1), "minor", True)]
    )
]


# Pages that need other systems beside them.
BESIDE: dict[str, Callable[[Reader], AbstractContextManager[dict[str, str]]]] = {
    "docs/how-to/add-a-source.md": other_systems,
    "docs/how-to/add-a-dimension.md": other_systems,
}
# Pages that go on where another ends: its files are there, its commands have not run.
GOES_ON = {"docs/how-to/add-a-dimension.md": "docs/how-to/add-a-source.md"}


# Commands that cannot run here as they stand, and what runs instead. Any other command runs literally.
INSTEAD: dict[str, Callable[[Reader, str], None]] = {
    "make test": dry_run,
    "make test-all": dry_run,
    "make lint": dry_run,
    "make chaos SCHEDULES=20": dry_run,  # it takes long; test_chaos.py plays some of its schedules
    "make bench": tiny_bench,
    "make bench BENCH='--rows 5000000 --rounds 3 --days 1 --part all'": tiny_bench,
    "make dev": user_interface,
    ".venv/bin/mds report": report_unopened,
    "GITHUB_ORG=dagster-io make run": own_organisation,
    ".venv/bin/mds run --org dagster-io --days 365": own_organisation,
    ".venv/bin/mds run --days 365": fewer_days,
    "MDS_DATA_DIR=s3://your-bucket/lake make run": in_a_store,
    ".venv/bin/mds run --known-at 2026-11-27T21:28Z": known_now,
    'MDS_DATA_DIR=data-known-at-20261127T212800Z .venv/bin/mds sql "SELECT push_date, pushes FROM marts.push_activity '
    "WHERE day = '2026-11-26' ORDER BY ALL\"": in_the_lake_known_now,
    ".venv/bin/uv sync --quiet --locked --no-dev --inexact --extra postgres": would_sync,
    ".venv/bin/uv sync --quiet --locked --no-dev --inexact --extra scale": would_sync,
    ".venv/bin/uvx pre-commit install": hooks_exist,
    ".venv/bin/python -m http.server 8000 --bind 127.0.0.1 --directory status": status_page,
    "git checkout mds_assets/defs/github/marts.py": checked_out,
    'duckdb -readonly data/warehouse.duckdb "FROM marts.daily_activity_latest"': duckdb_cli,
}


@dataclass(frozen=True)
class Fence:
    """A fenced block of a document.

    Attributes:
        section: The `##` heading above it.
        line: Where it begins.
        language: The first word behind the backticks.
        quotes: The file that it quotes; empty where it is to be run.
        text: What it holds.
        follows: Whether nothing stands between it and the fence before.
    """

    section: str
    line: int
    language: str
    quotes: str
    text: str
    follows: bool


def fences(document: str) -> Iterator[Fence]:
    section, start, language, quotes, block, follows = "", 0, "", "", list[str](), False
    for number, line in enumerate((PROJECT_ROOT / document).read_text(encoding="utf-8").splitlines(), 1):
        if start and line == "```":
            yield Fence(section, start, language, quotes, "\n".join(block), follows)
            start, block, follows = 0, [], True
        elif start:
            block.append(line)
        elif line.startswith("```"):
            language, _, quotes = line.removeprefix("```").partition(" ")
            start = number
        elif line:
            follows = False
            section = line.removeprefix("## ") if line.startswith("## ") else section
    assert not start, f"{document}:{start}: the fence is not closed"


def markdown_files() -> list[str]:
    found = [file for pattern in ("*.md", "docs/**/*.md", "deploy/**/*.md") for file in PROJECT_ROOT.glob(pattern)]
    return sorted(str(path.relative_to(PROJECT_ROOT)) for path in found)


# The commands of deploy/ are for machines of one's own: `make scale-test` and test_kubernetes.py play them.
DOCUMENTS = [name for name in markdown_files() if not name.startswith("deploy/")]


_RUNS = re.compile(r"\b(make (run|dev|bench)|mds run|dagster (asset|job)|dg)\b")


def sections() -> list[pytest.ParameterSet]:
    """What has something to run: pages of `WHOLE`, with no section, and sections of other pages."""
    runnable = ("sh", "bash", "python", "sql", "diff")
    found = {
        (name, "" if WHOLE.fullmatch(name) else fence.section)
        for name in DOCUMENTS
        for fence in fences(name)
        if fence.language in runnable and not fence.quotes
    }
    # A run of the sample takes seconds.
    return [pytest.param(*each, marks=pytest.mark.slow(25 if has_run(*each) else 3)) for each in sorted(found)]


def has_run(document: str, section: str) -> bool:
    """Whether any of its commands runs tables."""
    return any(
        _RUNS.search(command)
        for fence in fences(document)
        if section in ("", fence.section) and fence.language in ("sh", "bash")
        for command in commands(fence.text)
    )


def commands(script: str) -> list[str]:
    lines = script.replace("\\\n", " ").splitlines()
    return [line.strip() for line in lines if line.strip() and not line.lstrip().startswith("#")]


@pytest.mark.parametrize(("document", "section"), sections())
def test_what_a_section_tells_people_to_run_runs(reader: Reader, document: str, section: str):
    with BESIDE.get(document, nothing)(reader) as variables:
        reader.variables = variables
        for fence in fences(GOES_ON[document]) if document in GOES_ON else ():
            if fence.language in ("python", "sql") and not fence.quotes:
                assert run_or_append(reader, fence.text) is None
        run_section(reader, document, section)
    leaves = LEAVES.get(section or document)
    assert not leaves or list(reader.folder.glob(leaves)), leaves


@contextmanager
def nothing(_: Reader) -> Generator[dict[str, str]]:
    yield {}


def run_section(reader: Reader, document: str, section: str) -> None:
    output: str | None = None
    for fence in fences(document):
        if fence.quotes or section not in ("", fence.section):
            continue
        where = f"{document}:{fence.line}"
        if fence.language in ("sh", "bash"):
            for command in commands(fence.text):
                if command.startswith("export "):
                    reader.exports.append(command)
                elif command == "make run":
                    reader.make_run()
                elif command in INSTEAD:
                    INSTEAD[command](reader, command)
                else:
                    reader.shell(command)
        elif fence.language in ("python", "sql"):
            output = run_or_append(reader, fence.text)
        elif fence.language == "diff":
            change(reader, fence.text)
        elif fence.language == "text" and fence.follows and output is not None:
            assert output.strip() == fence.text.strip(), where
        else:
            assert fence.language in ("text", "mermaid"), f"{where}: who runs a {fence.language!r} fence?"


def run_or_append(reader: Reader, code: str) -> str | None:
    named = re.match(r"(?:#|--) (\S+\.(?:py|sql))\n", code)
    if not named:
        return reader.run(".venv/bin/python", "-c", code)
    reader.is_fresh = False
    (reader.folder / named[1]).parent.mkdir(parents=True, exist_ok=True)
    with (reader.folder / named[1]).open("a", encoding="utf-8") as file:
        file.write(f"\n\n{code}\n")
    return None


def change(reader: Reader, diff: str) -> None:
    reader.is_fresh = False
    name, *lines = diff.splitlines()
    path = reader.folder / name.removeprefix("# ")
    before, after = ("\n".join(line[1:] for line in lines if line[0] in kept) for kept in ("- ", "+ "))
    text = path.read_text(encoding="utf-8")
    assert text.count(before) == 1, f"{path.name} has this {text.count(before)} times: {before}"
    path.write_text(text.replace(before, after), encoding="utf-8")


def written_commands() -> set[str]:
    return {
        command
        for document in DOCUMENTS
        for fence in fences(document)
        if fence.language in ("sh", "bash")
        for command in commands(fence.text)
    }


def test_each_replaced_command_is_still_in_the_documents():
    assert set(INSTEAD) <= written_commands()


def test_the_programs_that_documents_run_are_there_after_make_run():
    """It installs no development tools."""
    project = tomllib.loads((PROJECT_ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    installed = {project["name"], *(re.split(r"[^\w-]", each)[0] for each in project["dependencies"])}
    owners = {script.name: script.dist.name for script in entry_points(group="console_scripts") if script.dist}
    programs = set(re.findall(r"\.venv/bin/([\w-]+)", "\n".join(written_commands()))) & owners.keys()
    assert programs >= {"dagster", "dg", "mds"}
    assert {owners[program] for program in programs} <= installed


def prose(path: Path) -> str:
    """A markdown file without its fences."""
    return re.sub(r"^```.*?^```$", "", path.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)


def anchors(path: Path) -> set[str]:
    """The headings as GitHub links to them."""
    headings = re.findall(r"^#+ (.*)$", prose(path), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("document", markdown_files())
def test_links_lead_to_what_exists(document: str):
    path = PROJECT_ROOT / document
    for link in re.findall(r"\]\(([^)\s]+)\)", prose(path)):
        if re.match(r"https?://", link):
            continue
        file, _, anchor = link.partition("#")
        target = path.parent / file if file else path
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


@pytest.mark.parametrize("document", markdown_files())
def test_code_that_is_named_or_quoted_exists(document: str):
    """A link such as [`newest_rows`](../mds_assets/stack/blocks/as_of.py) names what that file has."""
    path = PROJECT_ROOT / document
    for name, link in re.findall(r"\[`([^`\]]+)`\]\(([^)\s]+\.(?:py|sql|toml))\)", prose(path)):
        code = (path.parent / link).read_text(encoding="utf-8")
        assert link.endswith(name) or all(part in code for part in name.split(".")), f"{link} has no {name}"
    for fence in fences(document):
        if fence.quotes:
            lines = [line.strip() for line in (PROJECT_ROOT / fence.quotes).read_text(encoding="utf-8").splitlines()]
            for part in re.split(r"^ *\.\.\.$", fence.text, flags=re.MULTILINE):
                quoted = [line.strip() for line in part.strip().splitlines()]
                assert any(lines[at : at + len(quoted)] == quoted for at in range(len(lines))), (
                    f"{document}:{fence.line}: {fence.quotes} does not say {part}"
                )


@pytest.mark.parametrize("document", markdown_files())
def test_a_page_is_short(document: str):
    """Some 200 lines; the README 150. The pages of tables and decisions are not read from top to bottom."""
    lines = len((PROJECT_ROOT / document).read_text(encoding="utf-8").splitlines())
    if document != "docs/reference/tables.md":
        assert lines <= (150 if document == "README.md" else 220)


@pytest.mark.parametrize("document", markdown_files())
def test_diagrams_say_what_they_are(document: str):
    for fence in fences(document):
        if fence.language == "mermaid":
            assert re.match(r"(flowchart|gantt|sequenceDiagram)\b.*\n.*\S", fence.text), f"{document}:{fence.line}"


# A table's declaration, the port of a deployment's code server, a file of GitHub's runners, and a prefix.
_OTHERS = {"GITHUB_REPOS", "MDS_CODE_PORT", "GITHUB_STEP_SUMMARY", "GITHUB_"}


@pytest.mark.parametrize("document", [*markdown_files(), ".env.example", ".github/workflows/ci.yml"])
def test_only_existing_settings_and_make_targets_are_named(document: str):
    text = (PROJECT_ROOT / document).read_text(encoding="utf-8")
    assert set(re.findall(r"\b(?:GITHUB|MDS)_[A-Z_]+\b", text)) - _OTHERS <= SETTINGS
    targets = set(re.findall(r"^([a-z-]+):", (PROJECT_ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    assert set(re.findall(r"`make ([a-z-]+)", text)) <= targets
