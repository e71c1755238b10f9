"""Promises of `mds sql`, and of `mds run` and `mds show` whatever the source; GitHub's are in its test_main_job.py."""

import csv
import fcntl
import io
import json
import os
import pty
import re
import shutil
import signal
import sqlite3
import struct
import subprocess
import sys
import termios
from collections.abc import Callable
from contextlib import closing, suppress
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pyte
import pytest
from dagster import asset

from mds_assets.stack.cli.summary import _without_private  # pyright: ignore[reportPrivateUsage]
from mds_assets.stack.names import WAREHOUSE
from mds_assets.stack.table import column, table
from mds_assets.stack.warehouse import warehouse
from mds_assets_tests.runs import Runs
from mds_assets_tests.stack.clone import Clone
from mds_assets_tests.stack.io_managers.warehouse import DAILY, Warehouse

DAY = date(2024, 2, 29)
REPOS = table(
    [
        column("id", "BIGINT", "Its id."),
        column("name", "VARCHAR", "Its name.", nullable=True),
        column("mean", "DOUBLE", "A mean."),
        column("topics", "VARCHAR[]", "Topics."),
        column("seen_at", "TIMESTAMPTZ", "When it was seen, UTC."),
        *(column(f"a_number_with_a_long_name_{number}", "BIGINT", "A number.", nullable=True) for number in range(9)),
    ]
)


@asset(key=["marts", "repos"], partitions_def=DAILY, metadata=REPOS.metadata)
def repos() -> None:
    """A table."""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Runs:
    """A lake of one table and the warehouse over it."""
    project = Runs(tmp_path_factory.mktemp("project"))
    lake = Warehouse(project.lake)
    seen_at = datetime(2024, 2, 29, 12, tzinfo=UTC)
    rows = [
        {"id": 7, "name": "[red]", "mean": 1.5, "topics": ["a", "b"], "seen_at": seen_at},
        {"id": 70_000_000_000, "name": None, "mean": 2.0, "topics": [], "seen_at": seen_at},
    ]
    lake.land(repos, DAY, {"data": pa.Table.from_pylist(rows, REPOS.arrow_schema())})
    built = warehouse(list(repos.specs))
    lake.run([repos, built], None, only=built)
    return project


def sql(project: Runs, *words: str) -> str:
    ended = project.command("mds", "sql", *words)
    assert ended.returncode == 0, ended.stderr
    assert not ended.stderr
    return ended.stdout


def cells(line: str) -> list[str]:
    """The cells of a printed row, which stand two spaces apart at least."""
    return re.split(r"\s{2,}", line.strip())


def printed_rows(printed: str) -> list[str]:
    """The lines below a heading and its rule."""
    lines = [line for line in printed.splitlines() if line.strip()]
    rule = next((number for number, line in enumerate(lines) if set(line.strip()) == {"─"}), -1)
    return lines[rule + 1 :]


def test_a_result_is_a_table_with_numbers_to_the_right_and_timestamps_in_utc(project: Runs):
    printed = sql(project, "SELECT id, name, mean, seen_at, day FROM marts.repos_latest ORDER BY id")
    heading = printed.strip().splitlines()[0]
    assert cells(heading) == ["id", "name", "mean", "seen_at", "day"]
    first, second = printed_rows(printed)
    assert cells(first) == ["7", "[red]", "1.5", "2024-02-29 12:00:00+00", "2024-02-29"]
    assert cells(second) == ["70000000000", "NULL", "2.0", "2024-02-29 12:00:00+00", "2024-02-29"]
    assert first.index("7") == second.index("70000000000") + len("70000000000") - 1


def test_a_result_that_is_too_wide_is_shown_row_by_row_with_no_word_broken(project: Runs):
    printed = sql(project, "FROM marts.repos ORDER BY id")
    lines = [cells(line) for line in printed_rows(printed)]
    names = [column.name for column in REPOS.columns] + ["day"]
    assert [name for name, _ in lines] == names * 2
    assert [value for name, value in lines if name == "topics"] == ["[a, b]", "[]"]
    assert max(map(len, printed.splitlines())) <= 80


