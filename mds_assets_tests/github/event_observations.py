"""Rows of staging of events that tests of marts share: made by hand or by hypothesis, for Polars and for the oracle."""

from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any

import polars as pl
from dagster import AssetsDefinition
from hypothesis import strategies as st

from mds_assets.defs.github.staging import INVENTORY, REPOS
from mds_assets.defs.github.staging_events import ISSUES, PUSHES, STARS
from mds_assets.stack.blocks import AsOf, mart_of
from mds_assets.stack.io_managers.polars import polars_schema
from mds_assets.stack.partitions import window
from mds_assets.stack.table import DAY
from mds_assets_tests.github.oracle_events import Active, Days, Issue, Listed, Push, Stars

START = date(2026, 1, 1)
MIDNIGHT = datetime(2026, 1, 1, tzinfo=UTC)

_TABLES = {
    "staging/pushes": PUSHES,
    "staging/issues": ISSUES,
    "staging/inventory": INVENTORY,
    "staging/repos": REPOS,
    "staging/stars": STARS,
}


def day(offset: int) -> date:
    """The day of this number; 0 is START."""
    return START + timedelta(days=offset)


def at(offset: int, seconds: int = 43_200) -> datetime:
    """A moment of the day of this number; noon by default."""
    return MIDNIGHT + timedelta(days=offset, seconds=seconds)


def push(offset: int, actor: str | None = "ada", kind: str = "push", **fields: Any) -> Push:
    """A push on this day, of a person unless the actor's login says otherwise."""
    defaults: dict[str, Any] = {
        "org": "acme",
        "push_id": 0,
        "repo_id": 1,
        "repo_name": "one",
        "visibility": "public",
        "pushed_at": at(offset),
        "kind": kind,
        "ref": "refs/heads/main",
        "is_default_branch": True,
        "actor": actor,
        "is_bot": bool(actor and actor.endswith("[bot]")),
        "observed_at": at(offset + 1),
    }
    return Push(**defaults | fields)


def issue(offset: int, event: str = "opened", author: str | None = "ada", *, open_for: int = 0, **fields: Any) -> Issue:
    """An event of an issue on this day, which had been open for these seconds; a pull request's if it was merged."""
    event_at = at(offset)
    defaults: dict[str, Any] = {
        "org": "acme",
        "repo_name": "one",
        "repo_full_name": "acme/one",
        "number": 1,
        "event": event,
        "event_at": event_at,
        "issue_id": 1,
        "title": "",
        "author": author,
        "is_bot": bool(author and author.endswith("[bot]")),
        "is_pull_request": event == "merged",
        "created_at": event_at - timedelta(seconds=open_for),
        "closed_at": None if event == "opened" else event_at,
        "merged_at": event_at if event == "merged" else None,
        "comments": 0,
        "labels": [],
        "observed_at": at(offset + 1),
    }
    return Issue(**defaults | fields)


def listed(repo_id: int, created: int = -99, *, is_archived: bool = False, org: str = "acme", **counts: int) -> Listed:
    """A repository of an inventory, created on the day of this number."""
    numbers = {"stars": 0, "forks": 0, "open_issues": 0} | counts
    return Listed(org, repo_id, at(created), is_archived, **numbers)


def by_day(*rows: Push | Issue) -> dict[date, list[Any]]:
    """Pushes or issues by their day."""
    days: dict[date, list[Any]] = {}
    for row in rows:
        moment = row.pushed_at if isinstance(row, Push) else row.event_at
        days.setdefault(moment.date(), []).append(row)
    return days


def frames(days: Days) -> dict[str, pl.LazyFrame]:
    """All tables that marts read, in any order of rows; columns that a row lacks are null."""
    made = {
        name: pl.LazyFrame(
            [row._asdict() | {DAY: on} for on, rows in of_table.items() for row in rows],
            schema=polars_schema(table.with_day()),
        )
        for (name, table), of_table in zip(_TABLES.items(), days.tables, strict=True)
    }
    pushers = [(row.org, row.actor, row.is_bot, on) for on, rows in days.pushes.items() for row in rows]
    authors = [(row.org, row.author, row.is_bot, on) for on, rows in days.issues.items() for row in rows]
    for name, column, seen in (("pushers", "actor", pushers), ("authors", "author", authors)):
        spans: dict[tuple[str, str | None], tuple[bool, date, date]] = {}
        for org, person, is_bot, on in seen:
            _, first, last = spans.get((org, person), (is_bot, on, on))
            spans[org, person] = is_bot, min(first, on), max(last, on)
        made[f"staging/{name}"] = pl.LazyFrame(
            [(*key, *span) for key, span in spans.items()],
            schema={"org": pl.String, column: pl.String, "is_bot": pl.Boolean, "first_seen": pl.Date,
                    "last_seen": pl.Date},
            orient="row",
        )  # fmt: skip
    return made


