"""One text, any number of classes; each class has its own threshold, found on the validation rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from luban.encoding import Encoded, TextEncoder
from luban.metrics.classification import multilabel_f1
from luban.records import Prediction, Row, Rows
from luban.tasks.base import (
    TEXT,
    Column,
    Floats,
    Task,
    labels_in,
    required_text,
    several_loss,
    stitched,
    two_classes,
    unknown_label,
    window_targets,
)

if TYPE_CHECKING:
    import torch

LABELS = Column(
    "labels",
    "its classes, a list or text joined by | , or ;",
    ("tags", "categories", "topics", "label"),
    target=True,
)


class MultiLabelClassification(Task):
    """Topics of a ticket, aspects of a review: rows of ``text`` and ``labels``, which may be empty."""

    name = "multi-label-classification"
    columns = (TEXT, LABELS)
    model_class = "AutoModelForSequenceClassification"
    main_score = "micro_f1"

    @classmethod
    def parse(cls, record: Row, *, labelled: bool = True) -> dict[str, Any]:
        row: dict[str, Any] = {"text": required_text(record, "text")}
        return row | {"labels": labels_in(record, "labels")} if labelled else row

    @classmethod
    def fit(cls, rows: Rows) -> Self:
        labels = sorted({label for row in rows for label in row["labels"]})
        two_classes(labels, "labels")
        return cls(labels)

    def encode(self, row: Row, encoder: TextEncoder) -> Encoded:
        return encoder.text(row["text"])

    def targets(self, row: Row, encoded: Encoded) -> list[NDArray[Any]]:
        unknown = set(row["labels"]) - set(self.labels)
        if unknown:
            raise unknown_label(min(unknown), self.labels)
        return window_targets([float(label in row["labels"]) for label in self.labels], encoded)

    def decode(self, encoded: Encoded, outputs: Sequence[Floats]) -> Prediction:
        logits = stitched(encoded, outputs).astype(np.float64) / self.calibration.temperature
        probabilities = 1.0 / (1.0 + np.exp(-logits))
        scores = {label: float(p) for label, p in zip(self.labels, probabilities, strict=True)}
        thresholds = self.calibration.thresholds
        chosen = tuple(label for label, p in scores.items() if p >= thresholds.get(label, 0.5))
        return Prediction(
            labels=chosen,
            scores=scores,
            tokens=encoded.tokens,
            windows=len(encoded.windows),
            truncated=encoded.truncated,
        )

    def score(self, rows: Rows, predictions: Sequence[Prediction]) -> dict[str, float]:
        return multilabel_f1(
            [set(row["labels"]) for row in rows], [set(p.labels or ()) for p in predictions], self.labels
        )

    def loss(
        self, logits: torch.Tensor, targets: torch.Tensor, weights: torch.Tensor, smoothing: float
    ) -> torch.Tensor:
        return several_loss(logits, targets, weights, smoothing)

    def model_config(self) -> dict[str, Any]:
        return super().model_config() | {"problem_type": "multi_label_classification"}
