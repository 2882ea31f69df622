"""Rows, encoded once: what a run learns from and what it is watched on; learns nothing itself.

What it learns from lies in files (`cache`), what it is watched on in memory: `WATCHED` rows at most.
"""

from __future__ import annotations

import random
from array import array
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
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
from luban.records import Prepared, Row, Rows
from luban.stages.train.cache import Keeping, Place
from luban.stages.train.drift import sketch
from luban.stages.train.sight import settings_of
from luban.stored import Joined, take
from luban.tasks import TASKS
from luban.tasks.base import Task

if TYPE_CHECKING:
    from torch import nn

    from luban.stages.train.teacher import Lesson
    from luban.training import Example

SHORTEST = 8
"sub-words of a window, below which its special tokens leave no room for a text"
WATCHED = 20_000
"validation rows that are scored after each epoch, at most: an accuracy on so many is sure to within 0.7 points"
HERE = Place()
"a temporary folder"


@dataclass(frozen=True, slots=True)
class Material:
    """Rows, encoded once: what a run learns from and what it is watched on.

    ``examples`` are the windows of ``rows`` (`Example.row` counts in them); unlabelled ones come last. ``lesson``: what a
    teacher has to say of them. ``reference`` (examples, 2): of pairs of answers, the log probabilities of both before training.
    """

    task: Task
    encoder: Any
    examples: Sequence[Example]
    valid: Rows
    encoded_valid: list[Encoded]
    base: Path
    rows: Rows
    drift: dict[str, Any]
    lesson: Lesson | None = None
    reference: NDArray[np.float64] | None = None
    lost: Mapping[str, int] = field(default_factory=dict)
    "what of the rows is not learnt whole, as `records.Lost` has it"


def encode(
    data: Prepared, base: Base, config: TrainConfig, *, task: Task | None = None, place: Place = HERE
) -> Material:
    """Encoder and encoded windows of the prepared rows; raises `DataError` where there is nothing to learn.

    ``task``: where its labels are not simply those of the training rows. ``place``: where the windows are kept.
    """
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
    known = Joined(data.train, data.valid)
    rows = task.completed(data.train, known)
    examples, notes = place.found(encoder) or place.kept(
        encoder, partial(_encoded, task, rows, data.unlabelled, encoder, config)
    )
    if encoder.limit != notes["limit"]:
        encoder.limit = notes["limit"]
    valid = list(task.completed(watched(data.valid, config.seed), known))
    encoded_valid = [unwritten(task.encode(row, encoder)) for row in valid]
    every = Joined(rows, data.unlabelled)
    return Material(task, encoder, examples, valid, encoded_valid, base.path, every, notes["drift"], lost=notes["lost"])


def _encoded(
    task: Task, rows: Rows, unlabelled: Rows, encoder: Any, config: TrainConfig, keeping: Keeping
) -> dict[str, Any]:
    """Encode all rows, those longer than nearly all of them in several windows; what the run must know of them."""
    from luban.stages.train.recipe import lengths_of, window_length

    tokens, lengths, lost = array("i"), array("i"), Counter[str]()
    for number, row in enumerate(rows):
        encoded = task.encode(row, encoder)
        tokens.append(encoded.tokens)
        lengths.extend(lengths_of([encoded]))
        lost.update(encoded.lost)
        for example in examples_of(task, row, encoded, number):
            keeping.add(example)
    if not config.max_length and not (task.sees or task.generates or config.private):
        encoder.limit = window_length(lengths, encoder.limit)
        longer = np.flatnonzero(np.array(lengths) > encoder.limit).tolist()
        keeping.again(longer)
        for number in longer:
            encoded = task.encode(rows[number], encoder)
            tokens[number] = encoded.tokens
            for example in examples_of(task, rows[number], encoded, number):
                keeping.add(example)
    for number, row in enumerate(unlabelled, len(rows)):
        for example in examples_of(task, row, task.encode(row, encoder), number, labelled=False):
            keeping.add(example)
    return {"limit": encoder.limit, "drift": sketch(rows, tokens), "lost": {"rows": len(rows), **lost} if lost else {}}


def watched(rows: Rows, seed: int) -> Rows:
    """The validation rows that a run is watched on: all of them, or `WATCHED` of many, which say as much."""
    if len(rows) <= WATCHED:
        return rows
    return take(rows, sorted(random.Random(seed).sample(range(len(rows)), WATCHED)))


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


def examples_of(task: Task, row: Row, encoded: Encoded, number: int, *, labelled: bool = True) -> Iterator[Example]:
    """The windows of a row with what the head should say; ``number``: which of the run's rows it is."""
    from luban.training import Example

    targets = task.targets(row, encoded) if labelled else [task.unsaid(window) for window in encoded.windows]
    if encoded.apart:
        first, *beside = (encoded.windows[part][0] for part in encoded.of_each())
        yield Example(first, targets[0], 1.0, number, labelled, tuple(beside))
        return
    for window, target in zip(encoded.windows, targets, strict=True):
        weight = window.weight if window.heads is None else float(len(window.heads))
        if weight > 0:
            yield Example(window, target, weight, number, labelled)


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
