"""Rows of staging that the tests of marts share: made by hand or by hypothesis, for Polars and for the oracle."""

from datetime import UTC, date, datetime, timedelta
from typing import Any

import polars as pl
from hypothesis import strategies as st

from mds_assets.defs.github.staging import REPOS
from mds_assets.stack.io_managers.polars import polars_schema
from mds_assets_tests.github import oracle

START = date(2026, 1, 1)

Observed = list[dict[str, Any]]


def day(offset: int) -> date:
    """The day of this number; 0 is START."""
    return START + timedelta(days=offset)


def seen(day: int, repo_id: int = 1, pushed: int | None = None, hour: int = 12, **fields: Any) -> dict[str, Any]:
    """A row of staging on this day (0 is START); `pushed` is a day too, the same when not given."""
    active = datetime(2026, 1, 1, hour, tzinfo=UTC) + timedelta(days=day)
    return {
        "org": "acme",
        "repo_id": repo_id,
        "repo_name": f"repo-{repo_id}",
        "language": "Python",
        "stars": 10,
        "forks": 1,
        "pushed_at": active if pushed is None else active - timedelta(days=day - pushed),
        "active_at": active,
        "observed_at": active + timedelta(days=1),
        "day": START + timedelta(days=day),
        **fields,
    }


def frame(rows: Observed) -> pl.LazyFrame:
    """These rows as staging gives them to a mart; columns that a row lacks are null."""
    return pl.LazyFrame(rows, schema=polars_schema(REPOS.with_day()))


def staged(rows: Observed) -> oracle.Staged:
    """The same rows for the oracle."""
    days: oracle.Staged = {}
    for row in rows:
        given = oracle.Row(*(row.get(name) for name in oracle.Row._fields))  # pyright: ignore[reportArgumentType]
        days.setdefault(row["day"], {})[row["org"], row["repo_id"]] = given
    return days


def observations(min_size: int = 0, **fields: st.SearchStrategy[Any]) -> st.SearchStrategy[Observed]:
    """Rows of staging of 15 days; `fields` adds columns or replaces how they are drawn."""
    drawn: dict[str, st.SearchStrategy[Any]] = {
        "day": st.integers(0, 14),
        # Some do not fit where organisation and repository are packed into one integer.
        "repo_id": st.integers(1, 6) | st.sampled_from([2**40 - 1, 2**40 + 5, 2**63 - 1, -1, -(2**63)]),
        "pushed": st.none() | st.integers(-3, 14),
        "hour": st.integers(0, 23),
        "org": st.sampled_from(["acme", "other"]),
        "language": st.sampled_from(["Python", "Go", "Unknown"]),
        "stars": st.integers(0, 50),
        "forks": st.integers(0, 9),
    }
    return st.lists(
        st.builds(seen, **drawn | fields).map(
            lambda row: row if row["pushed_at"] <= row["active_at"] else row | {"pushed_at": None}
        ),
        min_size=min_size,
        max_size=40,
        unique_by=lambda row: (row["day"], row["org"], row["repo_id"]),
    )
