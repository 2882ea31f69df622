"""The objective of a run, put together from its config."""

from __future__ import annotations

from luban.config import TrainConfig
from luban.stages.train.material import Material
from luban.training import Objective, Schedule, TaskLoss


def compose(config: TrainConfig, material: Material, plan: Schedule) -> Objective:
    """The task's loss; what is added stands around it, the innermost first."""
    return TaskLoss(material.task, smoothing=plan.smoothing, bf16=plan.bf16)
