"""What a run starts from: a base with a fresh head, a copy of its teacher with fewer layers, or an older model that goes on.

All that can be wrong with a teacher or an older model is said here, before any row is encoded. The rest of the run sees rows,
a task with its labels, a model and a `Lesson`, and need not know where they come from.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import nn

from luban.bases import Base
from luban.config import TrainConfig
from luban.errors import ConfigError
from luban.folder import Folder
from luban.manifest import BaseInfo
from luban.predict import Predictor
from luban.records import Prepared, Remembered, Row
from luban.stages.train import continual, crossing, fused, recipe
from luban.stages.train import teacher as teachers
from luban.stages.train.material import Material
from luban.stages.train.model import build
from luban.stages.train.objectives.imitation import add_projection, drop_projection
from luban.stages.train.student import shorten
from luban.stages.train.teacher import Teacher
from luban.tasks import TASKS
from luban.tasks.base import Task

ANSWERS = "teacher.npy"
"what the teacher says of the examples, in the run's folder for work"


@dataclass(frozen=True, slots=True)
class Origin:
    """``config`` is the run's as it is meant from here on: a head that is given is not started from a probe."""

    data: Prepared
    task: Task
    base: Base
    config: TrainConfig
    teacher: Teacher | None = None
    parent: Folder | None = None
    old_rows: tuple[Row, ...] = ()
    "rows of old classes, by which it is told what a continued model forgot"

    def taught(self, material: Material, work: Path) -> Material:
        """The material with what the teacher says of it, where there is one."""
        if self.teacher is None or not self.config.distil_weight:
            return material
        lesson = teachers.ask(self.teacher, material, work / ANSWERS, along=_looks_inside(self.config))
        return replace(material, lesson=lesson)

    def model(self, material: Material) -> nn.Module:
        """The model to be trained."""
        config = self.config
        dropout = recipe.dropout(config, self.task)
        if config.continue_from and self.parent is not None:
            return continual.grown(self.parent, self.task, material, dropout=dropout, seed=config.seed)
        head_dropout = recipe.DROPOUT if config.dropout < 0 else dropout
        if self.task.fuses:
            return fused.build(self.base.path, material.task, config, dropout=dropout, head_dropout=head_dropout)
        if material.task.crosses:
            return crossing.build(
                self.base.path, material.task, layers=config.decoder_layers, dropout=dropout, seed=config.seed
            )
        model = build(self.base.path, self.task, dropout=dropout, head_dropout=head_dropout, seed=config.seed)
        if config.student_layers:
            shorten(model, config.student_layers)
        if material.lesson is not None and material.lesson.model is not None:
            if config.distil_hidden:
                add_projection(model, material.lesson.model, seed=config.seed)
            if config.distil_attention:
                teachers.tells_attention(model)
        return model

    def plain(self, model: nn.Module) -> nn.Module:
        """The trained model without what only a student needs."""
        drop_projection(model)
        return model

    @property
    def notes(self) -> dict[str, Any]:
        """What the manifest says of where the model learnt from."""
        if self.config.continue_from and self.parent is not None:
            return {"replay": continual.seen_before(self.data)}
        if self.task.fuses:
            return fused.notes(self.base, self.task, self.config)
        return {"teacher": self.teacher.as_json()} if self.config.teacher and self.teacher is not None else {}

    def remembered(self, model: Predictor) -> Remembered | None:
        """What a continued model still knows of its old rows; nothing for any other."""
        if not self.old_rows or self.parent is None:
            return None
        unseen = continual.split_again(self.parent, self.data)
        old = Predictor.open(self.parent, check=False)
        return continual.remembered(old, model, self.old_rows, self.config, unseen=unseen)

    @property
    def root(self) -> BaseInfo:
        """The pre-trained model at the root of it all: a copy of a folder has its folder's."""
        if self.parent is not None:
            return self.parent.manifest.base
        return fused.root(self.base, self.task, self.config) if self.task.fuses else fused.told_of(self.base)


def origin_of(data: Prepared, base: Base, config: TrainConfig) -> Origin:
    """Raises `ConfigError` for options that do not go together, and for a teacher that cannot teach these rows."""
    check_options(data, config)
    if config.continue_from:
        return _continued(data, base, config)
    if not config.teacher:
        return Origin(data, TASKS[data.task].fit(data.train), base, config)
    teacher = teachers.opened(config, data)
    if config.student_layers:
        given = config.model_copy(update={"probe": False, "pooling": "first"})
        parent = Folder.open(teacher.path, verify=False) if teachers.is_folder(config.teacher) else None
        return Origin(data, teacher.task, base, given, teacher, parent)
    return Origin(data, teacher.task, base, config, teacher)


def _continued(data: Prepared, base: Base, config: TrainConfig) -> Origin:
    """A run that goes on from an older model, which is its own teacher."""
    folder = continual.opened(data, config)
    teacher = Teacher(
        folder.manifest.name, folder.path, Predictor.open(folder, stage="train"), folder.manifest.fingerprint
    )
    task = continual.widened(folder.task(), data.train)
    old = tuple(continual.old_rows(data, folder.manifest.labels))
    given = config.model_copy(update={"probe": False, "pooling": "first"})
    return Origin(continual.together(data, config), task, base, given, teacher, folder, old)


def check_options(data: Prepared, config: TrainConfig) -> None:
    """Raises `ConfigError` for options of distillation and of continual learning that do not go together."""
    if config.student_layers and not config.teacher:
        raise ConfigError(
            f"student_layers is {config.student_layers}, and there is no teacher.",
            "A student is a copy of its teacher.",
            "Name one with --teacher.",
        )
    if config.continue_from and (config.teacher or config.student_layers):
        raise ConfigError(
            "A model that goes on has itself for a teacher.",
            "--continue-from goes neither with --teacher nor with --student-layers.",
            "Leave out one of them.",
        )
    if data.replay is not None and not config.continue_from:
        raise ConfigError(
            "There are rows to replay, and no model to continue.",
            "They are those that an older model was trained from.",
            "Name it with --continue-from.",
        )
    if data.unlabelled and not (config.teacher or config.continue_from):
        raise ConfigError(
            "There are unlabelled rows, and no teacher.",
            "A row without a label teaches what a teacher says of it.",
            "Name one with --teacher.",
        )
    _check_together(config)
    if _looks_inside(config) and (not config.teacher or config.method != "full" or not config.distil_weight):
        raise ConfigError(
            "Hidden states or attention are to be like a teacher's.",
            "That needs --teacher, --method full, which runs all layers at each step, and a distil_weight above 0.",
            "Set --distil-hidden and --distil-attention to 0, or give what they need.",
        )


def _check_together(config: TrainConfig) -> None:
    """A mix of rows has no teacher's answer, and what changes the passes does not show the layers of one."""
    changed = [name for name in ("rdrop", "mixup", "adversarial") if getattr(config, name) not in (0, "none")]
    if "mixup" in changed and (config.teacher or config.continue_from):
        raise ConfigError(
            "mixup and a teacher cannot be combined.", "A mix of rows is nothing that a teacher was asked about.",
            "Leave out mixup, or the teacher.",
        )  # fmt: skip
    if changed and _looks_inside(config):
        raise ConfigError(
            f"{changed[0]} and the teacher's hidden states or attention cannot be combined.",
            "Layers are compared in one plain pass.",
            f"Leave out {changed[0]}, or set --distil-hidden and --distil-attention to 0.",
        )


def _looks_inside(config: TrainConfig) -> bool:
    return bool(config.distil_hidden or config.distil_attention)
