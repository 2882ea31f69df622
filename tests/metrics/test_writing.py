"""Written text against a reference: values that rouge-score gives, and what holds for any two texts."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from luban.metrics.writing import ROUGE, chrf

FOX, DOG = "the quick brown fox jumps over the lazy dog", "the quick brown dog jumps on the log."


@pytest.mark.parametrize(("name", "value"), [("rouge_1", 12 / 17), ("rouge_2", 4 / 15), ("rouge_l", 10 / 17)])
def test_rouge_is_that_of_rouge_score(name: str, value: float) -> None:
    assert ROUGE[name](FOX, DOG) == pytest.approx(value)


@pytest.mark.parametrize("name", ROUGE)
def test_each_ideograph_is_a_word(name: str) -> None:
    assert ROUGE[name]("我爱北京", "我爱北京") == 1.0
    assert 0.0 < ROUGE[name]("我爱北京", "我爱上海") < 1.0


@given(st.text(), st.text())
def test_a_score_lies_between_nothing_and_one_and_does_not_depend_on_the_direction(one: str, other: str) -> None:
    for score in ROUGE.values():
        assert 0.0 <= score(one, other) <= 1.0
        assert score(one, other) == pytest.approx(score(other, one))
    assert 0.0 <= chrf([one], [other]) <= 1.0
