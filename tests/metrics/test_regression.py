"""Correlations and errors against scipy's."""

import warnings

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy import stats

from luban.metrics.regression import average_ranks, mae, pearson, spearman

numbers = st.integers(-50, 50).map(lambda value: value / 4)
columns = st.lists(st.tuples(numbers, numbers), min_size=3, max_size=50)


@given(columns)
def test_correlations_are_those_of_scipy(pairs):
    a, b = np.array(pairs).T
    assume(np.ptp(a) > 0 and np.ptp(b) > 0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert pearson(a, b) == pytest.approx(stats.pearsonr(a, b)[0], abs=1e-9)
        assert spearman(a, b) == pytest.approx(stats.spearmanr(a, b)[0], abs=1e-9)


@given(st.lists(numbers, min_size=1, max_size=50))
def test_equal_values_share_their_mean_rank(values):
    assert average_ranks(np.array(values)) == pytest.approx(stats.rankdata(values))


@given(columns, st.floats(0.5, 1e6), st.floats(-1e6, 1e6))
def test_pearson_does_not_depend_on_scale_and_place(pairs, scale, shift):
    a, b = np.array(pairs).T
    assert pearson(a * scale + shift, b) == pytest.approx(pearson(a, b), abs=1e-6)


def test_a_model_that_always_says_the_same_has_no_correlation():
    assert pearson([1.0, 2.0, 3.0], [5.0, 5.0, 5.0]) == 0.0
    assert spearman([1.0, 2.0, 3.0], [5.0, 5.0, 5.0]) == 0.0


def test_huge_numbers_do_not_overflow():
    assert pearson([1e300, 2e300, 3e300], [1.0, 2.0, 3.0]) == pytest.approx(1.0)


def test_mae_is_in_the_unit_of_the_target():
    assert mae([1.0, 2.0], [2.0, 4.0]) == 1.5
    assert mae([], []) == 0.0
