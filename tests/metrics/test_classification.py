"""Scores of labels against scikit-learn's and by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as sk

from luban.metrics.classification import (
    accuracy,
    averages,
    class_table,
    confusion,
    f1_averages,
    multilabel_f1,
    roc_auc,
)

LABELS = ["a", "b", "c", "never"]
pairs = st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from("abcx")), min_size=1, max_size=60)
label_sets = st.sets(st.sampled_from("abc"))
set_pairs = st.lists(st.tuples(label_sets, label_sets), min_size=1, max_size=40)


@given(pairs)
def test_f1_averages_are_those_of_scikit_learn(pairs):
    gold, predicted = map(list, zip(*pairs, strict=True))
    ours = f1_averages(gold, predicted, LABELS)
    for kind in ("macro", "micro", "weighted"):
        assert ours[f"{kind}_f1"] == pytest.approx(sk.f1_score(gold, predicted, average=kind, zero_division=0))


@given(pairs)
def test_the_class_table_is_that_of_scikit_learn(pairs):
    gold, predicted = map(list, zip(*pairs, strict=True))
    table = class_table(gold, predicted, LABELS)
    names = [score.label for score in table]
    theirs = sk.precision_recall_fscore_support(gold, predicted, labels=names, zero_division=0)
    ours = [[s.precision, s.recall, s.f1, s.support] for s in table]
    assert np.allclose(ours, np.array(theirs, dtype=float).T)


@given(pairs)
def test_macro_and_weighted_precision_and_recall_are_those_of_scikit_learn(pairs):
    gold, predicted = map(list, zip(*pairs, strict=True))
    ours = averages(class_table(gold, predicted, LABELS))
    for kind in ("macro", "micro", "weighted"):
        precision, recall, _, _ = sk.precision_recall_fscore_support(gold, predicted, average=kind, zero_division=0)
        assert ours[f"{kind}_precision"] == pytest.approx(precision)
        assert ours[f"{kind}_recall"] == pytest.approx(recall)


@given(pairs)
def test_micro_f1_of_single_labels_is_accuracy(pairs):
    gold, predicted = map(list, zip(*pairs, strict=True))
    assert f1_averages(gold, predicted, LABELS)["micro_f1"] == pytest.approx(accuracy(gold, predicted))


@given(pairs)
def test_confusion_is_that_of_scikit_learn(pairs):
    gold, predicted = map(list, zip(*pairs, strict=True))
    labels = ["x", "c", "b", "a"]
    assert (confusion(gold, predicted, labels) == sk.confusion_matrix(gold, predicted, labels=labels)).all()


def test_a_gold_label_the_model_does_not_know_costs_score():
    table = class_table(["a", "new"], ["a", "a"], ["a", "b"])
    assert [(s.label, s.f1) for s in table] == [("a", pytest.approx(2 / 3)), ("b", 0.0), ("new", 0.0)]
    assert averages(table)["macro_f1"] == pytest.approx(1 / 3)


def test_confusion_refuses_a_label_it_was_not_told_of():
    with pytest.raises(KeyError):
        confusion(["a"], ["b"], ["a"])


def test_no_rows_score_zero_instead_of_failing():
    assert accuracy([], []) == 0.0
    assert f1_averages([], [], ["a", "b"]) == {"macro_f1": 0.0, "micro_f1": 0.0, "weighted_f1": 0.0}


@given(st.integers(2, 60), st.integers(0, 10_000))
def test_binary_roc_auc_with_ties_is_that_of_scikit_learn(n, seed):
    rng = np.random.default_rng(seed)
    gold = np.concatenate([[0, 1], rng.integers(0, 2, n)])
    score = rng.integers(0, 5, n + 2) / 4
    ours = roc_auc(gold, np.stack([1 - score, score], axis=1))
    assert ours == pytest.approx(sk.roc_auc_score(gold, score))


@given(st.integers(3, 60), st.integers(0, 10_000))
def test_many_class_roc_auc_is_scikit_learns_one_against_the_rest(n, seed):
    rng = np.random.default_rng(seed)
    gold = np.concatenate([[0, 1, 2], rng.integers(0, 3, n)])
    probabilities = rng.dirichlet([1, 1, 1], n + 3)
    assert roc_auc(gold, probabilities) == pytest.approx(sk.roc_auc_score(gold, probabilities, multi_class="ovr"))


def test_a_class_without_gold_rows_is_left_out_of_roc_auc():
    gold = np.array([0, 0, 1, 1])
    probabilities = np.array([[0.8, 0.1, 0.1], [0.6, 0.3, 0.1], [0.2, 0.7, 0.1], [0.7, 0.1, 0.2]])
    assert roc_auc(gold, probabilities) == pytest.approx(
        np.mean([sk.roc_auc_score(gold == c, probabilities[:, c]) for c in (0, 1)])
    )


def test_roc_auc_of_one_class_only_is_undefined():
    assert np.isnan(roc_auc(np.zeros(3, dtype=int), np.full((3, 2), 0.5)))


@given(set_pairs)
def test_multi_label_f1_is_that_of_scikit_learn(pairs):
    gold, predicted = map(list, zip(*pairs, strict=True))
    binary = [[[label in row for label in "abc"] for row in side] for side in (gold, predicted)]
    met = [i for i in range(3) if any(row[i] for side in binary for row in side)]
    ours = multilabel_f1(gold, predicted, list("abc"))
    for kind in ("macro", "micro", "weighted"):
        theirs = sk.f1_score(*map(np.array, binary), labels=met, average=kind, zero_division=0) if met else 0.0
        assert ours[f"{kind}_f1"] == pytest.approx(theirs)
    assert ours["exact_match"] == pytest.approx(sk.accuracy_score(*map(np.array, binary)))
