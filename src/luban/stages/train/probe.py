"""The head starts from a linear probe on the frozen features (Kumar et al. 2022, "Fine-Tuning can Distort Pretrained
Features"): without it embedding models hardly learn tags (docs/training.md); it does not touch the encoder.

The probe is a ridge-penalised linear model on standardised features, fitted with L-BFGS; the standardisation is folded
into the head's weights. A BERT pooler, which sentence-embedding bases never trained, first becomes a near-linear
standardisation of the first token's features.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor, nn

from luban.config import TrainConfig
from luban.encoding import batches, collate
from luban.losses import loss_of
from luban.runtimes.pytorch import PyTorchRuntime
from luban.stages.train.cache import column
from luban.stages.train.model import head, pooler
from luban.stages.train.pooling import add_mean_layer, encoder_of, first_and_mean, pooled
from luban.tasks.base import Task, class_loss
from luban.training import Example

MAX_ROWS = 20_000
"features of more rows move the probe little and cost a pass over them"
RIDGE = 60.0
"over the number of rows: few rows overfit a probe, and a head that fits them all leaves the body nothing to learn"
MOST_RIDGE = 0.1
NEARLY_LINEAR = 0.3
"scale inside the tanh: three standard deviations reach 0.9, where tanh still tells values apart"
SMALLEST_SPREAD = 0.1
"of the mean spread"
ITERATIONS = 60

Loss = Callable[[Tensor, Tensor, Tensor, float], Tensor]
"the sum of the rows' losses, of logits, targets, weights and label smoothing, as `Task.loss`"


def start_head(model: nn.Module, task: Task, examples: Sequence[Example], *, pad_id: int, config: TrainConfig) -> bool:
    """Set the head from the frozen features of up to `MAX_ROWS` windows, and before it, where the base has BERT's layers
    and a pooler, choose between the first token and the mean of all (``config.pooling``); returns whether it is the mean."""
    averages = False
    chosen = drawn(examples, seed=config.seed, whole=task.tags_words)
    linear, dense = head(model, task.outputs), pooler(model)
    if not task.parts:
        return False
    if task.tags_words:
        start_parts(linear, inputs_of(linear, model, chosen, pad_id), chosen, task)
        return False
    targets = torch.stack([torch.from_numpy(example.target) for example in chosen])
    weights = torch.tensor([example.weight for example in chosen])
    if dense is None or not may_average(model, task):
        features = torch.stack(inputs_of(linear, model, chosen, pad_id))
    else:
        first, mean = first_and_mean(model, chosen, pad_id)
        averaged = pooled(first, mean, float(getattr(model.config, "layer_norm_eps", 1e-12)))
        averages = config.pooling == "mean"
        if config.pooling == "auto":
            averages = _better(averaged, first, targets, weights, task)
        if averages:
            add_mean_layer(model, seed=config.seed)
            first = averaged
        features = standardise(dense, first)
    start_whole(linear, features, targets, weights, task)
    return averages


def drawn(examples: Sequence[Example], *, seed: int, whole: bool) -> list[Example]:
    """Up to `MAX_ROWS` of the examples, or unless they are to stay ``whole``, of their `singles`."""
    windows = column(examples, "windows")
    apart = not whole and bool((windows > 1).any())
    counts = (
        np.array([len(singles(example)) for example in examples]) if apart else np.ones(len(windows), dtype=np.int64)
    )
    ends = np.cumsum(counts)
    total = int(ends[-1]) if len(ends) else 0
    places = range(total) if total <= MAX_ROWS else random.Random(seed).sample(range(total), MAX_ROWS)
    if not apart:
        return [examples[place] for place in places]
    numbers = np.searchsorted(ends, places, side="right").tolist()
    return [singles(examples[i])[place - int(ends[i])] for i, place in zip(numbers, places, strict=True)]


def singles(example: Example) -> list[Example]:
    """Each window by itself with what it should say, where a row is a list of windows that are right (1) or wrong (0)."""
    if example.target.dtype != np.int64:
        return [example] * min(len(example.windows), example.target.size)
    return [
        Example(window, np.array(said, dtype=np.float32), example.weight)
        for window, said in zip(example.windows, np.atleast_1d(example.target), strict=False)
    ]


def may_average(model: nn.Module, task: Task) -> bool:
    """Whether there is a choice of what is read: a pooler listens to the first token of layers built like BERT's."""
    return not task.tags_words and pooler(model) is not None and encoder_of(model) is not None


