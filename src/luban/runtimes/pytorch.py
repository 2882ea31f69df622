"""Weights in PyTorch: the folder's safetensors through the transformers class of its task; inference only."""

from __future__ import annotations

import inspect
import json
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from numpy.typing import NDArray
from safetensors import SafetensorError
from torch import nn
from transformers.modeling_outputs import BaseModelOutput

from luban import fusion
from luban.encoding import Batch, Ints
from luban.errors import FolderError
from luban.outputs import answers_of
from luban.prefix import restored
from luban.runtimes.base import Decoder, Runtime

UNREADABLE = (
    OSError, KeyError, IndexError, AttributeError, TypeError, ValueError, RuntimeError, ImportError, SafetensorError,
)  # fmt: skip
"what transformers raises for files that are no model"


class PyTorchRuntime(Runtime):
    """A transformers model with a head, ready to answer; also wraps a live model while it is trained."""

    name = "pytorch"
    side_by_side = False

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        self.takes = set(inspect.signature(model.forward).parameters)
        self.device = next(model.parameters()).device
        self.lock = threading.Lock()

    @classmethod
    def open(cls, folder: Path, *, threads: int | None = None) -> PyTorchRuntime:
        if threads:
            torch.set_num_threads(threads)
        model = open_model(folder)
        return cls(model.to(device()).eval())

    def run(self, batch: Batch) -> NDArray[np.float32]:
        tensors = {name: torch.from_numpy(array).to(self.device) for name, array in batch.items() if name in self.takes}
        # One call at a time: PyTorch's intra-op threads already use the cores, and train/eval mode is the model's state.
        with self.lock, torch.inference_mode():
            was_training = self.model.training
            self.model.eval()
            logits = answers_of(self.model, tensors)
            self.model.train(was_training)
        return np.asarray(logits.float().cpu().numpy(), dtype=np.float32)

    def decoder(self, begin: Sequence[int] = ()) -> Decoder:
        return CrossingDecoder(self, begin) if begin else TorchDecoder(self)

    def close(self) -> None:
        """Free the weights."""
        self.model = nn.Identity()


class TorchDecoder(Decoder):
    """What a causal language model has read, in transformers' cache of keys and values."""

    def __init__(self, runtime: PyTorchRuntime) -> None:
        self.runtime = runtime
        self.cache: Any = None
        self.only_last = {"logits_to_keep": 1} if "logits_to_keep" in runtime.takes else {}

    def feed(self, ids: Ints) -> NDArray[np.float32]:
        runtime = self.runtime
        with runtime.lock, torch.inference_mode():
            was_training = runtime.model.training
            runtime.model.eval()
            read = torch.from_numpy(ids).to(runtime.device)
            output = runtime.model(input_ids=read, past_key_values=self.cache, use_cache=True, **self.only_last)
            runtime.model.train(was_training)
        self.cache = output.past_key_values
        return np.asarray(output.logits[:, -1].float().cpu().numpy(), dtype=np.float32)

    def keep(self, rows: Sequence[int]) -> None:
        with torch.inference_mode():
            self.cache.reorder_cache(torch.tensor(list(rows), device=self.runtime.device))


class CrossingDecoder(Decoder):
    """What an encoder has read of some texts, and its decoder of what it wrote: keys and values of both, in a cache.

    ``begin``: what the decoder is fed before it writes.
    """

    def __init__(self, runtime: PyTorchRuntime, begin: Sequence[int]) -> None:
        self.runtime, self.begin = runtime, begin
        self.cache: Any = None
        self.states = torch.empty(0)
        "what the encoder made of the texts: (b, n, features)"

    def feed(self, ids: Ints) -> NDArray[np.float32]:
        runtime = self.runtime
        model: Any = runtime.model
        with runtime.lock, torch.inference_mode():
            was_training = model.training
            model.eval()
            given = torch.from_numpy(ids).to(runtime.device)
            if self.cache is None:
                seen = torch.ones_like(given)
                self.states = model.get_encoder()(input_ids=given, attention_mask=seen)[0]
                given = torch.tensor(self.begin, device=runtime.device).expand(len(ids), -1)
            output = model(
                encoder_outputs=BaseModelOutput(self.states), decoder_input_ids=given, past_key_values=self.cache,
                use_cache=True, attention_mask=torch.ones(self.states.shape[:2], device=runtime.device),
            )  # fmt: skip
            model.train(was_training)
        self.cache = output.past_key_values
        return np.asarray(output.logits[:, -1].float().cpu().numpy(), dtype=np.float32)

    def keep(self, rows: Sequence[int]) -> None:
        chosen = torch.tensor(list(rows), device=self.runtime.device)
        with torch.inference_mode():
            self.cache.reorder_cache(chosen)
            self.states = self.states[chosen]


def open_model(folder: Path) -> nn.Module:
    """The model of a folder by the architecture its config.json names, in float32; raises `FolderError`."""
    try:
        named = json.loads((folder / "config.json").read_text(encoding="utf8"))["architectures"][0]
        if named == fusion.NAME:
            return fusion.opened(folder)
        architecture: Any = getattr(transformers, named)
        if not issubclass(architecture, transformers.PreTrainedModel):
            raise ValueError(f"{named} is no model")
        with quiet():
            model = architecture.from_pretrained(
                folder, dtype=torch.float32, local_files_only=True, use_safetensors=True, trust_remote_code=False
            )
    except UNREADABLE as error:
        raise FolderError(
            f"{folder} cannot be opened with PyTorch ({error}).",
            "It holds config.json and model.safetensors of one architecture.",
            "An exported folder runs with onnxruntime; for PyTorch use the folder it was exported from.",
        ) from error
    assert isinstance(model, nn.Module)
    return restored(model, folder)


def device() -> torch.device:
    """The GPU where there is one, else the processor."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


@contextmanager
def quiet() -> Iterator[None]:
    """Without transformers' notes on fresh heads and its own progress bars; luban's say what matters."""
    from transformers.utils import logging

    before, bar = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(before)
        if bar:
            logging.enable_progress_bar()
