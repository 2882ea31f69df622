"""Asks a model why: finds what is to be explained, hands it to a method, and gives the words their weights.

It trains nothing and prints nothing. The methods stand behind one lazy table, each in its own file.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np

from luban.encoding import Encoded
from luban.errors import ConfigError, counted, nearest_hint
from luban.predict import Predictor
from luban.records import Entity, Evidence, Prediction, Row
from luban.registry import Registry
from luban.stages.explain import parts
from luban.stages.explain.asked import of_question
from luban.stages.explain.base import Question, Term, located, shown_text
from luban.stages.explain.items import explained, of_text
from luban.stages.explain.written import of_written
from luban.tagging import places
from luban.tasks.base import INTENT, Floats, softmax
from luban.tasks.extractive_qa import NONE, best_span, places_of
from luban.tasks.multi_task import MultiTask

METHODS = Registry(
    "method of explanation",
    {
        "integrated-gradients": "luban.stages.explain.integrated_gradients:integrated_gradients",
        "shapley": "luban.stages.explain.shapley:shapley",
        "occlusion": "luban.stages.explain.occlusion:occlusion",
    },
    extra="explain",
)
AUTO = {"pytorch": "integrated-gradients"}
"the method that ``auto`` takes for a runtime; shapley for all others"
PICTURES = "occlusion"
"the method for pictures"
OUTSIDE = "O"
PLACE = re.compile(r"(?P<label>.+)@(?P<start>\d+)-(?P<end>\d+)")

Method = Callable[[Predictor, Question], Evidence]


def explain(predictor: Predictor, value: str | Row, *, target: str | None = None, method: str = "auto") -> Evidence:
    """The weight of each word for one output of the model.

    ``target``: a label (default: the predicted one; an intent comes before a slot); for a tagger an entity as
    ``LABEL@start-end``, a label, or a word of the text (default: the surest entity); for a question a piece of the
    context (default: the answer); of several questions one, or its label as ``QUESTION:LABEL`` (no default); of a
    recommender an item (default: the first that is recommended), whose weights are those of the history's items and exact.
    ``method``: auto, integrated-gradients (runtime pytorch) or shapley (any).
    Positions count characters of the text; for a pair, of text, a line break, text_pair.

    Raises `UnknownName` for an unknown method, `ConfigError` for an unknown target, `DataError` for an unfit row.
    """
    if predictor.task.recommends and "text" not in (row := predictor.row(value)):
        return explained(predictor, row, target)
    of_texts = AUTO.get(predictor.runtime.name, "shapley")
    chosen = method if method != "auto" else PICTURES if predictor.task.sees else of_texts
    if predictor.task.fuses:
        return _of_parts(predictor, value, target, method)
    asked: Method = METHODS[chosen]
    if predictor.task.sees and chosen != PICTURES:
        raise ConfigError(
            f"{chosen} explains words, and this model reads pictures.",
            f"Pictures are explained by {PICTURES}.",
            "Leave method out.",
        )
    return asked(predictor, question(predictor, value, target))


def _of_parts(predictor: Predictor, value: str | Row, target: str | None, method: str) -> Evidence:
    """Of a row of several kinds: what each of them counts for and, but for occlusion, the words of its text."""
    if method not in ("auto", "shapley", "occlusion"):
        raise ConfigError(
            f"{method} follows one encoder, and this model has several.",
            "Rows of several kinds are explained by occlusion, and their words by shapley.",
            "Leave method out.",
        )
    asked = question(predictor, value, target)
    return parts.explained(predictor, asked, predictor.row(value), words=method != "occlusion")


def question(predictor: Predictor, value: str | Row, target: str | None) -> Question:
    """What is to be explained: the row, encoded, and the number of the head that ``target`` names."""
    task, row = predictor.task, predictor.row(value)
    if task.embeds and not task.recommends:
        raise ConfigError(
            "A model that embeds gives a vector, which no word speaks for or against.",
            "A class, a number or a tag can be explained.",
            "Explain a rerank model's score of the query and the passage instead.",
        )
    if task.generates:
        return of_written(predictor, row, target)
    encoded = task.encode(row, predictor.encoder)
    if encoded.apart:
        raise ConfigError(
            f"{len(encoded.apart)} passages are asked about.", "One score is explained at a time.", "Send one passage."
        )
    words = () if task.sees else located(encoded, row, predictor.encoder)
    common: dict[str, Any] = {"encoded": encoded, "text": shown_text(row), "words": words}
    if task.recommends:
        return of_text(predictor, encoded, target, common)
    outputs = predictor.logits([encoded])[0]
    answer = task.decode(encoded, outputs)
    if isinstance(task, MultiTask):
        return of_question(task, encoded, answer, target, common)
    if answer.answer is not None:
        return _of_answer(encoded, outputs, answer, target, common)
    if answer.entities is not None and answer.label is not None and target in (None, *(answer.scores or ())):
        return _of_intent(predictor, encoded, target or answer.label, common)
    if task.tags_words:
        return _of_tagger(predictor, encoded, outputs, answer, target, common)
    if not task.labels:
        _refuse_target(target)
        scale = task.calibration
        return Question("value", terms=_whole(encoded, 0), scale=scale.spread, offset=scale.mean, **common)
    label = target or _predicted(answer)
    if label not in task.index:
        raise _unknown(label, task.labels, "label")
    return Question(label, terms=_whole(encoded, task.index[label]), **common)


def _whole(encoded: Encoded, output: int) -> tuple[Term, ...]:
    """One output of a whole row: of each window, by what it read."""
    return tuple(Term(w, window.weight, output) for w, window in enumerate(encoded.windows))


def _of_answer(
    encoded: Encoded, outputs: list[Floats], answer: Prediction, target: str | None, common: dict[str, Any]
) -> Question:
    """The start and end logits of the answer, of a piece of the context that ``target`` names, or of having no answer."""
    span = best_span(encoded, outputs)
    if target is None and not answer.answer:
        ends = ((span.none, 0), (span.none, 0))
        name = NONE
    elif target is None:
        ends = ((span.window, span.first), (span.window, span.last))
        name = f"{answer.answer}@{answer.start}-{answer.end}"
    else:
        start = encoded.text.find(target)
        found = places_of(encoded, start, start + len(target)) if start >= 0 else None
        if found is None:
            raise ConfigError(
                f"The context does not hold {target!r:.60}, or not in one window.",
                "A piece of the context can be explained, word for word.",
                "Leave target out to explain the answer.",
            )
        ends, name = found, f"{target}@{start}-{start + len(target)}"
    terms = tuple(Term(window, 1.0, side, place) for side, (window, place) in enumerate(ends))
    return Question(name, terms=terms, **common)


def _of_intent(predictor: Predictor, encoded: Encoded, label: str, common: dict[str, Any]) -> Question:
    """The mean of an intent's logits over the words."""
    output, words = predictor.task.index[INTENT + label], max(1, len(encoded.words))
    terms = tuple(
        Term(w, 1.0 / words, output, int(place)) for w, window in enumerate(encoded.windows) for place in places(window)
    )
    return Question(label, terms=terms, **common)


