"""Every parameter learns."""

from __future__ import annotations

from pathlib import Path

from torch import nn

from luban.config import TrainConfig
from luban.stages.train.material import Material
from luban.stages.train.methods.base import Method, Trained, as_it_is


class Full(Method):
    """Full fine-tuning."""

    name = "full"
    writes = True
    sees = True
    fuses = True

    def begin(self, model: nn.Module, material: Material, config: TrainConfig, work: Path) -> Trained:
        return as_it_is(model, material)
