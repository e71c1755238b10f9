"""Three assets that do nothing, with the days, the window, the executor and the names of the checks of the project's.

What `dagster asset materialize` takes for them is the part of a run's time that no code of ours can save. With
`BENCH_FLOOR_CHECKS=0` it is what it would take without checks.
"""

import os
import warnings
from collections.abc import Iterator

from dagster import (
    AssetCheckResult,
    AssetChecksDefinition,
    AssetCheckSpec,
    AssetDep,
    AssetsDefinition,
    BackfillPolicy,
    DailyPartitionsDefinition,
    Definitions,
    TimeWindowPartitionMapping,
    asset,
    in_process_executor,
    multi_asset_check,
)

warnings.filterwarnings("ignore", message="Parameter `backfill_policy`")

DAILY = DailyPartitionsDefinition(start_date=os.environ["MDS_START_DATE"], timezone="UTC")
LOOKBACK = TimeWindowPartitionMapping(start_offset=-6, end_offset=0)
SINGLE_RUN = BackfillPolicy.single_run()


@asset(partitions_def=DAILY, backfill_policy=SINGLE_RUN)
def repos() -> None:
    """Stands for staging."""


@asset(partitions_def=DAILY, backfill_policy=SINGLE_RUN, deps=[AssetDep(repos, partition_mapping=LOOKBACK)])
def repos_per_language() -> None:
    """Stands for a mart."""


@asset(partitions_def=DAILY, backfill_policy=SINGLE_RUN, deps=[AssetDep(repos, partition_mapping=LOOKBACK)])
def daily_activity() -> None:
    """Stands for the other mart."""


BLOCKING = ("is_valid",)
TELLING = {
    repos: ("reconciles", "is_fresh"),
    repos_per_language: ("reconciles", "window_is_complete", "is_fresh"),
    daily_activity: ("reconciles", "window_is_complete", "is_fresh"),
}


def passing(table: AssetsDefinition) -> AssetChecksDefinition:
    """The checks of a table, which look at nothing."""
    specs = [AssetCheckSpec(name, asset=table.key, blocking=name in BLOCKING) for name in (*BLOCKING, *TELLING[table])]

    @multi_asset_check(name=f"{table.key.path[-1]}__checks", specs=specs)
    def checks() -> Iterator[AssetCheckResult]:
        for spec in specs:
            yield AssetCheckResult(passed=True, asset_key=table.key, check_name=spec.name)

    return checks


defs = Definitions(
    assets=list(TELLING),
    asset_checks=[passing(table) for table in TELLING if os.environ.get("BENCH_FLOOR_CHECKS") != "0"],
    executor=in_process_executor,
)
