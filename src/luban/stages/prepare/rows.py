"""Raw records to canonical rows in Arrow: each is taken or rejected with a reason; memory stays bounded for big files
(`luban.stored`).
"""

from __future__ import annotations

from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from luban.errors import DataError, counted
from luban.gathered import CATEGORY, NUMBER
from luban.records import Reject, Rows
from luban.stages.prepare.base import MAX_LINE, Record, Table, rejected
from luban.stages.prepare.clean import clean_text
from luban.stages.prepare.columns import is_tagger
from luban.stages.prepare.entities import entities_of
from luban.stages.prepare.fields import ANY, Wanted
from luban.stages.prepare.images import examined
from luban.stages.prepare.keys import NO_KEYS, Keying, Keys
from luban.stored import SettingAside, Storing
from luban.tasks.base import Task


@dataclass(frozen=True, slots=True)
class Part:
    """Canonical rows of one part; ``lines[i]`` is where row i stands in ``files[i]`` (an index into ``sources``)."""

    rows: Rows
    lines: array[int] = field(default_factory=lambda: array("q"))
    sources: tuple[str, ...] = ()
    groups: Keys = field(default_factory=lambda: NO_KEYS)
    "of the values of the column to group by; none where there is no such column"
    cleaned: int = 0
    inner: int = 0
    "entities left out because they stood inside another one"
    rejects: Sequence[Reject] = ()
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
    fields: Wanted = ANY


def read_part(tables: tuple[tuple[Table, Mapping[str, str]], ...], how: Reading) -> Part:
    """All rows of a part's tables (each with its recognised columns), in order; strict raises at the first bad one."""
    store, rejects = Storing(known=canonical_types(how.task.named) | field_types(tables)), SettingAside()
    lines, groups = array("q"), Keying()
    cleaned = inner = seen = 0
    for table, columns in tables:
        for number, record in table.items():
            seen += 1
            try:
                row, changed, nested = _canonical(record, columns, how)
                if "image" in row:
                    row = examined(row, table.file if table.file.is_dir() else table.file.parent)
            except DataError as error:
                placed = _named(error, columns).at(file=table.file, row=number)
                if how.strict:
                    raise placed from error
                raw = None if isinstance(record, DataError) else record
                rejects.add(rejected(placed, number, raw))
                continue
            store.add(row)
            lines.append(number)
            cleaned, inner = cleaned + changed, inner + nested
            if how.group and isinstance(record, dict):
                groups.add(str(record.get(how.group)))
    names = tuple(str(table.file) for table, _ in tables)
    return Part(store.rows(), lines, names, groups.keys(), cleaned, inner, rejects.rejects(), seen)


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


def field_types(tables: Sequence[tuple[Table, Mapping[str, str]]]) -> dict[str, Any]:
    """Arrow types of what may be missing in the first row: fields, and a text or picture beside them."""
    import pyarrow as pa

    columns = {name for _, found in tables for name in found}
    texts = {name for name in columns if name in ("text", "image") or name.startswith(CATEGORY)} | {"hash"}
    return dict.fromkeys(texts, pa.string()) | {n: pa.float64() for n in columns if n.startswith(NUMBER)}


def canonical_types(asked: Mapping[str, str]) -> dict[str, Any]:
    """Arrow types of the columns whose first value may be an empty list, and of the answers to the questions that are
    ``asked``, any of which may be missing in the first row."""
    import pyarrow as pa

    answers = {"label": pa.string(), "labels": pa.list_(pa.string()), "number": pa.float64()}
    known = {name: pa.list_(pa.string()) for name in ("labels", "tags", "negatives", "passages")}
    known |= {"words": pa.list_(pa.list_(pa.int32()))}
    known |= {"answers": pa.list_(pa.struct([("text", pa.string()), ("start", pa.int64())]))}
    known["targets"] = pa.struct([(name, answers[kind]) for name, kind in asked.items()])
    return known
