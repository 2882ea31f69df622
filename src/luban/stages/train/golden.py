"""Which rows become golden: real validation rows spread over the labels, personal data replaced; or made-up ones."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from itertools import zip_longest
from typing import Any

from luban.personal import mask
from luban.pictures import made, opened, small
from luban.records import TEXTS, Row, Rows, texts
from luban.tasks.base import Task

COUNT = 32
WRITTEN = 8
"golden rows of a model that writes: each costs a pass a sub-word"
PICTURES, SIDE = 12, 96
"pictures that are kept, and pixels of their longer side: enough to tell models apart, small enough to go along"
LONGEST = 400
"characters: a golden row is for checking, and for people to read; longer only where too few rows are as short"


def golden_rows(task: Task, rows: Rows, *, synthetic: bool, seed: int) -> list[dict[str, Any]]:
    """About `COUNT` inputs (no labels), one kind of answer after the other; the same for the same seed."""
    if task.sees:
        return [{"image": one} for one in (_drawn() if synthetic else _shrunk(_spread(rows, seed=seed)))]
    if task.fuses:
        return _gathered(task, rows, synthetic=synthetic, seed=seed)
    count = WRITTEN if task.generates else COUNT
    if synthetic:
        return [task.question(_made(task, i)) for i in range(count)]
    order = list(range(len(rows)))
    random.Random(seed).shuffle(order)
    by_kind: dict[str, list[int]] = {}
    lengths = [sum(map(len, texts(row).values())) for row in rows]
    shortest = sorted(lengths)[:COUNT]
    longest = max(LONGEST, *shortest) if shortest else LONGEST
    for i in order:
        if lengths[i] <= longest:
            by_kind.setdefault(_kind(rows[i]), []).append(i)
    chosen: list[int] = []
    queues: Sequence[list[int]] = list(by_kind.values())
    while len(chosen) < count and any(queues):
        chosen += [queue.pop() for queue in queues if queue]
    return [task.question({name: _masked(value) for name, value in rows[i].items()}) for i in chosen[:count]]


def _gathered(task: Task, rows: Rows, *, synthetic: bool, seed: int) -> list[dict[str, Any]]:
    """Rows of several kinds: one class after the other, and of those the pictures small."""
    order = list(range(len(rows)))
    random.Random(seed).shuffle(order)
    by_class: dict[str, list[int]] = {}
    for i in order:
        by_class.setdefault(_kind(rows[i]), []).append(i)
    turns = zip_longest(*(by_class[label] for label in sorted(by_class)))
    chosen = [rows[i] for turn in turns for i in turn if i is not None][:PICTURES]
    asked = []
    for number, row in enumerate(chosen):
        one = {name: _masked(value) if name == "text" else value for name, value in task.question(row).items()}
        if synthetic and "text" in one:
            one["text"] = _made(task, number)["text"]
        if "image" in one:
            one["image"] = made(number) if synthetic else small(opened(one["image"]), SIDE)
        asked.append(one)
    return asked


def _masked(value: Any) -> Any:
    """A text without personal data, or the messages of a conversation without it."""
    if isinstance(value, list) and value and isinstance(value[0], Mapping):
        return [{name: mask(text) if isinstance(text, str) else text for name, text in one.items()} for one in value]
    return mask(value) if isinstance(value, str) else value


def _spread(rows: Rows, *, seed: int) -> list[str]:
    """Pictures of rows, one of each class after the other."""
    by_class: dict[str, list[str]] = {}
    order = list(range(len(rows)))
    random.Random(seed).shuffle(order)
    for i in order:
        by_class.setdefault(_kind(rows[i]), []).append(str(rows[i]["image"]))
    turns = zip_longest(*(by_class[label] for label in sorted(by_class)))
    return [picture for turn in turns for picture in turn if picture is not None][:PICTURES]


def _shrunk(pictures: Sequence[str]) -> list[str]:
    """Small copies, which are what the folder's pictures are from then on: nothing of the files goes along but what is seen."""
    return [small(opened(picture), SIDE) for picture in pictures]


def _drawn() -> list[str]:
    return [made(i) for i in range(PICTURES)]


def _kind(row: Row) -> str:
    if "tags" in row and "label" not in row:
        return next((tag[2:] for tag in row["tags"] if tag != "O"), "O")
    if "targets" in row:
        return str([value for value in row["targets"].values() if isinstance(value, str)])
    if "answers" in row:
        return str(bool(row["answers"]))
    return str(row.get("label", row.get("labels")))


def _made(task: Task, number: int) -> dict[str, str]:
    words = (
        "blue",
        "door",
        "seven",
        "today",
        "not",
        "good",
        "paper",
        "river",
        "买",
        "不",
        "好",
        "今天",
        "价格",
        "very",
        "2024",
        "why",
    )
    rng = random.Random(number)
    text = " ".join(rng.choice(words) for _ in range(rng.randint(2, 20)))
    asked = [column.name for column in task.columns if column.name in TEXTS]
    return {name: text if i == 0 else text[::-1] for i, name in enumerate(asked)}