def _better(left: Tensor, right: Tensor, targets: Tensor, weights: Tensor, task: Task) -> bool:
    """Whether a probe on ``left`` has the lower loss on rows it did not see (every fourth)."""
    held = torch.arange(len(targets)) % 4 == 0
    losses = []
    for features in (left, right):
        probe = nn.Linear(features.shape[1], task.outputs)
        fit(probe, features[~held], targets[~held], weights[~held], task.loss)
        with torch.no_grad():
            losses.append(float(task.loss(probe(features[held]), targets[held], weights[held], 0.0)))
    return losses[0] < losses[1]


def inputs_of(module: nn.Linear, model: nn.Module, examples: Sequence[Example], pad_id: int) -> list[Tensor]:
    """What reaches ``module`` for each example, in order: (features,), or (n, features) for a tagger's head."""
    runtime = PyTorchRuntime(model)
    lengths = [example.window.length for example in examples]
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


def standardise(dense: nn.Linear, features: Tensor) -> Tensor:
    """Make a BERT pooler a near-linear standardisation of these features; returns what it makes of them."""
    mean, spread = features.mean(0), _spread(features)
    with torch.no_grad():
        dense.weight.copy_(torch.diag(NEARLY_LINEAR / spread))
        dense.bias.copy_(-NEARLY_LINEAR * mean / spread)
    return torch.tanh((features - mean) / spread * NEARLY_LINEAR)


def pass_on(dense: nn.Linear | None) -> None:
    """Make a pooler hand on what it reads, which the layer that averages has normalised; no row is asked."""
    assert dense is not None, "only a model with a pooler gets a layer that averages"
    with torch.no_grad():
        dense.weight.copy_(NEARLY_LINEAR * torch.eye(dense.out_features))
        dense.bias.zero_()


def _spread(values: Tensor) -> Tensor:
    """Standard deviation a feature, floored: a dead feature must not be blown up to the size of a live one."""
    spread = values.std(0)
    return spread.clamp_min(float(spread.mean()) * SMALLEST_SPREAD + 1e-8)


def start_whole(linear: nn.Linear, features: Tensor, targets: Tensor, weights: Tensor, task: Task) -> None:
    """Set a head that answers once a row; of several questions each by a probe of its own, on the rows that answer it."""
    shares = task.shares(features, targets, weights)
    if len(shares) == 1 and shares[0].end is None:
        fit(linear, features, targets, weights, task.loss)
        return
    for share in shares:
        probe = nn.Linear(linear.in_features, (share.end or 0) - share.begin)
        fit(probe, share.values, share.targets, share.weights / share.weights.mean(), loss_of)
        with torch.no_grad():
            linear.weight[share.begin : share.end] = probe.weight
            linear.bias[share.begin : share.end] = probe.bias


def start_parts(linear: nn.Linear, features: Sequence[Tensor], examples: Sequence[Example], task: Task) -> None:
    """Set each part of a tagger's head from a probe of its own; ``features``: (n, width) a window."""
    asked = [task.asked(one, example.target) for one, example in zip(features, examples, strict=True)]
    for i, part in enumerate(task.parts):
        seen = torch.cat([one[i][0] for one in asked])
        wanted = torch.cat([torch.from_numpy(one[i][1]) for one in asked])
        probe = nn.Linear(linear.in_features, part.end - part.begin)
        fit(probe, seen, wanted, torch.ones(len(seen)), class_loss)
        with torch.no_grad():
            linear.weight[part.begin : part.end] = probe.weight
            linear.bias[part.begin : part.end] = probe.bias


def fit(linear: nn.Linear, features: Tensor, targets: Tensor, weights: Tensor, loss: Loss) -> None:
    """Fit a ridge-penalised linear model on standardised features and fold the standardisation into ``linear``."""
    mean, spread = features.mean(0), _spread(features)
    scaled = (features - mean) / spread
    probe = nn.Linear(linear.in_features, linear.out_features)
    nn.init.zeros_(probe.weight)
    nn.init.zeros_(probe.bias)
    optimiser = torch.optim.LBFGS(probe.parameters(), max_iter=ITERATIONS, line_search_fn="strong_wolfe")

    ridge = min(MOST_RIDGE, RIDGE / len(scaled))

    def closure() -> Tensor:
        optimiser.zero_grad()
        found = loss(probe(scaled), targets, weights, 0.0) / weights.sum() + ridge / 2 * probe.weight.square().sum()
        found.backward()
        return found

    with torch.enable_grad():
        optimiser.step(closure)
    with torch.no_grad():
        linear.weight.copy_(probe.weight / spread)
        linear.bias.copy_(probe.bias - (probe.weight / spread) @ mean)
