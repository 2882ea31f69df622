"""What an evaluation is made of, as plain frozen data; nothing is computed here.

A view looks at the rows and the answers of one kind of prediction (a label, several labels, entities, a value) and
gives a `View`: a statistic that scores any resample of the rows, and what there is to show.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from luban.metrics.calibration import Bin
from luban.metrics.classification import ClassScore
from luban.metrics.intervals import Statistic
from luban.records import Prediction, Rows


@dataclass(frozen=True, slots=True)
class Mark:
    """A span ``text[start:end]`` in characters with its label; ``right``: gold and answer agree on it."""

    start: int
    end: int
    label: str
    right: bool


@dataclass(frozen=True, slots=True)
class Mistake:
    """A row answered wrongly; ``row`` counts from 1, ``cost`` orders them (larger is worse).

    ``probability`` of the answer given and ``gold_probability`` of the right one, where the model states them. Taggers
    have the entities of both sides as marks instead of words. ``picture``: a small copy of it as a data URL.
    """

    row: int
    text: str
    gold: str
    answer: str
    cost: float
    second: str = ""
    probability: float | None = None
    gold_probability: float | None = None
    picture: str = ""
    gold_marks: tuple[Mark, ...] = ()
    answer_marks: tuple[Mark, ...] = ()


@dataclass(frozen=True, slots=True)
class Confusion:
    """``counts[i][j]``: how often gold ``labels[i]`` was answered ``labels[j]``; ``unit``: rows or words."""

    labels: tuple[str, ...]
    counts: tuple[tuple[int, ...], ...]
    unit: str = "rows"


@dataclass(frozen=True, slots=True)
class Reliability:
    """Calibration of stated probabilities: bins, expected calibration error ``ece``, ``brier`` score (0 to 2).

    ``unit``: what a probability was stated for: answers, labels or entities.
    """

    bins: tuple[Bin, ...]
    ece: float
    brier: float | None = None
    unit: str = "answers"


@dataclass(frozen=True, slots=True)
class Slice:
    """Rows of ``low`` to ``high`` sub-words, their score, and its 95 per cent interval, None where none is known."""

    low: int
    high: int
    rows: int
    score: float
    interval: tuple[float, float] | None


@dataclass(frozen=True, slots=True)
class Aspect:
    """What there is to show of one question of several; the fields are those of `View`, ``wrong`` counts its mistakes."""

    kind: str
    rows: int
    wrong: int
    table: tuple[ClassScore, ...] = ()
    averages: tuple[ClassScore, ...] = ()
    confusion: Confusion | None = None
    reliability: Reliability | None = None
    points: tuple[tuple[float, float], ...] = ()


@dataclass(frozen=True, slots=True)
class View:
    """How the answers of one kind compare with gold.

    ``rows``: their number. ``statistic``: scores of resampled rows, ``shares``: those of them that are the share of
    ``right``, the (n,) rows answered wholly right, None where that has no meaning. ``slice_score``: the score of slices
    by length. ``mistakes``: worst first. ``points``: (gold, answer) of values. ``extra``: scores too slow to resample.
    ``naive``: the token-level weighted F1 that counts every O. ``aspects``: what there is to show question by question.
    """

    kind: str
    rows: int
    statistic: Statistic
    slice_score: str
    right: NDArray[np.bool_] | None
    mistakes: tuple[Mistake, ...]
    shares: tuple[str, ...] = ()
    table: tuple[ClassScore, ...] = ()
    averages: tuple[ClassScore, ...] = ()
    confusion: Confusion | None = None
    reliability: Reliability | None = None
    points: tuple[tuple[float, float], ...] = ()
    extra: Mapping[str, float] = field(default_factory=dict)
    naive: float | None = None
    aspects: Mapping[str, Aspect] = field(default_factory=dict)


class Look(Protocol):
    """A function that makes the view of one kind of prediction; ``labels`` in the model's order."""

    def __call__(self, rows: Rows, predictions: Sequence[Prediction], labels: Sequence[str]) -> View: ...
