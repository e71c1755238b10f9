"""A toy source: a shop's orders, from a list of rows.

A folder in `defs/` with this file, `staging/orders.sql` and the resource `shop` is a whole source: `clone.py` makes one
for tests of commands.
"""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl
from dagster import ResourceParam

from mds_assets.stack.blocks import current_table, mart, raw_table, staging_table
from mds_assets.stack.landing.days import Days
from mds_assets.stack.table import Reconciliation, column, table

RAW = [
    column("id", "BIGINT", "The order.", nullable=True),
    column("country", "VARCHAR", "Where it goes.", nullable=True),
    column("total", "BIGINT", "Its total in cents.", nullable=True),
    column("updated_at", "TIMESTAMPTZ", "When it last changed, UTC."),
]
STAGING = table(
    [
        column("order_id", "BIGINT", "The order."),
        column("country", "VARCHAR", "Where it goes; '?' when unknown."),
        column("cents", "BIGINT", "Its total in cents.", nullable=True, rule="cents >= 0"),
        column("updated_at", "TIMESTAMPTZ", "When it last changed, UTC.", rule="updated_at <= now()"),
    ],
    key=["order_id"],
    rules=["updated_at >= day AND updated_at < day + 1"],
    lineage={"order_id": "raw/orders.id", "country": "raw/orders.country", "cents": "raw/orders.total",
             "updated_at": "raw/orders.updated_at"},
    reconciles=Reconciliation(
        "raw/orders",
        rows="SELECT day, order_id, count(*) AS n FROM rows GROUP BY ALL",
        expected="SELECT DISTINCT day, id AS order_id, 1 AS n FROM in_window",
    ),
)  # fmt: skip
REVENUE = table(
    [column("country", "VARCHAR", "Where orders go."), column("orders", "BIGINT", "Orders.", rule="orders > 0"),
     column("mean", "DOUBLE", "Their mean total in cents; null when none is known.", nullable=True)],
    key=["country"],
    lineage={"country": "staging/orders.country", "orders": "staging/orders.order_id", "mean": "staging/orders.cents"},
    reconciles=Reconciliation(
        "staging/orders",
        rows="SELECT day, country, orders AS n FROM rows",
        expected="SELECT day, country, count(*) AS n FROM latest GROUP BY ALL",
    ),
)  # fmt: skip


@raw_table(columns=RAW, day="updated_at", key=["id", "updated_at"])
def orders(days: Days, shop: ResourceParam[Any]) -> Iterator[dict[str, Any]]:
    """Orders that changed on the day."""
    yield from (order for order in shop if order["updated_at"] >= days.start)


staged = staging_table(
    "orders", reads=["raw/orders"], columns=STAGING, rejects="id IS NULL", description="One row per order and day."
)
current = current_table(
    "orders_now", reads="staging/orders", columns=STAGING.columns[:3], key=["order_id"], description="Each order once."
)


@mart(columns=REVENUE, latest={"orders": "staging/orders"}, tags={"mds/headline": "1"})
def revenue(orders: pl.LazyFrame) -> pl.LazyFrame:
    """Orders of the window by country."""
    return orders.group_by("country").agg(orders=pl.len().cast(pl.Int64), mean=pl.col("cents").mean()).sort("country")


def sales(days: int = 20) -> list[dict[str, Any]]:
    """Three orders a day at noon, of days that end yesterday, and one that changes every day."""
    noon = datetime.now(UTC).replace(hour=12, minute=0, second=0, microsecond=0) - timedelta(days=days)
    changes = [(n, noon + timedelta(days=n // 3)) for n in range(3 * days)]
    changes += [(-1, noon + timedelta(days=n)) for n in range(days)]
    return [{"id": n, "country": "AB"[n % 2], "total": n * 100 % 700, "updated_at": at} for n, at in changes]
