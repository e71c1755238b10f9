"""The runs that lose power, and what must be there afterwards.

Run as a program, it materializes the toy source: a day, a range, then the day again.
"""

import os
import sqlite3
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

import mds_assets_tests.conftest  # pyright: ignore[reportUnusedImport]  # noqa: F401  # settings of the tests' own
from mds_assets.stack.names import WAREHOUSE

HOME, LAKE = "dagster", "a 'lake' [of] mine"  # as in `Runs`
DAYS = 8  # that have orders, ending yesterday
# The first and last day of each run, counted from the first day with orders.
RUNS: tuple[tuple[int, int], ...] = ((0, 0), (1, 3), (0, 0))


def materialise(folder: Path, orders: Sequence[dict[str, Any]], runs: Sequence[tuple[int, int]] = RUNS) -> None:
    """Run the toy source over these days, with Dagster's records on disk."""
    from dagster import DagsterInstance

    from mds_assets_tests.runs import HOME_SETTINGS, Runs
    from mds_assets_tests.stack import toy

    # Dagster makes its databases here: a copy of others would come from a disk that nobody recorded.
    (folder / HOME).mkdir(exist_ok=True)
    (folder / HOME / "dagster.yaml").write_text(HOME_SETTINGS)
    project = Runs.of(folder, toy.orders, toy.staged, toy.current, toy.revenue, shop=orders)
    os.environ["DAGSTER_HOME"] = str(project.home)
    start = orders[0]["updated_at"].date()
    with DagsterInstance.get() as instance:
        for first, last in runs:
            days = start + timedelta(days=first), start + timedelta(days=last)
            layers = ("raw", "staging", "marts", "warehouse")
            project.materialise(*days, layers=layers, instance=instance)


def violations(folder: Path, orders: Sequence[dict[str, Any]]) -> Iterator[str]:
    """What Dagster calls materialized and is not there, and any file that cannot be read."""
    lake = folder / LAKE
    readable: Counter[tuple[str, str]] = Counter()
    ids: dict[str, set[int]] = {}
    for file in sorted(lake.glob("[!.]*/**/*.parquet")):
        table, day = file.relative_to(lake).parent.as_posix(), ""
        if "/day=" in table:
            table, _, day = table.partition("/day=")
        try:
            rows = pq.ParquetFile(file).read()
        except (pa.ArrowInvalid, OSError) as error:
            yield f"{file.relative_to(lake)} cannot be read: {error}"
            continue
        readable[table, day] += 1
        if table == "raw/orders":
            ids.setdefault(day, set()).update(rows["id"].to_pylist())
    for table, day in sorted(materialised(folder / HOME)):
        expected = {order["id"] for order in orders if str(order["updated_at"].date()) == day}
        if table == "raw/orders" and (lost := expected - ids.get(day, set())):
            yield f"{table} of {day} has lost {len(lost)} of {len(expected)} rows"
        elif table == "warehouse":
            try:
                with duckdb.connect(str(lake / WAREHOUSE), read_only=True) as con:
                    con.sql("FROM staging.orders").fetchall()
            except duckdb.Error as error:
                yield f"the warehouse cannot be read: {error}"
        elif not readable[table, day]:
            yield f"{table} of {day or 'all days'} is gone"


def materialised(home: Path) -> set[tuple[str, str]]:
    """The tables and days that Dagster's records call materialized; '' for a table without days."""
    events = home / "history" / "runs" / "index.db"
    if not events.exists() or not events.stat().st_size:
        return set()
    query = "SELECT asset_key, partition FROM event_logs WHERE dagster_event_type = 'ASSET_MATERIALIZATION'"
    with closing(sqlite3.connect(events)) as db:
        if not db.execute("SELECT 1 FROM sqlite_master WHERE name = 'event_logs'").fetchall():
            return set()
        return {("/".join(key.strip('[]"').split('", "')), day or "") for key, day in db.execute(query)}


if __name__ == "__main__":
    from mds_assets_tests.stack.toy import sales

    materialise(Path(sys.argv[1]), sales(DAYS))
