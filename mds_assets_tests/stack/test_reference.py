"""Promises of the generated pages, docs/reference/: none is stale. Sources test their own parts of them.

A source that was added or removed turns no test here red: its tables and options are in the pages once they are
generated again.
"""

import re
import subprocess
import sys
from typing import Any

import typer.main
from typer.testing import CliRunner

from mds_assets.definitions import defs
from mds_assets.stack.catalog import data_dictionary
from mds_assets.stack.cli.app import app
from mds_assets.stack.cli.run import source_run_options
from mds_assets.stack.cli_reference import cli_reference
from mds_assets.stack.settings import PROJECT_ROOT
from mds_assets.stack.table import TABLE

TABLES_PAGE = (PROJECT_ROOT / "docs/reference/tables.md").read_text(encoding="utf-8")
CLI_PAGE = (PROJECT_ROOT / "docs/reference/cli.md").read_text(encoding="utf-8")


def sections(page: str) -> dict[str, str]:
    """The text of each section of a page by its heading, what comes before the first one included."""
    headings = ["", *re.findall(r"^## (.*)$", page, re.MULTILINE)]
    return dict(zip(headings, re.split(r"^## .*$", page, flags=re.MULTILINE), strict=True))


def test_no_section_of_the_tables_page_is_stale():
    written, generated = sections(TABLES_PAGE), sections(data_dictionary(defs.resolve_all_asset_specs()))
    common = written.keys() & generated.keys()
    assert {name: written[name].strip() for name in common} == {name: generated[name].strip() for name in common}, (
        "stale: .venv/bin/mds dictionary > docs/reference/tables.md"
    )


def test_mds_dictionary_prints_each_table_once():
    printed = CliRunner().invoke(app, ["dictionary"])
    assert printed.exit_code == 0, printed.output
    headings = re.findall(r"^## (.*)$", printed.output, re.MULTILINE)
    tables = [spec.key.to_user_string() for spec in defs.resolve_all_asset_specs() if TABLE in spec.metadata]
    assert sorted(headings) == sorted(tables)


def test_the_commands_page_is_not_stale():
    assert CLI_PAGE.startswith(cli_reference({})), (
        "stale: .venv/bin/python -m mds_assets.stack.cli_reference > docs/reference/cli.md"
    )


def test_the_commands_page_has_each_command_with_each_of_its_options():
    group: Any = typer.main.get_command(app)
    page = sections(cli_reference({"toy_box": ("TOY_BOX", "A box | a chest.")}))
    for name, command in group.commands.items():
        own = [each for each in command.params if each.name not in source_run_options()]
        for option in [option for each in own for option in (*each.opts, *each.secondary_opts)]:
            assert option in page[f"mds {name}"]
    assert page["Options of sources"].endswith("| `--toy-box` | `TOY_BOX` | A box \\| a chest. |\n")


def test_the_module_prints_the_commands_page():
    words = [sys.executable, "-m", "mds_assets.stack.cli_reference"]
    printed = subprocess.run(words, cwd=PROJECT_ROOT, capture_output=True, text=True, check=True)
    assert printed.stdout == cli_reference()
