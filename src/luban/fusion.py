"""A classifier of rows of several kinds: a text encoder, an encoder of pictures and a small part for fields, fused late.

luban's own architecture, `FusedClassifier` in config.json; the encoders inside are transformers' own. Each part gives a
vector: a text the mean of its tokens and a picture the mean over its places, both through a dense layer and tanh; fields
their numbers, flags and embedded categories as they are and through a hidden layer. A vector learnt in its place stands
for a text or picture that is missing. The vectors stand side by side; each of their numbers is weighed by a gate that sees
them all, and one linear layer gives the logits. It opens and writes its files; it trains nothing.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
import transformers
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers.modeling_outputs import SequenceClassifierOutput

from luban.encoding import position_limit
from luban.gathered import IMAGE, TEXT

NAME = "FusedClassifier"
WEIGHTS = "model.safetensors"
FIELDS = "fields"
HIDDEN = 64
"neurons of the hidden layer for fields"
WIDEST = 16
"numbers of a category's embedding, at most"
FORGOTTEN = ("_name_or_path", "auto_map", "architectures", "dtype", "torch_dtype", "transformers_version")
"entries of an encoder's config that say nothing about how it is built"


class FieldsPart(nn.Module):
    """Numbers (b, 2n) and categories (b, m) to one vector (b, ``width``)."""

    def __init__(self, numbers: int, categories: tuple[int, ...]) -> None:
        super().__init__()
        self.embeddings = nn.ModuleList(nn.Embedding(size, min(size, WIDEST)) for size in categories)
        read = 2 * numbers + sum(min(size, WIDEST) for size in categories)
        self.hidden = nn.Linear(read, HIDDEN)
        self.width = read + HIDDEN

    def forward(self, numbers: Tensor | None, categories: Tensor | None) -> Tensor:
        parts = [] if numbers is None else [numbers]
        if categories is not None:
            parts += [embedding(categories[:, i]) for i, embedding in enumerate(self.embeddings)]
        read = torch.cat(parts, dim=1)
        return torch.cat([read, nn.functional.gelu(self.hidden(read))], dim=1)


class FusedClassifier(nn.Module):
    """``config`` is the whole of config.json; ``encoders`` those it describes, by `TEXT` and `IMAGE`.

    Inputs are those of `Gathered.batched`; it answers with logits (b, labels).
    """

    base_model_prefix = "encoders"

    def __init__(self, config: Mapping[str, Any], encoders: Mapping[str, nn.Module]) -> None:
        super().__init__()
        self.told = dict(config)
        self.config = SimpleNamespace(**config)
        self.encoders = nn.ModuleDict(dict(encoders))
        sizes = {name: width_of(encoder) for name, encoder in self.encoders.items()}
        self.dense = nn.ModuleDict({name: nn.Linear(size, size) for name, size in sizes.items()})
        self.missing = nn.ParameterDict({name: nn.Parameter(torch.zeros(size)) for name, size in sizes.items()})
        width = sum(sizes.values())
        if config["numbers"] or config["categories"]:
            self.fields = FieldsPart(config["numbers"], tuple(config["categories"]))
            width += self.fields.width
        self.gate = nn.Linear(width, width)
        nn.init.zeros_(self.gate.weight)
        nn.init.zeros_(self.gate.bias)
        self.dropout = nn.Dropout(config["dropout"])
        self.classifier = nn.Linear(width, len(config["id2label"]))

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        pixel_values: Tensor | None = None,
        numbers: Tensor | None = None,
        categories: Tensor | None = None,
        present: Tensor | None = None,
    ) -> SequenceClassifierOutput:
        assert present is not None
        parts = []
        if TEXT in self.encoders:
            assert input_ids is not None
            assert attention_mask is not None
            parts.append(self._shown(TEXT, self.of_text(input_ids, attention_mask), present[:, :1]))
        if IMAGE in self.encoders:
            assert pixel_values is not None
            parts.append(self._shown(IMAGE, self.of_pictures(pixel_values, present[:, 1]), present[:, 1:]))
        if hasattr(self, "fields"):
            parts.append(self.fields(numbers, categories))
        vector = torch.cat(parts, dim=1)
        # The gate begins at one, so that the head can be given its start on what stands before it.
        vector = self.dropout(vector * 2 * torch.sigmoid(self.gate(vector)))
        return SequenceClassifierOutput(logits=self.classifier(vector))

    def of_text(self, ids: Tensor, mask: Tensor) -> Tensor:
        """The mean of the tokens' states (b, hidden)."""
        states: Tensor = self.encoders[TEXT](input_ids=ids, attention_mask=mask).last_hidden_state
        read = mask.unsqueeze(-1).to(states.dtype)
        return (states * read).sum(1) / read.sum(1).clamp_min(1.0)

    def of_pictures(self, pixels: Tensor, there: Tensor) -> Tensor:
        """The mean over places (b, width), or the first token's state; of pictures that are missing, zeros."""
        if torch.onnx.is_in_onnx_export():  # a graph runs the same for every batch
            return self._seen(pixels)
        rows = there > 0
        if bool(rows.all()):
            return self._seen(pixels)
        out = pixels.new_zeros(len(pixels), width_of(self.encoders[IMAGE]))
        return (
            out.index_put((rows.nonzero().squeeze(1),), self._seen(pixels[rows]).to(out.dtype)) if rows.any() else out
        )

    def _seen(self, pixels: Tensor) -> Tensor:
        states: Tensor = self.encoders[IMAGE](pixel_values=pixels).last_hidden_state
        return states.mean((2, 3)) if states.ndim == 4 else states[:, 0]

    def _shown(self, name: str, vector: Tensor, there: Tensor) -> Tensor:
        """What a part says where it is ``there`` (b, 1), and what stands for it where it is not."""
        said: Tensor = torch.tanh(self.dense[name](vector)) * there + self.missing[name] * (1 - there)
        return said

    def save_pretrained(self, folder: str | Path, **_: Any) -> None:
        """Write config.json and model.safetensors, as a model of transformers does."""
        text = json.dumps(self.told, ensure_ascii=False, indent=1)
        (Path(folder) / "config.json").write_text(text + "\n", encoding="utf8", newline="\n")
        weights = {name: one.detach().cpu().contiguous().clone() for name, one in self.state_dict().items()}
        save_file(weights, Path(folder) / WEIGHTS, metadata={"format": "pt"})


