"""Promise of README's pictures: they show what the code draws of the sample today."""

import json
from pathlib import Path

import pytest

from mds_assets_tests.chromium import needs_chromium
from mds_assets_tests.github.pictures import AGAIN, DIGESTS, IMAGES, LAST, WIDTHS, digest, digests, sample_page, take


@pytest.mark.slow(39)
@needs_chromium
def test_the_pictures_show_what_the_code_draws(tmp_path: Path):
    page = sample_page(tmp_path)
    assert f'As of <time datetime="{LAST}">' in page.read_text()
    assert digests(page) == json.loads(DIGESTS.read_text()), f"the report has changed: run `{AGAIN}` and look at them"
    # The same command takes them: what it makes of this page are pictures of the same size.
    take(page, tmp_path)
    for width in WIDTHS:
        taken, kept = (folder.joinpath(f"report-{width}.png").read_bytes() for folder in (tmp_path, IMAGES))
        assert taken[:24] == kept[:24]  # PNG's signature, and a header with width and height


def test_another_style_chart_or_text_is_another_page():
    page = "<style>p{}</style><header>A</header><main><path d='M1'/></main><footer>fetched 00:05</footer>"
    assert digest(page) == digest(page.replace("00:05", "00:06"))
    for old, new in (("p{}", "p{color:red}"), (">A<", ">B<"), ("M1", "M2")):
        assert digest(page) != digest(page.replace(old, new))
