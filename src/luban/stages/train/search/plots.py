"""Small inline SVG pictures of a search: trial after trial, what mattered, the score against one setting."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from luban import drawing
from luban.drawing import (
    Plane,
    Point,
    dot,
    grid_x,
    grid_y,
    line,
    path,
    percent,
    phrase,
    plain,
    rect,
    text,
    ticks,
    tipped,
)
from luban.stages.train.search.found import Tried
from luban.stages.train.search.words import filled

WIDE = drawing.WIDE
SMALL = 260.0
"width of the picture of one setting"


def history(tried: Sequence[Tried], best: int) -> str:
    """Scores by number of trial, with the best so far; those stopped early as crosses."""
    seen = [(trial, score) for trial in tried if (score := reached(trial)) is not None]
    marks = ticks(min(score for _, score in seen), max(score for _, score in seen))
    last = max(2, max(trial.number for trial in tried))
    plane = Plane(52, WIDE - 14, 26, 230, (1, last), (marks[0], marks[-1]))
    parts = [grid_y(plane, marks, plain), phrase(52, 14, filled("dev_score"), "muted")]
    parts.append(grid_x(plane, [mark for mark in ticks(1, last) if 1 <= mark <= last and mark == round(mark)], plain))
    parts.append(path([(plane.x(x), plane.y(y)) for x, y in so_far(tried, last)], "curve"))
    for trial, score in seen:
        x, y = plane.x(trial.number), plane.y(score)
        mark = dot(x, y, 4, "hit" if trial.number == best else "point") if trial.state == "complete" else cross(x, y)
        parts.append(tipped(f"{trial.number}: {score:.4g}", mark + (dot(x, y, 8, "ring") if trial.usual else "")))
    parts.append(phrase(plane.right, 268, filled("trial"), "muted", "end"))
    return drawing.svg(WIDE, 274, "".join(parts), filled("history")[0])


def reached(trial: Tried) -> float | None:
    """The dev score of a trial; of one that was stopped, its last."""
    return trial.score if trial.score is not None else trial.history[-1][1] if trial.history else None


def so_far(tried: Sequence[Tried], last: int) -> list[Point]:
    """The best score so far as steps."""
    points: list[Point] = []
    for trial in tried:
        if trial.score is None or (points and trial.score <= points[-1][1]):
            continue
        points += [(trial.number, points[-1][1])] if points else []
        points.append((trial.number, trial.score))
    return [*points, (last, points[-1][1])] if points else []


def cross(x: float, y: float) -> str:
    return line(x - 4, y - 4, x + 4, y + 4, "gap") + line(x - 4, y + 4, x + 4, y - 4, "gap")


def importance(shares: Mapping[str, float]) -> str:
    """A bar a setting, the weightiest first."""
    step, left = 26, 150.0
    plane = Plane(left, WIDE - 50, 6, 6 + step * len(shares), (0, max(shares.values()) or 1))
    parts = []
    for i, (name, share) in enumerate(shares.items()):
        y = plane.top + step * (i + 0.5)
        parts.append(phrase(left - 8, y + 4, filled(name), "", "end"))
        parts.append(rect(left, y - 8, plane.x(share) - left, 16, "bar"))
        parts.append(text(plane.x(share) + 6, y + 4, percent(round(share, 2)), "start", "muted"))
    return drawing.svg(WIDE, plane.bottom + 6, "".join(parts), filled("importance")[0])


def knob(name: str, tried: Sequence[Tried], best: int) -> str:
    """The score of each completed trial against one setting: to the right a number, by ratio for rates, or a name."""
    shown = [(trial, trial.values[name], trial.score) for trial in tried if trial.score is not None]
    scores = [score for _, _, score in shown]
    marks = ticks(min(scores), max(scores), 4)
    named = [value for _, value, _ in shown]
    if isinstance(named[0], str):
        names = list(dict.fromkeys(named))
        plane = Plane(46, SMALL - 10, 26, 150, (-0.5, len(names) - 0.5), (marks[0], marks[-1]))
        places: dict[Any, float] = {value: i for i, value in enumerate(names)}
        room = int((plane.right - plane.left) / len(names) / drawing.COLUMN)
        axis = "".join(
            tipped(value, text(plane.x(i), 168, drawing.short(value, room), "middle", "muted"))
            for i, value in enumerate(names)
        )
    else:
        plane, places, axis = numbers(name, named, (marks[0], marks[-1]))
    parts = [grid_y(plane, marks, plain), axis, phrase(46, 14, filled(name), "strong")]
    for trial, value, score in sorted(shown, key=lambda one: one[0].number == best):
        kind = "hit" if trial.number == best else "cloud"
        told = f"{trial.number}: {value if isinstance(value, str) else f'{value:.3g}'} → {score:.4g}"
        parts.append(tipped(told, dot(plane.x(places[value]), plane.y(score), 4.5, kind)))
    return drawing.svg(SMALL, 176, "".join(parts), filled(name)[0])


def numbers(name: str, values: Sequence[float], ends: Point) -> tuple[Plane, dict[Any, float], str]:
    """The plane of a setting that is a number, where each value lies on it, and its axis."""
    ratio = name in ("rate", "head_rate")
    places = {value: math.log10(value) if ratio else float(value) for value in values}
    low, high = min(places.values()), max(places.values())
    room = (high - low) * 0.05 or abs(high) * 0.1 or 1.0
    plane = Plane(46, SMALL - 10, 26, 150, (low - room, high + room), ends)
    if ratio:
        marks = [low] if low == high else [low, high]
        return plane, places, grid_x(plane, marks, lambda mark: f"{10**mark:.2g}")
    marks = [mark for mark in ticks(low, high, 4) if low - room <= mark <= high + room]
    return plane, places, grid_x(plane, marks, plain)
