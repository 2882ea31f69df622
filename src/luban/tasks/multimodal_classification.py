"""One row of a text, a picture, numbers and categories, one class of several; whatever of these is missing may be missing.

Which fields there are is found in the training rows and kept in the model's settings: mean and spread of each number, the
vocabulary of each category. A text or picture that no training row has is not read at all.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

from luban.encoding import Encoded, TextEncoder
from luban.errors import DataError, nearest_hint
from luban.gathered import (
    CATEGORY,
    IMAGE,
    KNOWN,
    NUMBER,
    TEXT,
    RowEncoder,
    Table,
    category_in,
    field_name,
    number_in,
)
from luban.pictures import PictureEncoder, required_picture
from luban.records import Row, Rows
from luban.tasks import base
from luban.tasks.base import (
    LABEL,
    Column,
    OneClass,
    Task,
    fit_labels,
    required_label,
    required_text,
)

READS = "reads"
"entry of the settings: which of text and image the model reads"
BESIDE = ("id", "label", "hash", TEXT, IMAGE)
"keys of a row that are no fields"


class MultimodalClassification(OneClass, Task):
    """Rows of ``text``, ``image``, fields and ``label``; see `luban.gathered` for canonical rows.

    Somebody who asks names the fields as they are called: ``{"text": "...", "price": 12.5, "brand": "acme"}``.
    """

    name = "multimodal-classification"
    columns = (
        Column(TEXT, base.TEXT.about, base.TEXT.aliases, required=False),
        Column(
            IMAGE,
            "the picture's file",
            ("picture", "photo", "img", "file_name", "filename", "file", "path", "图片", "图像"),
            required=False,
            picture=True,
        ),
        LABEL,
    )
    model_class = "FusedClassifier"
    main_score = "accuracy"
    fuses = True

    @property
    def table(self) -> Table:
        """The fields that the model knows."""
        return Table.of(self.settings)

    @property
    def reads(self) -> tuple[str, ...]:
        """Which of ``text`` and ``image`` the model reads."""
        return tuple(self.settings.get(READS, ()))

    @property
    def asks(self) -> tuple[str, ...]:
        return (*self.reads, *(field_name(column) for column in self.table.fields))

    @classmethod
    def parse(cls, record: Row, *, labelled: bool = True) -> dict[str, Any]:
        row: dict[str, Any] = {}
        for column in record:
            if column == TEXT:
                row[TEXT] = required_text(record, TEXT) if not _blank(record[TEXT]) else None
            elif column == IMAGE:
                row[IMAGE] = required_picture(record, IMAGE) if not _blank(record[IMAGE]) else None
            elif column.startswith(NUMBER):
                row[column] = number_in(record, column)
            elif column.startswith(CATEGORY):
                row[column] = category_in(record, column)
        if all(value is None for value in row.values()):
            raise _nothing()
        row |= {"hash": record["hash"]} if record.get("hash") is not None else {}
        return row | {"label": required_label(record, "label")} if labelled else row

    @classmethod
    def fit(cls, rows: Rows) -> Self:
        labels = fit_labels(rows)
        reads = [kind for kind in (TEXT, IMAGE) if any(row.get(kind) is not None for row in rows)]
        return cls(labels, settings={READS: reads, **Table.fit(rows).as_json()})

    def canonical(self, record: Row) -> dict[str, Any]:
        """Fields by their own names; raises `DataError` for one that the model does not know, and where none has a value."""
        places = {field_name(column): column for column in self.table.fields}
        known = (*self.reads, *places)
        found: dict[str, Any] = {}
        for name, value in record.items():
            if name in self.table.fields or (name in (TEXT, IMAGE, "hash") and name not in places):
                found[name] = value
            elif name in places:
                found[places[name]] = value
            elif name not in BESIDE and not field_name(name):
                raise DataError(
                    f"this model knows no field {name!r}.",
                    f"It reads {', '.join(known)}.",
                    nearest_hint(name, known) or "Leave it out.",
                    column=name,
                )
        read = {name: value for name, value in found.items() if name not in (TEXT, IMAGE) or name in self.reads}
        if all(_blank(value) for value in read.values()):
            raise _nothing(known)
        try:
            return self.parse(read, labelled=False)
        except DataError as error:
            called = field_name(error.column or "") or error.column
            raise DataError(error.fact, error.expected, error.remedy, file=error.file, column=called) from error

    def question(self, row: Row) -> dict[str, Any]:
        """What there is of a row, fields by their own names."""
        return {
            field_name(name) or name: row[name]
            for name in (*self.reads, *self.table.fields)
            if row.get(name) is not None
        }

    @classmethod
    def reading(cls, settings: Row) -> dict[str, Any]:
        fields = Table.of(settings).fields
        numbers = tuple(column for column in fields if column.startswith(NUMBER))
        return {"numbers": numbers, "categories": fields[len(numbers) :]}

    @classmethod
    def reader(cls, folder: Path, settings: Row, *, limit: int | None = None) -> RowEncoder:
        reads = settings.get(READS, ())
        text = TextEncoder.open(folder, limit=limit) if TEXT in reads else None
        return RowEncoder(text, PictureEncoder.open(folder) if IMAGE in reads else None, Table.of(settings))

    def encode(self, row: Row, encoder: RowEncoder) -> Encoded:
        return encoder.row(row)

    def model_config(self) -> dict[str, Any]:
        """Numbers and the places of each vocabulary, beside the labels."""
        table = self.table
        sizes = tuple(len(values) + KNOWN for values in table.categories.values())
        return super().model_config() | {"numbers": len(table.numbers), "categories": sizes}


def _blank(value: Any) -> bool:
    """Whether a cell holds nothing."""
    return value is None or value != value or (isinstance(value, str) and not value.strip())


def _nothing(known: Sequence[str] = ()) -> DataError:
    return DataError(
        "nothing of the row is there.",
        f"At least one of {', '.join(known)} has a value."
        if known
        else "A row has a text, a picture, or a field that is not empty.",
        "Fill one in, or remove the row.",
    )
