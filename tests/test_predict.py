"""The one way to ask a folder: order, ids, batching, and the golden rows at every door."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from luban.errors import DataError, FolderError, ParityError
from luban.folder import Folder, Golden
from luban.predict import Predictor, check_golden, difference, rounded
from luban.records import Entity, Prediction
from luban.runtimes.pytorch import open_model
from luban.tasks import TASKS
from luban.testing import SAMPLES, RuntimeContract, tiny_folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Folder:
    return tiny_folder(tmp_path_factory.mktemp("predict") / "model")


@pytest.fixture(scope="module")
def predictor(folder: Folder) -> Predictor:
    return Predictor.open(folder, threads=1)


class TestPyTorchRuntime(RuntimeContract):
    runtime = "pytorch"

    def folder(self, tmp_path: Path, task: str) -> Folder:
        return tiny_folder(tmp_path / "model", task)


class TestOnnxRuntime(RuntimeContract):
    runtime = "onnx"

    def folder(self, tmp_path: Path, task: str) -> Folder:
        from luban.config import ExportConfig
        from luban.stages.export import export

        rows = [TASKS[task].parse(row) for row in SAMPLES[task]]
        return export(tiny_folder(tmp_path / "model", task), rows, ExportConfig(quantise="none"), tmp_path / "onnx")


def test_answers_come_in_the_order_of_the_questions(predictor: Predictor) -> None:
    texts = ["where is my order please", "hello", "i want my money back", "late"]
    alone = [predictor.predict([text])[0].scores for text in texts]
    together = [answer.scores for answer in predictor.predict(texts)]
    for one, other in zip(alone, together, strict=True):
        assert one == pytest.approx(other, abs=1e-5)


def test_an_id_travels_with_its_row(predictor: Predictor) -> None:
    answers = predictor.predict([{"text": "hello", "id": 7}, "thanks"])
    assert [answer.id for answer in answers] == ["7", None]


def test_a_row_that_cannot_be_read_is_named_by_its_place(predictor: Predictor) -> None:
    with pytest.raises(DataError) as error:
        predictor.predict(["hello", ""])
    assert (error.value.row, error.value.column) == (2, "text")


def test_any_number_of_rows_streams_through(predictor: Predictor) -> None:
    answers = list(predictor.stream((f"order {n}" for n in range(23)), size=5))
    assert len(answers) == 23


def test_a_long_text_is_read_in_windows_and_says_so(predictor: Predictor) -> None:
    answer = predictor.predict(["where is my order " * 60])[0]
    assert answer.windows > 1
    assert not answer.truncated


def test_golden_rows_that_do_not_reproduce_are_refused_by_the_stage_that_found_it(tmp_path: Path) -> None:
    folder = tiny_folder(tmp_path / "model")
    golden = folder.golden()
    first = golden[0]
    wrong = type(first)(first.row, {**first.expect, "scores": dict.fromkeys(first.expect["scores"], 0.5)})
    with pytest.raises(ParityError, match=r"^merge: .*instead of") as error:
        check_golden(Predictor.open(folder), [wrong], stage="merge")
    assert error.value.exit_code == 1


def test_weights_that_were_swapped_are_caught_by_the_golden_rows(tmp_path: Path) -> None:
    from luban.folder import write

    left, right = (tiny_folder(tmp_path / name, seed=seed) for name, seed in (("left", 1), ("right", 2)))

    def swapped(work: Path) -> None:
        for name in left.manifest.files:
            source = right.path if name == "model.safetensors" else left.path
            (work / name).write_bytes((source / name).read_bytes())

    folder = write(tmp_path / "mixed", left.manifest.model_copy(update={"files": {}}), swapped)
    with pytest.raises(ParityError, match="serve"):
        Predictor.open(folder, stage="serve")


def test_a_label_may_flip_where_the_probabilities_agree() -> None:
    left = {"label": "a", "score": 0.5001, "scores": {"a": 0.5001, "b": 0.4999}}
    right = {"label": "b", "score": 0.5001, "scores": {"a": 0.4999, "b": 0.5001}}
    assert difference(left, right) == pytest.approx(0.0002)


JSON = st.recursive(
    st.floats(-1, 1) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


@given(JSON)
def test_an_answer_does_not_differ_from_itself(value: object) -> None:
    assert difference(value, value) == 0.0
    assert difference(value, rounded(value)) <= 1e-6


@given(JSON, JSON)
def test_difference_is_the_same_both_ways(left: object, right: object) -> None:
    assert difference(left, right) == difference(right, left)


class Tagged:
    """A one-by-one tagger that answers what it is told."""

    task = TASKS["token-classification"](["O", "B-city", "I-city"])
    runtime = SimpleNamespace(one_by_one=True)

    def __init__(self, said: list[list[Entity]]) -> None:
        self.said = said

    def predict(self, rows: list[Any]) -> list[Prediction]:
        return [Prediction(entities=tuple(entities)) for entities in self.said]


def city(start: int, score: float = 0.9) -> Entity:
    return Entity("oslo", "city", start, start + 4, score)


TEN = [[city(start) for start in range(0, 50, 5)]]


def checked(said: list[list[Entity]]) -> None:
    golden = [Golden({"text": "oslo"}, Prediction(entities=tuple(entities)).as_json()) for entities in TEN]
    check_golden(Tagged(said), golden, stage="serve")  # type: ignore[arg-type]


def test_an_int8_tagger_may_lose_one_entity_in_ten() -> None:
    checked([TEN[0][1:]])


@pytest.mark.parametrize("said", [[TEN[0][2:]], [[city(0, 0.8), *TEN[0][1:]]]], ids=["entities", "score"])
def test_an_int8_tagger_that_answers_otherwise_is_refused(said: list[list[Entity]]) -> None:
    with pytest.raises(ParityError, match="10 entities"):
        checked(said)


def test_the_golden_file_is_lines_of_json(folder: Folder) -> None:
    lines = (folder.path / "golden.jsonl").read_text(encoding="utf8").splitlines()
    assert all(set(json.loads(line)) == {"row", "expect"} for line in lines)


def test_the_distance_of_a_value_is_counted_in_the_spread_of_its_rows() -> None:
    assert difference({"value": 300_000.0}, {"value": 300_100.0}, unit=100_000.0) == pytest.approx(0.001)


def test_a_bad_row_of_a_stream_is_named_by_its_place_in_the_whole(predictor: Predictor) -> None:
    with pytest.raises(DataError) as error:
        list(predictor.stream(["hello"] * 12 + [""], size=5))
    assert error.value.row == 13


@pytest.mark.parametrize("named", [["AutoTokenizer"], ["pipeline"], [7], None, {}])
def test_a_folder_that_names_no_model_class_is_refused(folder: Folder, tmp_path: Path, named: object) -> None:
    config = json.loads((folder.path / "config.json").read_text(encoding="utf8"))
    (tmp_path / "config.json").write_text(json.dumps({**config, "architectures": named}), encoding="utf8")
    with pytest.raises(FolderError, match="cannot be opened with PyTorch"):
        open_model(tmp_path)
