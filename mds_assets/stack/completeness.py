"""Which parts of a source the loads of a day lack, as their footers record.

A source that covers several accounts lands those it can read, and leaves out the others with `days.leave_out`.
"""

from collections.abc import Iterable, Mapping
from datetime import date

from upath import UPath

from mds_assets.stack.lake.footers import recorded
from mds_assets.stack.lake.layout import is_landed
from mds_assets.stack.names import LEFT_OUT, SCOPE


def left_out(files: Iterable[UPath]) -> dict[str, str]:
    """The parts that the newest load which was to cover them left out, with the reason.

    Args:
        files: The files of one day of a raw table.
    """
    missing: dict[str, str] = {}
    for file in sorted(files, key=lambda each: each.name):  # named by the time of the load
        if is_landed([file.name]):
            for part in scope_of(file):
                missing.pop(part, None)
            found = recorded(file, LEFT_OUT)
            reasons = found if isinstance(found, dict) else {}
            missing |= {part: reason for part, reason in reasons.items() if isinstance(reason, str)}
    return missing


def scope_of(file: UPath) -> frozenset[str]:
    """What a file's load covers; empty if its footer doesn't say, as of files written before scopes were recorded."""
    found = recorded(file, SCOPE)
    return frozenset(part for part in found if isinstance(part, str)) if isinstance(found, list) else frozenset()


def summary(days: Mapping[date, Mapping[str, str]]) -> str:
    """The parts that days lack, with their newest reason: `acme (3 days): answered 404`. Empty if there is none."""
    reasons: dict[str, str] = {}
    counts: dict[str, int] = {}
    for _, missing in sorted(days.items()):
        for part, reason in missing.items():
            reasons[part] = reason
            counts[part] = counts.get(part, 0) + 1
    return "; ".join(f"{part} ({counts[part]} days): {reason}" for part, reason in reasons.items())
