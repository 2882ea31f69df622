"""What is judged of pictures, and what a person sees of it: thumbnails in the report, files in the terminal."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from luban.cli import main
from luban.config import EvaluateConfig
from luban.folder import Folder
from luban.pictures import content, made
from luban.stages.evaluate import evaluate, write_report
from luban.testing import tiny_folder

Call = Callable[..., str]


@pytest.fixture(scope="module")
def eye(tmp_path_factory: pytest.TempPathFactory) -> Folder:
    return tiny_folder(tmp_path_factory.mktemp("eye") / "eye", "image-classification")


@pytest.fixture(scope="module")
def pets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("pets")
    for number in range(8):
        place = root / ("disc", "bar")[number % 2]
        place.mkdir(exist_ok=True)
        (place / f"{number}.png").write_bytes(content(made(number)))
    return root


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Call:
    for name, value in {"COLUMNS": "200", "NO_COLOR": "1", "LUBAN_LANG": "en", "TERM": "dumb"}.items():
        monkeypatch.setenv(name, value)

    def run(*args: str | Path) -> str:
        capsys.readouterr()
        assert main([str(arg) for arg in args]) == 0
        return capsys.readouterr().out

    return run


def test_the_worst_mistakes_are_shown_as_small_copies(eye: Folder, tmp_path: Path) -> None:
    rows = [{"image": made(i), "label": ("disc", "bar")[i % 2], "hash": str(i)} for i in range(8)]
    found = evaluate(eye, rows, EvaluateConfig(worst=2), train_rows=rows[:4])
    assert found.wrong > 0
    assert all(one.picture.startswith("data:image/jpeg;base64,") for one in found.mistakes)
    assert found.unseen is not None
    assert found.unseen.rows == 4
    write_report(found, tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text(encoding="utf8")
    assert page.count('<img src="data:image/jpeg') == len(found.mistakes)
    assert "img-src data:" in page
    assert "Short and long texts" not in page


def test_the_command_line_answers_files_and_folders(call: Call, eye: Folder, pets: Path) -> None:
    file = pets / "bar" / "1.png"
    assert str(file) in call("predict", eye.path, file)
    answers = [json.loads(line) for line in call("predict", eye.path, "--input", pets, "--json").splitlines()]
    assert [Path(answer["id"]).name for answer in answers] == [f"{i}.png" for i in (1, 3, 5, 7, 0, 2, 4, 6)]


def test_the_command_line_judges_and_explains(call: Call, eye: Folder, pets: Path, tmp_path: Path) -> None:
    said: dict[str, Any] = json.loads(call("evaluate", eye.path, pets, "--json"))
    assert said["rows"] == 8
    evidence = json.loads(call("explain", eye.path, pets / "bar" / "1.png", "--html", tmp_path / "a.html", "--json"))
    assert len(evidence["evidence"]["grid"]) == 7
    assert "<svg" in (tmp_path / "a.html").read_text(encoding="utf8")
    assert "occlusion" in call("explain", eye.path, pets / "bar" / "1.png")
    assert "of 7" in call("predict", eye.path, pets / "bar" / "1.png", "--explain")
