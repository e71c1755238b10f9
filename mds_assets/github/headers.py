"""Values of response headers. A header may hold anything: a value that makes no sense counts as absent.

Python's int() raises ValueError for more than 4,300 digits, and dates may overflow, so nothing else parses headers.
"""

from contextlib import suppress
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import requests

_MOST_DIGITS = 18  # any such number fits 64 bits
_YEARS = range(1970, 9999)  # leaves room to add a wait


def number(value: str | None) -> int | None:
    """A whole number; None if it is anything else, or has more than 18 digits."""
    is_number = value and value.isascii() and value.isdecimal() and len(value) <= _MOST_DIGITS
    return int(value) if value and is_number else None


def retry_after(value: str, response: "requests.Response") -> float | None:
    """The header in seconds; its value is a number of seconds or a date."""
    if value.isdecimal():
        return float(value)  # infinite if it is too large
    moment = _date(value)
    return max(0.0, (moment - now_of(response)).total_seconds()) if moment else None


def until_reset(value: str, response: "requests.Response") -> float | None:
    """Seconds until this `x-ratelimit-reset`, at least 1; None if it is not a number."""
    if not value.isdecimal():
        return None
    return max(1.0, float(value) - now_of(response).timestamp() + 1)


def now_of(response: "requests.Response") -> datetime:
    """The time on GitHub's clock, UTC, since the local one may be wrong; the local time without a usable `Date`."""
    return date_of(response) or datetime.now(UTC)


def date_of(response: "requests.Response") -> datetime | None:
    """The header `Date`, UTC, in whole seconds; None if it is missing or unusable."""
    return _date(response.headers.get("date", ""))


def _date(value: str) -> datetime | None:
    with suppress(ValueError, TypeError, OverflowError):
        moment = parsedate_to_datetime(value)
        moment = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
        return moment if moment.year in _YEARS else None
    return None
