"""An int8 answer does not depend on what else was asked in the same call."""

from __future__ import annotations

from pathlib import Path

from luban.config import ExportConfig
from luban.predict import Predictor
from luban.stages.export import export
from luban.tasks import TASKS
from luban.testing import SAMPLES, tiny_folder


def test_an_int8_answer_is_the_same_alone_and_in_company(tmp_path: Path) -> None:
    folder = tiny_folder(tmp_path / "model")
    rows = [TASKS["text-classification"].parse(row) for row in SAMPLES["text-classification"]]
    small = export(folder, rows, ExportConfig(quantise="int8", max_flips=1.0), tmp_path / "small")
    predictor = Predictor.open(small)
    texts = ["where is my order", "where is my money", "want is my money", "late is my card"]
    alone = [predictor.predict([text])[0].as_json() for text in texts]
    together = [answer.as_json() for answer in predictor.predict(texts)]
    assert alone == together
    assert predictor.max_rows == 1


def test_fp32_rows_still_share_a_call(tmp_path: Path) -> None:
    folder = tiny_folder(tmp_path / "model")
    rows = [TASKS["text-classification"].parse(row) for row in SAMPLES["text-classification"]]
    plain = export(folder, rows, ExportConfig(quantise="none"), tmp_path / "plain")
    assert Predictor.open(plain).max_rows > 1


def test_a_spared_node_keeps_its_fp32_weights(tmp_path: Path) -> None:
    import onnx

    from luban.stages.export.graph import fuse, trace
    from luban.stages.export.onnx import WAYS
    from luban.stages.export.quantise import quantise

    folder = tiny_folder(tmp_path / "model")
    trace(folder, tmp_path / "traced.onnx")
    fuse(tmp_path / "traced.onnx", tmp_path / "plain.onnx", folder.path / "config.json")
    counts = []
    for name, spared in WAYS.items():
        quantise(tmp_path / "plain.onnx", tmp_path / f"{name}.onnx", spared=spared)
        graph = onnx.load(str(tmp_path / f"{name}.onnx")).graph
        counts.append(sum(node.op_type == "MatMul" for node in graph.node))
    assert counts[1] - counts[0] == 2, "one feed-forward output a layer stays in fp32"
