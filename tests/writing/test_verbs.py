"""The verbs know a model that writes: predict, evaluate, explain, and what they refuse."""

from __future__ import annotations

import io
import json
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from luban import verbs
from luban.cli import main
from luban.folder import Folder
from luban.records import Prediction
from luban.stages.evaluate.views import view_of
from luban.testing import SAMPLES, tiny_folder

ROWS = SAMPLES["text-generation"]


class Called(NamedTuple):
    code: int
    out: str
    err: str


def called(*args: str) -> Called:
    """A call of the command line in this process."""
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        code = main(list(args))
    return Called(code, out.getvalue(), err.getvalue())


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Folder:
    return tiny_folder(tmp_path_factory.mktemp("folder") / "model", "text-generation")


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("rows") / "rows.jsonl"
    path.write_text("\n".join(map(json.dumps, ROWS * 3)), encoding="utf8")
    return path


def test_predict_prints_the_text_and_its_json(folder: Folder) -> None:
    found = called("predict", str(folder.path), "hello, ", "--max-new-tokens", "6", "--json")
    said = json.loads(found.out)
    assert set(said) == {"id", "text", "score", "cut"}
    assert said["text"] == verbs.load(folder).predict([{"text": "hello, ", "max_new_tokens": 6}])[0].text


def test_a_stream_shows_the_same_text_as_the_answer(folder: Folder) -> None:
    streamed = called("predict", str(folder.path), "hello, ", "--max-new-tokens", "6", "--stream")
    whole = verbs.load(folder).predict([{"text": "hello, ", "max_new_tokens": 6}])[0]
    assert streamed.out == f"{whole.text}\n"
    pieces = called("predict", str(folder.path), "hello, ", "--max-new-tokens", "6", "--stream", "--json").out
    assert "".join(json.loads(line)["piece"] for line in pieces.splitlines()) == whole.text


def test_options_of_writing_are_refused_where_nothing_is_written(tmp_path: Path) -> None:
    classifier = tiny_folder(tmp_path / "model")
    found = called("predict", str(classifier.path), "hello", "--beams", "2")
    assert found.code == 2
    assert "writes nothing" in found.err


def test_evaluate_scores_text_and_probability(folder: Folder, source: Path, tmp_path: Path) -> None:
    found = verbs.evaluate(folder, source, report=str(tmp_path / "report.html"), bootstrap=100, threads=1)
    assert {"perplexity", "rouge_l", "chrf", "exact_match"} <= set(found.scores)
    assert found.intervals["perplexity"][0] <= found.scores["perplexity"] <= found.intervals["perplexity"][1]
    assert "written as the right ones" in (tmp_path / "report.html").read_text(encoding="utf8")


def test_the_view_puts_the_least_alike_first_and_agrees_with_the_task() -> None:
    from luban.tasks.text_generation import TextGeneration

    answers = [Prediction(text=row["target"], likelihood=(-2.0, 4)) for row in ROWS[:2]]
    answers += [Prediction(text="no", likelihood=(-8.0, 4)), Prediction(text="你好", likelihood=(-4.0, 4))]
    view = view_of(ROWS, answers, ())
    assert [mistake.row for mistake in view.mistakes] == [3, 4]
    whole = {name: float(value[0]) for name, value in view.statistic(np.ones((1, 4))).items()}
    assert whole == pytest.approx(TextGeneration(settings={"form": "text"}).score(ROWS, answers))


def test_an_explanation_weighs_the_words_of_the_prompt_for_what_was_written(folder: Folder) -> None:
    row = {"text": "hello bob, where", "max_new_tokens": 4}
    predictor = verbs.load(folder, threads=1)
    written = predictor.predict([row])[0].text
    for method in ("shapley", "integrated-gradients"):
        evidence = verbs.explain(predictor, row, method=method)
        assert evidence.target == written
        assert [word.text for word in evidence.words] == ["hello", "bob", ",", "where"]
    asked = verbs.explain(predictor, row, target="now", method="shapley")
    assert asked.target == "now"


def test_conversations_are_explained_in_the_words_of_their_messages(tmp_path: Path) -> None:
    talk = [{"role": "user", "content": "hi bob"}, {"role": "assistant", "content": "hello"}]
    model = tiny_folder(tmp_path / "model", "text-generation", [{"messages": talk}] * 2)
    evidence = verbs.explain(model, {"messages": talk[:1], "max_new_tokens": 3}, method="shapley")
    assert [(word.text, word.start) for word in evidence.words] == [("hi", 0), ("bob", 3)]
