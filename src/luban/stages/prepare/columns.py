"""Which column of a table is which of a task's: by name, by the user's word, or by content where there is no header."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from luban.errors import DataError, nearest_hint
from luban.stages.prepare.base import Record, Table
from luban.tasks.base import Column, Task

ALSO: Mapping[str, tuple[str, ...]] = {
    "text": (
        "text_a",
        "sentence1",
        "sentence_a",
        "full_text",
        "body",
        "message",
        "document",
        "abstract",
        "tweet",
        "正文",
    ),
    "text_pair": ("text2", "sentence_2", "question_2", "answer", "回答"),
    "label": ("label_desc", "labels", "coarse_label", "entailment_judgment", "relatedness_score", "stars", "rating"),
    "tokens": ("words",),
    "entities": ("entity_list", "ents", "annotations"),
}
"names seen in public data sets beside the aliases that the tasks state themselves"
IDENTIFIER = re.compile(r"(?=.*\d)[A-Za-z0-9_.:-]+")


def is_known(task: type[Task] | None, mapping: Mapping[str, str]) -> Any:
    """A function that says whether a cell of a first row is the name of a column, so that this row is a header."""
    every = {folded(name) for names in ALSO.values() for name in names} | {folded(name) for name in mapping.values()}
    every |= {
        "id",
        "idx",
        "text",
        "label",
        "labels",
        "text_pair",
        "sentence",
        "tags",
        "tokens",
        "question",
        "context",
        "answers",
    }
    if task is not None:
        every |= {folded(name) for column in task.columns for name in (column.name, *column.aliases)}
    every -= {str(number) for number in range(100)}
    return lambda cell: folded(cell) in every


def folded(name: str) -> str:
    """A column's name as names are compared: without case, with underscores for spaces and hyphens."""
    return re.sub(r"[\s-]+", "_", name.strip().lstrip("\ufeff").casefold())


def recognise(
    table: Table, task: type[Task], mapping: Mapping[str, str] | None = None, *, labelled: bool = True
) -> dict[str, str]:
    """Canonical name to column name; raises `DataError` that names what exists, the nearest, and how to say it.

    ``labelled=False`` does without target columns.
    """
    found = _told(table, task, mapping or {})
    wanted = [column for column in task.columns if not (column.option if labelled else column.target)]
    _by_name(table, wanted, found)
    if task.forms:
        return _formed(table, task, found, labelled)
    if is_tagger(task):
        return _tagger(table, task, found, labelled)
    missing = [column for column in wanted if column.required and column.name not in found]
    if missing and not table.named:
        _by_content(table, wanted, found)
        missing = [column for column in wanted if column.required and column.name not in found]
    answers = [column for column in wanted if column.target]
    if answers and not any(column.required or column.name in found for column in answers):
        missing = [column for column in answers if column.name != "targets"] or answers
    if missing:
        raise _missing(table, missing)
    return found


def _told(table: Table, task: type[Task], mapping: Mapping[str, str]) -> dict[str, str]:
    known = [column.name for column in task.columns]
    for name, column in mapping.items():
        if name not in known:
            raise DataError(
                f"{task.name} has no column {name!r}.",
                f"Its columns: {', '.join(known)}.",
                nearest_hint(name, known) or "Write --columns NAME=COLUMN with one of these names first.",
                file=table.file,
            )
        if column not in table.columns and name not in task.named:
            raise DataError(
                f"there is no column {column!r}.",
                f"The columns are: {', '.join(table.columns)}.",
                nearest_hint(column, table.columns) or "Name one of them.",
                file=table.file,
                column=column,
            )
    # Sources that are joined answer different questions.
    return {name: column for name, column in mapping.items() if column in table.columns}


def _by_name(table: Table, wanted: Sequence[Column], found: dict[str, str]) -> None:
    """Exact names first, then each column's own aliases, then those of `ALSO`."""
    there = {folded(name): name for name in reversed(table.columns)}
    exact = [(column, (column.name,)) for column in wanted]
    aliases = [(column, (*column.aliases, *ALSO.get(column.name, ()))) for column in wanted]
    for column, others in (*exact, *aliases):
        if column.name not in found:
            free = (there[folded(name)] for name in others if folded(name) in there)
            match = next((name for name in free if name not in found.values()), None)
            if match is not None:
                found[column.name] = match


