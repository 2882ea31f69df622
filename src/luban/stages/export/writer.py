"""A causal language model as one ONNX graph that reads a prompt and goes on from what it has read; it judges nothing.

Inputs: ``input_ids`` (b, n) and, a layer, ``past.{i}.key`` and ``past.{i}.value`` (b, heads, p, features a head), what was read
before, p = 0 for a fresh text. Outputs: ``logits`` (b, n, vocabulary) and ``now.{i}.key``, ``now.{i}.value`` (b, heads, p + n,
features). The causal mask and the positions are worked out in the graph; rows are of one length, so nothing is padded.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from luban.errors import GateError
from luban.folder import Folder
from luban.stages.export.graph import OPSET, load, quiet


def trace_writer(folder: Folder, file: Path) -> None:
    """Write the folder's model as fp32 ONNX with free batch, length and past; raises `GateError` where that fails."""
    import torch

    model = load(folder.path, folder.task().model_class)
    try:
        with quiet(), torch.no_grad():
            layers, heads, width = _sizes(model)
            names = [f"past.{i}.{kind}" for i in range(layers) for kind in ("key", "value")]
            ids = torch.full((2, 3), 1, dtype=torch.int64)
            past = [torch.zeros(2, heads, 4, width) for _ in names]
            axes = {"input_ids": {0: "batch", 1: "new"}, "logits": {0: "batch", 1: "new"}}
            axes |= {name: {0: "batch", 2: "past"} for name in names}
            now = [name.replace("past", "now") for name in names]
            axes |= {name: {0: "batch", 2: "all"} for name in now}
            torch.onnx.export(
                _going_on(model), (ids, *past), str(file), input_names=["input_ids", *names],
                output_names=["logits", *now], dynamic_axes=axes, opset_version=OPSET, dynamo=False,
            )  # fmt: skip
    except (RuntimeError, TypeError, ValueError, AttributeError, torch.onnx.errors.OnnxExporterError) as error:
        raise GateError(
            f"{type(model).__name__} could not be traced to ONNX ({str(error).splitlines()[0][:200]}).",
            f"torch.onnx.export takes it at opset {OPSET}.",
            "Serve the folder with the pytorch runtime, or train another base.",
        ) from error


def _sizes(model: Any) -> tuple[int, int, int]:
    """Layers, heads of keys and values, features a head: as the model's own cache has them."""
    import torch

    cache = model(input_ids=torch.ones((1, 2), dtype=torch.int64), use_cache=True).past_key_values
    shape = cache.layers[0].keys.shape
    return len(cache.layers), int(shape[1]), int(shape[3])


def _going_on(model: Any) -> Any:
    """A module of tensors alone around a model that takes a cache."""
    import torch
    from transformers import DynamicCache

    class GoingOn(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, ids: torch.Tensor, *past: torch.Tensor) -> tuple[torch.Tensor, ...]:
            read = DynamicCache()
            for i in range(len(past) // 2):
                read.update(past[2 * i], past[2 * i + 1], i)
            before, new = past[0].shape[2], ids.shape[1]
            places = torch.arange(new, device=ids.device) + before
            seen = torch.arange(before + new, device=ids.device)[None, :] <= places[:, None]
            mask = torch.where(seen, 0.0, torch.finfo(torch.float32).min)
            output = self.model(
                input_ids=ids, attention_mask=mask[None, None].expand(ids.shape[0], 1, -1, -1),
                position_ids=places[None].expand(ids.shape[0], -1), past_key_values=read, use_cache=True,
            )  # fmt: skip
            kept = output.past_key_values.layers
            return (output.logits, *(tensor for layer in kept for tensor in (layer.keys, layer.values)))

    return GoingOn().eval()
