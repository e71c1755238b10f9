"""Reads staging of some days as the marts get it and by a plain scan, in turns; prints median seconds as JSON.

Run by `parts.py`. Columns are those that the marts read.
"""

import json
import statistics
import sys
import time
from collections.abc import Callable
from datetime import date

import polars as pl
from upath import UPath

from mds_assets.defs.github.staging import REPOS
from mds_assets.stack.io_managers.polars import scan
from mds_assets.stack.partitions import days_between

_COLUMNS = ["org", "repo_id", "language", "stars", "forks", "pushed_at", "active_at", "observed_at", "day"]
_ROUNDS = 7


def main(lake: str, first: str, last: str) -> None:
    """Measure."""
    days = days_between(date.fromisoformat(first), date.fromisoformat(last))
    files = [UPath(lake) / "staging" / "repos" / f"day={day}" / "data.parquet" for day in days]
    frames: dict[str, Callable[[], pl.LazyFrame]] = {
        "plain": lambda: pl.scan_parquet([str(file) for file in files], hive_partitioning=True),
        "ours": lambda: scan(files, REPOS),
    }
    took: dict[str, list[float]] = {name: [] for name in frames}
    for _ in range(_ROUNDS):
        for name, frame in frames.items():
            started = time.perf_counter()
            frame().select(_COLUMNS).collect()
            took[name].append(time.perf_counter() - started)
    json.dump({name: statistics.median(seconds) for name, seconds in took.items()}, sys.stdout)


if __name__ == "__main__":
    main(*sys.argv[1:])
