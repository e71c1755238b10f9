"""Promises of the marts by date: pushes and issues of each date of the window equal a plain-Python oracle."""

from datetime import date, timedelta
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from mds_assets.defs.github.flow import issue_flow, push_activity
from mds_assets_tests.github import oracle_events as oracle
from mds_assets_tests.github.event_observations import (
    HAPPENED,
    PUSHED,
    at,
    by_day,
    day,
    issue,
    push,
    rows_of,
)
from mds_assets_tests.github.oracle_events import Days, Issue, Push

LANDED = [day(offset) for offset in range(-10, 20)]  # more days than any window here reads
AS_OF = st.integers(0, 16).map(day)
LOOKBACK = st.integers(1, 10)
SOME_LANDED = st.sets(st.integers(-10, 20).map(day))


def pushes_of(*pushes: Push, as_of: int = 6, lookback_days: int = 7, landed: list[date] = LANDED) -> list[Any]:
    """Rows of `push_activity`, without the organisation."""
    return [row[1:] for row in rows_of(push_activity, Days(by_day(*pushes)), day(as_of), lookback_days, landed)]


def flow_of(*issues: Issue, as_of: int = 6, lookback_days: int = 7, landed: list[date] = LANDED) -> list[Any]:
    """Rows of `issue_flow`, without the organisation."""
    return [row[1:] for row in rows_of(issue_flow, Days(issues=by_day(*issues)), day(as_of), lookback_days, landed)]


@settings(max_examples=60)
@given(pushes=PUSHED, as_of=AS_OF, lookback_days=LOOKBACK, landed=SOME_LANDED)
def test_push_activity_equals_the_oracle_whichever_days_were_landed(
    pushes: dict[date, list[Push]], as_of: date, lookback_days: int, landed: set[date]
):
    expected = oracle.push_activity(pushes, as_of, lookback_days, landed)
    assert rows_of(push_activity, Days(pushes), as_of, lookback_days, landed) == expected


@settings(max_examples=60)
@given(issues=HAPPENED, as_of=AS_OF, lookback_days=LOOKBACK, landed=SOME_LANDED)
def test_issue_flow_equals_the_oracle_whichever_days_were_landed(
    issues: dict[date, list[Issue]], as_of: date, lookback_days: int, landed: set[date]
):
    expected = oracle.issue_flow(issues, as_of, lookback_days, landed)
    assert rows_of(issue_flow, Days(issues=issues), as_of, lookback_days, landed) == expected


# --- push_activity


def test_creating_or_deleting_a_branch_is_no_push():
    branches = [push(6, kind=kind) for kind in ("branch_creation", "branch_deletion", "unknown")]
    assert pushes_of(*branches) == []
    assert pushes_of(*branches, push(6))[-1][1] == 1


def test_force_pushes_and_merges_are_pushes():
    kinds = ["push", "force_push", "pr_merge", "merge_queue_merge"]
    (row,) = pushes_of(*(push(6, kind=kind) for kind in kinds), lookback_days=1)
    assert row[:4] == (day(6), 4, 1, 2)


def test_a_bot_s_pushes_count_and_a_bot_is_no_person():
    pushed = [push(6), push(6, "ci[bot]"), push(6, "deploy", is_bot=True)]
    (row,) = pushes_of(*pushed, lookback_days=1)
    pushes, people, by_bots = row[1], row[5], row[6]
    assert (pushes, people, by_bots) == (3, 1, 2)


def test_a_deleted_account_s_pushes_count_and_it_is_no_person():
    (row,) = pushes_of(push(6, None), push(6, None), lookback_days=1)
    assert (row[1], row[5]) == (2, 0)


def test_someone_who_pushes_twice_to_two_repositories_is_one_person():
    (row,) = pushes_of(push(6), push(6, repo_id=2), push(6), lookback_days=1)
    repositories, people = row[4], row[5]
    assert (repositories, people) == (2, 1)


def test_every_date_of_the_window_has_a_row_and_an_empty_one_counts_nothing():
    rows = pushes_of(push(3))
    assert [row[0] for row in rows] == [day(offset) for offset in range(7)]
    assert rows[2] == (day(2), 0, 0, 0, 0, 0, 0, 0.0, 7)


def test_of_a_date_that_was_never_landed_only_what_was_seen_is_counted():
    """What happened early on a day is seen by the run of the day before."""
    rows = pushes_of(push(3), push(5), landed=[day(5), day(6)])
    assert [row[1] for row in rows] == [None, None, None, 1, None, 1, 0]
    assert rows[4] == (day(4), None, None, None, None, None, None, None, 0)
    flows = flow_of(issue(3, "opened"), landed=[day(6)])
    assert [row[1] for row in flows] == [None, None, None, 1, None, None, 0]


def test_the_mean_is_over_landed_days_alone_those_before_the_window_too():
    pushed = [push(0), push(0), push(0), push(6)]
    assert pushes_of(*pushed, lookback_days=1, landed=[day(0), day(6)]) == [(day(6), 1, 0, 0, 1, 1, 0, 2.0, 2)]
    assert pushes_of(*pushed, lookback_days=1, landed=[day(6)])[0][-2:] == (1.0, 1)
    assert pushes_of(*pushed, lookback_days=1, landed=[])[0][-2:] == (None, 0)


def test_an_organisation_that_only_pushed_before_the_window_has_no_rows():
    assert pushes_of(push(0), as_of=6, lookback_days=6) == []


# --- issue_flow


def test_a_merged_pull_request_is_closed_once():
    merged = issue(6, "merged", open_for=3600)
    closed = merged._replace(event="closed")
    assert flow_of(merged, closed, lookback_days=1) == [(day(6), 0, 0, 0, 1, 0, 1.0, None)]


def test_a_pull_request_closed_without_a_merge_is_neither_merged_nor_an_issue_closed():
    closed = issue(6, "closed", is_pull_request=True, open_for=3600)
    assert flow_of(closed, lookback_days=1) == [(day(6), 0, 0, 0, 0, 1, None, None)]


def test_an_issue_opened_and_closed_on_one_day_counts_as_both():
    rows = flow_of(issue(6, "opened"), issue(6, "closed", open_for=5400), lookback_days=1)
    assert rows == [(day(6), 1, 1, 0, 0, 0, None, 1.5)]


def test_an_issue_closed_again_after_it_was_reopened_counts_on_both_days():
    """Each day's staging has what GitHub knew when the day ran."""
    rows = flow_of(issue(2, "closed", open_for=7200), issue(5, "closed", open_for=7200 + 3 * 86_400))
    assert [(row[2], row[7]) for row in rows] == [(0, None)] * 2 + [(1, 2.0)] + [(0, None)] * 2 + [(1, 74.0), (0, None)]


def test_hours_are_the_median_and_not_the_mean():
    hours = (1, 2, 30)
    (row,) = flow_of(*(issue(6, "merged", open_for=number * 3600) for number in hours), lookback_days=1)
    assert row[6] == 2.0
    (row,) = flow_of(*(issue(6, "merged", open_for=number * 3600) for number in hours[:2]), lookback_days=1)
    assert row[6] == 1.5


def test_a_pull_request_merged_in_the_second_it_was_opened_took_no_time():
    (row,) = flow_of(issue(6, "merged"), lookback_days=1)
    assert row[6] == 0.0


def test_what_happened_before_the_window_is_left_out():
    before = issue(0, "merged", event_at=at(0, 86_399), created_at=at(0) - timedelta(days=3))
    assert flow_of(before, as_of=7) == []
    assert len(flow_of(before, as_of=6)) == 7
