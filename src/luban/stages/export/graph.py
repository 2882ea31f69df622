"""A folder's PyTorch weights as an ONNX graph, traced and fused; it neither quantises nor judges the result.

Traced with ``torch.onnx.export(dynamo=False)`` and eager attention: the only form that onnxruntime's fusions recognise
whole (the dynamo exporter's graph keeps attention in pieces). A model that is not recognised stays as it was traced.
"""

from __future__ import annotations

import inspect
import json
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from luban.encoding import collate
from luban.errors import FolderError, GateError
from luban.folder import Folder
from luban.outputs import answers_of
from luban.pictures import PIXELS
from luban.prefix import restored
from luban.tasks.base import Task

OPSET = 17
INPUTS = ("input_ids", "attention_mask", "token_type_ids")


def trace(folder: Folder, file: Path) -> None:
    """Write the folder's model as fp32 ONNX with free batch and sequence axes; raises `GateError` where that fails."""
    import torch

    task = folder.task()
    model = load(folder.path, task.model_class)
    taken = inspect.signature(model.forward).parameters
    values = {name: value for name, value in _example(folder, task).items() if name in taken}
    names = list(values)
    axes = {name: {0: "batch", 1: "sequence"} if name in INPUTS else {0: "batch"} for name in names}
    axes["logits"] = {0: "batch", 1: "sequence"} if task.tags_words else {0: "batch"}
    try:
        with quiet():
            torch.onnx.export(
                _Logits.around(model, names),
                tuple(values[name] for name in names),
                str(file),
                input_names=names,
                output_names=["logits"],
                dynamic_axes=axes,
                opset_version=OPSET,
                dynamo=False,
            )
    except (RuntimeError, TypeError, torch.onnx.errors.OnnxExporterError) as error:
        raise GateError(
            f"{type(model).__name__} could not be traced to ONNX ({str(error).splitlines()[0][:200]}).",
            f"torch.onnx.export takes it at opset {OPSET}.",
            "Serve the folder with the pytorch runtime, or train another base.",
        ) from error


def _example(folder: Folder, task: Task) -> dict[str, Any]:
    """Two rows as the inputs that a model of the task may take."""
    import torch

    if task.fuses:
        encoder = folder.encoder()
        (window,) = task.encode({"text": "1 2 3 4 5 6"}, encoder).windows
        return {name: torch.from_numpy(array) for name, array in collate([window] * 2, encoder.pad_id).items()}
    if task.sees:
        return {PIXELS: torch.zeros(2, 3, *folder.encoder().how.size)}
    ids = torch.full((2, 8), 5, dtype=torch.int64)
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids), "token_type_ids": torch.zeros_like(ids)}


class _Logits:
    """Makes a module whose inputs are in our order and whose one output is the logits."""

    @staticmethod
    def around(model: Any, names: list[str]) -> Any:
        import torch

        class Logits(torch.nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.model = model

            def forward(self, *values: torch.Tensor) -> torch.Tensor:
                return answers_of(self.model, dict(zip(names, values, strict=True)))

        return Logits().eval()


def fuse(source: Path, out: Path, config: Path) -> dict[str, int]:
    """Write ``source`` with its attention, normalisations and GELUs fused; returns how many of each were.

    An empty answer means that nothing was recognised and the graph was copied as it is. The approximate GELU
    (FastGelu) is not used: it moves probabilities by up to 0.014 and gains nothing (docs/export.md).
    """
    import onnx

    sizes = json.loads(config.read_text(encoding="utf8"))
    heads, hidden = sizes.get("num_attention_heads", 0), sizes.get("hidden_size", 0)
    try:
        with quiet():
            fused, found = _fused(source, int(heads), int(hidden))
            onnx.checker.check_model(onnx.load(str(source)))
            fused.save_model_to_file(str(out))
    except (RuntimeError, ValueError, KeyError, IndexError, AttributeError, AssertionError):
        found = {}
    if not found:
        out.write_bytes(source.read_bytes())
    return found


def _fused(source: Path, heads: int, hidden: int) -> tuple[Any, dict[str, int]]:
    from onnxruntime.transformers.fusion_options import FusionOptions
    from onnxruntime.transformers.optimizer import optimize_model

    chosen = FusionOptions("bert")
    chosen.enable_embed_layer_norm = False
    fused = optimize_model(
        str(source), model_type="bert", num_heads=heads, hidden_size=hidden, opt_level=0, optimization_options=chosen
    )
    return fused, {name: int(count) for name, count in fused.get_fused_operator_statistics().items() if count}


def load(path: Path, model_class: str) -> Any:
    """The model of a folder, its attention in plain operators; raises `FolderError`."""
    import torch
    import transformers

    from luban import fusion

    try:
        with quiet():
            if model_class == fusion.NAME:
                return fusion.opened(path, attention="eager").eval()
            model = getattr(transformers, model_class).from_pretrained(
                path, attn_implementation="eager", dtype=torch.float32, local_files_only=True, trust_remote_code=False
            )
            return restored(model, path).eval()
    except (OSError, ValueError) as error:
        raise FolderError(
            f"{path} cannot be loaded by transformers ({str(error).splitlines()[0][:200]}).",
            f"A model folder holds the weights of a {model_class}.",
            "Copy the folder again.",
        ) from error


@contextmanager
def quiet() -> Iterator[None]:
    """Tracing and fusing warn about constants and give advice meant for their authors: not shown."""
    from transformers.utils import logging as chatter

    held, bars = logging.root.manager.disable, chatter.is_progress_bar_enabled()
    logging.disable(logging.WARNING)
    chatter.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(held)
        if bars:
            chatter.enable_progress_bar()
