"""What must stand in the cells of a row: a text, a label, a number, a list of texts; says what is wrong with any other."""

from __future__ import annotations

import re

import numpy as np

from luban.errors import DataError
from luban.records import Row


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
