"""A model that answers several questions, over real HTTP in both protocols."""

from __future__ import annotations

from pathlib import Path

import pytest

from luban import verbs
from luban.stages.serve import Served
from luban.testing import tiny_folder
from tests.serve.conftest import serving


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Served]:
    home: Path = tmp_path_factory.mktemp("questions")
    folder = tiny_folder(home / "model", "multi-task")
    return {"desk": Served.open(folder, explain=verbs.explainer(folder))}


def test_every_question_is_answered_by_name_in_both_protocols(models: dict[str, Served]) -> None:
    with serving(models) as client:
        (said,) = client.post("/models/desk/predict", json={"text": "where is my order"}).json()["predictions"]
        assert set(said["answers"]) == {"intent", "stars", "topics"}
        assert said["answers"]["intent"]["label"] in ("order", "refund")
        sent = {"inputs": [{"name": "text", "datatype": "BYTES", "shape": [1], "data": ["where is my order"]}]}
        reply = client.post("/v2/models/desk/infer", json=sent).json()["outputs"]
        found = {one["name"]: one for one in reply}
        assert found["intent.label"]["data"] == [said["answers"]["intent"]["label"]]
        assert found["stars.value"]["data"] == pytest.approx([said["answers"]["stars"]["value"]], rel=1e-4)
        assert found["topics.scores"]["shape"] == [1, 3]


def test_the_service_describes_what_it_is_asked(models: dict[str, Served]) -> None:
    with serving(models) as client:
        told = client.get("/v2/models/desk").json()
        assert told["parameters"]["questions"] == {
            "intent": ["order", "refund"],
            "stars": [],
            "topics": ["city", "film", "food"],
        }
        assert {"intent.label", "stars.value", "topics.labels"} <= {one["name"] for one in told["outputs"]}
        assert "answers" in client.get("/openapi.json").json()["components"]["schemas"]["Answered"]["properties"]


def test_an_explanation_names_its_question_or_is_refused_in_a_sentence(models: dict[str, Served]) -> None:
    with serving(models) as client:
        asked = {"text": "where is my order", "target": "intent"}
        assert client.post("/models/desk/explain", json=asked).json()["evidence"]["target"].startswith("intent:")
        reply = client.post("/models/desk/explain", json={"text": "where is my order"})
        assert reply.status_code == 422
        assert "intent, stars, topics" in reply.text
