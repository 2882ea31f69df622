"""Reliability, calibration error, Brier score and temperature."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar
from sklearn.metrics import brier_score_loss, log_loss

from luban.metrics.calibration import (
    brier,
    expected_calibration_error,
    fit_temperature,
    negative_log_likelihood,
    reliability,
)

seeds = st.integers(0, 10_000)


def softmax(logits):
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


@given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=80), st.integers(1, 20))
def test_every_answer_falls_into_one_bin_that_holds_its_probability(answers, bins):
    confidence, right = map(np.array, zip(*answers, strict=True))
    held = reliability(confidence, right, bins)
    assert sum(b.rows for b in held) == len(answers)
    assert all(b.low - 1e-12 <= b.confidence <= b.high + 1e-12 for b in held)
    assert sum(b.rows * b.accuracy for b in held) == pytest.approx(right.sum())


def test_a_probability_on_an_edge_belongs_to_the_lower_bin():
    (only,) = reliability(np.array([0.7]), np.array([True]), 10)
    assert (only.low, only.high) == (0.6, 0.7)


def test_calibration_error_is_the_gap_between_saying_and_being_right():
    assert expected_calibration_error(np.full(10, 0.9), np.array([True] * 9 + [False])) == pytest.approx(0.0)
    assert expected_calibration_error(np.full(10, 0.9), np.array([True] * 5 + [False] * 5)) == pytest.approx(0.4)
    assert expected_calibration_error(np.zeros(0), np.zeros(0, dtype=bool)) == 0.0


@given(seeds, st.integers(2, 5))
def test_brier_is_that_of_scikit_learn(seed, k):
    rng = np.random.default_rng(seed)
    gold = np.concatenate([np.arange(k), rng.integers(0, k, 20)])
    probabilities = rng.dirichlet(np.ones(k), len(gold))
    theirs = brier_score_loss(gold, probabilities, labels=np.arange(k), scale_by_half=False)
    assert brier(gold, probabilities) == pytest.approx(theirs)


@given(seeds)
def test_likelihood_is_scikit_learns_log_loss(seed):
    rng = np.random.default_rng(seed)
    gold, logits = np.concatenate([[0, 1, 2], rng.integers(0, 3, 20)]), rng.normal(size=(23, 3)) * 3
    assert negative_log_likelihood(logits, gold) == pytest.approx(log_loss(gold, softmax(logits)))


@given(seeds, st.floats(0.1, 10))
def test_a_fitted_temperature_is_never_worse_than_none_and_as_good_as_scipys(seed, heat):
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(60, 4)) * heat
    gold = np.array([rng.choice(4, p=p) for p in softmax(logits / heat)])
    found = fit_temperature(logits, gold)
    assert 0.05 <= found <= 20
    assert negative_log_likelihood(logits, gold, found) <= negative_log_likelihood(logits, gold)
    best = minimize_scalar(
        lambda x: negative_log_likelihood(logits, gold, np.exp(x)), bounds=np.log([0.05, 20]), method="bounded"
    )
    assert negative_log_likelihood(logits, gold, found) <= best.fun + 1e-6


def test_temperature_finds_the_factor_that_made_a_model_overconfident():
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(4000, 3)) * 2
    gold = np.array([rng.choice(3, p=p) for p in softmax(logits)])
    assert fit_temperature(logits * 3, gold) == pytest.approx(3.0, rel=0.1)


def test_temperature_of_all_right_or_no_rows_stays_within_bounds():
    assert fit_temperature(np.array([[5.0, 0.0]]), np.array([0])) >= 0.05
    assert fit_temperature(np.zeros((0, 2)), np.zeros(0, dtype=int)) == 1.0
