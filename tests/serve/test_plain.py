"""The plain protocol over real HTTP."""

from __future__ import annotations

import json
import uuid

import httpx
import pytest

from luban.folder import Folder
from luban.predict import Predictor
from luban.stages.serve import Served
from luban.verbs import explainer
from tests.serve.conftest import serving


def ask(client: httpx.Client, body: object, path: str = "/models/desk/predict") -> httpx.Response:
    return client.post(path, json=body)


def test_a_text_is_answered_as_the_predictor_answers_it(client: httpx.Client, folder: Folder) -> None:
    said = ask(client, {"text": "where is my order ?"}).json()
    expected = Predictor.open(folder).predict(["where is my order ?"])[0].as_json()
    (answer,) = said["predictions"]
    assert answer["label"] == expected["label"] == "delivery"
    assert answer["scores"] == pytest.approx(expected["scores"])


def test_a_reply_names_the_model_its_fingerprint_and_the_id_for_feedback(client: httpx.Client, folder: Folder) -> None:
    said = ask(client, {"text": "i lost my card"}).json()
    assert said["model"] == "desk"
    assert said["fingerprint"] == folder.manifest.fingerprint
    assert uuid.UUID(said["id"]).version == 4
    assert said["seconds"] > 0


def test_two_replies_have_different_ids(client: httpx.Client) -> None:
    assert ask(client, {"text": "card"}).json()["id"] != ask(client, {"text": "card"}).json()["id"]


def test_several_rows_are_answered_in_their_order(client: httpx.Client) -> None:
    said = ask(client, {"inputs": ["refund please", {"text": "where is my order"}, "card"]}).json()
    assert [answer["label"] for answer in said["predictions"]] == ["refund", "delivery", "card"]


def test_an_answer_says_how_many_sub_words_were_read(client: httpx.Client) -> None:
    (answer,) = ask(client, {"text": "where is my order ?"}).json()["predictions"]
    assert (answer["tokens"], answer["truncated"]) == (5, False)


def test_a_text_longer_than_all_windows_is_said_to_be_truncated(client: httpx.Client) -> None:
    (answer,) = ask(client, {"text": "i " * 2400}).json()["predictions"]
    assert answer["truncated"] is True


def test_two_models_answer_beside_each_other(client: httpx.Client) -> None:
    first = ask(client, {"text": "i lost my card"})
    second = ask(client, {"text": "i lost my card"}, "/models/other/predict")
    assert [reply.json()["predictions"][0]["label"] for reply in (first, second)] == ["card", "delivery"]


def test_the_models_are_listed_with_their_fingerprints(client: httpx.Client, folder: Folder, other: Folder) -> None:
    listed = client.get("/models").json()["models"]
    assert {model["name"]: model["fingerprint"] for model in listed} == {
        "desk": folder.manifest.fingerprint,
        "other": other.manifest.fingerprint,
    }


def test_a_model_tells_its_task_labels_and_inputs(client: httpx.Client) -> None:
    told = client.get("/models/desk").json()
    assert (told["task"], told["labels"], told["inputs"]) == (
        "text-classification",
        ["delivery", "card", "refund"],
        ["text"],
    )


def test_an_explanation_gives_the_words_with_their_places(client: httpx.Client) -> None:
    said = ask(client, {"text": "lost card"}, "/models/desk/explain").json()
    assert said["evidence"]["words"] == [
        {"text": "lost", "start": 0, "end": 4, "weight": 4.0},
        {"text": "card", "start": 5, "end": 9, "weight": 4.0},
    ]


def test_a_model_without_explanations_says_so(client: httpx.Client) -> None:
    reply = ask(client, {"text": "lost card"}, "/models/other/explain")
    assert reply.status_code == 404
    assert "without explanations" in reply.json()["error"]["happened"]


def test_only_one_row_is_explained_at_a_time(client: httpx.Client) -> None:
    assert ask(client, {"inputs": ["lost", "card"]}, "/models/desk/explain").status_code == 422


BAD = {
    "no JSON": (b"text=hello", 400),
    "half of it": (b'{"text": "hel', 400),
    "nothing": (b"", 400),
    "not a number": (b'{"text": NaN}', 400),
    "a lone surrogate": (b'{"text": "\\ud800"}', 400),
    "not UTF-8": (b'{"text": "\xff\xfe"}', 400),
    "an array": (b'["hello"]', 400),
    "deep nesting": (b"[" * 9000, 400),
    "another column": (b'{"txt": "hello"}', 422),
    "a key too many": (b'{"text": "hello", "top_k": 3}', 422),
    "a key beside the rows": (b'{"inputs": ["hello"], "top_k": 3}', 422),
    "a target for an answer": (b'{"text": "hello", "target": "card"}', 422),
    "an empty object": (b"{}", 422),
    "a number for a text": (b'{"text": 5}', 422),
    "null for a text": (b'{"text": null}', 422),
    "an empty text": (b'{"text": ""}', 422),
    "white space": (b'{"text": " \\n "}', 422),
    "inputs of the wrong type": (b'{"inputs": "hello"}', 422),
    "a row of the wrong type": (b'{"inputs": [1.5]}', 422),
    "no rows": (b'{"inputs": []}', 422),
    "an array for a text": (b'{"text": ["a", "b"]}', 422),
    "too many rows": (json.dumps({"inputs": ["a"] * 17}).encode(), 413),
    "too long a text": (json.dumps({"text": "a " * 2600}).encode(), 413),
    "too large a body": (b" " * 20_001, 413),
}


