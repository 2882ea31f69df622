"""A text rewritten as another does not depend on what runs the model, and is served as any answer is."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from luban import bases, verbs
from luban.config import ExportConfig
from luban.encoding import collate
from luban.folder import Folder
from luban.predict import Predictor
from luban.stages.export import export
from luban.stages.serve import Served
from luban.stages.train import train
from luban.testing import SAMPLES, tiny_base, tiny_folder, tiny_translator
from tests.serve.conftest import serving
from tests.train.rows import config, prepared

ROWS = [{**row, "max_new_tokens": 10} for row in SAMPLES["text-to-text"]]


@pytest.fixture(scope="module", params=["bart", "t5", "warm"])
def folders(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Folder, Folder]:
    """A folder that rewrites texts, and what it was exported to."""
    place = tmp_path_factory.mktemp("folders")
    base = tiny_base(place / "base") if request.param == "warm" else tiny_translator(place / "base", kind=request.param)
    folder = train(prepared("text-to-text", times=2), bases.find(str(base)), config(epochs=4), place / "model")
    return folder, export(folder, ROWS, ExportConfig(quantise="none", threads=1), place / "onnx")


@pytest.mark.parametrize("options", [{}, {"beams": 3}, {"temperature": 1.5, "top_p": 0.9, "seed": 5}])
def test_onnx_writes_what_pytorch_writes(folders: tuple[Folder, Folder], options: dict[str, Any]) -> None:
    rows = [{**row, **options} for row in ROWS]
    torch, onnx = (Predictor.open(folder, threads=1).predict(rows) for folder in folders)
    assert [answer.text for answer in onnx] == [answer.text for answer in torch]
    here, there = (np.array([(a.score, *(a.likelihood or ())) for a in answers]) for answers in (onnx, torch))
    assert here.shape == (4, 3)
    np.testing.assert_allclose(here, there, rtol=1e-4)


def test_padding_does_not_change_an_answer(folders: tuple[Folder, Folder]) -> None:
    predictor = Predictor.open(folders[1], threads=1)
    windows = [predictor.task.encode(row, predictor.encoder).windows[0] for row in SAMPLES["text-to-text"][:2]]
    together = predictor.runtime.run(collate(windows, predictor.encoder.pad_id))
    for window, beside in zip(windows, together, strict=True):
        alone = predictor.runtime.run(collate([window], predictor.encoder.pad_id))[0]
        np.testing.assert_allclose(beside[: window.answers], alone, atol=2e-3)


def test_onnx_streams_the_same_pieces(folders: tuple[Folder, Folder]) -> None:
    torch, onnx = (list(Predictor.open(folder, threads=1).pieces(ROWS[2])) for folder in folders)
    assert onnx == torch


def test_an_export_is_two_graphs_compared_on_text(folders: tuple[Folder, Folder]) -> None:
    notes = folders[1].manifest.notes["export"]
    assert {"model.onnx", "model.encoder.onnx"} <= set(folders[1].manifest.files)
    assert notes["fp32"]["flips"] == 0.0
    assert notes["fp32"]["scores"]["perplexity"] == pytest.approx(notes["pytorch"]["scores"]["perplexity"], rel=1e-4)


def test_an_exported_model_writes_without_torch_and_transformers(folders: tuple[Folder, Folder]) -> None:
    code = (
        "import sys; sys.modules.update(dict.fromkeys(['torch', 'transformers']));"
        "from luban.predict import Predictor;"
        f"print(Predictor.open({str(folders[1].path)!r}, threads=1).predict([{ROWS[0]!r}])[0].text, end='')"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    assert out.stdout.decode() == Predictor.open(folders[0], threads=1).predict(ROWS[:1])[0].text


def test_int8_is_judged_by_the_text_it_changes(tmp_path: Path) -> None:
    folder = tiny_folder(tmp_path / "model", "text-to-text")
    small = export(folder, ROWS, ExportConfig(quantise="int8", max_flips=1.0, threads=1), tmp_path / "int8")
    told = small.manifest.notes["export"]["int8"]
    answers = [Predictor.open(one, threads=1).predict(ROWS) for one in (folder, small)]
    assert told["flips"] == pytest.approx(np.mean([a.text != b.text for a, b in zip(*answers, strict=True)]))


def test_a_graph_without_its_encoder_is_refused(tmp_path: Path) -> None:
    from luban.errors import FolderError
    from luban.runtimes.onnx import OnnxRuntime

    folder = tiny_folder(tmp_path / "model", "text-to-text")
    whole = export(folder, ROWS, ExportConfig(quantise="none", threads=1), tmp_path / "onnx")
    (whole.path / "model.encoder.onnx").unlink()
    with pytest.raises(FolderError, match=r"model\.encoder\.onnx is missing"):
        OnnxRuntime.open(whole.path)


def test_it_is_served_and_explained_as_it_predicts(tmp_path: Path) -> None:
    model = tiny_folder(tmp_path / "model", "text-to-text")
    folder = export(model, ROWS, ExportConfig(quantise="none", threads=1), tmp_path / "rewrites")
    rows = [{"text": "hello bob", "max_new_tokens": 5}, {"text": "hi", "max_new_tokens": 5, "beams": 2}]
    with serving({"rewrites": Served.open(folder, explain=verbs.explainer(folder))}) as client:
        told = client.post("/models/rewrites/predict", json={"inputs": rows}).json()["predictions"]
        assert [one["text"] for one in told] == [a.text for a in Predictor.open(folder, threads=1).predict(rows)]
        evidence = client.post("/models/rewrites/explain", json=rows[0], timeout=60).json()["evidence"]
        assert [word["text"] for word in evidence["words"]] == ["hello", "bob"]


@pytest.mark.parametrize("method", ["shapley", "integrated-gradients"])
def test_an_explanation_weighs_the_words_that_were_read(method: str, tmp_path: Path) -> None:
    folder = tiny_folder(tmp_path / "model", "text-to-text")
    predictor, row = verbs.load(folder, threads=1), {"text": "hello bob, where", "max_new_tokens": 4}
    evidence = verbs.explain(predictor, row, method=method)
    assert evidence.target == predictor.predict([row])[0].text
    assert [word.text for word in evidence.words] == ["hello", "bob", ",", "where"]
    assert any(word.weight for word in evidence.words)
    assert verbs.explain(predictor, row, target="now", method="shapley").target == "now"
