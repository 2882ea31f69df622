"""Several questions of a text: what rows may say, what is refused, and that each is learnt as if it were asked alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from luban.config import TrainConfig
from luban.errors import ConfigError, DataError
from luban.losses import class_loss, several_loss, squared_loss
from luban.questions import check_questions, check_weights, kinds
from luban.records import Prediction
from luban.tasks.multi_task import RAREST, MultiTask
from luban.testing import SAMPLES, tiny_encoder

ROWS = [MultiTask.parse(row) for row in SAMPLES["multi-task"]]
TASK = MultiTask.fit(ROWS)


def targets_of(rows: list[dict[str, Any]], task: MultiTask = TASK) -> torch.Tensor:
    encoder = tiny_encoder()
    return torch.from_numpy(np.stack([task.targets(row, task.encode(row, encoder))[0] for row in rows]))


def weighted(weights: dict[str, float]) -> MultiTask:
    return TASK.for_run(TrainConfig(question_weights=weights), None)  # type: ignore[arg-type]


def test_questions_and_their_kinds_are_read_off_the_answers() -> None:
    assert kinds(TASK.settings) == {"intent": "label", "stars": "number", "topics": "labels"}
    assert TASK.labels == ("intent:order", "intent:refund", "stars", "topics:city", "topics:film", "topics:food")


def test_named_questions_are_read_from_columns_and_an_empty_cell_is_no_answer() -> None:
    kind = MultiTask.asking({"intent": "label", "stars": "number", "topics": "labels"})
    row = kind.parse({"text": "hi", "intent": 3, "stars": "4.5", "topics": "b|a"})
    assert row["targets"] == {"intent": "3", "stars": 4.5, "topics": ["a", "b"]}
    assert kind.parse({"text": "hi", "intent": "", "stars": float("nan"), "topics": "|"})["targets"] == {
        "intent": None,
        "stars": None,
        "topics": [],
    }


@pytest.mark.parametrize(
    ("record", "said"),
    [
        ({"text": "hi", "targets": {"intent": None}}, "the row answers no question"),
        ({"text": "hi"}, "None is no object of questions"),
        ({"text": "hi", "targets": {"stars": float("inf")}}, "inf is no number"),
    ],
)
def test_a_row_that_says_nothing_is_told(record: dict[str, Any], said: str) -> None:
    with pytest.raises(DataError, match=said):
        MultiTask.parse(record)


def test_a_wrong_answer_is_told_by_its_question() -> None:
    kind = MultiTask.asking({"stars": "number"})
    with pytest.raises(DataError, match="'four' is no number") as told:
        kind.parse({"text": "hi", "stars": "four"})
    assert told.value.column == "stars"


@pytest.mark.parametrize(
    ("answers", "said"),
    [
        ([{"intent": "a"}, {"intent": "a"}], "the question 'intent': every row has the same label"),
        ([{"stars": 2.0}, {"stars": 2.0}], "the question 'stars': every row has the same value"),
        ([{"topics": ["a"]}, {"topics": []}], "the question 'topics': every row has the same label"),
        ([{"intent": "a", "stars": None}, {"intent": "b", "stars": None}], "no row answers the question 'stars'"),
        ([{"intent": "a"}, {"intent": ["b"]}], "the question 'intent' is answered with a label and with"),
    ],
)
def test_a_question_with_nothing_to_learn_is_named(answers: list[dict[str, Any]], said: str) -> None:
    with pytest.raises(DataError, match=said):
        MultiTask.fit([{"text": "hi", "targets": one} for one in answers])


def test_a_question_that_is_named_and_that_no_row_has_is_told() -> None:
    kind = MultiTask.asking({"intent": "label", "stars": "number"})
    rows = [kind.parse({"text": "hi", "intent": one}) for one in "ab"]
    with pytest.raises(DataError, match="no row answers the question 'stars'"):
        kind.fit(rows)


@pytest.mark.parametrize(
    ("questions", "said"),
    [
        ({}, "No question is named"),
        ({"intent": "lable"}, "answered with 'lable'.*Did you mean 'label'"),
        ({"a:b": "label"}, "cannot be named 'a:b'"),
        ({"text": "label"}, "cannot be named 'text'"),
    ],
)
def test_questions_that_cannot_be_asked_are_refused(questions: dict[str, str], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        check_questions(questions)


@pytest.mark.parametrize(
    ("weights", "said"),
    [
        ({"intnet": 1.0}, "names 'intnet', which is no question.*Did you mean 'intent'"),
        ({"intent": -1.0}, "weight of the question 'intent' is -1"),
        ({"intent": 0.0}, "weight of the question 'intent' is 0"),
    ],
)
def test_weights_that_cannot_be_meant_are_refused(weights: dict[str, float], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        check_weights(weights, ["intent", "stars"])


def test_each_question_costs_what_it_costs_alone_over_the_rows_that_answer_it() -> None:
    logits, weights = torch.randn(4, TASK.outputs, generator=torch.Generator().manual_seed(1)), torch.ones(4)
    mean, spread = 3.5, 1.5
    alone = [
        class_loss(logits[:3, :2], torch.tensor([0, 1, 0]), weights[:3], 0.0) / 3,
        squared_loss(logits[[0, 3], 2:3], (torch.tensor([2.0, 5.0]) - mean) / spread, weights[:2]) / 2,
        several_loss(
            logits[[0, 1, 3], 3:], torch.tensor([[1.0, 0, 1], [0, 1, 0], [0, 0, 0]]), weights[:3], 0.0
        ) / 3,
    ]  # fmt: skip
    whole = TASK.loss(logits, targets_of(ROWS), weights, 0.0) / 4
    torch.testing.assert_close(whole, sum(alone) / 3)


def test_what_a_row_does_not_say_moves_nothing() -> None:
    logits = torch.zeros(4, TASK.outputs, requires_grad=True)
    TASK.loss(logits, targets_of(ROWS), torch.ones(4), 0.0).backward()
    assert logits.grad is not None
    assert logits.grad.isfinite().all()
    assert not logits.grad[3, :2].any()
    assert not logits.grad[1:3, 2].any()
    assert not logits.grad[2, 3:].any()


def test_a_batch_that_answers_a_question_nowhere_has_a_loss() -> None:
    silent = [{"text": "hi", "targets": {"intent": "order"}}]
    assert torch.isfinite(TASK.loss(torch.zeros(1, TASK.outputs), targets_of(silent), torch.ones(1), 0.1))


def test_a_weight_is_what_a_question_counts_beside_the_others() -> None:
    pulls = weighted({"intent": 2.0}).pulls
    shares = [question.share for question in TASK.questions]
    assert [pull * share for pull, share in zip(pulls, shares, strict=True)] == pytest.approx([0.5, 0.25, 0.25])


def test_no_row_counts_for_more_than_a_small_batch() -> None:
    rows = [{"text": "hi", "targets": {"a": str(i % 2), "b": str(i) if i < 2 else None}} for i in range(100)]
    often, rarely = MultiTask.fit(rows).pulls
    assert rarely / often == RAREST


def test_scores_are_those_of_the_rows_that_answer_and_their_mean() -> None:
    answers = {
        "intent": Prediction(label="order", score=1.0),
        "stars": Prediction(value=2.0),
        "topics": Prediction(labels=("film",)),
    }
    found = TASK.score(ROWS, [Prediction(answers=answers)] * 4)
    assert found["intent.accuracy"] == pytest.approx(2 / 3)
    assert found["stars.mae"] == pytest.approx(1.5)
    main = [found["intent.accuracy"], found["topics.micro_f1"], found["stars.spearman"]]
    assert found["mean_score"] == pytest.approx(sum(main) / 3)


def test_a_question_that_no_row_answers_has_no_score() -> None:
    answers = {question.name: Prediction(label="order", value=1.0) for question in TASK.questions}
    rows = [{"text": "hi", "targets": {"intent": "order"}}]
    assert TASK.score(rows, [Prediction(answers=answers)])["mean_score"] == 1.0


def test_a_label_that_training_did_not_see_is_told_by_its_question() -> None:
    with pytest.raises(DataError, match="'cancel' does not occur") as told:
        targets_of([{"text": "hi", "targets": {"intent": "cancel"}}])
    assert told.value.column == "intent"


def test_questions_of_another_task_are_refused() -> None:
    from luban.tasks.text_classification import TextClassification

    with pytest.raises(ConfigError, match="text-classification answers one"):
        TextClassification.asking({"intent": "label"})
