"""Scores of labels: accuracy, per-class tables, F1 averages, ROC-AUC, confusion; numpy only, knows no model.

Labels are strings. A label that the gold rows or the answers hold and the model's list lacks is counted as a class of
its own: it can only be missed or wrongly given, and leaving it out would flatter the model.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from luban.metrics.regression import average_ranks

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class ClassScore:
    """One class: precision, recall and F1 (0 where undefined), from its counts.

    ``support``: rows whose gold label it is; ``predicted``: rows answered with it; ``correct``: both.
    """

    label: str
    precision: float
    recall: float
    f1: float
    support: int
    predicted: int = 0
    correct: int = 0

    @classmethod
    def of(cls, label: str, *, correct: int, support: int, predicted: int) -> ClassScore:
        """From counts."""
        return cls(
            label,
            ratio(correct, predicted),
            ratio(correct, support),
            ratio(2 * correct, support + predicted),
            support,
            predicted,
            correct,
        )


def ratio(part: float, whole: float) -> float:
    """``part / whole``, and 0 where there is no whole."""
    return part / whole if whole else 0.0


def accuracy(gold: Sequence[str], predicted: Sequence[str]) -> float:
    """Share of rows answered rightly; 0 for no rows."""
    return ratio(sum(g == p for g, p in zip(gold, predicted, strict=True)), len(gold))


def with_unseen(labels: Sequence[str], *others: Iterable[str]) -> list[str]:
    """``labels`` in their order, then those of ``others`` that it lacks, sorted."""
    return [*labels, *sorted(set().union(*others) - set(labels))]


def confusion(gold: Sequence[str], predicted: Sequence[str], labels: Sequence[str]) -> Ints:
    """(k, k) counts, gold by row and answer by column; raises `KeyError` for a label not in ``labels``."""
    index = {label: i for i, label in enumerate(labels)}
    k = len(index)
    cells = [index[g] * k + index[p] for g, p in zip(gold, predicted, strict=True)]
    return np.bincount(np.array(cells, dtype=np.int64), minlength=k * k).reshape(k, k).astype(np.int64)


def class_table(gold: Sequence[str], predicted: Sequence[str], labels: Sequence[str]) -> list[ClassScore]:
    """One `ClassScore` a label, in the order of ``labels``, then those it lacks."""
    labels = with_unseen(labels, gold, predicted)
    return table_of(confusion(gold, predicted, labels), labels)


def table_of(counts: Ints, labels: Sequence[str]) -> list[ClassScore]:
    """The per-class table of a (k, k) confusion matrix."""
    hits, support, answers = counts.diagonal(), counts.sum(axis=1), counts.sum(axis=0)
    return [
        ClassScore.of(label, correct=int(hits[i]), support=int(support[i]), predicted=int(answers[i]))
        for i, label in enumerate(labels)
    ]


def averages(table: Sequence[ClassScore]) -> dict[str, float]:
    """``macro_``, ``micro_`` and ``weighted_`` ``precision``, ``recall`` and ``f1``, as scikit-learn counts them.

    Macro is the mean over classes that occur in gold or answers; weighted weighs them by their gold rows.
    """
    met = [score for score in table if score.support or score.predicted]
    correct, support = sum(s.correct for s in met), sum(s.support for s in met)
    whole = ClassScore.of("", correct=correct, support=support, predicted=sum(s.predicted for s in met))
    out: dict[str, float] = {}
    for name in ("precision", "recall", "f1"):
        out[f"macro_{name}"] = ratio(sum(getattr(s, name) for s in met), len(met))
        out[f"micro_{name}"] = getattr(whole, name)
        out[f"weighted_{name}"] = ratio(sum(getattr(s, name) * s.support for s in met), whole.support)
    return out


def average_rows(table: Sequence[ClassScore]) -> list[ClassScore]:
    """`averages` as rows under a table, labelled ``macro``, ``micro`` and ``weighted``."""
    scores = averages(table)
    met = [score for score in table if score.support or score.predicted]
    support, predicted, correct = (sum(getattr(s, name) for s in met) for name in ("support", "predicted", "correct"))
    rows = []
    for kind in ("macro", "micro", "weighted"):
        precision, recall, f1 = (scores[f"{kind}_{name}"] for name in ("precision", "recall", "f1"))
        rows.append(ClassScore(kind, precision, recall, f1, support, predicted, correct))
    return rows


def class_scores(gold: Iterable[object], answers: Iterable[object], labels: Sequence[str]) -> dict[str, float]:
    """``accuracy`` and `f1_averages` of one class a row."""
    right, given = list(map(str, gold)), list(map(str, answers))
    return {"accuracy": accuracy(right, given), **f1_averages(right, given, labels)}


def f1_averages(gold: Sequence[str], predicted: Sequence[str], labels: Sequence[str]) -> dict[str, float]:
    """``macro_f1``, ``micro_f1`` and ``weighted_f1``."""
    return only_f1(averages(class_table(gold, predicted, labels)))


def only_f1(scores: Mapping[str, float]) -> dict[str, float]:
    """The F1 entries of `averages`."""
    return {name: scores[name] for name in ("macro_f1", "micro_f1", "weighted_f1")}


def roc_auc(gold_index: NDArray[np.integer], probabilities: NDArray[np.floating]) -> float:
    """Area under the ROC curve of (n, k) probabilities: of class 1 for two classes, else the mean of one against rest.

    Ties count half (Mann-Whitney). Classes that are missing from gold, or make up all of it, are left out; NaN where
    none is left.
    """
    classes = [1] if probabilities.shape[1] == 2 else range(probabilities.shape[1])
    areas = [binary_auc(gold_index == c, probabilities[:, c]) for c in classes]
    known = [area for area in areas if not np.isnan(area)]
    return float(np.mean(known)) if known else float("nan")


def binary_auc(positive: NDArray[np.bool_], scores: NDArray[np.floating]) -> float:
    """Chance that a positive row scores above a negative one, ties half; NaN where either is missing."""
    ups = int(positive.sum())
    downs = len(positive) - ups
    if not ups or not downs:
        return float("nan")
    return float((average_ranks(scores)[positive].sum() - ups * (ups + 1) / 2) / (ups * downs))


def multilabel_table(
    gold: Sequence[Collection[str]], predicted: Sequence[Collection[str]], labels: Sequence[str]
) -> list[ClassScore]:
    """One `ClassScore` a label over rows that hold any number of labels."""
    pairs = [(set(g), set(p)) for g, p in zip(gold, predicted, strict=True)]
    return [
        ClassScore.of(
            label,
            correct=sum(label in g and label in p for g, p in pairs),
            support=sum(label in g for g, _ in pairs),
            predicted=sum(label in p for _, p in pairs),
        )
        for label in with_unseen(labels, *gold, *predicted)
    ]


def multilabel_f1(
    gold: Sequence[Collection[str]], predicted: Sequence[Collection[str]], labels: Sequence[str]
) -> dict[str, float]:
    """``macro_f1``, ``micro_f1``, ``weighted_f1``, and ``exact_match``: the share of rows with just the gold labels."""
    exact = sum(set(g) == set(p) for g, p in zip(gold, predicted, strict=True))
    return {
        **only_f1(averages(multilabel_table(gold, predicted, labels))),
        "exact_match": ratio(exact, len(gold)),
    }
