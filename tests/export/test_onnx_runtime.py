"""The onnxruntime session: what it loads, what it refuses, and that it needs no torch."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from luban.cores import cores
from luban.encoding import TextEncoder, collate
from luban.errors import FolderError
from luban.folder import Folder
from luban.runtimes.onnx import SPIN, OnnxRuntime, options, spins_briefly
from luban.stages.export.graph import trace
from tests.export.tiny import TEXTS, tiny_folder


@pytest.fixture(scope="module")
def graph(tmp_path_factory: pytest.TempPathFactory) -> Folder:
    folder = tiny_folder(tmp_path_factory.mktemp("graph") / "tiny", golden=False)
    trace(folder, folder.path / "model.onnx")
    return folder


def test_a_missing_graph_is_named(tmp_path: Path) -> None:
    with pytest.raises(FolderError, match=r"model\.onnx is missing"):
        OnnxRuntime.open(tmp_path)


@pytest.mark.parametrize("content", [b"", b"not a graph", b"\x08\x07\x12\x00" * 40])
def test_a_damaged_graph_is_refused_in_one_sentence(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "model.onnx").write_bytes(content)
    with pytest.raises(FolderError, match="cannot be loaded"):
        OnnxRuntime.open(tmp_path)


def test_half_a_graph_is_refused(tmp_path: Path, graph: Folder) -> None:
    whole = (graph.path / "model.onnx").read_bytes()
    (tmp_path / "model.onnx").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(FolderError, match="cannot be loaded"):
        OnnxRuntime.open(tmp_path)


def test_a_graph_with_weights_in_another_file_is_refused(tmp_path: Path, graph: Folder) -> None:
    import onnx

    whole = onnx.load(graph.path / "model.onnx")
    onnx.save(whole, tmp_path / "model.onnx", save_as_external_data=True, location=".weights", size_threshold=0)
    with pytest.raises(FolderError, match="external data"):
        OnnxRuntime.open(tmp_path)


def test_threads_share_one_session(graph: Folder) -> None:
    runtime = OnnxRuntime.open(graph.path, threads=1)
    encoder = TextEncoder.open(graph.path)
    batches = [collate([encoder.text(text).windows[0]], encoder.pad_id) for text in TEXTS] * 8
    alone = [runtime.run(batch) for batch in batches]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(runtime.run, batches))
    for one, other in zip(alone, together, strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_closed_runtime_says_so(graph: Folder) -> None:
    runtime = OnnxRuntime.open(graph.path, threads=1)
    runtime.close()
    with pytest.raises(FolderError, match="closed"):
        runtime.run({"input_ids": np.zeros((1, 1), dtype=np.int64)})


def test_threads_are_taken_as_given_or_all_cores() -> None:
    assert options(3).intra_op_num_threads == 3
    assert options(None).intra_op_num_threads == cores() == options(0).intra_op_num_threads


def test_a_session_for_lone_calls_answers_alike_and_outlives_the_other(graph: Folder) -> None:
    runtime = OnnxRuntime.open(graph.path, threads=1)
    batch = collate(graph.encoder().text("where is my order").windows, 0)
    expected, lone = runtime.run(batch), runtime.alone(2)
    assert lone is not None
    runtime.close()
    np.testing.assert_allclose(lone.run(batch), expected, atol=1e-5)


def test_threads_of_a_lone_call_spin_for_a_bounded_time_and_others_not_at_all() -> None:
    lone, usual = options(2, SPIN), options(2)
    assert lone.get_session_config_entry("session.intra_op.allow_spinning") == "1"
    assert int(lone.get_session_config_entry("session.intra_op.spin_duration_us")) == SPIN
    assert usual.get_session_config_entry("session.intra_op.allow_spinning") == "0"


def test_an_onnxruntime_that_cannot_bound_the_spinning_has_no_session_for_lone_calls() -> None:
    assert [spins_briefly(version) for version in ("1.20.1", "1.27.0", "1.31.1", "2.0")] == [False, True, True, True]


def test_the_runtime_loads_no_torch() -> None:
    code = "import sys, luban.runtimes.onnx; assert not {'torch', 'transformers'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_graph_that_asks_for_other_inputs_is_refused(tmp_path: Path) -> None:
    import onnx

    value = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1]) for name in ("pixels", "logits")]
    node = onnx.helper.make_node("Identity", ["pixels"], ["logits"])
    graph = onnx.helper.make_graph([node], "strange", value[:1], value[1:])
    opset = [onnx.helper.make_opsetid("", 17)]
    onnx.save(onnx.helper.make_model(graph, opset_imports=opset, ir_version=8), str(tmp_path / "model.onnx"))
    with pytest.raises(FolderError, match="asks for pixels"):
        OnnxRuntime.open(tmp_path)
