"""Prompt tuning: a few new sub-words after a text's first special one learn their embeddings, and the head; nothing else.

Lester et al. 2021, https://arxiv.org/abs/2104.08691; they begin as real sub-words, as there. The new sub-words are part of
the vocabulary and of the tokenizer's frame around each text, so the folder is a plain transformers model and tokenizer.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import torch
from tokenizers import AddedToken, Tokenizer, processors
from torch import Tensor, nn

from luban.config import TrainConfig
from luban.encoding import TextEncoder, position_limit
from luban.errors import ConfigError
from luban.stages.train.material import Material
from luban.stages.train.methods.base import Method, Trained, as_it_is
from luban.stages.train.methods.bottleneck import check_layers, rest

TOKENS = 20
LEAST = 8
"sub-words of a window that must be left for the text and its special ones"
READER = "reader"


class Prompt(Method):
    """``prompt_tokens`` new sub-words, and the head."""

    name = "prompt"

    @classmethod
    def check_base(cls, config: TrainConfig, base: Path) -> None:
        check_layers(config, base)
        count = config.prompt_tokens or TOKENS
        most = position_limit(json.loads((base / "config.json").read_text(encoding="utf8")))
        room = min(config.max_length or most, most)
        if count + LEAST > room:
            raise ConfigError(
                f"{count} prompt tokens leave no room for a text in a window of {room} sub-words.",
                f"At most {room - LEAST} fit.",
                "Set prompt_tokens lower, or max_length higher.",
            )

    @classmethod
    def reader(cls, base: Path, config: TrainConfig, work: Path) -> Path:
        out = work / READER
        shutil.rmtree(out, ignore_errors=True)
        out.mkdir(parents=True)
        shutil.copyfile(base / "config.json", out / "config.json")
        framed(base, config.prompt_tokens or TOKENS).save(str(out / "tokenizer.json"))
        kept = base / "tokenizer_config.json"
        told = json.loads(kept.read_text(encoding="utf8")) if kept.is_file() else {}
        # The general class reads tokenizer.json as it is; BERT's own would put its usual frame around texts again.
        told = {k: v for k, v in told.items() if k not in ("auto_map", "added_tokens_decoder")}
        told["tokenizer_class"] = "PreTrainedTokenizerFast"
        (out / "tokenizer_config.json").write_text(json.dumps(told), encoding="utf8")
        return out

    def prepare(self, model: nn.Module, material: Material, config: TrainConfig) -> None:
        base: Any = getattr(model, str(model.base_model_prefix), model)
        count = config.prompt_tokens or TOKENS
        new = [int(i) for i in material.encoder.prefix][-count:]
        base.set_input_embeddings(Prompted(base.get_input_embeddings(), new[0], count, seed=config.seed))

    def begin(self, model: nn.Module, material: Material, config: TrainConfig, work: Path) -> Trained:
        rest(model)
        base: Any = getattr(model, str(model.base_model_prefix), model)
        base.get_input_embeddings().prompts.requires_grad_(True)
        return as_it_is(model, material)

    def finish(self, trained: Trained) -> nn.Module:
        model: Any = trained.whole
        base = getattr(model, str(model.base_model_prefix), model)
        words = base.get_input_embeddings().folded()
        base.set_input_embeddings(words)
        model.config.vocab_size = base.config.vocab_size = words.num_embeddings
        return trained.whole


class Prompted(nn.Module):
    """An embedding table with ``count`` more sub-words from the number ``start`` on; these are a parameter of their own."""

    def __init__(self, words: nn.Embedding, start: int, count: int, *, seed: int) -> None:
        super().__init__()
        self.words, self.start = words, start
        chosen = torch.randperm(min(start, words.num_embeddings), generator=torch.Generator().manual_seed(seed))[:count]
        self.prompts = nn.Parameter(words.weight.detach()[chosen].clone())

    def forward(self, ids: Tensor) -> Tensor:
        at = ids - self.start
        new = (at >= 0) & (at < len(self.prompts))
        known = self.words(ids.clamp(max=self.words.num_embeddings - 1))
        return torch.where(new[..., None], self.prompts[at.clamp(0, len(self.prompts) - 1)], known)

    def folded(self) -> nn.Embedding:
        """All in one plain table."""
        before = self.words.weight.detach()
        end = self.start + len(self.prompts)
        made = nn.Embedding(
            max(len(before), end), before.shape[1], padding_idx=self.words.padding_idx, device=before.device
        )
        with torch.no_grad():
            made.weight.zero_()
            made.weight[: len(before)] = before
            made.weight[self.start : end] = self.prompts
        return made


def framed(base: Path, count: int) -> Tokenizer:
    """The base's tokenizer with ``count`` new sub-words after the special ones that begin a text."""
    plain = TextEncoder.open(base)
    tokenizer = plain.tokenizer
    taken = tokenizer.get_vocab()
    names = [name for i in range(len(taken) + count) if (name := f"[prompt{i}]") not in taken][:count]
    tokenizer.add_special_tokens([AddedToken(name, special=True, normalized=False) for name in names])
    prefix, middle, suffix = (
        [str(tokenizer.id_to_token(int(i))) for i in ids] for ids in (plain.prefix, plain.middle, plain.suffix)
    )
    second = plain.second_type
    template = processors.TemplateProcessing(
        single=[*prefix, *names, "$A", *suffix],
        pair=[*prefix, *names, "$A", *middle, f"$B:{second}", *(f"{token}:{second}" for token in suffix)],
        special_tokens=[
            (name, int(tokenizer.token_to_id(name) or 0)) for name in dict.fromkeys([*prefix, *names, *middle, *suffix])
        ],
    )
    text = tokenizer.to_str()
    by_bytes = '"ByteLevel"' in json.dumps(json.loads(text).get("post_processor")) or '"RobertaProcessing"' in text
    tokenizer.post_processor = processors.Sequence([processors.ByteLevel(), template]) if by_bytes else template
    return tokenizer
