"""Rows to parts: seeded, stratified, grouped, and leak-free (equal texts stay together); gives indices only."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from luban.errors import DataError
from luban.records import Row, Rows, contents
from luban.stages.prepare.base import each
from luban.stages.prepare.clean import normalised
from luban.tasks.base import INTENT

BINS = 10


def split(
    rows: Rows, shares: Sequence[float], *, seed: int = 13, groups: Sequence[str] = (), file: str = ""
) -> list[list[int]]:
    """Indices of the rows, in order, one list a share and a last one for what remains.

    Each share is drawn from every class alike (for several labels a row: from its rarest; for numbers: from tenths of
    their rows). Rows of one group, or with the same normalised text, come to the same list. Raises `DataError` where
    there are fewer than two groups to part.
    """
    members = _together(rows, groups)
    if len(members) < 2:
        raise DataError(
            f"all rows ({len(rows):,}) form one group.",
            "At least two different texts or groups are needed to split off rows.",
            "Give more rows, another --group, or separate files for validation.",
            file=file or None,
        )
    strata = _strata(rows)
    generator = np.random.default_rng(seed)
    order: dict[str, list[list[int]]] = {}
    for group in (members[i] for i in generator.permutation(len(members))):
        order.setdefault(strata[group[0]], []).append(group)
    parts: list[list[int]] = [[] for _ in range(len(shares) + 1)]
    _deal(order, list(shares), parts)
    return [sorted(part) for part in parts]


def _deal(order: dict[str, list[list[int]]], shares: list[float], parts: list[list[int]]) -> None:
    """Hands out groups class by class; what a class owes a part by rounding is carried to the next class."""
    owed = np.zeros(len(shares))
    for name in sorted(order):
        groups = order[name]
        owed += np.array(shares) * sum(map(len, groups))
        left = len(groups)
        for group in groups:
            # The remainder keeps at least one group of every class: what is trained on must have seen it.
            into = int(owed.argmax()) if len(shares) else 0
            if left > 1 and len(shares) and owed[into] >= len(group) / 2:
                parts[into].extend(group)
                owed[into] -= len(group)
                left -= 1
            else:
                parts[-1].extend(group)
    for into in range(len(shares)):
        if not parts[into] and len(parts[-1]) > 1:
            spare = next((groups[-1] for groups in order.values() if len(groups) > 1), None) or min(
                (group for groups in order.values() for group in groups), key=len
            )
            if set(spare) <= set(parts[-1]) and len(spare) < len(parts[-1]):
                taken = set(spare)
                parts[-1][:] = [i for i in parts[-1] if i not in taken]
                parts[into].extend(spare)


def text_key(row: Row) -> str:
    """What makes two rows the same text: the normalised text, or texts where there are several; of pictures, their bytes."""
    return "\0".join(normalised(text) for text in contents(row))


def _together(rows: Rows, groups: Sequence[str]) -> list[list[int]]:
    """Indices that must stay together, by union of equal groups, equal texts, and questions about one context."""
    parent = list(range(len(rows)))

    def root(i: int) -> int:
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = parent[i]
        return i

    first: dict[tuple[str, str], int] = {}
    for i, row in enumerate(each(rows)):
        keys = [("text", text_key(row))] + ([("group", groups[i])] if groups else [])
        keys += [("context", normalised(row["context"]))] if "context" in row else []
        for key in keys:
            parent[root(i)] = root(first.setdefault(key, i))
    together: dict[int, list[int]] = {}
    for i in range(len(rows)):
        together.setdefault(root(i), []).append(i)
    return list(together.values())


def _strata(rows: Rows) -> list[str]:
    """The class a row is drawn by."""
    targets = [_target(row) for row in each(rows)]
    if targets and all(isinstance(target, float) for target in targets):
        cuts = np.quantile(np.array(targets), np.linspace(0, 1, BINS + 1)[1:-1])
        return [f"{i:02}" for i in np.searchsorted(cuts, np.array(targets))]
    counts = Counter(label for target in targets for label in (target if isinstance(target, set) else {target}))
    return [
        min(target, key=lambda label: (counts[label], label), default="") if isinstance(target, set) else str(target)
        for target in targets
    ]


def _target(row: Row) -> Any:
    if "tags" in row:
        return {tag[2:] for tag in row["tags"] if tag != "O"} | (
            {INTENT + str(row["label"])} if "label" in row else set()
        )
    if "answers" in row:
        return str(bool(row["answers"]))
    if "labels" in row:
        return set(row["labels"])
    return row.get("label", "")
