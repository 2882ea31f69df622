"""A base model with a fresh head for a task; finds where the head is; trains nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import transformers
from torch import nn

from luban.errors import BaseUnavailable
from luban.runtimes.pytorch import UNREADABLE, quiet
from luban.tasks.base import Task

DROPOUTS = (
    "hidden_dropout_prob", "attention_probs_dropout_prob", "dropout", "attention_dropout", "embd_pdrop", "attn_pdrop",
    "resid_pdrop", "embedding_dropout", "mlp_dropout", "dropout_rate",
)  # fmt: skip
HEAD_DROPOUTS = ("classifier_dropout", "seq_classif_dropout", "cls_dropout")


def build(base: Path, task: Task, *, dropout: float, head_dropout: float = 0.1, seed: int = 13) -> nn.Module:
    """The transformers model of the task's class on the base's weights, in float32; raises `BaseUnavailable`.

    Only head and pooler may start at random: an encoder of which a part is missing would be trained as if it were whole.
    """
    torch.manual_seed(seed)
    labels = {} if task.generates else {"num_labels": task.outputs}
    dropouts = dict.fromkeys(DROPOUTS, dropout) | dict.fromkeys(HEAD_DROPOUTS, head_dropout)
    model, made_up = _on(base, task.model_class, labels | task.model_config(), dropouts)
    hold_statistics(model)
    if task.sees:
        for module in model.modules():
            if isinstance(module, nn.Conv2d):  # on a processor a third faster to learn so, and twice as fast to answer
                module.weight.data = module.weight.data.contiguous(memory_format=torch.channels_last)
    _hold_whole(base, made_up, own="" if task.embeds or task.generates else f"{model.base_model_prefix}.")
    return model


def encoder_on(base: Path, *, dropout: float) -> nn.Module:
    """The encoder of a base alone, without any head; raises `BaseUnavailable`."""
    model, made_up = _on(base, "AutoModel", {}, dict.fromkeys(DROPOUTS, dropout))
    _hold_whole(base, made_up, own="")
    return model


def _on(base: Path, kind: str, entries: dict[str, Any], dropouts: dict[str, float]) -> tuple[nn.Module, list[str]]:
    """A model of a class of transformers on a base's weights, and the names of those that the base does not have."""
    try:
        with quiet():
            config = transformers.AutoConfig.from_pretrained(
                base, local_files_only=True, trust_remote_code=False, **entries
            )
            vars(config).pop("auto_map", None)  # code that was not run is not passed on
            for name, value in entries.items():
                if name != "num_labels":
                    setattr(config, name, value)
            for name, value in dropouts.items():
                told = name in HEAD_DROPOUTS and hasattr(config, name)
                if told or isinstance(getattr(config, name, None), int | float):
                    setattr(config, name, value)
            model, loaded = getattr(transformers, kind).from_pretrained(
                base, config=config, dtype=torch.float32, local_files_only=True, use_safetensors=True,
                ignore_mismatched_sizes=True, trust_remote_code=False, output_loading_info=True,
            )  # fmt: skip
    except UNREADABLE as error:
        raise BaseUnavailable(
            f"{base} cannot be opened as a base model ({str(error).partition(chr(10))[0]}).",
            "A base is a folder with config.json, model.safetensors and tokenizer.json of a known architecture.",
            "See `luban models` for those that are at hand.",
        ) from error
    assert isinstance(model, nn.Module)
    return model, [*loaded["missing_keys"], *(name for name, *_ in loaded["mismatched_keys"])]


def _hold_whole(base: Path, made_up: list[str], *, own: str) -> None:
    """Raises `BaseUnavailable` where a weight that begins with ``own`` is not the base's, other than the pooler's."""
    lacking = sorted(name for name in made_up if name.startswith(own) and "pooler." not in name)
    if lacking:
        raise BaseUnavailable(
            f"{base}/model.safetensors lacks {len(lacking)} of the encoder's weights ({', '.join(lacking[:3])}).",
            "A base has every weight of the encoder that its config.json describes, in that size.",
            "Get the base again, or see `luban models` for those that are at hand.",
        )


def hold_statistics(model: nn.Module) -> None:
    """Keep batch normalisation at the base's statistics: those of small batches are noise, and few rows would replace them.

    Its weights learn like all others. A module is told so before each pass, for a loop puts the whole model in training mode.
    """
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.register_forward_pre_hook(lambda one, _: one.eval() and None)


def skeleton(base: Path) -> nn.Module | None:
    """A classifier on the base as its config.json describes it, without weights; None where it cannot be told."""
    try:
        with quiet(), torch.device("meta"):
            config = transformers.AutoConfig.from_pretrained(base, local_files_only=True, trust_remote_code=False)
            made: nn.Module = transformers.AutoModelForSequenceClassification.from_config(config)
            return made
    except UNREADABLE:
        return None


def head(model: nn.Module, outputs: int) -> nn.Linear:
    """The last linear layer as wide as the task's answer, outside the base model."""
    prefix = str(getattr(model, "base_model_prefix", "base"))
    found = [
        module
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear) and module.out_features == outputs and not name.startswith(f"{prefix}.")
    ]
    if not found:
        raise ValueError(f"{type(model).__name__} has no linear head of width {outputs}")
    return found[-1]


def pooler(model: nn.Module) -> nn.Linear | None:
    """The dense layer of a BERT pooler (tanh after it, the first token before it), where the model has one."""
    encoder = getattr(model, str(getattr(model, "base_model_prefix", "")), None)
    dense = getattr(getattr(encoder, "pooler", None), "dense", None)
    return dense if isinstance(dense, nn.Linear) else None
