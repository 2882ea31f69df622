"""Counting how two runtimes agree."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from luban.records import Entity, Prediction
from luban.stages.export.agreement import Answers, compare, entity_agreement, spaced


def answers(*predictions: Prediction) -> Answers:
    return Answers((), [], [], predictions)


def labelled(label: str, score: float) -> Prediction:
    return Prediction(label=label, scores={"a": score, "b": 1 - score})


def test_a_changed_label_is_a_flip_and_names_its_row() -> None:
    rows = [{"text": "one"}, {"text": "two"}]
    found = compare(
        rows, answers(labelled("a", 0.9), labelled("a", 0.51)), answers(labelled("a", 0.8), labelled("b", 0.49))
    )
    assert found.flips == 0.5
    assert found.which == ({"row": 1, "text": "two", "was": "a", "is": "b"},)
    assert found.difference == pytest.approx(0.1)


def test_a_number_changes_when_it_moves_by_a_tenth_of_its_spread() -> None:
    rows = [{"text": str(i)} for i in range(3)]
    was = answers(*(Prediction(value=v) for v in (0.0, 10.0, 20.0)))
    now = answers(*(Prediction(value=v) for v in (0.1, 12.0, 20.0)))
    assert compare(rows, was, now).flips == pytest.approx(1 / 3)


def test_entities_found_by_one_runtime_only_count_against_agreement() -> None:
    paris, anna = Entity("paris", "LOC", 0, 5), Entity("anna", "PER", 9, 13)
    pair = (Prediction(entities=(paris, anna)), Prediction(entities=(paris,)))
    assert entity_agreement([pair]) == pytest.approx(2 / 3)


def test_taggers_that_find_nothing_agree() -> None:
    assert entity_agreement([(Prediction(entities=()), Prediction(entities=()))]) == 1.0


@given(st.integers(1, 200), st.integers(1, 50))
def test_spaced_rows_keep_order_ends_and_number(total: int, count: int) -> None:
    rows = [{"text": str(i)} for i in range(total)]
    kept = [int(row["text"]) for row in spaced(rows, count)]
    assert len(kept) == min(total, count)
    assert kept == sorted(set(kept))
    assert kept[0] == 0
    assert count == 1 or kept[-1] == total - 1


def test_the_same_answers_agree_wholly() -> None:
    rows = [{"text": str(i)} for i in range(5)]
    same = answers(*(labelled("a", float(p)) for p in np.linspace(0.5, 0.9, 5)))
    found = compare(rows, same, same)
    assert (found.flips, found.changed, found.difference, found.which) == (0.0, 0.0, 0.0, ())
