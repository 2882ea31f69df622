"""`luban data clean|anonymise|split`: a source in, a folder of train/valid/test.jsonl and rejects.jsonl out."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from luban.config import PrepareConfig
from luban.errors import ConfigError
from luban.personal import find, mask, stand_in
from luban.records import TEXTS, Reject, Row, Rows
from luban.stages.prepare.clean import clean_text, normalised
from luban.stages.prepare.images import brought, without_place
from luban.stages.prepare.keys import firsts, keys_of
from luban.stages.prepare.line import Loaded, fingerprint, load, prepare, write_rejects
from luban.stages.prepare.rows import Part
from luban.stored import SettingAside, Stored, Storing, together, written_to
from luban.tasks.base import Task

ANSWERS = ("target", "chosen", "rejected")
"columns of written answers"


@dataclass(frozen=True, slots=True)
class Written:
    """What a verb wrote: ``rows`` by part, how many were ``changed``, and the ``files``; rows_in = rows + rejects."""

    verb: str
    source: str
    task: str
    out: str
    rows_in: int
    rows: Mapping[str, int]
    changed: int
    rejects: Sequence[Reject]
    fingerprint: str
    files: tuple[str, ...]
    columns: Mapping[str, str]
    sample: tuple[Row, ...]

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def clean(
    source: str, task: type[Task], out: str | Path, config: PrepareConfig | None = None, *, fold_width: bool = False
) -> Written:
    """Write a source's rows cleaned (`clean_text`), copies rejected; ``fold_width`` makes full-width letters plain.

    Tagged rows keep their text, whose offsets count; of them only exact copies go.
    """
    _check_texts(task)
    config = (config or PrepareConfig()).model_copy(update={"clean": True, "strict": False, "group": ""})
    loaded = load(source, task, config=config)
    cleaned = sum(part.cleaned for part in loaded.parts.values())

    def change(row: dict[str, Any]) -> dict[str, Any]:
        return (
            row
            if "words" in row or "answers" in row or not fold_width
            else _each_text(row, lambda text: clean_text(text, fold_width=True))
        )

    return _write("clean", loaded, Path(out), change, cleaned, unique=True)


def anonymise(source: str, task: type[Task], out: str | Path, config: PrepareConfig | None = None) -> Written:
    """Write a source's rows with personal data replaced by stand-ins (`luban.personal`); tags stay in step.

    Names of people and postal addresses are not looked for.
    """
    _check_texts(task)
    config = (config or PrepareConfig()).model_copy(update={"clean": False, "strict": False, "group": ""})
    loaded = load(source, task, config=config)
    return _write("anonymise", loaded, Path(out), _masked, 0)


def _check_texts(task: type[Task]) -> None:
    """Raises `ConfigError` for rows that are interactions."""
    if task.recommends:
        raise ConfigError(
            "Interactions are neither cleaned nor anonymised.",
            "They are ids and times; items' texts are cleaned as they are read.",
            "See what is wrong with them with `luban data check`, or part them with `luban data split`.",
        )


def split(source: str, task: type[Task], out: str | Path, config: PrepareConfig | None = None) -> Written:
    """Write a source's rows parted into train, valid and test by ``config`` (shares, group, seed), free of leaks."""
    config = (config or PrepareConfig()).model_copy(update={"source": source})
    prepared = prepare(config, task)
    parts = {"train": prepared.train, "valid": prepared.valid, "test": prepared.test}
    parts = {name: rows for name, rows in parts.items() if len(rows)}
    files = _files(Path(out), parts | ({"items": prepared.items} if prepared.items else {}), prepared.rejects)
    return Written(
        "split",
        source,
        task.name,
        str(out),
        int(prepared.notes["rows_in"]),
        {name: len(rows) for name, rows in parts.items()},
        int(prepared.notes["cleaned"]),
        prepared.rejects,
        prepared.fingerprint,
        files,
        prepared.columns,
        tuple(prepared.notes["sample"]),
    )


