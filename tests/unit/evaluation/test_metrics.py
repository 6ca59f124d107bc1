"""Metrics against scikit-learn, and intervals against what they promise."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fullcircle.core.project import Multiclass
from fullcircle.core.statistics import binary_metrics
from fullcircle.core.statistics.binary_metrics import (
    bootstrap,
    brier,
    calibration_error,
    delong,
    log_loss,
    paired_bootstrap,
    reliability,
    roc_auc,
    standard_error,
    wins,
)

METRIC = {"roc_auc": (roc_auc, True), "log_loss": (log_loss, False), "brier": (brier, False)}
METRIC["calibration_error"] = (calibration_error, False)


def sample(rows: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    truth = rng.beta(2, 5, rows)
    return (rng.random(rows) < truth).astype("int8"), np.clip(truth + rng.normal(0, 0.1, rows), 0.01, 0.99)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.integers(0, 10)), min_size=2, max_size=80))
def test_metrics_equal_those_of_scikit_learn_ties_included(rows: list[tuple[bool, int]]) -> None:
    from sklearn import metrics

    labels = np.array([label for label, _ in rows], dtype="int8")
    p = np.array([0.05 + 0.09 * score for _, score in rows])
    assert log_loss(labels, p) == pytest.approx(metrics.log_loss(labels, p, labels=[0, 1]))
    assert brier(labels, p) == pytest.approx(metrics.brier_score_loss(labels, p))
    if 0 < labels.sum() < len(labels):
        assert roc_auc(labels, p) == pytest.approx(metrics.roc_auc_score(labels, p))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.integers(0, 6)), max_size=60))
def test_wins_are_the_rows_of_the_other_class_that_are_below_and_ties_count_half(rows: list[tuple[bool, int]]) -> None:
    positive = np.array([label for label, _ in rows], dtype=bool)
    scores = np.array([score / 7 for _, score in rows], dtype="float32")
    pairs = (scores[positive][:, None] > scores[~positive]) + (scores[positive][:, None] == scores[~positive]) / 2

    won, lost = wins(positive, scores)

    assert won.tolist() == pairs.sum(axis=1).tolist()
    assert lost.tolist() == (positive.sum() - pairs.sum(axis=0)).tolist()


def test_a_macro_auc_is_the_mean_of_scikit_learns_of_each_class_that_is_there() -> None:
    from sklearn.metrics import roc_auc_score

    rng = np.random.default_rng(0)
    task = Multiclass("kind", tuple(f"c{at}" for at in range(40)))
    targets, answers = rng.integers(0, 39, 800), np.round(rng.dirichlet(np.ones(40), 800), 2).astype("float32")

    expected = np.mean([roc_auc_score(targets == code, answers[:, code]) for code in np.unique(targets)])

    assert task.main.value(targets, answers) == pytest.approx(expected, abs=1e-9)


def test_roc_auc_of_one_class_is_refused() -> None:
    with pytest.raises(ValueError, match="needs both classes, got 3 positive and 0 negative"):
        roc_auc(np.ones(3), np.array([0.1, 0.2, 0.3]))


def test_certain_answers_have_a_finite_log_loss() -> None:
    assert np.isfinite(log_loss(np.array([0, 1]), np.array([1.0, 0.0], dtype="float32")))


def test_calibration_error_is_small_for_the_truth_and_large_for_a_liar() -> None:
    rng = np.random.default_rng(0)
    truth = rng.beta(2, 5, 20_000)
    labels = (rng.random(20_000) < truth).astype("int8")
    assert calibration_error(labels, truth) < 0.015
    assert calibration_error(labels, np.clip(truth + 0.2, 0, 1)) == pytest.approx(0.2, abs=0.02)


def test_calibration_error_does_not_depend_on_the_order_of_rows() -> None:
    labels, p = sample(500, 0)
    p = np.round(p, 1)
    order = np.random.default_rng(1).permutation(500)
    assert calibration_error(labels[order], p[order]) == pytest.approx(calibration_error(labels, p))


def test_reliability_has_ten_bins_of_equal_count() -> None:
    labels, p = sample(1000, 0)
    bins = reliability(labels, p)
    assert [rows for _, _, rows in bins] == [100] * 10
    assert [mean for mean, _, _ in bins] == sorted(mean for mean, _, _ in bins)


def test_one_constant_answer_has_one_bin() -> None:
    assert reliability(np.array([0, 1, 0, 1]), np.full(4, 0.5)) == ((0.5, 0.5, 4),)


@pytest.mark.parametrize("name", METRIC)
def test_an_interval_holds_its_estimate_and_is_the_same_for_the_same_seed(name: str) -> None:
    labels, p = sample(800, 3)
    interval = bootstrap(labels, p, METRIC[name][0], seed=5)
    assert interval == bootstrap(labels, p, METRIC[name][0], seed=5)
    assert interval.low <= interval.value <= interval.high
    assert interval.low < interval.high


@pytest.mark.parametrize("name", ["roc_auc", "log_loss", "brier"])
def test_intervals_cover_the_truth_about_as_often_as_they_say(name: str) -> None:
    metric = METRIC[name][0]
    truth = metric(*sample(400_000, 99))
    hits = 0
    for seed in range(100):
        interval = bootstrap(*sample(400, seed), metric, seed=seed, resamples=300)
        hits += interval.low <= truth <= interval.high
    assert 88 <= hits <= 100


@pytest.mark.parametrize("name", METRIC)
def test_a_model_does_not_differ_from_itself(name: str) -> None:
    labels, p = sample(300, 1)
    interval = paired_bootstrap(labels, p, p, METRIC[name][0], seed=0)
    assert (interval.value, interval.low, interval.high) == (0.0, 0.0, 0.0)


def test_paired_intervals_are_narrower_than_unpaired_ones() -> None:
    labels, p = sample(2000, 1)
    other = np.clip(p + np.random.default_rng(2).normal(0, 0.01, 2000), 0.01, 0.99)
    paired = standard_error(paired_bootstrap(labels, p, other, roc_auc, seed=0))
    assert paired < 0.5 * standard_error(bootstrap(labels, p, roc_auc, seed=0))


def test_delong_and_the_bootstrap_agree() -> None:
    labels, p = sample(3000, 1)
    other = np.clip(p + np.random.default_rng(2).normal(0, 0.1, 3000), 0.01, 0.99)
    assert standard_error(delong(labels, p)) == pytest.approx(
        standard_error(bootstrap(labels, p, roc_auc, seed=0, resamples=2000)), rel=0.08
    )
    by_delong, by_bootstrap = (
        delong(labels, p, other),
        paired_bootstrap(labels, p, other, roc_auc, seed=0, resamples=2000),
    )
    assert by_delong.value == pytest.approx(by_bootstrap.value)
    assert standard_error(by_delong) == pytest.approx(standard_error(by_bootstrap), rel=0.08)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.integers(0, 6), st.integers(0, 6)), min_size=4, max_size=60))
def test_delong_by_sorting_equals_the_structural_components_of_the_paper(rows: list[tuple[bool, int, int]]) -> None:
    labels = np.array([label for label, _, _ in rows])
    a, b = (np.array([row[column] for row in rows], dtype=float) for column in (1, 2))
    if min(labels.sum(), (~labels).sum()) < 2:
        return

    def components(scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        # The kernel psi of every pair of a positive and a negative row, as DeLong et al. define it.
        hits, misses = scores[labels][:, None], scores[~labels][None, :]
        psi = (hits > misses) + 0.5 * (hits == misses)
        return psi.mean(axis=1), psi.mean(axis=0)

    (a10, a01), (b10, b01) = components(a), components(b)
    s10, s01 = np.cov(a10, b10), np.cov(a01, b01)
    covariance = s10 / labels.sum() + s01 / (~labels).sum()
    contrast = np.array([1.0, -1.0])
    error = float(np.sqrt(max(contrast @ covariance @ contrast, 0.0)))
    value, half = a10.mean() - b10.mean(), 1.959964 * error

    got = delong(labels, a, b)
    assert got.value == pytest.approx(value, abs=1e-12)
    assert got.low == pytest.approx(max(value - half, -1.0), abs=1e-6)
    assert got.high == pytest.approx(min(value + half, 1.0), abs=1e-6)


@settings(max_examples=8, deadline=None)
@given(st.integers(0, 10_000), st.floats(0.02, 0.3), st.sampled_from([1, 2, 15]))
def test_delong_of_a_difference_agrees_with_the_bootstrap(seed: int, noise: float, decimals: int) -> None:
    labels, p = sample(1500, seed)
    other = np.clip(p + np.random.default_rng(seed + 1).normal(0, noise, 1500), 0.01, 0.99)
    p, other = np.round(p, decimals), np.round(other, decimals)
    resampled = paired_bootstrap(labels, p, other, roc_auc, seed=seed, resamples=1500)
    assert standard_error(delong(labels, p, other)) == pytest.approx(standard_error(resampled), rel=0.15)


def test_delong_with_one_row_of_a_class_claims_nothing() -> None:
    interval = delong(np.array([1, 0, 0]), np.array([0.9, 0.1, 0.2]))
    assert (interval.low, interval.high) == (0.0, 1.0)


@pytest.mark.parametrize("name", METRIC)
def test_the_normal_limit_agrees_with_resampling(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    metric = METRIC[name][0]
    labels, p = sample(4000, 1)
    other = np.clip(p + np.random.default_rng(2).normal(0.03, 0.1, 4000), 0.01, 0.99)
    resampled = paired_bootstrap(labels, p, other, metric, seed=0, resamples=2000)
    monkeypatch.setattr(binary_metrics, "LARGE", 100)
    limit = paired_bootstrap(labels, p, other, metric, seed=0, resamples=2000)
    assert limit.value == resampled.value
    assert standard_error(limit) == pytest.approx(standard_error(resampled), rel=0.12)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.floats(0, 1), st.sampled_from(["roc_auc", "log_loss", "brier"]))
def test_a_model_better_on_every_row_has_an_interval_no_worse(seed: int, step: float, name: str) -> None:
    metric, greater = METRIC[name]
    labels, p = sample(120, seed)
    steps = step * np.random.default_rng(seed).random(120)
    better = p + steps * (labels - p)
    reference = np.full(120, 0.3)
    worse_interval = paired_bootstrap(labels, p, reference, metric, seed=0, resamples=100)
    better_interval = paired_bootstrap(labels, better, reference, metric, seed=0, resamples=100)
    sign = 1 if greater else -1
    for side in ("value", "low", "high"):
        assert sign * getattr(better_interval, side) >= sign * getattr(worse_interval, side) - 1e-12
