"""The request shown as an example is one that the model answers, and holds nobody's text."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest

from luban.cli import asking
from luban.cli.screen import Screen
from luban.predict import Predictor
from luban.testing import tiny_folder

TEXTS_ONLY = ("text-classification", "text-pair", "token-classification", "embedding", "rerank", "extractive-qa")


@pytest.mark.parametrize("task", TEXTS_ONLY)
@pytest.mark.parametrize("language", ["en", "zh"])
def test_the_example_of_a_request_is_answered(tmp_path: Path, task: str, language: str) -> None:
    folder = tiny_folder(tmp_path / "model", task)
    (body,) = shlex.split(asking.body(folder, Screen(language=language)))
    (answer,) = Predictor.open(folder).predict([json.loads(body)])
    assert answer.as_json()


def test_the_example_shows_no_text_of_the_golden_rows(tmp_path: Path) -> None:
    folder = tiny_folder(tmp_path / "model", "text-pair")
    shown = asking.body(folder, Screen())
    assert not any(text in shown for golden in folder.golden() for text in golden.row.values())


def test_a_text_alone_is_typed_behind_the_verb(tmp_path: Path) -> None:
    folder = tiny_folder(tmp_path / "model", "text-classification")
    assert asking.words(folder, Screen()) == '"where is my parcel?"'


def test_a_row_of_two_texts_stands_in_a_file(tmp_path: Path) -> None:
    folder = tiny_folder(tmp_path / "model", "text-pair")
    assert asking.words(folder, Screen()) == "--input FILE.jsonl"