def test_a_long_result_is_cut_and_says_so_and_an_empty_one_has_its_columns(project: Runs):
    printed = sql(project, "SELECT range AS n FROM range(1000) ORDER BY n DESC")
    assert [cells(line) for line in printed_rows(printed)[:-1]] == [[str(n)] for n in range(999, 899, -1)]
    assert printed.endswith("The first 100 rows: --csv or --json print all.\n")
    assert "The first" not in sql(project, "FROM range(100)")
    assert "seen_at" in sql(project, "SELECT seen_at FROM marts.repos WHERE id = 0")


def test_csv_has_all_rows_and_tells_null_from_empty(project: Runs, tmp_path: Path):
    assert sql(project, "--csv", "SELECT id, name, topics, seen_at FROM marts.repos ORDER BY id") == (
        'id,name,topics,seen_at\n7,[red],"[a, b]",2024-02-29 12:00:00+00\n70000000000,,[],2024-02-29 12:00:00+00\n'
    )
    assert sql(project, "--csv", "SELECT '' AS empty, NULL AS none") == 'empty,none\n"",\n'
    assert len(list(csv.reader(io.StringIO(sql(project, "--csv", "FROM range(1000)"))))) == 1001


def test_json_has_all_rows_and_types(project: Runs):
    printed = sql(project, "--json", "SELECT id, name, mean, topics, seen_at, day FROM marts.repos ORDER BY id")
    moment = "2024-02-29 12:00:00+00"
    assert json.loads(printed) == [
        {"id": 7, "name": "[red]", "mean": 1.5, "topics": ["a", "b"], "seen_at": moment, "day": "2024-02-29"},
        {"id": 70_000_000_000, "name": None, "mean": 2.0, "topics": [], "seen_at": moment, "day": "2024-02-29"},
    ]
    assert json.loads(sql(project, "--json", "FROM marts.repos WHERE id = 0")) == []
    assert len(json.loads(sql(project, "--json", "FROM range(1000)"))) == 1000


@pytest.mark.parametrize(
    "query", ["SHOW ALL TABLES", "DESCRIBE marts.repos", "EXPLAIN FROM marts.repos", "SUMMARIZE marts.repos"]
)
def test_statements_that_are_no_select_answer_too(project: Runs, query: str):
    assert "repos" in sql(project, query) or "mean" in sql(project, query)


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("SELCT", 'Parser Error: syntax error at or near "SELCT"'),
        ("FROM marts.repo", 'Catalog Error: Table with name repo does not exist! Did you mean "marts.repos"'),
        ('FROM "marts"."repo"', 'Catalog Error: Table with name repo does not exist! Did you mean "marts.repos"'),
        ("FROM repo", 'Catalog Error: Table with name repo does not exist! Did you mean "marts.repos'),
        ("SELECT nam FROM marts.repos", 'Binder Error: Referenced column "nam" not found in FROM clause! Candidate'),
        ("SELECT error('it broke') FROM marts.repos", "Invalid Input Error: it broke"),
        ("/* nothing */", "there is no statement to execute"),
        ("CREATE TABLE mine (x INT)", 'Invalid Input Error: Cannot execute statement of type "CREATE" on database'),
    ],
)
def test_what_duckdb_refuses_is_one_line_in_its_words_and_exit_code_1(project: Runs, query: str, said: str):
    before = (project.lake / WAREHOUSE).read_bytes()
    for options in ([], ["--csv"], ["--json"]):
        ended = project.command("mds", "sql", *options, query)
        assert ended.returncode == 1
        (line,) = ended.stderr.splitlines()
        assert line.startswith(f"Error: {said}")
    assert (project.lake / WAREHOUSE).read_bytes() == before


