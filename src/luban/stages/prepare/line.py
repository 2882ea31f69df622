"""The stage itself: a source to rows that a task can learn from, split without leaks, with nothing dropped silently."""

from __future__ import annotations

import hashlib
import json
from array import array
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from luban.config import OWN_TEXTS, PrepareConfig
from luban.errors import ConfigError, DataError
from luban.records import Prepared, Reject, Row, Rows, texts
from luban.stages.prepare.base import PARTS, Table
from luban.stages.prepare.columns import is_known, recognise
from luban.stages.prepare.fields import Wanted, fields_of
from luban.stages.prepare.images import without_place
from luban.stages.prepare.interactions import check_split, held_out, refuse_options
from luban.stages.prepare.interactions import read as histories
from luban.stages.prepare.keys import NO_KEYS, among, firsts, keys_of
from luban.stages.prepare.rows import Part, Reading, read_part
from luban.stages.prepare.sources import open_source
from luban.stages.prepare.split import split, text_keys
from luban.stored import Joined, SettingAside, stored, take, together, written_to
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
    def rejects(self) -> Sequence[Reject]:
        return together(*(part.rejects for part in self.parts.values()))


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
    task = task.asking(config.questions) if labelled or config.questions else task
    if (named := [*config.numbers, *config.categories]) and not task.fuses:
        raise ConfigError(
            f"Fields are named ({', '.join(named)}), and {task.name} reads none.",
            "Rows of multimodal-classification have numbers and categories.",
            "Leave out --numbers and --categories, or take --task multimodal-classification.",
        )
    opened = open_source(source, is_known(task, config.columns))
    fields = Wanted(config.numbers, config.categories)
    how = Reading(task, config.columns, config.clean, config.strict, config.group, labelled, fields)
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
        how = replace(how, fields=Wanted.known(columns)) if task.fuses else how  # of the first part, which is train
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
    rejects = together(*(part.rejects for part in (*parts.values(), unlabelled)))
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
        task.name, config.source, train, valid, test, together(rejects, unread), loaded.columns, told, notes,
        unlabelled.rows, replay, texts=reading,
    )  # fmt: skip


def _loaded(config: PrepareConfig, task: type[Task]) -> Loaded:
    """The parts of ``config.source``, those of ``valid`` and ``test`` in place; raises `DataError` without a train part."""
    loaded = load(config.source, task, config=config)
    parts, files = dict(loaded.parts), dict(loaded.notes["files"])
    known = Wanted.known(loaded.columns)
    config = config.model_copy(update={"numbers": known.numbers, "categories": known.categories})
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
    known = text_keys(train)
    return {
        "sample": [dict(row) for row in _first(train, 3)],
        "cleaned": sum(part.cleaned for part in parts.values()),
        "nested": sum(part.inner for part in parts.values()),
        "leaked": {name: int(among(text_keys(rows), known).sum()) for name, rows in (("valid", valid), ("test", test))},
        "section": config.model_dump(mode="json"),
    }


def to_read(config: PrepareConfig, train: Rows, unlabelled: Rows) -> tuple[Rows, Sequence[Reject]]:
    """The texts that the base reads before it learns, each once, and what could not be read.

    They are those of ``config.adapt``, or of the rows to learn from.
    """
    if not config.adapt:
        return [], ()
    if config.adapt == OWN_TEXTS:
        return _each_once(Joined(train, unlabelled)), ()
    columns = {name: column for name, column in config.columns.items() if name == "text"}
    reading = config.model_copy(
        update={"columns": columns, "group": "", "questions": {}, "numbers": (), "categories": ()}
    )
    loaded = load(config.adapt, TASKS["text-classification"], config=reading, labelled=False)
    return _each_once(_whole(loaded).rows), loaded.rejects


def _each_once(rows: Rows) -> Rows:
    """Rows of ``text``: each text of the rows where it is first met."""

    def found() -> Iterable[str]:
        return (text for row in rows for text in texts(row).values())

    first = firsts(keys_of(found()))
    return stored({"text": text} for i, text in enumerate(found()) if first[i] == i)


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
        for row in part:
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
    with (
        written_to(path.parent),
        temporary.open("w", encoding="utf8") as file,
    ):
        for reject in rejects:
            file.write(json.dumps(reject.as_json(), ensure_ascii=False) + "\n")
    temporary.replace(path)
    return path


def _read(part: str, tables: tuple[Table, ...], how: Reading) -> tuple[Part, dict[str, str]]:
    """A part's rows; a test part that has the inputs but no target column is rejected whole."""
    recognised = []
    for table in tables:
        try:
            columns = recognise(table, how.task, how.columns, labelled=how.labelled)
            columns |= fields_of(table, columns, how.fields) if how.task.fuses else {}
        except DataError:
            if part != "test" or not how.labelled:
                raise
            recognise(table, how.task, {}, labelled=False)
            reason = "the test part has no labels."
            unlabelled = SettingAside()
            for table in tables:
                for number, _ in table.items():
                    unlabelled.add(Reject(str(table.file), number, reason))
            rejects = unlabelled.rejects()
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
    rows = Joined(*(part.rows for part in parts))
    return Part(rows, rejects=loaded.rejects, seen=sum(part.seen for part in parts))


def _unique(part: Part, name: str, source: str) -> Part:
    """The part with later copies of a row (same text, same target) rejected."""
    first = firsts(keys_of(_told(row) for row in part.rows))
    kept = np.flatnonzero(first == np.arange(len(first)))
    if len(kept) == len(first):
        return part
    file = part.sources[0] if part.sources else source
    copies = SettingAside()
    for i, row in enumerate(part.rows):
        if first[i] != i:
            reason = f"the same text and label as row {part.lines[first[i]]}."
            copies.add(Reject(file, part.lines[i], reason, content=_told(row)[:200]))
    groups = part.groups[:, kept] if part.groups.shape[1] else part.groups
    lines = array("q", (part.lines[i] for i in kept))
    return replace(
        part, rows=take(part.rows, kept), lines=lines, groups=groups, rejects=together(part.rejects, copies.rejects())
    )


def _told(row: Row) -> str:
    return json.dumps(without_place(row), ensure_ascii=False, sort_keys=True)


def _labelled(part: Part, name: str, train: Part) -> Part:
    """A tagger's test part in which no word of any row is tagged was published without its tags: rejected whole."""
    if name != "test" or part is train or not len(part.rows) or "tags" not in part.rows[0]:
        return part
    if len(part.rows) < 20 or any(tag != "O" for row in part.rows for tag in row["tags"]):
        return part
    source = part.sources[0] if part.sources else ""
    reason = "no row of the test part has an entity: it was published without its tags."
    unlabelled = SettingAside()
    for line in part.lines:
        unlabelled.add(Reject(source, line, reason))
    return replace(part, rows=[], groups=NO_KEYS, rejects=together(part.rejects, unlabelled.rejects()))


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


def _first(rows: Rows, count: int) -> list[Row]:
    return [rows[i] for i in range(min(count, len(rows)))]
