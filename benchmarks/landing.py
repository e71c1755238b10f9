"""Lands days from the configured GitHub and prints, as JSON, seconds until the last byte had arrived and seconds after.

The days end with `lakes.LAST`. Run by `parts.py`.
"""

import json
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import duckdb

from benchmarks.lakes import LAST, days_until
from mds_assets.defs.github.raw import ACTIVE_AT, GITHUB_REPOS
from mds_assets.defs.github.resources import client
from mds_assets.defs.github.settings import settings
from mds_assets.github.repository import Json
from mds_assets.stack.landing.days import Days
from mds_assets.stack.landing.load import land


def main(count: int) -> None:
    """Measure."""
    days = Days.between(days_until(LAST, count)[0], LAST)
    last_byte = started = time.perf_counter()

    def rows() -> Iterator[list[Json]]:
        nonlocal last_byte
        yield from client(settings).crawl(days.dates, days.log)
        last_byte = time.perf_counter()

    with tempfile.TemporaryDirectory() as folder, duckdb.connect() as con:
        land(rows(), GITHUB_REPOS, ACTIVE_AT, days, Path(folder), con)
        ended = time.perf_counter()
    json.dump({"until the last byte": last_byte - started, "after the last byte": ended - last_byte}, sys.stdout)


if __name__ == "__main__":
    main(int(sys.argv[1]))
