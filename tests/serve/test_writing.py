"""A model that writes, over real HTTP in both protocols, without PyTorch."""

from __future__ import annotations

from pathlib import Path

import pytest

from luban import verbs
from luban.config import ExportConfig
from luban.folder import Folder
from luban.predict import Predictor
from luban.stages.export import export
from luban.stages.serve import Served
from luban.testing import tiny_folder
from tests.serve.conftest import serving

TALK = [{"role": "user", "content": "hi bob"}, {"role": "assistant", "content": "hello"}]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Folder:
    home: Path = tmp_path_factory.mktemp("talks")
    rows = [{"messages": TALK}] * 4
    chosen = ExportConfig(quantise="none", threads=1)
    return export(tiny_folder(home / "model", "text-generation", rows), rows, chosen, home / "talks")


def test_text_messages_and_options_are_answered_as_predict_answers(folder: Folder) -> None:
    predictor = Predictor.open(folder, threads=1)
    rows = [{"text": "hi bob", "max_new_tokens": 5}, {"messages": TALK[:1], "max_new_tokens": 5, "beams": 2}]
    with serving({"talks": Served.open(folder)}) as client:
        told = client.post("/models/talks/predict", json={"inputs": rows}).json()["predictions"]
        assert [one["text"] for one in told] == [answer.text for answer in predictor.predict(rows)]
        assert client.get("/models/talks").json()["inputs"] == ["text"]
        tensor = {"name": "text", "datatype": "BYTES", "shape": [1], "data": ["hi bob"]}
        found = client.post("/v2/models/talks/infer", json={"inputs": [tensor]}).json()["outputs"]
        assert {one["name"]: one["data"] for one in found}["text"] == [predictor.predict(["hi bob"])[0].text]


def test_an_option_that_cannot_be_and_a_key_there_is_not_are_refused(folder: Folder) -> None:
    with serving({"talks": Served.open(folder)}) as client:
        wrong = client.post("/models/talks/predict", json={"text": "hi", "beams": 0})
        assert (wrong.status_code, "beams" in wrong.text) == (422, True)
        unknown = client.post("/models/talks/predict", json={"text": "hi", "temprature": 1})
        assert (unknown.status_code, "temperature" in unknown.text) == (422, True)


def test_long_messages_are_refused_as_long_texts_are(folder: Folder) -> None:
    with serving({"talks": Served.open(folder)}, max_text=20) as client:
        long = client.post("/models/talks/predict", json={"messages": [{"role": "user", "content": "a" * 30}]})
        assert long.status_code == 413


def test_explanations_come_with_it(folder: Folder) -> None:
    with serving({"talks": Served.open(folder, explain=verbs.explainer(folder))}) as client:
        row = {"messages": TALK[:1], "max_new_tokens": 3}
        evidence = client.post("/models/talks/explain", json=row, timeout=60).json()["evidence"]
        assert [word["text"] for word in evidence["words"]] == ["hi", "bob"]
