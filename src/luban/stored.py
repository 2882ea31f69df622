"""Rows in Arrow: in memory while they are few, in a mapped file once they are many; written once, in order, read by place.

What a file holds is read when it is asked for, so that memory does not grow with the rows. The file is a temporary one
(``TMPDIR`` says where) and goes with the process that wrote it, also where that is killed. Nothing is converted here.
"""

from __future__ import annotations

import os
import tempfile
import weakref
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import accumulate
from pathlib import Path
from typing import Any, TypeVar, overload

import numpy as np
from numpy.typing import NDArray

from luban.errors import ConfigError
from luban.records import Reject, Row, Rows

IN_MEMORY = 16 * 2**20
"bytes of Arrow that are held without a file: some hundred thousand short rows"
CHUNK_ROWS, CHUNK_CHARACTERS = 5_000, 2**22
"rows, or characters of them, that are held as Python objects before they become Arrow"
READ_ROWS = 1_000
"rows that become Python objects together when all are read in order"

T = TypeVar("T")


class Stored(Sequence[Row]):
    """Rows of an Arrow ``table``, each made when it is asked for; `datasets.Dataset` and pandas take the table as it is."""

    def __init__(self, table: Any) -> None:
        self.table = table
        self._batches = table.to_batches()
        self._ends = list(accumulate(batch.num_rows for batch in self._batches))

    def __len__(self) -> int:
        return int(self.table.num_rows)

    @overload
    def __getitem__(self, place: int) -> Row: ...
    @overload
    def __getitem__(self, place: slice) -> list[Row]: ...
    def __getitem__(self, place: int | slice) -> Row | list[Row]:
        if isinstance(place, slice):
            return [self[i] for i in range(*place.indices(len(self)))]
        at = int(place) + len(self) * (place < 0)
        if not 0 <= at < len(self):
            raise IndexError(f"row {place} of {len(self)}")
        number = bisect_right(self._ends, at)
        batch = self._batches[number]
        row: Row = batch.slice(at - self._ends[number] + batch.num_rows, 1).to_pylist()[0]
        return row

    def __iter__(self) -> Iterator[Row]:
        for batch in self._batches:
            for start in range(0, batch.num_rows, READ_ROWS):
                yield from batch.slice(start, READ_ROWS).to_pylist()

    def __eq__(self, other: object) -> bool:
        """Whether the other sequence holds equal rows."""
        if not isinstance(other, Sequence) or len(other) != len(self):
            return False
        return all(mine == theirs for mine, theirs in zip(self, other, strict=True))

    __hash__ = None  # type: ignore[assignment]

    def take(self, places: Sequence[int] | NDArray[np.int64]) -> Stored:
        """The rows at these places, which rise, as rows of their own; in a file again where they are many."""
        wanted, store, before = np.asarray(places, dtype=np.int64), Storing(self.table.schema), 0
        for batch, end in zip(self._batches, self._ends, strict=True):
            low, high = np.searchsorted(wanted, (before, end))
            if low < high:
                store.write(batch.take(_places(wanted[low:high] - before)))
            before = end
        return store.rows()


class Storing:
    """Rows on their way into Arrow; ``schema``: their types, told by the first row where it is not given."""

    def __init__(self, schema: Any = None, known: Mapping[str, Any] | None = None) -> None:
        self._schema, self._known = schema, known or {}
        self._held: list[Row] = []
        self._characters = self._bytes = 0
        self._batches: list[Any] = []
        self._writer: Any = None
        self._folder: tempfile.TemporaryDirectory[str] | None = None

    def add(self, row: Row) -> None:
        """Raises `ConfigError` where there is no room left to write."""
        self._held.append(row)
        self._characters += sum(len(value) for value in row.values() if isinstance(value, str))
        if len(self._held) >= CHUNK_ROWS or self._characters >= CHUNK_CHARACTERS:
            self._flush()

    def write(self, batch: Any) -> None:
        """Add rows that are Arrow already."""
        self._bytes += batch.nbytes
        self._batches.append(batch)
        if self._bytes > IN_MEMORY:
            with written_to(tempfile.gettempdir()):
                self._to_file()

    def rows(self) -> Stored:
        """Everything that was added; nothing can be added any more."""
        import pyarrow as pa

        self._flush()
        if self._writer is None or self._folder is None:
            return Stored(pa.Table.from_batches(self._batches, self._schema) if self._schema else pa.table({}))
        with written_to(self._folder.name):
            self._writer.close()
        source = pa.memory_map(str(Path(self._folder.name) / "rows.arrow"))
        stored = Stored(pa.ipc.open_stream(source).read_all())
        let_go(self._folder, stored)
        return stored

    def _flush(self) -> None:
        import pyarrow as pa

        if not self._held:
            return
        self._schema = self._schema or schema_of(self._held[0], self._known)
        batch = pa.RecordBatch.from_pylist(self._held, self._schema)
        self._held, self._characters = [], 0
        self.write(batch)

    def _to_file(self) -> None:
        import pyarrow as pa

        if self._writer is None:
            self._folder = tempfile.TemporaryDirectory(prefix="luban-rows-")
            self._writer = pa.ipc.new_stream(str(Path(self._folder.name) / "rows.arrow"), self._batches[0].schema)
        for batch in self._batches:
            self._writer.write_batch(batch)
        self._batches = []


