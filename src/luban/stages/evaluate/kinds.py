"""Scores of rows by what there is of them: with and without text, picture and fields; nothing is predicted here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from luban.gathered import IMAGE, TEXT, field_name
from luban.metrics.intervals import intervals, observed, within
from luban.records import Row, Rows
from luban.stages.evaluate.base import View

FIELDS = "fields"
TIMES = 200


@dataclass(frozen=True, slots=True)
class Kinds:
    """Rows of which there is the same: ``kinds`` of text, image and fields; their score with its 95 per cent interval."""

    kinds: tuple[str, ...]
    rows: int
    score: float
    interval: tuple[float, float] | None

    @property
    def name(self) -> str:
        """``text + image``, for people."""
        return " + ".join(self.kinds)


def by_kinds(view: View, rows: Rows, *, seed: int = 13) -> tuple[Kinds, ...]:
    """The score of the rows of each combination, the most frequent first; nothing where all rows have the same."""
    places: dict[tuple[str, ...], list[int]] = {}
    for i, row in enumerate(rows):
        places.setdefault(kinds_of(row), []).append(i)
    if len(places) < 2:
        return ()
    found = sorted(places.items(), key=lambda item: (-len(item[1]), item[0]))
    return tuple(_scored(view, kinds, chosen, seed) for kinds, chosen in found)


def kinds_of(row: Row) -> tuple[str, ...]:
    """What there is of a row; ``fields`` where one of them has a value."""
    fields = any(field_name(name) and value is not None for name, value in row.items())
    return (*(kind for kind in (TEXT, IMAGE) if row.get(kind) is not None), *([FIELDS] if fields else []))


def _scored(view: View, kinds: tuple[str, ...], places: Sequence[int], seed: int) -> Kinds:
    part = within(view.statistic, np.array(places), view.rows)
    count = len(places)
    score = observed(part, count)[view.slice_score]
    low, high = intervals(part, count, shares=view.shares, times=TIMES, seed=seed)[view.slice_score]
    return Kinds(kinds, count, score, (low, high) if np.isfinite((low, high)).all() else None)
