"""Small inline SVG pictures of an evaluation: bars, heat map, curves; colours come from the page's style sheet.

Every function gives one <svg> as text. All words that come from data are escaped.
"""

from __future__ import annotations

from collections.abc import Sequence

from luban import drawing
from luban.drawing import (
    COLUMN,
    LABEL,
    WIDE,
    Plane,
    Point,
    beside,
    dot,
    grid_x,
    grid_y,
    line,
    path,
    percent,
    phrase,
    plain,
    rect,
    room,
    short,
    text,
    ticks,
    tipped,
    visual,
    whisker,
)
from luban.metrics.calibration import Bin
from luban.metrics.classification import ClassScore
from luban.stages.evaluate.base import Slice
from luban.stages.evaluate.words import filled


def class_bars(table: Sequence[ClassScore]) -> str:
    """F1 a class as bars, precision and recall as the ends of a line, support on the right."""
    step, head, left = 24, 8, room([score.label for score in table])
    plane = Plane(left, WIDE - 44, head, head + step * len(table))
    parts = [grid_x(plane, [0, 0.25, 0.5, 0.75, 1.0], percent)]
    for i, score in enumerate(table):
        y = head + step * i + step / 2
        told = f"{score.label}: F1 {score.f1:.3f}, precision {score.precision:.3f}, recall {score.recall:.3f}"
        ends = sorted((score.precision, score.recall))
        drawn = (
            text(left - 8, y + 4, short(score.label, LABEL), "end")
            + rect(plane.x(0), y - 8, plane.x(score.f1) - plane.x(0), 16, "bar")
            + line(plane.x(ends[0]), y, plane.x(ends[1]), y, "join")
            + dot(plane.x(score.precision), y, 3.5, "precision")
            + dot(plane.x(score.recall), y, 3.5, "recall")
            + text(WIDE - 4, y + 4, f"{score.support:,}", "end", "muted")
        )
        parts.append(tipped(told, drawn))
    y = plane.bottom + 40
    legend = dot(left + 6, y - 4, 3.5, "precision") + words(left + 16, y, "precision")
    legend += dot(left + 106, y - 4, 3.5, "recall") + words(left + 116, y, "recall")
    return svg(WIDE, y + 10, "".join(parts) + legend, "classes")


def heat_map(labels: Sequence[str], counts: Sequence[Sequence[int]]) -> str:
    """Gold by row, answer by column; the shade is the share of the row, numbers stand where there is room."""
    left = room(labels)
    cell = min(64.0, (WIDE - left - 12) / len(labels))
    parts = []
    for i, row in enumerate(counts):
        y, total = 6 + cell * i, max(1, sum(row))
        parts.append(tipped(labels[i], text(left - 8, y + cell / 2 + 4, short(labels[i], LABEL), "end")))
        for j, count in enumerate(row):
            parts.append(_cell(left + cell * j, y, cell, (count, total), f"{labels[i]} → {labels[j]}: {count}", i == j))
    bottom = 6 + cell * len(labels)
    turned = max(map(visual, labels)) * COLUMN > cell
    angle, deep = ((-42.0, 0.72) if cell > 24 else (-62.0, 0.92)) if turned else (0.0, 0.0)
    for j, label in enumerate(labels):
        x, y = left + cell * (j + 0.5), bottom + (14 if turned else 18)
        name = text(x, y, short(label, LABEL), "end" if turned else "middle", turn=angle)
        parts.append(tipped(label, name))
    height = bottom + (deep * left + 10 if turned else 26)
    return svg(left + cell * len(labels) + 12, height, "".join(parts), "confusion")


def reliability_curve(bins: Sequence[Bin]) -> str:
    """Share right against stated probability, with the diagonal, and below how many answers stated it."""
    plane = Plane(52, WIDE - 14, 10, 260)
    most = max(b.rows for b in bins)
    parts = [grid_x(plane, [0, 0.25, 0.5, 0.75, 1], percent), grid_y(plane, [0, 0.25, 0.5, 0.75, 1], percent)]
    parts.append(line(plane.x(0), plane.y(0), plane.x(1), plane.y(1), "ideal"))
    parts.append(path([(plane.x(b.confidence), plane.y(b.accuracy)) for b in bins], "curve"))
    for b in bins:
        x, y = plane.x(b.confidence), plane.y(b.accuracy)
        told = f"{b.low:.0%}-{b.high:.0%}: n={b.rows:,}, {b.confidence:.1%} → {b.accuracy:.1%}"
        high = 54 * b.rows / most
        drawn = (
            line(x, plane.y(b.confidence), x, y, "gap")
            + dot(x, y, 3 + 5 * (b.rows / most) ** 0.5, "point")
            + rect(plane.x(b.low) + 1.5, 366 - high, plane.x(b.high) - plane.x(b.low) - 3, high, "quiet")
        )
        parts.append(tipped(told, drawn))
    parts.append(words(plane.left + 8, plane.top + 14, "was_right", "muted"))
    parts.append(words(plane.right, 300, "said", "muted", "end"))
    return svg(WIDE, 370, "".join(parts), "calibration")


