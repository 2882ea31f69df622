"""One text, one class of several; long texts are read in windows whose logits are averaged."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Self

from numpy.typing import NDArray

from luban.encoding import Encoded, TextEncoder
from luban.metrics.classification import class_scores
from luban.records import Prediction, Row, Rows
from luban.tasks.base import (
    LABEL,
    TEXT,
    Floats,
    Task,
    class_index,
    class_loss,
    class_prediction,
    fit_labels,
    required_label,
    required_text,
    window_targets,
)

if TYPE_CHECKING:
    import torch


class TextClassification(Task):
    """Sentiment, intent, topic: rows of ``text`` and ``label``."""

    name = "text-classification"
    columns = (TEXT, LABEL)
    model_class = "AutoModelForSequenceClassification"
    main_score = "accuracy"

    @classmethod
    def parse(cls, record: Row, *, labelled: bool = True) -> dict[str, Any]:
        row = {"text": required_text(record, "text")}
        return row | {"label": required_label(record, "label")} if labelled else row

    @classmethod
    def fit(cls, rows: Rows) -> Self:
        return cls(fit_labels(rows))

    def encode(self, row: Row, encoder: TextEncoder) -> Encoded:
        return encoder.text(row["text"])

    def targets(self, row: Row, encoded: Encoded) -> list[NDArray[Any]]:
        return window_targets(class_index(self, row["label"]), encoded)

    def decode(self, encoded: Encoded, outputs: Sequence[Floats]) -> Prediction:
        return class_prediction(self, encoded, outputs)

    def score(self, rows: Rows, predictions: Sequence[Prediction]) -> dict[str, float]:
        return class_scores((row["label"] for row in rows), (p.label for p in predictions), self.labels)

    def loss(
        self, logits: torch.Tensor, targets: torch.Tensor, weights: torch.Tensor, smoothing: float
    ) -> torch.Tensor:
        return class_loss(logits, targets, weights, smoothing)

    def model_config(self) -> dict[str, Any]:
        return super().model_config() | {"problem_type": "single_label_classification"}
