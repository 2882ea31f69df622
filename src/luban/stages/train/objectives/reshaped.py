"""The task's cross-entropy with another curve in place of -log p: what focal loss and generalised cross-entropy share.

One class a row, one tag a word (summed over words, as the task sums them) or several classes at once (each a yes or no);
of several questions, each by itself.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from luban.encoding import IGNORE
from luban.losses import Share, squared_loss
from luban.tasks.base import Task
from luban.training import Objective, Part

Curve = Callable[[Tensor], Tensor]
"losses (...) of the log-probabilities (...) that were given to what is right; a cross-entropy's is their negative"


class Reshaped(Objective):
    """``inner``'s answers under ``curve``; label smoothing spreads what is right as the task's own loss does."""

    def __init__(self, inner: Objective, curve: Curve, *, task: Task, smoothing: float) -> None:
        self.inner, self.curve, self.task, self.smoothing = inner, curve, task, smoothing

    def logits(self, model: nn.Module, part: Part) -> Tensor:
        return self.inner.logits(model, part)

    def of(self, logits: Tensor, part: Part) -> Tensor:
        shares = self.task.shares(logits, part.targets, part.weights)
        return torch.stack([self._share(share, self.smoothing * share.smooth) for share in shares]).sum()

    def _share(self, share: Share, smoothing: float) -> Tensor:
        logits, targets = share.logits, share.targets
        if targets.is_floating_point() and targets.ndim == 1:
            return squared_loss(logits, targets, share.weights)  # a number has no cross-entropy to be reshaped
        if targets.is_floating_point():
            return (self._several(logits, targets, smoothing) * share.weights).sum()
        if targets.ndim == 1:
            return (self._one(logits, targets, smoothing) * share.weights).sum()
        decided = targets != IGNORE
        return self._one(logits[decided], targets[decided], smoothing).sum()

    def _one(self, logits: Tensor, targets: Tensor, smoothing: float) -> Tensor:
        losses = self.curve(logits.log_softmax(-1))
        told = losses.gather(-1, targets[:, None])[:, 0]
        return (1 - smoothing) * told + smoothing * losses.mean(-1)

    def _several(self, logits: Tensor, targets: Tensor, smoothing: float) -> Tensor:
        right = targets * (1 - smoothing) + smoothing / 2
        yes, no = (self.curve(nn.functional.logsigmoid(sign * logits)) for sign in (1, -1))
        return torch.lerp(no, yes, right).sum(-1)
