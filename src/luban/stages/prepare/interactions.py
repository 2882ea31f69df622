"""Who took what, and when, to histories: read, joined with the items' texts, put in order and split leave-one-out by time.

A source is a folder with a file of interactions (``user``, ``item``, often ``rating`` and ``time``) and one of items
(``item``, ``text``, perhaps ``categories``), one file of both, or histories (``history``, ``item``), as `luban data split`
writes them. Files without a header hold these columns in this order. The last item of each user is for the test, the one
before for validation; users of fewer than three only teach. It drops nothing silently and trains nothing.
"""

from __future__ import annotations

import re
from array import array
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from luban.config import PrepareConfig
from luban.errors import ConfigError, DataError, counted
from luban.records import Reject, Row
from luban.stages.prepare.base import PARTS, Table, rejected
from luban.stages.prepare.clean import clean_text
from luban.stages.prepare.columns import is_known, recognise
from luban.stages.prepare.naming import part_of
from luban.stages.prepare.rows import Part
from luban.stages.prepare.sources import NOT_ROWS, ROWS, open_file, open_source
from luban.tasks.base import Task, required_number, required_text
from luban.tasks.recommendation import item_id

ITEMS = "items"
"the file of items beside parts that are split already"
LEAST = 3
"items of a user who is held out for validation and test: one remains to start from"
BARE = {True: ("item", "text", "categories"), False: ("user", "item", "rating", "time")}
"the columns of files without a header, of items and of interactions"
CODE = re.compile(r"[\w.:+-]*")
SEPARATED = re.compile(r"\s*[|;,]\s*")
Columns = Mapping[str, str]


@dataclass(slots=True)
class Taken:
    """Interactions as they are gathered: of each user (time, place in the source, item, line); ``texts`` of items."""

    users: dict[str, list[tuple[float, int, str, int]]] = field(default_factory=dict)
    texts: dict[str, str] = field(default_factory=dict)
    rejects: list[Reject] = field(default_factory=list)
    columns: dict[str, str] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)
    seen: int = 0
    below: int = 0
    again: int = 0

    def histories(self) -> dict[str, list[tuple[str, int]]]:
        """The items of each user with their lines, by time; of an item that was taken twice, the first time."""
        out: dict[str, list[tuple[str, int]]] = {}
        for user, taken in self.users.items():
            first: dict[str, int] = {}
            for _, _, item, line in sorted(taken):
                self.again += item in first
                first.setdefault(item, line)
            out[user] = list(first.items())
        return out


@dataclass(frozen=True, slots=True)
class Histories:
    """Rows by part, what can be recommended, and what was found out on the way."""

    parts: Mapping[str, Part]
    items: tuple[dict[str, str], ...]
    columns: Columns
    notes: Mapping[str, Any]
    rejects: tuple[Reject, ...] = ()


def read(source: str, task: type[Task], config: PrepareConfig, *, labelled: bool = True) -> Histories:
    """The histories of a source; raises `DataError` naming file, row and column.

    ``labelled=False``: requests to be answered, which need no item and are not split.
    """
    tables = _tables(source, task, config)
    rows = [(part, table, found) for part, table, found in tables if _asks(found, labelled)]
    if rows:
        return _of_rows(rows, [one for one in tables if one not in rows], task, config, labelled)
    taken = Taken()
    for _, table, found in tables:
        _gather(table, found, taken, config)
    return _split(taken, source, labelled)


def _asks(found: Columns, labelled: bool) -> bool:
    """Whether a table's rows are requests (histories, texts, users), not interactions or items."""
    if "history" in found:
        return True
    return not labelled and not {"user", "item"} <= set(found) and bool({"text", "user"} & set(found))