def opened(folder: Path, *, attention: str | None = None) -> FusedClassifier:
    """The model of a folder, in float32; raises what the libraries raise for files that are no model."""
    told = json.loads((folder / "config.json").read_text(encoding="utf8"))
    encoders = {name: built(told[name], attention=attention) for name in (TEXT, IMAGE) if told.get(name)}
    model = FusedClassifier(told, encoders)
    model.load_state_dict(load_file(folder / WEIGHTS))
    return channels_last(model)


def built(config: Mapping[str, Any], *, attention: str | None = None) -> nn.Module:
    """An encoder as its config describes it, with weights at random."""
    described = transformers.AutoConfig.for_model(**config)
    chosen = {"attn_implementation": attention} if attention else {}
    return headless(transformers.AutoModel.from_config(described, dtype=torch.float32, **chosen))


def headless(encoder: Any) -> nn.Module:
    """An encoder without the layer that listens to the first token: it is not asked."""
    if getattr(encoder, "pooler", None) is not None and any(True for _ in encoder.pooler.parameters()):
        encoder.pooler = None
    assert isinstance(encoder, nn.Module)
    return encoder


def described(
    encoders: Mapping[str, Any], *, numbers: int, categories: tuple[int, ...], labels: tuple[str, ...], dropout: float
) -> dict[str, Any]:
    """The config.json of a model around these encoders; ``categories``: places of each vocabulary."""
    inner = {name: json.loads(encoder.config.to_json_string(use_diff=False)) for name, encoder in encoders.items()}
    inner = {name: {k: v for k, v in one.items() if k not in FORGOTTEN} for name, one in inner.items()}
    text = inner.get(TEXT, {})
    return {
        "architectures": [NAME],
        "model_type": "luban-fused",
        "max_position_embeddings": position_limit(text),
        "pad_token_id": text.get("pad_token_id") or 0,
        "num_attention_heads": text.get("num_attention_heads", 0),
        "hidden_size": text.get("hidden_size", 0),
        **inner,
        "numbers": numbers,
        "categories": list(categories),
        "dropout": dropout,
        "id2label": dict(enumerate(labels)),
        "label2id": {name: i for i, name in enumerate(labels)},
    }


def width_of(encoder: Any) -> int:
    """Numbers in the vector that an encoder gives: as its config says, or as a tiny picture tells."""
    config = encoder.config
    if getattr(config, "hidden_sizes", None):
        return int(config.hidden_sizes[-1])
    if getattr(config, "hidden_size", None):
        return int(config.hidden_size)
    last = [module for module in encoder.modules() if isinstance(module, nn.Conv2d)][-1]
    return int(last.out_channels)


def channels_last(model: FusedClassifier) -> FusedClassifier:
    """Convolutions in the layout in which a processor answers twice as fast."""
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            module.weight.data = module.weight.data.contiguous(memory_format=torch.channels_last)
    return model
