"""Debian's Chromium for the tests that look at pages: where it is, and how it is started."""

import shutil

import pytest

CHROMIUM = shutil.which("chromium")
# On a machine without a network, Chromium's own calls home only fill its log.
CHROMIUM_OPTIONS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]

needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="no chromium on the PATH: apt-get install chromium")