def test_without_a_warehouse_it_says_what_makes_one(tmp_path: Path):
    project = Runs(tmp_path)
    ended = project.command("mds", "sql", "SELECT 1")
    assert ended.returncode == 1
    assert ended.stderr == f"Error: there is no {project.lake / WAREHOUSE} yet: `mds run` creates it\n"
    assert not project.lake.exists()


def test_the_warehouse_of_a_lake_that_was_copied_is_not_asked_about_the_other_one(project: Runs, tmp_path: Path):
    copied = Runs(tmp_path)
    shutil.copytree(project.lake, copied.lake)
    ended = copied.command("mds", "sql", "FROM marts.repos")
    assert ended.returncode == 1
    warehouse = copied.lake / WAREHOUSE
    assert ended.stderr == f"Error: {warehouse} belongs to a lake in another folder: `mds run` builds a new one\n"


def test_csv_and_json_at_once_are_refused(project: Runs):
    ended = project.command("mds", "sql", "--csv", "--json", "SELECT 1")
    assert ended.returncode == 1
    assert ended.stderr == "Error: --csv and --json both set the output format: use only one\n"


_ASKS = """
import sys
from mds_assets.stack.cli import main
try:
    main()
except SystemExit as ended:
    assert not ended.code
assert "duckdb" in sys.modules
assert "dagster" not in sys.modules
"""


def test_it_does_not_wait_for_dagster_to_be_imported(project: Runs):
    words = [sys.executable, "-c", _ASKS, "sql", "FROM marts.repos_latest"]
    environment = os.environ | project.environment
    ended = subprocess.run(words, env=environment, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr


# --- private values in the terminal

PRIVATE = [
    column("id", "BIGINT", "Its id."),
    column("name", "VARCHAR", "Its name.", nullable=True, private=True),
    column("kind", "VARCHAR", "public or private; null when unknown.", nullable=True),
]
ROWS = pl.LazyFrame(
    {"id": [1, 2, 3, 4], "name": ["a", "hush", "hush", None], "kind": ["public", "private", None, "public"]}
)


def test_a_private_column_s_values_are_shown_of_rows_that_the_declaration_calls_public():
    shown = _without_private(ROWS, table(PRIVATE, public="kind = 'public'")).collect()
    assert shown.rows() == [
        (1, "a", "public"),
        (2, "(private)", "private"),
        (3, "(private)", None),
        (4, None, "public"),
    ]


def test_a_private_column_is_left_out_where_no_row_is_declared_public():
    assert _without_private(ROWS, table(PRIVATE)).collect().columns == ["id", "kind"]


# --- mds run and mds show, on a project whose only source is the toy

YESTERDAY = datetime.now(UTC).date() - timedelta(days=1)


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Clone:
    """The project, before its first run."""
    clone = Clone(tmp_path_factory.mktemp("clone"))
    clone.environment["COLUMNS"] = "80"
    return clone


def test_a_run_shows_what_it_made_the_marts_and_where_next_of_the_tables_there_are(clone: Clone):
    ended = clone.command("mds", "run", "--days", "3", "--to", str(YESTERDAY - timedelta(days=1)))
    assert ended.returncode == 0, ended.stderr
    made = {name: numbers for name, *numbers in map(cells, ended.stdout.splitlines()) if numbers}
    assert made["✓ raw/orders"][:2] == made["✓ staging/orders"][:2] == ["3 days", "12 rows"]
    assert made["✓ marts/revenue"][:2] == ["3 days", "6 rows"]
    assert f"marts/revenue as of {YESTERDAY - timedelta(days=1)}" in ended.stdout
    assert 'mds sql "FROM marts.revenue_latest"' in ended.stdout
    assert "github" not in ended.stdout.lower()
    assert "mds report" not in ended.stdout
    # After six o'clock there is a warning as well, since yesterday is missing: `! is_fresh of ...`.
    unwrapped = [line for line in ended.stdout.splitlines() if not line.startswith(("Lake:", "! is_fresh"))]
    assert max(map(len, unwrapped)) <= 80


def test_show_counts_landed_days_and_neither_early_ones_nor_days_of_a_table_without_any(clone: Clone):
    """The last run fetched yesterday's orders early."""
    assert list((clone.lake / f"raw/orders/day={YESTERDAY}").glob("*.early.parquet"))
    ended = clone.command("mds", "show")
    assert ended.returncode == 0, ended.stderr
    shown = {name: rest for name, *rest in map(cells, ended.stdout.splitlines()) if rest}
    first, last = str(YESTERDAY - timedelta(days=3)), str(YESTERDAY - timedelta(days=1))
    assert shown["raw/orders"] == shown["staging/orders"] == shown["marts/revenue"] == ["3", first, last]
    assert shown["staging/orders_now"] == ["one"]


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["run", "--org", "acme"], "No such option: --org.*; see `mds run --help`"),  # the option of a source
        (
            ["run", "--from", "yesterday"],
            "Invalid value for '--from': 'yesterday' is not a day: write it as YYYY-MM-DD; see `mds run --help`",
        ),
        (["run", "--days", "0"], "Invalid value for '--days': .* 1; see `mds run --help`"),
        (["why"], "Missing argument 'table'; see `mds why --help`"),
        (["walk"], "No such command 'walk'; see `mds --help`"),
    ],
)
def test_a_command_that_is_misspelt_is_one_line_and_exit_code_2(clone: Clone, words: list[str], line: str):
    ended = clone.command("mds", *words)
    assert ended.returncode == 2
    assert not ended.stdout
    (printed,) = ended.stderr.splitlines()
    assert re.fullmatch(f"Error: {line}", printed)


