"""Where the right passages stand: against scikit-learn, by hand, and by what must always hold."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.metrics import ndcg_score

from luban.metrics.ranking import TfIdf, found, mined, ndcg, ranks, ranks_of, shortened, terms

SCORES = st.lists(st.floats(-1, 1, allow_nan=False), min_size=2, max_size=12, unique=True)


def test_ranks_by_hand() -> None:
    assert ranks_of(np.array([0.1, 0.9, 0.5, 0.7]), [2, 3]).tolist() == [2, 3]


def test_ties_count_against_the_right_passage() -> None:
    assert ranks_of(np.zeros(5), [0]).tolist() == [5]


@given(SCORES, st.data())
def test_ndcg_is_that_of_scikit_learn(scores: list[float], data: st.DataObject) -> None:
    right = data.draw(st.sets(st.integers(0, len(scores) - 1), min_size=1))
    relevance = [[float(i in right) for i in range(len(scores))]]
    assert ndcg(ranks_of(np.array(scores), sorted(right)), 10) == pytest.approx(
        ndcg_score(relevance, [scores], k=10), abs=1e-9
    )


@given(st.lists(st.lists(st.integers(1, 40), min_size=1, max_size=4, unique=True), min_size=1, max_size=6))
def test_every_score_is_a_share_and_recall_grows_with_the_cut(lists: list[list[int]]) -> None:
    per = found([np.array(sorted(one)) for one in lists])
    for values in per.values():
        assert ((values >= 0) & (values <= 1)).all()
    assert (per["recall@1"] <= per["recall@5"]).all()
    assert (per["recall@5"] <= per["recall@10"]).all()


def test_a_search_in_blocks_is_the_search_in_one(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(3)
    queries, passages = rng.normal(size=(7, 4)), rng.normal(size=(9, 4))
    whole = ranks(queries, passages, [[i] for i in range(7)])
    monkeypatch.setattr("luban.metrics.ranking.BLOCK", 10)
    assert [r.tolist() for r in ranks(queries, passages, [[i] for i in range(7)])] == [r.tolist() for r in whole]


def test_what_is_found_first_has_every_score_of_one() -> None:
    assert {float(values[0]) for values in found([np.array([1])]).values()} == {1.0}


def test_a_shortened_vector_has_length_one() -> None:
    cut = shortened(np.array([[3.0, 4.0, 12.0]]), 2)
    np.testing.assert_allclose(cut, [[0.6, 0.8]])


def test_mined_passages_are_wrong_ones_of_the_ranks_asked_for_and_below_the_margin() -> None:
    scores = np.array([[0.9, 0.88, 0.7, 0.6, 0.1]])
    assert mined(scores, [0], [{0}], window=(1, 3), margin=0.05) == [[2, 3]]
    assert mined(scores, [0], [{0, 2}], window=(2, 3), margin=0.0) == [[3, 4]]


def test_tf_idf_is_that_of_scikit_learn() -> None:
    texts = ["where is my order", "my card is lost", "the order of my card", "hello there"]
    theirs = TfidfVectorizer().fit(texts)
    expected = (theirs.transform(["my lost order"]) @ theirs.transform(texts).T).toarray()[0]
    np.testing.assert_allclose(TfIdf(texts).scores("my lost order"), expected, atol=1e-12)


def test_chinese_is_counted_by_signs_and_neighbouring_pairs() -> None:
    assert terms("退款 ok") == ["退", "款", "ok", "退款"]
