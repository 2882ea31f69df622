"""The view of answers that are one class of several."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from luban.metrics.calibration import brier, expected_calibration_error, reliability
from luban.metrics.classification import Ints, average_rows, confusion, roc_auc, table_of, with_unseen
from luban.metrics.intervals import Statistic, auc_of, f1_of, joined, mean_of
from luban.pictures import named
from luban.records import Prediction, Row, Rows
from luban.stages.evaluate.base import Confusion, Mistake, Reliability, View

Floats = NDArray[np.float64]


def look(rows: Rows, predictions: Sequence[Prediction], labels: Sequence[str]) -> View:
    """Accuracy, F1 averages, ROC-AUC, confusion and calibration of single labels."""
    gold = [str(row["label"]) for row in rows]
    answers = [str(p.label) for p in predictions]
    names = with_unseen(labels, gold, answers)
    counts = confusion(gold, answers, names)
    table = table_of(counts, names)
    index = {name: i for i, name in enumerate(names)}
    truth = np.array([index[g] for g in gold])
    given = np.array([index[a] for a in answers])
    chances = _chances(predictions, names)
    sure = np.array([p.score or 0.0 for p in predictions])
    many = len(names) > 2
    area = roc_auc(truth, chances)
    return View(
        kind="label",
        rows=len(rows),
        statistic=_statistic(truth, given, chances),
        slice_score="accuracy",
        right=truth == given,
        shares=("accuracy", "micro_f1"),
        mistakes=tuple(sorted(_mistakes(rows, predictions), key=lambda m: -m.cost)),
        table=tuple(table),
        averages=tuple(average_rows(table)),
        confusion=Confusion(tuple(names), tuple(tuple(map(int, row)) for row in counts)),
        reliability=Reliability(
            tuple(reliability(sure, truth == given)),
            expected_calibration_error(sure, truth == given),
            brier(truth, chances),
        ),
        extra={"roc_auc": area} if many and np.isfinite(area) else {},
    )


def _statistic(truth: Ints, given: Ints, chances: Floats) -> Statistic:
    eye = np.eye(chances.shape[1])
    right = truth == given
    # Of single labels micro F1 is the accuracy again; stated as a mean, it is the same to the last digit.
    parts = [f1_of(eye[truth] * right[:, None], eye[truth], eye[given]), mean_of(accuracy=right, micro_f1=right)]
    if chances.shape[1] == 2 and 0 < truth.sum() < len(truth):
        parts.append(auc_of(truth == 1, chances[:, 1]))
    return joined(*parts)


def _chances(predictions: Sequence[Prediction], names: Sequence[str]) -> Floats:
    """(n, k) probabilities; a label the model does not know has none."""
    return np.array([[(p.scores or {}).get(name, 0.0) for name in names] for p in predictions], dtype=np.float64)


def _mistakes(rows: Rows, predictions: Sequence[Prediction]) -> list[Mistake]:
    return [
        _mistake(i + 1, row, p)
        for i, (row, p) in enumerate(zip(rows, predictions, strict=True))
        if str(row["label"]) != p.label
    ]


def _mistake(number: int, row: Row, prediction: Prediction) -> Mistake:
    """The surer the wrong answer, the worse."""
    gold = str(row["label"])
    return Mistake(
        row=number,
        text=named(str(row["image"])) if "image" in row else str(row["text"]),
        second=str(row.get("text_pair", "")),
        gold=gold,
        answer=str(prediction.label),
        cost=float(prediction.score or 0.0),
        probability=prediction.score,
        gold_probability=(prediction.scores or {}).get(gold, 0.0),
    )
