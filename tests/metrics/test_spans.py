"""Tags, spans and the strict score, held against seqeval."""

from __future__ import annotations

import warnings

import pytest
from hypothesis import given
from hypothesis import strategies as st
from seqeval.metrics import f1_score
from seqeval.scheme import IOB2

from luban.metrics.spans import (
    detect_scheme,
    entity_f1,
    span_table,
    spans_from_tags,
    split_tag,
    tags_from_spans,
    to_iob2,
)

TAGS = st.lists(st.sampled_from(["O", "B-A", "I-A", "B-B", "I-B"]), min_size=1, max_size=30)


@pytest.mark.parametrize(
    ("tags", "scheme"),
    [
        (["B-A", "I-A", "O"], "IOB2"),
        (["I-A", "I-A", "O", "B-A"], "IOB1"),
        (["I-A", "I-A", "O"], "IO"),
        (["A", "A", "O"], "IO"),
        (["B-A", "E-A", "O", "S-B"], "BIOES"),
        (["B-A", "I-A", "E-A"], "BIOES"),
        (["B-A", "M-A", "E-A", "S-A"], "BMES"),
        (["B-A", "L-A", "U-A"], "BIOES"),
    ],
)
def test_schemes_are_told_apart(tags: list[str], scheme: str) -> None:
    assert detect_scheme([tags]) == scheme


@pytest.mark.parametrize(
    ("tags", "iob2"),
    [
        (["B-A", "M-A", "E-A", "S-A"], ["B-A", "I-A", "I-A", "B-A"]),
        (["B-A", "I-A", "E-A", "B-A", "E-A"], ["B-A", "I-A", "I-A", "B-A", "I-A"]),
        (["A", "A", "O", "B"], ["B-A", "I-A", "O", "B-B"]),
        (["I-A", "B-A", "I-B"], ["B-A", "B-A", "B-B"]),
    ],
)
def test_any_scheme_becomes_iob2(tags: list[str], iob2: list[str]) -> None:
    assert to_iob2(tags) == iob2


@pytest.mark.parametrize(
    ("tag", "parts"), [("O", ("O", "")), ("B-PER", ("B", "PER")), ("B_PER", ("B", "PER")), ("PER", ("I", "PER"))]
)
def test_a_tag_splits_into_prefix_and_type(tag: str, parts: tuple[str, str]) -> None:
    assert split_tag(tag) == parts


@given(TAGS)
def test_spans_and_iob2_tags_say_the_same(tags: list[str]) -> None:
    spans = spans_from_tags(tags)
    assert spans_from_tags(tags_from_spans(spans, len(tags))) == spans


@given(st.lists(st.tuples(TAGS, TAGS), min_size=1, max_size=8))
def test_the_strict_score_is_seqevals(pairs: list[tuple[list[str], list[str]]]) -> None:
    gold = [to_iob2(a[: min(len(a), len(b))]) for a, b in pairs]
    predicted = [to_iob2(b[: min(len(a), len(b))]) for a, b in pairs]
    ours = entity_f1([spans_from_tags(tags) for tags in gold], [spans_from_tags(tags) for tags in predicted])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = f1_score(gold, predicted, mode="strict", scheme=IOB2, zero_division=0)
    assert ours["entity_f1"] == pytest.approx(theirs)


@pytest.mark.parametrize("spans", [[(0, 3, "A"), (2, 4, "B")], [(3, 6, "A")], [(2, 2, "A")]])
def test_overlapping_or_straying_spans_are_refused(spans: list[tuple[int, int, str]]) -> None:
    with pytest.raises(ValueError, match=r"overlaps|leaves"):
        tags_from_spans(spans, 5)


def test_the_table_has_a_row_for_each_type_with_its_support() -> None:
    table = span_table([[(0, 1, "A"), (2, 3, "B")]], [[(0, 1, "A"), (2, 4, "B")]])
    assert [(row.label, row.f1, row.support) for row in table] == [("A", 1.0, 1), ("B", 0.0, 1)]
