"""The commands of `mds`, and how they end.

Dagster and the project are imported inside the commands, after the options have been turned into settings.
"""

import sys

import click
import typer
from typer.exceptions import TyperException

from mds_assets.stack.cli import INTERRUPTED, changes, look, run, sql
from mds_assets.stack.redaction import guard_output, shown

app = typer.Typer(
    help="The modern data stack in a box: a local lake of Parquet, run by Dagster.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
for command in (
    run.run,
    changes.plan,
    changes.diff,
    changes.verify,
    changes.why,
    look.show,
    look.doctor,
    look.dictionary,
    look.lineage,
    sql.sql,
    look.report,
):
    app.command()(command)


def run_app() -> int:
    """Run the command that the arguments name, and return the exit code."""
    guard_output()
    try:
        code = app(standalone_mode=False)  # otherwise typer prints usage errors in a box
        if code == INTERRUPTED:  # typer makes this of an interrupt
            raise KeyboardInterrupt
        return code or 0
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else 1
    except click.ClickException as error:
        return _failed(error.format_message(), error.exit_code)
    except TyperException as error:  # a usage error; typer vendors its own click
        message = error.format_message().removesuffix(".")
        if not message:  # without a command, the help is printed
            return error.exit_code
        command = getattr(getattr(error, "ctx", None), "command_path", "mds")
        joined = f"{message} See" if message.endswith("?") else f"{message}; see"
        return _failed(f"{joined} `{command} --help`", error.exit_code)
    except Exception as error:
        lake = sys.modules.get("mds_assets.stack.lake")  # a command that has not imported it cannot have failed in it
        if not lake or not isinstance(error, (lake.LakeError, lake.InputsChangedError)):
            raise
        return _failed(str(error), 1)


def _failed(message: str, code: int) -> int:
    click.echo(f"Error: {shown(message)}", err=True)
    return code
