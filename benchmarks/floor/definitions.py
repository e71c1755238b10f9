"""Three assets that do nothing, with the days, the lookback window and the executor of the project's.

What `dagster asset materialize` takes for them is the part of a run's time that no code of ours can save.
"""

import os
import warnings

from dagster import (
    AssetDep,
    BackfillPolicy,
    DailyPartitionsDefinition,
    Definitions,
    TimeWindowPartitionMapping,
    asset,
    in_process_executor,
)

warnings.filterwarnings("ignore", message="Parameter `backfill_policy`")

DAILY = DailyPartitionsDefinition(start_date=os.environ["MDS_START_DATE"], timezone="UTC")
LOOKBACK = TimeWindowPartitionMapping(start_offset=-6, end_offset=0)
ONE_RUN = BackfillPolicy.single_run()


@asset(partitions_def=DAILY, backfill_policy=ONE_RUN)
def repos() -> None:
    """Stands for staging."""


@asset(partitions_def=DAILY, backfill_policy=ONE_RUN, deps=[AssetDep(repos, partition_mapping=LOOKBACK)])
def repos_per_language() -> None:
    """Stands for a mart."""


@asset(partitions_def=DAILY, backfill_policy=ONE_RUN, deps=[AssetDep(repos, partition_mapping=LOOKBACK)])
def daily_activity() -> None:
    """Stands for the other mart."""


defs = Definitions(assets=[repos, repos_per_language, daily_activity], executor=in_process_executor)
