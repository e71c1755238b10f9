"""The report's charts by day: numbers in, a static SVG out, which needs no script, no network and no font.

Drawn without a library: Altair took 40 ms for 90 days, and vl-convert a second for its first chart and 140 MB; this
takes half a millisecond, and a page has four of them. A day without data is hatched, so that it does not look like a
day with 0. Sizes are in the drawing's own units; the page's CSS enlarges the text on a narrow screen. Colours are CSS
variables of the page, each with a fallback.
"""

import base64
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from math import ceil

from mds_assets.defs.github.report.trends import Point
from mds_assets.defs.github.report.words import brief, cell, day_month, period, periods
from mds_assets.stack.text import svg_text

_WIDTH, _HEIGHT = 480, 178
_LEFT, _RIGHT, _TOP, _BOTTOM = 54, 4, 16, 28  # room for text at its size on a phone
_PLOT = _WIDTH - _LEFT - _RIGHT
_FLOOR = _HEIGHT - _BOTTOM
_MAX_BAR = 30
_HATCH = 6  # between two lines
_LABELS = 4  # dates below the axis
_LABEL = 56  # the width of one
_TICKS, _TICKS_EACH = 4, 3  # above the axis, and on either side of it, at most

_MUTED, _LINE = "var(--muted, #57606c)", "var(--line, #d8dde3)"
_BAR, _SECOND = "var(--bar, #3867c8)", "var(--average, #b8500b)"
_FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, sans-serif"


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


def with_mean(name: str, points: Sequence[Point]) -> Chart:
    """Bars, and the mean of 7 days as a line.

    Args:
        name: What the bars count.
        points: All dates, oldest first; at least one has a value. `other` is the mean.
    """
    words = [_in_words(name, points)]
    means = [(point.day, point.other) for point in points if point.value is not None and point.other is not None]
    if means:
        (first, earliest), (last, newest) = means[0], means[-1]
        words.append(f"7-day mean: {earliest:,.1f} on {day_month(first)}, {newest:,.1f} on {day_month(last)}.")
    top = max(_most(points), max((mean for _, mean in means), default=0))
    scale = _Scale(top, 0)
    line = [None if point.value is None or point.other is None else scale.y(point.other) for point in points]
    drawn = [
        *scale.grid(),
        *_gaps(points),
        _bars(points, [point.value for point in points], scale, _BAR),
        _path(len(points), line),
    ]
    return _chart("Bar chart with a line." if means else "Bar chart.", words, points, drawn)


def alone(name: str, points: Sequence[Point]) -> Chart:
    """Bars; see `with_mean`."""
    scale = _Scale(_most(points), 0)
    drawn = [*scale.grid(), *_gaps(points), _bars(points, [point.value for point in points], scale, _BAR)]
    return _chart("Bar chart.", [_in_words(name, points)], points, drawn)


def against(name: str, other: str, points: Sequence[Point]) -> Chart:
    """Bars above the axis, and below it those of `other`; see `with_mean`."""
    below = [point._replace(value=None if point.value is None else int(point.other or 0)) for point in points]
    scale = _Scale(_most(points), _most(below))
    down = [None if point.value is None else -point.value for point in below]
    drawn = [
        *scale.grid(),
        *_gaps(points),
        _bars(points, [point.value for point in points], scale, _BAR),
        _bars(points, down, scale, _SECOND),
    ]
    words = [_in_words(name, points, with_gaps=False), _in_words(other, below)]
    return _chart("Bar chart, up and down.", words, points, drawn)


class _Scale:
    """The vertical axis: from `-down` to `up`, in round steps."""

    def __init__(self, up: float, down: float) -> None:
        most = max(up, down, 1)
        size = 10 ** max(0, len(str(int(most))) - 2)
        steps = (factor * size for factor in (1, 2, 5, 10, 20, 50, 100))
        self._step = next(step for step in steps if most / step <= (_TICKS_EACH if down else _TICKS))
        self._up = max(1 if up or not down else 0, ceil(up / self._step)) * self._step
        self._down = ceil(down / self._step) * self._step

    def y(self, value: float) -> float:
        return round(_TOP + (self._up - value) / (self._up + self._down) * (_FLOOR - _TOP), 1)

    def grid(self) -> Iterator[str]:
        """A line and a number for each step."""
        for value in range(-self._down, self._up + 1, self._step):
            y = self.y(value)
            colour = _MUTED if value == 0 else _LINE
            yield f'<path d="M{_LEFT} {y}h{_PLOT}" stroke="{colour}" stroke-width="1"/>'
            yield _text(_LEFT - 7, y + 4, "end", _number(abs(value)))


