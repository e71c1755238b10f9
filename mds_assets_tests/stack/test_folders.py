"""Promises of where a lake may be: in any folder that a file system allows, or refused by name, by every command."""

import json
from datetime import timedelta
from pathlib import Path

import duckdb
import pytest

from mds_assets.stack import environment
from mds_assets.stack.cli.app import app
from mds_assets.stack.environment import PROJECT_ROOT, SettingsError, load
from mds_assets.stack.names import LATEST_REPORT, WAREHOUSE
from mds_assets.stack.settings import Settings
from mds_assets_tests.runs import Runs
from mds_assets_tests.stack import toy
from mds_assets_tests.stack.clone import Clone

# Whatever a shell, a glob, SQL, a URL or a Hive partition gives a meaning to, in one path.
ODD = 'day=2020-01-01/country=x/ it\'s a "lake" [of] {a,b} *#&$HOME;`!^(~)<|>, \u00fc\u65e5e\u0301\u202e/s3:/..x'
SOLD = toy.sales()
YESTERDAY = SOLD[-1]["updated_at"].date()
_LAUNCH = ("-m", "mds_assets.definitions")
COMMANDS: dict[str, tuple[str, ...]] = {
    "mds run": ("mds", "run", "--days", "2"),
    "mds show": ("mds", "show"),
    "mds doctor": ("mds", "doctor"),
    "mds plan": ("mds", "plan"),
    "mds why": ("mds", "why", "marts/revenue", str(YESTERDAY)),
    "mds diff": ("mds", "diff", "--select", "key:marts/revenue", "--days", "1"),
    "mds verify": ("mds", "verify", "--days", "1"),
    "mds dictionary": ("mds", "dictionary"),
    "mds lineage": ("mds", "lineage"),
    "mds sql": ("mds", "sql", "--csv", "SELECT count(*) AS n FROM marts.revenue"),
    "mds report": ("mds", "report", "--no-open"),
    "dagster asset": ("dagster", "asset", "materialize", *_LAUNCH, "--select", "*", "--partition", str(YESTERDAY)),
    "dagster job": ("dagster", "job", "execute", *_LAUNCH, "-j", "table_checks"),
    "dg launch": ("dg", "launch", "--assets", "key:staging/orders", "--partition", str(YESTERDAY)),
}
WAYS_IN = ("mds show", "dagster asset", "dg launch")
# Of each of them, a word that it prints.
PRINTED = {
    "mds run": "Lake: ",
    "mds plan": "marts/revenue",
    "mds verify": "0 tables differ",
    "mds show": "staging/orders",
    "mds dictionary": "revenue",
    "mds lineage": "build/lineage.html",
    "mds sql": "n\n",
}


@pytest.fixture(scope="module")
def odd(tmp_path_factory: pytest.TempPathFactory) -> Clone:
    """The toy with its lake in that folder, where one day ran and a report was written."""
    clone = Clone(tmp_path_factory.mktemp("odd"))
    clone.lake = clone.lake / ODD
    clone.environment["MDS_DATA_DIR"] = str(clone.lake)
    ended = clone.command("mds", "run", "--days", "1", cwd=clone.root)
    assert ended.returncode == 0, ended.stderr
    page = clone.lake / LATEST_REPORT
    page.parent.mkdir(parents=True)
    page.write_text("A report.")
    return clone


def test_no_command_of_mds_is_forgotten():
    names = {command.name or getattr(command.callback, "__name__", "") for command in app.registered_commands}
    assert {name.removeprefix("mds ") for name in COMMANDS if name.startswith("mds ")} == names


@pytest.mark.slow(1)
@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_works_on_a_lake_in_an_odd_folder(odd: Clone, name: str):
    ended = odd.command(*COMMANDS[name], cwd=odd.root)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert PRINTED.get(name, "") in ended.stdout
    assert {path.name for path in odd.lake.iterdir()} == {
        ".tmp",
        "marts",
        "raw",
        "reports",
        "staging",
        WAREHOUSE,
    }