@pytest.mark.parametrize("body", BAD.values(), ids=BAD.keys())
def test_a_bad_request_is_refused_with_what_happened(client: httpx.Client, body: tuple[bytes, int]) -> None:
    content, status = body
    reply = client.post("/models/desk/predict", content=content)
    assert reply.status_code == status
    error = reply.json()["error"]
    assert set(error) == {"happened", "expected", "remedy"}
    assert error["happened"]
    assert error["expected"]


def test_odd_characters_are_answered(client: httpx.Client) -> None:
    reply = ask(client, {"text": "\x00\u200b card \U0001f600 卡片 \u202e"})
    assert reply.status_code == 200
    assert reply.json()["predictions"][0]["label"] == "card"


def test_the_bad_row_of_several_is_named(client: httpx.Client) -> None:
    assert "Row 2" in ask(client, {"inputs": ["card", ""]}).json()["error"]["happened"]


def test_an_unknown_model_is_refused_with_the_nearest(client: httpx.Client) -> None:
    reply = ask(client, {"text": "card"}, "/models/dest/predict")
    assert reply.status_code == 404
    assert "desk" in reply.json()["error"]["remedy"]


@pytest.mark.parametrize(
    ("body", "key"),
    [
        ({"txt": "card"}, "txt"),
        ({"text": "card", "texts": "card"}, "texts"),
        ({"inputs": [{"text": "card"}, {"Text": "card"}]}, "Text"),
    ],
)
def test_an_unknown_key_is_refused_with_the_nearest(client: httpx.Client, body: object, key: str) -> None:
    error = ask(client, body).json()["error"]
    assert f"{key!r}" in error["happened"]
    assert error["remedy"] == "Did you mean 'text'?"


def test_a_misspelt_target_is_refused_with_the_nearest_key(client: httpx.Client) -> None:
    reply = ask(client, {"text": "lost card", "taget": "card"}, "/models/desk/explain")
    assert reply.status_code == 422
    assert "'taget'" in reply.json()["error"]["happened"]


def test_an_explanation_speaks_of_the_label_it_was_asked_for(client: httpx.Client) -> None:
    said = ask(client, {"text": "lost card", "target": "refund"}, "/models/desk/explain").json()
    assert said["evidence"]["target"] == "refund"


def test_a_target_that_is_no_text_is_refused(client: httpx.Client) -> None:
    reply = ask(client, {"text": "lost card", "target": 1}, "/models/desk/explain")
    assert reply.status_code == 422
    assert "'target'" in reply.json()["error"]["happened"]


def test_a_target_the_model_does_not_know_is_refused_with_the_nearest_label(folder: Folder) -> None:
    with serving({"desk": Served.open(folder, explain=explainer(folder))}) as client:
        known = ask(client, {"text": "lost card", "target": "refund"}, "/models/desk/explain")
        unknown = ask(client, {"text": "lost card", "target": "refunds"}, "/models/desk/explain")
    assert known.json()["evidence"]["target"] == "refund"
    assert unknown.status_code == 422
    assert "'refunds'" in unknown.json()["error"]["happened"]
    assert unknown.json()["error"]["remedy"] == "Did you mean 'refund'?"


@pytest.mark.parametrize(("method", "path", "status"), [("GET", "/nowhere", 404), ("GET", "/models/desk/predict", 405)])
def test_routing_errors_are_json_too(client: httpx.Client, method: str, path: str, status: int) -> None:
    reply = client.request(method, path)
    assert reply.status_code == status
    error = reply.json()["error"]
    assert path in error["happened"]
    assert error["remedy"]


def test_a_path_that_takes_another_method_names_it(client: httpx.Client) -> None:
    reply = client.get("/models/desk/predict")
    assert reply.headers["allow"] == "POST"
    assert reply.json()["error"]["remedy"] == "Ask it with POST."


def test_the_root_says_what_there_is(client: httpx.Client) -> None:
    told = client.get("/").json()
    assert told["models"] == ["desk", "other"]
    for name in ("docs", "metrics", "health", "kserve"):
        assert client.get(told[name]).status_code == 200
