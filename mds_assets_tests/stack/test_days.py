"""Promises of a run's days: a source may skip a run, and resume a backfill that was interrupted."""

import json
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pyarrow.parquet as pq
import pytest
from dagster import AssetsDefinition, ExecuteInProcessResult
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

import mds_assets.stack.settings as stack_settings
from mds_assets.stack.blocks import current_table, mart, raw_table, staging_table
from mds_assets.stack.landing.days import Days
from mds_assets.stack.names import SCOPE, WAREHOUSE
from mds_assets.stack.partitions import days_between
from mds_assets.stack.table import column, table
from mds_assets_tests.runs import Runs, evaluations, metadata
from mds_assets_tests.stack import toy

D1, D2, D3, D4, D5 = days_between(date(2024, 2, 27), date(2024, 3, 2))  # around a leap day
EVERYTHING = ("raw", "staging", "marts", "warehouse")
VISITS = table([column("id", "BIGINT", "A visit."), column("shop", "VARCHAR", "Where.")], key=["id"])


def noon(day: date) -> datetime:
    """Noon of the day, UTC."""
    return datetime(day.year, day.month, day.day, 12, tzinfo=UTC)


# --- skip


def skipping(folder: Path, reason: list[str], late: bool = False) -> Runs:
    """The toy, and visits from a source that skips the run while there is a reason."""

    def rows(days: Days) -> Iterator[list[dict[str, Any]]]:
        yield [{"id": 1, "shop": "a", "at": noon(day)} for day in days.dates]
        if reason:
            days.skip(reason[0])

    @raw_table(columns=VISITS, day="at", output_required=False)
    def visits(days: Days) -> Iterator[list[dict[str, Any]]]:
        """Visits."""
        if reason and not late:
            days.skip(reason[0])
        return rows(days)

    (folder / "visits.sql").write_text("SELECT id, shop, day FROM visits")
    staged = staging_table("visits", reads=["raw/visits"], columns=VISITS, sql=str(folder / "visits.sql"))
    now = current_table("visits_now", reads="staging/visits", columns=VISITS)

    @mart(columns=VISITS, window={"visits": "staging/visits", "orders": "staging/orders"})
    def visited(visits: pl.LazyFrame, orders: pl.LazyFrame) -> pl.LazyFrame:
        """Visits, beside orders."""
        return visits.select("id", "shop").unique()

    orders = [{"id": 1, "country": "A", "total": 1, "updated_at": noon(day)} for day in (D1, D2)]
    return Runs.of(folder, toy.orders, toy.staged, toy.current, toy.revenue, visits, staged, now, visited, shop=orders)


def observed(ran: ExecuteInProcessResult) -> dict[str, str]:
    """Why each table was skipped."""
    return {
        event.asset_key.to_user_string(): str(event.asset_observation_data.asset_observation.metadata["skipped"].value)
        for event in ran.all_events
        if event.event_type_value == "ASSET_OBSERVATION" and event.asset_key
    }


def count(runs: Runs, table: str) -> int:
    """How many rows the warehouse has of a table."""
    with duckdb.connect(str(runs.lake / WAREHOUSE), read_only=True) as con:
        return len(con.sql(f"FROM {table}"))


@pytest.mark.parametrize("late", [False, True], ids=["as it is called", "after some rows"])
def test_a_skipped_table_lands_nothing_what_reads_it_does_not_run_and_the_rest_does(tmp_path: Path, late: bool):
    runs = skipping(tmp_path, ["the shop is closed: try tomorrow"], late)
    ran = runs.materialise(D1, D2, EVERYTHING)
    assert ran.success
    assert observed(ran) == {"raw/visits": "the shop is closed: try tomorrow"}
    for name in ("raw/visits", "staging/visits", "staging/visits_now", "marts/visited"):
        assert not (runs.lake / name).exists(), name
    for name in ("raw/orders", "staging/orders", "marts/revenue"):
        assert runs.days(name) == [D1, D2]
    assert count(runs, "marts.revenue") == 2
    assert count(runs, "marts.visited") == count(runs, "raw.visits") == 0
    checks = evaluations(ran)
    assert not [name for name, check in checks.items() if "visit" in name and check.passed]
    assert checks["staging/orders is_valid"].passed
    assert list((runs.lake / ".tmp").iterdir()) == []


def test_a_table_that_was_skipped_keeps_what_it_had_and_lands_again_later(tmp_path: Path):
    reason: list[str] = []
    runs = skipping(tmp_path, reason)
    runs.materialise(D1, layers=EVERYTHING)
    reason.append("closed")
    runs.materialise(D2, layers=EVERYTHING)
    assert runs.days("marts/visited") == runs.days("raw/visits") == [D1]
    assert count(runs, "marts.visited") == 1
    reason.clear()
    runs.materialise(D2, layers=EVERYTHING)
    assert runs.days("marts/visited") == runs.days("raw/visits") == [D1, D2]


