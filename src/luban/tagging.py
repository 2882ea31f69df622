"""Texts whose words carry tags: words, canonical rows, targets, and the most probable legal tags; knows no model.

Shared by the tasks that tag. Words are the data's own tokens where it has them, otherwise runs of letters and digits, with
each ideograph and each punctuation mark a word by itself. Tags are IOB2.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from luban.encoding import IDEOGRAPHS, IGNORE, Encoded, Window, is_ideograph
from luban.errors import DataError, counted
from luban.metrics.spans import spans_from_tags, tags_from_spans, to_iob2
from luban.records import Entity, Row, Rows

WORD = re.compile(rf"[{IDEOGRAPHS}]|[^\W_{IDEOGRAPHS}]+|[^\s]")
FORBIDDEN = -1e9
"log probability of what IOB2 does not allow"
Spans = list[tuple[int, int]]
Floats = NDArray[np.float32]


def needs_text(record: Row) -> bool:
    """Whether a raw record has to bring a ``text``: it has no tokens of its own, or is canonical already."""
    return record.get("tokens") is None or (record.get("words") is not None and record.get("text") is not None)


def tagged_row(record: Row, *, labelled: bool) -> dict[str, Any]:
    """``text``, ``words`` and (labelled) ``tags`` of a raw record: tokens and tags, text and entities, or canonical.

    A ``text`` that is read is a string that is not blank. Raises `DataError`.
    """
    if record.get("words") is not None and record.get("text") is not None:
        return _checked(record, labelled=labelled)
    if record.get("tokens") is not None:
        return _from_tokens(record, labelled=labelled)
    text = str(record["text"])
    if not labelled:
        return {"text": text, "words": [list(span) for span in word_spans(text)]}
    return _from_entities(text, record.get("entities"))


def tags_of(rows: Rows) -> list[str]:
    """O and both tags of every entity type in these canonical rows; raises `DataError` where there is none."""
    kinds = sorted({tag[2:] for row in rows for tag in row["tags"] if tag != "O"})
    if not kinds:
        raise DataError(
            "no row has an entity.",
            "There must be at least one tagged span to learn from.",
            "Check that the tags are the right column (--columns tags=NAME).",
            column="tags",
        )
    return ["O", *(f"{prefix}-{kind}" for kind in kinds for prefix in "BI")]


def places(window: Window) -> NDArray[np.int64]:
    """Positions of the words that a window decides: of their first sub-words."""
    return window.heads if window.heads is not None else np.zeros(0, dtype=np.int64)


def word_targets(row: Row, encoded: Encoded, index: Mapping[str, int]) -> list[NDArray[np.int64]]:
    """The number of each decided word's tag at its first sub-word, `IGNORE` elsewhere; (n,) a window.

    Raises `DataError` for a tag that ``index`` lacks.
    """
    unknown = {tag for tag in row["tags"] if tag not in index}
    if unknown:
        tag = min(unknown)
        raise DataError(
            f"the tag {tag!r} does not occur in the training rows.",
            f"Known: {', '.join(list(index)[:9])} ...",
            "Mend the tag, or add training rows that have it.",
            column="tags",
        )
    out = []
    for window in encoded.windows:
        target = np.full(len(window.ids), IGNORE, dtype=np.int64)
        heads = places(window)
        target[heads] = [index[tag] for tag in row["tags"][window.first : window.first + len(heads)]]
        out.append(target)
    return out


def at_words(encoded: Encoded, outputs: Sequence[Floats]) -> Floats:
    """The outputs at the words of a row, window by window: (words, width)."""
    return np.concatenate([logits[places(window)] for window, logits in zip(encoded.windows, outputs, strict=True)])


def decoded(
    encoded: Encoded, tags: tuple[str, ...], probabilities: NDArray[np.float64]
) -> tuple[tuple[Entity, ...], tuple[str, ...]]:
    """Entities in characters and one tag a word, from (words, tags) probabilities: the best legal IOB2 sequence."""
    if len(probabilities) == 0:
        return (), ()
    start, legal = grammar(tags)
    path = viterbi(np.log(probabilities + 1e-12), start, legal)
    given = tuple(tags[i] for i in path)
    sure = probabilities[np.arange(len(path)), path]
    entities = []
    for first, end, kind in spans_from_tags(given):
        begin, stop = encoded.words[first][0], encoded.words[end - 1][1]
        entities.append(Entity(encoded.text[begin:stop], kind, begin, stop, float(sure[first:end].mean())))
    return tuple(entities), given


def token_accuracy(rows: Rows, tags: Sequence[Sequence[str] | None]) -> float:
    """Share of words with the right tag; words that were not read count as O."""
    words = right = 0
    for row, given in zip(rows, tags, strict=True):
        padded = list(given or ()) + ["O"] * len(row["tags"])
        words += len(row["tags"])
        right += sum(a == b for a, b in zip(row["tags"], padded, strict=False))
    return right / max(1, words)


@lru_cache(maxsize=64)
def grammar(tags: tuple[str, ...]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """0 for tags that may begin (k,), and where tag j may follow tag i (k, k), in IOB2; `FORBIDDEN` elsewhere."""
    start = np.array([FORBIDDEN if tag.startswith("I-") else 0.0 for tag in tags])
    allowed = [[not b.startswith("I-") or a in (b, f"B-{b[2:]}") for b in tags] for a in tags]
    return start, np.where(np.array(allowed), 0.0, FORBIDDEN)


def word_spans(text: str) -> Spans:
    """Character spans of the words of a text: letter and digit runs, single ideographs, single marks."""
    return [match.span() for match in WORD.finditer(text)]


def gold_spans(row: Row) -> list[tuple[int, int, str]]:
    """A canonical row's entities as (start, end, label) in characters."""
    words = row["words"]
    return [(words[first][0], words[end - 1][1], kind) for first, end, kind in spans_from_tags(row["tags"])]


