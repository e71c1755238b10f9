"""Promises of report assets: pages by day, an index if they give one, and tables that may not exist."""

import re
from collections.abc import Sequence
from datetime import date
from pathlib import Path

import polars as pl
import pyarrow as pa
from dagster import AssetExecutionContext, AssetKey, AssetsDefinition, ResourceParam, asset

from mds_assets.stack.io_managers.pages import Pages
from mds_assets.stack.partitions import SINGLE_RUN, to_days
from mds_assets.stack.provenance import page_provenance
from mds_assets.stack.session import Session
from mds_assets.stack.table import Table, column
from mds_assets_tests.stack.io_managers.warehouse import (
    D0,
    D1,
    D2,
    D3,
    DAILY,
    PAIRS,
    Rows,
    Warehouse,
    errors,
    metadata_by_day,
    pairs,
    to_rows,
    writes,
)


def listing(days: Sequence[date], newest: str) -> str:
    return f"{' '.join(map(str, days))}: {newest}"


def report(*, has_index: bool) -> AssetsDefinition:
    """An asset `reports/daily` whose page is its day."""

    @asset(key=["reports", "daily"], partitions_def=DAILY, backfill_policy=SINGLE_RUN, io_manager_key="page_io_manager")
    def daily(context: AssetExecutionContext) -> object:
        pages = {day: f"page of {day}" for day in to_days(context.partition_keys)}
        return Pages(pages, listing) if has_index else pages

    return daily


def files(warehouse: Warehouse) -> dict[str, str]:
    """The pages, without what they say they were made from."""
    folder = warehouse.root / "reports/daily"
    return {str(file.relative_to(folder)): page(file) for file in folder.rglob("*") if file.is_file()}


def page(file: Path) -> str:
    return re.sub(r"\n<!-- mds_provenance .* -->\n", "", file.read_text())


def test_pages_have_an_index_of_all_days_in_the_lake(warehouse: Warehouse):
    daily = report(has_index=True)
    warehouse.run(daily, D2, D3)
    result = warehouse.run(daily, D1)
    assert files(warehouse) == {
        **{f"day={day}/report.html": f"page of {day}" for day in (D1, D2, D3)},
        "latest.html": f"page of {D3}",
        "index.html": listing([D3, D2, D1], f"page of {D3}"),
    }
    facts = metadata_by_day(result, daily.key)[str(D1)]
    assert facts["dagster/uri"] == str(warehouse.root / f"reports/daily/day={D1}/report.html")
    made = warehouse.root / f"reports/daily/day={D1}/report.html"
    assert facts["bytes"] == made.stat().st_size
    assert page_provenance(made.read_bytes())


def test_pages_without_an_index_have_none(warehouse: Warehouse):
    warehouse.run(report(has_index=False), D1)
    assert files(warehouse).keys() == {f"day={D1}/report.html", "latest.html"}


WIDER = Table((*PAIRS.columns, column("added", "BIGINT", "A column that older files lack.", nullable=True)))


def scans(source: str, days: Sequence[date] | None, result: list[Rows]) -> AssetsDefinition:
    """A report that scans a table that is not among its inputs."""

    @asset(key=["reports", "scans"], partitions_def=DAILY, backfill_policy=SINGLE_RUN, io_manager_key="page_io_manager")
    def scanning(context: AssetExecutionContext, session: ResourceParam[Session]) -> object:
        step = context.get_step_execution_context()
        result.append(to_rows(session.scan(step, AssetKey(["staging", source]), WIDER, days)))
        return dict.fromkeys(to_days(context.partition_keys), "page")

    return scanning


def test_a_scan_has_the_rows_of_the_days_that_have_a_file_in_the_declared_columns(warehouse: Warehouse):
    rows = pairs((1, "a", D1), (2, "b", D2))
    warehouse.run(writes(lambda _: rows, returns=pa.Table), D1, D2)
    result: list[Rows] = []
    warehouse.run(scans("written", [D0, D2, D3], result), D3)
    assert result == [[{"id": 2, "name": "b", "added": None, "day": D2}]]


def test_a_scan_of_a_table_that_does_not_exist_is_empty(warehouse: Warehouse):
    result: list[Rows] = []
    warehouse.run(scans("nowhere", [D1, D2], result), D2)
    warehouse.run(scans("nowhere", None, result), D2)
    assert result == [[], []]


def test_a_scan_reads_a_table_without_days(warehouse: Warehouse):
    rows = pairs((1, "a", D1)).drop(["day"])
    warehouse.run(writes(lambda _: rows, returns=pa.Table, partitions=None), None)
    result: list[Rows] = []
    warehouse.run(scans("written", None, result), D2)
    assert result == [[{"id": 1, "name": "a", "added": None}]]


def test_a_page_is_made_again_when_a_scanned_table_changes_meanwhile(warehouse: Warehouse):
    """Even if the file did not exist when it was scanned."""
    attempts: list[Rows] = []
    source = writes(lambda days: pairs(*((1, "new", day) for day in days)), returns=pa.Table)

    @asset(key=["reports", "scans"], partitions_def=DAILY, backfill_policy=SINGLE_RUN, io_manager_key="page_io_manager")
    def scanning(context: AssetExecutionContext, session: ResourceParam[Session]) -> dict[date, str]:
        step = context.get_step_execution_context()
        frame: pl.LazyFrame = session.scan(step, source.key, PAIRS, [D1])
        attempts.append(to_rows(frame))
        if len(attempts) == 1:
            Warehouse(Path(warehouse.root)).run(source, D1)
        return {D1: str(len(attempts[-1]))}

    result = warehouse.run(scanning, D1, raises=False)
    assert errors(result) == {}
    assert [len(rows) for rows in attempts] == [0, 1]
    assert page(warehouse.root / f"reports/scans/day={D1}/report.html") == "1"


def test_no_page_of_a_range_is_made_from_later_days(warehouse: Warehouse):
    source = writes(lambda days: pairs(*((1, "a", day) for day in days)), returns=pa.Table)
    warehouse.run(source, D1, D3)
    warehouse.run(scans(source.key.path[-1], [D1, D2, D3], []), D1, D3)
    for day, read in ((D1, [D1]), (D2, [D1, D2]), (D3, [D1, D2, D3])):
        made = warehouse.root / f"reports/scans/day={day}/report.html"
        made_from = page_provenance(made.read_bytes())
        assert made_from
        assert list(made_from.inputs[source.key.to_user_string()]) == read
