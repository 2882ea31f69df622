"""Pictures over real HTTP: base64 and data URLs are answered, files of the server are never opened."""

from __future__ import annotations

import base64
import io
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from PIL import Image

from luban.folder import Folder
from luban.pictures import made
from luban.predict import Predictor
from luban.stages.serve import Served
from luban.testing import tiny_folder
from luban.verbs import explainer
from tests.serve.conftest import serving

PREDICT, EXPLAIN, INFER = "/models/eye/predict", "/models/eye/explain", "/v2/models/eye/infer"


@pytest.fixture(scope="module")
def eye(tmp_path_factory: pytest.TempPathFactory) -> Folder:
    return tiny_folder(tmp_path_factory.mktemp("eye") / "eye", "image-classification")


@pytest.fixture(scope="module")
def client(eye: Folder) -> Iterator[httpx.Client]:
    with serving({"eye": Served.open(eye, explain=explainer(eye))}) as client:
        yield client


def base64_of(number: int) -> str:
    return made(number).partition(",")[2]


def test_base64_and_data_urls_are_answered_alike(client: httpx.Client, eye: Folder) -> None:
    said = client.post(PREDICT, json={"inputs": [{"image": base64_of(1)}, {"image": made(1)}, made(1)]}).json()
    expected = Predictor.open(eye).predict([made(1)])[0]
    for answer in said["predictions"]:
        assert answer["scores"] == pytest.approx(expected.scores, abs=1e-5)


def test_kserve_takes_pictures_as_bytes(client: httpx.Client) -> None:
    tensor = {"name": "image", "datatype": "BYTES", "shape": [2], "data": [base64_of(1), made(2)]}
    said = client.post(INFER, json={"inputs": [tensor]}).json()
    assert [output["name"] for output in said["outputs"]] == ["label", "score", "scores"]


def test_an_explanation_has_a_weight_for_each_part(client: httpx.Client) -> None:
    evidence = client.post(EXPLAIN, json={"image": base64_of(1)}).json()["evidence"]
    assert len(evidence["grid"]) == 7
    assert evidence["method"] == "occlusion"


@pytest.mark.parametrize("path", [PREDICT, EXPLAIN])
def test_a_file_of_the_server_is_never_opened(path: str, client: httpx.Client, tmp_path: Path) -> None:
    file = tmp_path / "secret.png"
    Image.new("RGB", (8, 8)).save(file)
    for name in (str(file), f"file://{file}", "data", ""):
        refused = client.post(path, json={"image": name})
        assert refused.status_code == 422, name
        assert "picture" in refused.json()["error"]["happened"]


def test_kserve_does_not_open_files_either(client: httpx.Client, tmp_path: Path) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    tensor = {"name": "image", "datatype": "BYTES", "shape": [1], "data": [str(tmp_path / "a.png")]}
    assert client.post(INFER, json={"inputs": [tensor]}).status_code == 422


@pytest.mark.parametrize("value", [7, None, {"bytes": "x"}, ["a"]])
def test_what_is_no_text_is_refused(value: object, client: httpx.Client) -> None:
    assert client.post(PREDICT, json={"image": value}).status_code == 422


def test_a_decompression_bomb_is_refused(client: httpx.Client) -> None:
    out = io.BytesIO()
    Image.new("1", (9000, 9000)).save(out, "PNG")
    refused = client.post(PREDICT, json={"image": base64.b64encode(out.getvalue()).decode()})
    assert refused.status_code == 422
    assert "pixels" in refused.json()["error"]["happened"]


def test_a_bomb_that_lies_about_its_size_is_refused(client: httpx.Client) -> None:
    def chunk(kind: bytes, held: bytes) -> bytes:
        return struct.pack(">I", len(held)) + kind + held + struct.pack(">I", zlib.crc32(kind + held))

    header = struct.pack(">IIBBBBB", 2**31 - 1, 2**31 - 1, 8, 2, 0, 0, 0)
    bomb = (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 100)) + chunk(b"IEND", b"")
    )
    assert client.post(PREDICT, json={"image": base64.b64encode(bomb).decode()}).status_code == 422


def test_a_body_over_the_limit_is_refused_before_it_is_read(eye: Folder) -> None:
    with serving({"eye": Served.open(eye)}, max_body=2048) as small:
        assert small.post(PREDICT, json={"image": "A" * 4000}).status_code == 413


def test_a_picture_longer_than_the_longest_text_is_taken(eye: Folder) -> None:
    with serving({"eye": Served.open(eye)}, max_text=10) as client:
        assert client.post(PREDICT, json={"image": base64_of(1)}).status_code == 200