def _predicted(answer: Prediction) -> str:
    if answer.label is not None:
        return answer.label
    scores = answer.scores or {}
    return max(scores, key=lambda name: scores[name])


def _refuse_target(target: str | None) -> None:
    if target not in (None, "value"):
        raise ConfigError(
            f"There is no target {target!r}.", "This model gives one number, named 'value'.", "Leave target out."
        )


def _unknown(name: str, known: tuple[str, ...], kind: str) -> ConfigError:
    hint = nearest_hint(name, known)
    some = ", ".join(known[:12]) + (" ..." if len(known) > 12 else "")
    return ConfigError(f"The model has no {kind} {name!r}.", f"Known: {some}.", hint or "Take one of these.")


def _of_tagger(
    predictor: Predictor,
    encoded: Encoded,
    outputs: list[Floats],
    answer: Prediction,
    target: str | None,
    common: dict[str, Any],
) -> Question:
    if not encoded.words:
        raise ConfigError("There is no word to explain.", "A tagger explains the tag of a word.", "Give it a text.")
    entity = _entity(predictor, encoded, outputs, answer, target)
    word = next((i for i, (_, end) in enumerate(encoded.words) if end > entity.start), len(encoded.words) - 1)
    window = next(
        i for i, w in enumerate(encoded.windows) if w.heads is not None and w.first <= word < w.first + len(w.heads)
    )
    position = int(places(encoded.windows[window])[word - encoded.windows[window].first])
    tag = next(t for t in (f"B-{entity.label}", entity.label, f"I-{entity.label}") if t in predictor.task.index)
    name = f"{entity.label}@{entity.start}-{entity.end}"
    return Question(name, terms=(Term(window, 1.0, predictor.task.index[tag], position),), **common)


