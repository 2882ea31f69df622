"""Runs ``model.onnx`` with onnxruntime on the processor; no torch, no tokenizer and no task is loaded here.

One session, shared by all threads (onnxruntime's ``Run`` may be called at once). docs/export.md tells why its options
are as they are.
"""

from __future__ import annotations

import mmap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from onnxruntime.capi.onnxruntime_pybind11_state import (
    Fail,
    InvalidArgument,
    InvalidGraph,
    InvalidProtobuf,
    NoSuchFile,
    NotImplemented,
)

from luban.cores import cores
from luban.encoding import Batch, Ints
from luban.errors import FolderError
from luban.runtimes.base import Decoder, Runtime, encoder_beside

FILE = "model.onnx"
PAST = "past."
"begins the names of a graph's inputs that hold what was read before, of a model that writes"
CROSS = "cross."
"begins the names of those that hold what a decoder's layers read of the text that its encoder has read"
INPUTS = ("input_ids", "attention_mask", "token_type_ids", "pixel_values", "numbers", "categories", "present")
KINDS = {"i": np.int64, "f": np.float32}
"what a graph takes numbers as"
ARITHMETIC = "luban.arithmetic"
"metadata key of a graph: int8 where its activations are quantised at run time"
UNREADABLE = (Fail, InvalidArgument, InvalidGraph, InvalidProtobuf, NoSuchFile, NotImplemented, ValueError)
ERRORS_ONLY = 3
SPIN = 50
"microseconds a thread of a lone call stays awake between two operators; longer gains nothing and burns a core in vain"
SPINS_BRIEFLY = (1, 27)
"an onnxruntime that lets the time be bounded; an old one would overhear that and spin on for long after each call"


