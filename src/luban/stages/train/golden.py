"""Which rows become golden: real validation rows spread over the labels, personal data replaced; or made-up ones."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import Any

from luban.personal import mask
from luban.records import TEXTS, Row, Rows, texts
from luban.tasks.base import Task

COUNT = 32
LONGEST = 400
"characters: a golden row is for checking, and for people to read; longer only where too few rows are as short"


def golden_rows(task: Task, rows: Rows, *, synthetic: bool, seed: int) -> list[dict[str, Any]]:
    """About `COUNT` inputs (no labels), one kind of answer after the other; the same for the same seed."""
    if synthetic:
        return [_input(task, _made(task, i)) for i in range(COUNT)]
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
    while len(chosen) < COUNT and any(queues):
        chosen += [queue.pop() for queue in queues if queue]
    return [_input(task, {k: mask(v) if isinstance(v, str) else v for k, v in rows[i].items()}) for i in chosen[:COUNT]]


def _kind(row: Row) -> str:
    if "tags" in row and "label" not in row:
        return next((tag[2:] for tag in row["tags"] if tag != "O"), "O")
    if "answers" in row:
        return str(bool(row["answers"]))
    return str(row.get("label", row.get("labels")))


def _input(task: Task, row: Mapping[str, Any]) -> dict[str, Any]:
    """The row as a client would send it: its texts alone."""
    sent: dict[str, Any] = dict(texts(row))
    parsed = task.parse(sent, labelled=False)
    return {name: parsed[name] for name in sent}


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
