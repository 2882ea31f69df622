"""An older model learns new rows, and new classes, without losing what it knew: the head is widened, old rows are learnt again
(replay), and the older model's own answers hold the new ones (`objectives/distil.py`: learning without forgetting, Li & Hoiem
2016). What it forgot all the same is counted on old rows that it does not learn, and decides whether the model is kept.
"""

from __future__ import annotations

import json
import random
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from luban import processes
from luban.config import TrainConfig
from luban.errors import ConfigError, GateError
from luban.folder import Folder, write_text
from luban.metrics.intervals import mean_of, paired
from luban.predict import Predictor
from luban.records import ClassKept, Prepared, Remembered, Row, Rows
from luban.stages.train.cache import told
from luban.stages.train.material import Material
from luban.stages.train.model import build, head
from luban.stages.train.probe import drawn, fit, inputs_of
from luban.stored import Joined, Picked
from luban.tasks.base import Task, fit_labels

CONTINUED = ("text-classification", "text-pair")
"tasks with one class a row: where classes stand beside each other, a row of a new class says nothing against the old ones"
REPORT = "continual.json"


def opened(data: Prepared, config: TrainConfig) -> Folder:
    """The model to continue; raises `ConfigError` where it cannot learn these rows, or what it forgets could not be told."""
    folder = Folder.open(Path(config.continue_from).expanduser())
    told = folder.manifest
    if told.task != data.task:
        raise ConfigError(
            f"{config.continue_from} was trained for {told.task}, the rows are for {data.task}.",
            "A model goes on with the task it has.",
            "Name another model, or another --task.",
        )
    if data.task not in CONTINUED or not told.labels:
        raise ConfigError(
            f"A model of {data.task} cannot be continued.",
            f"Tasks that can, where each row has one of several classes: {', '.join(CONTINUED)}.",
            "Train a new model on the old and the new rows together.",
        )
    if told.runtime != "pytorch":
        raise ConfigError(
            f"{config.continue_from} holds a graph for {told.runtime}, which cannot learn.",
            "The folder it was exported from can.",
            "Name that one.",
        )
    if "base" in config.model_fields_set and config.base not in (told.base.name, config.continue_from):
        raise ConfigError(
            f"base is {config.base}, and {config.continue_from} was trained from {told.base.name}.",
            "A model that goes on keeps its base.",
            "Leave out --base, or train a new model.",
        )
    _check_labels(data, told.labels)
    return folder


def _check_labels(data: Prepared, known: Sequence[str]) -> None:
    """Raises `ConfigError` where the old rows are not of the old classes, or where there are none to judge by."""
    replay = data.replay
    if replay is not None:
        found = {str(row["label"]) for row in replay.train}
        if lost := set(known) - found:
            raise ConfigError(
                f"The rows of replay have none of {_some(lost)}, which the older model knows.",
                "A model that goes on keeps all of its classes.",
                "Add rows of these, or train a new model without them.",
            )
        if strange := found - set(known) - {str(row["label"]) for row in data.train}:
            raise ConfigError(
                f"The rows of replay have {_some(strange)}, which the older model does not know.",
                "They are the rows that it was trained from.",
                "Put rows of new classes among the new rows.",
            )
    if not old_rows(data, known):
        raise ConfigError(
            "There are no old rows to tell by what is forgotten.",
            "The rows that the older model was trained from are needed, or new rows of its classes.",
            "Name them with --replay.",
        )


def old_rows(data: Prepared, known: Sequence[str]) -> list[Row]:
    """Rows of old classes that are not learnt: those of the validation parts, old and new."""
    parts = [data.valid] + ([data.replay.valid] if data.replay is not None else [])
    return [row for part in parts for row in part if str(row["label"]) in set(known)]


def widened(old: Task, rows: Rows) -> Task:
    """The older model's task with the labels of the new rows behind its own."""
    new = {str(row["label"]) for row in rows} - set(old.labels)
    added = fit_labels(list(rows)) if len(new) > 1 else sorted(new)
    return type(old)((*old.labels, *(label for label in added if label in new)))


def together(data: Prepared, config: TrainConfig) -> Prepared:
    """New rows with as many of the old ones as are to be learnt again; all validation rows, by which the best is chosen."""
    if data.replay is None:
        return data
    count = len(data.train) if config.replay_rows < 0 else config.replay_rows
    again = balanced(data.replay.train, count, seed=config.seed)
    return replace(data, train=Joined(data.train, again), valid=Joined(data.valid, data.replay.valid))


