"""What a model writes does not depend on what runs it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from luban.config import ExportConfig
from luban.errors import ParityError
from luban.folder import Folder
from luban.predict import Predictor
from luban.stages.export import export
from luban.testing import SAMPLES, tiny_folder

ROWS = [{**row, "max_new_tokens": 12} for row in SAMPLES["text-generation"]]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Folder, Folder]:
    """A folder that writes, and what it was exported to."""
    place = tmp_path_factory.mktemp("folders")
    folder = tiny_folder(place / "model", "text-generation")
    return folder, export(folder, ROWS, ExportConfig(quantise="none", threads=1), place / "onnx")


@pytest.mark.parametrize("options", [{}, {"beams": 3}, {"temperature": 1.5, "top_p": 0.9, "seed": 5}])
def test_onnx_writes_what_pytorch_writes(folders: tuple[Folder, Folder], options: dict[str, Any]) -> None:
    rows = [{**row, **options} for row in ROWS]
    torch, onnx = (Predictor.open(folder, threads=1).predict(rows) for folder in folders)
    assert [answer.text for answer in onnx] == [answer.text for answer in torch]
    np.testing.assert_allclose([a.score for a in onnx], [a.score for a in torch], atol=1e-4)  # type: ignore[type-var]
    likely = [[a.likelihood[0] for a in answers if a.likelihood] for answers in (onnx, torch)]
    np.testing.assert_allclose(*likely, rtol=1e-4)


def test_onnx_streams_the_same_pieces(folders: tuple[Folder, Folder]) -> None:
    torch, onnx = (list(Predictor.open(folder, threads=1).pieces(ROWS[2])) for folder in folders)
    assert onnx == torch


def test_an_export_is_compared_on_text_and_told(folders: tuple[Folder, Folder]) -> None:
    notes = folders[1].manifest.notes["export"]
    assert notes["fp32"]["flips"] == 0.0
    assert notes["fp32"]["scores"]["perplexity"] == pytest.approx(notes["pytorch"]["scores"]["perplexity"], rel=1e-4)


def test_int8_is_judged_by_the_text_it_changes(folders: tuple[Folder, Folder], tmp_path: Path) -> None:
    chosen = ExportConfig(quantise="int8", max_flips=1.0, threads=1)
    small = export(folders[0], ROWS, chosen, tmp_path / "int8")
    told = small.manifest.notes["export"]["int8"]
    answers = [Predictor.open(folder, threads=1).predict(ROWS) for folder in (folders[0], small)]
    changed = np.mean([a.text != b.text for a, b in zip(*answers, strict=True)])
    assert told["flips"] == pytest.approx(changed)


def test_a_folder_that_writes_something_else_than_recorded_is_refused(folders: tuple[Folder, Folder]) -> None:
    from luban.predict import check_golden

    golden = folders[0].golden()
    changed = [type(one)(one.row, {**one.expect, "text": "something else"}) for one in golden]
    with pytest.raises(ParityError, match="something else"):
        check_golden(Predictor.open(folders[1], threads=1), changed, stage="test")


def test_an_exported_model_writes_without_torch_and_transformers(folders: tuple[Folder, Folder]) -> None:
    code = (
        "import sys; sys.modules.update(dict.fromkeys(['torch', 'transformers']));"
        "from luban.predict import Predictor;"
        f"print(Predictor.open({str(folders[1].path)!r}, threads=1).predict([{ROWS[0]!r}])[0].text, end='')"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    assert out.stdout.decode() == Predictor.open(folders[0], threads=1).predict(ROWS[:1])[0].text
