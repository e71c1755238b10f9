"""`python -m mds_assets_tests.github.scale`: a backfill on a disturbed deployment, or how fast one is."""

import shutil
import signal
import sys
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

import mds_assets_tests.conftest  # pyright: ignore[reportUnusedImport]  # noqa: F401  # settings of the tests' own

_DAYS, _MEASURED_DAYS, _SHORT_DAYS = 60, 12, 8


def main(
    days: Annotated[int, typer.Option(help="How many days, the newest that are recorded; 0: what suits.")] = 0,
    short: Annotated[bool, typer.Option("--short", help=f"{_SHORT_DAYS} days, and one worker is killed.")] = False,
    throughput: Annotated[bool, typer.Option("--throughput", help="Measure, and disturb nothing.")] = False,
    workers: Annotated[str, typer.Option(help="How many workers; for --throughput several numbers.")] = "",
    lake: Annotated[str, typer.Option(help="s3://lake/NAME, or a new folder.")] = "s3://lake/scale",
    keep: Annotated[bool, typer.Option("--keep", help="Keep the temporary folder with all logs.")] = False,
) -> None:
    """Back-fill on RabbitMQ, PostgreSQL and Celery workers, and end with 1 when anything that must hold did not."""
    # Dagster takes seconds to import: not for `--help`.
    from mds_assets_tests.github.scale.report import backfilled, measured

    # Either signal ends all that was started. Dagster gives SIGTERM the handler of SIGINT whenever a run here ends.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: sys.exit(1))
    console = Console(soft_wrap=True, highlight=False)
    with _folder(keep, console) as folder:
        counts = [int(count) for count in workers.split(",") if count] or ([1, 2, 4] if throughput else [2])
        count = days or (_SHORT_DAYS if short else _MEASURED_DAYS if throughput else _DAYS)
        told = lambda text: console.print(escape(text))  # noqa: E731
        if throughput:
            measured(folder, lake, count, counts, told)
        elif not backfilled(folder, lake, count, counts[0], told, short=short):
            raise typer.Exit(1)


@contextmanager
def _folder(keep: bool, console: Console) -> Generator[Path]:
    """Where all of it happens. Others may pass through, as PostgreSQL's user does, but see nothing."""
    folder = Path(tempfile.mkdtemp(prefix="mds-scale-"))
    folder.chmod(0o711)
    try:
        yield folder
    finally:
        if keep:
            console.print(f"kept: {folder}")
        else:
            shutil.rmtree(folder)


if __name__ == "__main__":
    app = typer.Typer(pretty_exceptions_enable=False)
    app.command()(main)
    app()
