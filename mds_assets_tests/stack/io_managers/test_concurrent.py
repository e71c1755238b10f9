"""Promises of runs side by side: none removes what another has under way, none replaces what another read more for."""

from collections.abc import Callable
from typing import Any

import duckdb
import polars as pl
import pytest

from mds_assets_tests.stack.io_managers.warehouse import D0, D1, D2, D3, PAIRS, Warehouse, pairs, passes_on, writes


def change_during(warehouse: Warehouse, times: int) -> tuple[Callable[[Any], Any], list[int]]:
    """A function for `passes_on` during whose first runs another run replaces the source; and how often it ran."""
    ran: list[int] = []

    def change(rows: Any) -> Any:
        ran.append(len(ran))
        if len(ran) <= times:
            warehouse.run(writes(lambda _: pairs((len(ran), "newer", D1))), D1)
        return rows

    return change, ran


@pytest.mark.parametrize("kind", [duckdb.DuckDBPyRelation, pl.DataFrame], ids=["relation", "dataframe"])
def test_a_table_whose_input_changes_meanwhile_is_computed_again(warehouse: Warehouse, kind: type):
    source = writes(lambda _: pairs((0, "old", D1)))
    warehouse.run(source, D1)
    change, ran = change_during(warehouse, times=2)
    target = passes_on(source, kind, change=change)
    warehouse.run([source, target], D1, only=target)
    assert len(ran) == 3
    assert warehouse.content(target) == {f"day={D1}": [{"id": 2, "name": "newer"}]}


def test_a_day_that_is_added_to_the_window_meanwhile_is_seen(warehouse: Warehouse):
    source = writes(lambda days: pairs(*((1, "x", day) for day in days)))
    warehouse.run(source, D2)

    def change(rows: pl.LazyFrame) -> pl.LazyFrame:
        if not warehouse.file(source, D1).exists():
            warehouse.run(source, D1)
        return rows.with_columns(day=pl.lit(D2))

    target = passes_on(source, pl.LazyFrame, change=change, lookback=True)
    warehouse.run([source, target], D2, only=target)
    assert warehouse.content(target) == {f"day={D2}": [{"id": 1, "name": "x"}] * 2}


def test_a_change_of_a_day_that_was_not_read_is_none_of_its_business(warehouse: Warehouse):
    source = writes(lambda days: pairs(*((1, "x", day) for day in days)))
    warehouse.run(source, D0, D3)
    ran: list[int] = []

    def change(rows: Any) -> Any:
        ran.append(1)
        warehouse.run(source, D2, D3)
        return rows

    target = passes_on(source, pl.LazyFrame, change=change)
    warehouse.run([source, target], D0, D1, only=target)
    assert len(ran) == 1


def test_an_input_that_never_comes_to_rest_ends_the_run_by_name_and_leaves_the_old_table(warehouse: Warehouse):
    source = writes(lambda _: pairs((0, "old", D1)))
    target = passes_on(source, pl.DataFrame)
    warehouse.run([source, target], D1)
    before = warehouse.file(target, D1).read_bytes()
    change, ran = change_during(warehouse, times=99)
    result = warehouse.run(
        [source, passes_on(source, pl.DataFrame, change=change)], D1, only=passes_on(source, pl.DataFrame), raises=False
    )
    assert not result.success
    assert len(ran) == 11
    failure = result.get_step_failure_events()[0].step_failure_data.user_failure_data
    assert failure
    assert "marts/passed_on: staging/written of 2024-02-27 changed while it was read" in str(failure.description)
    assert warehouse.file(target, D1).read_bytes() == before


def test_a_table_that_is_computed_again_has_one_materialization(warehouse: Warehouse):
    source = writes(lambda _: pairs((0, "old", D1)))
    warehouse.run(source, D1)
    change, _ = change_during(warehouse, times=1)
    target = passes_on(source, pl.DataFrame, change=change)
    result = warehouse.run([source, target], D1, only=target)
    events = [event for event in result.get_asset_materialization_events() if event.asset_key == target.key]
    assert [event.materialization.metadata["dagster/column_schema"].value for event in events] == [PAIRS.dagster_schema]
