"""A step learns from its rows and from the nearby embeddings that the model reads worst; no text is changed.

fgm     one step against the gradient (Miyato, Dai & Goodfellow 2017, "Adversarial Training Methods for Semi-Supervised Text
        Classification"): twice the passes
pgd     several smaller steps, each brought back inside the radius (Madry et al. 2018, "Towards Deep Learning Models Resistant
        to Adversarial Attacks"): steps + 1 passes
freelb  as pgd from a random start, but every pass teaches (Zhu et al. 2020, "FreeLB: Enhanced Adversarial Training for Natural
        Language Understanding"): steps passes

What is perturbed is what the model is fed: word embeddings, or where lower layers are frozen and cached, what these gave. The
radius is a share of the norm of a row's own embeddings, not a length, so that one number fits every base and every layer. Each
row has a change of its own, so micro-batches make no difference; it is added to what goes through the model, never to a weight.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from luban.training import Objective, Part

STRIDE = 2.0
"of the radius, what all steps together could go: they reach the rim wherever they start, and have some way left along it"


class Adversarial(Objective):
    """The mean of ``inner`` over a way through perturbations: clean and worst (fgm, pgd), or each step's (freelb).

    ``radius``: share of the norm of a row's embeddings; ``steps`` are those of pgd and freelb.
    """

    def __init__(self, inner: Objective, *, way: str, radius: float, steps: int) -> None:
        self.inner, self.radius, self.way = inner, radius, way
        self.shares = shares(way, steps)
        self.stride = 1.0 if way == "fgm" else STRIDE / steps

    def logits(self, model: nn.Module, part: Part) -> Tensor:
        return self.inner.logits(model, part)

    def of(self, logits: Tensor, part: Part) -> Tensor:
        return self.inner.of(logits, part)

    def backward(self, model: nn.Module, part: Part, whole: float) -> float:
        start = embedded(model, part).detach()
        read = part.inputs["attention_mask"].unsqueeze(-1).to(start.dtype)
        most = self.radius * _norm(start * read)
        random = self.way == "freelb"
        change = _within(torch.rand_like(start) * 2 - 1, read, most) if random else torch.zeros_like(start)
        total = 0.0
        for share in self.shares:
            change.requires_grad_()
            loss = self.inner.loss(model, _moved(model, part, change)) * ((share or 1.0) / whole)
            (uphill,) = _gradients(loss, change, learn=share > 0)
            total += float(loss.detach()) if share else 0.0
            step = self.stride * most * _unit(uphill * read)
            change = _within(change.detach() + step, read, most, at_most=True)
        return total


def shares(way: str, steps: int) -> Sequence[float]:
    """What each pass counts in the loss; a pass of share 0 only looks for the direction."""
    if way == "freelb":
        return [1.0 / steps] * steps
    return [0.5, *[0.0] * (steps - 1 if way == "pgd" else 0), 0.5]


def embedded(model: Any, part: Part) -> Tensor:
    """What the model is fed, as vectors: (b, n, features)."""
    if "inputs_embeds" in part.inputs:
        return part.inputs["inputs_embeds"]
    vectors: Tensor = model.get_input_embeddings()(part.inputs["input_ids"])
    return vectors


def _moved(model: nn.Module, part: Part, change: Tensor) -> Part:
    inputs = {name: value for name, value in part.inputs.items() if name != "input_ids"}
    return replace(part, inputs={**inputs, "inputs_embeds": embedded(model, part) + change})


def _gradients(loss: Tensor, change: Tensor, *, learn: bool) -> tuple[Tensor, ...]:
    """The gradient of the perturbation; with ``learn`` the parameters' are added to theirs."""
    if not learn:
        return torch.autograd.grad(loss, (change,))
    loss.backward()
    assert change.grad is not None
    return (change.grad,)


def _norm(vectors: Tensor) -> Tensor:
    """A row's norm over all its positions: (b, 1, 1)."""
    norm: Tensor = torch.linalg.vector_norm(vectors, dim=(1, 2), keepdim=True)
    return norm


def _unit(vectors: Tensor) -> Tensor:
    return vectors / _norm(vectors).clamp_min(torch.finfo(vectors.dtype).tiny)


def _within(change: Tensor, read: Tensor, most: Tensor, *, at_most: bool = False) -> Tensor:
    """A change of the positions that are read, of norm ``most``; with ``at_most`` shorter ones stay as they are."""
    change = change * read
    length = _norm(change).clamp_min(torch.finfo(change.dtype).tiny)
    return change * (most / length).clamp(max=1.0) if at_most else change * (most / length)