@pytest.mark.parametrize("name", WAYS_IN)
def test_every_way_in_refuses_a_folder_by_name(odd: Clone, name: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(odd.environment, "MDS_DATA_DIR", "file://host/x")
    ended = odd.command(*COMMANDS[name], cwd=odd.root)
    assert ended.returncode
    lines = [line for line in (ended.stdout + ended.stderr).splitlines() if "MDS_DATA_DIR" in line]
    assert "MDS_DATA_DIR='file://host/x' is wrong: 'host' is another host: write file:///folder." in lines[0]


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> str:
    return _contents(tmp_path_factory.mktemp("plain"))


@pytest.mark.slow(3)
@pytest.mark.parametrize("name", ["x=y", "day=2020-01-01", "country=Z"])
def test_a_folder_above_the_lake_is_no_partition(tmp_path: Path, expected: str, name: str):
    assert _contents(tmp_path / name) == expected


def _contents(folder: Path) -> str:
    """Every table of a lake in this folder, as the warehouse shows it."""
    runs = Runs.of(folder, toy.orders, toy.staged, toy.current, toy.revenue, shop=SOLD)
    runs.materialise(YESTERDAY - timedelta(days=1), YESTERDAY, layers=["raw", "staging", "marts", "warehouse"])
    views = ("raw.orders", "staging.orders", "staging.orders_now", "marts.revenue", "marts.revenue_latest")
    with duckdb.connect(str(runs.lake / WAREHOUSE), read_only=True) as con:
        rows = [con.sql(f"SELECT COLUMNS(lambda c: c <> '_dlt_load_id') FROM {view} ORDER BY ALL") for view in views]  # noqa: S608
        return json.dumps([each.fetchall() for each in rows], default=str)


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("file://host/x", "'host' is another host"),
        ("file:/x", "file:/ is not s3:// or file://"),
        ("FILE:///x", "FILE:/ is not"),
        ("s3:/x", "s3:/ is not s3:// or file://"),
        ("~nobody", "~nobody is another user's folder"),
        ("~nobody/x", "~nobody is another user's folder"),
        ("a\nb", "it has a line break"),
        ("a\x1b]0;b", "it has a line break or another control character"),
        ("/", "it is no folder of its own"),
        ("//", "it is no folder of its own"),
        (" ", "it is no folder of its own"),
        ("a" * 256, "it is too long"),
        ("\u00e9" * 128, "it is too long"),
        ("a/" * 2_000, "it is too long"),
        ("/tmp/a%20b", "whose path has a %"),  # noqa: S108
    ],
)
def test_what_is_no_folder_is_one_line(monkeypatch: pytest.MonkeyPatch, value: str, reason: str):
    monkeypatch.setenv("MDS_DATA_DIR", value)
    with pytest.raises(SettingsError) as error:
        load(Settings)
    (line,) = error.value.format_message().splitlines()
    assert line.startswith(f"MDS_DATA_DIR={value!r} is wrong: ")
    assert reason in line


@pytest.mark.parametrize(
    ("value", "folder"),
    [
        ("file:///a/b", "/a/b"),
        ("file://localhost/a", "/a"),
        ("/a/b/", "/a/b"),
        ("//a", "/a"),
        ("a/./b", f"{PROJECT_ROOT}/a/b"),
        ("~", str(Path.home())),
        ("~/a", f"{Path.home()}/a"),
        ("C:", f"{PROJECT_ROOT}/C:"),
    ],
)
def test_a_folder_has_one_spelling(monkeypatch: pytest.MonkeyPatch, value: str, folder: str):
    monkeypatch.setenv("MDS_DATA_DIR", value)
    assert load(Settings).data_dir == folder


