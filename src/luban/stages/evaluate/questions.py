"""The view of answers to several questions: that of each question, over the rows that answer it, and all of them together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from luban.metrics.classification import ClassScore, average_rows
from luban.metrics.intervals import Floats, Scores, Statistic
from luban.questions import KINDS, LABEL, LABELS, NUMBER, kind_of
from luban.records import Prediction, Row, Rows
from luban.stages.evaluate import label, several, value
from luban.stages.evaluate.base import Aspect, Look, Mistake, View

LOOKS: Mapping[str, Look] = {LABEL: label.look, LABELS: several.look, NUMBER: value.look}
SEPARATOR = " · "


def look(rows: Rows, predictions: Sequence[Prediction], labels: Sequence[str]) -> View:
    """Each question's scores under ``question.score`` and the mean of their main ones; a table and the mistakes of all.

    A row is right where all classes that it has to say are; numbers are shown beside them.
    """
    views: dict[str, tuple[View, NDArray[np.int64]]] = {}
    for name in predictions[0].answers or {}:
        places = np.array([i for i, row in enumerate(rows) if row["targets"].get(name) is not None], dtype=np.int64)
        if len(places):
            views[name] = (_of_one(name, places, rows, predictions, labels), places)
    right = [(view.right, places) for view, places in views.values() if view.right is not None]
    whole = np.ones(len(rows), dtype=bool)
    for each, places in right:
        whole[places] &= each
    table = [replace(one, label=f"{name}: {one.label}") for name, (view, _) in views.items() for one in view.table]
    return View(
        kind="answers",
        rows=len(rows),
        statistic=together({name: (view.statistic, places, view.kind) for name, (view, places) in views.items()}),
        slice_score="mean_score",
        right=whole if right else None,
        mistakes=_mistakes(views, rows, predictions),
        table=tuple(table),
        averages=_averages(table),
        extra={f"{name}.{key}": found for name, (view, _) in views.items() for key, found in view.extra.items()},
        aspects={name: _aspect(view) for name, (view, _) in views.items()},
    )


def _of_one(
    name: str, places: NDArray[np.int64], rows: Rows, predictions: Sequence[Prediction], labels: Sequence[str]
) -> View:
    """The view of one question, as of a model that answers it alone; ``places``: the rows that answer it."""
    gold = [rows[int(i)]["targets"][name] for i in places]
    key = LABELS if kind_of(gold[0]) == LABELS else LABEL
    own = [{"text": rows[int(i)]["text"], key: told} for i, told in zip(places, gold, strict=True)]
    answers = [(predictions[int(i)].answers or {})[name] for i in places]
    known = [one.removeprefix(f"{name}:") for one in labels if one.startswith(f"{name}:")]
    return LOOKS[kind_of(gold[0])](own, answers, known)


def together(parts: Mapping[str, tuple[Statistic, NDArray[np.int64], str]]) -> Statistic:
    """The scores of several questions, each a statistic of the rows at its places; NaN where a resample drew none of them.

    ``mean_score`` is the mean of the main scores of the questions that were drawn.
    """

    def statistic(counts: Floats) -> Scores:
        found: dict[str, Floats] = {}
        main = []
        for name, (each, places, kind) in parts.items():
            drawn = counts[:, places]
            with np.errstate(invalid="ignore", divide="ignore"):
                scores = each(drawn)
            met = drawn.sum(axis=1) > 0
            found |= {f"{name}.{score}": np.where(met, values, np.nan) for score, values in scores.items()}
            main.append(found[f"{name}.{MAIN[kind]}"])
        held = np.stack(main)
        return {"mean_score": np.nansum(held, axis=0) / np.isfinite(held).sum(axis=0).clip(1), **found}

    return statistic


MAIN = {"label": KINDS[LABEL], "labels": KINDS[LABELS], "value": KINDS[NUMBER]}
"the main score of a question by the kind of its view"


def _aspect(view: View) -> Aspect:
    return Aspect(
        view.kind,
        view.rows,
        len(view.mistakes),
        view.table,
        view.averages,
        view.confusion,
        view.reliability,
        view.points,
    )


def _averages(table: Sequence[ClassScore]) -> tuple[ClassScore, ...]:
    return tuple(average_rows(table)) if table else ()


def _mistakes(
    views: Mapping[str, tuple[View, NDArray[np.int64]]], rows: Rows, predictions: Sequence[Prediction]
) -> tuple[Mistake, ...]:
    """One a row that has a class wrong: as bad as its worst answer; of numbers alone, the rows furthest off."""
    classes = {name: one for name, one in views.items() if one[0].right is not None}
    worst: dict[int, float] = {}
    for view, places in (classes or views).values():
        for mistake in view.mistakes:
            row = int(places[mistake.row - 1])
            worst[row] = max(worst.get(row, 0.0), mistake.cost)
    order = sorted(worst, key=lambda row: -worst[row])
    return tuple(_mistake(row, rows[row], predictions[row], worst[row]) for row in order)


def _mistake(place: int, row: Row, prediction: Prediction, cost: float) -> Mistake:
    answers = prediction.answers or {}
    known = [name for name in answers if row["targets"].get(name) is not None]
    return Mistake(
        row=place + 1,
        text=str(row["text"]),
        gold=SEPARATOR.join(f"{name}: {_said(row['targets'][name])}" for name in known),
        answer=SEPARATOR.join(f"{name}: {_said(_given(answers[name]))}" for name in known),
        cost=cost,
    )


def _given(answer: Prediction) -> object:
    if answer.labels is not None:
        return list(answer.labels)
    return answer.label if answer.value is None else answer.value


def _said(value: object) -> str:
    if isinstance(value, list):
        return ", ".join(sorted(map(str, value))) or "–"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
