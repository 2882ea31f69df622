"""A sentence-embedding base speaks through the mean of its tokens, a BERT head listens to the first token only; this module
builds the bridge, out of BERT's own bricks, so that the folder still loads in plain transformers.

One more encoder layer whose attention is uniform (its keys are zero) gives every position the mean of all tokens; the first
token's own share is small beside it. The layer is trained like the rest and may learn to attend less evenly. On minilm with
40 rows a class a linear head reads 0.68 from the mean and 0.49 from the first token (docs/training.md).
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from luban.encoding import batches, collate
from luban.runtimes.pytorch import PyTorchRuntime
from luban.training import Example

SHARE = 8.0
"weight of the mean beside the first token's own 1, before the layer norm that makes scale vanish"


def encoder_of(model: nn.Module) -> Any:
    """The base inside a classifier when it is built of BERT's layers, else None."""
    encoder = getattr(model, str(getattr(model, "base_model_prefix", "")), model)
    layers = getattr(getattr(encoder, "encoder", None), "layer", None)
    first: Any = layers[0] if isinstance(layers, nn.ModuleList) and len(layers) else None
    parts = ("attention", "intermediate", "output")
    whole = all(hasattr(first, part) for part in parts) and hasattr(first.attention, "self")
    return encoder if whole else None


def inside(model: nn.Module) -> str:
    """What the names of the base's parameters begin with: ``bert.``, or nothing where the model is the base itself."""
    name = str(getattr(model, "base_model_prefix", ""))
    return f"{name}." if hasattr(model, name) else ""


def first_and_mean(model: nn.Module, examples: Sequence[Example], pad_id: int) -> tuple[Tensor, Tensor]:
    """Last hidden states of each window: the first token's, and the mean of all; (n, features) each."""
    encoder = encoder_of(model)
    seen: list[Tensor] = []
    handle = encoder.encoder.register_forward_hook(lambda _, __, out: seen.append(out[0].detach().float().cpu()))
    lengths = [len(example.window.ids) for example in examples]
    first, mean = [torch.empty(0)] * len(examples), [torch.empty(0)] * len(examples)
    runtime = PyTorchRuntime(model)
    try:
        for batch in batches(lengths, max_rows=64, max_tokens=8192, slack=0.2):
            runtime.run(collate([examples[i].window for i in batch], pad_id))
            for i, states in zip(batch, seen.pop(), strict=True):
                first[i], mean[i] = states[0].clone(), states[: lengths[i]].mean(0)
    finally:
        handle.remove()
    return torch.stack(first), torch.stack(mean)


def pooled(first: Tensor, mean: Tensor, epsilon: float) -> Tensor:
    """What the layer of `add_mean_layer` makes of a first token and a mean: (n, features)."""
    width = (mean.shape[-1],)
    return nn.functional.layer_norm(
        nn.functional.layer_norm(first + SHARE * mean, width, eps=epsilon), width, eps=epsilon
    )


def add_mean_layer(model: nn.Module, *, seed: int) -> None:
    """Append the averaging layer to the encoder and count it in the config."""
    encoder, config = encoder_of(model), cast(Any, model.config)
    layers = encoder.encoder.layer
    layer = copy.deepcopy(layers[-1])
    generator = torch.Generator().manual_seed(seed)
    inner = layer.attention
    with torch.no_grad():
        for module in layer.modules():
            if isinstance(module, nn.Linear):
                module.weight.zero_()
                module.bias.zero_()
            elif isinstance(module, nn.LayerNorm):
                module.weight.fill_(1.0)
                module.bias.zero_()
        # Random queries and inner neurons with zero keys and zero outer weights: no effect now, yet gradients flow.
        for linear in (inner.self.query, layer.intermediate.dense):
            linear.weight.copy_(torch.randn(linear.weight.shape, generator=generator) * 0.02)
        nn.init.eye_(inner.self.value.weight)
        inner.output.dense.weight.copy_(SHARE * torch.eye(inner.output.dense.out_features))
    if hasattr(inner.self, "layer_idx"):
        inner.self.layer_idx = len(layers)
    layers.append(layer)
    for kept in (config, encoder.config):
        kept.num_hidden_layers = len(layers)


def averages(model: nn.Module) -> bool:
    """Whether the last layer is an averaging one: its values start as the identity, which training hardly moves."""
    encoder = encoder_of(model)
    if encoder is None:
        return False
    weight = encoder.encoder.layer[-1].attention.self.value.weight
    return bool((weight.diagonal().mean() - 1).abs() < 0.25)
