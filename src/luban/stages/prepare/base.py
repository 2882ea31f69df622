"""What the readers of all formats share: the table they give, its limits, and the errors they word; reads nothing."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from luban.errors import DataError
from luban.records import Reject, Row

MAX_LINE = 8 * 2**20
"bytes of the longest line that is read; a longer one is a damaged file, not a text"
MAX_DOCUMENT = 256 * 2**20
"bytes of the largest JSON document (not JSON lines), which has to be parsed at once"
PARTS = ("train", "valid", "test")

Record = dict[str, Any]
Item = tuple[int, Record | DataError]
"a row number as an editor counts lines (in Parquet and JSON arrays: items, from 1), and the row or what is wrong"


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of one file or folder, read afresh each time ``items`` is called.

    ``columns``: names in the file's order; ``named`` is false where the file has no header and they are "1", "2" ...
    ``notes``: what was found out about the file (encoding, tag scheme ...), for people.
    """

    file: Path
    format: str
    columns: tuple[str, ...]
    items: Callable[[], Iterator[Item]]
    named: bool = True
    notes: Mapping[str, Any] = field(default_factory=dict)

    def head(self, count: int = 200) -> list[Record]:
        """The first good records, at most ``count``, for recognising columns."""
        found: list[Record] = []
        for _, record in self.items():
            if not isinstance(record, DataError):
                found.append(record)
            if len(found) >= count:
                break
        return found


def rejected(error: DataError, row: int, record: Row | None = None, *, source: Path | str = "") -> Reject:
    """The reject that stands for an error; ``content`` is the start of the row as JSON."""
    reason = " ".join(part for part in (error.fact, error.expected) if part)
    content = "" if record is None else json.dumps(dict(record), ensure_ascii=False, default=str)[:200]
    return Reject(str(error.file or source), error.row or row, reason, error.column, content)


def names(records: Sequence[Record]) -> tuple[str, ...]:
    """The columns of the records, in the order they are first met."""
    return tuple(dict.fromkeys(name for record in records for name in record))


def unreadable(path: Path, error: Exception, what: str, remedy: str) -> DataError:
    """A `DataError` for a file that a library could not read, with the library's first line as the fact."""
    reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
    return DataError(f"cannot be read ({reason}).", f"{what} was expected.", remedy, file=path)
