"""Prefixes: keys and values that each attention layer reads before those of the text; put on a model, and found in a folder.

Li & Liang 2021, https://arxiv.org/abs/2101.00190; in every layer as in P-tuning v2 (Liu et al. 2022,
https://arxiv.org/abs/2110.07602). No plain layer can hold them: plain transformers skips the tensor, says so, and answers
without. The positions of the text do not move. It trains nothing.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor, nn

MARK = "prefix_tokens"
"key of config.json that tells how many there are"
NAME = "prefix"
"the encoder's parameter: (layers, 2 for keys and values, heads, tokens, features a head)"


def put_on(model: nn.Module, prefix: Tensor) -> None:
    """Make the model's encoder, which is built of BERT's layers, read ``prefix``; it becomes one of its parameters."""
    encoder = _encoder(model)
    encoder.register_parameter(NAME, nn.Parameter(prefix))
    encoder.register_forward_pre_hook(_before, with_kwargs=True)
    model.config.__dict__[MARK] = prefix.shape[3]


def restored(model: nn.Module, folder: Path) -> nn.Module:
    """The model of a folder, with its prefix where the folder has one."""
    if not getattr(model.config, MARK, 0):
        return model
    with safe_open(folder / "model.safetensors", framework="pt") as file:
        name = next(name for name in file.keys() if f".{name}".endswith(f".encoder.{NAME}"))  # noqa: SIM118 - no mapping
        put_on(model, file.get_tensor(name))
    return model


def _encoder(model: nn.Module) -> Any:
    return getattr(model, str(model.base_model_prefix), model).encoder


def _before(encoder: Any, given: tuple[Any, ...], named: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Give the encoder its prefix as what was read before, and let every position of the text see it."""
    from transformers import DynamicCache

    states = given[0] if given else named["hidden_states"]
    read = DynamicCache()
    for layer, (keys, values) in enumerate(getattr(encoder, NAME)):
        shape = (states.shape[0], -1, -1, -1)
        read.update(keys.expand(*shape), values.expand(*shape), layer)
    mask = named.get("attention_mask")
    if mask is not None:
        seen = torch.ones if mask.dtype == torch.bool else torch.zeros
        count = getattr(encoder, NAME).shape[3]
        before = seen((*mask.shape[:-1], count), dtype=mask.dtype, device=mask.device)
        mask = torch.cat([before, mask], dim=-1)
    return given, {**named, "attention_mask": mask, "past_key_values": read}
