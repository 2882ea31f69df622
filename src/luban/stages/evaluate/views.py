"""The views of an evaluation by the `Prediction` field that a task sets: one lazy table."""

from __future__ import annotations

from collections.abc import Sequence

from luban.errors import DataError
from luban.records import Prediction, Rows
from luban.registry import Registry
from luban.stages.evaluate.base import View

VIEWS = Registry(
    "view",
    {
        "entities": "luban.stages.evaluate.tags:look",
        "labels": "luban.stages.evaluate.several:look",
        "value": "luban.stages.evaluate.value:look",
        "label": "luban.stages.evaluate.label:look",
    },
)


def view_of(rows: Rows, predictions: Sequence[Prediction], labels: Sequence[str]) -> View:
    """The view that fits these answers; raises `DataError` without rows."""
    if not rows:
        raise no_rows()
    kind = next(name for name in VIEWS if getattr(predictions[0], name) is not None)
    view: View = VIEWS[kind](rows, predictions, labels)
    return view


def no_rows() -> DataError:
    """The error of an evaluation without rows."""
    return DataError(
        "there are no rows to score.",
        "An evaluation needs at least one labelled row.",
        "Check the source, and its rejects.",
    )
