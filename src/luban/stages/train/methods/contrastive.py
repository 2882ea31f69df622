"""Few examples: the encoder learns to bring texts of one class together, then a head is fitted on what it makes of them.

SetFit (Tunstall et al. 2022, "Efficient Few-Shot Learning Without Prompts") does so on pairs. Here a batch holds a few texts
of many classes and all its pairs count at once (Khosla et al. 2020, "Supervised Contrastive Learning"), drawn anew for a
fixed number of steps: the cost does not grow with the square of the rows. The encoder is then left as it is.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from luban.config import TrainConfig
from luban.contrastive import supervised_contrast
from luban.outputs import sentence_vectors
from luban.stages.train.cache import column
from luban.stages.train.material import Material
from luban.stages.train.methods.base import Method, Trained
from luban.stages.train.methods.freeze import frozen
from luban.stages.train.recipe import in_bf16
from luban.tasks import TASKS
from luban.training import Example, Feed, collated, rate_factor

STEPS = 100
RATE = 2e-5
CLASSES, TEXTS = 32, 2
"classes of a batch, and texts of each"
TEMPERATURE = 0.1
"of the similarities: Khosla et al."
TOGETHER = 16
"rows of a batch that are padded to one length"


class Contrastive(Method):
    """Contrastive steps on the whole encoder, then the head alone."""

    name = "contrastive"

    @classmethod
    def refused(cls, config: TrainConfig, task: str) -> str:
        if task == "text-classification":
            return ""
        if TASKS[task].sees or TASKS[task].fuses:
            return super().refused(config, task)
        return f"Contrastive training brings texts of one class together, and rows of {task} have no one class."

    def prepare(self, model: nn.Module, material: Material, config: TrainConfig) -> None:
        pooling = "first" if config.pooling == "first" else "mean"
        torch.manual_seed(config.seed)
        attract(model, material.examples, material.encoder.pad_id, pooling=pooling, config=config)

    def begin(self, model: nn.Module, material: Material, config: TrainConfig, work: Path) -> Trained:
        return frozen(model, material, int(getattr(model.config, "num_hidden_layers", 0)), work)


def attract(model: nn.Module, examples: Sequence[Example], pad_id: int, *, pooling: str, config: TrainConfig) -> None:
    """Train the encoder of a classifier so that examples of one class are alike; its head is not touched."""
    encoder = getattr(model, str(model.base_model_prefix))
    feed = collated(model, examples, pad_id)
    device = next(encoder.parameters()).device
    steps, rate = config.contrast_steps or STEPS, config.rate or RATE
    optimiser = torch.optim.AdamW(encoder.parameters(), lr=rate, weight_decay=config.decay, fused=True)
    bf16 = in_bf16(config)
    encoder.train()
    for done, rows in zip(range(steps), batches_of_classes(examples, seed=config.seed), strict=False):
        optimiser.param_groups[0]["lr"] = rate * rate_factor(done, steps, config.warmup)
        rows.sort(key=lambda i: examples[i].window.length)
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=bf16):
            vectors = vectors_of(encoder, feed, rows, pooling)
        classes = torch.tensor([int(examples[i].target) for i in rows], device=device)
        supervised_contrast(vectors, classes, TEMPERATURE).backward()
        nn.utils.clip_grad_norm_(encoder.parameters(), config.clip)
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
    encoder.eval()


def vectors_of(encoder: nn.Module, feed: Feed, rows: Sequence[int], pooling: str) -> Tensor:
    """The (b, d) vectors of these rows, read a few at a time: rows in order of length are hardly padded so."""
    vectors = []
    for first in range(0, len(rows), TOGETHER):
        inputs = feed(rows[first : first + TOGETHER])
        states = encoder(**inputs).last_hidden_state
        vectors.append(sentence_vectors(states.float(), inputs["attention_mask"], pooling))
    return torch.cat(vectors)


def batches_of_classes(examples: Sequence[Example], *, seed: int) -> Iterator[list[int]]:
    """Endless batches of `TEXTS` examples (or all there are) of each of `CLASSES` classes, or more where those are few."""
    classes = np.where(column(examples, "labelled"), column(examples, "target"), -1)
    by_class = {int(label): np.flatnonzero(classes == label) for label in np.unique(classes) if label >= 0}
    texts = max(TEXTS, CLASSES * TEXTS // len(by_class)) if by_class else TEXTS
    rng = random.Random(seed)
    while by_class:
        drawn = rng.sample(sorted(by_class), min(CLASSES, len(by_class)))
        own = [by_class[label] for label in drawn]
        yield [int(rows[i]) for rows in own for i in rng.sample(range(len(rows)), min(texts, len(rows)))]
