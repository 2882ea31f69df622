"""Two texts, and a class or a number that tells how they relate; which of the two is read off the labels.

Rows whose labels are all numbers, not all of them whole, are scored; any others are classified.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Self

from numpy.typing import NDArray

from luban.encoding import Encoded, TextEncoder
from luban.metrics.regression import mae, pearson, spearman
from luban.records import Prediction, Row, Rows
from luban.tasks.base import (
    LABEL,
    Column,
    Floats,
    OneClass,
    Task,
    fit_labels,
    fit_scale,
    required_label,
    required_number,
    required_text,
    squared_loss,
    value_prediction,
    window_targets,
)

if TYPE_CHECKING:
    import torch

FIRST = Column(
    "text", "the first text", ("text_a", "sentence1", "sentence_a", "premise", "question1", "query", "句子1")
)
SECOND = Column(
    "text_pair", "the second text", ("text_b", "sentence2", "sentence_b", "hypothesis", "question2", "passage", "句子2")
)
RELATION = Column(
    "label",
    "their relation or its degree",
    (*LABEL.aliases, "score", "similarity", "relatedness", "gold_label"),
    target=True,
)


class TextPair(OneClass, Task):
    """Paraphrase, entailment, similarity: rows of ``text``, ``text_pair`` and ``label``."""

    name = "text-pair"
    columns = (FIRST, SECOND, RELATION)
    model_class = "AutoModelForSequenceClassification"

    @property
    def main_score(self) -> str:  # type: ignore[override]
        """Accuracy of a classifier, Spearman's correlation of a scorer."""
        return "accuracy" if self.labels else "spearman"

    @classmethod
    def parse(cls, record: Row, *, labelled: bool = True) -> dict[str, Any]:
        row = {"text": required_text(record, "text"), "text_pair": required_text(record, "text_pair")}
        return row | {"label": required_label(record, "label")} if labelled else row

    @classmethod
    def fit(cls, rows: Rows) -> Self:
        return cls((), fit_scale(rows)) if _numeric([row["label"] for row in rows]) else cls(fit_labels(rows))

    def encode(self, row: Row, encoder: TextEncoder) -> Encoded:
        return encoder.pair(row["text"], row["text_pair"])

    def targets(self, row: Row, encoded: Encoded) -> list[NDArray[Any]]:
        if self.labels:
            return super().targets(row, encoded)
        return window_targets(
            (required_number(row, "label") - self.calibration.mean) / self.calibration.spread, encoded
        )

    def decode(self, encoded: Encoded, outputs: Sequence[Floats]) -> Prediction:
        return super().decode(encoded, outputs) if self.labels else value_prediction(self, encoded, outputs)

    def score(self, rows: Rows, predictions: Sequence[Prediction]) -> dict[str, float]:
        if self.labels:
            return super().score(rows, predictions)
        numbers = [required_number(row, "label") for row in rows]
        values = [float(p.value or 0.0) for p in predictions]
        return {"spearman": spearman(numbers, values), "pearson": pearson(numbers, values), "mae": mae(numbers, values)}

    def loss(
        self, logits: torch.Tensor, targets: torch.Tensor, weights: torch.Tensor, smoothing: float
    ) -> torch.Tensor:
        if self.labels:
            return super().loss(logits, targets, weights, smoothing)
        return squared_loss(logits, targets, weights)

    def model_config(self) -> dict[str, Any]:
        return super().model_config() | {"problem_type": "single_label_classification" if self.labels else "regression"}


def _numeric(labels: Sequence[str]) -> bool:
    try:
        numbers = [float(label) for label in labels]
    except ValueError:
        return False
    return any(not number.is_integer() for number in numbers)
