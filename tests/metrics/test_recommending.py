"""Ranks over a whole catalogue, what lists cover, and item-kNN."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from luban.metrics.recommending import Neighbours, coverage, found, popularity, rank_of


def test_a_perfect_model_scores_one() -> None:
    scores = {name: float(values.mean()) for name, values in found([1, 1, 1]).items()}
    assert scores == {"hit_rate@10": 1.0, "ndcg@10": 1.0, "mrr": 1.0}


def test_an_item_just_below_the_cut_is_no_hit_but_counts_for_the_reciprocal_rank() -> None:
    per = found([10, 11])
    assert per["hit_rate@10"].tolist() == [1.0, 0.0]
    assert per["ndcg@10"][1] == 0.0
    assert per["mrr"].tolist() == [0.1, 1 / 11]


def test_items_of_the_history_are_no_rivals() -> None:
    assert rank_of(np.array([9.0, 8.0, 7.0]), [0, 1], 2) == 1


def test_a_scorer_that_says_the_same_of_all_finds_nothing() -> None:
    assert rank_of(np.zeros(50), [], 3) == 50


@given(st.lists(st.floats(-5, 5), min_size=2, max_size=20, unique=True), st.data())
def test_a_rank_is_the_place_in_the_sorted_list(scores: list[float], data: st.DataObject) -> None:
    right = data.draw(st.integers(0, len(scores) - 1))
    assert rank_of(np.array(scores), [], right) == sorted(scores, reverse=True).index(scores[right]) + 1


def test_coverage_is_the_share_of_items_that_some_list_holds() -> None:
    assert coverage([[0, 1], [1, 2]], 6) == 0.5


def test_lists_of_the_most_popular_items_are_more_popular_than_lists_of_the_least() -> None:
    taken = np.array([9, 5, 1, 0])
    assert popularity([[0, 1]], taken) == pytest.approx((0.75 + 0.5) / 2)
    assert popularity([[2, 3]], taken) < popularity([[0, 1]], taken)


def test_cosines_are_of_who_took_both() -> None:
    near = Neighbours([[0, 1], [0, 1, 2], [0]], 4)
    assert near.cosines(0).tolist() == pytest.approx([0.0, 2 / np.sqrt(6), 1 / np.sqrt(3), 0.0])
    assert near.scores([0, 2])[1] == pytest.approx(2 / np.sqrt(6) + 1 / np.sqrt(2))


def test_an_item_that_was_taken_twice_by_one_user_counts_once() -> None:
    assert Neighbours([[0, 0, 1]], 2).taken.tolist() == [1, 1]
