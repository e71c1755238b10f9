"""The report's charts of languages: numbers in, a static SVG out, which needs no script, no network and no font.

Colours are CSS variables of the page, each with a fallback. Dagster imports every module below `defs/`, and importing
Altair takes a third of a second, so only the functions that draw import it. Charts by day are in `by_day.py`.
"""

import base64
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mds_assets.defs.github.report.words import printable

if TYPE_CHECKING:
    import altair as alt

MAX_BARS = 10  # in a chart of languages

# Drawn at a phone's width; a desktop fits several side by side. So text has the same size on any screen.
_WIDTH = 320
_TEXT, _MUTED, _LINE = "var(--text, #1b222c)", "var(--muted, #57606c)", "var(--line, #d8dde3)"
_BAR = "var(--bar, #3867c8)"
_FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, sans-serif"
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
    import altair as alt

    shown = [(printable(name), value) for name, value in values[:MAX_BARS]]
    labels = [f"{value:,}" for _, value in shown]
    # Keyed by place, because two long names may be equal once truncated.
    rows = [
        {"place": place, "name": _cut(name), "value": value, "label": label}
        for place, ((name, value), label) in enumerate(zip(shown, labels, strict=True))
    ]
    most = max(value for _, value in shown)
    base = alt.Chart(alt.Data(values=rows)).encode(
        x=alt.X("value:Q", axis=None, scale=alt.Scale(domain=[0, most or 1], nice=False), stack=None),
        y=alt.Y("place:O", axis=None, scale=alt.Scale(paddingInner=0.3, paddingOuter=0.15)),
    )
    bars = base.mark_bar(color=_BAR, cornerRadiusEnd=3)
    numbers = base.mark_text(align="left", baseline="middle", dx=6, color=_MUTED).encode(text="label:N")
    names = base.mark_text(align="right", baseline="middle", dx=-8, color=_TEXT).encode(text="name:N", x=alt.value(0))
    words = ", ".join(f"{name} {value:,}" for name, value in shown)
    others = f"; {len(values) - len(shown)} more languages are not drawn" if len(values) > len(shown) else ""
    return _draw(
        alt.LayerChart(layer=[bars, numbers, names]),
        f"Bar chart. {unit}: {words}{others}.",
        height=24 * len(shown),
        left=126,
        right=12 + 8 * max(map(len, labels)),
        top=0,
        bottom=0,
    )


def _draw(chart: "alt.LayerChart", words: str, *, height: int, left: int, right: int, top: int, bottom: int) -> Chart:
    """Render a chart whose labels fit into these margins."""
    import altair as alt
    import vl_convert

    specification = (
        chart.properties(
            width=_WIDTH - left - right,
            height=height,
            padding={"left": left, "right": right, "top": top, "bottom": bottom},
            # To fit the labels, Vega would measure them in the machine's fonts: a different picture on each machine.
            autosize=alt.AutoSizeParams(type="none"),
        )
        .configure(aria=False, background="transparent", font=_FONT)
        .configure_view(stroke=None)
        .configure_text(fontSize=12)
        .configure_axis(
            domain=False,
            ticks=False,
            grid=False,
            gridColor=_LINE,
            labelColor=_MUTED,
            labelFontSize=12,
            labelLimit=0,
            labelOverlap=False,
            labelPadding=6,
        )
        .to_json(indent=None)
    )
    svg = vl_convert.vegalite_to_svg(specification)
    drawn = re.fullmatch(r'<svg [^>]*viewBox="0 0 (\d+) (\d+)"[^>]*>(.*)</svg>\s*', svg, re.DOTALL)
    if not drawn:
        raise ValueError(f"vl-convert drew no SVG: {svg[:200]}")
    return Chart(words, int(drawn[1]), int(drawn[2]), drawn[3])


def _cut(name: str) -> str:
    return name if len(name) <= _LONGEST_NAME else f"{name[: _LONGEST_NAME - 1]}…"
