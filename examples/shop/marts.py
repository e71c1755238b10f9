"""Marts: what the shop earned."""

import polars as pl

from mds_assets.stack.blocks import mart
from mds_assets.stack.table import column

REVENUE = [
    column("country", "VARCHAR", "The customer's country."),
    column("orders", "BIGINT", "Orders that changed in the window and were not cancelled.", rule="orders > 0"),
    column("revenue", "DOUBLE", "What they are worth in euros, at today's prices.", rule="revenue >= 0"),
]


@mart(
    columns=REVENUE,
    key=["country"],
    latest={"orders": "staging/orders"},
    current={"customers": "staging/current_customers", "prices": "staging/prices"},
)
def revenue(orders: pl.LazyFrame, customers: pl.LazyFrame, prices: pl.LazyFrame) -> pl.LazyFrame:
    """Revenue by country, over the lookback window: each order counts once, with its newest state."""
    return (
        orders.filter(~pl.col("is_cancelled"))
        .join(customers, on="customer_id")
        .join(prices, on="sku")
        .group_by("country")
        .agg(orders=pl.len(), revenue=(pl.col("quantity") * pl.col("price").cast(pl.Float64)).sum().round(2))
        .sort("revenue", "country", descending=[True, False])
    )
