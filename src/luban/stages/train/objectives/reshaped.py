"""The task's cross-entropy with another curve in place of -log p: what focal loss and generalised cross-entropy share.

One class a row, one tag a word (summed over words, as the task sums them) or several classes at once (each a yes or no).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from luban.encoding import IGNORE
from luban.training import Objective, Part

Curve = Callable[[Tensor], Tensor]
"losses (...) of the log-probabilities (...) that were given to what is right; a cross-entropy's is their negative"


class Reshaped(Objective):
    """``inner``'s answers under ``curve``; label smoothing spreads what is right as the task's own loss does."""

    def __init__(self, inner: Objective, curve: Curve, *, smoothing: float) -> None:
        self.inner, self.curve, self.smoothing = inner, curve, smoothing

    def logits(self, model: nn.Module, part: Part) -> Tensor:
        return self.inner.logits(model, part)

    def of(self, logits: Tensor, part: Part) -> Tensor:
        if part.targets.is_floating_point():
            return (self._several(logits, part.targets) * part.weights).sum()
        if part.targets.ndim == 1:
            return (self._one(logits, part.targets) * part.weights).sum()
        decided = part.targets != IGNORE
        return self._one(logits[decided], part.targets[decided]).sum()

    def _one(self, logits: Tensor, targets: Tensor) -> Tensor:
        losses = self.curve(logits.log_softmax(-1))
        told = losses.gather(-1, targets[:, None])[:, 0]
        return (1 - self.smoothing) * told + self.smoothing * losses.mean(-1)

    def _several(self, logits: Tensor, targets: Tensor) -> Tensor:
        right = targets * (1 - self.smoothing) + self.smoothing / 2
        yes, no = (self.curve(nn.functional.logsigmoid(sign * logits)) for sign in (1, -1))
        return torch.lerp(no, yes, right).sum(-1)
