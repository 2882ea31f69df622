"""Errors over HTTP in the language that the client prefers."""

from __future__ import annotations

import httpx
import pytest

CHINESE = {"Accept-Language": "zh-CN,zh;q=0.9,en;q=0.8"}


def test_an_error_is_in_chinese_for_a_client_that_prefers_it(client: httpx.Client) -> None:
    told = client.post("/models/desk/predict", json={"inputs": "text"}, headers=CHINESE)
    assert told.status_code == 422
    assert told.headers["content-language"] == "zh"
    assert told.json()["error"]["happened"] == "'inputs' 不是数组。"


def test_the_error_string_of_kserve_is_in_chinese_too(client: httpx.Client) -> None:
    told = client.post("/v2/models/desk/infer", json={"inputs": []}, headers=CHINESE)
    assert told.status_code == 400
    assert told.json()["error"].startswith("缺少输入 'text'。")


def test_an_unknown_path_is_told_in_chinese(client: httpx.Client) -> None:
    told = client.get("/nowhere", headers=CHINESE)
    assert told.status_code == 404
    assert told.json()["error"]["happened"] == "GET /nowhere：没有这个路径。"


@pytest.mark.parametrize("wanted", ["en", "en-GB,zh;q=0.9", "", "fr", "zh;q=0", "*"])
def test_an_error_is_in_english_otherwise(client: httpx.Client, wanted: str) -> None:
    told = client.get("/models/nobody", headers={"Accept-Language": wanted})
    assert "content-language" not in told.headers
    assert told.json()["error"]["happened"] == "There is no model 'nobody'."


def test_an_answer_is_the_same_in_every_language(client: httpx.Client) -> None:
    answers = [
        client.post("/models/desk/predict", json={"text": "refund"}, headers=headers).json()["predictions"]
        for headers in ({}, CHINESE)
    ]
    assert answers[0] == answers[1]
