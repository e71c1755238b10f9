"""Promises of the marts of the window as a whole: contributors and the organisation equal a plain-Python oracle."""

from datetime import date
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from mds_assets.defs.github.people import ORGANISATION, contributors, organisation
from mds_assets_tests.github import oracle_events as oracle
from mds_assets_tests.github.event_observations import ALL, by_day, day, issue, listed, push, rows_of
from mds_assets_tests.github.oracle_events import Active, Days, Issue, Push, Stars

AS_OF = st.integers(0, 16).map(day)
LOOKBACK = st.integers(1, 10)


def people_of(*rows: Push | Issue, as_of: int = 6, lookback_days: int = 7) -> list[Any]:
    """Rows of `contributors`, without the organisation."""
    pushes = by_day(*(row for row in rows if isinstance(row, Push)))
    issues = by_day(*(row for row in rows if isinstance(row, Issue)))
    return [row[1:] for row in rows_of(contributors, Days(pushes, issues), day(as_of), lookback_days)]


def state_of(days: Days, as_of: int = 6, lookback_days: int = 7) -> dict[str, Any]:
    """The one row of `organisation`, by its columns."""
    (row,) = rows_of(organisation, days, day(as_of), lookback_days)
    return dict(zip(ORGANISATION.names, row, strict=True))


@settings(max_examples=60)
@given(days=ALL, as_of=AS_OF, lookback_days=LOOKBACK)
def test_contributors_equal_the_oracle(days: Days, as_of: date, lookback_days: int):
    rows = rows_of(contributors, days, as_of, lookback_days)
    assert sorted(rows) == sorted(oracle.contributors(days, as_of, lookback_days))


@settings(max_examples=60)
@given(days=ALL, as_of=AS_OF, lookback_days=LOOKBACK)
def test_the_organisation_equals_the_oracle(days: Days, as_of: date, lookback_days: int):
    assert rows_of(organisation, days, as_of, lookback_days) == oracle.organisation(days, as_of, lookback_days)


# --- contributors


def test_pushes_and_pull_requests_count_for_whoever_made_them_and_bots_come_last():
    rows = people_of(
        push(0, "ci[bot]"),
        push(1, "ci[bot]"),
        push(1, "ada"),
        push(2, "ada", "branch_creation"),
        issue(3, "opened", "bob", is_pull_request=True),
        issue(4, "merged", "bob"),
        issue(4, "closed", "bob", is_pull_request=True),
    )
    assert [row[:5] for row in rows] == [
        ("ada", False, 1, 0, 0),
        ("bob", False, 0, 1, 1),
        ("ci[bot]", True, 2, 0, 0),
    ]


def test_an_issue_is_no_contribution_and_neither_is_a_branch():
    assert people_of(issue(6, "opened", "ada"), issue(6, "closed", "bob"), push(6, "eve", "branch_creation")) == []


def test_a_deleted_account_is_left_out():
    assert people_of(push(6, None), issue(6, "merged", None)) == []


def test_nobody_is_called_new_in_a_lake_that_knows_of_nobody_before_the_window():
    ((*_, first_seen, is_new),) = people_of(push(0), push(6), as_of=6)
    assert (first_seen, is_new) == (day(0), None)


def test_who_was_first_seen_in_the_window_is_new_and_who_was_seen_before_is_not():
    rows = people_of(push(0, "ada"), push(7, "ada"), push(7, "bob"), as_of=7)
    assert {row[0]: row[5:] for row in rows} == {"ada": (day(0), False), "bob": (day(7), True)}


def test_an_issue_before_the_window_makes_somebody_known():
    rows = people_of(issue(0, "closed", "ada"), push(7, "ada"), as_of=7)
    assert [row[5:] for row in rows] == [(day(0), False)]


def test_a_deleted_account_s_push_before_the_window_shows_that_the_lake_reaches_back():
    ((*_, is_new),) = people_of(push(0, None), push(7, "ada"), as_of=7)
    assert is_new is True


def test_each_organisation_has_a_beginning_of_its_own():
    rows = rows_of(contributors, Days(by_day(push(0, org="other"), push(7), push(7, org="other"))), day(7))
    assert [(row[0], row[-1]) for row in rows] == [("acme", None), ("other", False)]


def test_a_window_of_one_day_sees_that_day_alone():
    rows = people_of(push(5, "bob"), push(6, "ada"), lookback_days=1)
    assert rows == [("ada", False, 1, 0, 0, day(6), True)]


def test_a_day_after_the_window_adds_no_contribution():
    assert people_of(push(7), as_of=6) == []


# --- organisation


def test_a_day_without_an_inventory_has_none_of_its_numbers_and_still_counts_events():
    days = Days(
        by_day(push(6)), by_day(issue(6, "merged", "bob")), {day(5): [listed(1)]}, {day(6): [Active("acme", 1)]}
    )
    state = state_of(days)
    unknown = {"repositories", "new_repositories", "archived_repositories", "gone_repositories", "stars", "forks",
               "open_issues"}  # fmt: skip
    assert {name for name, value in state.items() if value is None} == unknown
    assert (state["active_repositories"], state["people"], state["stars_gained"]) == (1, 2, 0)


def test_the_state_is_that_of_the_day_s_inventory_alone():
    days = Days(inventory={day(5): [listed(1, stars=1)], day(6): [listed(1, stars=5), listed(2, stars=2, forks=3)]})
    state = state_of(days)
    assert (state["repositories"], state["stars"], state["forks"], state["gone_repositories"]) == (2, 7, 3, 0)


def test_a_repository_is_gone_if_an_earlier_inventory_of_the_window_lists_it():
    days = Days(
        inventory={day(-1): [listed(9)], day(2): [listed(1), listed(2)], day(4): [listed(2)], day(6): [listed(3)]}
    )
    assert state_of(days)["gone_repositories"] == 2
    assert state_of(days, lookback_days=3)["gone_repositories"] == 1


def test_a_repository_is_new_if_it_was_created_in_the_window():
    created = [listed(number, created) for number, created in enumerate([-1, 0, 6, 7])]
    # Between midnight and the inventory that is made of the day, too.
    state = state_of(Days(inventory={day(6): created}))
    assert (state["repositories"], state["new_repositories"]) == (4, 2)


def test_bots_and_deleted_accounts_are_no_people():
    days = Days(by_day(push(6), push(6, "ci[bot]"), push(6, None)), by_day(issue(6, "merged", "bob")))
    assert state_of(days)["people"] == 2


def test_stars_of_the_window_are_added_up():
    gained = {day(offset): [Stars("acme", 1, offset + 1), Stars("acme", 2, 1)] for offset in range(-1, 8)}
    assert state_of(Days(stars=gained))["stars_gained"] == sum(range(1, 8)) + 7
