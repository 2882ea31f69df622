"""The contract of a method: what of the model learns, how it is fed meanwhile, and what is left when it is done.

A method changes neither the loss (`stages/train/objectives`) nor the rows: those are combined with it freely.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from torch import nn

from luban.config import TrainConfig
from luban.stages.train.material import Material
from luban.training import Feed, collated


@dataclass(frozen=True, slots=True)
class Trained:
    """A model set up to learn: ``whole`` answers and is saved, ``step`` is what a step runs, ``feed`` gives its inputs.

    ``whole`` and ``step`` share their parameters; they are one model where a method makes no difference.
    """

    whole: nn.Module
    step: nn.Module
    feed: Feed


class Method(ABC):
    """One way to fine-tune; ``work`` is a folder of the run for what need not be remembered."""

    name: ClassVar[str]

    @classmethod
    def refused(cls, config: TrainConfig, task: str) -> str:
        """Why this task cannot be trained so: one sentence, empty where it can; asked before any work."""
        return ""

    @abstractmethod
    def begin(self, model: nn.Module, material: Material, config: TrainConfig, work: Path) -> Trained:
        """Set up a model whose head has its start; the same for the same arguments, because a resumed run asks again."""

    def finish(self, trained: Trained) -> nn.Module:
        """The plain transformers model to be saved, of the best weights."""
        return trained.whole


def as_it_is(model: nn.Module, material: Material) -> Trained:
    """The model in one piece, fed with its windows."""
    return Trained(model, model, collated(model, material.examples, material.encoder.pad_id))
