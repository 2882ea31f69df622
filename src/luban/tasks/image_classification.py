"""One picture, one class of several; it is resized and cropped as the base was taught (`luban.pictures`)."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Self

from luban.encoding import Encoded
from luban.pictures import PictureEncoder, required_picture
from luban.records import Row, Rows
from luban.tasks.base import (
    LABEL,
    Column,
    OneClass,
    Task,
    fit_labels,
    required_label,
)

IMAGE = Column(
    "image",
    "the picture's file",
    ("picture", "photo", "img", "file_name", "filename", "file", "path", "图片", "图像"),
    picture=True,
)


class ImageClassification(OneClass, Task):
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

    def model_config(self) -> dict[str, Any]:
        return super().model_config() | {"problem_type": "single_label_classification"}
