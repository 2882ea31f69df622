"""The objective of a run, put together from its config."""

from __future__ import annotations

from luban.config import TrainConfig
from luban.stages.train.material import Material
from luban.stages.train.objectives.adversarial import Adversarial
from luban.stages.train.objectives.distil import Distil
from luban.stages.train.objectives.dpo import DPO
from luban.stages.train.objectives.focal import focal
from luban.stages.train.objectives.gce import generalised
from luban.stages.train.objectives.imitation import Imitation
from luban.stages.train.objectives.mixup import Mixup
from luban.stages.train.objectives.rdrop import RDrop
from luban.stages.train.objectives.reshaped import Reshaped
from luban.training import Objective, Schedule, TaskLoss


def compose(config: TrainConfig, material: Material, plan: Schedule) -> Objective:
    """The task's loss; what is added stands around it, the innermost first."""
    objective: Objective = TaskLoss(material.task, smoothing=plan.smoothing, bf16=plan.bf16)
    if material.reference is not None:
        beta = float(material.task.settings["beta"])
        more = {"smoothing": plan.smoothing, "sft": config.dpo_sft}
        return DPO(objective, material.examples, material.reference, beta=beta, **more)
    if config.focal or config.gce:
        curve = focal(config.focal) if config.focal else generalised(config.gce)
        objective = Reshaped(objective, curve, task=material.task, smoothing=plan.smoothing)
    lesson = material.lesson
    if lesson is not None:
        weights = {"weight": config.distil_weight, "temperature": config.distil_temperature}
        objective = Distil(objective, lesson, material.examples, task=material.task, **weights)
    if lesson is not None and lesson.model is not None:
        inside = {"hidden": config.distil_hidden, "attention": config.distil_attention}
        objective = Imitation(objective, lesson.model, **inside)
    if config.rdrop:
        objective = RDrop(objective, task=material.task, weight=config.rdrop)
    if config.mixup:
        objective = Mixup(objective, alpha=config.mixup)
    if config.adversarial != "none":
        objective = Adversarial(
            objective, way=config.adversarial, radius=config.adversarial_radius, steps=config.adversarial_steps
        )
    return objective
