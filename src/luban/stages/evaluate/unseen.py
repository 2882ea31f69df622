"""Which rows of a test part do not stand in the training part: scores on the others say little."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable

from luban.records import Row, Rows, contents


def unseen(rows: Rows, train_rows: Iterable[Row]) -> list[Row]:
    """The rows whose text (both texts of a pair) does not stand in ``train_rows``, compared by `text_key`."""
    return [rows[i] for i in unseen_places(rows, train_rows)]


def unseen_places(rows: Rows, train_rows: Iterable[Row]) -> list[int]:
    """The indices of `unseen` rows."""
    known = {text_key(row) for row in train_rows}
    return [i for i, row in enumerate(rows) if text_key(row) not in known]


def text_key(row: Row) -> str:
    """A row's text without differences of width, case and the amount of white space; of a picture, its hash."""
    return "\x00".join(" ".join(unicodedata.normalize("NFKC", text).casefold().split()) for text in contents(row))
