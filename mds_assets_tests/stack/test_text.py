"""Promises of text from outside, in each sink: it stays readable, and nothing in it acts. All sinks, all characters."""

import csv
import io
import json
import logging
import os
import pty
import re
import subprocess
import sys
import unicodedata
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import duckdb
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from jinja2 import Environment

from mds_assets.stack.cli import sql
from mds_assets.stack.redaction import guard_output, shown
from mds_assets.stack.sensors import post
from mds_assets.stack.terminal import console, rich_table, say
from mds_assets.stack.text import FORMULA, chat_text, json_text, log_text, printable, svg_text
from mds_assets_tests.hostile import HOSTILE, TEXT, acting
from mds_assets_tests.runs import Runs
from mds_assets_tests.webhook import Webhook

fuzz = settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])


def storable(text: str) -> str:
    """What a VARCHAR of DuckDB can hold: lone surrogates never reach the lake."""
    return text.encode(errors="replace").decode()


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], str]]:
    """What `mds` prints to a terminal with colours, so far."""
    printed = io.StringIO()
    monkeypatch.setattr(console, "_file", printed)
    monkeypatch.setattr(console, "_force_terminal", True)
    monkeypatch.setattr(console, "_color_system", 1)
    monkeypatch.setattr(console, "_width", 10_000)

    def take() -> str:
        taken = printed.getvalue()
        printed.seek(0)
        printed.truncate()
        return taken

    yield take


@fuzz
@given(TEXT)
def test_a_visible_escape_takes_the_place_of_what_acts_and_nothing_else_changes(text: str):
    shown = printable(text)
    assert not acting(shown)
    assert printable(shown) == shown
    assert "".join(shown.split("\\")[:1]) == text[: len(shown.split("\\")[0])]
    if not acting(text) and "\u200c" not in text and "\u200d" not in text and shown != text:
        assert set(text) & set(map(chr, [*range(0x2061, 0x2070), *range(0xFDD0, 0xFDF0), 0xFFF9, 0xFFFA, 0xFFFB,
                                         *range(0x1D173, 0x1D17B)]))  # fmt: skip


def test_joiners_stay_where_they_join():
    assert printable("👩\u200d💻 क्\u200dष") == "👩\u200d💻 क्\u200dष"
    assert printable("mds\u200d-assets") == "mds\\u200d-assets"


@fuzz
@given(TEXT, TEXT)
def test_a_terminal_gets_no_control_but_our_own_colours(terminal: Callable[[], str], text: str, other: str):
    say("  ", (text, "yellow"), f" {other}")
    console.print(rich_table({text: False}, [[other]]))
    line, *table = re.sub(r"\x1b\[[\d;]*m", "", terminal()).split("\n")
    assert not acting(line)
    # Without what looks like a password: hypothesis found `https://evil.example@`.
    assert line == f"  {shown(text)}{shown(f' {other}')}"
    assert not acting("".join(table))
    if len(shown(other).strip()) and not unicodedata.combining(other[0]):
        assert shown(other).strip() in "\n".join(table)


@fuzz
@given(TEXT)
def test_html_shows_the_text_and_nothing_of_it_is_an_element(text: str):
    environment = Environment(autoescape=True, finalize=lambda value: printable(value))
    page = environment.from_string('<p title="{{ text }}">{{ text }}</p>').render(text=text)
    elements: list[tuple[str, list[tuple[str, str | None]]]] = []
    data: list[str] = []

    class Reader(HTMLParser):
        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            elements.append((tag, attrs))

        def handle_data(self, data: str) -> None:
            content.append(data)

    content = data
    Reader().feed(page)
    assert elements == [("p", [("title", printable(text))])]
    assert "".join(data) == printable(text)


@fuzz
@given(TEXT)
def test_svg_is_xml_with_the_text(text: str):
    document = (
        f'<svg xmlns="http://www.w3.org/2000/svg" aria-label="{svg_text(text)}"><text>{svg_text(text)}</text></svg>'
    )
    svg = ElementTree.fromstring(document.encode())  # noqa: S314  # our own
    assert svg.get("aria-label") == printable(text)
    assert [each.text or "" for each in svg] == [printable(text)]


@fuzz
@given(TEXT.map(storable), st.integers(), TEXT.map(storable).filter(bool))
@example("text", 0, "*")
@example("text", 0, "^.*$")
def test_csv_has_the_text_and_no_formula(text: str, number: int, name: str):
    name = name.replace("\0", "") or "column"
    quoted = name.replace('"', '""')
    con = duckdb.default_connection()
    result = con.sql(f'SELECT $1 AS "{quoted}", $2::HUGEINT AS "n u m b e r"', params=[text, number % 2**100 - 2**99])
    written = io.StringIO()
    stdout, sys.stdout = sys.stdout, written
    try:
        sql._write_csv(result)  # pyright: ignore[reportPrivateUsage]
    finally:
        sys.stdout = stdout
    header, row = csv.reader(io.StringIO(written.getvalue(), newline=""))
    assert row[1] == str(number % 2**100 - 2**99)  # a number is no formula
    for cell, was in ((header[0], name), (row[0], text)):
        assert not cell.startswith(tuple("=+-@\t\r\n＝＋－＠"))  # noqa: RUF001
        assert (cell[1:] if re.match(FORMULA, cell) else cell) == was


