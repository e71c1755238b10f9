"""Promises of an index of pages: it lists what the lake has when it is published, whichever run ends last."""

from collections.abc import Sequence
from datetime import date
from pathlib import Path

import pytest
from upath import UPath

from mds_assets.stack.lake import Lake
from mds_assets.stack.lake.backend import Backend, ConflictError
from mds_assets.stack.lake.object_store import StoreOptions
from mds_assets_tests.stack.lake.conftest import OpenLake
from mds_assets_tests.stack.lake.files import D1, D2, D3, PAGE, written


def listing(days: Sequence[date], newest: str) -> str:
    return f"{' '.join(map(str, days))}: {newest}"


def publish(lake: Lake, *days: date, content: str = "") -> None:
    """A run that replaces the pages of these days."""
    with lake.replacing(PAGE, {}, "latest.html", ("index.html", listing)) as (folder, targets):
        for day in days:
            targets[written(folder, f"{day}.html", content or str(day))] = Path(f"day={day}", "report.html")


def index_of(lake: Lake) -> str:
    return (lake.folder(PAGE) / "index.html").read_text()


def test_an_index_lists_the_days_of_all_runs_newest_first_with_the_newest_page(lake: Lake):
    for days, expected in (([D2], [D2]), ([D1], [D2, D1]), ([D3, D2], [D3, D2, D1]), ([D1], [D3, D2, D1])):
        publish(lake, *days)
        assert index_of(lake) == listing(expected, str(expected[0]))


def test_an_index_has_the_days_of_a_run_that_ended_in_between(open_lake: OpenLake):
    slow, fast = open_lake(), open_lake()
    with slow.replacing(PAGE, {}, "latest.html", ("index.html", listing)) as (folder, targets):
        publish(fast, D2, content="fast")
        targets[written(folder, "page", "slow")] = Path(f"day={D1}", "report.html")
    assert index_of(slow) == listing([D2, D1], "fast")
    assert (slow.folder(PAGE) / "latest.html").read_text() == "fast"


def test_a_failed_run_leaves_the_index_as_it_was(lake: Lake):
    publish(lake, D1)
    with (
        pytest.raises(InterruptedError),
        lake.replacing(PAGE, {}, "latest.html", ("index.html", listing)) as (folder, targets),
    ):
        targets[written(folder, "page", "half")] = Path(f"day={D2}", "report.html")
        raise InterruptedError
    assert index_of(lake) == listing([D1], str(D1))


def test_an_index_that_another_run_replaces_meanwhile_is_written_again(lake: Lake, monkeypatch: pytest.MonkeyPatch):
    errors: list[Exception] = [ConflictError(UPath("index.html")), OSError(16, "replaced while it was read")]
    days = type(lake.backend).days

    def days_that_change(backend: Backend, table: UPath) -> object:
        if errors:
            raise errors.pop()
        return days(backend, table)

    monkeypatch.setattr(type(lake.backend), "days", days_that_change)
    publish(lake, D1)
    assert index_of(lake) == listing([D1], str(D1))
    assert errors == []


def test_two_runs_that_publish_at_once_leave_an_index_of_both(stored_lake: Lake, options: StoreOptions):
    """In a store, no lock holds back the fast run: it publishes after the slow one has listed the days."""
    slow, runs = stored_lake, [Lake(stored_lake.root, options)]

    def interrupted(days: Sequence[date], newest: str) -> str:
        if runs:
            publish(runs.pop(), D2)
        return listing(days, newest)

    with slow.replacing(PAGE, {}, "latest.html", ("index.html", interrupted)) as (folder, targets):
        targets[written(folder, "page", "slow")] = Path(f"day={D1}", "report.html")
    assert index_of(slow) == listing([D2, D1], str(D2))
    assert (slow.folder(PAGE) / "latest.html").read_text() == str(D2)