class Rejects(Sequence[Reject]):
    """Rejects that are kept as rows are."""

    def __init__(self, rows: Rows) -> None:
        self._rows = rows

    def __len__(self) -> int:
        return len(self._rows)

    @overload
    def __getitem__(self, place: int) -> Reject: ...
    @overload
    def __getitem__(self, place: slice) -> list[Reject]: ...
    def __getitem__(self, place: int | slice) -> Reject | list[Reject]:
        return [Reject(**row) for row in self._rows[place]] if isinstance(place, slice) else Reject(**self._rows[place])

    def __iter__(self) -> Iterator[Reject]:
        return (Reject(**row) for row in self._rows)


class SettingAside:
    """Rejects on their way there."""

    def __init__(self) -> None:
        self._first: list[Reject] = []
        self._store: Storing | None = None

    def add(self, reject: Reject) -> None:
        """Raises `ConfigError` where there is no room left to write."""
        if self._store is None and len(self._first) < CHUNK_ROWS:
            self._first.append(reject)
            return
        if self._store is None:
            self._store = Storing(reject_types())
        self._store.add(reject.as_json())

    def rejects(self) -> Sequence[Reject]:
        """All that were added, in order: a tuple of few."""
        first = tuple(self._first)
        return first if self._store is None else Joined(first, Rejects(self._store.rows()))


class Joined(Sequence[T]):
    """Sequences one after the other, none of which is copied."""

    def __init__(self, *parts: Sequence[T]) -> None:
        self.parts = [part for part in parts if len(part)]
        self._ends = list(accumulate(map(len, self.parts)))

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    @overload
    def __getitem__(self, place: int) -> T: ...
    @overload
    def __getitem__(self, place: slice) -> list[T]: ...
    def __getitem__(self, place: int | slice) -> T | list[T]:
        if isinstance(place, slice):
            return [self[i] for i in range(*place.indices(len(self)))]
        at = int(place) + len(self) * (place < 0)
        if not 0 <= at < len(self):
            raise IndexError(f"{place} of {len(self)}")
        number = bisect_right(self._ends, at)
        return self.parts[number][at - self._ends[number] + len(self.parts[number])]

    def __iter__(self) -> Iterator[T]:
        for part in self.parts:
            yield from part


class Picked(Sequence[T]):
    """Those at certain places of a sequence, in the order of the places."""

    def __init__(self, whole: Sequence[T], places: NDArray[np.int64]) -> None:
        self._whole, self._places = whole, places

    def __len__(self) -> int:
        return len(self._places)

    @overload
    def __getitem__(self, place: int) -> T: ...
    @overload
    def __getitem__(self, place: slice) -> list[T]: ...
    def __getitem__(self, place: int | slice) -> T | list[T]:
        found = self._places[place]
        return [self._whole[int(i)] for i in found] if isinstance(place, slice) else self._whole[int(found)]


def together(*parts: Sequence[Reject]) -> Sequence[Reject]:
    """The rejects of several parts: a tuple of few, otherwise as they lie."""
    whole = Joined(*parts)
    return tuple(whole) if len(whole) <= CHUNK_ROWS else whole


def stored(rows: Iterable[Row], known: Mapping[str, Any] | None = None) -> Stored:
    """Rows from anywhere; ``known``: as of `Storing`."""
    store = Storing(known=known)
    for row in rows:
        store.add(row)
    return store.rows()


def take(rows: Rows, places: Sequence[int] | NDArray[np.int64]) -> Rows:
    """The rows at these places, which rise."""
    return rows.take(places) if isinstance(rows, Stored) else [rows[i] for i in places]


def reject_types() -> Any:
    """Arrow types of rejects."""
    import pyarrow as pa

    text = {name: pa.string() for name in ("source", "reason", "column", "content")}
    return pa.schema({**text, "row": pa.int64()})


def schema_of(row: Row, known: Mapping[str, Any]) -> Any:
    """Arrow types of rows like this one; those of columns whose first value may be empty are ``known``."""
    import pyarrow as pa

    kinds = {str: pa.string(), float: pa.float64(), int: pa.int64(), bool: pa.bool_()}
    return pa.schema(
        [(name, known.get(name) or kinds.get(type(value)) or pa.array([value]).type) for name, value in row.items()]
    )


@contextmanager
def written_to(place: str | Path) -> Iterator[None]:
    """Raises `ConfigError` where what is written inside finds no room, or may not be written."""
    try:
        yield
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else str(error)
        raise ConfigError(
            f"{place} could not be written to ({reason}).",
            "What is made of the rows is kept there.",
            "Free some space, or choose another place: --out, or the variable TMPDIR for what is temporary.",
        ) from error


def let_go(folder: tempfile.TemporaryDirectory[str], holder: object) -> None:
    """Remove the folder of a file that is mapped: at once where the system keeps what is mapped, else with its holder."""
    try:
        folder.cleanup()
    except OSError:  # Windows removes no file that is open
        weakref.finalize(holder, folder.cleanup)


def _places(values: Any) -> Any:
    import pyarrow as pa

    return pa.array(values, type=pa.int64())
