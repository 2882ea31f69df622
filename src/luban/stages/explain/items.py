"""Why an item is recommended: what each item of the history adds to its score, exactly; of a text, what its words add.

A user is the weighted sum of the vectors of what they took, so a candidate's score is its bias (how popular it is) plus
one number for each item of the history: nothing is estimated and nothing is left over.
"""

from __future__ import annotations

from typing import Any

from luban.encoding import Encoded
from luban.errors import ConfigError, nearest_hint
from luban.predict import Predictor
from luban.records import Evidence, Row, WordWeight
from luban.stages.explain.base import Question, Term
from luban.tasks.recommendation import Recommendation

METHOD = "exact"
JOINT = "\n"


def explained(predictor: Predictor, row: Row, target: str | None) -> Evidence:
    """The weight of each item of a history for the item ``target``, by default the first that is recommended.

    ``words`` are items: their texts, one a line, oldest first. ``base_score`` is the candidate's bias.
    """
    task = taught(predictor)
    encoded = task.encode(row, predictor.encoder)
    candidate = _candidate(task, predictor, encoded, target)
    towers, catalogue = task.shop.towers, task.shop.catalogue
    read = towers.read(encoded.wish.items)
    words, start = [], 0
    for item, weight in zip(read, towers.parts(encoded.wish.items, candidate), strict=True):
        end = start + len(catalogue.texts[item])
        words.append(WordWeight(catalogue.texts[item], start, end, float(weight)))
        start = end + len(JOINT)
    base = float(towers.bias[candidate])
    score = float(towers.scores(towers.user(encoded.wish.items))[candidate])
    gap = score - base - sum(word.weight for word in words)
    return Evidence(catalogue.ids[candidate], score, base, tuple(words), METHOD, gap)


def of_text(predictor: Predictor, encoded: Encoded, target: str | None, common: dict[str, Any]) -> Question:
    """The score of an item for a text: a weighted sum of the encoder's numbers."""
    task = taught(predictor)
    candidate = _candidate(task, predictor, encoded, target)
    towers = task.shop.towers
    slope = towers.reading @ towers.candidates[candidate]
    offset = float(towers.bias[candidate] - towers.centre @ slope)
    terms = tuple(
        Term(place, window.weight * float(share), output)
        for place, window in enumerate(encoded.windows)
        for output, share in enumerate(slope)
    )
    return Question(task.shop.catalogue.ids[candidate], terms=terms, offset=offset, **common)


def taught(predictor: Predictor) -> Recommendation:
    """The predictor's task."""
    assert isinstance(predictor.task, Recommendation)
    return predictor.task


def _candidate(task: Recommendation, predictor: Predictor, encoded: Encoded, target: str | None) -> int:
    """The place of the item to be explained; raises `ConfigError` for one that is not in the catalogue."""
    index = task.shop.catalogue.index
    if target is None:
        items = predictor.answer([encoded])[0].items or ()
        if not items:
            raise ConfigError("Nothing is recommended.", "The history holds every item.", "Name an item with target.")
        return index[items[0].item]
    if target not in index:
        raise ConfigError(
            f"There is no item {target!r}.",
            f"The catalogue holds {len(index):,} items.",
            nearest_hint(target, list(index)[:10_000]) or "Leave target out to explain the first that is recommended.",
        )
    return index[target]
