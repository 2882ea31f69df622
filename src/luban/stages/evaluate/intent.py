"""The view of answers that are an intent and its slots: right where both are; each half is shown beside it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from luban.metrics.classification import ClassScore, average_rows
from luban.metrics.intervals import Floats, Scores, Statistic, joined, mean_of
from luban.records import Entity, Prediction, Row, Rows
from luban.stages.evaluate import label, tags
from luban.stages.evaluate.base import Mistake, View
from luban.tagging import gold_spans
from luban.tasks.base import INTENT


def look(rows: Rows, predictions: Sequence[Prediction], labels: Sequence[str]) -> View:
    """Rows with intent and all slots right, accuracy of the intents, strict scores of the slots; a table of both.

    Confusion and calibration are those of the intents.
    """
    slots = tags.look(rows, predictions, [name for name in labels if not name.startswith(INTENT)])
    intents = label.look(rows, predictions, [name.removeprefix(INTENT) for name in labels if name.startswith(INTENT)])
    assert slots.right is not None
    assert intents.right is not None
    right = slots.right & intents.right
    wrong = [_mistake(i, rows[i], predictions[i]) for i in range(len(rows)) if not right[i]]
    table = (*_named("intent", intents.table), *_named("slot", slots.table))
    return replace(
        intents,
        statistic=joined(mean_of(exact_match=right, accuracy=intents.right), _of_slots(slots.statistic)),
        slice_score="exact_match",
        right=right,
        shares=("exact_match",),
        mistakes=tuple(sorted(wrong, key=lambda m: -m.cost)),
        table=table,
        averages=tuple(average_rows(table)),
        extra={},
    )


def _of_slots(statistic: Statistic) -> Statistic:
    """The entities' scores under the name that they have as slots."""

    def scores(counts: Floats) -> Scores:
        return {
            name.replace("entity", "slot"): value
            for name, value in statistic(counts).items()
            if name.startswith("entity")
        }

    return scores


def _named(kind: str, table: Sequence[ClassScore]) -> list[ClassScore]:
    return [replace(one, label=f"{kind} {one.label}") for one in table]


def _mistake(place: int, row: Row, prediction: Prediction) -> Mistake:
    """The surer of a wrong intent the worse, then the more slots are off."""
    text, gold = str(row["text"]), str(row["label"])
    wanted = [Entity(text[start:end], kind, start, end) for start, end, kind in gold_spans(row)]
    given = list(prediction.entities or ())
    off = {(e.start, e.end, e.label) for e in wanted} ^ {(e.start, e.end, e.label) for e in given}
    sure = float(prediction.score or 0.0)
    return Mistake(
        row=place + 1,
        text=text,
        gold=_said(gold, wanted),
        answer=_said(str(prediction.label), given),
        cost=(1.0 + sure if prediction.label != gold else 0.0) + len(off) / (1.0 + len(off)),
        probability=prediction.score,
        gold_probability=(prediction.scores or {}).get(gold, 0.0),
    )


def _said(intent: str, slots: Sequence[Entity]) -> str:
    return intent + "".join(f" · {slot.label}: {slot.text}" for slot in slots)
