"""The view of answers that are a piece of a text, or that there is none."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from luban.metrics.answers import f1
from luban.metrics.calibration import expected_calibration_error, reliability
from luban.metrics.intervals import ratio_of
from luban.records import Prediction, Row, Rows
from luban.stages.evaluate.base import Mistake, Reliability, View
from luban.tasks.extractive_qa import marks


def look(rows: Rows, predictions: Sequence[Prediction], labels: Sequence[str]) -> View:
    """F1 and exact match, of all rows and of those with and without an answer; calibration of exact answers."""
    found = marks(rows, predictions)
    exact = found["exact_match"][0] > 0.5
    sure = np.array([p.score or 0.0 for p in predictions])
    wrong = [_mistake(i, rows[i], predictions[i]) for i in np.flatnonzero(~exact).tolist()]
    return View(
        kind="answer",
        rows=len(rows),
        statistic=ratio_of(**found),
        slice_score="f1",
        right=exact,
        shares=("exact_match",),
        mistakes=tuple(sorted(wrong, key=lambda m: -m.cost)),
        reliability=Reliability(tuple(reliability(sure, exact)), expected_calibration_error(sure, exact)),
    )


def _mistake(place: int, row: Row, prediction: Prediction) -> Mistake:
    """The less of the answer is right and the surer it is, the worse."""
    golds, given = [answer["text"] for answer in row["answers"]], str(prediction.answer or "")
    return Mistake(
        row=place + 1,
        text=str(row["question"]),
        second=str(row["context"]),
        gold=" | ".join(dict.fromkeys(golds)),
        answer=given,
        cost=1.0 - f1(golds, given) + float(prediction.score or 0.0),
        probability=prediction.score,
    )
