"""Gold labels that a model was never taught: it cannot give them, so their rows count as mistakes and are told apart."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from luban.errors import DataError
from luban.records import Row, Rows, told_labels
from luban.tasks.base import INTENT

NAMED = 5
"labels named in an error"


@dataclass(frozen=True, slots=True)
class Unknown:
    """``rows``: how many carry a label that the model does not know; ``labels``: such label to its rows, most first."""

    rows: int
    labels: Mapping[str, int]


def unknown_labels(rows: Rows, known: Sequence[str]) -> Unknown:
    """The gold labels (of tags, their entity types) that are not ``known``, a model's labels; none for numbers."""
    kinds = _kinds(known)
    strange = [gold_labels(row) - kinds for row in rows] if kinds else []
    counts = Counter(label for labels in strange for label in sorted(labels))
    return Unknown(sum(map(bool, strange)), dict(counts.most_common()))


def check_known(rows: Rows, known: Sequence[str], model: str) -> None:
    """Raises `DataError` where rows carry labels and the model knows none of them: it can have nothing right."""
    kinds = _kinds(known)
    met = set().union(*map(gold_labels, rows)) if kinds else set()
    if met and not met & kinds:
        raise DataError(
            f"{model} knows none of the labels of these rows: {_some(met)}.",
            f"It gives {_some(kinds)}.",
            "Name the column that holds such labels (--columns label=NAME), or judge the model on rows of its own kind.",
        )


def gold_labels(row: Row) -> set[str]:
    """The labels of a canonical row: its entity types (and its intent, as it stands among labels), its labels, or its one."""
    if "tags" in row:
        intent = {f"{INTENT}{row['label']}"} if "label" in row else set()
        return intent | {str(tag)[2:] for tag in row["tags"] if tag != "O"}
    if "targets" in row:
        return set(told_labels(row))
    if "answers" in row or "messages" in row or "target" in row:
        return set()
    return set(map(str, row["labels"])) if "labels" in row else {str(row["label"])}


def _kinds(known: Sequence[str]) -> set[str]:
    """Labels, or the entity types of IOB2 tags, which are the labels of a tagger."""
    intents = {label for label in known if label.startswith(INTENT)}
    others = [label for label in known if label not in intents]
    tags = "O" in known and all(label == "O" or label[:2] in ("B-", "I-") for label in others)
    return intents | {label[2:] for label in others if label != "O"} if tags else set(known)


def _some(labels: set[str]) -> str:
    named = ", ".join(map(repr, sorted(labels)[:NAMED]))
    return named if len(labels) <= NAMED else f"{named} and {len(labels) - NAMED} more"
