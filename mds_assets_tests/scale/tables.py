"""What a lake holds, wherever it lies, and whether two of them hold the same."""

import re
from collections.abc import Iterable, Mapping
from datetime import date
from io import BytesIO

import polars as pl
from upath import UPath

RAW = "raw/github_repos"
TABLES = (
    "staging/repos",
    "marts/repos_per_language",
    "marts/daily_activity",
    "marts/repo_growth",
    "marts/language_trend",
)
REPORT = "reports/activity"

# When it was observed, and by which load, differs from run to run.
_OWN = ("observed_at", "_dlt_load_id", "_dlt_id")

Loads = list[list[str]]


def differences(ours: str, reference: str, days: Iterable[date], attempts: Mapping[date, int]) -> list[str]:
    """What is not the same in the lake `ours` as in `reference`, which one run of all days in one process has made.

    Args:
        ours: The root of the lake to judge.
        reference: The root of the other one.
        days: Which must be there.
        attempts: How often each day was run: raw may have a load for each, and each must be whole.
    """
    found: list[str] = []
    for day in days:
        (expected,) = _loads(reference, RAW, day)
        loads = _loads(ours, RAW, day)
        if not 1 <= len(loads) <= attempts[day]:
            found.append(f"{RAW} of {day}: {len(loads)} loads of {attempts[day]} runs")
        if any(load != expected for load in loads):
            found.append(f"{RAW} of {day}: a load of {[len(load) for load in loads]} rows, not those {len(expected)}")
        for table in TABLES:
            one, other = _loads(ours, table, day), _loads(reference, table, day)
            if one != other:
                found.append(f"{table} of {day}: {_rows(one)} rows, not the {_rows(other)} of the local run")
        if _pages(ours, day) != _pages(reference, day):
            found.append(f"{REPORT} of {day}: another page than that of the local run")
    return found


def _loads(root: str, table: str, day: date) -> Loads:
    """The rows of each file of a day, as text and sorted."""
    files = sorted(UPath(root).joinpath(*table.split("/"), f"day={day}").glob("*.parquet"))
    frames = [pl.read_parquet(BytesIO(file.read_bytes())) for file in files]
    return [sorted(map(_text, frame.iter_rows(named=True))) for frame in frames]


def _text(row: dict[str, object]) -> str:
    # A load of many days has a column more where only another day of it has a value there: absent means null.
    return repr(sorted((name, value) for name, value in row.items() if value is not None and name not in _OWN))


def _pages(root: str, day: date) -> list[bytes]:
    """The pages of a day, without the time of the observation that they tell."""
    files = UPath(root).joinpath(*REPORT.split("/"), f"day={day}").glob("*")
    return [re.sub(rb"<time .*?</time>", b"", file.read_bytes()) for file in files]


def _rows(loads: Loads) -> int:
    return sum(map(len, loads))
