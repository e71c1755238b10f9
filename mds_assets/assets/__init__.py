"""The tables: one module a layer; and the warehouse over them."""

# Here, so that `mds sql` and `mds report` need not import Dagster, which takes longer than what they do.
WAREHOUSE = "warehouse.duckdb"
LATEST_REPORT = "reports/activity/latest.html"
