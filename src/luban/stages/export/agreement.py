"""How well two runtimes of one model agree on real rows; it judges nothing and changes nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from luban.encoding import Encoded
from luban.predict import Predictor, reordered
from luban.records import Prediction, Row, Rows, texts
from luban.tasks.base import Floats, HeadPart, softmax

MOVED = 0.1
"a number counts as changed when it moves by more than this share of its spread"
TURNED = 0.02
"a vector counts as changed when its cosine with what it was falls short of 1 by more than this"
SHOWN = 20


@dataclass(frozen=True, slots=True)
class Answers:
    """What one runtime said of some rows: the head's outputs, of which ``parts``, and what they decode to."""

    parts: Sequence[HeadPart]
    encoded: Sequence[Encoded]
    logits: Sequence[Sequence[Floats]]
    predictions: Sequence[Prediction]


@dataclass(frozen=True, slots=True)
class Agreement:
    """``flips``: share of decisions that changed: rows, or for taggers entities (1 - F1 between the two sets of them); of
    a model that gives both, the larger share; of several questions, the largest share of one.

    ``changed``: share of rows with any change; ``difference``: largest distance of a probability (of a number: in its
    spread); ``which``: the changed rows, the first 20, by their position with both answers.
    """

    rows: int
    flips: float
    changed: float
    difference: float
    which: tuple[dict[str, Any], ...] = ()

    def as_json(self) -> dict[str, Any]:
        return {**asdict(self), "which": list(self.which)}


def ask(predictor: Predictor, rows: Rows) -> Answers:
    """The answers of a runtime to canonical rows."""
    encoded = [predictor.task.encode(predictor.row(row), predictor.encoder) for row in rows]
    if predictor.task.generates:
        return Answers((), encoded, [], predictor.answer(encoded))
    logits = predictor.logits(encoded)
    predictions = [predictor.task.decode(row, out) for row, out in zip(encoded, logits, strict=True)]
    return Answers(predictor.task.parts, encoded, logits, predictions)


def compare(rows: Rows, expected: Answers, got: Answers) -> Agreement:
    """How far ``got`` is from ``expected``, row by row."""
    pairs = list(zip(expected.predictions, got.predictions, strict=True))
    changed = _changed(expected.predictions, got.predictions)
    share = len(changed) / max(1, len(pairs))
    flips = share
    asked = _asked(expected.predictions)
    if asked:
        flips = max(compare(rows, _answering(expected, name), _answering(got, name)).flips for name in asked)
    if any(a.entities is not None for a, _ in pairs):
        flips = max(1.0 - entity_agreement(pairs), sum(a.label != b.label for a, b in pairs) / len(pairs))
    which = tuple(
        {"row": i, "text": " ".join(texts(rows[i]).values())[:80], "was": _said(pairs[i][0]), "is": _said(pairs[i][1])}
        for i in changed[:SHOWN]
    )
    return Agreement(len(pairs), flips, share, _distance(expected, got), which)


def _asked(predictions: Sequence[Prediction]) -> list[str]:
    """The questions that are answered, where there are several."""
    return list(predictions[0].answers or ()) if predictions else []


def _answering(answers: Answers, name: str) -> Answers:
    """The same answers to one question alone."""
    told = [(one.answers or {})[name] for one in answers.predictions]
    return Answers((), answers.encoded, answers.logits, told)


def _changed(a: Sequence[Prediction], b: Sequence[Prediction]) -> list[int]:
    """Positions of the rows of which an answer has changed."""
    asked = _asked(a)
    if asked:
        apart = [_changed(*([(one.answers or {})[name] for one in side] for side in (a, b))) for name in asked]
        return sorted(set().union(*apart))
    spread = _spread(a)
    return [i for i, (one, two) in enumerate(zip(a, b, strict=True)) if _differs(one, two, spread)]


def entity_agreement(pairs: Sequence[tuple[Prediction, Prediction]]) -> float:
    """F1 between the entities of two taggers over the same rows; 1 where neither found any."""
    both = total = 0
    for a, b in pairs:
        first, second = _spans(a), _spans(b)
        both, total = both + len(first & second), total + len(first) + len(second)
    return 2 * both / total if total else 1.0


def spaced(rows: Rows, count: int) -> list[Row]:
    """At most ``count`` rows, evenly spaced: files sorted by label would otherwise give a few labels only."""
    if len(rows) <= count:
        return list(rows)
    return [rows[int(i)] for i in np.linspace(0, len(rows) - 1, count)]


