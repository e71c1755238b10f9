"""The jobs: what an operator, a schedule or `mds run` starts.

https://docs.dagster.io/guides/build/jobs/asset-jobs
"""

from dagster import AssetSelection, define_asset_job

daily_refresh = define_asset_job(
    "daily_refresh",
    selection=AssetSelection.all(),
    description="Raw, staging, marts and the report of one day or a range of days.",
)
