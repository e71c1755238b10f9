"""Promise of the report in a browser: no label is clipped, whatever GitHub's names and numbers are."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from mds_assets.defs.github.report.figures import Language, Listed, Organisation, Repository
from mds_assets.defs.github.report.page import render
from mds_assets.defs.github.report.people import Contributor, People, PullRequest, Waiting
from mds_assets.defs.github.report.trends import Point, Trends
from mds_assets.stack.partitions import window
from mds_assets_tests.chromium import CLIPPED, UNREADABLE, chromium_browser, needs_chromium, opened
from mds_assets_tests.github.test_reports import DAY, organisation, report

# The longest that GitHub allows: logins of 39 characters, repositories of 100; and Linguist's longest languages.
LOGIN, REPOSITORY = "W" * 39, "Spoon-Knife_" * 8 + "main"
LANGUAGES = ["Microsoft Developer Studio Project", "Glyph Bitmap Distribution Format", "DIGITAL Command Language", "C"]


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with chromium_browser() as browser:
        yield browser


def with_long_names(days: list[date], most: int) -> Organisation:
    points = [Point(day, most * (number + 1) // len(days), most / 3) for number, day in enumerate(days)]
    alone = [point._replace(other=None) for point in points]
    person = Contributor(LOGIN, 12_345, 1_234, 1_234, DAY)
    at = datetime(2026, 11, 21, tzinfo=UTC)
    listed = Listed(
        [Repository(REPOSITORY, name, 1_234_567, 1_234_567, DAY, at, at, 1_234_567, 12_345) for name in LANGUAGES]
    )
    return replace(
        organisation(LOGIN),
        trends=Trends(pushes=points, merged=alone, issues=points, stars=alone),
        people=People([person], 1, [person], 1, 0, 0, 0),
        waiting=Waiting([PullRequest(REPOSITORY, 123_456, REPOSITORY * 3, 12_345)], 1, 0),
        languages=[Language(name, 123_456, 1_234_567.8, 1.0) for name in LANGUAGES * 3],
        gained=listed,
        lost=listed,
        newest=listed,
        quietest=listed,
        most_pushed=listed,
        dormant=listed,
    )


@pytest.mark.slow(2)
@needs_chromium
@pytest.mark.parametrize(("days", "most"), [(1, 9), (7, 1_500_000), (8, 6_000), (90, 6_000), (90, 1_500_000)])
@pytest.mark.parametrize("width", [360, 1440])
def test_no_label_is_clipped(chromium: Browser, tmp_path: Path, width: int, days: int, most: int):
    file = tmp_path / "report.html"
    file.write_text(render(report(with_long_names(window(DAY, days), most))))
    page, _ = opened(chromium, file, width)
    page.eval_on_selector_all("details", "all => all.forEach(one => one.open = true)")
    assert page.evaluate(CLIPPED) == []
    assert page.evaluate(UNREADABLE) == []
    assert page.evaluate("document.documentElement.scrollWidth") == width
    for language in LANGUAGES:
        assert page.get_by_role("rowheader", name=language, exact=True).first.is_visible()
    page.context.close()
