"""Names of files in the lake, for commands that need not import Dagster."""

WAREHOUSE = "warehouse.duckdb"
LATEST_REPORT = "reports/activity/latest.html"
