"""A student that is a copy of its teacher with fewer layers, head and all; it decides which stay and trains nothing."""

from __future__ import annotations

from typing import Any, cast

from torch import nn

from luban.errors import ConfigError
from luban.stages.train.pooling import averages, encoder_of


def kept_layers(depth: int, count: int) -> list[int]:
    """``count`` of ``depth`` layers, evenly spread from the first on: 0, 2, 4 of 6, as DistilBERT starts."""
    return [i * depth // count for i in range(count)]


def shorten(model: nn.Module, count: int) -> None:
    """Leave a copy of the teacher ``count`` of its layers; the one that averages stays, and is not counted.

    Raises `ConfigError` where the model is not of BERT's layers or has no more than these.
    """
    encoder, config = encoder_of(model), cast(Any, model.config)
    if encoder is None:
        raise ConfigError(
            f"A {config.model_type} model cannot be copied with fewer layers.",
            "That needs layers built like BERT's.",
            "Name a smaller --base instead of --student-layers.",
        )
    layers = list(encoder.encoder.layer)
    depth = len(layers) - averages(model)
    if count >= depth:
        raise ConfigError(
            f"student_layers is {count}.", f"The teacher has {depth}, of which fewer are kept.", "Set it lower."
        )
    kept = [layers[i] for i in kept_layers(depth, count)] + layers[depth:]
    for place, layer in enumerate(kept):
        if hasattr(layer.attention.self, "layer_idx"):
            layer.attention.self.layer_idx = place
    encoder.encoder.layer = nn.ModuleList(kept)
    for told in (config, encoder.config):
        told.num_hidden_layers = len(kept)
