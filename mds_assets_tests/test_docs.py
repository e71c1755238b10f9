"""Promises of the documentation: what it tells people to run runs, and what it names exists.

The fences of `DOCUMENTS` are executed section by section (`##`), in order, each section in a fresh copy of the
repository, as a reader would:

- `sh`: each command literally, unless `INSTEAD` has an entry for it; an `export` holds until the section ends.
- `python`: run as a script; a `text` fence right after it is its output, to the letter. If its first line is a comment
  that names a file, it is appended to that file instead, as is `sql`.
- `diff`: its first line names the file; the `-` lines, which must be there once, become the `+` lines.
"""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
import requests
import typer.main

from mds_assets.definitions import defs
from mds_assets.github.sample.organisation import as_github, snapshots
from mds_assets.stack.cli import app
from mds_assets.stack.settings import PROJECT_ROOT, Settings
from mds_assets.stack.table import COLUMN_SCHEMA, declared_schema
from mds_assets_tests.github.server import GitHubServer
from mds_assets_tests.store import free_ports, running

DOCUMENTS = ("README.md", "TECHNICAL.md", "CONTRIBUTING.md", "docs/add-a-table.md")
SETTINGS = {str(setting.validation_alias): setting for setting in Settings.model_fields.values()}
README = (PROJECT_ROOT / "README.md").read_text(encoding="utf-8")

# What a section leaves behind when its commands have run.
LEAVES = {
    "Start": "data/marts/daily_activity/day=*/data.parquet",
    "The report": "data/reports/activity/day=*/report.html",
    "Dagster": "data/marts/daily_activity/day=2026-11-20/data.parquet",
    "Query it": "repos.csv",
    "A mart": "data/marts/licenses/day=*/data.parquet",
    "A source": "data/staging/incidents/day=2026-11-20/data.parquet",
}


@dataclass
class Reader:
    """Somebody with a fresh copy of the repository, whose `.venv` is the one that runs the tests."""

    folder: Path
    exports: list[str] = field(default_factory=list)

    def run(self, *command: str, **variables: str) -> str:
        """Run a program there and give what it printed."""
        ended = subprocess.run(
            command, cwd=self.folder, env=self.environment | variables, capture_output=True, text=True, check=False
        )
        assert ended.returncode == 0, f"{' '.join(command)}\n{ended.stdout[-3000:]}\n{ended.stderr[-3000:]}"
        return ended.stdout

    def shell(self, command: str, **variables: str) -> str:
        """Run a command line there, after the section's exports so far, and give what it printed."""
        return self.run("bash", "-euc", "\n".join([*self.exports, command]), **variables)

    @property
    def environment(self) -> dict[str, str]:
        """The environment without settings, Dagster's home and the `make` that may have started the tests."""
        ours = re.compile("GITHUB_|MDS_|DAGSTER_|MAKE|MFLAGS|PYTEST_")
        # The copy's package, not the repository's: `.venv` holds a link to the latter.
        return {name: value for name, value in os.environ.items() if not ours.match(name)} | {
            "PYTHONPATH": str(self.folder)
        }


@pytest.fixture
def reader(tmp_path: Path) -> Reader:
    bin_folder = Path(sys.prefix) / "bin"
    if not (bin_folder / "uv").exists() or not (PROJECT_ROOT / ".git").exists():
        pytest.skip("needs a git checkout and the environment that `make` creates")
    listed = subprocess.run(
        ["git", "ls-files", "-coz", "--exclude-standard"], cwd=PROJECT_ROOT, capture_output=True, text=True, check=True
    )
    for name in filter(None, listed.stdout.split("\0")):
        if (PROJECT_ROOT / name).is_file():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(PROJECT_ROOT / name, tmp_path / name)
    # A folder of links, and not a link, so that `make` finds it up to date and never syncs the real one to the copy.
    (tmp_path / ".venv").mkdir()
    for link in ("bin", "lib", "pyvenv.cfg"):
        (tmp_path / ".venv" / link).symlink_to(Path(sys.prefix) / link)
    for done in ("synced", "synced-dev"):
        (tmp_path / ".venv" / done).touch()
    return Reader(tmp_path)


def dry_run(reader: Reader, command: str) -> None:
    """`make test` would run this test again, and `make lint` is what `.ci/run` begins with: the target is only read."""
    assert reader.shell(f"{command} --dry-run").strip()


def own_organisation(reader: Reader, command: str) -> None:
    """GitHub is not asked: a local server lists the sample's repositories as that organisation's, given its token."""
    token = "ghp_thisIsNotARealToken"
    repositories = [as_github(snapshot) for snapshot in snapshots(int(datetime.now(UTC).timestamp()))]
    with GitHubServer({"dagster-io": repositories}, token=token) as server:
        printed = reader.shell(command, GITHUB_API_URL=server.url, GITHUB_TOKEN=token)
    assert "of dagster-io" in printed
    assert token not in printed
    for folder in (".dagster", "data"):
        for file in (reader.folder / folder).rglob("*"):
            assert not file.is_file() or token.encode() not in file.read_bytes(), f"the token is in {file}"


