"""The jobs that an operator, a schedule or `mds run` starts.

https://docs.dagster.io/guides/build/jobs/asset-jobs
"""

from dagster import AssetSelection, define_asset_job

# Tags of automatic runs, which the UI's list of runs shows: what started them, and why if nobody requested them.
TRIGGER, WHY = "mds/trigger", "mds/why"

daily_refresh = define_asset_job(
    "daily_refresh",
    selection=AssetSelection.all(),
    description="Raw, staging, marts and the report of one day or a range of days, and the warehouse over all days.",
)

table_checks = define_asset_job(
    "table_checks",
    selection=AssetSelection.all_asset_checks(),
    description="Every check, on the newest day of its table: finds tables that have gone stale or were damaged.",
)
