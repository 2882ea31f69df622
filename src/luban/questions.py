"""The questions of a model that answers several: as the user names them, as rows answer them, as a model knows them. No row
is encoded and no model asked here.
"""

from __future__ import annotations

import re
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from luban.cells import fit_labels, labels_in, required_label, required_number, two_classes
from luban.errors import ConfigError, DataError, nearest_hint
from luban.records import Row

LABEL, LABELS, NUMBER = "label", "labels", "number"
KINDS = {LABEL: "accuracy", LABELS: "micro_f1", NUMBER: "spearman"}
"what a question is answered with, and the score it is judged by"
NAME = re.compile(r"[^\W_][\w-]*")
TAKEN = ("text", "targets", "id", "tags", "tokens")
"columns that are no question"


@dataclass(frozen=True, slots=True)
class Question:
    """One question: its ``labels`` by their own names, or the ``mean`` and ``spread`` of its numbers.

    ``share``: how many of the training rows answer it; ``weight``: what it counts beside the others.
    """

    name: str
    kind: str
    labels: tuple[str, ...] = ()
    mean: float = 0.0
    spread: float = 1.0
    share: float = 1.0
    weight: float = 1.0

    @property
    def outputs(self) -> tuple[str, ...]:
        """Its outputs of the head by name."""
        return tuple(f"{self.name}:{label}" for label in self.labels) or (self.name,)

    @property
    def slots(self) -> int:
        """Numbers in a row's target that are its own."""
        return len(self.labels) if self.kind == LABELS else 1


def check_questions(questions: Mapping[str, str]) -> None:
    """Raises `ConfigError` where none is named, or one is named badly or is of no kind."""
    if not questions:
        raise ConfigError(
            "No question is named.",
            "multi-task learns the questions that --questions names, each with what it is answered with.",
            "For example: --questions intent=label,topics=labels,stars=number",
        )
    for name, kind in questions.items():
        if not NAME.fullmatch(name) or name in TAKEN:
            raise ConfigError(
                f"A question cannot be named {name!r}.",
                f"A name is of letters, digits, _ and -, and none of {', '.join(TAKEN)}.",
                "Name it otherwise, and its column with --columns NAME=COLUMN.",
            )
        if kind not in KINDS:
            raise ConfigError(
                f"The question {name!r} is answered with {kind!r}.",
                f"A question is answered with one of: {', '.join(KINDS)}.",
                nearest_hint(kind, KINDS) or f"For example: --questions {name}=label",
            )


def check_weights(weights: Mapping[str, float], names: Sequence[str]) -> None:
    """Raises `ConfigError` for a weight of a question there is not, and for one that is not above 0."""
    for name, weight in weights.items():
        if name not in names:
            raise ConfigError(
                f"question_weights names {name!r}, which is no question.",
                f"The questions: {', '.join(names)}.",
                nearest_hint(name, names) or "Take one of these.",
            )
        if not 0 < weight < float("inf"):
            raise ConfigError(
                f"The weight of the question {name!r} is {weight:g}.",
                "A weight is a number above 0.",
                "Leave the question out of --questions, if it is not to be learnt.",
            )


def answer_in(record: Row, name: str, kind: str) -> Any:
    """What a record says to a question, None where it says nothing; raises `DataError` for what is no such answer."""
    value = record.get(name)
    if value is None or value != value or (isinstance(value, str) and not value.strip()):
        return None
    if kind == LABELS:
        return labels_in(record, name)
    return required_number(record, name) if kind == NUMBER else required_label(record, name)


def kind_of(value: Any) -> str:
    """The kind of question that a value answers: a list is several labels, a number a number, anything else a label."""
    if isinstance(value, list | tuple):
        return LABELS
    return NUMBER if isinstance(value, int | float) and not isinstance(value, bool) else LABEL


class Told:
    """What rows were heard to say to one question, row after row, so that they need not be held."""

    def __init__(self, name: str) -> None:
        self.name, self.rows, self.kind = name, 0, ""
        self.labels: set[str] = set()
        self.numbers = array("d")

    def hear(self, value: Any) -> None:
        """Raises `DataError` where it is an answer of another kind than those before."""
        kind = kind_of(value)
        if self.rows and kind != self.kind:
            raise DataError(
                f"the question {self.name!r} is answered with a {self.kind} and with {value!r:.40}.",
                "A question has answers of one kind.",
                "Say which: --questions NAME=KIND",
                column=self.name,
            )
        self.rows, self.kind = self.rows + 1, kind
        if kind == NUMBER:
            self.numbers.append(value)
        else:
            self.labels.update(value if kind == LABELS else [value])

    def question(self, rows: int) -> Question:
        """The question as all ``rows`` have it; raises `DataError`, naming it, where there is nothing to learn."""
        if not self.rows:
            raise DataError(
                f"no row answers the question {self.name!r}.",
                "Each question is answered by some of the training rows, in a column of its name.",
                f"Name its column (--columns {self.name}=COLUMN), or leave it out of --questions.",
                column=self.name,
            )
        share = self.rows / rows
        if self.kind == NUMBER:
            mean, spread = float(np.mean(self.numbers)), float(np.std(self.numbers))
            if spread == 0.0:
                raise DataError(
                    f"the question {self.name!r}: every row has the same value ({mean:g}).",
                    "There must be different values to learn.",
                    "Add rows that say otherwise, or leave the question out.",
                    column=self.name,
                )
            return Question(self.name, NUMBER, mean=mean, spread=spread, share=share)
        try:
            labels = sorted(self.labels) if self.kind == LABELS else fit_labels([{"label": one} for one in self.labels])
            two_classes(labels, self.name)
        except DataError as error:
            raise DataError(
                f"the question {self.name!r}: {error.fact}",
                error.expected,
                "Add rows that say otherwise, or leave the question out.",
                column=self.name,
            ) from error
        return Question(self.name, self.kind, tuple(labels), share=share)


def no_question() -> DataError:
    """The error of rows that ask nothing."""
    return DataError(
        "no row has a question.", "There must be something to learn.", "Name the questions with --questions NAME=KIND."
    )


def settings_of(questions: Sequence[Question]) -> dict[str, Any]:
    """The questions as the manifest keeps them."""
    return {"questions": [asdict(question) | {"labels": list(question.labels)} for question in questions]}


def kinds(settings: Mapping[str, Any]) -> dict[str, str]:
    """The questions of a folder's settings by kind, as --questions names them; none for other tasks."""
    return {one["name"]: one["kind"] for one in settings.get("questions", ())}
