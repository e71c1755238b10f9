"""What a lake holds, wherever it lies, and whether two of them hold the same."""

import re
from collections.abc import Iterable, Mapping
from datetime import date
from io import BytesIO
from pathlib import Path

import obstore
import polars as pl
from obstore.store import S3Store

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
_OWN = ("observed_at", "_dlt_load_id")

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
    runs_before = attempts_before = 0
    for day in days:
        (expected,) = _loads(reference, RAW, day, early=False)
        loads, early = (_loads(ours, RAW, day, early=early) for early in (False, True))
        if not 1 <= len(loads) <= attempts[day]:
            found.append(f"{RAW} of {day}: {len(loads)} loads of {attempts[day]} runs")
        # GitHub tells each run of an earlier day of this one, too.
        if expected and not runs_before <= len(early) <= attempts_before:
            found.append(f"{RAW} of {day}: {len(early)} early loads of {attempts_before} runs of {runs_before} days")
        if any(load != expected for load in [*loads, *early]):
            rows = [len(load) for load in [*loads, *early]]
            found.append(f"{RAW} of {day}: a load of {rows} rows, not those {len(expected)}")
        runs_before, attempts_before = runs_before + 1, attempts_before + attempts[day]
        for table in TABLES:
            one, other = _loads(ours, table, day), _loads(reference, table, day)
            if one != other:
                found.append(f"{table} of {day}: {_rows(one)} rows, not the {_rows(other)} of the local run")
        if _pages(ours, day) != _pages(reference, day):
            found.append(f"{REPORT} of {day}: another page than that of the local run")
    return found


def _loads(root: str, table: str, day: date, *, early: bool = False) -> Loads:
    """The rows of each file of a day, as text and sorted; of each early file, or of each other one."""
    files = _files(root, f"{table}/day={day}")
    of_kind = [content for name, content in files.items() if name.endswith(".early.parquet") == early]
    frames = [pl.read_parquet(BytesIO(content)) for content in of_kind]
    return [sorted(map(_text, frame.iter_rows(named=True))) for frame in frames]


def _text(row: dict[str, object]) -> str:
    # A load of many days has a column more where only another day of it has a value there: absent means null.
    return repr(sorted((name, value) for name, value in row.items() if value is not None and name not in _OWN))


def _pages(root: str, day: date) -> list[bytes]:
    """The pages of a day, without what differs from lake to lake: the time of the observation, and the loads."""
    own = rb"<time .*?</time>|<!-- mds_provenance .*? -->"
    return [re.sub(own, b"", content) for content in _files(root, f"{REPORT}/day={day}").values()]


def _files(root: str, folder: str) -> dict[str, bytes]:
    """The files of a folder by name, in order. The environment tells how to reach a store."""
    if "://" not in root:
        return {file.name: file.read_bytes() for file in sorted(Path(root, folder).glob("*"))}
    store = S3Store.from_url(root, client_options={"allow_http": True})
    paths = sorted(meta["path"] for metas in obstore.list(store, folder) for meta in metas)
    return {path.rpartition("/")[2]: obstore.get(store, path).bytes().to_bytes() for path in paths}


def _rows(loads: Loads) -> int:
    return sum(map(len, loads))
