"""The view of answers that are a number."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from luban.metrics.intervals import correlation_of
from luban.records import Prediction, Rows
from luban.stages.evaluate.base import Mistake, View

POINTS = 2000
"most points kept for the picture of gold against answer"


def look(rows: Rows, predictions: Sequence[Prediction], labels: Sequence[str]) -> View:
    """Correlations and mean absolute error; the worst rows are those furthest from gold."""
    gold = np.array([float(row["label"]) for row in rows])
    answers = np.array([float(p.value or 0.0) for p in predictions])
    gaps = np.abs(gold - answers)
    worst = [int(i) for i in np.argsort(-gaps, kind="stable") if gaps[i] > 0]
    shown = np.linspace(0, len(gold) - 1, min(len(gold), POINTS)).astype(int)
    return View(
        kind="value",
        rows=len(rows),
        statistic=correlation_of(gold, answers),
        slice_score="mae",
        right=None,
        mistakes=tuple(
            Mistake(
                row=i + 1,
                text=str(rows[i]["text"]),
                second=str(rows[i].get("text_pair", "")),
                gold=f"{gold[i]:.4g}",
                answer=f"{answers[i]:.4g}",
                cost=float(gaps[i]),
            )
            for i in worst
        ),
        points=tuple((float(gold[i]), float(answers[i])) for i in shown),
    )
