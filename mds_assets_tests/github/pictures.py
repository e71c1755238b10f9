"""README's pictures of the report: `python -m mds_assets_tests.github.pictures` makes them again, in about a minute.

They show the built-in sample as of one fixed day. Beside them lies a digest of what the page draws, and of each
picture. `test_pictures.py` fails if the code draws another page. It does not compare pixels, as fonts differ between
machines.
"""

import json
import logging
import re
from collections.abc import Generator
from datetime import UTC, date, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory

from dagster import InitResourceContext, ResourceDefinition

import mds_assets_tests.conftest  # pyright: ignore[reportUnusedImport]  # noqa: F401  # settings of the tests' own
from mds_assets.definitions import build_definitions
from mds_assets.github.client import GitHub
from mds_assets.github.sample import SAMPLE_API_URL, SAMPLE_ORG, SampleTransport
from mds_assets.github.session import Session
from mds_assets.stack.settings import PROJECT_ROOT, settings
from mds_assets_tests.chromium import chromium_browser, opened
from mds_assets_tests.runs import Runs

AGAIN = "python -m mds_assets_tests.github.pictures"
IMAGES = PROJECT_ROOT / "docs/images"
DIGESTS = IMAGES / "report.json"
WIDTHS, HEIGHT = (1440, 375), 1442  # pixels; README shows them side by side

LAST = date(2026, 11, 26)
_CRAWLED_AT = datetime(2026, 11, 27, 0, 30, tzinfo=UTC)
_HISTORY, _WINDOW = timedelta(days=96), timedelta(days=7)  # 90 charted days, and what their means look back on
_BY_DATE = frozenset({"marts/push_activity", "marts/issue_flow"})
_AS_OF = frozenset({"daily_activity", "repos_per_language", "repo_growth", "contributors", "organisation"})


def sample_page(folder: Path) -> Path:
    """The sample's report as of the fixed day, from a lake below this folder."""
    runs = Runs(folder)
    runs.definitions = build_definitions(
        {"github": ResourceDefinition(_sample)},
        settings.model_copy(update={"data_dir": str(runs.lake)}),
    )
    keys = {key.to_user_string() for key in runs.definitions.resolve_all_asset_keys()}
    runs.tables = frozenset(key for key in keys if not key.startswith("marts/")) | _BY_DATE
    runs.materialise(LAST - _HISTORY, LAST)
    # The page shows these of its own day and of the window before only.
    runs.tables = frozenset(f"marts/{mart}" for mart in _AS_OF)
    runs.materialise(LAST - _WINDOW, LAST)
    runs.tables = frozenset({"reports/activity"})
    runs.materialise(LAST, layers=["reports"])
    return runs.lake / "reports/activity/latest.html"


def digest(page: str) -> str:
    """A digest of what a page draws: its style, header and content. Its footer says when the test fetched."""
    (style,), (drawn,) = (re.findall(part, page, re.DOTALL) for part in (r"<style>.*?</style>", r"<header>.*</main>"))
    return sha256(f"{style}{drawn}".encode()).hexdigest()


def digests(page: Path, images: Path = IMAGES) -> dict[str, str]:
    """The digest of the page, and of each picture."""
    pictures = {name: sha256((images / name).read_bytes()).hexdigest() for name in map(_name, WIDTHS)}
    return {"page": digest(page.read_text()), **pictures}


def take(page: Path, images: Path = IMAGES) -> None:
    """Take the pictures."""
    with chromium_browser() as browser:
        for width in WIDTHS:
            shown, _ = opened(browser, page, width, height=HEIGHT)
            shown.screenshot(path=images / _name(width))


def _name(width: int) -> str:
    return f"report-{width}.png"


def _sample(context: InitResourceContext) -> Generator[Session]:
    transport = SampleTransport(lambda: _CRAWLED_AT)
    with GitHub([SAMPLE_ORG], SAMPLE_API_URL, transport=transport).session(
        context.log or logging.getLogger(__name__)
    ) as session:
        yield session


def _main() -> None:
    with TemporaryDirectory() as folder:
        page = sample_page(Path(folder))
        take(page)
        DIGESTS.write_text(json.dumps(digests(page), indent=2) + "\n")


if __name__ == "__main__":
    _main()
