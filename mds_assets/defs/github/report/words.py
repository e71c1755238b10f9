"""Dates, numbers and names as the report writes them."""

from collections.abc import Sequence
from datetime import date, timedelta

_A_WEEK = 7

UNKNOWN = "\N{EN DASH}"


def long(day: date) -> str:
    """21 November 2026."""
    return f"{day.day} {day:%B %Y}"


def short(day: date) -> str:
    """21 Nov 2026."""
    return f"{day.day} {day:%b %Y}"


def brief(day: date) -> str:
    """21 Nov."""
    return f"{day.day} {day:%b}"


def day_month(day: date) -> str:
    """21 November."""
    return f"{day.day} {day:%B}"


def period(first: date, last: date) -> str:
    """From one day to another, both included, in the shortest form."""
    if first == last:
        return long(first)
    if first.year != last.year:
        return f"{long(first)} to {long(last)}"
    return f"{first.day if first.month == last.month else day_month(first)} to {long(last)}"


def periods(days: Sequence[date]) -> str:
    """Days in order, with consecutive ones grouped."""
    known = set(days)
    starts = [day for day in days if day - timedelta(days=1) not in known]
    ends = [day for day in days if day + timedelta(days=1) not in known]
    return ", ".join(map(period, starts, ends))


def this_window(days: int) -> str:
    """What to call the window: 'this week' or 'the last 14 days'."""
    return "this week" if days == _A_WEEK else "the last day" if days == 1 else f"the last {days} days"


def window_before(days: int) -> str:
    """What to call the window before it."""
    return "the week before" if days == _A_WEEK else "the day before" if days == 1 else f"the {days} days before"


def cell(value: date | str | float | None) -> str:
    """A value as a table shows it."""
    if value is None:
        return UNKNOWN
    if isinstance(value, date):
        return short(value)
    return value if isinstance(value, str) else f"{value:,}"


def signed(value: int) -> str:
    """A number with its sign."""
    return f"{value:+,}".replace("-", "\N{MINUS SIGN}")


def counted(number: int, singular: str, plural: str | None = None) -> str:
    """1 repository, 2 repositories."""
    return f"{number:,} {singular if number == 1 else plural or singular + 's'}"
