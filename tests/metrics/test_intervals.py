"""Bootstrap intervals and paired tests: what they hold, and that the fast forms equal the plain ones."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from sklearn import metrics as sk

from luban.metrics.classification import binary_auc
from luban.metrics.intervals import (
    auc_of,
    correlation_of,
    f1_of,
    intervals,
    joined,
    mcnemar,
    mean_of,
    observed,
    paired,
    ratio_of,
    resampled,
    resamples,
    weighted_ranks,
    wilson,
    within,
)

seeds = st.integers(0, 10_000)


def one_hot(indices, k):
    return np.eye(k)[indices]


def drawn(counts):
    """The rows of one resample, written out."""
    return np.repeat(np.arange(len(counts)), counts.astype(int))


@given(st.integers(1, 50), st.integers(1, 40), seeds)
def test_each_resample_draws_as_many_rows_as_there_are(rows, times, seed):
    counts = np.concatenate(list(resamples(rows, times=times, seed=seed)))
    assert counts.shape == (times, rows)
    assert (counts.sum(axis=1) == rows).all()


@given(seeds)
def test_f1_of_a_resample_is_that_of_its_rows_written_out(seed):
    rng = np.random.default_rng(seed)
    gold, answer = rng.integers(0, 4, (2, 30))
    right = one_hot(gold, 4) * (gold == answer)[:, None]
    statistic = f1_of(right, one_hot(gold, 4), one_hot(answer, 4))
    counts = next(resamples(30, times=1, seed=seed))
    rows = drawn(counts[0])
    for kind in ("macro", "micro", "weighted"):
        theirs = sk.f1_score(gold[rows], answer[rows], average=kind, zero_division=0)
        assert statistic(counts)[f"{kind}_f1"][0] == pytest.approx(theirs)


@given(seeds)
def test_ranks_and_correlations_of_a_resample_are_those_of_its_rows_written_out(seed):
    rng = np.random.default_rng(seed)
    a, b = rng.integers(0, 6, (2, 40)).astype(float)
    counts = next(resamples(40, times=1, seed=seed))
    rows = drawn(counts[0])
    assert np.repeat(weighted_ranks(a, counts)[0], counts[0].astype(int)) == pytest.approx(stats.rankdata(a[rows]))
    scores = correlation_of(a, b)(counts)
    assert scores["pearson"][0] == pytest.approx(stats.pearsonr(a[rows], b[rows])[0], abs=1e-9)
    assert scores["spearman"][0] == pytest.approx(stats.spearmanr(a[rows], b[rows])[0], abs=1e-9)
    assert scores["mae"][0] == pytest.approx(np.abs(a - b)[rows].mean())


@given(seeds)
def test_roc_auc_of_a_resample_is_that_of_its_rows_written_out(seed):
    rng = np.random.default_rng(seed)
    positive, scores = rng.random(40) < 0.5, rng.integers(0, 6, 40) / 5
    counts = next(resamples(40, times=1, seed=seed))
    rows = drawn(counts[0])
    assert auc_of(positive, scores)(counts)["roc_auc"][0] == pytest.approx(
        binary_auc(positive[rows], scores[rows]), nan_ok=True
    )


@given(st.integers(2, 200), seeds)
def test_an_interval_of_a_mean_holds_the_mean(rows, seed):
    values = np.random.default_rng(seed).random(rows)
    low, high = intervals(mean_of(accuracy=values), rows, times=200)["accuracy"]
    assert low <= values.mean() <= high


def test_an_interval_is_as_wide_as_the_normal_approximation_says():
    values = np.random.default_rng(0).random(400) < 0.8
    low, high = intervals(mean_of(accuracy=values), 400, times=4000)["accuracy"]
    width = 2 * 1.96 * np.sqrt(values.mean() * (1 - values.mean()) / 400)
    assert high - low == pytest.approx(width, rel=0.1)


@given(st.integers(1, 300), st.data())
def test_the_interval_of_a_share_is_wilsons_as_scipy_has_it_and_holds_the_share(rows, data):
    right = data.draw(st.integers(0, rows))
    low, high = wilson(right / rows, rows)
    assert (low, high) == pytest.approx(stats.binomtest(right, rows).proportion_ci(method="wilson"), abs=1e-6)
    assert 0 <= low <= right / rows <= high <= 1
    assert low < high


@pytest.mark.parametrize("rows", [5, 12, 50])
@pytest.mark.parametrize("truth", [0.5, 0.95, 1.0])
def test_the_interval_of_a_share_holds_the_truth_about_as_often_as_it_says(rows, truth):
    chance = stats.binom(rows, truth).pmf(np.arange(rows + 1))
    ends = [wilson(right / rows, rows) for right in range(rows + 1)]
    assert sum(p for p, (low, high) in zip(chance, ends, strict=True) if low <= truth <= high) >= 0.92


@pytest.mark.parametrize("truth", [0.5, 0.95, 1.0])
def test_accuracies_of_simulated_rows_are_held_by_their_intervals(truth):
    rng = np.random.default_rng(3)
    held = 0
    for _ in range(400):
        right = rng.random(12) < truth
        low, high = intervals(mean_of(accuracy=right), 12, shares=("accuracy",), times=1)["accuracy"]
        held += low <= truth <= high
    assert held >= 0.92 * 400


def test_the_bootstrap_misses_what_the_interval_of_a_share_holds():
    """The reason for Wilson's: of 12 rows of a model that is right 19 times of 20, most samples are perfect."""
    perfect = np.ones(12)
    low, _ = intervals(mean_of(accuracy=perfect), 12, shares=("accuracy",))["accuracy"]
    assert low == pytest.approx(0.7575, abs=1e-4)
    assert np.quantile(resampled(mean_of(accuracy=perfect), 12)["accuracy"], 0.025) == 1.0