def _tables(source: str, task: type[Task], config: PrepareConfig) -> list[tuple[str, Table, dict[str, str]]]:
    """The tables of a source with the part each is (``items`` for the items beside parts) and its columns."""
    known = is_known(task, config.columns)
    path = Path(source).expanduser()
    if path.is_dir():
        files = [file for file in sorted(path.iterdir()) if file.is_file() and _may_hold_rows(file)]
        tables = [(_part(file), table) for file in files for table in open_file(file, known).values()]
        if any(part in PARTS for part, _ in tables):
            tables = [(part, table) for part, table in tables if part]
    else:
        opened = open_source(source, known).tables
        tables = [(part, table) for part, found in opened.items() for table in found]
    if not tables:
        raise DataError(
            "the folder holds no file of rows.",
            "A file of interactions (user, item) and one of items (item, text).",
            "Put them there.",
            file=path,
        )
    return [(part, table, _columns(table, task, config.columns)) for part, table in tables]


def _may_hold_rows(file: Path) -> bool:
    name = file.name.lower().removesuffix(".gz")
    return name.endswith(ROWS) and name not in NOT_ROWS and not name.startswith((".", "rejects"))


def _part(file: Path) -> str:
    stem = file.name.lower().removesuffix(".gz").partition(".")[0]
    return ITEMS if stem == ITEMS else part_of(stem)


def _columns(table: Table, task: type[Task], told: Columns) -> dict[str, str]:
    """Canonical name to column; a file without a header has them in the usual order."""
    mine = {name: column for name, column in told.items() if column in table.columns}
    if not table.named and table.format != "lines":
        second = [str(record.get("2", "")) for record in table.head()]
        items = sum(bool(CODE.fullmatch(text)) for text in second) < len(second) / 2
        usual = dict(zip(BARE[items], table.columns, strict=False))
        return usual if items else usual | mine
    every = set(recognise(table, task, mine, labelled=False)) if "item" not in mine else set()
    try:
        return recognise(table, task, mine)
    except DataError:
        if not every & {"history", "text", "user"}:
            raise
        return recognise(table, task, mine, labelled=False)


def _gather(table: Table, found: Columns, taken: Taken, config: PrepareConfig) -> None:
    """Take the rows of one table: interactions where it has users, items' texts where it has those."""
    users, texts = "user" in found, "text" in found
    taken.files["interactions" if users else ITEMS] = str(table.file)
    taken.columns |= {name: column for name, column in found.items() if users or name not in taken.columns}
    for number, record in table.items():
        taken.seen += users
        try:
            if isinstance(record, DataError):
                raise record
            row = {name: record.get(column) for name, column in found.items()}
            item = item_id(row.get("item"), "item")
            if texts and item not in taken.texts:
                taken.texts[item] = _text(row, clean=config.clean)
            if users:
                _take(row, item, number, taken, config)
        except DataError as error:
            placed = error.at(file=table.file, row=number)
            if config.strict:
                raise placed from error
            taken.rejects.append(rejected(placed, number, None if isinstance(record, DataError) else record))


def _take(row: Row, item: str, number: int, taken: Taken, config: PrepareConfig) -> None:
    user = item_id(row.get("user"), "user")
    if "rating" in row and required_number(row, "rating") < config.min_rating:
        taken.below += 1
        return
    when = _when(row["time"]) if "time" in row else 0.0
    taken.users.setdefault(user, []).append((when, taken.seen, item, number))


def _text(row: Row, *, clean: bool) -> str:
    """An item's text, its categories behind it."""
    text, more = required_text(row, "text"), row.get("categories")
    names = more if isinstance(more, list) else SEPARATED.split(str(more or ""))
    told = ", ".join(str(name) for name in names if str(name).strip())
    joined = f"{text.rstrip('.')}. {told}" if told else text
    return clean_text(joined) if clean else joined


