"""Raw: what the shop's three systems sent, as dlt resources."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from mds_assets.defs.shop.settings import settings
from mds_assets.stack.blocks import raw_table
from mds_assets.stack.landing.days import Days
from mds_assets.stack.table import column

if TYPE_CHECKING:
    from dlt.extract import DltResource  # dlt takes half a second to import: only a run that lands waits for it

ORDERS = [
    column("id", "BIGINT", "The order's number."),
    column("customer_id", "BIGINT", "Who ordered."),
    column("sku", "VARCHAR", "The article."),
    column("quantity", "INTEGER", "How many.", rule="quantity > 0"),
    column("status", "VARCHAR", "open, shipped or cancelled."),
    column("updated_at", "TIMESTAMPTZ", "When it last changed, UTC."),
]


@raw_table(columns=ORDERS, key=["id", "updated_at"], day="updated_at", pool="shop")
def orders(days: Days) -> "DltResource":
    """Orders that changed on the day, as the shop described them at the time of the run."""
    from dlt.sources.rest_api import rest_api_resources
    from dlt.sources.rest_api.typing import RESTAPIConfig

    config: RESTAPIConfig = {
        "client": {"base_url": settings.api_url, "session": days.session(), "paginator": "header_link"},
        "resources": [
            {
                "name": "orders",
                "endpoint": {"path": "orders", "params": {"updated_since": days.cursor("updated_at"), "limit": 100}},
            }
        ],
    }
    (resource,) = rest_api_resources(config)
    return resource


CUSTOMERS = [
    column("id", "BIGINT", "The customer's number."),
    column("name", "VARCHAR", "The customer's name."),
    column("country", "VARCHAR", "Two letters; null when unknown.", nullable=True),
    column("credit", "DECIMAL(12,2)", "Credit limit in euros."),
    column("since", "DATE", "First order."),
    column("changed_at", "TIMESTAMP", "When the row last changed, by the database's clock (UTC)."),
]


@raw_table(columns=CUSTOMERS, key=["id"], day=None, pool="shop_database")
def customers(days: Days) -> "DltResource":
    """All customers, as the database has them now: a snapshot, which belongs to the newest day that has ended."""
    from dlt.sources.sql_database import sql_table

    return sql_table(settings.database_url.get_secret_value(), table="customers")


PRICES = [
    column("sku", "VARCHAR", "The article."),
    column("price", "DECIMAL(10,2)", "Price in euros."),
    column("file", "VARCHAR", "The price list it is from; lists are named by their date."),
]


@raw_table(columns=PRICES, day=None, partitioned=False)
def prices(days: Days) -> "DltResource":
    """All price lists, as the folder has them now."""
    from dlt.sources.filesystem import filesystem

    return filesystem(Path(settings.prices_dir).absolute().as_uri(), file_glob="*.csv") | _rows()


def _rows() -> Any:
    import csv

    import dlt

    @dlt.transformer
    def rows(files: Any) -> Any:
        for file in files:
            with file.open("r") as opened:
                yield [{**row, "file": file["file_name"]} for row in csv.DictReader(opened)]

    return rows()
