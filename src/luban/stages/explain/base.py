"""What every method of attribution gets: a question (one number a model gives) and the words it is asked of.

The number is a weighted sum of the head's outputs in the row's windows, so that long texts are explained whole: for a
class its logit, for a regression the value, for a tagger the logit of one tag at one word, for an intent the mean of its
logits over the words. No method stands here.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from luban.encoding import IDEOGRAPHS, Encoded, Ints, TextEncoder
from luban.records import Row, texts
from luban.tasks.base import Floats

WORD = re.compile(rf"[{IDEOGRAPHS}]|\d+(?:[.,:]\d+)*|[^\W{IDEOGRAPHS}]+(?:['’\-][^\W{IDEOGRAPHS}]+)*|[^\s]")
JOINT = "\n"
"stands between the two texts of a pair in what is shown and in the positions of the words"


@dataclass(frozen=True, slots=True)
class Word:
    """A word of the shown text and where its sub-words stand: (window, position) pairs."""

    start: int
    end: int
    places: tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class Term:
    """``share`` times one logit: column ``output`` of a window's answer, at a sub-word's ``position`` where it has any."""

    window: int
    share: float
    output: int
    position: int | None = None


@dataclass(frozen=True, slots=True)
class Question:
    """One number of the head to be explained, and the words that it may depend on.

    The number is ``offset + scale`` times the sum of the ``terms``. ``text``: what is shown; words' positions count in it.
    """

    target: str
    encoded: Encoded
    text: str
    words: tuple[Word, ...]
    terms: tuple[Term, ...]
    scale: float = 1.0
    offset: float = 0.0

    @property
    def windows(self) -> tuple[int, ...]:
        """The windows that the number depends on."""
        return tuple(dict.fromkeys(term.window for term in self.terms))

    def within(self, window: int) -> list[Term]:
        """The terms of one window."""
        return [term for term in self.terms if term.window == window]

    def of_window(self, window: int, logits: Floats) -> float:
        """What a window's answer adds to the sum of the terms."""
        return sum(
            term.share * float(logits[term.output] if term.position is None else logits[term.position, term.output])
            for term in self.within(window)
        )


def shown_text(row: Row) -> str:
    """The text whose characters the words of an explanation count: two texts have a line break between them."""
    return JOINT.join(texts(row).values())


def word_spans(text: str) -> list[tuple[int, int]]:
    """Latin words and numbers whole, Chinese by character, each other sign by itself; spaces belong to no word."""
    return [match.span() for match in WORD.finditer(text)]


def located(encoded: Encoded, row: Row, encoder: TextEncoder) -> tuple[Word, ...]:
    """The words of a row with the sub-words each was read as; words that were not read are left out.

    Words that one sub-word covers together (Chinese characters of one piece) are one word here.
    """
    text = shown_text(row)
    spans = list(encoded.words) or word_spans(text)
    read = [
        (w, position, first, last)
        for w, offsets in enumerate(_offsets(encoded, row, encoder))
        for position, (start, end) in enumerate(offsets)
        if start >= 0
        for first, last in [_covered(spans, start, end)]
        if first <= last
    ]
    joined = {i for _, _, first, last in read for i in range(first + 1, last + 1)}
    heads = [i for i in range(len(spans)) if i not in joined]
    places: dict[int, list[tuple[int, int]]] = {i: [] for i in heads}
    for w, position, first, _ in read:
        places[heads[bisect_right(heads, first) - 1]].append((w, position))
    ends = {head: spans[following - 1][1] for head, following in pairwise([*heads, len(spans)])}
    return tuple(Word(spans[i][0], ends[i], tuple(at)) for i, at in places.items() if at)


def _covered(spans: Sequence[tuple[int, int]], start: int, end: int) -> tuple[int, int]:
    """Indices of the first and the last word that overlaps the characters start..end; first > last where none does."""
    first = bisect_right(spans, start, key=lambda span: span[1])
    return first, bisect_left(spans, end, key=lambda span: span[0]) - 1


def _offsets(encoded: Encoded, row: Row, encoder: TextEncoder) -> list[list[tuple[int, int]]]:
    """Each window's character spans in the shown text; `Window` holds none for a pair's second, and none for a question."""
    spans = [list(window.offsets) for window in encoded.windows]
    if "question" in row:
        return _behind_question(spans, str(row["question"]), encoder)
    second = row.get("text_pair")
    if second is None:
        return spans
    coded = encoder.tokenizer.encode(str(second), add_special_tokens=False)
    base = len(str(row["text"])) + len(JOINT)
    ids = np.array(coded.ids, dtype=np.int64)
    for held, window in zip(spans, encoded.windows, strict=True):
        begin = _second_begin(held, encoder)
        stop = len(window.ids) - len(encoder.suffix)
        at = _find(ids, window.ids[begin:stop])
        for i in range(stop - begin):
            start, end = coded.offsets[at + i]
            held[begin + i] = (base + start, base + end)
    return spans


def _behind_question(
    spans: list[list[tuple[int, int]]], question: str, encoder: TextEncoder
) -> list[list[tuple[int, int]]]:
    """The spans of a text that stands behind its question, and those of the question."""
    asked = encoder.tokenizer.encode(question, add_special_tokens=False).offsets
    shift, begin = len(question) + len(JOINT), len(encoder.prefix)
    for held in spans:
        read = next((i for i, (start, _) in enumerate(held) if start >= 0), len(held) - len(encoder.suffix))
        held[:] = [(start + shift, end + shift) if start >= 0 else (start, end) for start, end in held]
        held[begin : read - len(encoder.middle)] = asked[: read - len(encoder.middle) - begin]
    return spans


def _second_begin(offsets: Sequence[tuple[int, int]], encoder: TextEncoder) -> int:
    last = max((i for i, (start, _) in enumerate(offsets) if start >= 0), default=len(encoder.prefix) - 1)
    return last + 1 + len(encoder.middle)


def _find(ids: Ints, part: Ints) -> int:
    """Where ``part`` stands in ``ids`` (it does: windows are cut from it)."""
    return next((i for i in range(len(ids) - len(part) + 1) if np.array_equal(ids[i : i + len(part)], part)), 0)
