"""Small inline SVG pictures: points, lines, bars, axes and texts; it knows neither what is drawn nor any file.

Every function gives SVG as text. All words that are drawn are escaped here; colours come from the page's style (page.css).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape
from math import ceil, floor, log10

WIDE = 420
COLUMN = 6.5
"width of a character; a Chinese one takes two"
LABEL = 18
"most columns of a label that is shown; the whole stands in its tooltip"
Point = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Plane:
    """A rectangle of the picture, ``left`` to ``right`` and ``top`` to ``bottom``, and the values at its edges."""

    left: float
    right: float
    top: float
    bottom: float
    x_range: Point = (0.0, 1.0)
    y_range: Point = (0.0, 1.0)

    def x(self, value: float) -> float:
        low, high = self.x_range
        return self.left + (self.right - self.left) * (value - low) / ((high - low) or 1.0)

    def y(self, value: float) -> float:
        low, high = self.y_range
        return self.bottom - (self.bottom - self.top) * (value - low) / ((high - low) or 1.0)


def svg(width: float, height: float, inner: str, label: str) -> str:
    """A picture of ``width`` x ``height`` units that fills its column, at most 1.25 times as large."""
    size = f'viewBox="0 0 {width:.0f} {height:.0f}" style="max-width:{width * 1.25:.0f}px"'
    return f'<svg {size} role="img" aria-label="{label}">{inner}</svg>'


def ticks(low: float, high: float, count: int = 5) -> list[float]:
    """Round values that cover low to high, about ``count`` of them."""
    span = high - low
    if span <= 1e-9 * max(1.0, abs(high)):
        span = abs(high) if abs(high) > 1e-9 else 1.0
    rough = span / max(1, count - 1)
    power = 10.0 ** floor(log10(rough))
    step = next(m * power for m in (1, 2, 2.5, 5, 10) if m * power >= rough * 0.999)
    first, last = floor(low / step + 1e-9), ceil(high / step - 1e-9)
    return [round(i * step, 12) for i in range(first, max(last, first + 1) + 1)]


def percent(value: float) -> str:
    return f"{value * 100:.4g}%"


def plain(value: float) -> str:
    return f"{value:,.4g}" if abs(value) < 1000 else f"{value:,.0f}"


def short(label: str, most: int) -> str:
    """The label cut to ``most`` columns, of which a Chinese character takes two."""
    if visual(label) <= most:
        return label
    kept = label
    while kept and visual(kept) > most - 1:
        kept = kept[:-1]
    return kept + "…"


def room(labels: Sequence[str]) -> float:
    """Width that the longest of some labels takes on the left of a picture."""
    return 20 + COLUMN * max(visual(short(label, LABEL)) for label in labels)


def visual(label: str) -> int:
    return sum(2 if ord(char) > 0x2E80 else 1 for char in label)


def grid_x(plane: Plane, marks: Sequence[float], style: Callable[[float], str]) -> str:
    named = [(plane.x(mark), style(mark)) for mark in marks]
    lines = [line(x, plane.top, x, plane.bottom, "grid") for x, _ in named]
    return "".join(lines + [text(x, plane.bottom + 18, name, "middle", "muted") for x, name in named])


def grid_y(plane: Plane, marks: Sequence[float], style: Callable[[float], str]) -> str:
    named = [(plane.y(mark), style(mark)) for mark in marks]
    lines = [line(plane.left, y, plane.right, y, "grid") for y, _ in named]
    return "".join(lines + [text(plane.left - 8, y + 4, name, "end", "muted") for y, name in named])


def text(x: float, y: float, words: str, anchor: str = "start", kind: str = "", *, turn: float = 0.0) -> str:
    """One line of text, turned by ``turn`` degrees around its anchor."""
    turned = f' transform="rotate({turn:.0f} {x:.1f} {y:.1f})"' if turn else ""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" class="{kind}"{turned}>{escape(words)}</text>'


def tipped(tip: str, inner: str) -> str:
    """Something that tells ``tip`` when pointed at."""
    return f"<g><title>{escape(tip)}</title>{inner}</g>"


def phrase(x: float, y: float, pair: tuple[str, str], kind: str = "", anchor: str = "start") -> str:
    """An escaped phrase in English and Chinese, of which the page shows one."""
    place = f'x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" class="{kind}"'
    both = zip(("en", "zh"), pair, strict=True)
    return "".join(f'<text {place} lang="{language}">{words}</text>' for language, words in both)


def rect(x: float, y: float, width: float, height: float, kind: str, extra: str = "") -> str:
    size = f'width="{max(0.0, width):.1f}" height="{max(0.0, height):.1f}"'
    return f'<rect x="{x:.1f}" y="{y:.1f}" {size} rx="2" class="{kind}" {extra}/>'


def line(x1: float, y1: float, x2: float, y2: float, kind: str) -> str:
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" class="{kind}"/>'


def dot(x: float, y: float, radius: float, kind: str) -> str:
    return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius:.1f}" class="{kind}"/>'


def path(points: Sequence[Point], kind: str) -> str:
    joined = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    return f'<polyline points="{joined}" class="{kind}"/>'


def whisker(x: float, low: float, high: float) -> str:
    return line(x, low, x, high, "join") + line(x - 5, low, x + 5, low, "join") + line(x - 5, high, x + 5, high, "join")


def beside(plane: Plane, place: Point, label: str) -> str:
    """A label under a point of a curve, kept inside the picture."""
    x = min(max(place[0], plane.left + 24), plane.right - 18)
    return text(x, place[1] + 22 if place[1] < plane.bottom - 26 else place[1] - 12, label, "middle", "strong")
