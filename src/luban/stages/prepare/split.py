"""Rows to parts: seeded, stratified, grouped, and leak-free (equal texts stay together); gives indices only."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from luban.errors import DataError
from luban.records import Row, Rows, contents, told_labels
from luban.stages.prepare.clean import normalised
from luban.stages.prepare.keys import NO_KEYS, Keys, firsts, groups_of, keys_of
from luban.tasks.base import INTENT

BINS = 10
Places = NDArray[np.int64]


def split(
    rows: Rows, shares: Sequence[float], *, seed: int = 13, groups: Keys = NO_KEYS, file: str = ""
) -> list[Places]:
    """Indices of the rows, in order, one array a share and a last one for what remains.

    Each share is drawn from every class alike (for several labels a row: from its rarest; for numbers: from tenths of
    their rows). Rows of one group, or with the same normalised text, come to the same array. Raises `DataError` where
    there are fewer than two groups to part.
    """
    heads, group_of = np.unique(_together(rows, groups), return_inverse=True)
    if len(heads) < 2:
        raise DataError(
            f"all rows ({len(rows):,}) form one group.",
            "At least two different texts or groups are needed to split off rows.",
            "Give more rows, another --group, or separate files for validation.",
            file=file or None,
        )
    strata, names = _strata(rows)
    drawn = np.random.default_rng(seed).permutation(len(heads))
    order = _by_stratum(strata[heads[drawn]], drawn, names)
    into = _deal(order, np.bincount(group_of), list(shares))[group_of]
    return [np.flatnonzero(into == part) for part in range(len(shares) + 1)]


def _by_stratum(strata: Places, drawn: Places, names: Sequence[str]) -> dict[str, Places]:
    """The groups of each class in the order in which they are drawn; classes in the order in which they are met."""
    order = np.argsort(strata, kind="stable")
    ends = np.cumsum(np.bincount(strata, minlength=len(names))).tolist()
    parts = {int(order[a]): (i, drawn[order[a:b]]) for i, (a, b) in enumerate(pairwise([0, *ends])) if a < b}
    return {names[i]: groups for i, groups in (parts[met] for met in sorted(parts))}


def _deal(order: dict[str, Places], sizes: Places, shares: list[float]) -> Places:
    """The part of each group, handed out class by class; what a class owes a part by rounding is carried to the next class."""
    rest = len(shares)
    into = np.full(len(sizes), rest, dtype=np.int64)
    owed = [0.0] * rest
    for name in sorted(order):
        counts = sizes[order[name]].tolist()
        whole, left = sum(counts), len(counts)
        owed = [debt + share * whole for debt, share in zip(owed, shares, strict=True)]
        for group, count in zip(order[name].tolist(), counts, strict=True):
            # The remainder keeps at least one group of every class: what is trained on must have seen it.
            most = max(range(rest), key=owed.__getitem__, default=rest)
            if left > 1 and most < rest and owed[most] >= count / 2:
                into[group] = most
                owed[most] -= count
                left -= 1
    _fill_empty(into, order, sizes, rest)
    return into


def _fill_empty(into: Places, order: dict[str, Places], sizes: Places, rest: int) -> None:
    """A part that got nothing gets one group of the remainder, if that keeps something."""
    for part in range(rest):
        left = int(sizes[into == rest].sum())
        if (into == part).any() or left <= 1:
            continue
        spare = next((int(groups[-1]) for groups in order.values() if len(groups) > 1), -1)
        if spare < 0:
            spare = min(
                (int(group) for groups in order.values() for group in groups), key=lambda group: int(sizes[group])
            )
        if into[spare] == rest and sizes[spare] < left:
            into[spare] = part


def text_key(row: Row) -> str:
    """What makes two rows the same text: the normalised text, or texts where there are several; of pictures, their bytes."""
    return "\0".join(normalised(text) for text in contents(row))


def text_keys(rows: Rows) -> Keys:
    """The hash of each row's `text_key`."""
    return keys_of(text_key(row) for row in rows)


def _together(rows: Rows, groups: Keys) -> Places:
    """The first row of each row's group: equal groups, equal texts and questions about one context stay together."""
    linked = [firsts(text_keys(rows))] + ([firsts(groups)] if groups.shape[1] else [])
    if len(rows) and "context" in rows[0]:
        linked.append(firsts(keys_of(normalised(row["context"]) for row in rows)))
    return groups_of(linked)


def _strata(rows: Rows) -> tuple[Places, list[str]]:
    """The class that each row is drawn by, and the names of the classes."""
    if len(rows) and all(isinstance(_target(row), float) for row in rows):
        targets = np.fromiter((_target(row) for row in rows), dtype=np.float64, count=len(rows))
        cuts = np.quantile(targets, np.linspace(0, 1, BINS + 1)[1:-1])
        return np.searchsorted(cuts, targets).astype(np.int64), [f"{i:02}" for i in range(BINS)]
    counts = Counter(label for row in rows for label in _labels(row))
    names: dict[str, int] = {}
    drawn_by = (min(_labels(row), key=lambda label: (counts[label], label), default="") for row in rows)
    strata = np.fromiter((names.setdefault(name, len(names)) for name in drawn_by), dtype=np.int64, count=len(rows))
    return strata, list(names)


def _labels(row: Row) -> Iterator[str]:
    target = _target(row)
    yield from target if isinstance(target, set) else (str(target),)


def _target(row: Row) -> Any:
    if "tags" in row:
        return {tag[2:] for tag in row["tags"] if tag != "O"} | (
            {INTENT + str(row["label"])} if "label" in row else set()
        )
    if "answers" in row:
        return str(bool(row["answers"]))
    if "targets" in row:
        return set(told_labels(row))
    if "labels" in row:
        return set(row["labels"])
    return row.get("label", "")
