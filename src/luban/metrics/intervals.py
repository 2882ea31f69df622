"""How sure a score is: intervals, paired differences and McNemar's test; numpy only, knows no model.

A bootstrap resample is described by how often each row was drawn: a `Statistic` takes (b, n) such counts and gives the
score of each of the b resamples at once. Sharing one function and one seed between two models makes the test paired.
Percentile intervals after Efron (1979); paired bootstrap after Koehn (2004); exact McNemar test after McNemar (1947).
Where every row is right, all resamples agree and the percentiles claim certainty: shares of rows have Wilson's interval
(1927) instead, and any other score without spread has none.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from math import exp, lgamma, log, sqrt

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Scores = Mapping[str, Floats]
Statistic = Callable[[Floats], Scores]
"(b, n) counts of how often each row was drawn -> name to (b,) scores"

LEVEL = 0.95
Z = 1.959964
"the normal distribution holds `LEVEL` of its mass within this many standard deviations"
STILL = 1e-12
"scores closer together than this are the same"
CELLS = 4_000_000
"counts held at a time: rows x resamples"


@dataclass(frozen=True, slots=True)
class Difference:
    """How much a second model's score exceeds the first's, its 95 per cent interval, and the two-sided ``p``."""

    value: float
    low: float
    high: float
    p: float


def resamples(rows: int, *, times: int, seed: int) -> Iterator[Floats]:
    """Counts (b, rows) of bootstrap resamples, ``times`` in all, in pieces of bounded memory; each sums to ``rows``."""
    rng = np.random.default_rng(seed)
    piece = max(1, min(times, CELLS // max(1, rows)))
    for start in range(0, times, piece):
        b = min(piece, times - start)
        drawn = rng.integers(0, rows, size=(b, rows)) + np.arange(b)[:, None] * rows
        yield np.bincount(drawn.reshape(-1), minlength=b * rows).reshape(b, rows).astype(np.float64)


def resampled(statistic: Statistic, rows: int, *, times: int = 1000, seed: int = 13) -> dict[str, Floats]:
    """The (times,) scores of bootstrap resamples, by name."""
    pieces = [statistic(counts) for counts in resamples(rows, times=times, seed=seed)]
    return {name: np.concatenate([piece[name] for piece in pieces]) for name in pieces[0]}


def observed(statistic: Statistic, rows: int) -> dict[str, float]:
    """The scores of the rows themselves."""
    return {name: float(value[0]) for name, value in statistic(np.ones((1, rows))).items()}


def intervals(
    statistic: Statistic, rows: int, *, shares: Collection[str] = (), times: int = 1000, seed: int = 13
) -> dict[str, tuple[float, float]]:
    """95 per cent intervals by score name: Wilson's for ``shares`` of the rows, else percentiles of the bootstrap.

    Resamples for which a score is undefined are left out; NaN where all the others give the same score, which says
    nothing of how far it could be off. Percentiles are widened to hold the score itself: macro F1 lies below most of its
    resamples where these miss classes that only wrong answers name.
    """
    here = observed(statistic, rows)
    drawn = resampled(statistic, rows, times=times, seed=seed)
    return {
        name: wilson(here[name], rows) if name in shares else _spread(values, here[name])
        for name, values in drawn.items()
    }


def wilson(share: float, rows: int) -> tuple[float, float]:
    """95 per cent score interval of a ``share`` seen in ``rows`` independent rows (Wilson, 1927); right at 0 and 1, too.

    Brown, Cai and DasGupta (2001) recommend it for few rows; 12 rows of 12 give 0.76 to 1.
    """
    middle = (share + Z * Z / (2 * rows)) / (1 + Z * Z / rows)
    half = Z * sqrt(share * (1 - share) / rows + Z * Z / (4 * rows * rows)) / (1 + Z * Z / rows)
    return max(0.0, min(share, middle - half)), min(1.0, max(share, middle + half))


def paired(
    first: Statistic, second: Statistic, rows: int, *, times: int = 1000, seed: int = 13
) -> dict[str, Difference]:
    """Differences second - first on the same resamples, for the scores that both give.

    ``p`` is twice the share of resamples on the other side of zero, counting the sample itself, at most 1; and no
    smaller than a sign test of as many rows can be, for a few rows that agree leave the bootstrap no doubt.
    """
    least = 2 * 0.5**rows
    a, b = (resampled(statistic, rows, times=times, seed=seed) for statistic in (first, second))
    here_a, here_b = observed(first, rows), observed(second, rows)
    out = {}
    for name in [name for name in a if name in b]:
        gaps = b[name] - a[name]
        gaps = gaps[np.isfinite(gaps)]
        tail = min(int((gaps <= 0).sum()), int((gaps >= 0).sum()))
        low, high = _middle(gaps)
        p = min(1.0, max(least, 2 * (tail + 1) / (len(gaps) + 1)))
        out[name] = Difference(here_b[name] - here_a[name], low, high, p)
    return out


def mcnemar(first_right: NDArray[np.bool_], second_right: NDArray[np.bool_]) -> float:
    """Exact two-sided p that two models are right equally often, from the rows that only one of them has right."""
    only_first = int((first_right & ~second_right).sum())
    only_second = int((second_right & ~first_right).sum())
    n, few = only_first + only_second, min(only_first, only_second)
    tail = sum(exp(lgamma(n + 1) - lgamma(i + 1) - lgamma(n - i + 1) - n * log(2)) for i in range(few + 1))
    return min(1.0, 2 * tail)


def mean_of(**values: NDArray[np.generic]) -> Statistic:
    """The mean of each (n,) array of per-row values."""
    return ratio_of(**{name: (value, np.ones(len(value))) for name, value in values.items()})


def ratio_of(**pairs: tuple[NDArray[np.generic], NDArray[np.generic]]) -> Statistic:
    """For each name the sum of (n,) parts over the sum of (n,) wholes, 0 where there is no whole."""
    parts, wholes = (np.stack([np.asarray(p[i], dtype=np.float64) for p in pairs.values()], axis=1) for i in (0, 1))

    def statistic(counts: Floats) -> Scores:
        ratios = _divided(counts @ parts, counts @ wholes)
        return {name: ratios[:, i] for i, name in enumerate(pairs)}

    return statistic


def within(statistic: Statistic, chosen: NDArray[np.integer], rows: int) -> Statistic:
    """The same statistic over the ``chosen`` of all ``rows`` rows only: it takes (b, len(chosen)) counts."""

    def inner(counts: Floats) -> Scores:
        full = np.zeros((len(counts), rows))
        full[:, chosen] = counts
        return statistic(full)

    return inner


def f1_of(correct: NDArray[np.generic], support: NDArray[np.generic], predicted: NDArray[np.generic]) -> Statistic:
    """``macro_f1``, ``micro_f1`` and ``weighted_f1`` from (n, k) counts of each row and class."""
    parts = [np.asarray(part, dtype=np.float64) for part in (correct, support, predicted)]

    def statistic(counts: Floats) -> Scores:
        right, wanted, given = (counts @ part for part in parts)
        f1 = _divided(2 * right, wanted + given)
        met = (wanted + given > 0).sum(axis=1)
        return {
            "macro_f1": _divided(f1.sum(axis=1), met),
            "micro_f1": _divided(2 * right.sum(axis=1), (wanted + given).sum(axis=1)),
            "weighted_f1": _divided((f1 * wanted).sum(axis=1), wanted.sum(axis=1)),
        }

    return statistic


def correlation_of(gold: Floats, predicted: Floats) -> Statistic:
    """``pearson``, ``spearman`` (ranks taken anew in each resample) and ``mae`` of (n,) numbers."""
    gaps = np.abs(gold - predicted)

    def statistic(counts: Floats) -> Scores:
        ranks = weighted_ranks(gold, counts), weighted_ranks(predicted, counts)
        return {
            "pearson": _correlation(
                counts, np.broadcast_to(gold, counts.shape), np.broadcast_to(predicted, counts.shape)
            ),
            "spearman": _correlation(counts, *ranks),
            "mae": counts @ gaps / counts.sum(axis=1),
        }

    return statistic


def auc_of(positive: NDArray[np.bool_], scores: Floats) -> Statistic:
    """``roc_auc`` of two classes; NaN for a resample that drew one class only."""

    def statistic(counts: Floats) -> Scores:
        ups, downs = counts[:, positive].sum(axis=1), counts[:, ~positive].sum(axis=1)
        ranks = (weighted_ranks(scores, counts) * counts)[:, positive].sum(axis=1)
        with np.errstate(invalid="ignore", divide="ignore"):
            return {"roc_auc": np.asarray((ranks - ups * (ups + 1) / 2) / (ups * downs))}

    return statistic


def joined(*statistics: Statistic) -> Statistic:
    """One statistic that gives all scores of several."""

    def statistic(counts: Floats) -> Scores:
        return {name: value for part in statistics for name, value in part(counts).items()}

    return statistic


def weighted_ranks(values: NDArray[np.floating], counts: Floats) -> Floats:
    """(b, n) mean ranks of ``values`` when row i stands ``counts[:, i]`` times in the sample."""
    _, place = np.unique(values, return_inverse=True)
    order = np.argsort(place.reshape(-1), kind="stable")
    starts = np.searchsorted(place.reshape(-1)[order], np.arange(place.max() + 1))
    held = np.add.reduceat(counts[:, order], starts, axis=1)
    middle = np.cumsum(held, axis=1) - (held - 1) / 2
    return np.asarray(middle[:, place.reshape(-1)])


def _correlation(counts: Floats, a: Floats, b: Floats) -> Floats:
    total = counts.sum(axis=1, keepdims=True)
    a = a - (counts * a).sum(axis=1, keepdims=True) / total
    b = b - (counts * b).sum(axis=1, keepdims=True) / total
    spread = np.sqrt((counts * a * a).sum(axis=1) * (counts * b * b).sum(axis=1))
    return np.asarray(np.clip(_divided((counts * a * b).sum(axis=1), spread), -1.0, 1.0))


def _divided(part: Floats, whole: NDArray[np.generic]) -> Floats:
    return np.asarray(np.divide(part, whole, out=np.zeros_like(part), where=np.asarray(whole) > 0))


def _spread(values: Floats, here: float) -> tuple[float, float]:
    kept = values[np.isfinite(values)]
    if not len(kept) or np.ptp(kept) <= STILL:
        return float("nan"), float("nan")
    low, high = _middle(kept)
    return min(low, here), max(high, here)


def _middle(values: Floats) -> tuple[float, float]:
    kept = values[np.isfinite(values)]
    if not len(kept):
        return float("nan"), float("nan")
    low, high = np.quantile(kept, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)
