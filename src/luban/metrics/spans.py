"""Tags and the spans they mean: schemes, conversion to IOB2, strict entity scores; pure, knows no tokenizer.

The strict score counts a predicted entity as right only when its type and both of its ends are right, as CoNLL-2003 and
seqeval (strict IOB2) count.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

Span = tuple[int, int, str]
SCHEMES = ("IOB2", "IOB1", "IO", "BIOES", "BMES")
BEGIN, LAST, SINGLE = frozenset("BSWU"), frozenset("ESWUL"), frozenset("SWU")


@dataclass(frozen=True, slots=True)
class SpanScore:
    """Precision, recall and F1 of one entity type; ``support`` is the number of gold entities."""

    label: str
    precision: float
    recall: float
    f1: float
    support: int


def split_tag(tag: str) -> tuple[str, str]:
    """``("B", "PER")`` of ``B-PER`` (``B_PER`` too); ``("O", "")`` of ``O``; a bare type counts as inside (IO)."""
    if tag == "O" or not tag:
        return "O", ""
    if len(tag) > 2 and tag[1] in "-_" and tag[0] in "BIESMWULO":
        return tag[0], tag[2:]
    return "I", tag


def detect_scheme(sentences: Iterable[Sequence[str]]) -> str:
    """The scheme that all these tag sequences follow: one of `SCHEMES`.

    IOB1 (an entity starts with I unless another of its type touches it) and IO (no B at all) are told apart from IOB2 by
    entities that start with I.
    """
    prefixes: set[str] = set()
    starts_inside = False
    for tags in sentences:
        before = ("O", "")
        for tag in tags:
            prefix, kind = split_tag(tag)
            prefixes.add(prefix)
            starts_inside |= prefix == "I" and before[1] != kind
            before = (prefix, kind)
    if prefixes & set("M"):
        return "BMES"
    if prefixes & (LAST | SINGLE):
        return "BIOES"
    if "B" not in prefixes:
        return "IO"
    return "IOB1" if starts_inside else "IOB2"


def spans_from_tags(tags: Sequence[str]) -> list[Span]:
    """Entities as (first word, word after the last, type), read leniently from any scheme (as conlleval does).

    B, S, W and U always begin an entity; I, M, E and L continue one of the same type and begin one otherwise; E, L, S, W
    and U end it.
    """
    spans: list[Span] = []
    start, kind = -1, ""
    for i, tag in enumerate([*tags, "O"]):
        prefix, here = split_tag(tag)
        if kind and (prefix == "O" or prefix in BEGIN or here != kind):
            spans.append((start, i, kind))
            kind = ""
        if prefix != "O" and not kind:
            start, kind = i, here
        if kind and prefix in LAST:
            spans.append((start, i + 1, kind))
            kind = ""
    return spans


def tags_from_spans(spans: Iterable[Span], length: int) -> list[str]:
    """IOB2 tags of ``length`` words; raises `ValueError` where spans overlap or leave the sentence."""
    tags = ["O"] * length
    for start, end, kind in spans:
        if not 0 <= start < end <= length:
            raise ValueError(f"the span {start}..{end} leaves the {length} words")
        if any(tag != "O" for tag in tags[start:end]):
            raise ValueError(f"the span {start}..{end} ({kind}) overlaps another")
        tags[start:end] = [f"B-{kind}"] + [f"I-{kind}"] * (end - start - 1)
    return tags


def to_iob2(tags: Sequence[str]) -> list[str]:
    """The same entities in IOB2, whatever the scheme was."""
    return tags_from_spans(spans_from_tags(tags), len(tags))


def span_table(gold: Sequence[Iterable[Span]], predicted: Sequence[Iterable[Span]]) -> list[SpanScore]:
    """One row an entity type, by name; positions may count words or characters, the same on both sides."""
    right: dict[str, int] = {}
    given: dict[str, int] = {}
    wanted: dict[str, int] = {}
    for gold_row, predicted_row in zip(gold, predicted, strict=True):
        gold_set, predicted_set = set(gold_row), set(predicted_row)
        for counts, spans in ((wanted, gold_set), (given, predicted_set), (right, gold_set & predicted_set)):
            for _, _, kind in spans:
                counts[kind] = counts.get(kind, 0) + 1
    kinds = sorted(wanted.keys() | given.keys())
    return [_score(kind, right.get(kind, 0), given.get(kind, 0), wanted.get(kind, 0)) for kind in kinds]


def entity_f1(gold: Sequence[Iterable[Span]], predicted: Sequence[Iterable[Span]]) -> dict[str, float]:
    """Strict micro-averaged ``entity_precision``, ``entity_recall`` and ``entity_f1`` over all rows."""
    right = given = wanted = 0
    for gold_row, predicted_row in zip(gold, predicted, strict=True):
        gold_set, predicted_set = set(gold_row), set(predicted_row)
        right += len(gold_set & predicted_set)
        given += len(predicted_set)
        wanted += len(gold_set)
    whole = _score("", right, given, wanted)
    return {"entity_f1": whole.f1, "entity_precision": whole.precision, "entity_recall": whole.recall}


def _score(label: str, right: int, given: int, wanted: int) -> SpanScore:
    precision = right / given if given else 0.0
    recall = right / wanted if wanted else 0.0
    f1 = 2 * right / (given + wanted) if given + wanted else 0.0
    return SpanScore(label, precision, recall, f1, wanted)