def test_without_a_command_the_commands_are_listed(clone: Clone):
    ended = clone.command("mds")
    assert ended.returncode == 2
    assert "Write the column lineage" in ended.stdout
    assert not ended.stderr


# --- commands that cannot work end in one line, before Dagster starts a run


def in_a_file(clone: Clone) -> dict[str, str]:
    file = clone.root / "a-file"
    file.touch()
    return {"MDS_DATA_DIR": str(file)}


def below_a_file(clone: Clone) -> dict[str, str]:
    return {"MDS_DATA_DIR": in_a_file(clone)["MDS_DATA_DIR"] + "/lake"}


def where_no_folder_can_be_made(_: Clone) -> dict[str, str]:
    return {"MDS_DATA_DIR": "/proc/lake"}


def in_an_empty_folder(clone: Clone) -> dict[str, str]:
    return {"MDS_DATA_DIR": str(clone.root / "empty")}


@pytest.mark.parametrize(
    ("environment", "words", "line"),
    [
        (in_a_file, [], r"the lake MDS_DATA_DIR='.*/a-file' cannot be written: Not a directory\. .* set MDS_DATA_DIR"),
        (below_a_file, [], r"the lake MDS_DATA_DIR='.*/a-file/lake' cannot be written: Not a directory\."),
        (where_no_folder_can_be_made, [], "the lake MDS_DATA_DIR='/proc/lake' cannot be written: "),
        (in_an_empty_folder, ["--skip-ingest"], r".*/empty has no raw rows to rebuild from: run without --skip-ingest"),
        (
            lambda _: {},
            ["--from", "2026-03-02", "--to", "2026-03-01"],
            "--from 2026-03-02 is after --to 2026-03-01: swap them",
        ),
        (lambda _: {"DAGSTER_HOME": "here"}, [], "DAGSTER_HOME='here' is not the absolute path of a folder: create it"),
        (lambda _: {"DAGSTER_HOME": "/nowhere"}, [], "DAGSTER_HOME='/nowhere' is not the absolute path of a folder"),
    ],
)
def test_what_cannot_work_is_one_line(
    clone: Clone,
    monkeypatch: pytest.MonkeyPatch,
    environment: Callable[[Clone], dict[str, str]],
    words: list[str],
    line: str,
):
    for name, value in environment(clone).items():
        monkeypatch.setitem(clone.environment, name, value)
    ended = clone.command("mds", "run", *words)
    assert ended.returncode == 1
    (printed,) = ended.stderr.splitlines()
    assert re.match(f"Error: {line}", printed), printed
    assert not [name for name in ended.stdout.splitlines() if "✓" in name or "✗" in name]