def test_the_reason_shows_no_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    secret = stack_settings.settings.model_copy(update={"alert_webhook": SecretStr("https://hooks.acme.org/s3cret")})
    monkeypatch.setattr(stack_settings, "settings", secret)
    ran = skipping(tmp_path, ["refused https://hooks.acme.org/s3cret"]).materialise(D1)
    assert observed(ran) == {"raw/visits": "refused ***"}
    assert "s3cret" not in repr(ran.all_events)


# --- missing

DAYS = days_between(D1, D5)
LOADS = st.dictionaries(st.sampled_from(DAYS), st.lists(st.frozensets(st.sampled_from("abc")), max_size=3))


@given(loads=LOADS, scope=st.frozensets(st.sampled_from("abc"), min_size=1), last=st.sampled_from(DAYS[1:]))
def test_missing_are_all_days_from_the_first_to_the_last_that_loads_do_not_cover_together(
    loads: dict[date, list[frozenset[str]]], scope: frozenset[str], last: date
):
    days = Days.between(D1, last)
    days.scopes_of = lambda day: loads.get(day, [])
    uncovered = [
        day for day in days.dates if not all(any(each in load for load in loads.get(day, [])) for each in scope)
    ]
    expected = days_between(uncovered[0], uncovered[-1]) if uncovered else []
    assert days.missing(scope) == expected
    assert days.scope == scope
    assert days.covered == set(days.dates) - set(uncovered)


def test_a_single_day_is_always_missing():
    days = Days.between(D1, D1)
    days.scopes_of = lambda _: [frozenset("a")]
    assert days.missing("a") == [D1]
    assert days.covered == frozenset()


def test_a_file_from_before_scopes_were_recorded_covers_nobody():
    days = Days.between(D1, D2)
    days.scopes_of = lambda day: [frozenset()] if day == D1 else [frozenset("a")]
    assert days.missing("a") == [D1]


def visits_of(shops: list[str], fetched: list[list[date]]) -> AssetsDefinition:
    """A visit a day and shop, of the days that are missing; notes which were."""

    @raw_table(columns=VISITS, day="at", output_required=False)
    def visits(days: Days) -> list[dict[str, Any]]:
        """Visits."""
        fetched.append(days.missing(shops))
        return [{"id": n, "shop": shop, "at": noon(day)} for day in fetched[-1] for n, shop in enumerate(shops)]

    return visits


def landed(runs: Runs) -> list[int]:
    """How many loads landed each day."""
    return [len([file for file in (runs.lake / f"raw/visits/day={day}").glob("*") if ".early" not in file.name])
            for day in DAYS]  # fmt: skip


def test_a_backfill_resumes_with_the_days_that_no_load_covers(tmp_path: Path):
    shops, fetched = ["b", "a"], list[list[date]]()
    runs = Runs.of(tmp_path, visits_of(shops, fetched))
    runs.materialise(D1)
    runs.materialise(D3)
    (file,) = (runs.lake / f"raw/visits/day={D1}").iterdir()
    footer = pq.read_metadata(file).metadata or {}
    assert json.loads(footer[SCOPE.encode()]) == ["a", "b"]

    ran = runs.materialise(D1, D5)
    assert fetched[-1] == [D2, D3, D4, D5]
    # D3 lies between missing days: its rows are fetched again, but it is not landed again.
    assert landed(runs) == [1, 1, 1, 1, 1]
    assert [file.parent.name for file in runs.lake.rglob("*.early.parquet")] == [f"day={D3}"]
    assert metadata(ran, "raw/visits", D1)["rows_landed"] == 0
    assert metadata(ran, "raw/visits", D1)["dagster/partition_row_count"] == 2
    assert metadata(ran, "raw/visits", D2)["rows_landed"] == 2

    ran = runs.materialise(D1, D5)
    assert fetched[-1] == []
    assert landed(runs) == [1, 1, 1, 1, 1]
    assert all(check.passed for name, check in evaluations(ran).items() if "fresh" not in name)
    runs.materialise(D2)
    assert landed(runs) == [1, 2, 1, 1, 1]


def test_loads_of_some_accounts_each_cover_all_of_them_together(tmp_path: Path):
    fetched: list[list[date]] = []
    for shops in (["a"], ["b"], ["a", "b"]):
        Runs.of(tmp_path, visits_of(shops, fetched)).materialise(D1, D2)
    assert fetched == [[D1, D2], [D1, D2], []]
    Runs.of(tmp_path, visits_of(["a", "b", "c"], fetched)).materialise(D1, D2)
    assert fetched[-1] == [D1, D2]


def test_a_day_of_early_rows_alone_is_missing(tmp_path: Path):
    fetched: list[list[date]] = []

    @raw_table(columns=VISITS, day="at", output_required=False)
    def visits(days: Days) -> list[dict[str, Any]]:
        """Visits of the day and of the one after."""
        fetched.append(days.missing(["a"]))
        return [{"id": 1, "shop": "a", "at": noon(day + timedelta(days=n))} for day in fetched[-1] for n in (0, 1)]

    runs = Runs.of(tmp_path, visits)
    runs.materialise(D1)
    runs.materialise(D1, D3)
    assert fetched[-1] == [D2, D3]
