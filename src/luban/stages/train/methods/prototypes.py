"""A handful of examples: the head compares a text with the mean of each class, and nothing is learnt by gradient.

Nearest class mean in the head's own features (Snell et al. 2017, "Prototypical Networks", without their training): of
-|x - mean|^2 only 2 x.mean - |mean|^2 depends on the class, which is a linear head.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from luban.config import TrainConfig
from luban.stages.train.cache import column, told
from luban.stages.train.material import Material
from luban.stages.train.methods.base import Method, Trained, as_it_is
from luban.stages.train.model import head
from luban.stages.train.probe import inputs_of


class Prototypes(Method):
    """The class means as the head; the dev rows, where there are enough, set its temperature."""

    name = "prototypes"

    @classmethod
    def refused(cls, config: TrainConfig, task: str) -> str:
        if task in ("text-classification", "image-classification", "multimodal-classification"):
            return ""
        return f"Prototypes are the means of classes, and rows of {task} have no one class."

    def begin(self, model: nn.Module, material: Material, config: TrainConfig, work: Path) -> Trained:
        linear = head(model, material.task.outputs)
        labelled = told(material.examples)
        features = torch.stack(inputs_of(linear, model, labelled, material.encoder.pad_id))
        classes = torch.from_numpy(column(labelled, "target").astype(np.int64))
        set_means(linear, features, classes)
        model.requires_grad_(False)
        return as_it_is(model, material)


def set_means(linear: nn.Linear, features: Tensor, classes: Tensor) -> None:
    """Make a head of the class means of (n, features); logits are in units of the rows' own spread around their means."""
    means = torch.stack([features[classes == label].mean(0) for label in range(linear.out_features)])
    spread = (features - means[classes]).square().sum(1).mean().clamp_min(1e-6)
    scale = features.shape[1] ** 0.5 / spread
    with torch.no_grad():
        linear.weight.copy_(scale * means)
        linear.bias.copy_(-scale / 2 * means.square().sum(1))