def _spans(prediction: Prediction) -> set[tuple[int, int, str]]:
    return {(entity.start, entity.end, entity.label) for entity in prediction.entities or ()}


def _differs(a: Prediction, b: Prediction, spread: float) -> bool:
    if a.entities is not None:
        return _spans(a) != _spans(b) or a.label != b.label
    if a.text is not None:
        return a.text != b.text
    if a.embedding is not None:
        return apart(a, b) > TURNED
    if a.items is not None:
        return [one.item for one in a.items[:1]] != [one.item for one in (b.items or ())[:1]]
    if a.relevance is not None:
        return bool(np.argmax(a.relevance) != np.argmax(b.relevance or (0.0,)))
    if a.answer is not None:
        return (a.start, a.end) != (b.start, b.end)
    if a.labels is not None:
        return set(a.labels) != set(b.labels or ())
    if a.value is not None:
        return abs(a.value - (b.value or 0.0)) > MOVED * spread
    if a.label is None and a.score is not None:
        return abs(a.score - (b.score or 0.0)) > MOVED
    return a.label != b.label


def apart(a: Prediction, b: Prediction) -> float:
    """One minus the cosine of two answers' vectors."""
    return max(0.0, 1.0 - float(np.dot(a.embedding or (), b.embedding or ())))


def _spread(predictions: Sequence[Prediction]) -> float:
    """Standard deviation of the numbers predicted; 1 where there are none or all are equal."""
    values = [p.value for p in predictions if p.value is not None]
    return float(np.std(values)) or 1.0 if values else 1.0


def _distance(a: Answers, b: Answers) -> float:
    """Largest distance of a probability (where scores are given, of those; for taggers, of each word's tags)."""
    if asked := _asked(a.predictions):
        return max(_distance(_answering(a, name), _answering(b, name)) for name in asked)
    worst, spread = 0.0, _spread(a.predictions)
    for row, (one, two) in enumerate(zip(a.predictions, b.predictions, strict=True)):
        if one.scores is not None and two.scores is not None:
            worst = max(worst, max(abs(one.scores[name] - two.scores[name]) for name in one.scores))
        elif one.text is not None:
            worst = max(worst, abs((one.score or 0.0) - (two.score or 0.0)) if one.text == two.text else 0.0)
        elif one.embedding is not None:
            worst = max(worst, apart(one, two))
        elif one.items is not None:
            worst = max(worst, reordered(one.as_json()["items"], two.as_json()["items"]))
        elif one.relevance is not None and two.relevance is not None:
            worst = max(worst, *(abs(x - y) for x, y in zip(one.relevance, two.relevance, strict=True)))
        elif one.label is None and one.entities is None and one.score is not None:
            worst = max(worst, abs(one.score - (two.score or 0.0)))
        elif one.answer is not None and (one.start, one.end) == (two.start, two.end):
            worst = max(worst, abs((one.score or 0.0) - (two.score or 0.0)))
        elif one.value is not None and two.value is not None:
            worst = max(worst, abs(one.value - two.value) / spread)
        for part in a.parts if one.entities is not None else ():
            if not part.whole:
                worst = max(worst, _tag_distance(a.encoded[row], a.logits[row], b.logits[row], part))
    return worst


def _tag_distance(encoded: Encoded, a: Sequence[Floats], b: Sequence[Floats], part: HeadPart) -> float:
    distances: list[NDArray[Any]] = [np.zeros(1)]
    for window, one, two in zip(encoded.windows, a, b, strict=True):
        at = window.heads if window.heads is not None else np.arange(len(window.ids))
        first, second = (softmax(logits[at, part.begin : part.end]) for logits in (one, two))
        distances.append(np.abs(first - second).ravel())
    return float(np.concatenate(distances).max())


def _said(prediction: Prediction) -> Any:
    """The answer in brief."""
    if prediction.answers is not None:
        return {name: _said(one) for name, one in prediction.answers.items()}
    if prediction.entities is not None:
        own = [] if prediction.label is None else [prediction.label]
        return own + [f"{entity.label} {entity.text}" for entity in prediction.entities]
    if prediction.text is not None or prediction.answer is not None:
        return prediction.text if prediction.text is not None else prediction.answer
    if prediction.labels is not None:
        return list(prediction.labels)
    return prediction.value if prediction.value is not None else prediction.label
