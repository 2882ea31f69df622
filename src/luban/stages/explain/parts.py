"""Which kind of a row mattered, and which field: each is taken away in turn, and what the answer loses is its weight.

What is taken away is missing as it may be missing in any row, which the model has learnt to bear. All fields together are a
part of their own, since two that say the same stand in for each other. It needs no gradients: any runtime will do.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from luban.encoding import Encoded
from luban.gathered import IMAGE, TEXT, Gathered, field_name
from luban.pictures import named
from luban.predict import Predictor
from luban.records import Evidence, PartWeight, Row
from luban.stages.explain.base import Question
from luban.stages.explain.shapley import shapley

METHOD = "occlusion"
FIELDS = "fields"
"the part that all fields are together"


def explained(predictor: Predictor, question: Question, row: Row, *, words: bool = True) -> Evidence:
    """The weight of each part of a row, and where ``words`` are wanted and there is a text, of its words by Shapley values.

    Without words ``base_score`` is the score of a row of which nothing is there, and ``gap`` what the weights of text,
    picture and fields fail to sum to.
    """
    kinds = _window(question.encoded).kinds
    fields = [kind for kind in kinds if field_name(kind)]
    several = len(fields) > 1
    whole: dict[str, tuple[str, ...]] = {kind: (kind,) for kind in kinds if not (several and field_name(kind))}
    whole |= {FIELDS: tuple(fields)} if several else {}
    single = {field: (field,) for field in fields} if several else {}
    hidden = [(), kinds, *whole.values(), *single.values()]
    score, base, *left = _scores(predictor, question, hidden)
    weights = dict(zip([*whole, *single], (score - one for one in left), strict=True))
    parts = tuple(PartWeight(field_name(name) or name, _value(row, name), weight) for name, weight in weights.items())
    if words and question.words:
        return replace(shapley(predictor, question), parts=parts)
    gap = score - base - sum(weights[name] for name in whole)
    return Evidence(question.target, score, base, (), METHOD, gap, parts=parts)


def _scores(predictor: Predictor, question: Question, hidden: list[tuple[str, ...]]) -> list[float]:
    """The number that is explained, of the row without each of these sets of kinds."""
    rows = [_without(question.encoded, kinds) for kinds in hidden]
    outputs = predictor.logits(rows)
    return [
        question.offset + question.scale * sum(question.of_window(w, one[w]) for w in question.windows)
        for one in outputs
    ]


def _without(encoded: Encoded, kinds: Collection[str]) -> Encoded:
    windows = [window.without(kinds) for window in encoded.windows if isinstance(window, Gathered)]
    return replace(encoded, windows=tuple(windows))


def _window(encoded: Encoded) -> Gathered:
    window = encoded.windows[0]
    assert isinstance(window, Gathered)
    return window


def _value(row: Row, name: str) -> str:
    """What a part is, in few words; a text and the fields together are not repeated."""
    if name in (TEXT, FIELDS):
        return ""
    return named(str(row[IMAGE])) if name == IMAGE else str(row[name])