def length_bars(slices: Sequence[Slice], score: str) -> str:
    """Error by length: 1 - score, or the score itself where smaller is better."""
    flip = score != "mae"
    errors = [1 - s.score if flip else s.score for s in slices]
    ends = [sorted(1 - v if flip else v for v in s.interval or ()) for s in slices]
    top = max([end for pair in ends for end in pair] + errors) or 1.0
    marks = ticks(0, min(1.0, top * 1.05) if flip else top * 1.05)
    plane = Plane(52, WIDE - 14, 26, 230, (0, len(slices)), (0, max(marks[-1], top)))
    parts = [grid_y(plane, marks, percent if flip else plain), words(52, 14, f"error_{score}", "muted")]
    for i, (s, error, pair) in enumerate(zip(slices, errors, ends, strict=True)):
        x, width = plane.x(i + 0.5), (plane.right - plane.left) / len(slices) * 0.62
        told = f"{s.low}-{s.high}: {error:.3f}, n={s.rows:,}"
        drawn = (
            rect(x - width / 2, plane.y(error), width, plane.bottom - plane.y(error), "bar")
            + (whisker(x, *map(plane.y, pair)) if pair else "")
            + text(x, plane.bottom + 18, f"{s.low}–{s.high}" if s.low < s.high else str(s.low), "middle")
            + text(x, plane.bottom + 34, f"n={s.rows:,}", "middle", "muted")
        )
        parts.append(tipped(told, drawn))
    return svg(WIDE, 288, "".join(parts) + words(plane.right, 284, "length", "muted", "end"), "lengths")


def learning_curve(losses: Sequence[Point], scores: Sequence[Point], name: str, unit: str) -> str:
    """Loss above, score below, over the same steps; either alone where the other is missing; the best is ringed."""
    xs = [x for x, _ in [*losses, *scores]]
    across = (min(xs), max(xs))
    parts, bottom = [], 0.0
    for key, points in (("loss", losses), (name, scores)):
        if points:
            top, bottom = bottom + 26, bottom + 130
            marks = ticks(min(y for _, y in points), max(y for _, y in points), 3)
            plane = Plane(52, WIDE - 14, top, bottom, across, (marks[0], marks[-1]))
            parts += [grid_y(plane, marks, plain), words(52, top - 10, key, "muted"), _curve(plane, points, key)]
            bottom += 16
    plane = Plane(52, WIDE - 14, bottom - 16, bottom - 16, across)
    marks = [mark for mark in ticks(*across) if across[0] <= mark <= across[1]]
    parts.append(grid_x(plane, marks, plain) + words(plane.right, bottom + 22, unit, "muted", "end"))
    return svg(WIDE, bottom + 28, "".join(parts), "learning")


def _curve(plane: Plane, points: Sequence[Point], key: str) -> str:
    """The loss as a line; a score with its points, the best one ringed and told."""
    drawn = [(plane.x(x), plane.y(y)) for x, y in points]
    if key == "loss":
        return path(drawn, "loss")
    best = max(range(len(points)), key=lambda i: -points[i][1] if key == "mae" else points[i][1])
    dots = "".join(dot(x, y, 3, "point") for x, y in drawn)
    return (
        path(drawn, "curve")
        + dots
        + dot(*drawn[best], 7, "ring")
        + beside(plane, drawn[best], f"{points[best][1]:.4g}")
    )


def scatter(points: Sequence[Point]) -> str:
    """Answer (upwards) against gold (to the right), with the diagonal."""
    values = [value for point in points for value in point]
    marks = ticks(min(values), max(values))
    ends = (min(marks[0], *values), max(marks[-1], *values))
    plane = Plane(52, WIDE - 14, 26, 380, ends, ends)
    parts = [grid_x(plane, marks, plain), grid_y(plane, marks, plain)]
    parts.append(line(plane.x(ends[0]), plane.y(ends[0]), plane.x(ends[1]), plane.y(ends[1]), "ideal"))
    parts += [dot(plane.x(gold), plane.y(answer), 3, "cloud") for gold, answer in points]
    parts.append(words(52, 14, "answer", "muted") + words(plane.right, 416, "gold", "muted", "end"))
    return svg(WIDE, 422, "".join(parts), "scatter")


def score_line(value: float, interval: Point | None, ends: Point) -> str:
    """One score as a dot with its interval on a line from ``ends[0]`` to ``ends[1]``."""
    plane = Plane(6, 194, 0, 20, ends)
    low, high = interval or (value, value)
    parts = line(plane.left, 10, plane.right, 10, "axis") + line(plane.x(low), 10, plane.x(high), 10, "join")
    return svg(200, 20, parts + dot(plane.x(value), 10, 4.5, "point"), "interval", low=f"{low:.3f}", high=f"{high:.3f}")


def words(x: float, y: float, key: str, kind: str = "", anchor: str = "start") -> str:
    """A phrase of `words` in both languages, of which the page shows one."""
    return phrase(x, y, filled(key), kind, anchor)


def svg(width: float, height: float, inner: str, name: str, **values: object) -> str:
    """A picture that is named by a phrase of `words`."""
    return drawing.svg(width, height, inner, filled(name, **values)[0])


def _cell(x: float, y: float, size: float, part: tuple[int, int], told: str, right: bool) -> str:
    share = part[0] / part[1]
    shade = f'style="fill-opacity:{share**0.6:.2f}"' if part[0] else 'style="fill-opacity:0"'
    box = rect(x + 0.5, y + 0.5, size - 1, size - 1, "hit" if right else "miss", shade)
    kind = ("on " if share > 0.45 else "") + ("small" if size < 24 else "")
    number = text(x + size / 2, y + size / 2 + 4, f"{part[0]}", "middle", kind)
    shown = number if part[0] and size >= 7.5 * len(str(part[0])) else ""
    return tipped(told, rect(x + 0.5, y + 0.5, size - 1, size - 1, "empty") + box + shown)