def _tagger(table: Table, task: type[Task], found: dict[str, str], labelled: bool) -> dict[str, str]:
    """Of the forms a tagger's rows come in, the first that is whole: canonical, tokens and tags, text and entities."""
    if {"text", "words", "tags"} <= set(table.columns):
        sample = table.head(1)
        if sample and isinstance(sample[0].get("words"), list) and any(isinstance(w, list) for w in sample[0]["words"]):
            intent = {"label": found["label"]} if "label" in found else {}
            return {name: name for name in ("text", "words", "tags")} | intent
    others = tuple(column.name for column in task.columns if column.required and labelled)
    forms = (("tokens", "tags"), ("text", "entities")) if labelled else (("tokens",), ("text",))
    for form in (form + others for form in forms):
        if all(name in found for name in form):
            return {name: found[name] for name in form}
    wanted = (*forms[0], *others)
    raise _missing(table, [column for column in task.columns if column.name in wanted and column.name not in found])


def _formed(table: Table, task: type[Task], found: dict[str, str], labelled: bool) -> dict[str, str]:
    """The columns of the first of a task's forms that is whole, and the options of each row."""
    named = {column.name: column for column in task.columns}
    forms = [tuple(name for name in form if labelled or not named[name].target) for form in task.forms]
    for form in forms:
        if form and all(name in found for name in form):
            options = {name: column for name, column in found.items() if named[name].option}
            return {name: found[name] for name in form} | options
    raise _missing(table, [named[name] for name in forms[-1] if name not in found])


def is_tagger(task: type[Task]) -> bool:
    """Whether rows of a task are words with tags, in any of their forms."""
    return any(column.name == "tags" for column in task.columns)


def _by_content(table: Table, wanted: Sequence[Column], found: dict[str, str]) -> None:
    """Texts are the longest columns in the file's order, the target the one of the rest with the fewest values."""
    sample = table.head()
    values = {name: [_shown(record, name) for record in sample] for name in table.columns if name not in found.values()}
    open_columns = [column for column in wanted if column.required and column.name not in found]
    texts = [column for column in open_columns if not column.target]
    targets = [column for column in open_columns if column.target]
    free = list(values)
    for dull in (_is_constant, _is_identifier):
        spare = [name for name in free if dull(values[name])] if len(sample) > 3 else []
        for name in spare[: max(0, len(free) - len(open_columns))]:
            free.remove(name)
    longest = sorted(free, key=lambda name: -sum(map(len, values[name])))[: len(texts)]
    for column, name in zip(texts, (name for name in free if name in longest), strict=False):
        found[column.name] = name
    rest = sorted((name for name in free if name not in longest), key=lambda name: len(set(values[name])))
    for column, name in zip(targets, rest, strict=False):
        found[column.name] = name


def _shown(record: Record, name: str) -> str:
    value = record.get(name)
    return "" if value is None else str(value)


def _is_constant(values: Sequence[str]) -> bool:
    return len(set(values)) == 1


def _is_identifier(values: Sequence[str]) -> bool:
    return len(set(values)) == len(values) and all(IDENTIFIER.fullmatch(value.strip("\ufeff")) for value in values)


def _missing(table: Table, missing: Iterable[Column]) -> DataError:
    columns = list(missing)
    first = columns[0]
    hint = nearest_hint(first.name, table.columns)
    shown = ", ".join(table.columns) if table.named else f"{', '.join(table.columns)} (the file has no header)"
    return DataError(
        f"there is no column for {' and '.join(repr(column.name) for column in columns)} ({first.about}).",
        f"The columns are: {shown}.",
        f"Name it with --columns {'=COLUMN,'.join(column.name for column in columns)}=COLUMN.{' ' + hint if hint else ''}",
        file=table.file,
        column=first.name,
    )