class OnnxRuntime(Runtime):
    """An onnxruntime session; ``session`` is open to callers who need the bare call (benchmarks)."""

    name = "onnx"

    def __init__(
        self, session: onnxruntime.InferenceSession, file: Path, reader: onnxruntime.InferenceSession | None = None
    ) -> None:
        self.session: onnxruntime.InferenceSession | None = session
        self.file, self.reader = file, reader
        self.inputs = tuple(entry.name for entry in session.get_inputs())
        self.outputs = [session.get_outputs()[0].name]
        shapes = {entry.name: entry.shape for entry in session.get_inputs() if entry.name.startswith(PAST)}
        self.past = {name: (int(shape[1]), int(shape[3])) for name, shape in shapes.items()}
        # Dynamic int8 takes one activation scale for a whole call, so company would change an answer.
        self.one_by_one = session.get_modelmeta().custom_metadata_map.get(ARITHMETIC) == "int8"

    @classmethod
    def open(cls, folder: Path, *, threads: int | None = None) -> OnnxRuntime:
        """Load ``folder/model.onnx``, and the encoder beside it; raises `FolderError` where they are missing or unreadable."""
        return cls.load(Path(folder) / FILE, threads=threads)

    @classmethod
    def load(cls, file: Path, *, threads: int | None = None, spin: int = 0) -> OnnxRuntime:
        """Load one ONNX file, wherever it stands; ``spin`` as in `options`."""
        session = _session(file, threads, spin)
        asked = [entry.name for entry in session.get_inputs()]
        crosses = any(name.startswith(CROSS) for name in asked)
        strange = [name for name in asked if name not in INPUTS and not name.startswith((PAST, CROSS))]
        if strange or not session.get_outputs():
            raise FolderError(
                f"{file} asks for {', '.join(strange) or 'nothing and gives nothing'}.",
                f"A model of this kind reads {', '.join(INPUTS)} and gives logits.",
                "Export the folder again.",
            )
        return cls(session, file, _session(encoder_beside(file), threads, spin) if crosses else None)

    def run(self, batch: Batch) -> NDArray[np.float32]:
        """Logits (b, labels) or (b, n, labels); inputs that the graph does not name are left out."""
        if self.session is None:
            raise FolderError("The model was closed.", "A closed runtime is not used again.", "Open the folder again.")
        if self.reader is not None:
            return self._forced(batch)
        if self.past:
            return self._read(batch["input_ids"])
        feed = {name: np.ascontiguousarray(batch[name], dtype=KINDS[batch[name].dtype.kind]) for name in self.inputs}
        return np.asarray(self.session.run(self.outputs, feed)[0], dtype=np.float32)

    def decoder(self, begin: Sequence[int] = ()) -> Decoder:
        if self.reader is not None:
            return OnnxCrossing(self, begin)
        return OnnxDecoder(self) if self.past else super().decoder()

    def nothing_read(self, rows: int) -> dict[str, NDArray[np.float32]]:
        """Keys and values of texts of which nothing was read yet."""
        return {name: np.zeros((rows, heads, 0, width), dtype=np.float32) for name, (heads, width) in self.past.items()}

    def across(self, ids: Ints, mask: Ints) -> dict[str, NDArray[np.float32]]:
        """What the decoder's layers read of (b, n) texts, padded where the mask is 0."""
        if self.reader is None:
            raise FolderError("The model was closed.", "A closed runtime is not used again.", "Open the folder again.")
        names = [entry.name for entry in self.reader.get_outputs()]
        return dict(zip(names, self.reader.run(names, {"input_ids": ids, "attention_mask": mask}), strict=True))

    def _forced(self, batch: Batch) -> NDArray[np.float32]:
        """Logits (b, m, vocabulary) of whole answers, forced on the decoder; padding behind them is read by nothing."""
        assert self.session is not None
        fed, mask = batch["decoder_input_ids"], batch["attention_mask"]
        read = self.across(batch["input_ids"], mask)
        feed = {"input_ids": fed, "attention_mask": mask, **read, **self.nothing_read(len(fed))}
        return np.asarray(self.session.run(self.outputs, feed)[0], dtype=np.float32)

    def _read(self, ids: Ints) -> NDArray[np.float32]:
        """Logits (b, n, vocabulary) of whole texts; padding on the right is read by nothing before it."""
        assert self.session is not None
        feed = {"input_ids": np.ascontiguousarray(ids, dtype=np.int64), **self.nothing_read(len(ids))}
        return np.asarray(self.session.run(self.outputs, feed)[0], dtype=np.float32)

    def alone(self, threads: int) -> OnnxRuntime | None:
        """Another session of the same file, whose threads spin for `SPIN` between operators.

        It holds a copy of the weights of its own: packed weights cannot be shared through onnxruntime's Python interface.
        """
        return self.load(self.file, threads=threads, spin=SPIN) if spins_briefly() else None

    def close(self) -> None:
        """Free the weights."""
        self.session = self.reader = None


class OnnxDecoder(Decoder):
    """What a model that writes has read: its keys and values go from call to call without a copy."""

    def __init__(self, runtime: OnnxRuntime) -> None:
        self.runtime = runtime
        self.kept: dict[str, onnxruntime.OrtValue] = {}

    def feed(self, ids: Ints) -> NDArray[np.float32]:
        session = self.runtime.session
        if session is None:
            raise FolderError("The model was closed.", "A closed runtime is not used again.", "Open the folder again.")
        if not self.kept:
            self.kept = _values(self.runtime.nothing_read(len(ids)))
        given = _values({"input_ids": np.ascontiguousarray(ids, dtype=np.int64)})
        logits, *now = session.run_with_ort_values(None, {**given, **self.kept})
        self.kept = dict(zip(self.runtime.past, now, strict=True))
        return np.asarray(logits.numpy()[:, -1], dtype=np.float32)

    def keep(self, rows: Sequence[int]) -> None:
        self.kept = _values({name: value.numpy()[list(rows)] for name, value in self.kept.items()})


