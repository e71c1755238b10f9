"""The jobs: what an operator, a schedule or `mds run` starts.

https://docs.dagster.io/guides/build/jobs/asset-jobs
"""

from dagster import AssetSelection, define_asset_job

# The tag of a run that nobody started by hand: what did.
TRIGGER = "mds/trigger"

daily_refresh = define_asset_job(
    "daily_refresh",
    selection=AssetSelection.all(),
    description="Raw, staging and marts of one day or a range of days.",
)