# --- interrupts, and what a terminal shows


def statuses(clone: Clone) -> list[str]:
    """Those of Dagster's runs, the newest first; none before there is a database."""
    database = clone.home / "history" / "runs.db"
    if not database.exists():
        return []
    with closing(sqlite3.connect(database)) as con:
        return [status for (status,) in con.execute("SELECT status FROM runs ORDER BY id DESC")]


@pytest.mark.slow(6)
@pytest.mark.parametrize("seen", [f"{YESTERDAY}", "✓ raw/orders", "✓ staging/orders"])
def test_an_interrupt_ends_in_one_line_a_canceled_run_and_whole_tables(clone: Clone, seen: str):
    before = len(statuses(clone))
    program = Path(sys.executable).with_name("mds")
    running = subprocess.Popen(
        [program, "run", "--days", "300"],  # so many that it does not end before the interrupt arrives
        env=os.environ | clone.environment,
        cwd=clone.home,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with running:
        assert running.stdout
        assert running.stderr
        while seen not in running.stdout.readline():
            pass
        running.send_signal(signal.SIGINT)
        printed, errors = running.stdout.read(), running.stderr.read()
    assert running.returncode == 130
    assert errors.strip() == "Interrupted; nothing is half-written; run it again"
    assert "Traceback" not in printed
    assert set(statuses(clone)[: len(statuses(clone)) - before]) <= {"CANCELED"}
    assert not [file for file in clone.lake.rglob("*.parquet") if not is_whole(file)]
    assert not [*clone.lake.glob(".tmp/*")]


def is_whole(file: Path) -> bool:
    return pq.ParquetFile(file).metadata.num_rows >= 0


def test_a_terminal_shows_one_live_line_and_a_summary_on_one_screen(clone: Clone):
    screen = pyte.HistoryScreen(80, 24, history=1000)
    stream = pyte.ByteStream(screen)
    process, terminal = pty.fork()
    if process == 0:
        program = Path(sys.executable).with_name("mds")
        os.chdir(clone.home)
        os.execve(program, [str(program), "run", "--days", "3"], os.environ | clone.environment | {"TERM": "xterm"})  # noqa: S606
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    live: set[str] = set()
    with suppress(OSError):  # the process has ended
        while sent := os.read(terminal, 1000):
            stream.feed(sent)
            live |= {line.rstrip() for line in screen.display if " tables" in line and "━" in line}
    assert os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) == 0
    os.close(terminal)
    scrolled = ["".join(row[column].data for column in range(80)).rstrip() for row in screen.history.top]
    lines = [*scrolled, *(line.rstrip() for line in screen.display)]
    while not lines[-1]:
        lines.pop()
    assert any("of 5 tables" in line for line in live)
    # Nothing of the live line is left, and each table has one line.
    assert not [line for line in lines if "━" in line or any("\u2800" < letter < "\u28ff" for letter in line)]
    made = [line.split()[1] for line in lines if line.startswith("✓")]
    assert sorted(made) == ["marts/revenue", "raw/orders", "staging/orders", "staging/orders_now", "warehouse"]
    # No advice that leads to itself: days before the first cannot be brought by a run.
    assert not [line for line in lines if line.startswith("!")]
    (summary,) = [number for number, line in enumerate(lines) if re.match(r"4 tables of 3 days: .* rows, .* s$", line)]
    assert len(lines) - summary <= 24
    assert f"marts/revenue as of {YESTERDAY}" in lines[summary + 1]
