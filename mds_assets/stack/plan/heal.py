"""Makes what is missing or stale, in the fewest runs. What fails does not stop the rest."""

from collections.abc import Callable, Collection, Mapping, Sequence

from dagster import AssetKey

from mds_assets.stack.lake.layout import Partition
from mds_assets.stack.plan.graph import Node
from mds_assets.stack.plan.plan import Plan
from mds_assets.stack.plan.runs import Run
from mds_assets.stack.plan.states import State


def heal(
    plan: Callable[[Mapping[AssetKey, Collection[Partition]], Collection[State], Collection[AssetKey] | None], Plan],
    acts_on: Collection[State],
    make: Callable[[Run, int], str],
) -> tuple[int, list[str]]:
    """Make the runs of a plan, in order.

    After a failure the lake is compared again: what the failed run left unmade is given up, with all downstream of it.
    Loads may also bring rows of later days. Whatever that makes stale downstream is made at the end.

    Args:
        plan: Makes the plan, given the partitions that were given up, the states to mend, and the tables that may be
            made; None for all.
        acts_on: The states to mend.
        make: Makes a run, given how many are left after it. Returns why it failed, or an empty string.

    Returns:
        How many runs there were, and why those failed that did.
    """
    given_up: dict[AssetKey, set[Partition]] = {}
    failures: list[str] = []
    made, landed = 0, set[AssetKey]()
    only: set[AssetKey] | None = None
    current = plan(given_up, acts_on, only)
    left: Sequence[Run] = current.runs
    while left:
        (each, *left) = left
        made += 1
        landed |= {key for key in each.keys if current.nodes[key].is_raw}
        if failure := make(each, len(left)):
            failures.append(failure)
            again = plan(given_up, acts_on, only)
            for key in each.keys:
                unmade = again.states.to_make.get(key, ())
                given_up.setdefault(key, set()).update(
                    day for day in unmade if day is None or each.first <= day <= each.last
                )
            left = plan(given_up, acts_on, only).runs
        if not left and landed:
            acts_on, only = {State.STALE}, _downstream(current.nodes, landed)
            left, landed = plan(given_up, acts_on, only).runs, set()
    return made, failures


def _downstream(nodes: Mapping[AssetKey, Node], keys: Collection[AssetKey]) -> set[AssetKey]:
    """The tables that read these, directly or not."""
    found = set(keys)
    for key, node in nodes.items():
        if found & node.reads.keys():
            found.add(key)
    return found - set(keys)
