"""How far a step is, for whoever shows it: `mds run` has a live line."""

import logging
from collections.abc import Collection, Iterator
from datetime import date

DAYS = logging.getLogger("mds_assets.days")  # its records have two arguments: days done, and days in all


def each_day(days: Collection[date]) -> Iterator[date]:
    """The days, one by one; each counts as done when the next one is taken."""
    for number, day in enumerate(days):
        if number:
            DAYS.debug("%s of %s days", number, len(days))
        yield day
