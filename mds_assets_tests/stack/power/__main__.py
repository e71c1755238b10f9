"""`python -m mds_assets_tests.stack.power`: cuts the power during runs, and says what was lost."""

from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import typer

from mds_assets_tests.stack.power import device, model, recorder


def main(
    cuts: Annotated[int, typer.Option(min=1, help="How many cuts.")] = 200,
    seed: Annotated[int, typer.Option(help="Decides when, and what survives.")] = 0,
    on_device: Annotated[
        bool, typer.Option("--device", help="On a real ext4 on a loop device, as root, instead of a model of a disk.")
    ] = False,
) -> None:
    """Cut the power during runs, and end with 1 if anything that Dagster calls materialized was lost."""
    with TemporaryDirectory() as temporary:
        folder = Path(temporary)
        if on_device and not device.can_cut(folder):
            raise typer.BadParameter("--device needs root, mkfs.ext4 and a kernel that mounts loop devices")
        if not on_device and not recorder.can_record():
            raise typer.BadParameter("strace is not installed, or may not trace")
        cut: Callable[[Path, int, int], Iterator[list[str]]] = device.cut if on_device else model.cut
        bad = 0
        for number, violations in enumerate(cut(folder, cuts, seed)):
            bad += bool(violations)
            for violation in violations:
                typer.echo(f"cut {number}: {violation}")
    typer.echo(f"{cuts} cuts, {bad} of them lost something")
    if bad:
        raise typer.Exit(1)


if __name__ == "__main__":
    typer.run(main)
