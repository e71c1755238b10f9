"""Makes what is missing or stale, in the fewest runs. What fails does not stop the rest."""

from collections.abc import Callable, Collection
from datetime import date

from dagster import AssetKey

from mds_assets.stack.lake.layout import Partition
from mds_assets.stack.plan.plan import Plan
from mds_assets.stack.plan.runs import Run


def heal(
    plan: Callable[[dict[AssetKey, set[Partition]]], Plan],
    run: Callable[[date, date, Collection[AssetKey]], str],
    on_run: Callable[[Plan, Run, int], None] = lambda _plan, _run, _number: None,
) -> tuple[int, list[str]]:
    """Make the runs of a plan, in order.

    After a failure the lake is compared again: what the failed run left unmade is given up, with all downstream of it.

    Args:
        plan: Makes the plan, without the partitions that were given up.
        run: Runs some assets for some days, and returns why it failed, or an empty string.
        on_run: Is called before each run, with the plan, the run, and how many are left.

    Returns:
        How many runs there were, and why those failed that did.
    """
    given_up: dict[AssetKey, set[Partition]] = {}
    failures: list[str] = []
    made, current = 0, plan(given_up)
    left = list(current.runs)
    while left:
        each = left.pop(0)
        on_run(current, each, len(left))
        made += 1
        if not (failure := run(each.first, each.last, each.keys)):
            continue
        failures.append(failure)
        again = plan(given_up)
        for key in each.keys:
            days = {day for day in again.states.to_make.get(key, ()) if day is None or each.first <= day <= each.last}
            given_up.setdefault(key, set()).update(days)
        current = plan(given_up)
        left = list(current.runs)
    return made, failures
