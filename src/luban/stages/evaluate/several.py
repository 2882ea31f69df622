"""The view of answers that are any number of labels."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from luban.metrics.calibration import expected_calibration_error, reliability
from luban.metrics.classification import average_rows, multilabel_table, with_unseen
from luban.metrics.intervals import f1_of, joined, mean_of
from luban.records import Prediction, Row, Rows
from luban.stages.evaluate.base import Mistake, Reliability, View


def look(rows: Rows, predictions: Sequence[Prediction], labels: Sequence[str]) -> View:
    """F1 averages over labels, exact matches, and calibration of each label's own probability."""
    gold = [set(map(str, row["labels"])) for row in rows]
    answers = [set(p.labels or ()) for p in predictions]
    names = with_unseen(labels, *gold, *answers)
    table = multilabel_table(gold, answers, names)
    wanted, given = (
        np.array([[name in row for name in names] for row in side], dtype=bool) for side in (gold, answers)
    )
    stated = np.array([[(p.scores or {}).get(name, 0.0) for name in names] for p in predictions], dtype=np.float64)
    exact = (wanted == given).all(axis=1)
    return View(
        kind="labels",
        rows=len(rows),
        statistic=joined(f1_of(wanted & given, wanted, given), mean_of(exact_match=exact)),
        slice_score="exact_match",
        right=exact,
        shares=("exact_match",),
        mistakes=tuple(sorted(_mistakes(rows, predictions), key=lambda m: -m.cost)),
        table=tuple(table),
        averages=tuple(average_rows(table)),
        reliability=Reliability(
            tuple(reliability(stated.reshape(-1), wanted.reshape(-1))),
            expected_calibration_error(stated.reshape(-1), wanted.reshape(-1)),
            unit="labels",
        ),
    )


def _mistakes(rows: Rows, predictions: Sequence[Prediction]) -> list[Mistake]:
    pairs = enumerate(zip(rows, predictions, strict=True))
    return [_mistake(i + 1, row, p) for i, (row, p) in pairs if set(map(str, row["labels"])) != set(p.labels or ())]


def _mistake(number: int, row: Row, prediction: Prediction) -> Mistake:
    """As bad as its worst label: one missed with a low probability or given with a high one."""
    gold, given, stated = set(map(str, row["labels"])), set(prediction.labels or ()), prediction.scores or {}
    gaps = [1.0 - stated.get(label, 0.0) for label in gold - given] + [stated.get(label, 0.0) for label in given - gold]
    return Mistake(
        row=number,
        text=str(row["text"]),
        gold=", ".join(sorted(gold)),
        answer=", ".join(sorted(given)),
        cost=max(gaps),
    )
