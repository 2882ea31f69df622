"""A model folder of runtime onnx, a few kilobytes large and made without torch, and a runtime that takes its time."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path
from typing import ClassVar

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from luban.encoding import Batch
from luban.folder import Folder, write, write_golden
from luban.manifest import BaseInfo, Manifest
from luban.predict import Predictor, make_golden
from luban.runtimes.base import Runtime
from luban.stages.serve import Served

WORDS = [
    "[PAD]",
    "[UNK]",
    "[CLS]",
    "[SEP]",
    "where",
    "is",
    "my",
    "order",
    "card",
    "lost",
    "i",
    "the",
    "refund",
    "please",
    "?",
]
LABELS = ("delivery", "card", "refund")
DECISIVE = {"order": 0, "card": 1, "lost": 1, "refund": 2}


def make_folder(path: Path, *, name: str = "desk", tilt: float = 0.0) -> Folder:
    """A classifier that knows three words; ``tilt`` makes another model of it."""
    table = np.zeros((len(WORDS), len(LABELS)), dtype=np.float32)
    for word, label in DECISIVE.items():
        table[WORDS.index(word), label] = 6.0
    table[:, 0] += tilt
    manifest = Manifest(
        name=name, task="text-classification", labels=LABELS, runtime="onnx", base=BaseInfo(name="made"), max_length=32
    )

    def fill(inside: Path) -> None:
        onnx.save(_graph(table), str(inside / "model.onnx"))
        _tokenizer().save(str(inside / "tokenizer.json"))
        (inside / "config.json").write_text(
            json.dumps({"model_type": "bert", "max_position_embeddings": 32, "pad_token_id": 0})
        )

    def fill_with_golden(inside: Path) -> None:
        fill(inside)
        write_golden(inside, golden)

    first = write(path, manifest, fill)
    golden = make_golden(
        Predictor.open(first, check=False), [{"text": "where is my order ?"}, {"text": "i lost my card"}]
    )
    return write(path, manifest, fill_with_golden)


class SlowRuntime(Runtime):
    """Another runtime after a pause; ``batches`` keeps the shapes it was asked for, ``fail`` makes it break."""

    name: ClassVar[str] = "slow"

    def __init__(self, inner: Runtime, seconds: float) -> None:
        self.inner, self.seconds = inner, seconds
        self.batches: list[tuple[int, int]] = []
        self.gate = threading.Event()
        self.gate.set()
        self.fail = False

    @classmethod
    def open(cls, folder: Path, *, threads: int | None = None) -> SlowRuntime:
        raise AssertionError("it stands around another runtime, never of a folder")

    def run(self, batch: Batch) -> NDArray[np.float32]:
        rows, length = batch["input_ids"].shape
        self.batches.append((rows, length))
        self.gate.wait(10)
        time.sleep(self.seconds)
        if self.fail:
            raise RuntimeError("the weights are gone")
        return self.inner.run(batch)


def slowed(folder: Folder, seconds: float) -> tuple[Served, SlowRuntime]:
    """The folder behind a slow runtime; it has no path, so that nothing opens it anew."""
    opened = Served.open(folder)
    runtime = SlowRuntime(opened.predictor.runtime, seconds)
    predictor = Predictor(opened.predictor.task, opened.predictor.encoder, runtime)
    return Served(opened.name, opened.fingerprint, predictor, opened.task, opened.labels), runtime


def _graph(table: NDArray[np.float32]) -> onnx.ModelProto:
    """Mean over the sub-words that count of a table's rows."""
    wide = ["b", "n"]
    nodes = [
        helper.make_node("Gather", ["table", "input_ids"], ["rows"]),
        helper.make_node("Cast", ["attention_mask"], ["mask"], to=TensorProto.FLOAT),
        helper.make_node("Unsqueeze", ["mask", "last"], ["column"]),
        helper.make_node("Mul", ["rows", "column"], ["kept"]),
        helper.make_node("ReduceSum", ["kept", "middle"], ["sum"], keepdims=0),
        helper.make_node("ReduceSum", ["mask", "middle"], ["count"], keepdims=1),
        helper.make_node("Div", ["sum", "count"], ["logits"]),
    ]
    constants = {"table": table, "last": np.array([2], dtype=np.int64), "middle": np.array([1], dtype=np.int64)}
    graph = helper.make_graph(
        nodes, "desk",
        [helper.make_tensor_value_info(name, TensorProto.INT64, wide) for name in ("input_ids", "attention_mask")],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["b", len(LABELS)])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )  # fmt: skip
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def _tokenizer() -> Tokenizer:
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return tokenizer
