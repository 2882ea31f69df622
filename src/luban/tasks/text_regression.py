"""One text, one number; the head learns the number around 0 and the calibration scales it back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Self

from numpy.typing import NDArray

from luban.encoding import Encoded, TextEncoder
from luban.metrics.regression import mae, pearson, spearman
from luban.records import Prediction, Row, Rows
from luban.tasks.base import (
    TEXT,
    Column,
    Floats,
    Task,
    fit_scale,
    required_number,
    required_text,
    squared_loss,
    value_prediction,
    window_targets,
)

if TYPE_CHECKING:
    import torch

NUMBER = Column("label", "its number", ("value", "score", "rating", "stars", "target", "分数", "评分"), target=True)


class TextRegression(Task):
    """Ratings, severities, prices: rows of ``text`` and a numeric ``label``."""

    name = "text-regression"
    columns = (TEXT, NUMBER)
    model_class = "AutoModelForSequenceClassification"
    main_score = "spearman"

    @classmethod
    def parse(cls, record: Row, *, labelled: bool = True) -> dict[str, Any]:
        row: dict[str, Any] = {"text": required_text(record, "text")}
        return row | {"label": required_number(record, "label")} if labelled else row

    @classmethod
    def fit(cls, rows: Rows) -> Self:
        return cls((), fit_scale(rows))

    def encode(self, row: Row, encoder: TextEncoder) -> Encoded:
        return encoder.text(row["text"])

    def targets(self, row: Row, encoded: Encoded) -> list[NDArray[Any]]:
        return window_targets((row["label"] - self.calibration.mean) / self.calibration.spread, encoded)

    def decode(self, encoded: Encoded, outputs: Sequence[Floats]) -> Prediction:
        return value_prediction(self, encoded, outputs)

    def score(self, rows: Rows, predictions: Sequence[Prediction]) -> dict[str, float]:
        gold = [float(row["label"]) for row in rows]
        values = [float(p.value or 0.0) for p in predictions]
        return {"spearman": spearman(gold, values), "pearson": pearson(gold, values), "mae": mae(gold, values)}

    def loss(
        self, logits: torch.Tensor, targets: torch.Tensor, weights: torch.Tensor, smoothing: float
    ) -> torch.Tensor:
        return squared_loss(logits, targets, weights)

    def model_config(self) -> dict[str, Any]:
        return super().model_config() | {"problem_type": "regression"}
