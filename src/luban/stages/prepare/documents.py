"""JSON lines and JSON documents: arrays, parts, columns, SQuAD; rows come out flat and nothing is converted.

A document may hold its parts by name ({"train": [...], "val": [...], "oos_train": [...]}).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from luban.errors import DataError
from luban.stages.prepare.base import MAX_DOCUMENT, Item, Record, Table, names
from luban.stages.prepare.naming import part_of
from luban.stages.prepare.text import Encoding, lines, whole

WRAPPERS = ("data", "rows", "examples", "items", "records", "instances")


def is_json_lines(path: Path, encoding: Encoding) -> bool:
    """Whether the first line that is not blank is a whole JSON object or array and the next one begins another."""
    filled = (line for _, line in lines(path, encoding) if line.strip())
    start = [line.lstrip("\ufeff \t") for line in islice(filled, 2)]
    if not start or not start[0].startswith(("{", "[")):
        return False
    name = path.name.lower().removesuffix(".gz")
    try:
        _loads(start[0])
    except DataError:
        return name.endswith(("jsonl", "ndjson"))
    return not name.endswith(".json") if len(start) == 1 else start[1].startswith(("{", "["))


def json_lines(path: Path, encoding: Encoding) -> Table:
    """The table of a file with one JSON object (or array of cells) a line."""

    def items() -> Iterator[Item]:
        for number, line in lines(path, encoding):
            if line.strip():
                try:
                    yield number, _record(_loads(line))
                except DataError as error:
                    yield number, error.at(row=number)

    sample = [record for _, record in islice(items(), 200) if not isinstance(record, DataError)]
    if not sample:
        error = next((record for _, record in items() if isinstance(record, DataError)), None)
        raise (error or DataError("there is no row.", "One JSON object a line.", "Fill the file.")).at(file=path)
    columns = names(sample)
    return Table(path, "JSON lines", columns, items, named=not all(name.isdigit() for name in columns))


def json_document(path: Path, encoding: Encoding) -> dict[str, Table]:
    """Tables by part of a JSON document; the only key is "" where it does not speak of parts."""
    try:
        document = _loads(whole(path, encoding, MAX_DOCUMENT))
    except DataError as error:
        raise error.at(file=path) from None
    if isinstance(document, Mapping) and _has_parts(document):
        parts: dict[str, list[Any]] = {}
        for key, rows in document.items():
            if (part := part_of(key)) and isinstance(rows, list):
                parts.setdefault(part, []).extend(rows)
        return {part: _table(path, rows, f"JSON, part {part}") for part, rows in parts.items()}
    return {"": _table(path, _rows(path, document), "JSON")}


def _table(path: Path, rows: Sequence[Any], kind: str) -> Table:
    if not rows:
        raise DataError("there are no rows.", "A list of rows was expected.", "Fill the file.", file=path)

    def items() -> Iterator[Item]:
        for number, row in enumerate(rows, start=1):
            try:
                yield number, _record(row)
            except DataError as error:
                yield number, error.at(row=number)

    sample = [record for _, record in islice(items(), 200) if not isinstance(record, DataError)]
    if not sample:
        raise DataError(f"{rows[0]!r:.60} is no row.", "Rows are objects or lists.", "Mend the file.", file=path, row=1)
    columns = names(sample)
    return Table(path, kind, columns, items, named=not all(name.isdigit() for name in columns))


def _rows(path: Path, document: object) -> list[Any]:
    if isinstance(document, list):
        return document
    if isinstance(document, Mapping):
        if isinstance(document.get("data"), list) and _is_squad(document["data"]):
            return list(_squad(document["data"]))
        for key in WRAPPERS:
            if isinstance(document.get(key), list):
                return list(document[key])
        lengths = {len(column) for column in document.values() if isinstance(column, list)}
        if len(lengths) == 1 and all(isinstance(column, list) for column in document.values()):
            return [dict(zip(document, cells, strict=True)) for cells in zip(*document.values(), strict=True)]
        return [document]
    raise DataError(
        f"the document is {document!r:.60}.",
        "A list of rows, parts by name, or SQuAD's form was expected.",
        "Write one JSON object a line.",
        file=path,
    )


def _has_parts(document: object) -> bool:
    return (
        isinstance(document, Mapping)
        and any(part_of(key) for key in document)
        and all(isinstance(rows, list) and rows and isinstance(rows[0], dict | list) for rows in document.values())
    )


def _is_squad(data: Sequence[Any]) -> bool:
    return bool(data) and isinstance(data[0], Mapping) and "paragraphs" in data[0]


def _squad(data: Sequence[Any]) -> Iterator[Record]:
    """One row a question: question, context, answers (texts and starts), id, title, as `datasets` writes SQuAD."""
    for article in data:
        for paragraph in _list(article, "paragraphs"):
            for question in _list(paragraph, "qas"):
                answers = [answer for answer in _list(question, "answers") if isinstance(answer, Mapping)]
                yield {
                    "id": str(question.get("id", "")),
                    "title": article.get("title", ""),
                    "question": question.get("question"),
                    "context": paragraph.get("context"),
                    "answers": {
                        "text": [answer.get("text") for answer in answers],
                        "answer_start": [answer.get("answer_start") for answer in answers],
                    },
                }


def _list(holder: object, key: str) -> list[Any]:
    found = holder.get(key) if isinstance(holder, Mapping) else None
    return [item for item in found if isinstance(item, Mapping)] if isinstance(found, list) else []


def _record(value: object) -> Record:
    if isinstance(value, Mapping):
        return {str(key): cell for key, cell in value.items()}
    if isinstance(value, list):
        return {str(i + 1): cell for i, cell in enumerate(value)}
    if isinstance(value, str):
        return {"text": value}
    raise DataError(f"{value!r:.60} is no row.", "A row is an object of columns.", "Mend the row.")


def _loads(text: str) -> Any:
    """JSON of a text; raises `DataError` for what is none, is nested too deeply or holds half a surrogate pair."""
    try:
        value = json.loads(text.lstrip("\ufeff"))
        if "\\u" in text:
            json.dumps(value, ensure_ascii=False).encode("utf-8")
        return value
    except json.JSONDecodeError as error:
        raise DataError(
            f"this is no whole JSON ({error.msg.removesuffix(' at')} at line {error.lineno}, character {error.colno})."
            if error.lineno > 1
            else f"this is no whole JSON ({error.msg.removesuffix(' at')} at character {error.colno}).",
            "One whole JSON value was expected.",
            "Check that the line was not cut and that quotes and brackets close.",
        ) from error
    except (ValueError, RecursionError) as error:
        raise DataError(
            f"this JSON cannot be taken ({str(error)[:80]}).",
            "Plain, shallow JSON in Unicode was expected.",
            "Mend the row.",
        ) from error
