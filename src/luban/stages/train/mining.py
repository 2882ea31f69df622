"""Hard negatives: passages that the model, as it stands before training, takes for right and that no row says are right.

Found once, over the passages of the training rows themselves; how they are chosen is `metrics.ranking.mined`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from torch import nn

from luban.config import TrainConfig
from luban.encoding import Window, batches, collate
from luban.errors import ConfigError
from luban.metrics.ranking import BLOCK, mined
from luban.runtimes.pytorch import PyTorchRuntime
from luban.stages.train.material import Material
from luban.training import Example


def with_negatives(model: nn.Module, material: Material, config: TrainConfig) -> Material:
    """The material with up to ``config.negatives`` passages beside each example of a query and its passage.

    Scored rows have no wrong passages and stay as they are. The same model and rows give the same negatives.
    """
    if not (config.negatives and material.task.embeds) or material.task.settings.get("scored"):
        return material
    if config.negatives_to < config.negatives_from:
        raise ConfigError(
            f"negatives_to is {config.negatives_to}.",
            f"It is not before negatives_from, which is {config.negatives_from}.",
            "Set it higher.",
        )
    return replace(material, examples=harder(model, material.examples, material.encoder.pad_id, config))


def harder(model: nn.Module, examples: Sequence[Example], pad_id: int, config: TrainConfig) -> list[Example]:
    """Each example with mined passages added to its windows and to its target (`tasks.embedding.Embedding.targets`)."""
    numbers, windows = _passages(examples)
    place = {number: i for i, number in enumerate(numbers)}
    right: dict[int, set[int]] = {}
    for example in examples:
        right.setdefault(int(example.target[0]), set()).add(place[int(example.target[1])])
    held = vectors(model, windows, pad_id)
    asked = vectors(model, [example.window for example in examples], pad_id)
    out: list[Example] = []
    step = max(1, BLOCK // max(1, len(held)))
    for start in range(0, len(examples), step):
        some = examples[start : start + step]
        own = [place[int(one.target[1])] for one in some]
        known = [_known(one, right, place) for one in some]
        ranks = (config.negatives_from, config.negatives_to)
        scores = asked[start : start + step] @ held.T
        chosen = mined(scores, own, known, window=ranks, margin=config.negatives_margin)
        for one, found in zip(some, chosen, strict=True):
            kept = found[: config.negatives]
            target = np.concatenate([one.target, np.array([numbers[i] for i in kept], dtype=np.int64)])
            out.append(replace(one, target=target, beside=(*one.beside, *(windows[i] for i in kept))))
    return out


def vectors(model: nn.Module, windows: Sequence[Window], pad_id: int) -> NDArray[np.float32]:
    """The model's vector of each window, (n, d)."""
    runtime = PyTorchRuntime(model)
    lengths = [len(window.ids) for window in windows]
    out: list[NDArray[np.float32]] = [np.zeros(0, dtype=np.float32)] * len(windows)
    for batch in batches(lengths, max_rows=64, max_tokens=8192, slack=0.2):
        answers = runtime.run(collate([windows[i] for i in batch], pad_id))
        for i, answer in zip(batch, answers, strict=True):
            out[i] = answer
    return np.stack(out)


def _passages(examples: Sequence[Example]) -> tuple[list[int], list[Window]]:
    """The numbers and windows of the distinct right passages."""
    found = {int(example.target[1]): example.beside[0] for example in examples}
    return list(found), list(found.values())


def _known(example: Example, right: dict[int, set[int]], place: dict[int, int]) -> set[int]:
    """What cannot be a negative: the query's right passages, the query itself, and the negatives that were given."""
    own, _, *given = (int(number) for number in example.target)
    return right[own] | {place[number] for number in (own, *given) if number in place}
