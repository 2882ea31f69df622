"""One text, one class of several; long texts are read in windows whose logits are averaged."""

from __future__ import annotations

from typing import Any, Self

from luban.encoding import Encoded, TextEncoder
from luban.records import Row, Rows
from luban.tasks.base import (
    LABEL,
    TEXT,
    OneClass,
    Task,
    fit_labels,
    required_label,
    required_text,
)


class TextClassification(OneClass, Task):
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

    def model_config(self) -> dict[str, Any]:
        return super().model_config() | {"problem_type": "single_label_classification"}
