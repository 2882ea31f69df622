"""The contract of a method: what of the model learns, how it is fed meanwhile, and what is left when it is done.

A method changes neither the loss (`stages/train/objectives`) nor the rows: those are combined with it freely.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from torch import nn

from luban.config import TrainConfig
from luban.folder import Folder
from luban.stages.train.material import Material
from luban.tasks import TASKS
from luban.training import Feed, Objective, collated

BESIDE = "beside"
"folder in ``work`` whose files go into the model folder beside the model"


def unchanged(objective: Objective) -> Objective:
    """The objective as it is."""
    return objective


@dataclass(frozen=True, slots=True)
class Trained:
    """A model set up to learn: ``whole`` answers and is saved, ``step`` is what a step runs, ``feed`` gives its inputs.

    ``whole`` and ``step`` share their parameters; they are one model where a method makes no difference. ``around`` adds
    to the objective what the method itself asks of a step.
    """

    whole: nn.Module
    step: nn.Module
    feed: Feed
    around: Callable[[Objective], Objective] = unchanged


class Method(ABC):
    """One way to fine-tune; ``work`` is a folder of the run for what need not be remembered."""

    name: ClassVar[str]
    sees: ClassVar[bool] = False
    "whether it can train models that see pictures, too"
    fuses: ClassVar[bool] = False
    "whether it can train models of several encoders, too"
    writes: ClassVar[bool] = False
    "whether it can train models that write, too"

    @classmethod
    def refused(cls, config: TrainConfig, task: str) -> str:
        """Why this task cannot be trained so: one sentence, empty where it can; asked before any work."""
        if TASKS[task].sees and not cls.sees:
            return f"The method {config.method!r} works inside of models that read texts, and {task} is about pictures."
        if TASKS[task].fuses and not cls.fuses:
            return (
                f"The method {config.method!r} works inside of one encoder, and {task} trains several parts together."
            )
        if TASKS[task].generates and not cls.writes:
            return f"The method {config.method!r} works inside of encoders, and {task} trains a model that writes."
        return ""

    @classmethod  # noqa: B027 - most take any base
    def check_base(cls, config: TrainConfig, base: Path) -> None:
        """Raises `ConfigError` where this base (its folder) cannot be trained so; asked before any work."""

    @classmethod
    def reader(cls, base: Path, config: TrainConfig, work: Path) -> Path:
        """The folder whose tokenizer reads the rows, and goes into the model folder: the base's, where nothing is added."""
        return base

    def prepare(self, model: nn.Module, material: Material, config: TrainConfig) -> None:  # noqa: B027 - few need it
        """Give the model what it needs to read the rows, before its head has a start."""

    @classmethod  # noqa: B027 - the plain model is re-run for every method
    def check(cls, folder: Folder, base: Path) -> None:
        """Load from disk what the method wrote beside the model and re-run the golden rows; raises `ParityError`."""

    @abstractmethod
    def begin(self, model: nn.Module, material: Material, config: TrainConfig, work: Path) -> Trained:
        """Set up a model whose head has its start; the same for the same arguments, because a resumed run asks again."""

    def finish(self, trained: Trained) -> nn.Module:
        """The plain transformers model to be saved, of the best weights."""
        return trained.whole


def as_it_is(model: nn.Module, material: Material) -> Trained:
    """The model in one piece, fed with its windows."""
    return Trained(model, model, collated(model, material.examples, material.encoder.pad_id))
