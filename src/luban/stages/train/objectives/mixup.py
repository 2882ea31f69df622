"""Mixup: each row is mixed with another of its micro-batch, and is to be answered with both labels in the same proportion.

Zhang et al. 2018, "mixup: Beyond Empirical Risk Minimization"; for text mixed where the head reads it (Guo, Mao & Zhang 2019,
"Augmenting Data with Mixup for Sentence Classification"). Through a linear head that is a mix of logits: it needs no second
pass and no embeddings, and works with every method. A row that is alone in its micro-batch stays as it is.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn

from luban.training import Objective, Part


class Mixup(Objective):
    """``inner`` on mixed rows, in a proportion drawn for each micro-batch from Beta(alpha, alpha)."""

    def __init__(self, inner: Objective, *, alpha: float) -> None:
        self.inner, self.alpha = inner, alpha

    def logits(self, model: nn.Module, part: Part) -> Tensor:
        return self.inner.logits(model, part)

    def of(self, logits: Tensor, part: Part) -> Tensor:
        return self.inner.of(logits, part)

    def loss(self, model: nn.Module, part: Part) -> Tensor:
        logits = self.logits(model, part)
        own = torch.distributions.Beta(self.alpha, self.alpha).sample().to(logits)
        other = torch.randperm(len(logits)).to(logits.device)
        mixed = own * logits + (1 - own) * logits[other]
        rows = tuple(part.rows[i] for i in other.tolist())
        theirs = replace(part, targets=part.targets[other], weights=part.weights[other], rows=rows)
        return own * self.of(mixed, part) + (1 - own) * self.of(mixed, theirs)
