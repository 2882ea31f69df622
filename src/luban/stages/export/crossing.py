"""A model that reads one text and writes another as two ONNX graphs: its encoder, and its decoder with what it has read.

The encoder's: ``input_ids`` and ``attention_mask`` (b, n) in; ``cross.{i}.key`` and ``cross.{i}.value`` (b, heads, n, features
a head) out, what each of the decoder's layers reads of the text: worked out once, not at every sub-word. The decoder's:
``input_ids`` (b, m), ``attention_mask`` (b, n) of the text, those ``cross.*`` and, a layer, ``past.{i}.key`` and ``.value``
(b, heads, p, features), p = 0 for a fresh answer; ``logits`` (b, m, vocabulary), ``now.{i}.key`` and ``.value`` out. It judges
nothing.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from luban.errors import GateError
from luban.folder import Folder
from luban.runtimes.base import encoder_beside
from luban.stages.export.graph import OPSET, load, quiet

CROSS, PAST, NOW = "cross.", "past.", "now."
KINDS = ("key", "value")


def trace_crossing(folder: Folder, file: Path) -> None:
    """Write the folder's decoder to ``file`` and its encoder beside it, both fp32; raises `GateError` where that fails."""
    import torch

    task = folder.task()
    model = load(folder.path, task.model_class)
    try:
        with quiet(), torch.no_grad():
            begin = tuple(task.settings["begin"])
            cache = _cache(model, begin)
            _encoder(model, begin, encoder_beside(file), len(cache.cross_attention_cache.layers))
            _decoder(model, file, cache)
    except (RuntimeError, TypeError, ValueError, AttributeError, torch.onnx.errors.OnnxExporterError) as error:
        raise GateError(
            f"{type(model).__name__} could not be traced to ONNX ({str(error).splitlines()[0][:200]}).",
            f"torch.onnx.export takes it at opset {OPSET}.",
            "Serve the folder with the pytorch runtime, or train another base.",
        ) from error


def _cache(model: Any, begin: tuple[int, ...]) -> Any:
    """What the model keeps of a text of three sub-words and the beginning of two answers to it."""
    import torch

    ids = torch.ones((2, 3), dtype=torch.int64)
    fed = torch.tensor(begin).expand(2, -1)
    return model(
        input_ids=ids, attention_mask=torch.ones_like(ids), decoder_input_ids=fed, use_cache=True
    ).past_key_values


def _names(begin: str, layers: int) -> list[str]:
    return [f"{begin}{i}.{kind}" for i in range(layers) for kind in KINDS]


def _encoder(model: Any, begin: tuple[int, ...], file: Path, layers: int) -> None:
    """The graph from a text to what the decoder's layers read of it; what else a pass works out is left out of it."""
    import torch

    class Reading(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, ids: torch.Tensor, mask: torch.Tensor) -> tuple[torch.Tensor, ...]:
            fed = torch.tensor([begin]).expand(ids.shape[0], -1)
            output = self.model(input_ids=ids, attention_mask=mask, decoder_input_ids=fed, use_cache=True)
            kept = output.past_key_values.cross_attention_cache.layers
            return tuple(tensor for layer in kept for tensor in (layer.keys, layer.values))

    ids = torch.ones((2, 5), dtype=torch.int64)
    axes = {name: {0: "batch", 1: "read"} for name in ("input_ids", "attention_mask")}
    axes |= {name: {0: "batch", 2: "read"} for name in _names(CROSS, layers)}
    torch.onnx.export(
        Reading().eval(), (ids, torch.ones_like(ids)), str(file), input_names=["input_ids", "attention_mask"],
        output_names=_names(CROSS, layers), dynamic_axes=axes, opset_version=OPSET, dynamo=False,
    )  # fmt: skip


def _decoder(model: Any, file: Path, cache: Any) -> None:
    """The graph that goes on from what was read and written."""
    import torch

    def flat(kept: Any) -> list[torch.Tensor]:
        return [tensor for layer in kept.layers for tensor in (layer.keys, layer.values)]

    read, past = flat(cache.cross_attention_cache), flat(cache.self_attention_cache)
    layers = len(read) // 2
    ids, mask = torch.ones((2, 2), dtype=torch.int64), torch.ones((2, 3), dtype=torch.int64)
    axes = {"input_ids": {0: "batch", 1: "new"}, "attention_mask": {0: "batch", 1: "read"}}
    axes |= {"logits": {0: "batch", 1: "new"}}
    for begin, length in ((CROSS, "read"), (PAST, "past"), (NOW, "all")):
        axes |= {name: {0: "batch", 2: length} for name in _names(begin, layers)}
    torch.onnx.export(
        _going_on(model, layers), (ids, mask, *read, *past), str(file),
        input_names=["input_ids", "attention_mask", *_names(CROSS, layers), *_names(PAST, layers)],
        output_names=["logits", *_names(NOW, layers)], dynamic_axes=axes, opset_version=OPSET, dynamo=False,
    )  # fmt: skip


def _going_on(model: Any, layers: int) -> Any:
    """A module of tensors alone around a model that takes a cache of both its halves."""
    import torch
    from transformers import DynamicCache, EncoderDecoderCache
    from transformers.modeling_outputs import BaseModelOutput

    width = int(model.get_encoder().config.hidden_size)

    class GoingOn(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, ids: torch.Tensor, mask: torch.Tensor, *kept: torch.Tensor) -> tuple[torch.Tensor, ...]:
            read, written = DynamicCache(), DynamicCache()
            for i in range(layers):
                read.update(kept[2 * i], kept[2 * i + 1], i)
                written.update(kept[2 * (layers + i)], kept[2 * (layers + i) + 1], i)
            before, new = kept[2 * layers].shape[2], ids.shape[1]
            places = torch.arange(new, device=ids.device) + before
            seen = torch.arange(before + new, device=ids.device)[None, :] <= places[:, None]
            least = torch.finfo(torch.float32).min
            causal, unpadded = torch.where(seen, 0.0, least), torch.where(mask > 0, 0.0, least)
            cache = EncoderDecoderCache(written, read)
            cache.is_updated = dict.fromkeys(range(layers), True)
            # What the encoder said is not read again: its keys and values are there. Only its shape is asked for.
            states = torch.zeros((1, 1, width), device=ids.device).expand(ids.shape[0], mask.shape[1], -1)
            output = self.model(
                encoder_outputs=BaseModelOutput(states), attention_mask=unpadded[:, None, None],
                decoder_input_ids=ids, decoder_attention_mask=causal[None, None].expand(ids.shape[0], 1, -1, -1),
                past_key_values=cache, use_cache=True,
            )  # fmt: skip
            now = output.past_key_values.self_attention_cache.layers
            return (output.logits, *(tensor for layer in now for tensor in (layer.keys, layer.values)))

    return GoingOn().eval()
