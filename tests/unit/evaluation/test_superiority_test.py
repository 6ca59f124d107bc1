"""What proves a gain, and how many rows it takes."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fullcircle.core.statistics.binary_metrics import Z95, brier, log_loss, paired_means, roc_auc, standard_error
from fullcircle.core.statistics.interval import Interval
from fullcircle.evaluation.superiority_test import MOST_ROWS, rows_to_decide, superiority_test


def around(value: float, error: float) -> Interval:
    return Interval(value=value, low=value - Z95 * error, high=value + Z95 * error)


def test_the_p_value_is_that_of_the_normal_distribution() -> None:
    test = superiority_test(around(0.0196, 0.01), 0.0, 0.025)
    assert test.p_value == pytest.approx(0.025, abs=1e-4)
    assert superiority_test(around(0.0196, 0.01), 0.0196, 0.025).p_value == pytest.approx(0.5)


@given(st.floats(-0.1, 0.1), st.floats(1e-4, 0.05), st.floats(0, 0.02), st.floats(1e-4, 0.4))
def test_what_is_missing_for_a_proof_is_just_enough(
    value: float, error: float, null_value: float, level: float
) -> None:
    test = superiority_test(around(value, error), null_value, level)
    assert test.proven == (test.shortfall == 0.0) or math.isclose(test.p_value, level, rel_tol=1e-6)
    assert superiority_test(around(value + test.shortfall + 1e-9, error), null_value, level).proven
    if test.shortfall > 1e-6:
        assert not superiority_test(around(value + 0.99 * test.shortfall, error), null_value, level).proven


def test_at_level_zero_nothing_is_proven() -> None:
    test = superiority_test(around(0.5, 0.001), 0.0, 0.0)
    assert not test.proven
    assert test.shortfall == math.inf


def test_a_model_that_answers_alike_has_proven_nothing() -> None:
    assert not superiority_test(around(0.0, 0.0), 0.0, 0.025).proven


@pytest.mark.parametrize("level", [-0.1, 0.5, float("nan")])
def test_a_level_that_is_none_is_refused(level: float) -> None:
    with pytest.raises(ValueError, match=r"level must be at least 0 and below 0\.5"):
        superiority_test(around(0.1, 0.01), 0.0, level)


def test_rows_to_decide_are_those_of_the_textbook() -> None:
    # Lachin's formula by hand: ((1.95996 + 0.84162) * 0.0051022 / 0.005) ** 2 * 1000
    difference = Interval(value=0.001, low=-0.009, high=0.011)
    assert rows_to_decide(difference, 0.006, 1000) == pytest.approx(8173, abs=2)
    assert rows_to_decide(difference, 0.001, 1000) == MOST_ROWS
    assert rows_to_decide(Interval(value=0.0, low=0.0, high=0.0), 0.0, 1000) is None
    assert rows_to_decide(difference, 0.006, 1000, level=0.0) is None


@pytest.mark.parametrize(("level", "power"), [(0.025, 0.8), (0.0005, 0.8), (0.004, 0.95)])
def test_the_rows_that_are_asked_for_prove_the_gain_as_often_as_promised(level: float, power: float) -> None:
    gain, rows = around(0.004, 0.004), 5000
    needed = rows_to_decide(gain, 0.0, rows, level=level, power=power)
    assert needed is not None
    error = 0.004 * math.sqrt(rows / needed)
    drawn = np.random.default_rng(0).normal(0.004, error, 4000)
    proven = np.mean([superiority_test(around(float(value), error), 0.0, level).proven for value in drawn])
    assert proven == pytest.approx(power, abs=0.02)


@pytest.mark.parametrize("metric", [log_loss, brier])
def test_of_two_models_that_are_equally_good_no_more_are_called_better_than_the_level_says(metric: Any) -> None:
    rng, trials, rows, proven = np.random.default_rng(3), 1500, 800, 0
    for _ in range(trials):
        labels = (rng.random(rows) < 0.25).astype(np.int8)
        scores = rng.normal(size=rows) + labels - 1.6
        a, b = (1 / (1 + np.exp(-scores - rng.normal(scale=0.6, size=rows))) for _ in range(2))
        gain = paired_means(labels, b, a, metric)  # smaller is better
        proven += superiority_test(gain, 0.0, 0.02).proven
    assert 0.5 * 0.02 < proven / trials < 0.02 + 3 * math.sqrt(0.02 * 0.98 / trials)


def test_the_error_of_a_mean_of_paired_losses_is_that_of_the_textbook() -> None:
    labels = np.array([0, 1, 0, 1], dtype=np.int8)
    a, b = np.array([0.1, 0.8, 0.3, 0.6]), np.array([0.2, 0.5, 0.3, 0.9])
    found = paired_means(labels, a, b, brier)
    rows = np.array([0.01 - 0.04, 0.04 - 0.25, 0.0, 0.16 - 0.01])
    assert found.value == pytest.approx(rows.mean())
    assert standard_error(found) == pytest.approx(rows.std(ddof=1) / 2)
    with pytest.raises(ValueError, match="is no mean over rows"):
        paired_means(labels, a, b, roc_auc)