def _when(value: object) -> float:
    """Seconds, or a date in ISO form; raises `DataError`."""
    try:
        return float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        pass
    try:
        when = value if isinstance(value, datetime) else datetime.fromisoformat(str(value).strip())
    except ValueError as error:
        raise DataError(
            f"{value!r} is no time.", "Seconds, or a date such as 2024-05-31 12:30.", "Mend it.", column="time"
        ) from error
    return (when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp()


def _split(taken: Taken, source: str, labelled: bool) -> Histories:
    """Leave-one-out by time; with ``labelled`` false, whole histories to be gone on from."""
    histories = taken.histories()
    items = _items(taken.texts, (item for history in histories.values() for item, _ in history), source)
    parts: dict[str, list[tuple[dict[str, Any], int]]] = {name: [] for name in PARTS}
    for user, history in histories.items():
        names, lines = [item for item, _ in history], [line for _, line in history]
        held = labelled and len(names) >= LEAST
        parts["train"].append(({"user": user, "history": names[: -2 if held else None]}, lines[0]))
        for part, place in (("valid", -2), ("test", -1)) if held else ():
            parts[part].append(({"user": user, "history": names[:place], "item": names[place]}, lines[place]))
    kept = sum(map(len, histories.values()))
    assert taken.seen == kept + taken.below + taken.again + len(_of(taken, "interactions")), "a row was lost"
    counts = {"interactions": kept, "users": len(histories), "items": len(items)}
    notes = {"files": taken.files, "taken": counts | {"below_min_rating": taken.below, "again": taken.again}}
    rows = {
        name: _made(found, taken.files.get("interactions", source))
        for name, found in parts.items()
        if found or name == "train"
    }
    return Histories(rows, items, taken.columns, notes, tuple(taken.rejects))


def _of(taken: Taken, kind: str) -> list[Reject]:
    return [reject for reject in taken.rejects if reject.source == taken.files.get(kind)]


def _made(found: Sequence[tuple[dict[str, Any], int]], file: str) -> Part:
    return Part([row for row, _ in found], array("q", [line for _, line in found]), (file,), seen=len(found))


def _items(texts: Mapping[str, str], taken: Iterator[str], source: str) -> tuple[dict[str, str], ...]:
    """What can be recommended, with its text; an id is its own text where no item has another.

    Raises `DataError` for an item without a text beside others that have one, and where ids are codes.
    """
    met = list(dict.fromkeys(taken))
    if not texts and met and not any(" " in item.strip() for item in met):
        raise DataError(
            f"the items have no texts, and their ids are codes ({met[0]!r}).",
            "An item is known by its text: a file of items (item, text) beside the interactions, or a column of them.",
            "Add it, or name the column: --columns text=NAME.",
            file=source,
            column="text",
        )
    bare = [item for item in met if item not in texts] if texts else []
    if bare:
        raise DataError(
            f"{counted(len(bare), 'item')} of the interactions have no text, such as {bare[0]!r}.",
            "Every item stands in the file of items.",
            "Add them, or take their interactions out.",
            file=source,
            column="text",
        )
    return tuple({"item": item, "text": text} for item, text in (texts or dict(zip(met, met, strict=True))).items())


def _of_rows(
    rows: Sequence[tuple[str, Table, dict[str, str]]],
    others: Sequence[tuple[str, Table, dict[str, str]]],
    task: type[Task],
    config: PrepareConfig,
    labelled: bool,
) -> Histories:
    """Histories that stand in the source as such: split already where their files are named so."""
    taken = Taken()
    for _, table, found in others:
        _gather(table, found, taken, config)
    parts: dict[str, list[tuple[dict[str, Any], int]]] = {}
    for part, table, found in rows:
        taken.columns |= found
        taken.files[part or "train"] = str(table.file)
        parts.setdefault(part or "train", []).extend(_parsed(table, found, task, config, taken, labelled))
    met = (item for found in parts.values() for row, _ in found for item in (*row.get("history", ()), *_right(row)))
    source = str(rows[0][1].file)
    items = _items(taken.texts, met, source) if labelled and (taken.texts or "train" in parts) else ()
    made = {name: _made(found, taken.files[name]) for name, found in parts.items()}
    return Histories(made, items, taken.columns, {"files": taken.files}, tuple(taken.rejects))


def _right(row: Row) -> tuple[str, ...]:
    return (row["item"],) if "item" in row else ()


def _parsed(
    table: Table, found: Columns, task: type[Task], config: PrepareConfig, taken: Taken, labelled: bool
) -> Iterator[tuple[dict[str, Any], int]]:
    for number, record in table.items():
        taken.seen += 1
        try:
            if isinstance(record, DataError):
                raise record
            raw = {name: record.get(column) for name, column in found.items()}
            yield task.parse({k: v for k, v in raw.items() if v is not None}, labelled=labelled), number
        except DataError as error:
            placed = error.at(file=table.file, row=number)
            if config.strict:
                raise placed from error
            taken.rejects.append(rejected(placed, number, None if isinstance(record, DataError) else record))


def held_out(found: Histories) -> Histories:
    """Parts to learn from, choose by and judge by: of histories that are not split, the last items are taken off.

    Rows to learn from are whole histories; an item that came next is the last of them.
    """
    parts = dict(found.parts)
    if "train" not in parts:
        raise DataError(
            "there is no train part.", f"Found: {', '.join(parts)}.", "Name the file to train on as the source."
        )
    rows: dict[str, list[dict[str, Any]]] = {"train": [], "valid": [], "test": []}
    lines: dict[str, list[int]] = {name: [] for name in rows}
    missing = [name for name in ("test", "valid") if name not in parts]
    for row, line in zip(parts["train"].rows, parts["train"].lines, strict=True):
        whole = [*row.get("history", ()), *_right(row)]
        who = {"user": row["user"]} if "user" in row else {}
        for name in missing if len(whole) > len(missing) else ():
            *whole, last = whole
            rows[name].append({**who, "history": list(whole), "item": last})
            lines[name].append(line)
        rows["train"].append({**who, "history": whole})
        lines["train"].append(line)
    made = {
        name: parts[name]
        if name in parts and name != "train"
        else Part(found_rows, array("q", lines[name]), parts["train"].sources, seen=len(found_rows))
        for name, found_rows in rows.items()
    }
    return Histories(made, found.items, found.columns, found.notes, found.rejects)


def check_split(rows: Mapping[str, Sequence[Row]], source: str) -> None:
    """Raises `DataError` where a held-out row has no item, where its item was learnt from the same user, or none learns."""
    if not any(len(row["history"]) > 1 for row in rows["train"]):
        raise DataError(
            "no user took two items that could be learnt from.",
            "What comes next is learnt from users of two items or more.",
            "Give more interactions, or a lower --min-rating.",
            file=source,
        )
    learnt = {row["user"]: set(row["history"]) for row in rows["train"] if "user" in row}
    for part in ("valid", "test"):
        for number, row in enumerate(rows[part], start=1):
            if "item" not in row:
                raise DataError(
                    f"a row of {part} has no item.", "It is judged by the item that came next.", "Fill it in.",
                    file=source, row=number, column="item",
                )  # fmt: skip
            if row["item"] in learnt.get(str(row.get("user")), ()):
                raise DataError(
                    f"the item to be found, {row['item']!r}, stands in the training history of the same user.",
                    "What is held out is not learnt from.",
                    "Split again: luban data split.",
                    file=source, row=number, column="item",
                )  # fmt: skip


def refuse_options(config: PrepareConfig) -> None:
    """Raises `ConfigError` for options of the split that interactions do not take: they are parted by time."""
    for name in ("valid", "test", "unlabelled", "replay", "adapt", "group"):
        if getattr(config, name):
            raise ConfigError(
                f"{name} is set for a recommendation.",
                "Interactions are split by time: the last item of each user is for the test, the one before for validation.",
                "Leave it out, or give a folder with train, valid and test files of histories.",
            )
