"""What the validation rows say about the logits: a temperature, and thresholds where several labels may hold.

Temperature: Guo et al. 2017, "On Calibration of Modern Neural Networks". It changes no label, only how sure it sounds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from luban.encoding import Encoded
from luban.errors import DataError
from luban.metrics.calibration import fit_temperature
from luban.records import Row, Rows
from luban.tasks.base import Calibration, Floats, Task, stitched

MIN_ROWS = 20
"fewer rows say nothing about calibration"


def calibrated(task: Task, rows: Rows, encoded: Sequence[Encoded], logits: Sequence[Sequence[Floats]]) -> Task:
    """The task with temperature and thresholds fitted on validation rows; unchanged where they are too few.

    Rows with a label that training did not see say nothing about the logits and are left out.
    """
    if not task.labels:
        return task
    own = task.own_calibration(rows, encoded, logits) if len(rows) >= MIN_ROWS else None
    if own is not None:
        return task.calibrated(own)
    told = [_told(task, row, one) for row, one in zip(rows, encoded, strict=True)]
    known = [i for i, target in enumerate(told) if target is not None]
    if len(known) < MIN_ROWS:
        return task
    targets = [target for target in told if target is not None]
    encoded, logits = [encoded[i] for i in known], [logits[i] for i in known]
    if task.tags_words:
        return task.calibrated(_by_part(task, targets, logits))
    whole = np.stack([stitched(one, outputs) for one, outputs in zip(encoded, logits, strict=True)])
    first = np.stack([target[0] for target in targets])
    if any(part.name for part in task.parts):
        return task.calibrated(_by_question(task, whole, first))
    if first.ndim == 1:
        return task.calibrated(replace(task.calibration, temperature=fit_temperature(whole, first)))
    return task.calibrated(Calibration(thresholds=_thresholds(task.labels, whole, first)))


def _told(task: Task, row: Row, encoded: Encoded) -> list[NDArray[Any]] | None:
    try:
        return task.targets(row, encoded)
    except DataError:
        return None


def _by_part(task: Task, targets: Sequence[Sequence[NDArray[Any]]], logits: Sequence[Sequence[Floats]]) -> Calibration:
    """The calibration with a temperature for each part of a tagger's head, fitted window by window."""
    asked = [
        task.asked(out, target)
        for row, outs in zip(targets, logits, strict=True)
        for target, out in zip(row, outs, strict=True)
    ]
    found = {}
    for i, part in enumerate(task.parts):
        flat = np.concatenate([one[i][0] for one in asked])[:, part.begin : part.end]
        found[part.name] = fit_temperature(flat, np.concatenate([one[i][1] for one in asked]))
    if list(found) == [""]:
        return replace(task.calibration, temperature=found[""])
    return replace(task.calibration, temperatures=found)


def _by_question(task: Task, logits: NDArray[np.float32], gold: NDArray[Any]) -> Calibration:
    """A temperature for each question with one class, and thresholds for each with several, on the rows that answer it;
    a question that too few answer stays as it is."""
    import torch

    temperatures: dict[str, float] = {}
    thresholds: dict[str, float] = {}
    said = torch.from_numpy(logits), torch.from_numpy(gold), torch.ones(len(gold))
    for part, share in zip(task.parts, task.shares(*said), strict=True):
        labels = task.labels[part.begin : part.end]
        if len(share.targets) >= MIN_ROWS and part.kind == "label":
            temperatures[part.name] = fit_temperature(share.logits.numpy(), share.targets.numpy())
        elif len(share.targets) >= MIN_ROWS and part.kind == "labels":
            thresholds |= _thresholds(labels, share.logits.numpy(), share.targets.numpy())
    return replace(task.calibration, temperatures=temperatures, thresholds=thresholds)


def _thresholds(labels: Sequence[str], logits: NDArray[np.float32], gold: NDArray[Any]) -> dict[str, float]:
    """The threshold of each label that gives its best F1; 0.5 where there are under five positives to tell."""
    probabilities = 1.0 / (1.0 + np.exp(-logits.astype(np.float64)))
    out = {}
    for k, label in enumerate(labels):
        out[label] = _best_threshold(probabilities[:, k], gold[:, k] > 0.5) if gold[:, k].sum() >= 5 else 0.5
    return out


def _best_threshold(probabilities: NDArray[np.float64], positive: NDArray[np.bool_]) -> float:
    grid = np.linspace(0.05, 0.95, 37)
    f1 = []
    for cut in grid:
        chosen = probabilities >= cut
        f1.append(2 * (chosen & positive).sum() / max(1, chosen.sum() + positive.sum()))
    best = np.flatnonzero(np.array(f1) >= max(f1) - 1e-9)
    return round(float(grid[best[len(best) // 2]]), 4)
