"""Rows of several kinds on the command line: a text, a picture's file and fields, typed."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from luban.cli import main
from luban.cli.predict import of_kinds
from luban.errors import ConfigError
from luban.folder import Folder
from luban.pictures import content, made
from luban.testing import tiny_folder

Call = Callable[..., Any]


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Folder:
    return tiny_folder(tmp_path_factory.mktemp("shop") / "shop", "multimodal-classification")


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str]) -> Call:
    def run(*args: str | Path) -> Any:
        capsys.readouterr()
        code = main([*map(str, args), "--json"])
        return json.loads(capsys.readouterr().out) | {"code": code}

    return run


def test_a_row_is_typed_with_its_picture_and_fields() -> None:
    row = of_kinds(["a scarf"], "scarf.png", "price=12.5, brand=north=east")
    assert row == {"text": "a scarf", "image": "scarf.png", "price": "12.5", "brand": "north=east"}
    assert of_kinds([], "", "price=3") == {"price": "3"}


@pytest.mark.parametrize(("texts", "fields", "part"), [(["a", "b"], "price=3", "2 texts"), ([], "price", "'price'")])
def test_what_cannot_be_one_row_is_refused(texts: list[str], fields: str, part: str) -> None:
    with pytest.raises(ConfigError, match=part):
        of_kinds(texts, "", fields)


def test_a_typed_row_is_answered_and_explained(call: Call, shop: Folder, tmp_path: Path) -> None:
    (tmp_path / "scarf.png").write_bytes(content(made(3)))
    typed = ("good food", "--image", tmp_path / "scarf.png", "--fields", "price=3.5,brand=north")
    answer = call("predict", shop.path, *typed, "--explain")
    assert answer["label"] in ("good", "bad")
    assert [part["name"] for part in answer["parts"]] == ["text", "image", "fields", "price", "brand"]
    page = tmp_path / "why.html"
    evidence = call("explain", shop.path, *typed, "--html", page)["evidence"]
    assert [word["text"] for word in evidence["words"]] == ["good", "food"]
    assert "brand north" in page.read_text(encoding="utf8")


def test_fields_alone_are_a_row(call: Call, shop: Folder) -> None:
    assert call("predict", shop.path, "--fields", "price=3.5")["code"] == 0


def test_fields_are_refused_for_a_model_that_reads_none(call: Call, tmp_path: Path) -> None:
    desk = tiny_folder(tmp_path / "desk")
    assert "reads none" in call("predict", desk.path, "hello", "--fields", "price=3")["error"]["happened"]