def _number(value: int) -> str:
    """A round number in at most four characters: five would not fit beside the axis on a phone."""
    if value >= 1_000_000:
        return f"{value / 1_000_000:g}M"
    return f"{value / 1000:g}k" if value >= 1000 else f"{value}"


def _chart(kind: str, words: Sequence[str], points: Sequence[Point], drawn: Sequence[str]) -> Chart:
    """The drawing with the dates below, and everything that it shows in words."""
    drawing = f'<g font-family="{_FONT}" font-size="12" fill="none">{"".join([*drawn, *_dates(points)])}</g>'
    return Chart(" ".join([kind, *words]), _WIDTH, _HEIGHT, drawing)


def _in_words(name: str, points: Sequence[Point], *, with_gaps: bool = True) -> str:
    known = [point for point in points if point.value is not None]
    total = sum(point.value or 0 for point in known)
    most = max(known, key=lambda point: point.value or 0)
    shown = period(points[0].day, points[-1].day)
    words = f"{name} by day, {shown}: {cell(total)} in all"
    words += f", the most on {day_month(most.day)}, {cell(most.value)}." if most.value else "."
    missing = [point.day for point in points if point.value is None]
    return f"{words} No data for {periods(missing)}." if missing and with_gaps else words


def _most(points: Sequence[Point]) -> int:
    return max((point.value or 0 for point in points), default=0)


def _x(number: int, count: int) -> float:
    return _LEFT + number * _PLOT / count


def _bars(points: Sequence[Point], values: Sequence[int | None], scale: _Scale, colour: str) -> str:
    """All bars as one path."""
    slot = _PLOT / len(points)
    width = round(min(slot * 0.78, _MAX_BAR), 2)
    zero = scale.y(0)
    bars = "".join(
        f"M{_x(number, len(points)) + (slot - width) / 2:.2f} {zero}V{scale.y(value)}h{width}V{zero}z"
        for number, value in enumerate(values)
        if value
    )
    return f'<path d="{bars}" fill="{colour}"/>' if bars else ""


def _path(count: int, heights: Sequence[float | None]) -> str:
    """A line through these heights, broken where there is none; a lone one is a dash of half a day."""
    numbered = enumerate(heights)
    parts: list[str] = []
    for is_missing, run in groupby(numbered, key=lambda one: one[1] is None):
        if not is_missing:
            places = [f"{_x(number, count) + _PLOT / count / 2:.1f} {height}" for number, height in run]
            half = _PLOT / count / 4
            parts.append(f"M{'L'.join(places)}" if len(places) > 1 else f"M{places[0]}m{-half:.1f} 0h{2 * half:.1f}")
    style = f'stroke="{_SECOND}" stroke-width="2.5" stroke-linecap="round" stroke-linejoin="round"'
    return f'<path d="{"".join(parts)}" {style}/>' if parts else ""


def _gaps(points: Sequence[Point]) -> Iterator[str]:
    """A hatched band over each run of days without data."""
    for is_missing, run in groupby(enumerate(points), key=lambda one: one[1].value is None):
        if is_missing:
            numbers = [number for number, _ in run]
            left, right = _x(numbers[0], len(points)), _x(numbers[-1] + 1, len(points))
            yield f'<path d="M{left:.1f} {_TOP}H{right:.1f}V{_FLOOR}H{left:.1f}z" fill="{_LINE}" fill-opacity="0.4"/>'
            # Lines on which x + y is constant, from where they enter the band to where they leave it.
            sums = range(ceil((left + _TOP) / _HATCH) * _HATCH, int(right + _FLOOR) + 1, _HATCH)
            ends = ((each, max(_TOP, each - right), min(_FLOOR, each - left)) for each in sums)
            lines = "".join(f"M{each - y0:.1f} {y0:.1f}L{each - y1:.1f} {y1:.1f}" for each, y0, y1 in ends)
            yield f'<path d="{lines}" stroke="{_MUTED}" stroke-opacity="0.45" stroke-width="1"/>'


def _dates(points: Sequence[Point]) -> Iterator[str]:
    """Some dates below the axis, the newest always among them."""
    count = len(points)
    slot = _PLOT / count
    for number in range(count - 1, -1, -ceil(count / _LABELS)):
        middle = _x(number, count) + slot / 2
        is_edge = number == count - 1 and slot < _LABEL
        yield f'<path d="M{middle:.1f} {_FLOOR}v4" stroke="{_MUTED}" stroke-width="1"/>'
        x, anchor = (_WIDTH - _RIGHT, "end") if is_edge else (middle, "middle")
        yield _text(x, _HEIGHT - 6, anchor, brief(points[number].day))


def _text(x: float, y: float, anchor: str, text: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{_MUTED}">{svg_text(text)}</text>'
