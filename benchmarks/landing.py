"""Lands days from the configured GitHub and prints, as JSON, seconds until the last byte had arrived and seconds after.

The days end with `lakes.LAST`. Run by `parts.py`.
"""

import json
import logging
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from benchmarks.lakes import LAST, days_until
from mds_assets.definitions import github
from mds_assets.github.client import Crawl
from mds_assets.github.repository import Json
from mds_assets.stack.landing import land
from mds_assets.stack.settings import settings


@dataclass
class _Timed(Crawl):
    """A crawl that knows when it ended."""

    ended: float = 0

    def __iter__(self) -> Iterator[dict[date, list[Json]]]:
        yield from super().__iter__()
        self.ended = time.perf_counter()


def main(days: int) -> None:
    """Measure."""
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        crawl = _Timed(github(settings), days_until(LAST, days), logging.getLogger("landing"))
        land(crawl, Path(folder))
        ended = time.perf_counter()
    json.dump({"until the last byte": crawl.ended - started, "after the last byte": ended - crawl.ended}, sys.stdout)


if __name__ == "__main__":
    main(int(sys.argv[1]))