def write_rows(path: Path, rows: Rows) -> Path:
    """Rows as JSON lines that luban reads back to the same rows; written whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(path.name + ".part")
    with (
        written_to(path.parent),
        temporary.open("w", encoding="utf8") as file,
    ):
        for row in rows:
            file.write(json.dumps(brought(row, path.parent), ensure_ascii=False) + "\n")
    temporary.replace(path)
    return path


def _write(
    verb: str,
    loaded: Loaded,
    out: Path,
    change: Callable[[dict[str, Any]], dict[str, Any]],
    changed: int,
    *,
    unique: bool = False,
) -> Written:
    parts: dict[str, Rows] = {}
    rejects = [loaded.rejects]
    for name, part in loaded.parts.items():
        parts[name], copies, again = _changed(part, change, unique=unique)
        rejects.append(copies)
        changed += again
    refused = together(*rejects)
    files = _files(out, parts, refused)
    sample = tuple(row for rows in parts.values() for row in rows[:3])[:3]
    return Written(
        verb,
        loaded.source,
        loaded.task,
        str(out),
        sum(part.seen for part in loaded.parts.values()),
        {name: len(rows) for name, rows in parts.items()},
        changed,
        refused,
        fingerprint(*parts.values()),
        files,
        loaded.columns,
        sample,
    )


def _changed(
    part: Part, change: Callable[[dict[str, Any]], dict[str, Any]], *, unique: bool
) -> tuple[Rows, Sequence[Reject], int]:
    """The rows of a part as they are after the change, the copies among them, and how many were changed."""
    kept = Storing(part.rows.table.schema if isinstance(part.rows, Stored) else None)
    copies, changed = SettingAside(), 0
    first = firsts(keys_of(_key(change(dict(row))) for row in part.rows)) if unique else np.arange(len(part.rows))
    for i, raw in enumerate(part.rows):
        row = change(dict(raw))
        changed += row != raw
        if first[i] == i:
            kept.add(row)
            continue
        reason = f"the same text and label as row {part.lines[first[i]]}."
        copies.add(Reject(part.sources[0], part.lines[i], reason, content=json.dumps(row, ensure_ascii=False)[:200]))
    return kept.rows(), copies.rejects(), changed


def _files(out: Path, parts: Mapping[str, Rows], rejects: Sequence[Reject]) -> tuple[str, ...]:
    paths = [write_rows(out / f"{name}.jsonl", rows) for name, rows in parts.items()]
    if rejects:
        paths.append(write_rejects(out / "rejects.jsonl", rejects))
    return tuple(str(path) for path in paths)


def _key(row: Row) -> str:
    texts = {
        name: normalised(value) if name in TEXTS and isinstance(value, str) else value
        for name, value in without_place(row).items()
    }
    return json.dumps(texts, ensure_ascii=False, sort_keys=True)


def _each_text(row: dict[str, Any], change: Callable[[str], str]) -> dict[str, Any]:
    return {name: change(value) if name in TEXTS and isinstance(value, str) else value for name, value in row.items()}


def _masked(row: dict[str, Any]) -> dict[str, Any]:
    """A row with personal data replaced, wherever it stands."""
    if "words" in row:
        return _masked_words(row)
    masked = _each_text(row, mask) | {name: mask(row[name]) for name in ANSWERS if isinstance(row.get(name), str)}
    if row.get("messages"):
        masked["messages"] = [{**message, "content": mask(message["content"])} for message in row["messages"]]
    if "answers" in row:
        # An answer that began or ended inside of what was replaced is no piece of the text any more.
        places = [(one, masked["context"].find(mask(one["text"]))) for one in row["answers"]]
        masked["answers"] = [{"text": mask(one["text"]), "start": place} for one, place in places if place >= 0]
    return masked


def _masked_words(row: dict[str, Any]) -> dict[str, Any]:
    """A tagged row with personal data replaced: the words of a finding become one, with the first one's tag."""
    text: str = row["text"]
    words = [(int(start), int(end)) for start, end in row["words"]]
    tags = list(row.get("tags") or ["O"] * len(words))
    for entity in reversed(find(text)):
        touched = [i for i, (start, end) in enumerate(words) if start < entity.end and end > entity.start]
        if not touched:
            continue
        first, last = touched[0], touched[-1]
        start, end = min(words[first][0], entity.start), max(words[last][1], entity.end)
        replaced = text[start : entity.start] + stand_in(entity) + text[entity.end : end]
        shift = len(replaced) - (end - start)
        text = text[:start] + replaced + text[end:]
        after = [(a + shift, b + shift) for a, b in words[last + 1 :]]
        words = [*words[:first], (start, start + len(replaced)), *after]
        tags = [*tags[: first + 1], *tags[last + 1 :]]
    masked = {**row, "text": text, "words": [list(word) for word in words]}
    return masked | {"tags": _mended(tags)} if "tags" in row else masked


def _mended(tags: Sequence[str]) -> list[str]:
    """IOB2 again after words were merged: an I that follows nothing of its type begins."""
    out: list[str] = []
    for tag in tags:
        opens = tag.startswith("I-") and (not out or out[-1] not in (tag, f"B-{tag[2:]}"))
        out.append(f"B-{tag[2:]}" if opens else tag)
    return out
