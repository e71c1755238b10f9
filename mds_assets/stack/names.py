"""File names in the lake and tags of Dagster's runs, for commands that don't import Dagster."""

WAREHOUSE = "warehouse.duckdb"
LATEST_REPORT = "reports/activity/latest.html"

# The tags of a run's day, or of its first and last one.
DAY_TAG = "dagster/partition"
FIRST_DAY_TAG, LAST_DAY_TAG = "dagster/asset_partition_range_start", "dagster/asset_partition_range_end"
