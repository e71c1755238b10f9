"""Promises about damaged lakes: one bad file breaks nothing but itself, and `mds doctor` finds whatever is wrong."""

import logging
import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pytest
from dagster import AssetCheckSeverity

from mds_assets.stack.doctor import Finding, examine
from mds_assets.stack.lake import Lake
from mds_assets.stack.lake.footers import footer, why_unreadable
from mds_assets.stack.names import WAREHOUSE
from mds_assets.stack.partitions import days_between
from mds_assets.stack.table import TABLE
from mds_assets_tests.runs import Runs, evaluations, failure
from mds_assets_tests.stack import toy

YESTERDAY = datetime.now(UTC).date() - timedelta(days=1)
DAYS = days_between(YESTERDAY - timedelta(days=3), YESTERDAY)
LAYERS = ("raw", "staging", "marts", "warehouse")
DAMAGE = {"truncated": lambda content: content[:-100], "empty": lambda _: b"", "no Parquet": lambda _: b"a,b\n1,2\n"}


@pytest.fixture
def runs(tmp_path: Path) -> Runs:
    """Four days of the toy."""
    runs = Runs.of(tmp_path, toy.orders, toy.staged, toy.current, toy.revenue, shop=toy.sales())
    assert runs.materialise(DAYS[0], DAYS[-1], LAYERS).success
    return runs


@pytest.fixture(params=DAMAGE)
def damaged(runs: Runs, request: pytest.FixtureRequest) -> Iterator[Path]:
    """A second load of raw's second day, which cannot be read."""
    assert runs.materialise(DAYS[1], layers=["raw"]).success
    file = max((runs.lake / f"raw/orders/day={DAYS[1]}").glob("*.parquet"))
    file.write_bytes(DAMAGE[request.param](file.read_bytes()))
    yield file


def query(runs: Runs, sql: str) -> Any:
    """What the warehouse answers."""
    with duckdb.connect(str(runs.lake / WAREHOUSE), read_only=True) as con:
        return con.sql(sql).fetchall()


@pytest.mark.slow(3)
def test_a_raw_file_that_cannot_be_read_is_left_out_named_and_stops_nothing(runs: Runs, damaged: Path):
    staged = runs.rows("staging/orders", DAYS[1])
    loads = len(list(damaged.parent.glob("*.parquet")))
    ran = runs.materialise(DAYS[1], layers=LAYERS)
    assert ran.success
    checked = evaluations(ran)
    failed = checked["raw/orders is_complete"]
    assert (failed.passed, failed.severity) == (False, AssetCheckSeverity.ERROR)
    assert str(damaged) in (failed.description or "")
    assert "quarantine/" in (failed.description or "")
    assert checked["raw/orders is_valid"].passed
    assert checked["staging/orders reconciles"].passed
    assert runs.rows("staging/orders", DAYS[1]) == staged
    assert len(list(damaged.parent.glob("*.parquet"))) == loads + 1  # one for the run, whatever the other file is
    # Of the views, too: they list the other files by name.
    by_day = dict(query(runs, "SELECT day, count(DISTINCT id) FROM raw.orders GROUP BY day"))
    assert by_day[DAYS[1]] == len(staged)
    # When it is gone, the view reads whatever is there again.
    damaged.unlink()
    assert runs.materialise(DAYS[1], layers=LAYERS).success
    assert evaluations(runs.materialise(DAYS[1], layers=LAYERS))["raw/orders is_complete"].passed


@pytest.mark.slow(2)
def test_runs_of_other_days_do_not_notice(runs: Runs, damaged: Path):
    ran = runs.materialise(DAYS[3], layers=LAYERS)
    assert ran.success
    assert evaluations(ran)["raw/orders is_complete"].passed
    assert query(runs, "SELECT count(DISTINCT day) FROM raw.orders") == [(4,)]


def test_a_staging_file_that_cannot_be_read_is_a_missing_day_and_an_error(runs: Runs):
    file = runs.lake / f"staging/orders/day={DAYS[1]}/data.parquet"
    content = file.read_bytes()
    file.write_bytes(content[:-10])
    ran = runs.materialise(DAYS[3], layers=["marts", "warehouse"])
    assert ran.success
    check = evaluations(ran)["marts/revenue window_is_complete"]
    assert (check.passed, check.severity) == (False, AssetCheckSeverity.ERROR)
    assert str(file) in (check.description or "")
    assert query(runs, "SELECT count(DISTINCT day) FROM staging.orders") == [(3,)]
    # The table without partitions is rebuilt from what can be read.
    (runs.lake / "staging/orders_now/data.parquet").write_bytes(b"")
    assert runs.materialise(DAYS[0], layers=["staging"]).success


def test_a_day_whose_raw_is_damaged_keeps_its_staging_until_it_is_landed_again(runs: Runs):
    """To rebuild it from what is left would replace good rows by none."""
    (file,) = (runs.lake / f"raw/orders/day={DAYS[1]}").glob("*.parquet")
    file.write_bytes(file.read_bytes()[:-10])
    staged = {day: runs.rows("staging/orders", day) for day in DAYS}
    ran = runs.materialise(DAYS[0], DAYS[-1], ["staging", "marts"], raise_on_error=False)
    message = failure(ran)
    assert f"{DAYS[1]}: schema: raw/orders has lost rows, as {file} cannot be read" in message
    assert "The other 3 days are published." in message
    assert {day: runs.rows("staging/orders", day) for day in DAYS} == staged
    assert runs.materialise(DAYS[1], layers=LAYERS).success  # a new load
    assert runs.rows("staging/orders", DAYS[1]) == staged[DAYS[1]]


