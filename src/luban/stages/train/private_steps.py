"""The steps of a private run: rows drawn by chance, gradients bounded row by row, noise; what it costs is in `private`.

Embeddings and the pooler stay as they are: noise on every word of the vocabulary would drown what a few rows say of a few
words. The rows and the noise of a step are drawn from a secret of the run and the step's number, so that a run that was killed
takes again the very steps that it lost, which tells nothing new. The secret must not outlive the run: with it the noise could
be taken off again. PyTorch's generator is not a cryptographic one, and its numbers have finite precision.
"""

from __future__ import annotations

import warnings
from array import array
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from opacus.grad_sample.grad_sample_module import GradSampleHooks
from opacus.optimizers import DPOptimizer
from torch import nn

from luban.batching import micro_batches
from luban.stages.train.methods.base import Trained
from luban.stages.train.private import Budget, number_of
from luban.training import Example, Learner, Objective, Schedule

HELD = 512 * 2**20
"bytes of gradients that are held row by row at a time"


class PrivateLearner(Learner):
    """A learner whose steps keep to a `Budget`; ``secret`` is what its rows and its noise are drawn from."""

    def __init__(
        self,
        trained: Trained,
        plan: Schedule,
        examples: Sequence[Example],
        *,
        objective: Objective,
        budget: Budget,
        secret: str,
    ) -> None:
        keep_still(trained.whole)
        self.budget, self.secret = budget, secret
        super().__init__(trained.step, plan, examples, objective=objective, feed=trained.feed, whole=trained.whole)
        self.hooks = GradSampleHooks(trained.step, loss_reduction="sum", strict=False)
        self.noise = torch.Generator(self.device)
        self.bounds = DPOptimizer(
            self.optimiser, noise_multiplier=budget.noise, max_grad_norm=budget.clip, expected_batch_size=None,
            loss_reduction="sum", generator=self.noise,
        )  # fmt: skip
        a_row = sum(p.numel() * p.element_size() for p in self.bounds.params)
        self.most_rows = max(1, HELD // max(1, a_row))

    def order(self, epoch: int) -> list[array[int]]:
        """Batches of which each holds every example with the same probability, whatever the others hold; some may be empty."""
        rng = np.random.default_rng(number_of(self.secret, "rows", epoch))
        draws = (rng.random(len(self.examples)) < self.budget.rate for _ in range(self.budget.a_pass))
        return [array("i", np.flatnonzero(drawn)) for drawn in draws]

    def release(self) -> None:
        """Take off the model what bounds its gradients."""
        self.hooks.cleanup()

    def _backward(self, batch: Sequence[int]) -> float:
        total = 0.0
        for part in self._parts(batch):
            with warnings.catch_warnings(action="ignore", category=UserWarning):
                # The first layer that learns has frozen ones below it: its inputs need no gradient.
                total += self.objective.backward(self.model, self._part(part), 1.0)
            self.bounds.clip_and_accumulate()
            self.hooks.set_grad_sample_to_none()
        return total / max(1, len(batch))

    def _parts(self, batch: Sequence[int]) -> list[list[int]]:
        parts = micro_batches(batch, self.lengths, self.schedule.micro_tokens)
        return [part[at : at + self.most_rows] for part in parts for at in range(0, len(part), self.most_rows)]

    def _limited(self) -> float:
        """Add the noise and divide by the rows a step draws on average: how many it did draw is nobody's to know."""
        for parameter in self.bounds.params:
            if parameter.summed_grad is None:
                parameter.summed_grad = torch.zeros_like(parameter)
        self.noise.manual_seed(number_of(self.secret, "noise", self.done))
        self.bounds.add_noise()
        gradients = [parameter.grad for parameter in self.bounds.params]
        torch._foreach_div_(gradients, self.budget.batch)
        return float(nn.utils.get_total_norm(gradients))

    def _cleared(self) -> None:
        self.bounds.zero_grad(set_to_none=True)


def settled(learner: Learner) -> dict[str, Any]:
    """The end of a private run, whose model is plain again: what its steps have spent, for the manifest."""
    assert isinstance(learner, PrivateLearner)
    learner.release()
    return learner.budget.as_json(learner.done)


def keep_still(model: nn.Module) -> None:
    """Embeddings and the pooler do not learn."""
    for name, parameter in model.named_parameters():
        if "embeddings." in name or "pooler." in name:
            parameter.requires_grad_(False)
