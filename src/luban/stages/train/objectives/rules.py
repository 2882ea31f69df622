"""Which objectives a task can take, and which go together: asked before any work; nothing is computed here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from luban.config import TrainConfig
from luban.errors import ConfigError
from luban.questions import check_weights, kinds
from luban.records import Rows
from luban.tasks import TASKS

CLASS, CLASSES, NUMBER, TAGS, OTHER, PICTURE = "class", "classes", "number", "tags", "another loss", "picture"
QUESTIONS = "several questions"
ANSWERS = {
    "text-classification": CLASS,
    "text-pair": CLASS,
    "multi-label-classification": CLASSES,
    "text-regression": NUMBER,
    "token-classification": TAGS,
    "image-classification": PICTURE,
    "multimodal-classification": PICTURE,
    "intent-and-slots": OTHER,
    "extractive-qa": OTHER,
    "multi-task": QUESTIONS,
}
"what a task's rows are answered with; a pair of texts whose labels are numbers is answered with a number"


@dataclass(frozen=True, slots=True)
class Option:
    """One option that changes what is learnt: ``takes`` are the answers it can work with."""

    on: Callable[[TrainConfig], bool]
    takes: frozenset[str]


EVERY = frozenset({CLASS, CLASSES, NUMBER, TAGS, QUESTIONS})
OPTIONS = {
    "adversarial": Option(lambda c: c.adversarial != "none", EVERY | {OTHER}),
    "rdrop": Option(lambda c: c.rdrop > 0, EVERY | {PICTURE}),
    "mixup": Option(lambda c: c.mixup > 0, frozenset({CLASS, CLASSES, QUESTIONS, PICTURE})),
    "focal": Option(lambda c: c.focal > 0, frozenset({CLASS, CLASSES, TAGS, QUESTIONS, PICTURE})),
    "gce": Option(lambda c: c.gce > 0, frozenset({CLASS, CLASSES, TAGS, QUESTIONS, PICTURE})),
    "class_weights": Option(lambda c: c.class_weights != "none", frozenset({CLASS, PICTURE})),
    "noisy": Option(lambda c: c.noisy != "none", frozenset({CLASS, PICTURE})),
}
APART = {
    ("adversarial", "mixup"): "The worst embeddings of a mix are not those of another mix",
    ("rdrop", "mixup"): "Two passes over other mixes cannot agree",
    ("focal", "gce"): "Each puts a curve of its own in the place of the cross-entropy",
}
"pairs that cannot be combined, and why; all others can"


def check(config: TrainConfig, task: str, rows: Rows) -> None:
    """Raises `ConfigError` for an option that this task cannot take, or that cannot go with another."""
    if config.question_weights:
        _check_weights(config, task, rows)
    chosen = [name for name, option in OPTIONS.items() if option.on(config)]
    if not chosen:
        return
    answer = _answer(task, rows)
    for name in chosen:
        if answer not in OPTIONS[name].takes:
            raise _unfit(name, task, answer)
    for (one, other), why in APART.items():
        if one in chosen and other in chosen:
            free = ", ".join(name for name in OPTIONS if name != one and _together(name, one))
            raise ConfigError(
                f"{one} and {other} cannot be combined.",
                f"{why}; {one} goes with {free}.",
                f"Leave out {one} or {other}.",
            )


def _answer(task: str, rows: Rows) -> str:
    """What the rows are answered with; empty for a task whose loss is no plain one of these."""
    answer = ANSWERS.get(task, "")
    if task == "text-pair" and len(rows) and not TASKS[task].fit(rows).labels:
        return NUMBER
    if answer == QUESTIONS and len(rows) and set(kinds(TASKS[task].fit(rows).settings).values()) == {NUMBER}:
        return NUMBER
    return answer


def _check_weights(config: TrainConfig, task: str, rows: Rows) -> None:
    """Raises `ConfigError` for weights of questions where there are none, and for a wrong one."""
    if ANSWERS.get(task) != QUESTIONS:
        raise ConfigError(
            f"question_weights is given, and {task} asks one question.",
            "They say what each question of multi-task counts.",
            "Leave it out.",
        )
    check_weights(config.question_weights, list(kinds(TASKS[task].fit(rows).settings)))


def _together(one: str, other: str) -> bool:
    return (one, other) not in APART and (other, one) not in APART


def _unfit(name: str, task: str, answer: str) -> ConfigError:
    """The error for an option that these rows cannot take, with the options they can."""
    kind = f"{task} with numbers for labels" if answer == NUMBER != ANSWERS[task] else task
    takers = ", ".join(task for task, answers in ANSWERS.items() if answers in OPTIONS[name].takes)
    able = ", ".join(option for option in OPTIONS if answer in OPTIONS[option].takes) or "none of these options"
    return ConfigError(
        f"{name} does not work for {kind}.", f"It works for {takers}.", f"Leave it out; {kind} can take: {able}."
    )
