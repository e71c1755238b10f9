"""The asset checks: what is told of a table beside its rows.

https://docs.dagster.io/guides/test/asset-checks
"""

from collections.abc import Iterable
from datetime import date

from dagster import (
    AssetCheckExecutionContext,
    AssetCheckResult,
    AssetChecksDefinition,
    AssetCheckSeverity,
    AssetKey,
    asset_check,
)

from mds_assets.io_managers.lake import Lake
from mds_assets.partitions import to_days, window
from mds_assets.settings import settings

# A day can be staged from nothing, when raw was skipped: it is as missing as one that was not staged.
_SOURCES = (AssetKey(["raw", "github_repos"]), AssetKey(["staging", "repos"]))


def never_landed(lake: Lake, days: Iterable[date]) -> list[date]:
    """Which of these days could have been landed and staged and never were, in order."""
    possible = {day for day in days if day >= settings.start_date}
    return sorted(day for day in possible if not all(lake.files(key, day) for key in _SOURCES))


def window_is_complete(mart: AssetKey) -> AssetChecksDefinition:
    """A check that warns when a day of a mart's window was never landed or staged.

    The mart cannot tell such a day from a quiet one. The check looks at the days of its run, or at the mart's newest
    day when it is run alone. Days before the first partition cannot be run and are not missing; the materialisation's
    metadata counts them.
    """

    @asset_check(asset=mart, name="window_is_complete")
    def check(context: AssetCheckExecutionContext, lake: Lake) -> AssetCheckResult:
        """Every day of the window was landed and staged; a missing day is not a day without activity."""
        in_partitioned_run = context.has_partition_key or context.has_partition_key_range
        days = to_days(context.partition_keys) if in_partitioned_run else lake.days(mart)[-1:]
        asked = {day for as_of in days for day in window(as_of, settings.lookback_days)}
        possible = {day for day in asked if day >= settings.start_date}
        missing = never_landed(lake, asked)
        looking_back = f"{days[0]} looks" if len(days) == 1 else f"{days[0]} to {days[-1]} look" if days else "it looks"
        return AssetCheckResult(
            passed=not missing,
            severity=AssetCheckSeverity.WARN,
            description=(
                f"{len(missing)} of the {len(asked)} days that {looking_back} back on were never landed and staged: "
                "run them, then this again."
                if missing
                else f"all {len(possible)} days of the window are there"
                + (f"; {len(asked - possible)} lie before the first partition" if asked - possible else "")
            ),
            metadata={"days_missing": len(missing), "missing": ", ".join(map(str, missing)) or "none"},
        )

    return check
