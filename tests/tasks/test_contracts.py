"""Every task keeps the contract that ships in luban.testing."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import numpy as np
import pytest

from luban.encoding import Encoded
from luban.tasks import TASKS
from luban.tasks.base import Task
from luban.tasks.embedding import Embedding
from luban.tasks.extractive_qa import ExtractiveQA
from luban.tasks.image_classification import ImageClassification
from luban.tasks.intent_and_slots import IntentAndSlots
from luban.tasks.multi_label_classification import MultiLabelClassification
from luban.tasks.multi_task import MultiTask
from luban.tasks.recommendation import Recommendation
from luban.tasks.rerank import Rerank
from luban.tasks.text_classification import TextClassification
from luban.tasks.text_pair import TextPair
from luban.tasks.text_regression import TextRegression
from luban.tasks.token_classification import TokenClassification
from luban.testing import SAMPLES, TaskContract
from luban.towers import Catalogue, Shop, Towers

SCORED = [row | {"label": value} for row, value in zip(SAMPLES["text-pair"], ("4.5", "0.2", "5", "1"), strict=True)]


class TestTextClassification(TaskContract):
    task = TextClassification
    rows = SAMPLES["text-classification"]


class TestMultiLabelClassification(TaskContract):
    task = MultiLabelClassification
    rows = SAMPLES["multi-label-classification"]


class TestTextRegression(TaskContract):
    task = TextRegression
    rows = SAMPLES["text-regression"]


class TestTextPair(TaskContract):
    task = TextPair
    rows = SAMPLES["text-pair"]


class TestScoredTextPair(TaskContract):
    task = TextPair
    rows = SCORED


class TestTokenClassification(TaskContract):
    task = TokenClassification
    rows = SAMPLES["token-classification"]


class TestIntentAndSlots(TaskContract):
    task = IntentAndSlots
    rows = SAMPLES["intent-and-slots"]

    def perfect(self, task: Task, target: Any) -> Any:
        assert isinstance(task, IntentAndSlots)
        logits = np.zeros((len(target), task.outputs), dtype=np.float32)
        decided, tags = target >= 0, len(task.tags)
        logits[decided, target[decided] % tags] = 20.0
        logits[decided, tags + target[decided] // tags] = 20.0
        return logits


class TestEmbedding(TaskContract):
    task = Embedding
    rows = SAMPLES["embedding"]

    def perfect_outputs(self, task: Task, row: dict[str, Any], encoded: Encoded) -> list[Any]:
        """A direction of its own for each passage; the query points where its own passage does."""
        order = [text for one in self.rows for text in (one["text_pair"], *one.get("negatives", ()))]
        own, *others = (np.eye(len(order), dtype=np.float32)[order.index(text)] for text in passages(row))
        return [own, own, *others]


class TestScoredEmbedding(TaskContract):
    task = Embedding
    rows: ClassVar = [
        {"text": row["text"], "text_pair": row["text_pair"], "score": value}
        for row, value in zip(SAMPLES["text-pair"], (4.5, 0.2, 5.0, 1.0), strict=True)
    ]

    def perfect_outputs(self, task: Task, row: dict[str, Any], encoded: Encoded) -> list[Any]:
        near = row["score"] / 5
        return [np.array([1.0, 0.0]), np.array([near, math.sqrt(1 - near * near)])]


class TestRerank(TaskContract):
    task = Rerank
    rows = SAMPLES["rerank"]

    def perfect_outputs(self, task: Task, row: dict[str, Any], encoded: Encoded) -> list[Any]:
        return [np.array([9.0 if i == 0 else -9.0]) for i in range(len(encoded.windows))]


class TestLabelledRerank(TaskContract):
    task = Rerank
    rows: ClassVar = [
        {"text": row["text"], "text_pair": text, "label": label}
        for row in SAMPLES["rerank"]
        for text, label in ((row["text_pair"], 1), (row["negatives"][0], 0))
    ]

    def perfect_outputs(self, task: Task, row: dict[str, Any], encoded: Encoded) -> list[Any]:
        return [np.array([9.0 if row["label"] else -9.0]) for _ in encoded.windows]


def passages(row: dict[str, Any]) -> list[str]:
    return [row["text_pair"], *(row.get("negatives") or ())]


class TestExtractiveQA(TaskContract):
    task = ExtractiveQA
    rows = SAMPLES["extractive-qa"]

    def perfect(self, task: Task, target: Any) -> Any:
        start, end, _, last = target
        logits = np.zeros((last + 1, 2), dtype=np.float32)
        logits[start, 0] = logits[end, 1] = 20.0
        return logits


class TestImageClassification(TaskContract):
    task = ImageClassification
    rows = SAMPLES["image-classification"]


class TestRecommendation(TaskContract):
    task = Recommendation
    rows = SAMPLES["recommendation"]

    def fitted(self) -> tuple[Task, list[dict[str, Any]]]:
        """The task with as many items as rows; a text's vector is the user's, and points at one item."""
        task, rows = super().fitted()
        ids = tuple(row["item"] for row in rows)
        one = np.eye(len(ids), dtype=np.float32)
        towers = Towers(one, one, np.zeros(len(ids)), np.zeros(8), one, np.zeros(len(ids)))
        assert isinstance(task, Recommendation)
        return task.stocked(Shop(Catalogue(ids, ids, np.arange(len(ids))), towers)), rows

    def perfect_outputs(self, task: Task, row: dict[str, Any], encoded: Encoded) -> list[Any]:
        assert isinstance(task, Recommendation)
        return [np.eye(len(self.rows), dtype=np.float32)[task.shop.catalogue.index[row["item"]]] * 20.0]


class TestMultiTask(TaskContract):
    task = MultiTask
    rows = SAMPLES["multi-task"]

    def perfect(self, task: Task, target: Any) -> Any:
        """Of each question: its class, a yes or no for each label, or its number; nothing where the row does not say."""
        assert isinstance(task, MultiTask)
        logits, told = np.zeros(task.outputs, dtype=np.float32), list(target)
        for question, part in zip(task.questions, task.parts, strict=True):
            own, told = np.array(told[: question.slots]), told[question.slots :]
            if np.isnan(own).any():
                continue
            if question.kind == "label":
                logits[part.begin + int(own[0])] = 20.0
            else:
                logits[part.begin : part.end] = own * 40.0 - 20.0 if question.kind == "labels" else own
        return logits


def test_the_table_of_tasks_is_known() -> None:
    assert list(TASKS) == [
        "text-classification",
        "multi-label-classification",
        "text-regression",
        "text-pair",
        "token-classification",
        "intent-and-slots",
        "multi-task",
        "extractive-qa",
        "text-generation",
        "text-to-text",
        "embedding",
        "rerank",
        "recommendation",
        "image-classification",
        "multimodal-classification",
    ]


@pytest.mark.parametrize("name", list(TASKS))
def test_a_task_stands_under_its_own_name_and_has_samples(name: str) -> None:
    assert TASKS[name].name == name
    assert len(SAMPLES[name]) >= 4
