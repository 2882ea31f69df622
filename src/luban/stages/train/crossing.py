"""A model that reads one text and writes another: a base of both halves, or an encoder and a decoder started from it.

Rothe et al. 2020, "Leveraging Pre-trained Checkpoints for Sequence Generation Tasks" (https://arxiv.org/abs/1907.12461), their
BERT2BERT: embeddings, self-attention and feed-forward blocks are copies, attention to the encoder starts at random. With fewer
layers a decoder writes faster and loses little where the encoder is deep (Kasai et al. 2021, https://arxiv.org/abs/2006.10369).
It trains nothing.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import transformers
from torch import nn

from luban.errors import BaseUnavailable, ConfigError
from luban.runtimes.pytorch import UNREADABLE, quiet
from luban.stages.train import model as models
from luban.stages.train.student import kept_layers
from luban.tasks.base import Task


def build(base: Path, task: Task, *, layers: int, dropout: float, seed: int) -> nn.Module:
    """The model of a base in float32; ``layers`` of a decoder that starts from an encoder, 0: all.

    Raises `BaseUnavailable`, and `ConfigError` where the base has not as many layers, or a decoder of its own.
    """
    warm = bool(task.settings.get("warm"))
    if layers and not warm:
        raise ConfigError(
            f"decoder_layers is {layers}, and {base.name} has a decoder of its own.",
            "Layers are chosen for a decoder that starts from an encoder.",
            "Set it to 0.",
        )
    made = _beside(base, layers, dropout, seed) if warm else models.build(base, task, dropout=dropout, seed=seed)
    model: Any = made
    start, *more = task.settings["begin"]
    for told in (model.generation_config, *([model.config] if warm else [])):
        told.decoder_start_token_id, told.eos_token_id = start, int(task.settings["ends"][0])
        told.pad_token_id = int(model.config.pad_token_id or 0)
    if more:  # transformers' generate is to begin as the model was taught
        model.generation_config.forced_bos_token_id = more[-1]
    return made


def _beside(base: Path, layers: int, dropout: float, seed: int) -> nn.Module:
    """An encoder, and a decoder of the same weights beside it."""
    encoder: Any = models.encoder_on(base, dropout=dropout)
    if getattr(encoder, "pooler", None) is not None:
        encoder.pooler.requires_grad_(False)  # nothing reads it here
    torch.manual_seed(seed)
    decoder = _decoder(base, dropout)
    depth = int(decoder.config.num_hidden_layers)
    if layers > depth:
        raise ConfigError(
            f"decoder_layers is {layers}.", f"The base has {depth} to copy.", "Set it lower, or 0 for all of them."
        )
    if 0 < layers < depth:
        shorten(decoder, layers)
    with quiet():
        model: Any = transformers.EncoderDecoderModel(encoder=encoder, decoder=decoder)
    model.config.vocab_size, model.config.pad_token_id = decoder.config.vocab_size, decoder.config.pad_token_id
    whole: nn.Module = model
    return whole


def shorten(decoder: Any, count: int) -> None:
    """Leave a decoder of BERT's layers ``count`` of them, evenly spread."""
    stack = getattr(decoder, decoder.base_model_prefix).encoder
    kept = [stack.layer[i] for i in kept_layers(len(stack.layer), count)]
    for place, layer in enumerate(kept):
        for attention in (layer.attention, layer.crossattention):
            attention.self.layer_idx = place  # where its keys and values stand in a cache
    stack.layer = nn.ModuleList(kept)
    decoder.config.num_hidden_layers = count


def _decoder(base: Path, dropout: float) -> Any:
    try:
        with quiet():
            config = transformers.AutoConfig.from_pretrained(base, local_files_only=True, trust_remote_code=False)
            config.is_decoder, config.add_cross_attention = True, True
            for name in models.DROPOUTS:
                if isinstance(getattr(config, name, None), int | float):
                    setattr(config, name, dropout)
            return transformers.AutoModelForCausalLM.from_pretrained(
                base, config=config, dtype=torch.float32, local_files_only=True, use_safetensors=True,
                trust_remote_code=False,
            )  # fmt: skip
    except UNREADABLE as error:
        raise BaseUnavailable(
            f"{base} cannot be opened as a decoder ({str(error).partition(chr(10))[0]}).",
            "A base is a folder with config.json, model.safetensors and tokenizer.json of a known architecture.",
            "Take another base.",
        ) from error