def test_a_file_in_the_way_is_one_line(odd: Clone, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    (tmp_path / "file").touch()
    monkeypatch.setitem(odd.environment, "MDS_DATA_DIR", str(tmp_path / "file"))
    ended = odd.command("mds", "run", "--days", "1", cwd=odd.root)
    assert ended.returncode == 1
    assert f"MDS_DATA_DIR='{tmp_path / 'file'}' cannot be written" in ended.stderr.splitlines()[-1]


# --- .env


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("MDS_LOOKBACK_DAYS=3\n".encode("utf-16"), "is not in UTF-8: save it in that encoding."),
        ("MDS_SOURCES=\u00fc\n".encode("latin-1"), "is not in UTF-8"),
        (b"MDS_LOOKBACK_DAYS=3\0", "has a NUL character"),
        (b'A=1\n\n MDS_DATA_DIR="/secret\nMDS_LOOKBACK_DAYS=3\n', ", line 3: MDS_DATA_DIR cannot be read: write NAME="),
        (b"MDS_DATA_DIR='/secret\nMDS_LOOKBACK_DAYS=3'\n", ", line 1: MDS_DATA_DIR cannot be read"),
        (b"MDS_DATA_DIR='/secret", ", line 1: MDS_DATA_DIR cannot be read"),
        (b"# a comment\nMDS_DATA_DIR\n", ", line 2: MDS_DATA_DIR cannot be read"),
        (b"MDS_LOOKBACK_DAYS: 3\n", ", line 1: MDS_LOOKBACK_DAYS cannot be read"),
        (b"MDS_LOOKBACK_DAYS=3\n=secret\n", ", line 2: this cannot be read"),
        (b"A=1\n\nMDS_DATA_DIR=secret${HOME}\n", ", line 3: MDS_DATA_DIR has ${...}, which is read as"),
        (b"export MDS_DATA_DIR='secret${NOWHERE:-x}'\n", ", line 1: MDS_DATA_DIR has ${...}"),
    ],
)
def test_a_dotenv_that_cannot_be_read_is_one_line(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, content: bytes, message: str
):
    (tmp_path / ".env").write_bytes(content)
    monkeypatch.setattr(environment, "ENV_FILE", tmp_path / ".env")
    with pytest.raises(SettingsError) as error:
        load(Settings)
    (line,) = error.value.format_message().splitlines()
    assert line.startswith(str(tmp_path / ".env"))
    assert message in line
    assert "secret" not in line


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xef\xbb\xbfMDS_LOOKBACK_DAYS=3\n",
        b"\r\nexport MDS_LOOKBACK_DAYS = '3' # days\r\n",
        b'#"\nMDS_LOOKBACK_DAYS=3\nKEY="-----BEGIN\nabc=\n-----END"\n',
        b"MDS_LOOKBACK_DAYS=3\nEMPTY=\n",
    ],
)
def test_any_other_dotenv_reads_as_it_is_written(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, content: bytes):
    (tmp_path / ".env").write_bytes(content)
    monkeypatch.setattr(environment, "ENV_FILE", tmp_path / ".env")
    monkeypatch.delenv("MDS_LOOKBACK_DAYS", raising=False)
    assert load(Settings).lookback_days == (3 if content else 7)


@pytest.mark.parametrize("name", WAYS_IN)
def test_a_quote_that_is_not_closed_ends_every_way_in(tmp_path: Path, name: str):
    clone = Clone(tmp_path)
    (clone.root / ".env").write_text('MDS_DATA_DIR="/secret\nMDS_LOOKBACK_DAYS=3\n')
    del clone.environment["MDS_DATA_DIR"]
    ended = clone.command(*COMMANDS[name], cwd=clone.root)
    assert ended.returncode
    lines = [line for line in (ended.stdout + ended.stderr).splitlines() if "MDS_DATA_DIR cannot be read" in line]
    assert "write NAME=value, and close each quote in its line." in lines[0]
    assert not (clone.root / "data").exists()
