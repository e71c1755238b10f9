"""Promise of plain `@asset`s: with the two IO managers they stand beside the building blocks, each reads the other."""

from collections.abc import Iterator, Sequence
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pyarrow as pa
import pytest
from dagster import (
    AssetExecutionContext,
    AssetIn,
    AssetKey,
    AssetsDefinition,
    DagsterInstance,
    Definitions,
    ExecuteInProcessResult,
    asset,
)

from mds_assets.stack import build
from mds_assets.stack.blocks import current_table, mart, raw_table, staging_table
from mds_assets.stack.lake import Lake
from mds_assets.stack.landing.days import Days
from mds_assets.stack.partitions import DAILY, SINGLE_RUN, lookback, to_days
from mds_assets.stack.settings import settings
from mds_assets.stack.table import column, table
from mds_assets_tests.stack.io_managers.warehouse import D1, D2, D3, to_rows

ORDERS = table(
    [
        column("id", "BIGINT", "The order."),
        column("country", "VARCHAR", "Where it goes."),
        column("total", "DECIMAL(9,2)", "Its amount.", rule="total >= 0"),
    ],
    key=["id"],
)
REVENUE = table(
    [column("country", "VARCHAR", "Where to."), column("revenue", "DECIMAL(38,2)", "The sum of totals.")],
    key=["country"],
)

SQL = "SELECT id, upper(country) AS country, total::DECIMAL(9,2) AS total, day FROM orders"


@raw_table(
    columns=[*ORDERS.columns, column("at", "TIMESTAMPTZ", "When; SQL reserves the word.")], day="at", name="orders"
)
def raw_orders(days: Days) -> Iterator[dict[str, Any]]:
    """One order a day, and order 1 again on every day with another total."""
    for number in range((days.end - days.start).days):
        at = days.start + timedelta(days=number, hours=1)
        yield {"id": at.day, "country": "de", "total": "10.00", "at": at}
        yield {"id": 1, "country": "at", "total": str(at.day), "at": at}


@asset(
    key=["staging", "plain_orders"],
    ins={"orders": AssetIn(key=["raw", "orders"])},
    partitions_def=DAILY,
    backfill_policy=SINGLE_RUN,
    io_manager_key="duckdb_io_manager",
    metadata=ORDERS.metadata,
)
def plain_orders(orders: duckdb.DuckDBPyRelation) -> duckdb.DuckDBPyRelation:
    """A plain asset reads a raw table."""
    return orders.select("id, upper(country) AS country, total, day")


@mart(columns=REVENUE, latest={"orders": "staging/plain_orders"})
def revenue(orders: pl.LazyFrame) -> pl.LazyFrame:
    """A mart reads a plain asset."""
    return orders.group_by("country").agg(revenue=pl.col("total").sum())


@asset(
    key=["marts", "plain_revenue"],
    ins={
        "orders": AssetIn(key=["staging", "orders"], partition_mapping=lookback(settings.lookback_days)),
        "revenue": AssetIn(key=["marts", "revenue"]),
        "known": AssetIn(key=["staging", "newest_orders"]),
    },
    partitions_def=DAILY,
    backfill_policy=SINGLE_RUN,
    io_manager_key="polars_io_manager",
    metadata=REVENUE.metadata,
)
def plain_revenue(
    context: AssetExecutionContext, orders: pl.DataFrame, revenue: pl.LazyFrame, known: pa.Table
) -> pl.DataFrame:
    """A plain asset reads a staging table's window, a mart and a table without days."""
    assert set(known["id"].to_pylist()) >= set(orders["id"])
    assert {row["day"] for row in to_rows(revenue)} == set(to_days(context.partition_keys))
    return revenue.collect()


@asset(
    key=["staging", "countries"],
    deps=[AssetKey(["staging", "plain_orders"])],
    io_manager_key="polars_io_manager",
    metadata=table([column("country", "VARCHAR", "A country.")], key=["country"]).metadata,
)
def countries() -> pl.LazyFrame:
    """A plain asset without partitions, of the same run."""
    return pl.LazyFrame({"country": ["AT", "DE"]})


class Project:
    """Blocks and plain assets, built as the project builds whatever lies in `defs/`."""

    def __init__(self, folder: Path) -> None:  # noqa: D107
        self.lake = folder / "lake"
        query = folder / "orders.sql"
        query.write_text(SQL)
        assets: Sequence[AssetsDefinition] = [
            raw_orders,
            plain_orders,
            staging_table("orders", reads=["raw/orders"], columns=ORDERS, sql=str(query)),
            current_table("newest_orders", reads="staging/plain_orders", columns=ORDERS),
            revenue,
            plain_revenue,
            countries,
        ]
        own = settings.model_copy(update={"data_dir": str(self.lake), "preview_rows": 0})
        self.definitions = build.build_definitions(Definitions(assets=assets), settings=own)

    def run(self, job: str, first: date | None = None, last: date | None = None) -> ExecuteInProcessResult:
        """One run of a job, over these days."""
        tags = {f"dagster/asset_partition_range_{end}": str(day) for end, day in (("start", first), ("end", last))}
        return self.definitions.resolve_job_def(job).execute_in_process(
            instance=DagsterInstance.ephemeral(),
            tags=tags if first else None,
            run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
        )

    def rows(self, name: str, day: date | None = None) -> list[tuple[Any, ...]]:
        """The rows of a table's file, sorted."""
        file = self.lake / name / (f"day={day}" if day else "") / "data.parquet"
        return sorted(pl.read_parquet(file, hive_partitioning=False).rows())


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    project = Project(tmp_path_factory.mktemp("project"))
    project.run("daily_refresh", D1, D3)
    return project


def test_blocks_and_plain_assets_read_each_other_in_one_run_of_a_range(project: Project):
    for day in (D1, D2, D3):
        assert project.rows("staging/plain_orders", day) == project.rows("staging/orders", day)
        assert project.rows("marts/plain_revenue", day) == project.rows("marts/revenue", day)
    assert project.rows("marts/revenue", D3) == [("AT", 29), ("DE", 30)]
    assert [row[0] for row in project.rows("staging/newest_orders")] == [1, 27, 28, 29]
    assert project.rows("staging/countries") == [("AT",), ("DE",)]


def test_a_plain_asset_has_the_checks_of_its_declaration(project: Project):
    evaluations = project.run("table_checks").get_asset_check_evaluations()
    failed = [f"{one.asset_key.to_user_string()} {one.check_name}" for one in evaluations if not one.passed]
    checked = {one.asset_key.to_user_string() for one in evaluations}
    assert {"staging/plain_orders", "marts/plain_revenue", "staging/countries"} <= checked
    assert not [name for name in failed if "is_fresh" not in name and "window_is_complete" not in name]


def test_a_lake_of_its_own_replaces_only_the_lake(tmp_path: Path):
    other = Lake(str(tmp_path / "other"))
    own = settings.model_copy(update={"data_dir": str(tmp_path / "unused")})
    definitions = build.build_definitions(Definitions(assets=[countries]), {"lake": other}, own)
    definitions.resolve_job_def("daily_refresh").execute_in_process(
        instance=DagsterInstance.ephemeral(), asset_selection=[countries.key]
    )
    assert (tmp_path / "other/staging/countries/data.parquet").exists()
    assert not (tmp_path / "unused").exists()
