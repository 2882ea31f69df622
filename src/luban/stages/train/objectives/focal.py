"""Focal loss: what the model already answers surely counts less, so that many easy rows do not drown few hard ones.

Lin et al. 2017, "Focal Loss for Dense Object Detection", without its class weights (those are ``class_weights``).
"""

from __future__ import annotations

from torch import Tensor

from luban.stages.train.objectives.reshaped import Curve


def focal(gamma: float) -> Curve:
    """(1 - p) ** gamma * -log p; at gamma 0 the cross-entropy."""

    def curve(log_p: Tensor) -> Tensor:
        # expm1 keeps 1 - p exact near 1; the floor keeps its power's gradient finite where gamma is below 1.
        return -log_p * (-log_p.expm1()).clamp_min(1e-12) ** gamma

    return curve
