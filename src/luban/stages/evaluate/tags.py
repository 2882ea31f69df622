"""The view of answers that are entities in a text: the strict score, and beside it what each word was tagged.

The naive token-level score is computed too, for it is what many tutorials print: it counts every O, so a tagger that
finds nothing scores high. It is never a headline.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from luban.metrics.calibration import expected_calibration_error, reliability
from luban.metrics.classification import ClassScore, average_rows, confusion, f1_averages
from luban.metrics.intervals import ratio_of
from luban.metrics.spans import Span
from luban.records import Prediction, Row, Rows
from luban.stages.evaluate.base import Confusion, Mark, Mistake, Reliability, View
from luban.tagging import gold_spans

Spans = list[set[Span]]


def look(rows: Rows, predictions: Sequence[Prediction], labels: Sequence[str]) -> View:
    """Strict entity scores (type and both ends right) over all and by type, token accuracy, word-by-word confusion."""
    gold = [set(gold_spans(row)) for row in rows]
    answers = [{(e.start, e.end, e.label) for e in p.entities or ()} for p in predictions]
    words = [[str(tag) for tag in row["tags"]] for row in rows]
    tags = [_padded(p, len(row)) for p, row in zip(predictions, words, strict=True)]
    table = _table(gold, answers)
    right = np.array([len(g & a) for g, a in zip(gold, answers, strict=True)])
    given, wanted = np.array([len(a) for a in answers]), np.array([len(g) for g in gold])
    hits = np.array([sum(map(str.__eq__, g, t)) for g, t in zip(words, tags, strict=True)])
    return View(
        kind="entities",
        rows=len(rows),
        statistic=ratio_of(
            entity_f1=(2 * right, given + wanted),
            entity_precision=(right, given),
            entity_recall=(right, wanted),
            token_accuracy=(hits, np.array([len(row) for row in words])),
        ),
        slice_score="entity_f1",
        right=(right == given) & (right == wanted),
        mistakes=_mistakes(rows, predictions, gold, answers),
        table=tuple(table),
        averages=tuple(average_rows(table)),
        confusion=_confusion(words, tags),
        reliability=_reliability(predictions, gold),
        naive=f1_averages(_flat(words), _flat(tags), labels)["weighted_f1"],
    )


def _table(gold: Spans, answers: Spans) -> list[ClassScore]:
    """Strict scores by type: an entity is right when type, start and end are."""
    kinds = sorted({kind for row in gold + answers for _, _, kind in row})
    counts = {kind: [0, 0, 0] for kind in kinds}
    for g, a in zip(gold, answers, strict=True):
        for place, spans in enumerate((g & a, g, a)):
            for _, _, kind in spans:
                counts[kind][place] += 1
    return [ClassScore.of(k, correct=c, support=s, predicted=p) for k, (c, s, p) in counts.items()]


def _padded(prediction: Prediction, length: int) -> list[str]:
    """One tag a word; words beyond what was read count as O."""
    tags = list(prediction.tags or ())[:length]
    return tags + ["O"] * (length - len(tags))


def _flat(rows: list[list[str]]) -> list[str]:
    return [tag for row in rows for tag in row]


def _confusion(words: list[list[str]], tags: list[list[str]]) -> Confusion:
    """Which type each word was given, O among them; B and I of a type are one."""
    gold, answers = ([tag if tag == "O" else tag[2:] for tag in _flat(side)] for side in (words, tags))
    names = [*sorted({*gold, *answers} - {"O"}), "O"]
    counts = confusion(gold, answers, names)
    return Confusion(tuple(names), tuple(tuple(map(int, row)) for row in counts), unit="words")


def _reliability(predictions: Sequence[Prediction], gold: Spans) -> Reliability | None:
    found = [
        (e.score, (e.start, e.end, e.label) in g)
        for p, g in zip(predictions, gold, strict=True)
        for e in p.entities or ()
    ]
    if not found:
        return None
    sure: NDArray[np.float64] = np.array([score for score, _ in found])
    right: NDArray[np.bool_] = np.array([ok for _, ok in found])
    return Reliability(tuple(reliability(sure, right)), expected_calibration_error(sure, right), unit="entities")


def _mistakes(rows: Rows, predictions: Sequence[Prediction], gold: Spans, answers: Spans) -> tuple[Mistake, ...]:
    """Rows with the most entities missed or wrongly given; among equals the surest wrong ones first."""
    wrong = [i for i in range(len(rows)) if gold[i] != answers[i]]
    made = [_mistake(i + 1, rows[i], predictions[i], gold[i], answers[i]) for i in wrong]
    return tuple(sorted(made, key=lambda m: -m.cost))


def _mistake(number: int, row: Row, prediction: Prediction, gold: set[Span], answers: set[Span]) -> Mistake:
    text = str(row["text"])
    sure = max((e.score for e in prediction.entities or () if (e.start, e.end, e.label) not in gold), default=0.0)
    return Mistake(
        row=number,
        text=text,
        gold=_words(text, gold),
        answer=_words(text, answers),
        cost=len(gold ^ answers) + sure,
        gold_marks=tuple(Mark(*span, span in answers) for span in sorted(gold)),
        answer_marks=tuple(Mark(*span, span in gold) for span in sorted(answers)),
    )


def _words(text: str, spans: set[Span]) -> str:
    return ", ".join(f"{text[start:end]} ({kind})" for start, end, kind in sorted(spans))