def report_unopened(reader: Reader, command: str) -> None:
    """It may open a browser: the page is asked for instead."""
    assert Path(reader.shell(f"{command} --no-open").strip()) == reader.folder / "data/reports/activity/latest.html"


def user_interface(reader: Reader, command: str) -> None:
    """A server never ends: it is started on a free port, asked for its tables, and stopped."""
    (port,) = free_ports(1)
    with (reader.folder / "server.log").open("w") as log:
        server = subprocess.Popen(
            [*command.split(), f"PORT={port}"],
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
    assert programs == {".venv/bin/ruff", ".venv/bin/basedpyright"}
    for program in programs:
        reader.run(program, "--version")


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
        store.files.mkdir("your-bucket")
        printed = reader.shell(command, **store.environment)
        assert "Lake: s3://your-bucket/lake" in printed
        assert "lake/warehouse.duckdb" in store.contents("s3://your-bucket")


def would_sync(reader: Reader, command: str) -> None:
    """It would change the environment of the tests, which has the extra."""
    reader.shell(f"{command} --dry-run")


def incidents(reader: Reader, command: str) -> None:
    """GitHub's status page is not asked: a local server tells of two incidents, one of that day."""
    told = [
        {
            "id": str(day),
            "name": "Delays",
            "impact": "minor",
            "created_at": f"2026-11-{day}T12:00:00.123Z",
            "updated_at": f"2026-11-{day}T13:00:00Z",
            "components": [{"id": "1"}],
        }
        for day in (19, 20)
    ]
    (reader.folder / "incidents.json").write_text(json.dumps({"incidents": told}), encoding="utf-8")
    handler = partial(SimpleHTTPRequestHandler, directory=reader.folder)
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        for _ in range(2):  # a day that is landed again is not twice in staging
            reader.shell(command, STATUS_URL=f"http://127.0.0.1:{server.server_port}/incidents.json")
        server.shutdown()
    shown = reader.shell(".venv/bin/mds show")
    assert "staging/incidents" in shown


# Commands that cannot run here as they stand, and what runs instead. Any other command runs literally.
INSTEAD: dict[str, Callable[[Reader, str], None]] = {
    "make test": dry_run,
    "make lint": dry_run,
    "make chaos SCHEDULES=20": dry_run,  # it takes long; test_chaos.py plays some of its schedules
    "make bench": tiny_bench,
    "make bench BENCH='--rows 5000000 --rounds 3 --days 1 --part all'": tiny_bench,
    "make dev": user_interface,
    ".venv/bin/mds report": report_unopened,
    ".venv/bin/dagster asset materialize -m mds_assets.definitions "
    "--select 'key:raw/github_incidents or key:staging/incidents' --partition 2026-11-20": incidents,
    "GITHUB_ORG=dagster-io make run": own_organisation,
    "MDS_DATA_DIR=s3://your-bucket/lake make run": in_a_store,
    ".venv/bin/uv sync --quiet --locked --no-dev --inexact --extra scale": would_sync,
    ".venv/bin/uvx pre-commit install": hooks_exist,
    'duckdb -readonly data/warehouse.duckdb "FROM marts.daily_activity_latest"': duckdb_cli,
}


@dataclass(frozen=True)
class Fence:
    """A fenced block of a document; `follows` says that nothing stands between it and the fence before."""

    section: str
    line: int
    language: str
    text: str
    follows: bool


def fences(document: str) -> Iterator[Fence]:
    section, start, language, block, follows = "", 0, "", list[str](), False
    for number, line in enumerate((PROJECT_ROOT / document).read_text(encoding="utf-8").splitlines(), 1):
        if start and line == "```":
            yield Fence(section, start, language, "\n".join(block), follows)
            start, block, follows = 0, [], True
        elif start:
            block.append(line)
        elif line.startswith("```"):
            start, language = number, line.removeprefix("```")
        elif line:
            follows = False
            section = line.removeprefix("## ") if line.startswith("## ") else section
    assert not start, f"{document}:{start}: the fence is not closed"


def sections() -> list[tuple[str, str]]:
    """The sections that have something to run, by title: that spreads the README's long ones over parallel workers."""
    runnable = ("sh", "bash", "python", "diff")
    found = {(fence.section, name) for name in DOCUMENTS for fence in fences(name) if fence.language in runnable}
    return [(document, section) for section, document in sorted(found)]


def commands(script: str) -> list[str]:
    lines = script.replace("\\\n", " ").splitlines()
    return [line.strip() for line in lines if line.strip() and not line.lstrip().startswith("#")]


@pytest.mark.parametrize(("document", "section"), sections())
def test_what_a_section_tells_people_to_run_runs(reader: Reader, document: str, section: str):
    output: str | None = None
    for fence in fences(document):
        if fence.section != section:
            continue
        where = f"{document}:{fence.line}"
        if fence.language in ("sh", "bash"):
            for command in commands(fence.text):
                if command.startswith("export "):
                    reader.exports.append(command)
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
    if section in LEAVES:
        assert list(reader.folder.glob(LEAVES[section]))


def run_or_append(reader: Reader, code: str) -> str | None:
    named = re.match(r"(?:#|--) (\S+\.(?:py|sql))\n", code)
    if not named:
        return reader.run(".venv/bin/python", "-c", code)
    (reader.folder / named[1]).parent.mkdir(exist_ok=True)
    with (reader.folder / named[1]).open("a", encoding="utf-8") as file:
        file.write(f"\n\n{code}\n")
    return None


def change(reader: Reader, diff: str) -> None:
    name, *lines = diff.splitlines()
    path = reader.folder / name.removeprefix("# ")
    before, after = ("\n".join(line[1:] for line in lines if line[0] in kept) for kept in ("- ", "+ "))
    text = path.read_text(encoding="utf-8")
    assert text.count(before) == 1, f"{path.name} has this {text.count(before)} times: {before}"
    path.write_text(text.replace(before, after), encoding="utf-8")


def test_each_replaced_command_is_still_in_the_documents():
    written = {
        command
        for document in DOCUMENTS
        for fence in fences(document)
        if fence.language in ("sh", "bash")
        for command in commands(fence.text)
    }
    assert set(INSTEAD) <= written


def markdown_files() -> list[str]:
    found = [file for pattern in ("*.md", "docs/**/*.md", "deploy/**/*.md") for file in PROJECT_ROOT.glob(pattern)]
    return sorted(str(path.relative_to(PROJECT_ROOT)) for path in found)


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
def test_diagrams_say_what_they_are(document: str):
    for fence in fences(document):
        if fence.language == "mermaid":
            assert re.match(r"(flowchart|gantt|sequenceDiagram)\b.*\n.*\S", fence.text), f"{document}:{fence.line}"


# A table's declaration, and the port of a deployment's code server.
_OTHERS = {"GITHUB_REPOS", "MDS_CODE_PORT"}


@pytest.mark.parametrize("document", [*markdown_files(), ".env.example", ".github/workflows/ci.yml"])
def test_only_existing_settings_and_make_targets_are_named(document: str):
    text = (PROJECT_ROOT / document).read_text(encoding="utf-8")
    assert set(re.findall(r"\b(?:GITHUB|MDS)_[A-Z_]+\b", text)) - _OTHERS <= set(SETTINGS)
    targets = set(re.findall(r"^([a-z-]+):", (PROJECT_ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    assert set(re.findall(r"`make ([a-z-]+)", text)) <= targets


def test_env_example_names_every_setting_once_commented_out_with_a_value_that_is_allowed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    lines = (PROJECT_ROOT / ".env.example").read_text(encoding="utf-8").splitlines()
    assert all(line.startswith("#") or not line for line in lines)
    examples = [line.removeprefix("#") for line in lines if re.match(r"#\w+=", line)]
    assert [example.partition("=")[0] for example in examples] == list(SETTINGS)

    for name in SETTINGS:
        monkeypatch.delenv(name, raising=False)
    dotenv = tmp_path / ".env"
    dotenv.write_text("\n".join(examples))
    monkeypatch.setitem(Settings.model_config, "env_file", dotenv)
    uncommented = Settings()
    for setting in ("api_url", "lookback_days", "start_date"):
        assert getattr(uncommented, setting) == Settings.model_fields[setting].default


def test_the_readme_tells_every_setting_and_its_default():
    told = dict(re.findall(r"^\| `([A-Z_]+)` \| (.*?) \|", README, re.MULTILINE))
    assert list(told) == list(SETTINGS)
    for name, default in told.items():
        if default.startswith("`"):
            assert default == f"`{SETTINGS[name].default}`"
        else:
            assert SETTINGS[name].default_factory or not SETTINGS[name].default


def test_the_readme_tells_every_option_of_mds_run():
    group: Any = typer.main.get_command(app)
    options = {option for parameter in group.commands["run"].params for option in parameter.opts}
    rows = re.findall(r"^\| `--.*$", README, re.MULTILINE)
    assert {option for row in rows for option in re.findall(r"`(--[\w-]+)", row.split("|")[1])} == options


def test_the_readme_tells_every_table_and_the_columns_of_staging_and_marts():
    rows = re.findall(r"^\| `(\w+/\w+)` \|.*\| (.*) \|$", README, re.MULTILINE)
    tables = {spec.key.to_user_string() for spec in defs.resolve_all_asset_specs() if COLUMN_SCHEMA in spec.metadata}
    assert {table for table, _ in rows} == tables
    for table, columns in rows:
        if table.startswith("raw/"):
            continue
        layer, name = table.split("/")
        (spec,) = [spec for spec in defs.resolve_all_asset_specs() if spec.key.path == [layer, name]]
        declared = declared_schema(table, spec.metadata)
        assert re.findall(r"`(\w+)`", columns) == [column.name for column in declared.columns]
