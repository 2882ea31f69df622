"""The front door: its names, that they open, and that it is light."""

from __future__ import annotations

import subprocess
import sys

import pytest

import luban
from luban import verbs
from luban.errors import FolderError
from luban.folder import Folder
from luban.testing import tiny_folder

NAMES = [
    "BaseUnavailable",
    "ConfigError",
    "DataError",
    "Entity",
    "Evidence",
    "Folder",
    "FolderError",
    "GateError",
    "LubanError",
    "MissingExtra",
    "ParityError",
    "Prediction",
    "Predictor",
    "Project",
    "ServiceError",
    "UnknownName",
    "compare",
    "evaluate",
    "explain",
    "export",
    "load",
    "new",
    "run",
    "serve",
    "train",
]


def test_the_names_are_these():
    assert sorted(luban.__all__) == NAMES == dir(luban)


@pytest.mark.parametrize("name", NAMES)
def test_each_name_opens(name):
    assert getattr(luban, name).__doc__


def test_another_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'trian'"):
        _ = luban.trian


def test_the_plain_import_brings_nothing_but_the_package():
    code = "import sys; before = set(sys.modules); import luban; print(set(sys.modules) - before)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    brought = found.stdout
    assert not any(name in brought for name in ("numpy", "pydantic", "typer", "rich", "torch", "yaml"))


def test_an_unknown_keyword_names_the_nearest(tmp_path):
    with pytest.raises(luban.ConfigError, match="Did you mean 'epochs'"):
        luban.train("rows.csv", task="text-classification", out=tmp_path / "m", epoch=3)


def test_an_explanation_does_not_come_from_a_model_put_in_the_place_of_the_served_one(tmp_path):
    served = Folder.open(tiny_folder(tmp_path / "model").path)
    ask = verbs.explainer(served)
    tiny_folder(tmp_path / "model", seed=8)
    with pytest.raises(FolderError, match="another model"):
        ask("where is my order")
