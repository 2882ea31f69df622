"""Rows, encoded once: what a run learns from and what it is watched on; learns nothing itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from luban.bases import Base
from luban.config import TrainConfig
from luban.encoding import Encoded, TextEncoder
from luban.errors import ConfigError
from luban.pictures import Augmentation, PictureEncoder
from luban.predict import Predictor
from luban.records import Prepared, Rows
from luban.stages.train.drift import sketch
from luban.stages.train.sight import settings_of
from luban.tasks import TASKS
from luban.tasks.base import Task

if TYPE_CHECKING:
    from torch import nn

    from luban.stages.train.teacher import Lesson
    from luban.training import Example

SHORTEST = 8
"sub-words of a window, below which its special tokens leave no room for a text"


@dataclass(frozen=True, slots=True)
class Material:
    """Rows, encoded once: what a run learns from and what it is watched on.

    ``examples`` are the windows of ``rows`` (`Example.row` counts in them); unlabelled ones come last. ``lesson``: what a
    teacher has to say of them. ``reference`` (examples, 2): of pairs of answers, the log probabilities of both before training.
    """

    task: Task
    encoder: Any
    examples: list[Example]
    valid: Rows
    encoded_valid: list[Encoded]
    base: Path
    rows: Rows
    drift: dict[str, Any]
    lesson: Lesson | None = None
    reference: NDArray[np.float64] | None = None


def encode(data: Prepared, base: Base, config: TrainConfig, *, task: Task | None = None) -> Material:
    """Encoder and encoded windows of the prepared rows; raises `DataError` where there is nothing to learn.

    ``task``: where its labels are not simply those of the training rows.
    """
    from luban.stages.train.recipe import lengths_of, window_length

    if config.max_length and (config.max_length < SHORTEST or TASKS[data.task].sees):
        raise ConfigError(
            f"max_length is {config.max_length}.",
            f"A window of texts holds at least {SHORTEST} sub-words; pictures have none.",
            "Set it higher, or 0.",
        )
    task = task or TASKS[data.task].fit(data.train)
    assert task is not None
    task = task.for_run(config, base)
    encoder = reader(task, base, config)
    known = [*data.train, *data.valid]
    rows = task.completed(data.train, config, known)
    encoded = [task.encode(row, encoder) for row in rows]
    if not config.max_length and not (task.sees or task.generates or config.private):
        lengths = lengths_of(encoded)
        length = window_length(lengths, encoder.limit)
        encoder.limit = length
        encoded = [
            e if n <= length else task.encode(r, encoder) for e, n, r in zip(encoded, lengths, rows, strict=True)
        ]
    unlabelled = list(data.unlabelled)
    examples = examples_of(task, rows, encoded)
    examples += examples_of(task, unlabelled, [task.encode(row, encoder) for row in unlabelled], after=len(rows))
    valid = task.completed(data.valid, config, known)
    encoded_valid = [unwritten(task.encode(row, encoder)) for row in valid]
    drift = sketch(rows, encoded)
    return Material(task, encoder, examples, valid, encoded_valid, base.path, [*rows, *unlabelled], drift)


def reader(task: Task, base: Base, config: TrainConfig) -> Any:
    """What reads the rows: the base's tokenizer, or its way to see pictures, which are varied while the model learns."""
    if task.fuses:
        from luban.stages.train import fused

        return fused.reader(task, base.path, config)
    if not task.sees:
        return TextEncoder.open(base.path, limit=config.max_length or None)
    varied = Augmentation() if config.augment else None
    return PictureEncoder(settings_of(base.path), lazy=True, augmentation=varied)


def unwritten(encoded: Encoded) -> Encoded:
    """A row of a model that writes, of which only the right answer is judged: writing all of them takes too long."""
    if encoded.decoding is None:
        return encoded
    return replace(encoded, decoding=replace(encoded.decoding, max_new_tokens=0))


def examples_of(task: Task, rows: Rows, encoded: Sequence[Encoded], *, after: int | None = None) -> list[Example]:
    """The windows of the rows with what the head should say; ``after`` so many labelled rows, these have no labels."""
    from luban.training import Example

    examples = []
    for number, (row, one) in enumerate(zip(rows, encoded, strict=True), after or 0):
        targets = task.targets(row, one) if after is None else [task.unsaid(window) for window in one.windows]
        if one.apart:
            first, *beside = (one.windows[part][0] for part in one.of_each())
            examples.append(Example(first, targets[0], 1.0, number, after is None, tuple(beside)))
            continue
        for window, target in zip(one.windows, targets, strict=True):
            heads = window.heads
            weight = window.weight if heads is None else float(len(heads))
            if weight > 0:
                examples.append(Example(window, target, weight, number, after is None))
    return examples


def dev_scores(model: nn.Module, material: Material) -> dict[str, float]:
    """Scores of the model as it stands on the validation rows; empty where there are none."""
    if not material.valid:
        return {}
    predictions = live(model, material.task, material.encoder).answer(material.encoded_valid)
    return material.task.score(material.valid, predictions)


def live(model: nn.Module, task: Task, encoder: Any) -> Predictor:
    """A predictor over a model that is in memory, tuned for many rows at once."""
    from luban.runtimes.pytorch import PyTorchRuntime

    return Predictor(task, encoder, PyTorchRuntime(model), max_rows=64, max_tokens=8192, slack=0.2)
