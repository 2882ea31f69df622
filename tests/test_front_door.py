"""The front door: its names, that they open, and that it is light."""

from __future__ import annotations

import subprocess
import sys

import pytest

import luban
from luban import verbs
from luban.config import PrepareConfig
from luban.errors import FolderError
from luban.folder import Folder
from luban.testing import tiny_base, tiny_folder

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
    "search",
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


def learnt_from(tmp_path, *, rows=60):
    """A classifier with test and validation rows of its own split, and the file of its rows."""
    source = tmp_path / "rows.csv"
    lines = [f"order {i} please,{'order' if i % 2 else 'refund'}" for i in range(rows)]
    source.write_text("text,label\n" + "\n".join(lines) + "\n", encoding="utf8")
    options = {"base": str(tiny_base(tmp_path / "base")), "epochs": 1, "log": (), "golden": "synthetic"}
    split = {"valid_share": 0.2, "test_share": 0.2, "seed": 7}
    folder = luban.train(source, task="text-classification", out=tmp_path / "model", **options, **split)
    return source, folder, verbs.prepare(PrepareConfig(source=str(source), **split), "text-classification")


def test_an_export_is_compared_on_rows_the_training_did_not_see(tmp_path):
    source, folder, rows = learnt_from(tmp_path)
    assert list(verbs.held_out(folder)) == list(rows.test)
    with source.open("a", encoding="utf8") as file:
        file.write("one more,order\n")
    assert verbs.held_out(folder) == [golden.row for golden in folder.golden()]


def test_a_model_is_not_trained_under_a_name_that_no_url_can_hold(tmp_path):
    rows, base = tmp_path / "rows.csv", str(tiny_base(tmp_path / "base"))
    rows.write_text("text,label\n" + "one,order\ntwo,refund\n" * 20, encoding="utf8")
    with pytest.raises(luban.ConfigError, match="cannot be named 'a/b'"):
        luban.train(rows, task="text-classification", out=tmp_path / "model", base=base, name="a/b")


def test_an_explanation_does_not_come_from_a_model_put_in_the_place_of_the_served_one(tmp_path):
    served = Folder.open(tiny_folder(tmp_path / "model").path)
    ask = verbs.explainer(served)
    tiny_folder(tmp_path / "model", seed=8)
    with pytest.raises(FolderError, match="another model"):
        ask("where is my order")
