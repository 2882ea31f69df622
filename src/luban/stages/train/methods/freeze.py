"""The embeddings and the lowest layers stay as they are; what they make of each row is computed once and kept on disk.

A step then runs the upper layers alone, forward and backward. The frozen part runs without dropout, as it will when it
answers. A model that is not built of BERT's layers is frozen too, but runs whole at each step. No weight is changed here.
"""

from __future__ import annotations

import copy
from array import array
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from luban.config import TrainConfig
from luban.encoding import batches, collate
from luban.errors import ConfigError
from luban.stages.train.cache import Windows, room_for
from luban.stages.train.material import Material
from luban.stages.train.methods.base import Method, Trained, as_it_is
from luban.stages.train.pooling import encoder_of
from luban.tasks import TASKS
from luban.training import Example, Feed, layer_of

CACHE = "frozen.npy"
CACHED = np.float16
"half the disk of float32; what layers give is normalised, so that its rounding is a two-thousandth"


class Freeze(Method):
    """The lowest ``layers`` layers and the embeddings do not learn; 0: the lower half of them."""

    name = "freeze"
    writes = True
    sees = True
    fuses = True

    def begin(self, model: nn.Module, material: Material, config: TrainConfig, work: Path) -> Trained:
        if material.task.fuses:
            hold_lowest(model, lambda depth: min(config.layers, depth) or (depth + 1) // 2)
            return as_it_is(model, material)
        if material.task.crosses:
            hold_reader(model, config.layers)
            return as_it_is(model, material)
        return frozen(model, material, config.layers or (depth_of(model) + 1) // 2, work)


class Head(Method):
    """Only the head learns, and the pooler before it where the model has one."""

    name = "head"
    sees = True

    @classmethod
    def refused(cls, config: TrainConfig, task: str) -> str:
        if TASKS[task].generates:
            return "A model that writes has no head to train."
        return "A model that embeds has no head to train." if TASKS[task].embeds else ""

    def begin(self, model: nn.Module, material: Material, config: TrainConfig, work: Path) -> Trained:
        if material.task.fuses:
            hold_lowest(model, lambda depth: depth)
            return as_it_is(model, material)
        return frozen(model, material, depth_of(model), work)


def depth_of(model: Any) -> int:
    """Layers of a model; where its config does not tell (convolutions), the largest number in its parameters' names."""
    told = getattr(model.config, "num_hidden_layers", None)
    inner = f"{model.base_model_prefix}."
    return int(told) if told else max(layer_of(name) for name, _ in model.named_parameters() if name.startswith(inner))


def hold_lowest(model: Any, layers: Callable[[int], int]) -> None:
    """Of a model of several encoders: freeze the embeddings and lowest layers of each, as many as its depth makes."""
    for encoder in model.encoders.values():
        named = list(encoder.named_parameters())
        most = layers(max(layer_of(name) for name, _ in named))
        for name, parameter in named:
            if layer_of(name) <= most:
                parameter.requires_grad_(False)


def hold_reader(model: Any, layers: int) -> None:
    """Of a model of an encoder and a decoder: freeze the encoder's embeddings and lowest ``layers`` layers; 0: half of them.

    Raises `ConfigError` where it has fewer layers.
    """
    named = list(model.get_encoder().named_parameters())
    depth = max(layer_of(name) for name, _ in named)
    if layers > depth:
        raise ConfigError(
            f"layers is {layers}.", f"The model has {depth} to freeze.", "Set it lower, or 0 for half of them."
        )
    for name, parameter in named:
        if layer_of(name) <= (layers or (depth + 1) // 2):
            parameter.requires_grad_(False)


def frozen(model: nn.Module, material: Material, layers: int, work: Path) -> Trained:
    """The model with its embeddings and ``layers`` lowest layers frozen, fed with what these make of the examples.

    Raises `ConfigError` where the model has fewer layers.
    """
    depth = depth_of(model)
    if layers > depth:
        raise ConfigError(
            f"layers is {layers}.", f"The model has {depth} to freeze.", "Set it lower, or 0 for half of them."
        )
    if material.task.embeds and layers == depth:
        raise ConfigError(
            f"All {layers} layers would be frozen.",
            "A model that embeds has no head: its layers learn.",
            f"Set layers to {layers - 1} or lower, or use --method full.",
        )
    prefix = "" if material.task.embeds else f"{getattr(model, 'base_model_prefix', '')}."
    for name, parameter in model.named_parameters():
        if name.startswith(prefix) and "pooler." not in name and layer_of(name) <= layers:
            parameter.requires_grad_(False)
    if encoder_of(model) is None:
        return as_it_is(model, material)
    pad_id = material.encoder.pad_id
    kept = remember(model, layers, material.examples, pad_id, work / CACHE)
    return Trained(model, upper(model, layers), remembered(model, kept, material.examples))


def upper(model: nn.Module, layers: int) -> nn.Module:
    """The model without its embeddings and lowest layers, on the same parameters; it reads ``inputs_embeds``."""
    name = str(model.base_model_prefix)
    twin: nn.Module = _twin(model)
    base: Any = _twin(getattr(model, name)) if hasattr(model, name) else twin
    stack = _twin(base.encoder)
    stack.layer = nn.ModuleList(list(stack.layer)[layers:])
    base.embeddings, base.encoder = Passed(), stack
    if base is not twin:
        setattr(twin, name, base)
    return twin


class Passed(nn.Module):
    """Stands where the embeddings were: what it is given has been through them."""

    def forward(self, inputs_embeds: Tensor, **_: Any) -> Tensor:
        return inputs_embeds


def remember(
    model: nn.Module, layers: int, examples: Sequence[Example], pad_id: int, file: Path
) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """What the frozen part makes of each window, in a file: (all sub-words, features), and where each begins (n + 1,)."""
    base = encoder_of(model)
    windows = Windows(examples)
    lengths = array("i", (len(window.ids) for window in windows))
    starts = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    states = room_for(file, CACHED, (int(starts[-1]), int(base.config.hidden_size)))
    lower = _twin(base)
    lower.encoder = _twin(base.encoder)
    lower.encoder.layer = nn.ModuleList(list(base.encoder.layer)[:layers])
    device = next(model.parameters()).device
    was_training = model.training
    model.eval()
    with torch.inference_mode():
        for batch in batches(lengths, max_rows=64, max_tokens=8192, slack=0.2):
            arrays = collate([windows[i] for i in batch], pad_id)
            out = lower(**{name: torch.from_numpy(array).to(device) for name, array in arrays.items()})
            for i, row in zip(batch, out.last_hidden_state.cpu().numpy(), strict=True):
                states[starts[i] : starts[i + 1]] = row[: lengths[i]]
    model.train(was_training)
    states.flush()
    return states, starts


def remembered(model: nn.Module, kept: tuple[NDArray[Any], NDArray[np.int64]], examples: Sequence[Example]) -> Feed:
    """Feeds the upper part from the file."""
    states, starts = kept
    device = next(model.parameters()).device
    first = Windows(examples).first

    def feed(rows: Sequence[int]) -> dict[str, Tensor]:
        places = [int(place) for i in rows for place in range(first[i], first[i + 1])]
        lengths = [int(starts[place + 1] - starts[place]) for place in places]
        embeds = np.zeros((len(places), max(lengths), states.shape[1]), dtype=np.float32)
        mask = np.zeros(embeds.shape[:2], dtype=np.int64)
        for at, (i, n) in enumerate(zip(places, lengths, strict=True)):
            embeds[at, :n], mask[at, :n] = states[starts[i] : starts[i + 1]], 1
        return {
            "inputs_embeds": torch.from_numpy(embeds).to(device),
            "attention_mask": torch.from_numpy(mask).to(device),
        }

    return feed


def _twin(module: Any) -> Any:
    """Another module of the same parts, so that one part can be exchanged without touching the first."""
    twin = copy.copy(module)
    twin._modules = dict(module._modules)
    return twin
