"""Models whose answers are intents with slots, or pieces of a context, over real HTTP in both protocols."""

from __future__ import annotations

from pathlib import Path

import pytest

from luban import verbs
from luban.stages.serve import Served
from luban.testing import tiny_folder
from tests.serve.conftest import serving

QUESTION = {"question": "where is alice?", "context": "alice was in paris and bob in london."}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Served]:
    home: Path = tmp_path_factory.mktemp("spans")
    folders = {name: tiny_folder(home / name, name) for name in ("intent-and-slots", "extractive-qa")}
    return {name: Served.open(folder, explain=verbs.explainer(folder)) for name, folder in folders.items()}


def tensor(name: str, text: str) -> dict[str, object]:
    return {"name": name, "datatype": "BYTES", "shape": [1], "data": [text]}


def test_both_are_answered_explained_and_described(models: dict[str, Served]) -> None:
    with serving(models) as client:
        told = client.post("/models/intent-and-slots/predict", json={"text": "when is alice in paris"}).json()
        (said,) = told["predictions"]
        assert set(said["scores"]) == {"ask", "greet"}
        assert said["label"] in said["scores"]
        assert isinstance(said["entities"], list)
        labels = client.get("/v2/models/intent-and-slots").json()["parameters"]["labels"]
        assert labels == list(said["scores"])

        (answer,) = client.post("/models/extractive-qa/predict", json=QUESTION).json()["predictions"]
        assert QUESTION["context"][answer["start"] : answer["end"]] == answer["answer"]
        assert client.get("/models/extractive-qa").json()["inputs"] == ["question", "context"]
        inputs = [tensor(name, text) for name, text in QUESTION.items()]
        reply = client.post("/v2/models/extractive-qa/infer", json={"inputs": inputs}).json()["outputs"]
        found = {one["name"]: one for one in reply}
        assert found["answer"]["data"] == [answer["answer"]]
        assert (found["start"]["datatype"], found["start"]["data"]) == ("INT64", [answer["start"]])

        for name, row in (("intent-and-slots", {"text": "hello bob"}), ("extractive-qa", QUESTION)):
            evidence = client.post(f"/models/{name}/explain", json=row).json()["evidence"]
            assert evidence["words"]


def test_a_question_without_its_context_is_refused_in_a_sentence(models: dict[str, Served]) -> None:
    with serving({"read": models["extractive-qa"]}) as client:
        reply = client.post("/models/read/predict", json={"question": "where is alice?"})
        assert reply.status_code == 422
        assert "context" in reply.text
