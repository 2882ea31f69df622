"""The head starts from a linear probe on the frozen features (Kumar et al. 2022, "Fine-Tuning can Distort Pretrained
Features"): without it embedding models hardly learn tags (docs/training.md); it does not touch the encoder.

The probe is a ridge-penalised linear model on standardised features, fitted with L-BFGS; the standardisation is folded
into the head's weights. A BERT pooler, which sentence-embedding bases never trained, first becomes a near-linear
standardisation of the first token's features.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from luban.encoding import IGNORE, batches, collate
from luban.runtimes.pytorch import PyTorchRuntime
from luban.stages.train.model import head, pooler
from luban.tasks.base import Task
from luban.training import Example

MAX_ROWS = 20_000
"features of more rows move the probe little and cost a pass over them"
RIDGE = 10.0
"over the number of rows, at least a thousandth: few rows overfit a probe as they overfit anything"
NEARLY_LINEAR = 0.3
"scale inside the tanh: three standard deviations reach 0.9, where tanh still tells values apart"
SMALLEST_SPREAD = 0.1
"of the mean spread"
ITERATIONS = 60


def start_head(model: nn.Module, task: Task, examples: Sequence[Example], *, pad_id: int, seed: int) -> None:
    """Set the head (and a BERT pooler) from the frozen features of up to `MAX_ROWS` windows."""
    chosen = list(examples)
    if len(chosen) > MAX_ROWS:
        chosen = random.Random(seed).sample(chosen, MAX_ROWS)
    dense = pooler(model)
    if dense is not None and not task.tags_words:
        _standardise(dense, inputs_of(dense, model, chosen[:4000], pad_id))
    linear = head(model, task.outputs)
    caught = inputs_of(linear, model, chosen, pad_id)
    targets, weights = _aligned(task, chosen)
    features = _tagged(caught, chosen) if task.tags_words else torch.stack(caught)
    _fit(linear, features, targets, weights, task)


def inputs_of(module: nn.Linear, model: nn.Module, examples: Sequence[Example], pad_id: int) -> list[Tensor]:
    """What reaches ``module`` for each example, in order: (features,), or (n, features) for a tagger's head."""
    runtime = PyTorchRuntime(model)
    lengths = [len(example.window.ids) for example in examples]
    out: list[Tensor] = [torch.empty(0)] * len(examples)
    for batch in batches(lengths, max_rows=64, max_tokens=8192, slack=0.2):
        with _caught(module) as caught:
            runtime.run(collate([examples[i].window for i in batch], pad_id))
        for i, feature in zip(batch, caught[0], strict=True):
            out[i] = feature[: lengths[i]].clone() if feature.ndim == 2 else feature.clone()
    return out


@contextmanager
def _caught(module: nn.Linear) -> Iterator[list[Tensor]]:
    seen: list[Tensor] = []
    handle = module.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].detach().float().cpu()))
    try:
        yield seen
    finally:
        handle.remove()


def _standardise(dense: nn.Linear, features: list[Tensor]) -> None:
    values = torch.stack(features)
    mean, spread = values.mean(0), _spread(values)
    with torch.no_grad():
        dense.weight.copy_(torch.diag(NEARLY_LINEAR / spread))
        dense.bias.copy_(-NEARLY_LINEAR * mean / spread)


def _spread(values: Tensor) -> Tensor:
    """Standard deviation a feature, floored: a dead feature must not be blown up to the size of a live one."""
    spread = values.std(0)
    return spread.clamp_min(float(spread.mean()) * SMALLEST_SPREAD + 1e-8)


def _aligned(task: Task, examples: Sequence[Example]) -> tuple[Tensor, Tensor]:
    if task.tags_words:
        targets = torch.cat([torch.from_numpy(example.target[example.target != IGNORE]) for example in examples])
        return targets, torch.ones(len(targets))
    targets = torch.stack([torch.from_numpy(example.target) for example in examples])
    return targets, torch.tensor([example.weight for example in examples])


def _tagged(features: list[Tensor], examples: Sequence[Example]) -> Tensor:
    return torch.cat([f[torch.from_numpy(e.target != IGNORE)] for f, e in zip(features, examples, strict=True)])


def _fit(linear: nn.Linear, features: Tensor, targets: Tensor, weights: Tensor, task: Task) -> None:
    mean, spread = features.mean(0), _spread(features)
    scaled = (features - mean) / spread
    probe = nn.Linear(linear.in_features, linear.out_features)
    nn.init.zeros_(probe.weight)
    nn.init.zeros_(probe.bias)
    optimiser = torch.optim.LBFGS(probe.parameters(), max_iter=ITERATIONS, line_search_fn="strong_wolfe")

    ridge = max(1e-3, RIDGE / len(scaled))

    def closure() -> Tensor:
        optimiser.zero_grad()
        logits = probe(scaled)
        if task.tags_words:
            logits, wanted = logits[None], targets[None]
        else:
            wanted = targets
        loss = task.loss(logits, wanted, weights, 0.0) / weights.sum() + ridge / 2 * probe.weight.square().sum()
        loss.backward()
        return loss

    with torch.enable_grad():
        optimiser.step(closure)
    with torch.no_grad():
        linear.weight.copy_(probe.weight / spread)
        linear.bias.copy_(probe.bias - (probe.weight / spread) @ mean)