@pytest.mark.parametrize("layer", ["raw", "staging"])
def test_a_file_with_damaged_pages_is_found_and_left_out(runs: Runs, layer: str):
    """Its footer is whole, so that only reading it tells."""
    if layer == "raw":
        assert runs.materialise(DAYS[1], layers=["raw"]).success
    file = min((runs.lake / f"{layer}/orders/day={DAYS[1]}").glob("*.parquet"))
    content = bytearray(file.read_bytes())
    content[4:30] = bytes(26)
    file.write_bytes(content)
    assert footer(file).num_rows
    assert why_unreadable(file, deep=True)
    layers = ["staging", "marts"] if layer == "raw" else ["marts"]
    ran = runs.materialise(DAYS[0], DAYS[-1], layers)
    assert ran.success
    logged = [entry.user_message for entry in runs.instance.all_logs(ran.run_id) if int(entry.level) >= logging.ERROR]
    assert any(f"left out {file} cannot be read" in message for message in logged)


def test_a_stray_copy_changes_no_figure(runs: Runs):
    views = ("staging.orders", "staging.orders_now", "marts.revenue", "marts.revenue_latest")
    before = [query(runs, f"FROM {view} ORDER BY ALL") for view in views]
    for table in (f"staging/orders/day={DAYS[3]}", "staging/orders_now", f"marts/revenue/day={DAYS[3]}"):
        (runs.lake / table / "data (copy).parquet").write_bytes((runs.lake / table / "data.parquet").read_bytes())
    assert [query(runs, f"FROM {view} ORDER BY ALL") for view in views] == before
    assert runs.materialise(DAYS[3], layers=["marts", "warehouse"]).success
    assert [query(runs, f"FROM {view} ORDER BY ALL") for view in views] == before
    assert len(findings(runs)["foreign"]) == 3


def findings(runs: Runs) -> dict[str, list[Finding]]:
    """What is wrong, by kind."""
    specs = [spec for spec in runs.definitions.resolve_all_asset_specs() if TABLE in spec.metadata]
    found: dict[str, list[Finding]] = {}
    for each in examine(Lake(str(runs.lake)), specs):
        found.setdefault(each.kind, []).append(each)
    return found


def test_a_sound_lake_has_no_findings(runs: Runs):
    assert findings(runs) == {}


def test_the_doctor_finds_everything_and_changes_nothing_without_fix(runs: Runs):
    truncated = runs.lake / f"staging/orders/day={DAYS[3]}/data.parquet"
    truncated.write_bytes(truncated.read_bytes()[:-10])
    foreign = [
        runs.lake / f"raw/orders/day={DAYS[0]}/notes.txt",
        runs.lake / "raw/orders/day=2026-02-30/data.parquet",
        runs.lake / f"marts/revenue/day={DAYS[0]}/copy.parquet",
    ]
    for file in foreign:
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(b"?")
    with Lake(str(runs.lake)).workspace() as workspace:
        leftover = workspace
    leftover.mkdir()
    leftover.with_suffix(".lock").touch()
    early = runs.lake / f"raw/orders/day={DAYS[0] - timedelta(days=1)}/7.0.early.parquet"
    early.parent.mkdir()
    landed = max((runs.lake / f"raw/orders/day={DAYS[2]}").glob("*.parquet"))
    early.write_bytes(landed.read_bytes())
    (runs.lake / f"marts/revenue/day={DAYS[1]}/data.parquet").unlink()
    os.utime(landed, (2e9, 2e9))

    before = runs.contents()
    found = findings(runs)
    assert runs.contents() == before
    assert {kind: len(each) for kind, each in found.items()} == {
        "unreadable": 1, "foreign": 3, "leftover": 1, "early only": 1, "gap": 1, "stale": 2
    }  # fmt: skip
    assert str(truncated) in found["unreadable"][0].what
    assert {finding.what for finding in found["foreign"]} == {str(file) for file in foreign}
    assert found["gap"][0].what == f"marts/revenue: {DAYS[1]}"
    assert {finding.what for finding in found["stale"]} == {f"staging/orders: {DAYS[2]}", f"marts/revenue: {DAYS[3]}"}
    assert all("`mds run --from" in finding.way_out for finding in found["stale"])

    for each in (finding for of_kind in found.values() for finding in of_kind):
        if each.fix:
            each.fix()
    assert (runs.lake / f"quarantine/raw/orders/day={DAYS[0]}/notes.txt").read_bytes() == b"?"
    assert not leftover.exists()
    assert findings(runs).keys() == {"early only", "gap", "stale"}
    os.utime(landed)
    early.unlink()
    assert runs.materialise(DAYS[0], DAYS[-1], LAYERS).success
    assert findings(runs) == {}
