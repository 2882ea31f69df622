"""The student's layers are to look like the teacher's, inside: hidden states and attention of layers that stand for each
other (Jiao et al. 2020, "TinyBERT"; Sanh et al. 2019, "DistilBERT"). The teacher reads every batch beside its student.

Layer l of a student with m layers stands for layer l n / m of a teacher with n, the embeddings for the embeddings. The layer
that averages (`stages/train/pooling.py`) is no layer of the base: it stands for the teacher's own, or for none.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from luban.stages.train.pooling import averages
from luban.training import Objective, Part

PROJECTION = "imitation"
"name of the student's parameter that brings its states to the teacher's width; it learns, and is gone at the end"


class Imitation(Objective):
    """``inner``, and for each row the mean squared distance of hidden states and the KL of attention, times their weights."""

    def __init__(self, inner: Objective, teacher: nn.Module, *, hidden: float, attention: float) -> None:
        self.inner, self.teacher, self.hidden, self.attention = inner, teacher, hidden, attention
        self.asked: dict[str, Any] = {"output_hidden_states": hidden > 0, "output_attentions": attention > 0}

    def logits(self, model: nn.Module, part: Part) -> Tensor:
        return self.inner.logits(model, part)

    def of(self, logits: Tensor, part: Part) -> Tensor:
        return self.inner.of(logits, part)

    def loss(self, model: nn.Module, part: Part) -> Tensor:
        with _caught(model) as seen:
            answers = self.inner.logits(model, replace(part, inputs={**part.inputs, **self.asked}))
        with torch.no_grad():
            shown = self.teacher(**part.inputs, **self.asked)
        depths = base_layers(model), base_layers(self.teacher)
        last = averages(model) and averages(self.teacher)
        pairs = [*mapped(*depths), *([(depths[0] + 1, depths[1] + 1)] if last else [])]
        read = part.inputs["attention_mask"].float()
        gap = torch.zeros(len(part.rows), device=read.device)
        if self.hidden:
            width = getattr(model, PROJECTION, None)
            gap = gap + self.hidden * hidden_gap(
                seen[0].hidden_states, shown.hidden_states, [(0, 0), *pairs], read, width
            )
        if self.attention:
            gap = gap + self.attention * attention_gap(seen[0].attentions, shown.attentions, pairs, read)
        return self.inner.of(answers, part) + (gap * part.weights).sum()


def mapped(student: int, teacher: int) -> list[tuple[int, int]]:
    """Which layer of the teacher each of the student's stands for, counted from 1; the last for the last."""
    return [(layer, max(1, round(layer * teacher / student))) for layer in range(1, student + 1)]


def base_layers(model: Any) -> int:
    """Layers of a model without the one that averages."""
    return int(model.config.num_hidden_layers) - averages(model)


def hidden_gap(
    here: Sequence[Tensor],
    there: Sequence[Tensor],
    pairs: Sequence[tuple[int, int]],
    read: Tensor,
    width: Tensor | None,
) -> Tensor:
    """Mean squared distance of the states (b, n, features) of paired layers over the sub-words that are read: (b,)."""
    total = torch.zeros(len(read), device=read.device)
    for one, other in pairs:
        states = here[one].float() if width is None else here[one].float() @ width
        gap = (states - there[other].float()).square().mean(-1)
        total = total + (gap * read).sum(1) / read.sum(1)
    return total / len(pairs)


def attention_gap(
    here: Sequence[Tensor], there: Sequence[Tensor], pairs: Sequence[tuple[int, int]], read: Tensor
) -> Tensor:
    """Mean KL of the attention (b, heads, n, n) of paired layers; over the heads' mean where their numbers differ: (b,)."""
    total = torch.zeros(len(read), device=read.device)
    for one, other in pairs:
        # Layers are counted from 1, their attention from 0.
        mine, theirs = here[one - 1].float(), there[other - 1].float()
        if mine.shape[1] != theirs.shape[1]:
            mine, theirs = mine.mean(1, keepdim=True), theirs.mean(1, keepdim=True)
        gap = torch.special.xlogy(theirs, theirs) - theirs * mine.clamp_min(1e-6).log()
        total = total + (gap.sum(-1).mean(1) * read).sum(1) / read.sum(1)
    return total / len(pairs)


def add_projection(model: Any, teacher: Any, *, seed: int) -> None:
    """Give a student of another width the matrix that brings its states to the teacher's."""
    here, there = int(model.config.hidden_size), int(teacher.config.hidden_size)
    if here != there:
        generator = torch.Generator().manual_seed(seed)
        start = torch.randn((here, there), generator=generator) / here**0.5
        model.register_parameter(PROJECTION, nn.Parameter(start))


def drop_projection(model: nn.Module) -> None:
    """Take it away again: the folder is a plain model."""
    if hasattr(model, PROJECTION):
        delattr(model, PROJECTION)


@contextmanager
def _caught(model: nn.Module) -> Iterator[list[Any]]:
    """What the model gives while this holds, whole."""
    seen: list[Any] = []
    handle = model.register_forward_hook(lambda _, __, output: seen.append(output))
    try:
        yield seen
    finally:
        handle.remove()
