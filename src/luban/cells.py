"""What must stand in the cells of a row: a text, a label, a number, a list of texts; says what is wrong with any other, and
with the labels of all rows together."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from luban.errors import DataError
from luban.records import Row, Rows

SEPARATORS = "|,;，；、"
"what labels in one cell are joined by"


def required_text(record: Row, column: str) -> str:
    """A non-empty string of a record; raises `DataError` otherwise."""
    value = record.get(column)
    if not isinstance(value, str):
        raise DataError(
            f"{value!r} is no text.", f"Column {column!r} holds text.", "Fill it in or remove the row.", column=column
        )
    if not value.strip():
        raise DataError(
            "the text is empty.", "A row needs text to learn from.", "Fill it in or remove the row.", column=column
        )
    half = re.search("[\ud800-\udfff]", value)
    if half:
        raise DataError(
            f"the text holds half a surrogate pair ({half[0]!r}, character {half.start() + 1}).",
            "Text is Unicode that can be written as UTF-8.",
            "Read the file in the encoding it was written in, or remove the row.",
            column=column,
        )
    return value


def required_label(record: Row, column: str) -> str:
    """A non-empty label of a record as text (numbers become their decimal form); raises `DataError` otherwise."""
    value = record.get(column)
    if value is None or isinstance(value, list | dict) or (isinstance(value, float) and value != value):
        raise DataError(
            f"{value!r} is no label.", "A row needs one label.", "Fill it in or remove the row.", column=column
        )
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    label = str(value).strip()
    if not label:
        raise DataError("the label is empty.", "A row needs one label.", "Fill it in or remove the row.", column=column)
    return label


def required_number(record: Row, column: str) -> float:
    """A finite number of a record; raises `DataError` otherwise."""
    value = record.get(column)
    try:
        number = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        number = float("nan")
    if not np.isfinite(number):
        raise DataError(
            f"{value!r} is no number.", "A finite number is expected.", "Mend it or remove the row.", column=column
        )
    return number


def texts_in(record: Row, column: str) -> list[str]:
    """The texts of a cell that holds a list, one text, or nothing; raises `DataError` for anything else."""
    value = record.get(column)
    if value is None or value == "":
        return []
    if not isinstance(value, str | list | tuple):
        raise DataError(f"{value!r} is no list of texts.", "Texts in a list, or one text.", "Mend it.", column=column)
    return [required_text({column: text}, column) for text in ([value] if isinstance(value, str) else value)]


def labels_in(record: Row, column: str) -> list[str]:
    """The labels of a cell, each once and in order: a list, or text joined by one of `SEPARATORS`; raises `DataError`."""
    value = record.get(column)
    if value is None or value == "":
        return []
    if isinstance(value, str):
        cut = next((mark for mark in SEPARATORS if mark in value), None)
        value = value.split(cut) if cut else [value]
    if not isinstance(value, list | tuple):
        raise DataError(
            f"{value!r} is no list of labels.",
            "Labels are a list, or text joined by | or comma.",
            "Mend the row.",
            column=column,
        )
    return sorted({str(label).strip() for label in value if str(label).strip()})


def two_classes(labels: Sequence[str], column: str) -> None:
    """Raises `DataError` unless there are at least two different labels."""
    if len(labels) < 2:
        raise DataError(
            f"every row has the same label ({labels[0]!r})." if labels else "no row has a label.",
            "There must be at least two classes to tell apart.",
            "Add rows of another class, or check that the label column is the right one (--columns label=NAME).",
            column=column,
        )


def fit_labels(rows: Rows) -> list[str]:
    """The labels of these rows in sorted order (numbers by value); raises `DataError` unless there are two."""
    found = {str(row["label"]) for row in rows}
    labels = sorted(found, key=lambda label: (not label.isdigit(), int(label) if label.isdigit() else 0, label))
    two_classes(labels, "label")
    return labels


def unknown_label(label: object, labels: Sequence[str]) -> DataError:
    """The error for a label that training did not see."""
    shown = ", ".join(labels[:8]) + (" ..." if len(labels) > 8 else "")
    return DataError(
        f"the label {label!r} does not occur in the training rows.",
        f"Known: {shown}.",
        "Mend the label, or add training rows that have it.",
        column="label",
    )
