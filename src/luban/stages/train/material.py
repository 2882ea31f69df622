"""Rows, encoded once: what a run learns from and what it is watched on; learns nothing itself."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from luban.bases import Base
from luban.config import TrainConfig
from luban.encoding import Encoded, TextEncoder
from luban.errors import ConfigError, DataError
from luban.predict import Predictor
from luban.records import Prepared, Rows
from luban.stages.train.drift import sketch
from luban.tasks import TASKS
from luban.tasks.base import Task

if TYPE_CHECKING:
    from torch import nn

    from luban.training import Example

SHORTEST = 8
"sub-words of a window, below which its special tokens leave no room for a text"


@dataclass(frozen=True, slots=True)
class Material:
    """Rows, encoded once: what a run learns from and what it is watched on."""

    task: Task
    encoder: TextEncoder
    examples: list[Example]
    valid: Rows
    encoded_valid: list[Encoded]
    base: Path
    rows: Rows
    drift: dict[str, Any]


def encode(data: Prepared, base: Base, config: TrainConfig) -> Material:
    """Task, encoder and encoded windows of the prepared rows; raises `DataError` where there is nothing to learn."""
    from luban.stages.train.recipe import lengths_of, window_length
    from luban.training import Example

    if len(data.train) == 0:
        raise DataError(
            "there are no training rows.", "At least two rows are needed.", "Check the source.", file=data.source
        )
    if 0 < config.max_length < SHORTEST:
        raise ConfigError(
            f"max_length is {config.max_length}.",
            f"A window holds at least {SHORTEST} sub-words.",
            "Set it higher, or 0.",
        )
    task: Task = TASKS[data.task].fit(data.train)
    encoder = TextEncoder.open(base.path, limit=config.max_length or None)
    rows = list(data.train)
    encoded = [task.encode(row, encoder) for row in rows]
    if not config.max_length:
        lengths = lengths_of(encoded)
        length = window_length(lengths, encoder.limit)
        encoder.limit = length
        encoded = [
            e if n <= length else task.encode(r, encoder) for e, n, r in zip(encoded, lengths, rows, strict=True)
        ]
    examples = []
    for row, one in zip(rows, encoded, strict=True):
        for window, target in zip(one.windows, task.targets(row, one), strict=True):
            heads = window.heads
            weight = window.weight if heads is None else float(len(heads))
            if weight > 0:
                examples.append(Example(window, target, weight))
    valid = list(data.valid)
    encoded_valid = [task.encode(row, encoder) for row in valid]
    return Material(task, encoder, examples, valid, encoded_valid, base.path, rows, sketch(rows, encoded))


def dev_scores(model: nn.Module, material: Material) -> dict[str, float]:
    """Scores of the model as it stands on the validation rows; empty where there are none."""
    if not material.valid:
        return {}
    predictions = live(model, material.task, material.encoder).answer(material.encoded_valid)
    return material.task.score(material.valid, predictions)


def live(model: nn.Module, task: Task, encoder: TextEncoder) -> Predictor:
    """A predictor over a model that is in memory, tuned for many rows at once."""
    from luban.runtimes.pytorch import PyTorchRuntime

    return Predictor(task, encoder, PyTorchRuntime(model), max_rows=64, max_tokens=8192, slack=0.2)
