"""Staging: one row per key, renamed and cast; the queries are in `staging/`."""

from mds_assets.stack.blocks import current_table, staging_table
from mds_assets.stack.table import column

ORDERS = [
    column("order_id", "BIGINT", "The order's number."),
    column("customer_id", "BIGINT", "Who ordered."),
    column("sku", "VARCHAR", "The article."),
    column("quantity", "INTEGER", "How many.", rule="quantity > 0"),
    column("is_cancelled", "BOOLEAN", "Whether it was cancelled."),
    column("updated_at", "TIMESTAMPTZ", "When it last changed, UTC."),
]
CUSTOMERS = [
    column("customer_id", "BIGINT", "The customer's number."),
    column("country", "VARCHAR", "Two letters; 'Unknown' when the shop doesn't know."),
    column("credit", "DECIMAL(12,2)", "Credit limit in euros."),
    column("since", "DATE", "First order."),
]
PRICES = [
    column("sku", "VARCHAR", "The article."),
    column("price", "DECIMAL(10,2)", "Price in euros, of the newest list that has the article."),
]

orders = staging_table(
    "orders", reads=["raw/orders"], columns=ORDERS, key=["order_id"], description="Orders that changed on the day."
)
customers = staging_table(
    "customers", reads=["raw/customers"], columns=CUSTOMERS, key=["customer_id"], description="The day's customers."
)
prices = staging_table(
    "prices", reads=["raw/prices"], columns=PRICES, key=["sku"], partitions_def=None, description="Current prices."
)
current_customers = current_table(
    "current_customers",
    reads="staging/customers",
    columns=CUSTOMERS,
    key=["customer_id"],
    description="Each customer as last seen, also one who is gone.",
)
