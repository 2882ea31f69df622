"""R-Drop: two passes over the same rows, each with its own dropout, are to give the same answer.

Wu et al. 2021, "R-Drop: Regularized Dropout for Neural Networks". Twice the passes; without dropout it adds nothing.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from luban.encoding import IGNORE
from luban.losses import Share
from luban.tasks.base import Task
from luban.training import Objective, Part


class RDrop(Objective):
    """The mean of ``inner``'s losses of two passes, plus ``weight`` times how far their answers lie apart."""

    def __init__(self, inner: Objective, *, task: Task, weight: float) -> None:
        self.inner, self.task, self.weight = inner, task, weight

    def logits(self, model: nn.Module, part: Part) -> Tensor:
        return self.inner.logits(model, part)

    def of(self, logits: Tensor, part: Part) -> Tensor:
        return self.inner.of(logits, part)

    def loss(self, model: nn.Module, part: Part) -> Tensor:
        first, second = self.logits(model, part), self.logits(model, part)
        mean = (self.of(first, part) + self.of(second, part)) / 2
        ways = (self.task.shares(logits, part.targets, part.weights) for logits in (first, second))
        return mean + self.weight * sum(apart(a.logits, b.logits, a) for a, b in zip(*ways, strict=True))


def apart(first: Tensor, second: Tensor, told: Part | Share) -> Tensor:
    """Weighted sum over rows (words, for tags) of what tells two answers apart: the mean of both Kullback-Leibler divergences
    of their probabilities, or for a number the squared difference."""
    targets = told.targets
    if targets.is_floating_point():
        if targets.ndim == 1:
            return ((first - second).square().sum(-1) * told.weights).sum()
        # Both divergences of a yes-or-no add up to the difference of its logits times that of its probabilities.
        return (((first - second) * (first.sigmoid() - second.sigmoid())).sum(-1) * told.weights).sum() / 2
    both = ((first.log_softmax(-1) - second.log_softmax(-1)) * (first.softmax(-1) - second.softmax(-1))).sum(-1) / 2
    if targets.ndim == 1:
        return (both * told.weights).sum()
    return torch.where(targets != IGNORE, both, 0.0).sum()
