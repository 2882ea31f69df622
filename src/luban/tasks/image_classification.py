"""One picture, one class of several; it is resized and cropped as the base was taught (`luban.pictures`)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from numpy.typing import NDArray

from luban.encoding import Encoded
from luban.metrics.classification import class_scores
from luban.pictures import PictureEncoder, required_picture
from luban.records import Prediction, Row, Rows
from luban.tasks.base import (
    LABEL,
    Column,
    Floats,
    Task,
    class_index,
    class_loss,
    class_prediction,
    fit_labels,
    required_label,
    window_targets,
)

if TYPE_CHECKING:
    import torch

IMAGE = Column(
    "image",
    "the picture's file",
    ("picture", "photo", "img", "file_name", "filename", "file", "path", "图片", "图像"),
    picture=True,
)


class ImageClassification(Task):
    """Rows of ``image`` (a file's name, a data URL, or bytes as Parquet holds them) and ``label``.

    ``hash``: of the file's bytes, where preparing the rows has told it: equal pictures are then known to be equal.
    """

    name = "image-classification"
    columns = (IMAGE, LABEL)
    model_class = "AutoModelForImageClassification"
    main_score = "accuracy"
    sees = True

    @classmethod
    def parse(cls, record: Row, *, labelled: bool = True) -> dict[str, Any]:
        row = {"image": required_picture(record, "image")}
        row |= {"hash": str(record["hash"])} if "hash" in record else {}
        return row | {"label": required_label(record, "label")} if labelled else row

    @classmethod
    def fit(cls, rows: Rows) -> Self:
        return cls(fit_labels(rows))

    @classmethod
    def reader(cls, folder: Path, settings: Row, *, limit: int | None = None) -> PictureEncoder:
        return PictureEncoder.open(folder)

    def encode(self, row: Row, encoder: PictureEncoder) -> Encoded:
        picture = encoder.picture(row["image"])
        return Encoded((picture,), "", picture.length)

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