def _entity(
    predictor: Predictor, encoded: Encoded, outputs: list[Floats], answer: Prediction, target: str | None
) -> Entity:
    """The entity that ``target`` names: found ones first; else the word that comes nearest to being one."""
    kinds = _kinds(predictor.task.labels)
    found = sorted(answer.entities or (), key=lambda e: -e.score)
    if target is None:
        return found[0] if found else _nearest(predictor, encoded, outputs, kinds, range(len(encoded.words)))
    if match := PLACE.fullmatch(target):
        label, start, end = match["label"], int(match["start"]), int(match["end"])
        if label in kinds and 0 <= start < end <= len(encoded.text):
            return Entity(encoded.text[start:end], label, start, end)
        raise (
            _unknown(label, kinds, "entity")
            if label not in kinds
            else ConfigError(
                f"The place {start}-{end} is not in the text.",
                f"The text has {counted(len(encoded.text), 'character')}.",
                "Give start and end in characters.",
            )
        )
    if target in kinds:
        of_kind = [e for e in found if e.label == target]
        return of_kind[0] if of_kind else _nearest(predictor, encoded, outputs, (target,), range(len(encoded.words)))
    at = encoded.text.find(target)
    if at < 0:
        raise _unknown(target, (*(answer.scores or ()), *kinds), "entity" if answer.label is None else "intent or slot")
    covering = [e for e in found if e.start <= at < e.end]
    words = [i for i, (start, end) in enumerate(encoded.words) if start < at + len(target) and end > at]
    return covering[0] if covering else _nearest(predictor, encoded, outputs, kinds, words)


def _nearest(
    predictor: Predictor, encoded: Encoded, outputs: list[Floats], kinds: tuple[str, ...], words: range | list[int]
) -> Entity:
    """The word and kind with the largest probability of beginning an entity."""
    tags = [tag for tag in predictor.task.labels if not tag.startswith(INTENT)]
    columns = [i for i, tag in enumerate(tags) if tag != OUTSIDE and tag.split("-", 1)[-1] in kinds]
    heads = [logits[w.heads] for w, logits in zip(encoded.windows, outputs, strict=True) if w.heads is not None]
    sure = softmax(np.concatenate(heads)[:, : len(tags)])[list(words)][:, columns]
    row, column = np.unravel_index(int(sure.argmax()), sure.shape)
    start, end = encoded.words[list(words)[int(row)]]
    label = predictor.task.labels[columns[int(column)]].split("-", 1)[-1]
    return Entity(encoded.text[start:end], label, start, end, float(sure[row, column]))


def _kinds(tags: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(sorted({tag.split("-", 1)[-1] for tag in tags if tag != OUTSIDE and not tag.startswith(INTENT)}))
