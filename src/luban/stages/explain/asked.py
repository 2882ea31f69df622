"""Which of several questions is to be explained, and with which of its answers; the weights are found elsewhere."""

from __future__ import annotations

from typing import Any

from luban.encoding import Encoded
from luban.errors import ConfigError, nearest_hint
from luban.questions import NUMBER
from luban.records import Prediction
from luban.stages.explain.base import Question, Term
from luban.tasks.multi_task import MultiTask


def of_question(
    task: MultiTask, encoded: Encoded, answer: Prediction, target: str | None, common: dict[str, Any]
) -> Question:
    """The number of the head that ``target`` names: a question (its answer), ``question:label``, or a label that only one has.

    Raises `ConfigError` where it names none or, of several questions, more than one.
    """
    output = named_by(task, answer, target)
    terms = tuple(Term(w, window.weight, task.index[output]) for w, window in enumerate(encoded.windows))
    asked = next(one for one in task.questions if output in one.outputs)
    scale, offset = (asked.spread, asked.mean) if asked.kind == NUMBER else (1.0, 0.0)
    return Question(output, terms=terms, scale=scale, offset=offset, **common)


def named_by(task: MultiTask, answer: Prediction, target: str | None) -> str:
    """The output of the head that a target names, by its name."""
    names = [question.name for question in task.questions]
    if target is None and len(names) > 1:
        raise ConfigError(
            f"The model answers {len(names)} questions: {', '.join(names)}.",
            "One answer is explained at a time.",
            f"Name the question with target, such as {names[0]}.",
        )
    name = target or names[0]
    if name in names:
        given = (answer.answers or {})[name]
        if given.value is not None:
            return name
        scores = given.scores or {}
        return f"{name}:{given.label or max(scores, key=lambda label: scores[label])}"
    if name in task.index:
        return name
    found = [f"{one.name}:{name}" for one in task.questions if name in one.labels]
    if len(found) == 1:
        return found[0]
    if found:
        raise ConfigError(
            f"{name!r} is an answer to several questions.",
            "One answer is explained at a time.",
            f"Name one: {', '.join(found)}.",
        )
    raise ConfigError(
        f"The model has no question and no answer {name!r}.",
        f"Its questions: {', '.join(names)}.",
        nearest_hint(name, (*names, *task.labels)) or "Name a question, or QUESTION:LABEL.",
    )
