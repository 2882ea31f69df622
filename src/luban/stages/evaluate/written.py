"""The view of answers that are written: how near they are to the right ones, and how probable these are to the model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from luban.metrics.intervals import Scores, Statistic, ratio_of
from luban.metrics.writing import ROUGE, chrf_counts, chrf_of, exact
from luban.preferences import columns
from luban.records import Prediction, Rows, texts
from luban.stages.evaluate.base import Mistake, View
from luban.written import gold_of

MOST = 700.0
"a larger exponent is no number any more"


def look(rows: Rows, predictions: Sequence[Prediction], labels: Sequence[str]) -> View:
    """ROUGE, chrF, exact match and perplexity; the worst rows are those least like the right answer."""
    golds, answers = [gold_of(row) for row in rows], [p.text or "" for p in predictions]
    pairs = list(zip(golds, answers, strict=True))
    near = {name: np.array([score(*pair) for pair in pairs]) for name, score in ROUGE.items()}
    same = np.array([exact(*pair) for pair in pairs])
    wrong = [
        Mistake(
            row=i + 1, text=" ".join(texts(rows[i]).values()), gold=golds[i], answer=answers[i],
            cost=1.0 - float(near["rouge_l"][i]), probability=predictions[i].score,
        )
        for i in np.flatnonzero(~same).tolist()
    ]  # fmt: skip
    return View(
        kind="text",
        rows=len(rows),
        statistic=_statistic(golds, answers, predictions, near, same),
        slice_score="rouge_l",
        right=same,
        shares=("exact_match",),
        mistakes=tuple(sorted(wrong, key=lambda m: -m.cost)),
    )


def _statistic(
    golds: Sequence[str],
    answers: Sequence[str],
    predictions: Sequence[Prediction],
    near: Mapping[str, NDArray[Any]],
    same: NDArray[Any],
) -> Statistic:
    """Scores of resampled rows: chrF from summed n-grams, perplexity from summed log probabilities, means over pairs."""
    counts = np.array(
        [chrf_counts(gold, answer) for gold, answer in zip(golds, answers, strict=True)], dtype=np.float64
    )
    likely = np.array([p.likelihood or (0.0, 0) for p in predictions], dtype=np.float64)
    ones = np.ones(len(golds))
    told = {name: (np.nan_to_num(column), ~np.isnan(column)) for name, column in columns(predictions).items()}
    told |= {name: (values, ones) for name, values in near.items()}
    plain = ratio_of(exact_match=(same, ones), log_likelihood=(likely[:, 0], likely[:, 1]), **told)

    def statistic(drawn: NDArray[np.float64]) -> Scores:
        scores = dict(plain(drawn))
        if not likely[:, 1].any():
            del scores["log_likelihood"]
        else:
            scores["perplexity"] = np.exp(np.minimum(-scores["log_likelihood"], MOST))
        summed = np.tensordot(drawn, counts, axes=(1, 0))
        return {**scores, "chrf": np.array([chrf_of(each) for each in summed])}

    return statistic
