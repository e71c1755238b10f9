"""Reproducible chance and the calendar: numbers that depend only on `SEED` and a key.

What does not belong here: anything about repositories, people or issues.
"""

import hashlib
import struct
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TypeVar

SEED = "mds-sample-1"
HOUR = 3_600
DAY = 86_400
MONDAY = 4  # 1970-01-05
ERA = int(datetime(2024, 1, 1, tzinfo=UTC).timestamp())
"""From this moment on, the organisation is active: its founding repositories exist, and the quiet ones are quiet."""

T = TypeVar("T")


def draw(*key: object) -> float:
    """A number in [0, 1) that depends only on `SEED` and the key, not on Python version, machine or earlier draws."""
    digest = hashlib.blake2b(repr((SEED, *key)).encode(), digest_size=6).digest()
    return int.from_bytes(digest) / 2**48


def draws(number: int, *key: object) -> list[float]:
    """Several numbers in [0, 1) at the price of one: each costs a microsecond otherwise."""
    digest = hashlib.shake_128(repr((SEED, *key)).encode()).digest(4 * number)
    return [each / 2**32 for each in struct.unpack(f">{number}I", digest)]


def integer(below: int, *key: object) -> int:
    """A whole number from 0 to `below`, exclusive."""
    return int(draw(*key) * below)


def pick(options: Sequence[T], *key: object) -> T:
    """One of the options."""
    return options[integer(len(options), *key)]


def quantile(deciles: Sequence[float], share: float) -> float:
    """The value below which `share` (0 to 1) of a distribution lies, given its 11 deciles from minimum to maximum."""
    place = share * (len(deciles) - 1)
    below = int(place)
    return deciles[below] + (deciles[below + 1] - deciles[below]) * (place - below)


def is_weekend(day: int) -> bool:
    """Whether a day (days since 1970, UTC) is a Saturday or Sunday."""
    return (day - MONDAY) % 7 >= 5


def timestamp(moment: int) -> str:
    """A moment as GitHub writes it: `2026-11-22T12:00:00Z`."""
    return f"{datetime.fromtimestamp(moment, UTC).isoformat()[:19]}Z"  # twice as fast as strftime


def clock(team: object, *key: object) -> int:
    """Seconds since midnight UTC, mostly around noon, at least 10 before the day ends; a team keeps regular hours."""
    habit = (draw(team, "early") + draw(team, "late")) / 2
    return int((DAY - 10) * (0.8 * habit + 0.2 * draw(team, *key, "clock")))
