"""Whether probabilities mean what they say: reliability bins, calibration error, Brier score, temperature; numpy only.

Guo et al. (2017), "On Calibration of Modern Neural Networks", for the bins, the error and temperature scaling.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import exp, log, sqrt

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
COOLEST, HOTTEST = 0.05, 20.0
"bounds of a temperature: beyond them the rows say nothing of probabilities"


@dataclass(frozen=True, slots=True)
class Bin:
    """Answers whose probability lies in (low, high]: how many, their mean probability, and the share that was right."""

    low: float
    high: float
    rows: int
    confidence: float
    accuracy: float


def reliability(confidence: NDArray[np.floating], right: NDArray[np.bool_], bins: int = 10) -> list[Bin]:
    """``bins`` bins of equal width over (n,) probabilities; empty ones are left out."""
    edges = np.linspace(0.0, 1.0, bins + 1)[1:-1]
    place = np.searchsorted(edges, np.asarray(confidence, dtype=np.float64), side="left")
    out = []
    for i in range(bins):
        inside = place == i
        if inside.any():
            means = float(np.mean(confidence[inside])), float(np.mean(right[inside]))
            out.append(Bin(i / bins, (i + 1) / bins, int(inside.sum()), *means))
    return out


def expected_calibration_error(confidence: NDArray[np.floating], right: NDArray[np.bool_], bins: int = 10) -> float:
    """Mean distance between probability and share right over the bins, weighed by their rows; 0 for no rows."""
    held = reliability(confidence, right, bins)
    return sum(b.rows * abs(b.confidence - b.accuracy) for b in held) / max(1, len(confidence))


def brier(gold_index: NDArray[np.integer], probabilities: NDArray[np.floating]) -> float:
    """Mean squared distance of (n, k) probabilities from the gold class, 0 to 2 as Brier (1950) defined it."""
    wanted = np.eye(probabilities.shape[1])[gold_index]
    return float(((probabilities - wanted) ** 2).sum(axis=1).mean()) if len(gold_index) else 0.0


def negative_log_likelihood(logits: NDArray[np.floating], gold: NDArray[np.integer], temperature: float = 1.0) -> float:
    """Mean of -log p(gold) in nats when (n, k) logits are divided by ``temperature``."""
    scaled = np.asarray(logits, dtype=np.float64) / temperature
    scaled = scaled - scaled.max(axis=1, keepdims=True)
    return float((np.log(np.exp(scaled).sum(axis=1)) - scaled[np.arange(len(gold)), gold]).mean())


def fit_temperature(logits: NDArray[np.floating], gold: NDArray[np.integer]) -> float:
    """The temperature, 0.05 to 20, that fits (n, k) logits to (n,) gold classes best; 1.0 where nothing fits better.

    Golden-section search (Kiefer, 1953) on the log of the temperature, in which the likelihood has a single top.
    """
    if not len(gold):
        return 1.0
    golden = (sqrt(5) - 1) / 2
    low, high = log(COOLEST), log(HOTTEST)
    left, right = high - golden * (high - low), low + golden * (high - low)
    at_left, at_right = (negative_log_likelihood(logits, gold, exp(x)) for x in (left, right))
    while high - low > 1e-5:
        if at_left <= at_right:
            high, right, at_right = right, left, at_left
            left = high - golden * (high - low)
            at_left = negative_log_likelihood(logits, gold, exp(left))
        else:
            low, left, at_left = left, right, at_right
            right = low + golden * (high - low)
            at_right = negative_log_likelihood(logits, gold, exp(right))
    best = exp((low + high) / 2)
    return best if negative_log_likelihood(logits, gold, best) < negative_log_likelihood(logits, gold) else 1.0
