"""The stage itself: a source to rows that a task can learn from, split without leaks, with nothing dropped silently."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

from luban.config import OWN_TEXTS, PrepareConfig
from luban.errors import DataError
from luban.records import Prepared, Reject, Row, Rows, texts
from luban.stages.prepare.base import PARTS, Table, each
from luban.stages.prepare.columns import is_known, recognise
from luban.stages.prepare.images import without_place
from luban.stages.prepare.interactions import check_split, held_out, refuse_options
from luban.stages.prepare.interactions import read as histories
from luban.stages.prepare.rows import IN_MEMORY, Part, Reading, read_part
from luban.stages.prepare.sources import open_source
from luban.stages.prepare.split import split, text_key
from luban.tasks import TASKS
from luban.tasks.base import Task


@dataclass(frozen=True, slots=True)
class Loaded:
    """Canonical rows of a source by part ("train", "valid", "test"); a source without parts is all "train" and ``whole``."""

    task: str
    source: str
    parts: Mapping[str, Part]
    columns: Mapping[str, str]
    notes: Mapping[str, Any] = field(default_factory=dict)
    whole: bool = False
    items: Rows = ()
    "what can be recommended, where that is what the task does"

    @property
    def rejects(self) -> tuple[Reject, ...]:
        return tuple(reject for part in self.parts.values() for reject in part.rejects)


def load(
    source: str,
    task: type[Task],
    *,
    config: PrepareConfig | None = None,
    labelled: bool = True,
) -> Loaded:
    """Rows of a source, canonical for a task; ``config`` gives columns, cleaning, strictness and the group column.

    ``labelled=False`` reads inputs only, for prediction. Raises `DataError` naming file, row and column.
    """
    config = config or PrepareConfig()
    if task.recommends:
        found = histories(source, task, config, labelled=labelled)
        return Loaded(task.name, source, found.parts, found.columns, found.notes, len(found.parts) == 1, found.items)
    opened = open_source(source, is_known(task, config.columns))
    how = Reading(task, config.columns, config.clean, config.strict, config.group, labelled)
    parts: dict[str, Part] = {}
    columns: dict[str, str] = {}
    notes: dict[str, Any] = {"files": {}}
    for name in sorted(opened.tables, key=_place):
        tables, part = opened.tables[name], name or "train"
        if part not in PARTS:
            notes.setdefault("parts_passed_over", []).append(part)
            continue
        read = _read(part, tables, how)
        columns = columns or dict(read[1])
        parts[part] = read[0]
        notes["files"] |= {part: [_about(table) for table in tables]}
    if opened.passed_over:
        notes["files_passed_over"] = list(opened.passed_over)
    if not parts:
        raise DataError(
            "there is no part named train, valid or test.",
            f"Its parts: {', '.join(opened.tables)}.",
            "Name the files one by one (--valid, --test).",
            file=source,
        )
    return Loaded(task.name, source, parts, columns, notes, whole="" in opened.tables)


def _place(part: str) -> int:
    """Where a part comes when parts are listed: train, valid, test, then any other."""
    return PARTS.index(part) if part in PARTS else len(PARTS)


def prepare(config: PrepareConfig, task: type[Task]) -> Prepared:
    """Rows of ``config.source`` (and ``valid``, ``test``) for ``task``, cleaned, checked to be learnable, and split.

    Rows in = rows out + rejects. ``notes``: ``sample`` (three rows), ``files``, ``rows``, ``rows_in``, ``cleaned``,
    ``leaked`` (texts of valid and test that stand in train), ``nested`` (entities inside others, left out),
    ``section`` (the options, by which the same split is made again).
    Raises `DataError`, with ``strict`` at the first bad row.
    """
    if not config.source:
        raise DataError("no source was given.", "A file, a folder or hf:NAME[:CONFIG].", "Name the rows to learn from.")
    if task.recommends:
        return _histories(config, task)
    loaded = _loaded(config, task)
    parts = dict(loaded.parts)
    unlabelled = _whole(load(config.unlabelled, task, config=config, labelled=False)) if config.unlabelled else Part([])
    seen = sum(part.seen for part in parts.values()) + unlabelled.seen
    if config.drop_duplicates:
        parts = {name: _unique(part, name, config.source) for name, part in parts.items()}
    parts = {name: _labelled(part, name, parts["train"]) for name, part in parts.items()}
    rejects = tuple(reject for part in (*parts.values(), unlabelled) for reject in part.rejects)
    _learnable(parts["train"].rows, task, config.source)
    train, valid, test = _parted(parts, config)
    rows = {"train": len(train), "valid": len(valid), "test": len(test)}
    rows |= {"unlabelled": len(unlabelled.rows)} if config.unlabelled else {}
    assert seen == sum(rows.values()) + len(rejects), "a row was lost"
    reading, unread = to_read(config, train, unlabelled.rows)
    notes = {**loaded.notes, **_notes(parts, (train, valid, test), config), "rows": rows, "rows_in": seen}
    told = fingerprint(train, valid, test, *(more for more in (unlabelled.rows, reading) if len(more)))
    replay = prepare(replayed(config), task) if config.replay else None
    return Prepared(
        task.name, config.source, train, valid, test, (*rejects, *unread), loaded.columns, told, notes, unlabelled.rows, replay,
        texts=reading,
    )  # fmt: skip


def _loaded(config: PrepareConfig, task: type[Task]) -> Loaded:
    """The parts of ``config.source``, those of ``valid`` and ``test`` in place; raises `DataError` without a train part."""
    loaded = load(config.source, task, config=config)
    parts, files = dict(loaded.parts), dict(loaded.notes["files"])
    for name, source in (("valid", config.valid), ("test", config.test)):
        if source:
            other = load(source, task, config=config)
            parts[name] = _only(other, name)
            files[name] = [about for each_file in other.notes["files"].values() for about in each_file]
    if "train" not in parts:
        raise DataError(
            "there is no train part.",
            f"Found: {', '.join(sorted(parts))}.",
            "Name the file to train on as the source (and --valid, --test for others).",
            file=config.source,
        )
    return replace(loaded, parts=parts, notes={**loaded.notes, "files": files})


def _notes(parts: Mapping[str, Part], split_up: tuple[Rows, Rows, Rows], config: PrepareConfig) -> dict[str, Any]:
    train, valid, test = split_up
    return {
        "sample": [dict(row) for row in _first(train, 3)],
        "cleaned": sum(part.cleaned for part in parts.values()),
        "nested": sum(part.inner for part in parts.values()),
        "leaked": {name: len(leaked(train, rows)) for name, rows in (("valid", valid), ("test", test))},
        "section": config.model_dump(mode="json"),
    }


def to_read(config: PrepareConfig, train: Rows, unlabelled: Rows) -> tuple[list[Row], tuple[Reject, ...]]:
    """The texts that the base reads before it learns, each once, and what could not be read.

    They are those of ``config.adapt``, or of the rows to learn from.
    """
    if not config.adapt:
        return [], ()
    rejects: tuple[Reject, ...] = ()
    if config.adapt == OWN_TEXTS:
        found = [text for rows in (train, unlabelled) for row in each(rows) for text in texts(row).values()]
    else:
        columns = {name: column for name, column in config.columns.items() if name == "text"}
        reading = config.model_copy(update={"columns": columns, "group": ""})
        loaded = load(config.adapt, TASKS["text-classification"], config=reading, labelled=False)
        rejects = loaded.rejects
        found = [str(row["text"]) for row in each(_whole(loaded).rows)]
    return [{"text": text} for text in dict.fromkeys(found)], rejects


def _histories(config: PrepareConfig, task: type[Task]) -> Prepared:
    """Histories of users, the last items of each held out; raises `DataError` where what is to be found is told."""
    refuse_options(config)
    found = held_out(histories(config.source, task, config))
    rows = {name: found.parts[name].rows if name in found.parts else [] for name in PARTS}
    check_split(rows, config.source)
    _learnable(rows["train"], task, config.source)
    notes = dict(found.notes) | {
        "sample": [dict(row) for row in _first(rows["train"], 3)],
        "rows": {name: len(part) for name, part in rows.items()},
        "rows_in": sum(map(len, rows.values())) + len(found.rejects),
        "cleaned": 0,
        "nested": 0,
        "leaked": {"valid": 0, "test": 0},
        "section": config.model_dump(mode="json"),
    }
    told = fingerprint(*rows.values(), found.items)
    return Prepared(
        task.name, config.source, rows["train"], rows["valid"], rows["test"], found.rejects, found.columns, told, notes,
        items=found.items,
    )  # fmt: skip


def replayed(config: PrepareConfig) -> PrepareConfig:
    """How the rows of ``replay`` are read: as they were when the older model learnt them, where it had the same options."""
    alone = {"source": config.replay, "replay": "", "unlabelled": "", "adapt": "", "valid": "", "test": ""}
    return config.model_copy(update=alone)


def fingerprint(*parts: Rows) -> str:
    """SHA-256 of the canonical JSON of all rows, part by part, in order; a picture counts by its hash, not its place."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(b"part\n")
        for row in each(part):
            digest.update(
                json.dumps(without_place(row), ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode()
                + b"\n"
            )
    return digest.hexdigest()


def write_rejects(path: str | Path, rejects: Sequence[Reject]) -> Path:
    """Rejected rows as JSON lines (source, row, reason, column, content), written whole or not at all."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(path.name + ".part")
    temporary.write_text(
        "".join(json.dumps(reject.as_json(), ensure_ascii=False) + "\n" for reject in rejects), encoding="utf8"
    )
    temporary.replace(path)
    return path


def _read(part: str, tables: tuple[Table, ...], how: Reading) -> tuple[Part, dict[str, str]]:
    """A part's rows; a test part that has the inputs but no target column is rejected whole."""
    recognised = []
    for table in tables:
        try:
            columns = recognise(table, how.task, how.columns, labelled=how.labelled)
        except DataError:
            if part != "test" or not how.labelled:
                raise
            recognise(table, how.task, {}, labelled=False)
            reason = "the test part has no labels."
            rejects = tuple(Reject(str(table.file), number, reason) for table in tables for number, _ in table.items())
            return Part([], rejects=rejects, seen=len(rejects)), {}
        if how.group and how.group not in table.columns:
            raise DataError(
                f"there is no column {how.group!r} to group by.",
                f"The columns are: {', '.join(table.columns)}.",
                "Name one of them (--group).",
                file=table.file,
                column=how.group,
            )
        recognised.append((table, columns))
    read = read_part(tuple(recognised), how)
    if not len(read.rows) and not read.rejects:
        raise DataError("there are no rows.", "At least one row was expected.", "Fill the file.", file=tables[0].file)
    return read, recognised[0][1]


def _about(table: Table) -> dict[str, Any]:
    return {"file": str(table.file), "format": table.format, "columns": list(table.columns), **table.notes}


def _only(loaded: Loaded, name: str) -> Part:
    """The part that a separate source was named for: its one part, or the one of several with that name."""
    if len(loaded.parts) == 1:
        return next(iter(loaded.parts.values()))
    if name in loaded.parts:
        return loaded.parts[name]
    raise DataError(
        f"none of its parts is {name!r}.",
        f"Its parts: {', '.join(loaded.parts)}.",
        "Name one file.",
        file=loaded.source,
    )


def _whole(loaded: Loaded) -> Part:
    """All rows of a source in one part, whatever its parts are called."""
    parts = list(loaded.parts.values())
    if len(parts) == 1:
        return parts[0]
    rows = [row for part in parts for row in each(part.rows)]
    return Part(rows, rejects=loaded.rejects, seen=sum(part.seen for part in parts))


def _unique(part: Part, name: str, source: str) -> Part:
    """The part with later copies of a row (same text, same target) rejected."""
    first: dict[str, int] = {}
    keep: list[int] = []
    rejects = list(part.rejects)
    for i, row in enumerate(each(part.rows)):
        key = json.dumps(without_place(row), ensure_ascii=False, sort_keys=True)
        if first.setdefault(key, i) == i:
            keep.append(i)
        else:
            reason = f"the same text and label as row {part.lines[first[key]]}."
            rejects.append(
                Reject(part.sources[0] if part.sources else source, part.lines[i], reason, content=key[:200])
            )
    groups = tuple(part.groups[i] for i in keep) if part.groups else ()
    lines = type(part.lines)("q", [part.lines[i] for i in keep])
    return replace(part, rows=take(part.rows, keep), lines=lines, groups=groups, rejects=tuple(rejects))


def _labelled(part: Part, name: str, train: Part) -> Part:
    """A tagger's test part in which no word of any row is tagged was published without its tags: rejected whole."""
    if name != "test" or part is train or not len(part.rows) or "tags" not in part.rows[0]:
        return part
    if len(part.rows) < 20 or any(tag != "O" for row in each(part.rows) for tag in row["tags"]):
        return part
    source = part.sources[0] if part.sources else ""
    reason = "no row of the test part has an entity: it was published without its tags."
    rejects = [Reject(source, line, reason) for line in part.lines]
    return replace(part, rows=[], groups=(), rejects=(*part.rejects, *rejects))


def _learnable(rows: Rows, task: type[Task], source: str) -> None:
    if not len(rows):
        raise DataError("no row was left to learn from.", "At least one good row.", "See the rejects.", file=source)
    try:
        task.fit(rows)
    except DataError as error:
        raise error.at(file=source) from error


def _parted(parts: Mapping[str, Part], config: PrepareConfig) -> tuple[Rows, Rows, Rows]:
    """Train, valid and test, the missing ones split off the training rows as far as they are asked for."""
    train = parts["train"]
    valid = parts["valid"].rows if "valid" in parts else None
    test = parts["test"].rows if "test" in parts and len(parts["test"].rows) else None
    shares = ([] if valid is not None else [config.valid_share]) + (
        [config.test_share] if test is None and config.test_share else []
    )
    if not shares:
        return train.rows, valid if valid is not None else [], test if test is not None else []
    cut = [
        take(train.rows, part)
        for part in split(train.rows, shares, seed=config.seed, groups=train.groups, file=config.source)
    ]
    rest = cut.pop()
    valid = valid if valid is not None else cut.pop(0)
    return rest, valid, test if test is not None else cut.pop(0) if cut else []


def take(rows: Rows, indices: Sequence[int]) -> Rows:
    """These rows as a table of their own (a view where they are many)."""
    table = getattr(rows, "data", None)
    if table is None:
        return [rows[i] for i in indices]
    if table.nbytes > IN_MEMORY:
        return rows.select(indices)  # type: ignore[attr-defined,no-any-return]
    import datasets
    import pyarrow as pa

    return cast(Rows, datasets.Dataset(table.table.take(pa.array(indices, type=pa.int64()))))


def _first(rows: Rows, count: int) -> list[Row]:
    return [rows[i] for i in range(min(count, len(rows)))]


def leaked(train: Rows, test: Rows) -> list[int]:
    """Indices of the test rows whose normalised text stands in train."""
    known = {text_key(row) for row in each(train)}
    return [i for i, row in enumerate(each(test)) if text_key(row) in known]