class OnnxCrossing(Decoder):
    """What an encoder has read of some texts, and its decoder of what it wrote; ``begin``: what that is fed first."""

    def __init__(self, runtime: OnnxRuntime, begin: Sequence[int]) -> None:
        self.runtime, self.begin = runtime, begin
        self.read: dict[str, onnxruntime.OrtValue] = {}
        self.kept: dict[str, onnxruntime.OrtValue] = {}

    def feed(self, ids: Ints) -> NDArray[np.float32]:
        if not self.read:
            seen = np.ones_like(ids)
            self.read = _values({"attention_mask": seen, **self.runtime.across(np.ascontiguousarray(ids), seen)})
            self.kept = _values(self.runtime.nothing_read(len(ids)))
            ids = np.tile(np.array(self.begin, dtype=np.int64), (len(ids), 1))
        session = self.runtime.session
        if session is None:
            raise FolderError("The model was closed.", "A closed runtime is not used again.", "Open the folder again.")
        given = _values({"input_ids": np.ascontiguousarray(ids, dtype=np.int64)})
        logits, *now = session.run_with_ort_values(None, {**given, **self.read, **self.kept})
        self.kept = dict(zip(self.runtime.past, now, strict=True))
        return np.asarray(logits.numpy()[:, -1], dtype=np.float32)

    def keep(self, rows: Sequence[int]) -> None:
        self.read, self.kept = (
            _values({name: value.numpy()[list(rows)] for name, value in held.items()})
            for held in (self.read, self.kept)
        )


def _session(file: Path, threads: int | None, spin: int) -> onnxruntime.InferenceSession:
    """A graph, ready to run; raises `FolderError` where it is missing or unreadable."""
    if not file.is_file():
        raise FolderError(
            f"{file} is missing.",
            "A folder of runtime 'onnx' holds model.onnx.",
            "Copy or export the folder again.",
        )
    _refuse_external_data(file)
    try:
        return onnxruntime.InferenceSession(str(file), options(threads, spin), providers=["CPUExecutionProvider"])
    except UNREADABLE as error:
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise FolderError(
            f"{file} cannot be loaded ({first[:200]}).",
            f"onnxruntime {onnxruntime.__version__} reads ONNX graphs.",
            "It is damaged or was made for a newer onnxruntime: export it again.",
        ) from error


def _values(arrays: Mapping[str, NDArray[Any]]) -> dict[str, onnxruntime.OrtValue]:
    return {name: onnxruntime.OrtValue.ortvalue_from_numpy(array) for name, array in arrays.items()}


def _refuse_external_data(file: Path) -> None:
    """Raises `FolderError` for a graph whose weights stand in another file: the format names it under the key `location`."""
    with file.open("rb") as stream:
        if not file.stat().st_size:
            return  # nothing to map; the session says that it is no graph
        with mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as graph:
            found = graph.find(b"location") >= 0
    if found:
        raise FolderError(
            f"{file} takes weights from another file (external data).",
            "The graph of a model folder is whole by itself.",
            "Export the folder again, or save the graph with its weights inside.",
        )


def spins_briefly(version: str = onnxruntime.__version__) -> bool:
    """Whether an onnxruntime lets a thread spin for a bounded time."""
    return tuple(int(part) for part in version.split(".")[:2]) >= SPINS_BRIEFLY


def options(threads: int | None, spin: int = 0) -> onnxruntime.SessionOptions:
    """Session options: ``threads`` inside one call (None or 0: the cores this process may use).

    ``spin``: microseconds a thread that has nothing to do stays awake.
    """
    chosen = onnxruntime.SessionOptions()
    chosen.intra_op_num_threads = threads or cores()
    chosen.inter_op_num_threads = 1
    chosen.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    chosen.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    chosen.log_severity_level = ERRORS_ONLY
    chosen.add_session_config_entry("session.intra_op.allow_spinning", "1" if spin else "0")
    if spin:
        chosen.add_session_config_entry("session.intra_op.spin_duration_us", str(spin))
    return chosen
