"""Whether two lakes hold the same: marts value by value, staging as sets of rows."""

from collections.abc import Iterable
from datetime import date
from pathlib import Path

import duckdb
import polars as pl
from polars.testing import assert_frame_equal

MARTS = ("marts/repos_per_language", "marts/daily_activity")


class DifferentError(Exception):
    """Two lakes differ. The message names table and day."""


def compare(one: Path, other: Path, days: Iterable[date], *, tolerance: float = 0) -> str:
    """Compare staging and marts of these days; means may differ by `tolerance`, as engines round halves differently.

    Returns:
        What was compared, with numbers of rows.

    Raises:
        DifferentError: They differ.
    """
    days = list(days)
    rows = dict.fromkeys(("staging/repos", *MARTS), 0)
    with duckdb.connect() as con:
        for day in days:
            first, second = (_fingerprint(con, lake, day) for lake in (one, other))
            if first != second:
                raise DifferentError(f"staging/repos of {day}: {first} in {one}, {second} in {other}")
            rows["staging/repos"] += first[0]
    for mart in MARTS:
        for day in days:
            first, second = (pl.read_parquet(_file(lake, mart, day), hive_partitioning=False) for lake in (one, other))
            try:
                assert_frame_equal(first, second, check_exact=not tolerance, rel_tol=0, abs_tol=tolerance)
            except AssertionError as error:
                raise DifferentError(f"{mart} of {day} differs between {one} and {other}: {error}") from None
            rows[mart] += first.height
    return ", ".join(f"{count:,} rows of {table}" for table, count in rows.items()) + f" on {len(days)} days are equal"


def _fingerprint(con: duckdb.DuckDBPyConnection, lake: Path, day: date) -> tuple[int, int]:
    """The number of a staging day's rows and the sum of their hashes: the same for any order of the same rows."""
    file = str(_file(lake, "staging/repos", day)).replace("'", "''")
    # A struct's hash is that of all its values. The file is named, so `day` is not among them.
    query = f"SELECT count(*), sum(hash(r)::HUGEINT) FROM read_parquet('{file}', hive_partitioning = false) AS r"
    ((count, total),) = con.sql(query).fetchall()
    return int(count), int(total or 0)


def _file(lake: Path, table: str, day: date) -> Path:
    return lake / table / f"day={day}" / "data.parquet"
