"""KServe's Open Inference Protocol v2 in JSON, over real HTTP."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from luban.folder import Folder

INFER = "/v2/models/desk/infer"


def request(texts: list[Any], **more: Any) -> dict[str, Any]:
    return {"inputs": [{"name": "text", "datatype": "BYTES", "shape": [len(texts)], "data": texts}], **more}


def outputs(reply: httpx.Response) -> dict[str, dict[str, Any]]:
    assert reply.status_code == 200, reply.text
    return {tensor["name"]: tensor for tensor in reply.json()["outputs"]}


def test_the_server_is_live_and_ready(client: httpx.Client) -> None:
    assert client.get("/v2/health/live").json() == {"live": True}
    assert client.get("/v2/health/ready").json() == {"ready": True}


def test_the_server_tells_its_name_version_and_extensions(client: httpx.Client) -> None:
    assert set(client.get("/v2").json()) == {"name", "version", "extensions"}


def test_a_model_is_ready_by_name_and_by_version(client: httpx.Client, folder: Folder) -> None:
    version = folder.manifest.fingerprint[:12]
    assert client.get("/v2/models/desk/ready").json()["ready"] is True
    assert client.get(f"/v2/models/desk/versions/{version}/ready").json()["ready"] is True


def test_metadata_describe_the_tensors(client: httpx.Client) -> None:
    told = client.get("/v2/models/desk").json()
    assert told["inputs"] == [{"name": "text", "datatype": "BYTES", "shape": [-1]}]
    assert told["outputs"] == [
        {"name": "label", "datatype": "BYTES", "shape": [-1]},
        {"name": "score", "datatype": "FP32", "shape": [-1]},
        {"name": "scores", "datatype": "FP32", "shape": [-1, 3]},
    ]
    assert told["parameters"]["labels"] == ["delivery", "card", "refund"]


def test_texts_come_back_as_label_score_and_scores(client: httpx.Client) -> None:
    out = outputs(client.post(INFER, json=request(["where is my order", "refund please"])))
    assert out["label"]["data"] == ["delivery", "refund"]
    assert (out["scores"]["shape"], len(out["scores"]["data"])) == ([2, 3], 6)
    assert out["score"]["data"][1] == pytest.approx(max(out["scores"]["data"][3:]))


def test_a_column_of_texts_is_taken_as_well(client: httpx.Client) -> None:
    body = {"inputs": [{"name": "text", "datatype": "BYTES", "shape": [2, 1], "data": [["card"], ["refund"]]}]}
    assert outputs(client.post(INFER, json=body))["label"]["data"] == ["card", "refund"]


def test_the_id_is_echoed_and_the_model_named(client: httpx.Client, folder: Folder) -> None:
    said = client.post(INFER, json=request(["card"], id="mine", parameters={"priority": 1})).json()
    assert (said["id"], said["model_name"], said["model_version"]) == ("mine", "desk", folder.manifest.fingerprint[:12])
    assert said["parameters"]["fingerprint"] == folder.manifest.fingerprint


def test_only_the_requested_outputs_return_in_their_order(client: httpx.Client) -> None:
    said = client.post(INFER, json=request(["card"], outputs=[{"name": "score"}, {"name": "label"}])).json()
    assert [tensor["name"] for tensor in said["outputs"]] == ["score", "label"]


def test_the_served_version_answers_and_another_does_not(client: httpx.Client, folder: Folder) -> None:
    version = folder.manifest.fingerprint[:12]
    assert client.post(f"/v2/models/desk/versions/{version}/infer", json=request(["card"])).status_code == 200
    assert client.post("/v2/models/desk/versions/7/infer", json=request(["card"])).status_code == 404


def tensor(**change: Any) -> dict[str, Any]:
    return {"inputs": [{"name": "text", "datatype": "BYTES", "shape": [1], "data": ["card"], **change}]}


WRONG = {
    "no inputs": {},
    "inputs no array": {"inputs": {"text": "card"}},
    "a tensor that is no object": {"inputs": ["card"]},
    "an unknown input": tensor(name="body"),
    "a name that is no string": tensor(name=["text"]),
    "the wrong datatype": tensor(datatype="FP32"),
    "a shape that counts wrongly": tensor(shape=[2]),
    "a shape of three": tensor(shape=[1, 1, 1]),
    "a wide shape": tensor(shape=[1, 2], data=["a", "b"]),
    "a negative shape": tensor(shape=[-1]),
    "a shape of booleans": tensor(shape=[True]),
    "no data": tensor(data=None),
    "a number": tensor(data=[1]),
    "binary data": tensor(parameters={"binary_data_size": 8}),
    "parameters no object": tensor(parameters=[1]),
    "the input twice": {"inputs": tensor()["inputs"] * 2},
    "an unknown output": {**tensor(), "outputs": [{"name": "logits"}]},
    "outputs no array": {**tensor(), "outputs": {"name": "label"}},
    "an id that is no string": {**tensor(), "id": 5},
}


@pytest.mark.parametrize("body", WRONG.values(), ids=WRONG.keys())
def test_a_wrong_request_gets_the_protocols_error_string(client: httpx.Client, body: dict[str, Any]) -> None:
    reply = client.post(INFER, json=body)
    assert reply.status_code == 400
    assert isinstance(reply.json()["error"], str)


def test_no_rows_and_empty_texts_are_unprocessable(client: httpx.Client) -> None:
    assert client.post(INFER, json=request([])).status_code == 422
    assert client.post(INFER, json=request([""])).status_code == 422


@pytest.mark.parametrize("path", ["/v2/models/none", "/v2/models/none/ready", "/v2/nowhere"])
def test_what_is_not_there_is_404_with_an_error_string(client: httpx.Client, path: str) -> None:
    reply = client.get(path)
    assert reply.status_code == 404
    assert isinstance(reply.json()["error"], str)
