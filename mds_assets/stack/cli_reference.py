"""Generates the commands' reference page, docs/reference/cli.md, from typer's help texts.

python -m mds_assets.stack.cli_reference > docs/reference/cli.md
"""

from collections.abc import Mapping
from typing import Any

import click
import typer.main

from mds_assets.stack.cli.app import app
from mds_assets.stack.cli.run import source_run_options

_INTRODUCTION = """\
# Commands

For anyone who works in a terminal. `mds` is `.venv/bin/mds`; `mds COMMAND --help` prints the same as this page.
`make run` is `mds run`. If you come from scripts, see the table in [TECHNICAL.md](../../TECHNICAL.md).
Sources add options to `mds run`: see [options of sources](#options-of-sources).

This page is generated: `.venv/bin/python -m mds_assets.stack.cli_reference > docs/reference/cli.md`.
"""

_OF_SOURCES = """\
## Options of sources

`mds run` also takes these, from the `options.py` of the sources in `mds_assets/defs/`; `mds run --help` lists them too.
Each replaces a setting for one run.

| option | setting | meaning |
|---|---|---|
"""


def cli_reference(source_options: Mapping[str, tuple[str, str]] | None = None) -> str:
    """The page, in Markdown: each command of the stack, then the options added by sources (by default, by all)."""
    added = source_run_options()
    group: Any = typer.main.get_command(app)
    sections = [_section(f"{group.name or 'mds'} {name}", command, added) for name, command in group.commands.items()]
    shown = added if source_options is None else source_options
    return "\n".join([_INTRODUCTION, *sections, *([_OF_SOURCES + "".join(map(_row, shown.items()))] if shown else [])])


def _section(title: str, command: Any, added: Mapping[str, object]) -> str:
    context = typer.Context(command)
    parameters = [each for each in command.get_params(context) if each.name not in {*added, "help"}]
    records = [record for each in parameters if (record := each.get_help_record(context))]
    rows = [f"| `{_cell(name)}` | {_cell(meaning)} |" for name, meaning in records]
    table = ["| argument or option | meaning |", "|---|---|", *rows, ""] if rows else []
    return "\n".join([f"## {title}\n", f"{command.help}\n", *table])


def _row(option: tuple[str, tuple[str, str]]) -> str:
    name, (setting, meaning) = option
    return f"| `--{name.replace('_', '-')}` | `{setting}` | {_cell(meaning)} |\n"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


if __name__ == "__main__":
    click.echo(cli_reference(), nl=False)
