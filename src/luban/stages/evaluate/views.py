"""The views of an evaluation, mostly by the `Prediction` field that a task sets: one lazy table."""

from __future__ import annotations

from collections.abc import Sequence

from luban.errors import DataError
from luban.records import Prediction, Rows
from luban.registry import Registry
from luban.stages.evaluate.base import View

VIEWS = Registry(
    "view",
    {
        "answers": "luban.stages.evaluate.questions:look",
        "intent": "luban.stages.evaluate.intent:look",
        "entities": "luban.stages.evaluate.tags:look",
        "answer": "luban.stages.evaluate.answer:look",
        "text": "luban.stages.evaluate.written:look",
        "labels": "luban.stages.evaluate.several:look",
        "value": "luban.stages.evaluate.value:look",
        "items": "luban.stages.evaluate.recommend:look",
        "embedding": "luban.stages.evaluate.search:look",
        "relevance": "luban.stages.evaluate.search:ordered",
        "label": "luban.stages.evaluate.label:look",
        "score": "luban.stages.evaluate.search:ordered",
    },
)


def view_of(rows: Rows, predictions: Sequence[Prediction], labels: Sequence[str]) -> View:
    """The view that fits these answers; raises `DataError` without rows."""
    if not rows:
        raise no_rows()
    view: View = VIEWS[kind_of(predictions[0])](rows, predictions, labels)
    return view


def kind_of(answer: Prediction) -> str:
    """Which view fits an answer: by the field it sets; an intent comes with entities."""
    if answer.label is not None and answer.entities is not None:
        return "intent"
    return next(name for name in VIEWS if getattr(answer, name, None) is not None)


def no_rows() -> DataError:
    """The error of an evaluation without rows."""
    return DataError(
        "there are no rows to score.",
        "An evaluation needs at least one labelled row.",
        "Check the source, and its rejects.",
    )
