"""Debian's Chromium for the tests that look at pages: where it is, how it is started, and what it shows of a file."""

import shutil
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

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

# Texts that are not read easily: smaller than 11 px on the screen, or with less contrast than WCAG's AA asks for.
UNREADABLE = """() => {
    const channel = value => (value /= 255) <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4
    const luminance = ([r, g, b]) => 0.2126 * channel(r) + 0.7152 * channel(g) + 0.0722 * channel(b)
    const parsed = colour => colour.match(/[\\d.]+/g).map(Number)
    const behind = element => {
        for (; element; element = element.parentElement) {
            const colour = parsed(getComputedStyle(element).backgroundColor)
            if (colour.length === 3) return colour
        }
    }
    const texts = [...document.querySelectorAll("body *")].filter(element => element.getClientRects().length &&
        [...element.childNodes].some(node => node.nodeType === Node.TEXT_NODE && node.data.trim()))
    return texts.filter(element => {
        const style = getComputedStyle(element), svg = element.closest("svg")
        const scale = svg ? svg.getBoundingClientRect().width / svg.viewBox.baseVal.width : 1
        const [low, high] = [luminance(parsed(svg ? style.fill : style.color)), luminance(behind(element))].sort()
        return parseFloat(style.fontSize) * scale < 11 || (high + 0.05) / (low + 0.05) < 4.5
    }).map(element => `${element.textContent} ${getComputedStyle(element).fontSize}`)
}"""

# Texts that reach out of their chart or card, and texts of a chart that overlap.
CLIPPED = """() => {
    const out = (inner, outer) => inner.left < outer.left - 0.5 || inner.right > outer.right + 0.5 ||
        inner.top < outer.top - 0.5 || inner.bottom > outer.bottom + 0.5
    const overlap = (a, b) => a.left < b.right && b.left < a.right && a.top < b.bottom && b.top < a.bottom
    const found = []
    for (const svg of document.querySelectorAll("svg")) {
        const box = svg.getBoundingClientRect()
        const texts = [...svg.querySelectorAll("text")].map(text => [text.textContent, text.getBoundingClientRect()])
        found.push(...texts.filter(([, place]) => out(place, box)).map(([text]) => text))
        for (const [number, [text, place]] of texts.entries())
            found.push(...texts.slice(0, number).filter(([, other]) => overlap(place, other))
                .map(([other]) => `${text} over ${other}`))
    }
    const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT)
    for (let node; node = walker.nextNode();) {
        const card = node.parentElement.closest(".card, .facts div"), range = document.createRange()
        range.selectNodeContents(node)
        if (card && node.data.trim() && !node.parentElement.closest(".hidden") &&
            [...range.getClientRects()].some(place => out(place, card.getBoundingClientRect()))) found.push(node.data)
    }
    return found
}"""


@contextmanager
def chromium_browser() -> Generator["Browser"]:
    """A browser; no run in this process can start while it is open, as Playwright's event loop runs."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=CHROMIUM_OPTIONS)
        yield browser
        browser.close()


def opened(
    chromium: "Browser", file: Path, width: int = 1440, scheme: Any = "light", height: int = 900
) -> tuple["Page", list[str]]:
    """The page without a network, and all that it requests or complains of."""
    context = chromium.new_context(viewport={"width": width, "height": height}, color_scheme=scheme)
    context.set_offline(True)
    page, noted = context.new_page(), list[str]()
    page.on("request", lambda request: noted.append(request.url))
    page.on("console", lambda message: noted.append(message.text))
    page.on("pageerror", lambda error: noted.append(str(error)))
    page.on("dialog", lambda dialog: noted.append(dialog.message))
    page.goto(file.as_uri())
    return page, noted
