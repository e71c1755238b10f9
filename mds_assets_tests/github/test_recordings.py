"""Promises of the committed slice: it is what the full recordings say, and small."""

import pytest

from mds_assets_tests.github.recorded.__main__ import march_of_quicwg, trimmed, week_of_jenkinsci
from mds_assets_tests.github.recordings import (
    NPM_DAYS,
    SLICE,
    jenkinsci,
    needs_recordings,
    npm_days,
    quicwg,
    sliced_jenkinsci,
    sliced_npm_days,
    sliced_quicwg,
)


@needs_recordings
def test_the_slice_says_what_the_full_recordings_say():
    assert sliced_jenkinsci() == week_of_jenkinsci(jenkinsci())
    assert sliced_quicwg() == march_of_quicwg(quicwg())
    assert sliced_npm_days() == {day: [trimmed(repo) for repo in npm_days()[day]] for day in NPM_DAYS}


def test_the_slice_is_small_and_names_its_sources():
    assert sum(file.stat().st_size for file in SLICE.iterdir() if file.is_file()) < 300_000
    readme = (SLICE / "README.md").read_text()
    for file in SLICE.glob("*.gz"):
        assert f"`{file.name}`" in readme


@pytest.mark.parametrize("word", ["hub4j/github-api", "MIT", "npm/statusboard", "ISC"])
def test_the_slice_names_source_and_licence(word: str):
    assert word in (SLICE / "README.md").read_text()