def rows_of(
    definition: AssetsDefinition, days: Days, as_of_day: date, lookback_days: int = 7, landed: Iterable[date] = ()
) -> list[tuple[Any, ...]]:
    """The mart's rows of one as-of day, without `day`, from these rows of staging."""
    mart = mart_of(definition)
    read = window(as_of_day, lookback_days + mart.extra_days)
    tables = frames(days)
    given: dict[str, Any] = {
        name: tables[key.to_user_string()].filter(pl.col(DAY).is_in(read)) for name, key in mart.window.items()
    }
    given |= {name: tables[key.to_user_string()] for name, key in mart.current.items()}
    as_of = AsOf(as_of_day, lookback_days, sorted(set(read).intersection(landed)))
    return mart.function(**given, as_of=as_of).lazy().select(mart.table.names).collect().rows()


# --- for hypothesis

ORGS = st.sampled_from(["acme", "other"])
PEOPLE = st.sampled_from(["ada", "bob", "eve", "ci[bot]", None])
OFFSETS = st.integers(-3, 14)


@st.composite
def _push(draw: st.DrawFn) -> Push:
    actor = draw(PEOPLE)
    return push(
        draw(OFFSETS),
        actor,
        draw(st.sampled_from(["push", "force_push", "pr_merge", "merge_queue_merge", "branch_creation",
                              "branch_deletion", "unknown"])),
        org=draw(ORGS),
        repo_id=draw(st.integers(1, 3)),
        # An account that GitHub calls a bot need not look like one.
        is_bot=actor in ("ci[bot]", "eve"),
    )  # fmt: skip


@st.composite
def _issue(draw: st.DrawFn) -> Issue:
    event, author = draw(st.sampled_from(["opened", "closed", "merged"])), draw(PEOPLE)
    is_pull_request = event == "merged" or draw(st.booleans())
    was_merged = event == "merged" or (is_pull_request and draw(st.booleans()))
    offset = draw(OFFSETS)
    return issue(
        offset,
        event,
        author,
        # Often in the middle between two tenths of an hour.
        open_for=draw(st.integers(0, 40).map(lambda n: n * 180) | st.integers(0, 10**7)),
        org=draw(ORGS),
        is_bot=author in ("ci[bot]", "eve"),
        is_pull_request=is_pull_request,
        merged_at=at(offset) if was_merged else None,
    )


def _dated(rows: st.SearchStrategy[Any], key: Any) -> st.SearchStrategy[dict[date, list[Any]]]:
    dated = st.lists(st.tuples(OFFSETS.map(day), rows), max_size=15, unique_by=lambda each: (each[0], key(each[1])))

    def group(pairs: Sequence[tuple[date, Any]]) -> dict[date, list[Any]]:
        return {on: [row for other, row in pairs if other == on] for on, _ in pairs}

    return dated.map(group)


PUSHED = st.lists(_push(), max_size=20).map(lambda rows: by_day(*rows))
HAPPENED = st.lists(_issue(), max_size=20).map(lambda rows: by_day(*rows))
_COUNTS = st.integers(0, 9)
LISTED = _dated(
    st.builds(Listed, ORGS, st.integers(1, 4), OFFSETS.map(at), st.booleans(), _COUNTS, _COUNTS, _COUNTS),
    lambda row: (row.org, row.repo_id),
)
ACTIVE = _dated(st.builds(Active, ORGS, st.integers(1, 4)), lambda row: row)
GAINED = _dated(st.builds(Stars, ORGS, st.integers(1, 4), _COUNTS), lambda row: (row.org, row.repo_id))
ALL = st.builds(Days, PUSHED, HAPPENED, LISTED, ACTIVE, GAINED)
