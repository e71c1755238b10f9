"""File names in the lake, for commands that don't import Dagster."""

WAREHOUSE = "warehouse.duckdb"
LATEST_REPORT = "reports/activity/latest.html"