@fuzz
@given(st.lists(TEXT.map(storable)))
def test_json_parses_as_the_same_values_and_acts_on_no_terminal(texts: list[str]):
    document = json.dumps(texts, ensure_ascii=False)
    assert json.loads(json_text(document)) == texts
    assert not acting(json_text(document))


@fuzz
@given(TEXT)
def test_a_chat_gets_one_code_block(text: str):
    first, *lines, last = chat_text(text).split("\n")
    assert first == last == "```"
    inside = "\n".join(lines)
    assert not set("`<>") & set(inside)
    assert not re.search("&(?!(amp|lt|gt);)", inside)
    assert not acting(inside, keep="\n")


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(TEXT)
def test_a_webhook_gets_that_block(text: str):
    with Webhook() as webhook:
        assert post(webhook.url, text) is None
        assert webhook.texts == [chat_text(text)]


def test_guarding_output_twice_cleans_each_record_once():
    before = logging.getLogRecordFactory()
    try:
        guard_output()
        once = logging.getLogRecordFactory()
        guard_output()
        assert logging.getLogRecordFactory() is once
    finally:
        logging.setLogRecordFactory(before)


@pytest.fixture
def logged() -> Iterator[Callable[[], list[str]]]:
    """What a logger wrote, by line."""
    guarded = logging.getLogRecordFactory()
    guard_output()
    written = io.StringIO()
    handler = logging.StreamHandler(written)
    handler.setFormatter(logging.Formatter("%(levelname)s %(message)s"))
    logger = logging.getLogger("hostile")
    logger.propagate = False
    logger.addHandler(handler)

    def take() -> list[str]:
        taken = written.getvalue()
        written.seek(0)
        written.truncate()
        return taken.split("\n")

    yield take
    logger.removeHandler(handler)
    logging.setLogRecordFactory(guarded)


@fuzz
@given(TEXT)
def test_a_log_has_one_entry_a_record(logged: Callable[[], list[str]], text: str):
    logger = logging.getLogger("hostile")
    logger.warning("%s and %d", text, 7)
    logger.warning(text.replace("%", "%%") + " %d", 7)
    try:
        raise ValueError(text)
    except ValueError:
        logger.exception("failed")
    *lines, end = logged()
    assert not end
    assert not acting("".join(lines), keep="\t")
    entries = [line for line in lines if not line.startswith(("| ", "Traceback "))]
    assert [entry.split()[0] for entry in entries] == ["WARNING", "WARNING", "ERROR"]
    assert log_text(log_text(text)) == log_text(text)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Runs:
    """A lake with a warehouse, and no table: enough for `mds sql`."""
    project = Runs(tmp_path_factory.mktemp("project"))
    project.lake.mkdir()
    duckdb.connect(project.lake / "warehouse.duckdb").close()
    return project


def on_terminal(project: Runs, *words: str) -> str:
    """What the command prints where standard output and error are a terminal."""
    parent, child = pty.openpty()
    command = subprocess.Popen(
        [Path(sys.executable).with_name(words[0]), *words[1:]],
        env=os.environ | project.environment | {"TERM": "xterm-256color", "COLUMNS": "2000"},
        stdin=subprocess.DEVNULL,
        stdout=child,
        stderr=child,
    )
    os.close(child)
    printed = b""
    try:
        while read := os.read(parent, 65536):
            printed += read
    except OSError:  # Linux's way to say that the command has ended
        pass
    command.wait()
    os.close(parent)
    return printed.decode().replace("\r\n", "\n")


@pytest.mark.parametrize("options", [[], ["--csv"], ["--json"]], ids=["table", "csv", "json"])
def test_a_terminal_is_safe_from_every_output_of_a_query(project: Runs, options: list[str]):
    values = " || ".join(f"chr({ord(each)})" for each in sorted({*"".join(HOSTILE)} - {"\0"}) if ord(each) < 0xD800)
    printed = on_terminal(project, "mds", "sql", *options, f"SELECT {values} AS x, ':tada: [red]x[/]' AS y")
    plain = re.sub(r"\x1b\[[\d;]*m", "", printed)
    assert not acting(plain, keep="\n")
    assert ":tada: [red]x[/]" in plain
    assert ("\\u001b" if options == ["--json"] else "\\x1b") in plain.lower()


def test_an_error_is_printed_without_what_a_terminal_obeys(project: Runs):
    printed = on_terminal(project, "mds", "sql", "SELECT error('a' || chr(27) || '[2J' || chr(8238) || 'b')")
    assert not acting(printed, keep="\n")
    assert "a\\x1b[2J\\u202eb" in printed
