"""Damage to a file of the lake, and what the checks say of it."""

from datetime import date

import pyarrow.parquet as pq

from mds_assets.stack.io_managers.duckdb import select
from mds_assets_tests.runs import Runs, in_utc


class Damage:
    """Rewrites one day's file of a table with another query, and puts it back."""

    def __init__(self, runs: Runs, table: str, day: date):
        """The newest file of the day."""
        self.file = max((runs.lake / table / f"day={day}").glob("*.parquet"))
        self.before = self.file.read_bytes()

    def __enter__(self) -> "Damage":
        """Nothing has changed yet."""
        return self

    def select(self, query: str) -> None:
        """Replace the rows, which the query calls `rows`."""
        with in_utc() as con:
            rows = con.from_arrow(pq.ParquetFile(self.file).read())
            select(rows, "rows", query).to_parquet(str(self.file))

    def __exit__(self, *_: object) -> None:
        """As it was."""
        self.file.parent.mkdir(exist_ok=True)
        self.file.write_bytes(self.before)


def failed(runs: Runs) -> dict[str, str]:
    """The checks that do not pass, with their messages."""
    return {name: check.description or "" for name, check in runs.checks().items() if not check.passed}
