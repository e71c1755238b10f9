"""Makes what is missing or stale, in the fewest runs. What fails does not stop the rest."""

from collections.abc import Callable

from dagster import AssetKey

from mds_assets.stack.lake.layout import Partition
from mds_assets.stack.plan.plan import Plan
from mds_assets.stack.plan.runs import Run


def heal(
    plan: Callable[[dict[AssetKey, set[Partition]]], Plan],
    make: Callable[[Run, int], str],
) -> tuple[int, list[str]]:
    """Make the runs of a plan, in order.

    After a failure the lake is compared again: what the failed run left unmade is given up, with all downstream of it.

    Args:
        plan: Makes the plan, without the partitions that were given up.
        make: Makes a run, given how many are left after it. Returns why it failed, or an empty string.

    Returns:
        How many runs there were, and why those failed that did.
    """
    given_up: dict[AssetKey, set[Partition]] = {}
    failures: list[str] = []
    made, left = 0, list(plan(given_up).runs)
    while left:
        each = left.pop(0)
        made += 1
        if not (failure := make(each, len(left))):
            continue
        failures.append(failure)
        again = plan(given_up)
        for key in each.keys:
            days = {day for day in again.states.to_make.get(key, ()) if day is None or each.first <= day <= each.last}
            given_up.setdefault(key, set()).update(days)
        left = list(plan(given_up).runs)
    return made, failures
