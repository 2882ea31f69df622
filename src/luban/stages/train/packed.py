"""The examples of a model that writes, packed; refused where the model would let one row read another."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import replace
from typing import overload

import numpy as np
import torch
from torch import nn

from luban.config import TrainConfig
from luban.errors import ConfigError
from luban.packing import filled, together
from luban.stages.train.material import Material
from luban.training import Example, Part, TaskLoss, collated, padded_targets

ROOM = 1024
"sub-words of a pack at most: attention pays for the square of it"
AGREEMENT = 5e-5
"largest relative difference between the losses of rows in one window and of the same rows apart"


def packed(model: nn.Module, material: Material, config: TrainConfig) -> Material:
    """The material with several rows a window, where ``config.packing`` asks for it; raises `ConfigError`."""
    if not config.packing:
        return material
    room = min(material.encoder.limit, ROOM)
    lengths = array("i", (len(example.window.ids) for example in material.examples))
    check(model, material, [material.examples[i] for i in range(min(3, len(material.examples)))])
    return replace(material, examples=Packs(material.examples, filled(lengths, room)))


class Packs(Sequence[Example]):
    """Examples of several examples each, `joined` when they are asked for."""

    def __init__(self, examples: Sequence[Example], packs: Sequence[Sequence[int]]) -> None:
        self._examples, self._packs = examples, packs

    def __len__(self) -> int:
        return len(self._packs)

    @overload
    def __getitem__(self, place: int) -> Example: ...
    @overload
    def __getitem__(self, place: slice) -> list[Example]: ...
    def __getitem__(self, place: int | slice) -> Example | list[Example]:
        if isinstance(place, slice):
            return [self[i] for i in range(*place.indices(len(self)))]
        return joined([self._examples[i] for i in self._packs[place]])


def joined(examples: Sequence[Example]) -> Example:
    """One example of several, which counts for all of them."""
    target = np.concatenate([example.target for example in examples])
    return Example(together([e.window for e in examples]), target, sum(e.weight for e in examples), examples[0].row)


def check(model: nn.Module, material: Material, examples: Sequence[Example]) -> None:
    """Raises `ConfigError` where the examples have another loss in one window than apart."""
    was_training = model.training
    model.eval()
    apart, one = (loss_of(model, material, some) for some in (examples, [joined(examples)]))
    model.train(was_training)
    if abs(apart - one) > AGREEMENT * max(abs(apart), 1.0):
        raise ConfigError(
            f"{type(model).__name__} reads across the rows of a packed window (loss {one:.4f} instead of {apart:.4f}).",
            "Packing needs a model that heeds a mask for each row.",
            "Leave out --packing.",
        )


def loss_of(model: nn.Module, material: Material, examples: Sequence[Example]) -> float:
    """The sum of the examples' losses."""
    device = next(model.parameters()).device
    feed = collated(model, examples, material.encoder.pad_id)
    targets = torch.from_numpy(padded_targets(examples)).to(device)
    part = Part(
        feed(range(len(examples))), targets, torch.ones(len(examples), device=device), tuple(range(len(examples)))
    )
    objective = TaskLoss(material.task)
    with torch.no_grad():
        return float(objective.of(objective.logits(model, part), part))
