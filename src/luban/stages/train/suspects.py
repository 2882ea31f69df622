"""Labels that look wrong: rows whose label a linear probe, which has not seen the row, holds for another.

Confident learning (Northcutt, Jiang & Chuang 2021, "Confident Learning: Estimating Uncertainty in Dataset Labels"): a row is
suspect where the probe gives another class at least the probability that it gives, on average, to the rows labelled so. The
features are those of the model before it learns. Nothing is relabelled, and no more than half of a class is suspected: a
probe that disbelieves most of a class has not understood it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from luban.personal import mask
from luban.pictures import is_data
from luban.records import Rows
from luban.stages.train.cache import Chosen, column, told
from luban.stages.train.material import Material
from luban.tasks.base import Task, softmax

if TYPE_CHECKING:
    import torch

FOLDS = 5
LEAST = 1e-4
"what a suspect row counts at least: a batch of nothing but rows that count nothing has no mean loss"
FILE = "suspects.jsonl"
"under reports/ in the model folder"

Suspect = dict[str, Any]
"""``row`` (from 1, in the training rows), ``label`` given and ``likely``, with their out-of-fold probabilities ``support`` and
``confidence``"""


def find(model: torch.nn.Module, material: Material, *, seed: int) -> list[Suspect]:
    """The suspects among the labelled rows of a classifier, in the order of rows; the same for the same seed."""
    examples = told(material.examples)
    rows, of_row = np.unique(column(examples, "row"), return_inverse=True)
    weights = column(examples, "weight")
    given = np.zeros(len(rows), dtype=np.int64)
    given[of_row] = column(examples, "target")
    fold_of = folds(given, seed=seed)[of_row]
    said = _out_of_fold(_features(model, material), given[of_row], weights, fold_of, task=material.task)
    sums = np.zeros((len(rows), material.task.outputs))
    np.add.at(sums, of_row, said * weights[:, None])
    probabilities = sums / np.bincount(of_row, weights)[:, None]
    labels = material.task.labels
    return [
        {
            "row": int(rows[i]) + 1,
            "label": labels[given[i]],
            "likely": labels[likely],
            "confidence": round(float(probabilities[i, likely]), 4),
            "support": round(float(probabilities[i, given[i]]), 4),
        }
        for i, likely in confident(given, probabilities)
    ]


def heeded(material: Material, suspects: Sequence[Suspect], noisy: str) -> Material:
    """The material with suspects as they are (keep), counting as much as the probe believes their label (weigh), or left out
    (drop): the whole row, or where a teacher has something to say of it, the label alone."""
    if noisy == "keep" or not suspects:
        return material
    doubted = {suspect["row"] - 1: suspect["support"] for suspect in suspects}
    rows, labelled = column(material.examples, "row"), column(material.examples, "labelled")
    suspect = labelled & np.isin(rows, list(doubted))
    if noisy == "weigh":
        weights = column(material.examples, "weight")
        weights[suspect] *= [max(LEAST, doubted[row]) for row in rows[suspect].tolist()]
        return replace(material, examples=Chosen(material.examples, weights=weights))
    if material.lesson is not None:
        return replace(material, examples=Chosen(material.examples, labelled=labelled & ~suspect))
    return replace(material, examples=Chosen(material.examples, np.flatnonzero(~suspect)))


def report(suspects: Sequence[Suspect], rows: Rows) -> str:
    """JSON lines of the suspects with their texts, personal data replaced by stand-ins; the most certain first."""
    lines = []
    for suspect in sorted(suspects, key=lambda suspect: suspect["support"] - suspect["confidence"]):
        row = rows[suspect["row"] - 1]
        texts = {name: mask(row[name]) for name in ("text", "text_pair") if name in row}
        texts |= {"image": row["image"]} if "image" in row and not is_data(row["image"]) else {}
        lines.append(json.dumps({**suspect, **texts}, ensure_ascii=False) + "\n")
    return "".join(lines)


def folds(given: NDArray[np.int64], *, seed: int) -> NDArray[np.int64]:
    """The fold of each row, each class spread over all of them: (rows,)."""
    rng = np.random.default_rng(seed)
    out = np.zeros(len(given), dtype=np.int64)
    for label in np.unique(given):
        rows = rng.permutation(np.flatnonzero(given == label))
        out[rows] = (np.arange(len(rows)) + rng.integers(FOLDS)) % FOLDS
    return out


def confident(given: NDArray[np.int64], probabilities: NDArray[np.float64]) -> list[tuple[int, int]]:
    """Pairs of a suspect row and its likely class, of labels (rows,) and out-of-fold probabilities (rows, classes)."""
    own = probabilities[np.arange(len(given)), given]
    usual = np.full(probabilities.shape[1], np.inf)
    for label in np.unique(given):
        usual[label] = own[given == label].mean()
    reached = np.where(probabilities >= usual, probabilities, -1.0)
    likely = reached.argmax(1)
    margin = np.where((reached.max(1) >= 0) & (likely != given), reached.max(1) - own, 0.0)
    chosen: list[int] = []
    for label in np.unique(given):
        rows = np.flatnonzero(given == label)
        worst = rows[np.argsort(-margin[rows], kind="stable")][: len(rows) // 2]
        chosen += [int(i) for i in worst if margin[i] > 0]
    return [(i, int(likely[i])) for i in sorted(chosen)]


def _features(model: torch.nn.Module, material: Material) -> torch.Tensor:
    """What the model makes of each labelled window before it learns: the mean of its tokens, or what reaches the head."""
    import torch

    from luban.stages.train.model import head
    from luban.stages.train.pooling import encoder_of, first_and_mean
    from luban.stages.train.probe import inputs_of

    examples = told(material.examples)
    if encoder_of(model) is not None:
        return first_and_mean(model, examples, material.encoder.pad_id)[1]
    return torch.stack(inputs_of(head(model, material.task.outputs), model, examples, material.encoder.pad_id))


def _out_of_fold(
    features: torch.Tensor,
    targets: NDArray[np.int64],
    weights: NDArray[np.float64],
    fold_of: NDArray[np.int64],
    *,
    task: Task,
) -> NDArray[np.float64]:
    """Probabilities (windows, classes) by a probe that was fitted on the other folds, on `MAX_ROWS` of them at most."""
    import torch

    from luban.stages.train.probe import MAX_ROWS, fit

    out = np.zeros((len(features), task.outputs))
    wanted, counts = torch.from_numpy(targets), torch.from_numpy(weights).float()
    for fold in range(FOLDS):
        held = fold_of == fold
        seen = np.flatnonzero(~held)
        seen = seen[:: -(-len(seen) // MAX_ROWS)] if len(seen) else seen
        if not held.any() or not len(seen):
            continue
        probe = torch.nn.Linear(features.shape[1], task.outputs)
        fit(probe, features[seen], wanted[seen], counts[seen], task.loss)
        with torch.no_grad():
            out[held] = softmax(probe(features[held]).numpy())
    return out
