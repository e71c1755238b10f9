"""`python -m mds_assets_tests.github.chaos`: plays schedules, and says what was lost or doubled."""

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

import mds_assets_tests.conftest  # pyright: ignore[reportUnusedImport]  # noqa: F401  # settings of the tests' own
from mds_assets_tests.github.recordings import RECORDINGS

if TYPE_CHECKING:
    from mds_assets_tests.github.chaos.play import Outcome


def main(
    schedules: Annotated[int, typer.Option(min=1, help="How many schedules.")] = 200,
    first_seed: Annotated[int, typer.Option(help="The seed of the first; the others follow.")] = 0,
    keep: Annotated[Path | None, typer.Option(help="A new folder for what the schedules leave behind.")] = None,
    fresh_home: Annotated[bool, typer.Option("--fresh-home", help="Let the runs make Dagster's SQLite files.")] = False,
) -> None:
    """Disturb runs as each seed says, and end with 1 when anything that must hold did not."""
    if not RECORDINGS.is_dir():
        raise typer.BadParameter(f"no recordings of GitHub's API at {RECORDINGS}")
    # Dagster and dlt take 3 s to import: not for `--help`.
    from mds_assets_tests.github.chaos.play import new_folder, play
    from mds_assets_tests.github.chaos.schedule import make

    console = Console(soft_wrap=True, highlight=False)
    outcomes: list[Outcome] = []
    for seed in range(first_seed, first_seed + schedules):
        with new_folder() as temporary:
            folder = keep / str(seed) if keep else temporary
            folder.mkdir(parents=True, exist_ok=folder == temporary)
            outcome = play(make(seed), folder, fresh_home=fresh_home)
        outcomes.append(outcome)
        console.print(_line(outcome))
        for violation in outcome.violations:
            console.print(f"  [red]{violation.kind}[/]: {escape(violation.text)}")
    console.print(_summary(outcomes))
    if bad := [outcome.schedule.seed for outcome in outcomes if outcome.violations]:
        console.print(f"{len(bad)} of {schedules} schedules went wrong. To repeat the first:")
        console.print(f"python -m mds_assets_tests.github.chaos --schedules 1 --first-seed {bad[0]} --keep /tmp/chaos")
        raise typer.Exit(1)


def _line(outcome: "Outcome") -> str:
    killed = sum(run.killed for run in outcome.ended)
    faults = sum(len(run.met) for run in outcome.ended)
    schedule = outcome.schedule
    records = "on disk" if schedule.on_disk else "in memory"
    said = f"[red]{len(outcome.violations)} violations[/]" if outcome.violations else "[green]ok[/]"
    return (
        f"seed {schedule.seed}: {schedule.organisation}, Dagster's records {records}, "
        f"{len(outcome.ended)} runs, {killed} killed, {faults} faults, {outcome.seconds:.1f} s: {said}"
    )


def _summary(outcomes: Sequence["Outcome"]) -> Table:
    from mds_assets_tests.github.chaos.checks import KINDS

    runs = [run for outcome in outcomes for run in outcome.ended]
    kinds = Counter(violation.kind for outcome in outcomes for violation in outcome.violations)
    table = Table("what", "how often", "where")
    table.add_row("schedules", str(len(outcomes)), f"{sum(outcome.seconds for outcome in outcomes):.0f} s")
    table.add_row("runs", str(len(runs)), f"{sum(run.well for run in runs)} of them went well")
    table.add_row("killed", str(sum(run.killed for run in runs)), _listed(run.kill for run in runs if run.killed))
    table.add_row("faults", str(sum(len(run.met) for run in runs)), _listed(fault for run in runs for fault in run.met))
    bad = [run for run in runs if any(map(run.bad, run.expected))]
    table.add_row("bad tables", str(len(bad)), f"{sum(bool(run.unpublished) for run in runs)} runs kept one back")
    truncated = [file for outcome in outcomes for file in outcome.truncated]
    table.add_row("truncated files", str(len(truncated)), _listed(file.parents[2].name for file in truncated))
    refusals = [outcome.schedule.refusal for outcome in outcomes if outcome.schedule.refusal]
    table.add_row("refused", str(len(refusals)), _listed(refusals))
    table.add_section()
    for kind in KINDS:
        seeds = [o.schedule.seed for o in outcomes if any(violation.kind == kind for violation in o.violations)]
        table.add_row(kind, str(kinds[kind]), f"seeds {', '.join(map(str, seeds))}" if seeds else "")
    return table


def _listed(values: Iterable[object]) -> str:
    return ", ".join(f"{number} {value}" for value, number in Counter(values).most_common())


if __name__ == "__main__":
    app = typer.Typer(pretty_exceptions_enable=False)
    app.command()(main)
    app()
