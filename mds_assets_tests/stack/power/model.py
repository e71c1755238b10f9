"""Power cuts of the model of a disk: one recorded run, cut at many points."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from random import Random
from shutil import rmtree

from mds_assets_tests.stack.power import runs
from mds_assets_tests.stack.power.disk import Disk
from mds_assets_tests.stack.power.recorder import calls, record
from mds_assets_tests.stack.toy import sales


def cut(folder: Path, cuts: int, seed: int) -> Iterator[list[str]]:
    """Record the runs once, cut the power at random points, and say what each cut violated.

    Dagster's records are as they were at the cut, flushed or not: with some of them lost, Dagster only calls fewer days
    materialized. One cut in three keeps only what was flushed; the others decide by chance.
    """
    root, trace = folder / "recorded", folder / "trace"
    root.mkdir()
    command = [sys.executable, "-W", "ignore", "-m", runs.__name__, root]
    record(command, trace, os.environ | {"TMPDIR": str(folder)})
    recorded = list(calls(trace, root))
    trace.unlink()
    random, orders = Random(seed), sales(runs.DAYS)
    disk = Disk(root)
    points = [*sorted(random.choices(range(len(recorded)), k=cuts - 1)), len(recorded) - 1]
    done = 0
    for number, point in enumerate(points):
        for call in recorded[done : point + 1]:
            disk.apply(call)
        done = max(done, point + 1)
        left = folder / "left"
        left.mkdir()
        disk.write_to(left, random, untouched=runs.HOME, everything_lost=number % 3 == 0)
        yield list(runs.violations(left, orders))
        rmtree(left)
