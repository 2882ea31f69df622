"""Answers against gold, as SQuAD's and CMRC's scorers count them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from luban.metrics.answers import exact_match, f1, normalised

TEXTS = st.text(alphabet="ab the.,北京 在!", max_size=12)


@pytest.mark.parametrize(
    ("golds", "answer", "exact", "overlap"),
    [
        (["The Broncos"], "broncos!", True, 1.0),
        (["in paris"], "paris", False, 2 / 3),
        (["a b c", "d"], "d", True, 1.0),
        (["1984"], "", False, 0.0),
        ([], "", True, 1.0),
        ([], "paris", False, 0.0),
        (["北京。"], "北京", True, 1.0),
        (["在北京大学"], "北京", False, 2 * 2 / 7),
        (["1998年5月"], "5月", False, 2 * 2 / 6),
    ],
)
def test_an_answer_counts_as_the_public_scorers_count_it(
    golds: list[str], answer: str, exact: bool, overlap: float
) -> None:
    assert exact_match(golds, answer) is exact
    assert f1(golds, answer) == pytest.approx(overlap)


def test_chinese_is_scored_by_the_longest_common_run_and_english_by_the_bag_of_words() -> None:
    assert f1(["北京上海"], "上海北京") == pytest.approx(0.5)
    assert f1(["red green"], "green red") == 1.0


@given(TEXTS, TEXTS)
def test_f1_lies_between_0_and_1_and_is_1_for_what_matches_exactly(gold: str, answer: str) -> None:
    assert 0.0 <= f1([gold], answer) <= 1.0
    if exact_match([gold], answer) and normalised(gold):
        assert f1([gold], answer) == 1.0


@given(TEXTS, TEXTS, TEXTS)
def test_another_gold_answer_never_lowers_a_score(gold: str, other: str, answer: str) -> None:
    assert f1([gold, other], answer) >= f1([gold], answer)