def viterbi(scores: NDArray[np.float64], start: NDArray[np.float64], legal: NDArray[np.float64]) -> NDArray[np.int64]:
    """The best path through (n, k) log scores, with ``start`` (k,) and transitions ``legal`` (k, k) added; (n,) indices."""
    n, k = scores.shape
    greedy = scores.argmax(-1)
    if start[greedy[0]] == 0.0 and not legal[greedy[:-1], greedy[1:]].any():
        return np.asarray(greedy)  # the usual case: the best tag of every word is already a legal path
    back = np.zeros((n, k), dtype=np.int64)
    best = start + scores[0]
    for i in range(1, n):
        paths = best[:, None] + legal
        back[i] = paths.argmax(0)
        best = paths.max(0) + scores[i]
    path = [int(best.argmax())]
    for i in range(n - 1, 0, -1):
        path.append(int(back[i, path[-1]]))
    return np.array(path[::-1], dtype=np.int64)


def _from_tokens(record: Row, *, labelled: bool) -> dict[str, Any]:
    tokens = record["tokens"]
    if not isinstance(tokens, list | tuple) or not tokens or not all(isinstance(t, str) and t.strip() for t in tokens):
        raise DataError(
            f"{tokens!r:.60} is no list of words.",
            "Tokens are a list of non-empty words.",
            "Mend the row.",
            column="tokens",
        )
    text, words = _joined([token.strip() for token in tokens])
    row: dict[str, Any] = {"text": text, "words": [list(span) for span in words]}
    if not labelled:
        return row
    tags = record.get("tags")
    if not isinstance(tags, list | tuple) or len(tags) != len(tokens):
        count = len(tags) if isinstance(tags, list | tuple) else 0
        raise DataError(
            f"there are {counted(len(tokens), 'token')} and {counted(count, 'tag')}.",
            "Every token has one tag.",
            "Mend the row.",
            column="tags",
        )
    return row | {"tags": to_iob2([str(tag) for tag in tags])}


def _from_entities(text: str, entities: object) -> dict[str, Any]:
    if not isinstance(entities, list | tuple):
        raise DataError(
            f"{entities!r:.60} is no list of entities.",
            "A row has tokens and tags, or text and entities [{start, end, label}].",
            "Mend the row, or name the columns (--columns tokens=...,tags=...).",
            column="entities",
        )
    spans = [_span(text, entity) for entity in entities]
    edges = {edge for start, end, _ in spans for edge in (start, end)}
    words = [piece for span in word_spans(text) for piece in _split(span, edges)]
    starts = {word[0]: i for i, word in enumerate(words)}
    ends = {word[1]: i + 1 for i, word in enumerate(words)}
    try:
        tags = tags_from_spans([(starts[start], ends[end], kind) for start, end, kind in spans], len(words))
    except (KeyError, ValueError) as error:
        raise DataError(
            f"the entities overlap or begin or end in white space ({error}).",
            "Entities are separate spans of the text.",
            "Mend the row.",
            column="entities",
        ) from error
    return {"text": text, "words": [list(word) for word in words], "tags": tags}


def _span(text: str, entity: object) -> tuple[int, int, str]:
    if isinstance(entity, dict) and {"start", "end", "label"} <= entity.keys():
        start, end, kind = entity["start"], entity["end"], str(entity["label"])
        if isinstance(start, int) and isinstance(end, int) and 0 <= start < end <= len(text) and kind:
            while start < end and text[start].isspace():
                start += 1
            while end > start and text[end - 1].isspace():
                end -= 1
            return start, end, kind
    raise DataError(
        f"{entity!r:.80} is no entity of this text of {counted(len(text), 'character')}.",
        "An entity has start, end (characters, end exclusive) and label.",
        "Mend the row.",
        column="entities",
    )


def _split(span: tuple[int, int], edges: Iterable[int]) -> Spans:
    cuts = [span[0], *sorted(edge for edge in edges if span[0] < edge < span[1]), span[1]]
    return list(pairwise(cuts))


def _joined(tokens: Sequence[str]) -> tuple[str, Spans]:
    """Text of the tokens, with spaces except where ideographs or their punctuation meet, and their spans."""
    text, words = "", []
    for token in tokens:
        if text and not (_tight(text[-1]) or _tight(token[0])):
            text += " "
        words.append((len(text), len(text) + len(token)))
        text += token
    return text, words


def _tight(char: str) -> bool:
    return is_ideograph(char) or "\u3000" <= char <= "\u303f" or "\uff00" <= char <= "\uffef"


def _checked(record: Row, *, labelled: bool) -> dict[str, Any]:
    """A row that is canonical already (read back from disk)."""
    text = str(record["text"])
    try:
        words = [[int(start), int(end)] for start, end in record["words"]]
        tags = [str(tag) for tag in record["tags"]] if labelled else []
    except (TypeError, ValueError, KeyError):
        words = [[-1, -1]]
    edges = [0, *(edge for word in words for edge in word), len(text)]
    if edges != sorted(edges) or any(start == end for start, end in words) or (labelled and len(tags) != len(words)):
        raise DataError(
            f"{record['words']!r:.60} are no words of this text of {counted(len(text), 'character')}.",
            "Words are [start, end] in characters, in order, with one tag each.",
            "Mend the row, or name the words tokens.",
            column="words",
        )
    return {"text": text, "words": words} | ({"tags": tags} if labelled else {})
