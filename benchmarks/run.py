"""`make bench`: measures, prints a table with the targets, and writes it as markdown and JSON.

    python -m benchmarks.run --rows 100 --rows 1000000 --rounds 5 --part imports --part history

What does not belong here: what is measured (`main_job.py`, `parts.py`).
"""

import os
import sys
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from benchmarks.generate import ROW_GROUP_ROWS
from benchmarks.lakes import DAYS_READ, LAST, Lakes, days_until
from benchmarks.main_job import CASES, measure, spans
from benchmarks.parts import PARTS, Sizes, remove
from benchmarks.process import ROOT
from benchmarks.report import Section, write

console = Console(stderr=True, highlight=False, soft_wrap=True)


def main(
    rows: Annotated[list[int] | None, typer.Option(help="Rows a day; several times for several sizes.")] = None,
    rounds: Annotated[int, typer.Option(min=1, help="How many rounds; the medians count.")] = 5,
    case: Annotated[list[str] | None, typer.Option(help=f"Of the main job: {', '.join(CASES)}; default all.")] = None,
    days: Annotated[list[int] | None, typer.Option(help="Of the main job: days in a run, 1 or more.")] = None,
    part: Annotated[
        list[str] | None, typer.Option(help=f"Smaller measurements: {', '.join(PARTS)}, all; default none.")
    ] = None,
    row_group_rows: Annotated[int, typer.Option(min=2_048, help="Rows in a row group of raw.")] = ROW_GROUP_ROWS,
    before: Annotated[
        Path | None, typer.Option(help="A checkout of another version, to be measured beside this one.")
    ] = None,
    tiny: Annotated[bool, typer.Option("--tiny", help="For a test: small lakes in the parts, and no warm-up.")] = False,
    work: Annotated[Path, typer.Option(help="A folder for the lakes: 5,000,000 rows a day need 18 GB.")] = ROOT
    / "build/bench",
    keep: Annotated[bool, typer.Option("--keep", help="Keep the lakes for the next time.")] = False,
    results: Annotated[Path, typer.Option(help="A folder for the table.")] = ROOT / "build/bench-results",
) -> None:
    """Measure the project beside a plain script and beside Dagster alone."""
    load_before = os.getloadavg()[0]
    wanted = list(PARTS) if "all" in (part or []) else part or []
    for name, known in ((case or [], CASES), (wanted, PARTS)):
        if unknown := [one for one in name if one not in known]:
            raise typer.BadParameter(f"{', '.join(unknown)}: choose from {', '.join(known)}")
    if before and not (before / "mds_assets").is_dir():
        raise typer.BadParameter(f"{before} is no checkout of this project")
    sizes = Sizes((12, 4), (8, 3), 20, 200, 200, others=200, warm_up=False) if tiny else Sizes()
    work = work.resolve()

    def log(line: str) -> None:
        console.print(f"[dim]{datetime.now(UTC):%H:%M:%S}[/] {line}")

    command = " ".join(["python -m benchmarks.run", *sys.argv[1:]])
    file = results / f"{datetime.now(UTC):%Y-%m-%dT%H%M%S}.md"
    sections: list[Section] = []

    def done(section: Section) -> None:
        sections.append(section)
        write(sections, file, command, load_before)  # each time: a long run may not come to its end

    try:
        for size in rows if rows is not None else [] if wanted else [100, 1_000_000]:
            lakes = Lakes(work / f"{size}", size, days_until(LAST, DAYS_READ))
            lakes.prepare(log, row_group_rows=row_group_rows)
            for span in spans() if days is None else [days_until(LAST, length) for length in days]:
                done(measure(lakes, span, case or CASES, rounds, log, before=before, warm_up=sizes.warm_up))
        for name in wanted:
            log(name)
            done(PARTS[name](work, rounds, log, replace(sizes, before=before)))
    finally:
        if not keep:
            remove(work)
    typer.echo(file.read_text(encoding="utf-8"))
    console.print(f"written to {file} and {file.with_suffix('.json').name}")


if __name__ == "__main__":
    typer.run(main)
