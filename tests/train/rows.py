"""Rows that can be learnt in seconds by a tiny model, and what training needs around them."""

from __future__ import annotations

from pathlib import Path

from torch import nn

from luban.bases import Base, find
from luban.config import TrainConfig
from luban.records import Prepared
from luban.stages.train.material import Material
from luban.tasks import TASKS
from luban.testing import SAMPLES, base_for
from luban.training import Learner, Schedule, TaskLoss, collated


def prepared(task: str = "text-classification", times: int = 6) -> Prepared:
    """A task's samples, several times over: they are to be learnt by heart, not to be generalised from."""
    rows = [TASKS[task].parse(row) for row in SAMPLES[task]] * times
    return Prepared(task, "samples", rows, rows[: len(SAMPLES[task]) * 2], [], (), {"text": "text"}, f"{task}-{times}")


def base(tmp_path: Path, task: str = "text-classification") -> Base:
    return find(str(base_for(task, tmp_path / "base")))


def config(**values: object) -> TrainConfig:
    """Few steps of the whole model, no logs, one thread."""
    few: dict[str, object] = {"method": "full", "epochs": 2, "rate": 1e-3, "log": (), "batch_rows": 8, "threads": 1}
    return TrainConfig.model_validate({**few, **values})


def plain_learner(model: nn.Module, material: Material, plan: Schedule) -> Learner:
    """A learner of all parameters with the task's own loss."""
    feed = collated(model, material.examples, pad_id=0)
    return Learner(model, plan, material.examples, objective=TaskLoss(material.task), feed=feed)
