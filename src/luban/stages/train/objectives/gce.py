"""Generalised cross-entropy: labels that the model finds unlikely pull less, so that wrong ones are not learnt by heart.

Zhang & Sabuncu 2018, "Generalized Cross Entropy Loss for Training Deep Neural Networks with Noisy Labels", without truncation.
"""

from __future__ import annotations

from torch import Tensor

from luban.stages.train.objectives.reshaped import Curve


def generalised(q: float) -> Curve:
    """(1 - p ** q) / q: towards q 0 the cross-entropy, at 1 the mean absolute error."""

    def curve(log_p: Tensor) -> Tensor:
        return -(q * log_p).expm1() / q

    return curve
