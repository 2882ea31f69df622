"""A folder that answers several questions: learnt, calibrated, taught, exported, explained, judged, and what is refused."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers

from luban import verbs
from luban.config import ExportConfig, PrepareConfig
from luban.errors import ConfigError, DataError
from luban.folder import Folder
from luban.predict import Predictor, check_golden, difference
from luban.records import Prediction
from luban.stages.evaluate.report import page
from luban.stages.explain import explain
from luban.stages.export import export
from luban.stages.export.agreement import Answers, compare
from luban.stages.train import train
from luban.stages.train.calibrate import MIN_ROWS, calibrated
from luban.stages.train.model import build, head
from luban.stages.train.probe import start_whole
from luban.tasks.multi_task import MultiTask
from luban.testing import SAMPLES, tiny_base, tiny_folder
from tests.train.rows import base, config, prepared

QUESTIONS = {"intent": "label", "stars": "number", "topics": "labels"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Folder:
    return tiny_folder(tmp_path_factory.mktemp("several") / "model", "multi-task")


def table(path: Path, rows: list[dict[str, object]]) -> Path:
    with path.open("w", encoding="utf8", newline="") as file:
        writer = csv.DictWriter(file, dict.fromkeys(name for row in rows for name in row))
        writer.writeheader()
        writer.writerows(rows)
    return path


def test_sources_that_answer_different_questions_are_learnt_together(tmp_path: Path) -> None:
    home = tmp_path / "rows" / "train"
    home.mkdir(parents=True)
    texts = [row["text"] for row in SAMPLES["multi-task"]]
    table(home / "desk.csv", [{"text": f"{t} {i}", "intent": "ab"[i % 2]} for i, t in enumerate(texts * 6)])
    table(home / "reviews.csv", [{"text": f"{t} good {i}", "rating": i % 5} for i, t in enumerate(texts * 6)])
    folder = verbs.train(
        home.parent, task="multi-task", out=tmp_path / "model", base=str(tiny_base(tmp_path / "base")), epochs=1, log=(),
        questions={"intent": "label", "stars": "number"}, columns={"stars": "rating"}, question_weights={"stars": 2},
    )  # fmt: skip
    asked = {one["name"]: one for one in folder.manifest.settings["questions"]}
    assert asked["intent"]["share"] == pytest.approx(0.5, abs=0.1)
    assert asked["stars"]["weight"] == 2.0
    (answer,) = verbs.load(folder).predict(["where is my order"])
    assert set(answer.as_json()["answers"]) == {"intent", "stars"}
    found = verbs.evaluate(folder, home / "desk.csv")
    assert "intent.accuracy" in found.scores
    assert "stars.mae" not in found.scores


def test_a_source_that_asks_nothing_is_refused_with_its_columns(tmp_path: Path) -> None:
    rows = table(tmp_path / "rows.csv", [{"text": f"a {i}", "label": "ab"[i % 2]} for i in range(8)])
    with pytest.raises(ConfigError, match="No question is named"):
        verbs.prepare(PrepareConfig(source=str(rows)), "multi-task")
    with pytest.raises(DataError, match=r"no column for 'intent'.*text, label"):
        verbs.prepare(PrepareConfig(source=str(rows), questions={"intent": "label"}), "multi-task")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"question_weights": {"intnet": 2.0}}, "names 'intnet'"),
        ({"question_weights": {"intent": -1.0}}, "is -1"),
        ({"method": "contrastive"}, "have no one class"),
        ({"method": "prototypes"}, "have no one class"),
        ({"class_weights": "balanced"}, "class_weights does not work for multi-task"),
        ({"noisy": "drop"}, "noisy does not work for multi-task"),
    ],
)
def test_what_several_questions_cannot_take_is_refused_before_any_work(
    options: dict[str, object], said: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=said):
        train(prepared("multi-task"), base(tmp_path), config(**options), tmp_path / "model")
    assert not (tmp_path / "model.run").exists()


def test_a_model_of_several_questions_cannot_be_continued(folder: Folder, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="A model of multi-task cannot be continued"):
        train(prepared("multi-task"), base(tmp_path), config(continue_from=str(folder.path)), tmp_path / "model")


def test_options_for_classes_are_refused_where_all_questions_are_numbers(tmp_path: Path) -> None:
    data = prepared("multi-task")
    numbers = [{"text": row["text"], "targets": {"stars": float(i)}} for i, row in enumerate(data.train)]
    with pytest.raises(ConfigError, match="focal does not work for multi-task with numbers"):
        train(replace(data, train=numbers), base(tmp_path), config(focal=2.0), tmp_path / "model")


def test_weights_of_questions_where_there_is_one_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="text-classification asks one question"):
        train(prepared(), base(tmp_path), config(question_weights={"intent": 2.0}), tmp_path / "model")


def test_each_question_starts_from_a_probe_on_the_rows_that_answer_it(tmp_path: Path) -> None:
    task = MultiTask.fit([MultiTask.parse(row) for row in SAMPLES["multi-task"]])
    model = build(base(tmp_path).path, task, dropout=0.0)
    features = torch.randn(90, head(model, task.outputs).in_features, generator=torch.Generator().manual_seed(2))
    targets = torch.full((90, 5), float("nan"))
    targets[:45, 0] = (features[:45, 0] > 0).float()
    targets[30:, 1] = features[30:, 1]
    targets[:, 2:] = (features[:, 2:5] > 0).float()
    start_whole(head(model, task.outputs), features, targets, torch.ones(90), task)
    with torch.no_grad():
        said = head(model, task.outputs)(features)
    assert ((said[:, 1] > said[:, 0]) == (features[:, 0] > 0)).float().mean() > 0.85
    assert torch.corrcoef(torch.stack([said[:, 2], features[:, 1]]))[0, 1] > 0.9
    assert ((said[:, 3:] > 0) == (features[:, 2:5] > 0)).float().mean() > 0.85


def test_each_question_has_a_temperature_or_thresholds_of_its_own(folder: Folder) -> None:
    task, encoder = folder.task(), folder.encoder()
    rows = [MultiTask.parse(row) for row in SAMPLES["multi-task"]] * MIN_ROWS
    encoded = [task.encode(row, encoder) for row in rows]
    rng = np.random.default_rng(1)
    logits = [[rng.normal(size=task.outputs).astype(np.float32)] for _ in rows]
    found = calibrated(task, rows, encoded, logits).calibration
    assert set(found.temperatures) == {"intent"}
    assert set(found.thresholds) == {"topics:city", "topics:film", "topics:food"}
    few = calibrated(task, rows[: MIN_ROWS - 1], encoded[: MIN_ROWS - 1], logits[: MIN_ROWS - 1]).calibration
    assert not few.temperatures


def test_a_student_learns_all_questions_from_a_teacher(folder: Folder, tmp_path: Path) -> None:
    student = train(prepared("multi-task"), base(tmp_path), config(teacher=str(folder.path)), tmp_path / "model")
    assert student.manifest.labels == folder.manifest.labels


def test_a_teacher_that_answers_otherwise_is_refused(folder: Folder, tmp_path: Path) -> None:
    data = prepared("multi-task")
    other = [{"text": row["text"], "targets": {"intent": ["order", "refund"]}} for row in data.train]
    with pytest.raises(ConfigError, match="The rows ask intent=labels, which the teacher"):
        train(replace(data, train=other), base(tmp_path), config(teacher=str(folder.path)), tmp_path / "model")


def test_the_folder_loads_in_plain_transformers(folder: Folder) -> None:
    model = transformers.AutoModelForSequenceClassification.from_pretrained(folder.path)
    assert list(model.config.id2label.values()) == list(folder.manifest.labels)


def test_an_exported_folder_gives_the_same_answers(folder: Folder, tmp_path: Path) -> None:
    rows = [MultiTask.parse(row) for row in SAMPLES["multi-task"]] * 2
    small = export(folder, rows, ExportConfig(quantise="none", rows=8), tmp_path / "onnx")
    check_golden(Predictor.open(small, threads=1), folder.golden(), stage="test")
    assert "mean_score" in small.manifest.notes["export"]["fp32"]["scores"]


def answered(**answers: Prediction) -> Prediction:
    return Prediction(answers=answers)


def test_an_answer_flips_where_one_question_is_answered_otherwise() -> None:
    was = [
        answered(a=Prediction(label="x", scores={"x": 0.6, "y": 0.4}), b=Prediction(value=float(i))) for i in range(4)
    ]
    now = [replace(one) for one in was]
    now[0] = answered(a=Prediction(label="y", scores={"x": 0.4, "y": 0.6}), b=Prediction(value=0.0))
    now[1] = answered(a=was[1].answers["a"], b=Prediction(value=3.0))  # type: ignore[index]
    rows = [{"text": "hi"}] * 4
    found = compare(rows, Answers((), [], [], was), Answers((), [], [], now))
    assert (found.flips, found.changed) == (0.25, 0.5)
    assert found.which[0]["is"] == {"a": "y", "b": 0.0}


def test_a_number_is_compared_by_the_spread_of_its_own_question() -> None:
    was, now = ({"answers": {"a": {"value": value}, "b": {"value": 1.0}}} for value in (1000.0, 1010.0))
    assert difference(was, now, units={"a": 100.0}) == pytest.approx(0.1)
    assert difference(was, {"answers": {"a": {"value": 1.0}}}) == float("inf")


@pytest.mark.parametrize(
    ("target", "shown"),
    [("intent", "intent:"), ("stars", "stars"), ("topics:film", "topics:film"), ("refund", "intent:refund")],
)
def test_a_question_or_its_label_is_explained(folder: Folder, target: str, shown: str) -> None:
    evidence = explain(Predictor.open(folder), "where is my order", target=target)
    assert evidence.target.startswith(shown)
    assert evidence.words


def test_the_weights_of_a_number_sum_to_it(folder: Folder) -> None:
    predictor = Predictor.open(folder)
    evidence = explain(predictor, "where is my order", target="stars")
    (answer,) = predictor.predict(["where is my order"])
    assert evidence.score == pytest.approx((answer.answers or {})["stars"].value, abs=1e-3)


@pytest.mark.parametrize(
    ("target", "said"),
    [(None, "The model answers 3 questions: intent, stars, topics"), ("starz", "no question and no answer 'starz'")],
)
def test_an_explanation_that_could_be_of_several_questions_is_refused(
    folder: Folder, target: str | None, said: str
) -> None:
    with pytest.raises(ConfigError, match=said):
        explain(Predictor.open(folder), "where is my order", target=target)


def test_a_label_of_two_questions_is_refused_by_both_names(tmp_path: Path) -> None:
    rows = [{"text": text, "targets": {"a": one, "b": one}} for text, one in zip("xy", ("good", "bad"), strict=True)]
    model = tiny_folder(tmp_path / "model", "multi-task", rows)
    with pytest.raises(ConfigError, match="a:good, b:good"):
        explain(Predictor.open(model), "where is my order", target="good")


def test_an_evaluation_tells_each_question_by_itself(folder: Folder, tmp_path: Path) -> None:
    rows = tmp_path / "test.jsonl"
    rows.write_text("\n".join(json.dumps(row) for row in SAMPLES["multi-task"]), encoding="utf8")
    found = verbs.evaluate(folder, rows)
    assert found.main_score == "mean_score"
    assert {name: aspect.rows for name, aspect in found.aspects.items()} == {"intent": 3, "stars": 2, "topics": 3}
    shown = page(found)
    assert all(f"<h1>{name}</h1>" in shown for name in QUESTIONS)
    json.dumps(found.detail())


def test_two_folders_of_the_same_questions_are_compared(folder: Folder, tmp_path: Path) -> None:
    rows = tmp_path / "test.jsonl"
    rows.write_text("\n".join(json.dumps(row) for row in SAMPLES["multi-task"] * 3), encoding="utf8")
    found = verbs.compare(folder, tiny_folder(tmp_path / "other", "multi-task", seed=3), rows)
    assert found.score == "mean_score"


def test_golden_rows_hold_an_answer_to_every_question(folder: Folder) -> None:
    assert all(set(golden.expect["answers"]) == set(QUESTIONS) for golden in folder.golden())