def balanced(rows: Rows, count: int, *, seed: int) -> Rows:
    """``count`` rows drawn so that every label has as many as any other, as far as it has them; the same for a seed."""
    order = array("q", range(len(rows)))
    random.Random(seed).shuffle(order)
    numbers: dict[str, int] = {}
    labels = np.fromiter(
        (numbers.setdefault(str(row["label"]), len(numbers)) for row in rows), dtype=np.int64, count=len(rows)
    )
    drawn = np.array(order, dtype=np.int64)
    of_label = np.argsort(labels[drawn], kind="stable")
    first = np.concatenate([[0], np.cumsum(np.bincount(labels, minlength=len(numbers)))])
    turns = np.empty(len(drawn), dtype=np.int64)
    turns[of_label] = np.arange(len(drawn)) - first[labels[drawn[of_label]]]
    return Picked(rows, drawn[np.argsort(turns, kind="stable")[:count]])


def grown(folder: Folder, task: Task, material: Material, *, dropout: float, seed: int) -> nn.Module:
    """The older model with a head of the new width: its own rows as they were, those of new classes from a linear probe."""
    known = len(folder.manifest.labels)
    old = build(folder.path, folder.task(), dropout=dropout, seed=seed)
    kept = head(old, known)
    if task.outputs == known:
        return old
    known_rows = drawn(told(material.examples), seed=seed, whole=True)
    features = torch.stack(inputs_of(kept, old, known_rows, material.encoder.pad_id))
    targets = torch.stack([torch.from_numpy(example.target) for example in known_rows])
    weights = torch.tensor([example.weight for example in known_rows])
    with torch.no_grad():
        said = kept(features)
    fresh = nn.Linear(kept.in_features, task.outputs - known)

    def loss(logits: Tensor, targets: Tensor, weights: Tensor, smoothing: float) -> Tensor:
        return task.loss(torch.cat([said, logits], dim=1), targets, weights, smoothing)

    fit(fresh, features, targets, weights, loss)
    model = build(folder.path, task, dropout=dropout, seed=seed)
    wide = head(model, task.outputs)
    with torch.no_grad():
        wide.weight.copy_(torch.cat([kept.weight, fresh.weight]))
        wide.bias.copy_(torch.cat([kept.bias, fresh.bias]))
    return model


def remembered(old: Predictor, new: Predictor, rows: Sequence[Row], config: TrainConfig, *, unseen: bool) -> Remembered:
    """What both models make of old rows. The older one chooses among its own classes, the new one among all of them."""
    gold = np.array([str(row["label"]) for row in rows])
    before, after = (np.array([a.label for a in model.predict(rows)]) == gold for model in (old, new))
    gap = paired(mean_of(accuracy=before), mean_of(accuracy=after), len(rows))["accuracy"]
    classes = tuple(
        ClassKept(label, int((gold == label).sum()), *(float(right[gold == label].mean()) for right in (before, after)))
        for label in old.task.labels
        if (gold == label).any()
    )
    return Remembered(
        rows=len(rows), before=float(before.mean()), after=float(after.mean()), drop=0.0 - gap.value,
        interval=(0.0 - gap.high, 0.0 - gap.low), most=config.max_forget, unseen=unseen, classes=classes,
    )  # fmt: skip


def check(found: Remembered, run: Path) -> None:
    """Raises `GateError` where more was forgotten than may be; the report then lies in the run's folder.

    Compared is the drop itself, the best estimate there is. To be sure of a drop below a hundredth takes thousands of old
    rows, and to be sure of one above it lets the most of forgetting pass: the interval says how sure it is.
    """
    if found.drop <= found.most:
        return
    if processes.rank() == 0:
        run.mkdir(parents=True, exist_ok=True)
        write_text(run / REPORT, json.dumps(asdict(found), ensure_ascii=False, indent=1) + "\n")
    worst = sorted(found.classes, key=lambda one: one.after - one.before)[:3]
    listed = ", ".join(f"{one.label} {one.before:.2f} to {one.after:.2f}" for one in worst)
    raise GateError(
        f"The accuracy on {found.rows} old rows fell from {found.before:.4f} to {found.after:.4f}, by {found.drop:.4f} "
        f"(95 per cent: {found.interval[0]:.4f} to {found.interval[1]:.4f}); most: {listed}.",
        f"max_forget allows {found.most:g}.",
        f"Learn more old rows again (--replay, --replay-rows), or raise --max-forget; every class is in {run / REPORT}.",
    )


def seen_before(data: Prepared) -> Mapping[str, Any]:
    """What the manifest says of the old rows."""
    if data.replay is None:
        return {}
    replay = data.replay
    rows = {"train": len(replay.train), "valid": len(replay.valid)}
    return {"source": replay.source, "rows": rows, "fingerprint": replay.fingerprint}


def split_again(folder: Folder, data: Prepared) -> bool:
    """Whether the old validation rows are surely those that the older model did not learn: its rows, split as they were."""
    return data.replay is None or data.replay.fingerprint == folder.manifest.data.get("fingerprint")


def _some(labels: set[str]) -> str:
    shown = ", ".join(repr(label) for label in sorted(labels)[:5])
    return shown + (f" and {len(labels) - 5} more" if len(labels) > 5 else "")
