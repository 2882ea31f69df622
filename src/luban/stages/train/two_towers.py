"""Two towers that learn what comes next from histories: vectors of items, in PyTorch; reads no text and no file.

An item's vector is a projection of its text's vector, plus a vector of its own that starts at nothing (or, without texts,
at random): an item that nobody took yet is what its text says. A history is the weighted sum of its items' vectors; how the
latest weigh more is learnt. The other rows' items of a batch are the wrong answers. Popular items are among them more
often, which the logarithm of that frequency takes out of the logits (Yi et al. 2019, "Sampling-bias-corrected neural
modeling for large corpus item recommendations"); how popular an item is stays in its bias, where it can be seen.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn.functional import embedding

from luban.tasks.base import Task
from luban.towers import Towers
from luban.training import Example, Feed, Objective, Part

NOBODY = 0.5
"times that an item counts as taken that nobody took"
FADING = 0.05
"how much less each item weighs than the next one, as a logit, before anything is learnt"
SPREAD = 0.1
"standard deviation of vectors that start at random"
PAST = -1
"stands where a history is shorter than the longest of its batch"


@dataclass(frozen=True, slots=True)
class Read:
    """The latest items of a history, oldest first; every one costs the same, so that batches are drawn from all lengths."""

    ids: NDArray[np.int64]
    length: int = 1


class TwoTowers(nn.Module):
    """``texts`` (n, hidden): the items' texts, or None; ``taken`` (n,): how often each was; ``own``: vectors of their own."""

    def __init__(
        self, texts: torch.Tensor | None, taken: torch.Tensor, *, own: bool, size: int, recent: int, dropout: float
    ) -> None:
        super().__init__()
        self.texts: torch.Tensor
        self.dropout = dropout
        count = len(taken)
        hidden = 0 if texts is None else texts.shape[1]
        self.register_buffer("texts", texts if texts is not None else torch.zeros(count, 0), persistent=False)
        start = SPREAD if texts is None else 0.0
        own_size = size if own else 0
        self.own_history = nn.Parameter(torch.randn(count, own_size) * start)
        self.own_candidate = nn.Parameter(torch.randn(count, own_size) * start)
        self.read_history = nn.Parameter(torch.randn(hidden, size) * SPREAD)
        self.read_candidate = nn.Parameter(torch.randn(hidden, size) * SPREAD)
        self.bias = nn.Parameter((taken.clamp_min(NOBODY) / taken.sum()).log())
        self.recency = nn.Parameter(-FADING * torch.arange(recent).float())
        for parameter in self.parameters():
            parameter.requires_grad_(parameter.numel() > 0)

    def forward(self, history: torch.Tensor, candidates: torch.Tensor) -> torch.Tensor:
        """Logits (b, c) of ``candidates`` (c,) after each ``history`` (b, h), latest first, `PAST` after the oldest."""
        there = history != PAST
        used, place = history.clamp_min(0).unique(return_inverse=True)
        weights = self.recency[: history.shape[1]].expand(history.shape).masked_fill(~there, -torch.inf).softmax(1)
        if self.training:
            weights = weights * (torch.rand_like(weights) >= self.dropout)
        vectors = embedding(place, self.as_history(used))
        users = (weights.unsqueeze(-1) * vectors).sum(1)
        return users @ self.as_candidate(candidates).T + self.bias[candidates]

    def as_history(self, items: torch.Tensor) -> torch.Tensor:
        """Vectors of items that were taken."""
        return self._vectors(items, self.own_history, self.read_history)

    def as_candidate(self, items: torch.Tensor) -> torch.Tensor:
        """Vectors of items that may be taken."""
        return self._vectors(items, self.own_candidate, self.read_candidate)

    def _vectors(self, items: torch.Tensor, own: torch.Tensor, read: torch.Tensor) -> torch.Tensor:
        if not len(read):
            return own[items]
        told: torch.Tensor = self.texts[items] @ read
        return told + own[items] if own.shape[1] else told

    def towers(self, centre: NDArray[np.float32], scale: float) -> Towers:
        """As arrays; ``centre`` and ``scale``: what was done to a text's vector v to have it read: (v - centre) * scale."""
        every = torch.arange(len(self.bias), device=self.bias.device)
        size = max(self.own_history.shape[1], self.read_history.shape[1])
        reading = self.read_history * scale if len(self.read_history) else torch.zeros(len(centre), size)
        with torch.no_grad():
            told = (self.as_history(every), self.as_candidate(every), self.bias, self.recency, reading)
        history, candidates, bias, recency, read = (one.detach().float().cpu().numpy() for one in told)
        return Towers(history, candidates, bias, recency, read, centre)


class Sampled(Objective):
    """The task's loss over the items of the batch, each once for its own row and a wrong answer for the others.

    ``often`` (n,): how often an item is what came next, as a share of the rows.
    """

    whole_batch = True

    def __init__(self, task: Task, often: torch.Tensor) -> None:
        self.task, self.log_often = task, often.clamp_min(1e-12).log()

    def logits(self, model: nn.Module, part: Part) -> torch.Tensor:
        right = part.targets
        logits: torch.Tensor = model(part.inputs["history"], right) - self.log_often.to(right.device)[right]
        same = right[:, None] == right[None, :]
        return logits.masked_fill(same & ~torch.eye(len(right), dtype=torch.bool, device=right.device), -torch.inf)

    def of(self, logits: torch.Tensor, part: Part) -> torch.Tensor:
        own = torch.arange(len(logits), device=logits.device)
        return self.task.loss(logits, own, part.weights, 0.0)


def examples(histories: Sequence[NDArray[np.int64]], recent: int) -> list[Example]:
    """Each item of each history but the first, to be found from those before it."""
    return [
        Example(Read(whole[max(0, at - recent) : at]), np.array(whole[at], dtype=np.int64), 1.0, row)  # type: ignore[arg-type]
        for row, whole in enumerate(histories)
        for at in range(1, len(whole))
    ]


def feed(made: Sequence[Example], device: torch.device) -> Feed:
    """The histories of rows, latest first."""

    def fed(rows: Sequence[int]) -> dict[str, torch.Tensor]:
        read = [made[i].window.ids[::-1] for i in rows]
        out = np.full((len(read), max(map(len, read))), PAST, dtype=np.int64)
        for at, ids in enumerate(read):
            out[at, : len(ids)] = ids
        return {"history": torch.from_numpy(out).to(device)}

    return fed
