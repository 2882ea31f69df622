"""Raw records to canonical rows in Arrow: each is taken or rejected with a reason; memory stays bounded for big files.

Rows are gathered in chunks; what exceeds `IN_MEMORY` bytes goes to a temporary file that is mapped, not read.
"""

from __future__ import annotations

import tempfile
import weakref
from array import array
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from luban.errors import DataError, counted
from luban.records import Reject, Rows
from luban.stages.prepare.base import MAX_LINE, Record, Table, rejected
from luban.stages.prepare.clean import clean_text
from luban.stages.prepare.columns import is_tagger
from luban.stages.prepare.entities import entities_of
from luban.stages.prepare.images import examined
from luban.tasks.base import Task

CHUNK_ROWS, CHUNK_CHARACTERS = 5_000, 2**24
IN_MEMORY = 256 * 2**20


@dataclass(frozen=True, slots=True)
class Part:
    """Canonical rows of one part; ``lines[i]`` is where row i stands in ``files[i]`` (an index into ``sources``)."""

    rows: Rows
    lines: array[int] = field(default_factory=lambda: array("q"))
    sources: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    cleaned: int = 0
    inner: int = 0
    "entities left out because they stood inside another one"
    rejects: tuple[Reject, ...] = ()
    seen: int = 0


@dataclass(frozen=True, slots=True)
class Reading:
    """How records become rows: the columns to take, and what to do with bad rows."""

    task: type[Task]
    columns: Mapping[str, str]
    clean: bool = True
    strict: bool = True
    group: str = ""
    labelled: bool = True


def read_part(tables: tuple[tuple[Table, Mapping[str, str]], ...], how: Reading) -> Part:
    """All rows of a part's tables (each with its recognised columns), in order; strict raises at the first bad one."""
    store = _Store()
    lines, groups, rejects = array("q"), [], []
    cleaned = inner = seen = 0
    for table, columns in tables:
        for number, record in table.items():
            seen += 1
            try:
                row, changed, nested = _canonical(record, columns, how)
                if how.task.sees:
                    row = examined(row, table.file if table.file.is_dir() else table.file.parent)
            except DataError as error:
                placed = _named(error, columns).at(file=table.file, row=number)
                if how.strict:
                    raise placed from error
                raw = None if isinstance(record, DataError) else record
                rejects.append(rejected(placed, number, raw))
                continue
            store.add(row)
            lines.append(number)
            cleaned, inner = cleaned + changed, inner + nested
            if how.group and isinstance(record, dict):
                groups.append(str(record.get(how.group)))
    names = tuple(str(table.file) for table, _ in tables)
    return Part(store.rows(), lines, names, tuple(groups), cleaned, inner, tuple(rejects), seen)


def _canonical(record: Record | DataError, columns: Mapping[str, str], how: Reading) -> tuple[Record, bool, int]:
    """The row, whether cleaning changed it, and how many of its entities stood inside others."""
    if isinstance(record, DataError):
        raise record
    raw = {name: record.get(column) for name, column in columns.items()}
    for name, value in raw.items():
        if isinstance(value, str) and len(value) > MAX_LINE:
            raise DataError(
                f"the cell has {counted(len(value), 'character')}.",
                f"At most {MAX_LINE} are read.",
                "Cut it into rows.",
                column=name,
            )
    changed, inner = False, 0
    if is_tagger(how.task):
        text = raw.get("text")
        if "entities" in raw and isinstance(text, str):
            raw["entities"], inner = entities_of(text, raw["entities"])
    elif how.clean and not how.task.keeps_text:
        targets = {c.name for c in how.task.columns if c.picture or (c.target and not c.prose)}
        for name, value in raw.items():
            if isinstance(value, str) and name not in targets:
                raw[name] = clean_text(value)
            elif isinstance(value, list) and name not in targets:
                raw[name] = [clean_text(one) if isinstance(one, str) else one for one in value]
            changed |= raw[name] != value
    return how.task.parse(raw, labelled=how.labelled), changed, inner


def _named(error: DataError, columns: Mapping[str, str]) -> DataError:
    """The error with the column as the file calls it."""
    if error.column is None or columns.get(error.column, error.column) == error.column:
        return error
    return DataError(
        error.fact, error.expected, error.remedy, file=error.file, row=error.row, column=columns[error.column]
    )


class _Store:
    """Rows on their way into Arrow."""

    def __init__(self) -> None:
        self._held: list[Record] = []
        self._characters = 0
        self._batches: list[Any] = []
        self._bytes = 0
        self._schema: Any = None
        self._writer: Any = None
        self._folder: tempfile.TemporaryDirectory[str] | None = None

    def add(self, row: Record) -> None:
        self._held.append(row)
        self._characters += sum(len(value) for value in row.values() if isinstance(value, str))
        if len(self._held) >= CHUNK_ROWS or self._characters >= CHUNK_CHARACTERS:
            self._flush()

    def rows(self) -> Rows:
        """Everything added, as a `datasets.Dataset`."""
        import datasets
        import pyarrow as pa

        self._flush()
        if self._writer is not None and self._folder is not None:
            self._writer.close()
            path = Path(self._folder.name) / "rows.arrow"
            table = pa.ipc.open_stream(pa.memory_map(str(path))).read_all()
            dataset = datasets.Dataset(table)
            weakref.finalize(dataset, self._folder.cleanup)
            return cast(Rows, dataset)
        table = pa.Table.from_batches(self._batches, self._schema) if self._schema is not None else pa.table({})
        return cast(Rows, datasets.Dataset(table))

    def _flush(self) -> None:
        import pyarrow as pa

        if not self._held:
            return
        self._schema = self._schema or _schema(self._held[0])
        batch = pa.RecordBatch.from_pylist(self._held, self._schema)
        self._held, self._characters = [], 0
        self._bytes += batch.nbytes
        self._batches.append(batch)
        if self._writer is None and self._bytes > IN_MEMORY:
            self._folder = tempfile.TemporaryDirectory(prefix="luban-rows-")
            self._writer = pa.ipc.new_stream(str(Path(self._folder.name) / "rows.arrow"), self._schema)
        if self._writer is not None:
            for held in self._batches:
                self._writer.write_batch(held)
            self._batches = []


def _schema(row: Record) -> Any:
    """Arrow types of canonical rows; known for the columns whose first value may be an empty list."""
    import pyarrow as pa

    known = {name: pa.list_(pa.string()) for name in ("labels", "tags", "negatives", "passages")}
    known |= {"words": pa.list_(pa.list_(pa.int32()))}
    known |= {"answers": pa.list_(pa.struct([("text", pa.string()), ("start", pa.int64())]))}
    kinds = {str: pa.string(), float: pa.float64(), int: pa.int64(), bool: pa.bool_()}
    return pa.schema(
        [(name, known.get(name) or kinds.get(type(value)) or pa.array([value]).type) for name, value in row.items()]
    )
