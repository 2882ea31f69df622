"""What an answer costs: the losses of one class, of several classes and of a number; and a batch's share in one of several
questions. It knows no task and no model.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, slots=True)
class Share:
    """What a batch says of one question: the rows that answer it.

    ``values``: logits, or features of a head, of these rows, each (rows, width), whole; the question's outputs are those
    from ``begin`` to ``end``. ``targets``: a class a row (int64), a number a row (float32), or a yes or no for each class
    (rows, classes). ``weights``: what each row counts for. ``smooth``: whether label smoothing is for it.
    """

    values: Tensor
    targets: Tensor
    weights: Tensor
    begin: int = 0
    end: int | None = None
    smooth: bool = True

    @property
    def logits(self) -> Tensor:
        """The question's own outputs."""
        return self.values if self.end is None else self.values[..., self.begin : self.end]


def class_loss(logits: Tensor, targets: Tensor, weights: Tensor, smoothing: float) -> Tensor:
    """Weighted sum of cross-entropies of a (b, labels) head."""
    from torch.nn.functional import cross_entropy

    return (cross_entropy(logits, targets, reduction="none", label_smoothing=smoothing) * weights).sum()


def several_loss(logits: Tensor, targets: Tensor, weights: Tensor, smoothing: float) -> Tensor:
    """Weighted sum over rows of the binary cross-entropies of a (b, labels) head, summed over labels, not averaged: with
    many classes an average drowns the few positives."""
    from torch.nn.functional import binary_cross_entropy_with_logits

    soft = targets * (1.0 - smoothing) + smoothing / 2
    return (binary_cross_entropy_with_logits(logits, soft, reduction="none").sum(-1) * weights).sum()


def squared_loss(logits: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
    """Weighted sum of squared errors of a (b, 1) head."""
    return ((logits.squeeze(-1) - targets).square() * weights).sum()


def loss_of(logits: Tensor, targets: Tensor, weights: Tensor, smoothing: float) -> Tensor:
    """The loss that such targets call for; see `Share`."""
    if not targets.is_floating_point():
        return class_loss(logits, targets, weights, smoothing)
    return (
        several_loss(logits, targets, weights, smoothing)
        if targets.ndim > 1
        else squared_loss(logits, targets, weights)
    )
