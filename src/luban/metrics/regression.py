"""Scores of numbers: Pearson, Spearman and mean absolute error; numpy only."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Numbers = Sequence[float] | NDArray[np.floating]


def mae(gold: Numbers, predicted: Numbers) -> float:
    """Mean absolute error, in the unit of the target; 0 for no rows."""
    gaps = np.abs(np.asarray(gold, dtype=np.float64) - np.asarray(predicted, dtype=np.float64))
    return float(gaps.mean()) if len(gaps) else 0.0


def pearson(gold: Numbers, predicted: Numbers) -> float:
    """Linear correlation, -1 to 1; 0 where either side does not vary, for then it tells nothing apart."""
    a, b = np.asarray(gold, dtype=np.float64), np.asarray(predicted, dtype=np.float64)
    if len(a) < 2 or np.ptp(a) == 0 or np.ptp(b) == 0:
        return 0.0
    a, b = _unit(a), _unit(b)
    return float(np.clip(a @ b, -1.0, 1.0))


def spearman(gold: Numbers, predicted: Numbers) -> float:
    """Correlation of ranks, equal values sharing their mean rank; 0 where either side does not vary."""
    return pearson(average_ranks(np.asarray(gold)), average_ranks(np.asarray(predicted)))


def average_ranks(values: NDArray[np.floating]) -> Floats:
    """Ranks from 1; equal values share the mean of their ranks."""
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return np.asarray((last - (counts - 1) / 2.0)[place.reshape(-1)], dtype=np.float64)


def _unit(values: Floats) -> Floats:
    """Centred and of length 1, scaled first so that neither huge nor tiny values overflow."""
    scaled = (values - values[0]) / np.ptp(values)
    centred = scaled - scaled.mean()
    return np.asarray(centred / np.linalg.norm(centred))
