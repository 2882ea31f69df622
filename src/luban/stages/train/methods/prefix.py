"""Prefix tuning: keys and values before those of the text learn, in every layer, and the head; see `luban.prefix`.

They begin as those of real sub-words, which Li & Liang 2021 found steadier than random ones. They cannot be multiplied
into the base's weights: `model.safetensors` holds them beside those; luban and its exports apply them, plain transformers
does not.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from luban.config import TrainConfig
from luban.prefix import put_on
from luban.stages.train.material import Material
from luban.stages.train.methods.base import Method, Trained, as_it_is
from luban.stages.train.methods.bottleneck import check_layers, rest
from luban.stages.train.pooling import encoder_of

TOKENS = 20


class Prefix(Method):
    """``prompt_tokens`` keys and values a layer, and the head."""

    name = "prefix"

    @classmethod
    def check_base(cls, config: TrainConfig, base: Path) -> None:
        check_layers(config, base)

    def begin(self, model: nn.Module, material: Material, config: TrainConfig, work: Path) -> Trained:
        rest(model)
        put_on(model, first_keys_and_values(model, config.prompt_tokens or TOKENS, seed=config.seed))
        return as_it_is(model, material)


def first_keys_and_values(model: nn.Module, count: int, *, seed: int) -> Tensor:
    """What each layer makes of ``count`` random sub-words: (layers, 2, heads, count, features a head)."""
    encoder: Any = encoder_of(model)
    words = encoder.get_input_embeddings().num_embeddings
    ids = torch.randint(words, (1, count), generator=torch.Generator().manual_seed(seed))
    seen: list[Tensor] = []
    handles = [
        part.register_forward_hook(lambda _, __, out: seen.append(out[0].detach()))
        for layer in encoder.encoder.layer
        for part in (layer.attention.self.key, layer.attention.self.value)
    ]
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad():
            encoder(ids.to(next(model.parameters()).device))
    finally:
        model.train(was_training)
        for handle in handles:
            handle.remove()
    heads = int(encoder.config.num_attention_heads)
    split = [each.view(count, heads, -1).transpose(0, 1) for each in seen]
    return torch.stack(split).view(-1, 2, *split[0].shape).clone()
