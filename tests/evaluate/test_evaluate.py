"""A whole evaluation of a real, tiny folder."""

import json
from dataclasses import replace

import pytest

from luban.config import EvaluateConfig
from luban.errors import ConfigError, DataError
from luban.folder import Folder, write
from luban.records import Progress
from luban.stages.evaluate import compare, evaluate, speed, write_report
from tests.serve.models import make_folder

CONFIG = EvaluateConfig(bootstrap=100, threads=1)
ROWS = [
    {"text": "where is my order ?", "label": "delivery"},
    {"text": "i lost my card", "label": "card"},
    {"text": "the refund please", "label": "refund"},
    {"text": "where is my card ?", "label": "delivery"},
] * 5


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Folder:
    return make_folder(tmp_path_factory.mktemp("models") / "desk")


@pytest.fixture(scope="module")
def tilted(tmp_path_factory) -> Folder:
    """A model that says delivery to everything."""
    return make_folder(tmp_path_factory.mktemp("models") / "tilted", name="tilted", tilt=50.0)


@pytest.fixture(scope="module")
def evaluation(folder):
    return evaluate(folder, ROWS, CONFIG, rejects=2, train_rows=ROWS[:1])


def test_the_scores_are_those_of_the_rows(evaluation):
    assert evaluation.scores["accuracy"] == 0.75
    low, high = evaluation.intervals["accuracy"]
    assert low < 0.75 < high
    assert (evaluation.rows, evaluation.rejects, evaluation.wrong) == (20, 2, 5)
    assert {m.text for m in evaluation.mistakes} == {"where is my card ?"}


def test_the_folder_is_named_as_it_names_itself(evaluation, folder):
    assert (evaluation.model, evaluation.fingerprint) == ("desk", folder.manifest.fingerprint)
    assert (evaluation.task, evaluation.runtime, evaluation.bytes) == ("text-classification", "onnx", folder.bytes)


def test_cost_is_measured_in_the_same_run(evaluation):
    assert 0 < evaluation.latency_ms["p50"] <= evaluation.latency_ms["p99"]
    assert evaluation.rows_per_second == pytest.approx(20 / evaluation.seconds)
    assert evaluation.peak_bytes > 1_000_000


def test_unseen_rows_are_scored_beside_all_rows(evaluation):
    assert evaluation.unseen.rows == 15
    assert evaluation.unseen.scores["accuracy"] == pytest.approx(2 / 3)
    assert evaluation.as_json()["unseen"]["rows"] == 15


def test_without_training_rows_nothing_is_said_of_unseen_ones(folder):
    plain = evaluate(folder, ROWS, CONFIG)
    assert plain.unseen is None
    assert "unseen" not in plain.as_json()


def test_an_evaluation_can_be_reported_and_stored(evaluation, tmp_path):
    write_report(evaluation, tmp_path / "report.html")
    assert "desk" in (tmp_path / "report.html").read_text(encoding="utf8")
    assert json.loads(json.dumps(evaluation.detail(), allow_nan=False))["scores"]["accuracy"] == 0.75


def test_the_same_rows_get_the_same_scores_and_intervals_again(evaluation, folder):
    again = evaluate(folder, ROWS, CONFIG)
    assert (again.scores, again.intervals) == (evaluation.scores, evaluation.intervals)


def test_progress_is_told_up_to_the_last_row(folder):
    events = []
    evaluate(folder, ROWS, CONFIG, watch=events.append)
    assert events[-1] == Progress("score", 20, 20)


def test_no_rows_are_refused_before_the_model_is_opened(folder):
    with pytest.raises(DataError, match="no rows to score"):
        evaluate(replace(folder, path=folder.path / "absent"), [], CONFIG)


def test_the_training_run_of_the_folder_is_read(folder, tmp_path):
    points = [{"epoch": 1, "step": 1, "loss": 2.0}, {"epoch": 1, "step": 2, "loss": 1.0, "accuracy": 0.5}]

    def fill(inside):
        for name in folder.manifest.files:
            (inside / name).write_bytes((folder.path / name).read_bytes())
        (inside / "reports").mkdir()
        (inside / "reports" / "training.json").write_text(json.dumps(points))

    with_history = write(tmp_path / "trained", folder.manifest, fill)
    assert list(evaluate(with_history, ROWS, CONFIG).history) == points


def test_a_model_that_always_says_the_same_is_surely_worse(folder, tilted):
    found = compare(folder, tilted, ROWS[:3] * 7, CONFIG)
    assert (found.a, found.b, found.score, found.rows) == ("desk", "tilted", "accuracy", 21)
    assert found.verdict == "a"
    assert json.loads(json.dumps(found.as_json()))["differences"]["accuracy"]["value"] < 0


def test_models_of_different_tasks_are_not_compared(folder):
    other = replace(folder, manifest=folder.manifest.model_copy(update={"task": "text-regression"}))
    with pytest.raises(ConfigError, match="same task"):
        compare(folder, other, ROWS, CONFIG)


def test_single_rows_are_timed_within_limits(folder, monkeypatch):
    from luban.predict import Predictor

    predictor = Predictor.open(folder, threads=1)
    assert len(speed.single_rows(predictor, ROWS)) == 20
    monkeypatch.setattr(speed, "SINGLES", 4)
    assert len(speed.single_rows(predictor, ROWS)) == 4
    monkeypatch.setattr(speed, "PATIENCE", 0.0)
    assert len(speed.single_rows(predictor, ROWS)) == 1
