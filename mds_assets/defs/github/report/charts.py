"""The report's charts of languages: numbers in, a static SVG out, which needs no script, no network and no font.

Colours are CSS variables of the page, each with a fallback. Drawn without a library: with Altair and vl-convert, a page
took 140 MB and the first one a second more. Charts by day are in `by_day.py`.
"""

import base64
from collections.abc import Sequence
from dataclasses import dataclass

from mds_assets.stack.text import printable, svg_text

MAX_BARS = 10  # in a chart of languages

# Drawn at a phone's width; a desktop fits several side by side. So text has the same size on any screen.
_WIDTH, _LEFT, _ROW = 320, 126, 24
TEXT, MUTED = "var(--text, #1b222c)", "var(--muted, #57606c)"
BAR = "var(--bar, #3867c8)"
FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, sans-serif"
_LONGEST_NAME = 18  # characters beside a bar


@dataclass(frozen=True)
class Chart:
    """A drawing, and its description in words.

    Attributes:
        alt: The text alternative, with the numbers.
        width: The drawing's width, in its own units.
        height: The drawing's height.
        drawing: The content of an `<svg>` element of this size; all text in it is escaped.
    """

    alt: str
    width: int
    height: int
    drawing: str

    @property
    def image(self) -> str:
        """The chart as a standalone image on white: a `data:` URL."""
        svg = (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {self.width} {self.height}" width="{self.width}" '
            f'height="{self.height}"><rect width="100%" height="100%" fill="#fff"/>{self.drawing}</svg>'
        )
        return f"data:image/svg+xml;base64,{base64.b64encode(svg.encode()).decode()}"


def languages(unit: str, values: Sequence[tuple[str, float]]) -> Chart:
    """The first languages with their values as horizontal bars.

    Args:
        unit: The meaning of the values, in words.
        values: Languages in display order; at least one.
    """
    shown = [(printable(name), value) for name, value in values[:MAX_BARS]]
    labels = [f"{value:,}" for _, value in shown]
    right = 12 + 8 * max(map(len, labels))
    most = max(value for _, value in shown) or 1
    drawn: list[str] = []
    for place, ((name, value), label) in enumerate(zip(shown, labels, strict=True)):
        middle, length = _ROW * place + _ROW / 2, value / most * (_WIDTH - _LEFT - right)
        drawn += [
            f'<text x="{_LEFT - 8}" y="{middle + 4}" text-anchor="end" fill="{TEXT}">{svg_text(_cut(name))}</text>',
            f'<rect x="{_LEFT}" y="{middle - 8}" width="{length:.1f}" height="16" rx="3" fill="{BAR}"/>',
            f'<text x="{_LEFT + length + 6:.1f}" y="{middle + 4}" fill="{MUTED}">{label}</text>',
        ]
    words = ", ".join(f"{name} {value:,}" for name, value in shown)
    others = f"; {len(values) - len(shown)} more languages are not drawn" if len(values) > len(shown) else ""
    drawing = f'<g font-family="{FONT}" font-size="12">{"".join(drawn)}</g>'
    return Chart(f"Bar chart. {unit}: {words}{others}.", _WIDTH, _ROW * len(shown), drawing)


def _cut(name: str) -> str:
    return name if len(name) <= _LONGEST_NAME else f"{name[: _LONGEST_NAME - 1]}…"