def test_an_interval_holds_macro_f1_that_most_resamples_exceed():
    """One answer of each of ten classes that no gold row has: a resample misses a third of them."""
    gold, answer = np.zeros(60, dtype=int), np.r_[np.arange(1, 11), np.zeros(50, dtype=int)]
    statistic = f1_of(one_hot(gold, 11) * (gold == answer)[:, None], one_hot(gold, 11), one_hot(answer, 11))
    low, high = intervals(statistic, 60)["macro_f1"]
    assert low == observed(statistic, 60)["macro_f1"] < high


@given(st.integers(1, 40), st.sampled_from([0.0, 0.3, 1.0]))
def test_a_score_that_no_resample_changes_has_no_interval(rows, value):
    found = intervals(ratio_of(entity_f1=(np.full(rows, value), np.ones(rows))), rows, times=50)
    assert np.isnan(found["entity_f1"]).all()


def test_a_few_rows_that_agree_are_never_sure():
    worse, better = (ratio_of(f1=(part, np.ones(4))) for part in (np.zeros(4), np.ones(4)))
    gap = paired(worse, better, 4)["f1"]
    assert (gap.value, gap.p) == (1.0, 0.125)


def test_the_same_seed_gives_the_same_interval():
    values = np.random.default_rng(0).random(50)
    first, second = (intervals(mean_of(accuracy=values), 50, seed=4) for _ in range(2))
    assert first == second
    assert first != intervals(mean_of(accuracy=values), 50, seed=5)


def test_drawing_in_small_pieces_draws_the_same(monkeypatch):
    values = np.random.default_rng(0).random(20)
    whole = resampled(mean_of(accuracy=values), 20, times=50)["accuracy"]
    monkeypatch.setattr("luban.metrics.intervals.CELLS", 20 * 7)
    assert len(list(resamples(20, times=50, seed=13))) == 8
    assert resampled(mean_of(accuracy=values), 20, times=50)["accuracy"] == pytest.approx(whole)


def test_a_statistic_within_some_rows_sees_only_those():
    values = np.array([1.0, 1.0, 0.0, 0.0, 0.0])
    some = within(mean_of(accuracy=values), np.array([0, 1, 2]), 5)
    assert observed(some, 3)["accuracy"] == pytest.approx(2 / 3)


def test_a_ratio_of_sums_is_not_a_mean_of_ratios_and_is_zero_without_a_whole():
    statistic = ratio_of(recall=(np.array([1, 0]), np.array([1, 3])), none=(np.zeros(2), np.zeros(2)))
    assert observed(statistic, 2) == {"recall": 0.25, "none": 0.0}


def test_joined_statistics_keep_their_names():
    both = joined(mean_of(a=np.ones(3)), mean_of(b=np.zeros(3)))
    assert observed(both, 3) == {"a": 1.0, "b": 0.0}


def test_a_clearly_better_model_is_surely_better():
    rng = np.random.default_rng(0)
    worse, better = rng.random(300) < 0.6, rng.random(300) < 0.9
    gap = paired(mean_of(accuracy=worse), mean_of(accuracy=better), 300)["accuracy"]
    assert gap.low > 0
    assert gap.p < 0.01
    assert gap.value == pytest.approx(better.mean() - worse.mean())


def test_a_model_against_itself_is_never_sure():
    right = np.random.default_rng(0).random(300) < 0.6
    gap = paired(mean_of(accuracy=right), mean_of(accuracy=right), 300)["accuracy"]
    assert (gap.value, gap.low, gap.high, gap.p) == (0.0, 0.0, 0.0, 1.0)


def test_chance_differences_are_called_sure_about_one_time_in_twenty():
    rng = np.random.default_rng(1)
    sure = 0
    for trial in range(200):
        a, b = rng.random((2, 100)) < 0.7
        sure += paired(mean_of(accuracy=a), mean_of(accuracy=b), 100, times=200, seed=trial)["accuracy"].p < 0.05
    assert sure <= 25


@given(st.integers(0, 40), st.integers(0, 40), st.integers(0, 5))
def test_mcnemar_is_the_exact_binomial_test_of_the_rows_only_one_has_right(only_first, only_second, both):
    first = np.array([True] * only_first + [False] * only_second + [True] * both)
    second = np.array([False] * only_first + [True] * only_second + [True] * both)
    n = only_first + only_second
    theirs = stats.binomtest(only_first, n, 0.5).pvalue if n else 1.0
    assert mcnemar(first.astype(bool), second.astype(bool)) == pytest.approx(theirs)
