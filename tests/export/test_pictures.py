"""A model of pictures through export: the graph answers as PyTorch does, and explains without it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from luban.config import ExportConfig
from luban.errors import ConfigError
from luban.folder import Folder
from luban.pictures import made
from luban.predict import Predictor
from luban.stages.explain import explain, to_html
from luban.stages.export import export
from luban.testing import tiny_folder

ROWS = [{"image": made(i), "label": ("bar", "disc")[i % 2]} for i in range(10)]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Folder, Folder]:
    place = tmp_path_factory.mktemp("pictures")
    folder = tiny_folder(place / "model", "image-classification")
    return folder, export(folder, ROWS, ExportConfig(quantise="none"), place / "onnx")


def test_the_graph_gives_the_answers_of_pytorch(folders: tuple[Folder, Folder]) -> None:
    one, other = (Predictor.open(folder, threads=1).predict(ROWS) for folder in folders)
    for a, b in zip(one, other, strict=True):
        assert a.scores == pytest.approx(b.scores, abs=1e-4)
    assert folders[1].manifest.runtime == "onnx"
    assert (folders[1].path / "preprocessor_config.json").is_file()


def test_equal_pictures_are_run_once_and_answered_each(folders: tuple[Folder, Folder]) -> None:
    answers = Predictor.open(folders[1], threads=1).predict([ROWS[0], ROWS[1], ROWS[0]])
    assert answers[0].scores == answers[2].scores


@pytest.mark.parametrize("which", [0, 1])
def test_the_part_that_the_answer_rests_on_weighs_most(which: int, folders: tuple[Folder, Folder]) -> None:
    predictor = Predictor.open(folders[which], threads=1)
    found = explain(predictor, ROWS[1])
    weights = np.array(found.grid)
    assert weights.shape == (7, 7)
    assert found.gap == pytest.approx(found.score - found.base_score - weights.sum(), abs=1e-5)
    assert found.target == predictor.predict([ROWS[1]])[0].label
    assert found.as_json()["picture"].startswith("data:image/jpeg;base64,")


def test_another_class_can_be_asked_about(folders: tuple[Folder, Folder]) -> None:
    predictor = Predictor.open(folders[1], threads=1)
    one, other = (explain(predictor, ROWS[1], target=label) for label in ("bar", "disc"))
    assert one.grid != other.grid


def test_an_explanation_is_drawn_over_the_picture(folders: tuple[Folder, Folder]) -> None:
    found = explain(Predictor.open(folders[1], threads=1), ROWS[1])
    page = to_html("", found)
    assert f'href="{found.picture}"' in page
    assert page.count("<rect") >= 1


def test_methods_for_words_are_refused_for_pictures_and_the_other_way_round(
    folders: tuple[Folder, Folder], tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match="this model reads pictures"):
        explain(Predictor.open(folders[0], threads=1), ROWS[0], method="shapley")
    with pytest.raises(ConfigError, match="this is a text"):
        explain(Predictor.open(tiny_folder(tmp_path / "text"), threads=1), "hello", method="occlusion")
