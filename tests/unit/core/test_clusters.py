"""Rows that err alike are less evidence than their number: intervals and tests by clusters."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import pytest

from fullcircle.core.errors import ProjectInvalid
from fullcircle.core.project import Binary, ErrorBudget, Multiclass, Multilabel, Number, Project, Regression, SplitRule
from fullcircle.core.statistics.clusters import (
    clustered_error,
    clustered_interval,
    degrees_of_freedom,
    time_clusters,
)
from fullcircle.core.statistics.interval import Interval, normal_limits
from fullcircle.core.tasks import Task
from fullcircle.evaluation.superiority_test import superiority_test
from fullcircle.monitoring.performance import performance

DAYS, HOURS = 28, 24
OF_DAY = np.repeat(np.arange(DAYS), HOURS)
EVERY = (
    Binary("y", "yes"),
    Multiclass("y", tuple("abc")),
    Regression("y", unit="rentals"),
    Multilabel("y", tuple("abc")),
)


def correlated(rng: np.random.Generator, sizes: np.ndarray, share: float = 0.3) -> np.ndarray:
    """Rows of mean 0 and variance 1, those of a cluster so correlated."""
    common = np.repeat(rng.normal(size=len(sizes)), sizes)
    return np.sqrt(share) * common + np.sqrt(1 - share) * rng.normal(size=int(sizes.sum()))


def test_alike_clusters_are_judged_as_their_means_are_by_the_textbook() -> None:
    rows = correlated(np.random.default_rng(1), np.full(DAYS, HOURS))
    means = rows.reshape(DAYS, HOURS).mean(axis=1)
    assert clustered_error(rows, OF_DAY) == pytest.approx(means.std(ddof=1) / DAYS**0.5)
    assert degrees_of_freedom(OF_DAY) == pytest.approx(DAYS - 1)


def test_a_cluster_of_one_row_each_is_no_cluster() -> None:
    rows = np.random.default_rng(2).normal(size=300)
    low, _ = normal_limits(rows, float(rows.mean()))
    assert clustered_error(rows, np.arange(300)) == pytest.approx((rows.mean() - low) / 1.96, rel=1e-4)
    assert degrees_of_freedom(np.arange(300)) == pytest.approx(299)


def test_a_large_cluster_beside_small_ones_leaves_fewer_degrees_of_freedom_than_clusters() -> None:
    uneven = np.repeat(np.arange(20), [400] + [10] * 19)
    assert 1.0 < degrees_of_freedom(uneven) < 8.0
    assert degrees_of_freedom(np.zeros(50, dtype=np.intp)) == 0.0


def test_one_cluster_proves_nothing() -> None:
    rows = np.random.default_rng(3).normal(1.0, 0.1, 50)
    found = clustered_interval(Interval(value=1.0, low=0.9, high=1.1), rows, np.zeros(50, dtype=np.intp))
    assert (found.low, found.high) == (-np.inf, np.inf)
    assert superiority_test(found, 0.0, 0.025, freedom=0.0).p_value == pytest.approx(0.5)


@pytest.mark.parametrize(
    "sizes", [np.full(DAYS, HOURS), np.array([5, 60, 10, 90, 30, 5, 40, 80] * 3)], ids=["days", "uneven"]
)
def test_luck_is_called_progress_no_more_often_than_the_level_says_and_by_rows_alone_it_is(sizes: np.ndarray) -> None:
    rng, level, trials = np.random.default_rng(5), 0.025, 1500
    clusters, by_clusters, by_rows = np.repeat(np.arange(len(sizes)), sizes), 0, 0
    for _ in range(trials):
        rows = correlated(rng, sizes)
        low, high = normal_limits(rows, float(rows.mean()))
        alone = Interval(value=float(rows.mean()), low=low, high=high)
        known = clustered_interval(alone, rows, clusters)
        by_rows += superiority_test(alone, 0.0, level).proven
        by_clusters += superiority_test(known, 0.0, level, freedom=degrees_of_freedom(clusters)).proven
    assert by_rows / trials > 0.1
    # Three standard errors of a share of 0.025 in so many trials.
    assert by_clusters / trials < level + 3 * (level * (1 - level) / trials) ** 0.5


def test_the_gain_that_is_asked_for_by_clusters_is_just_enough() -> None:
    rows = correlated(np.random.default_rng(6), np.full(DAYS, HOURS)) + 0.1
    found = clustered_interval(Interval(value=0.1, low=0.05, high=0.15), rows, OF_DAY)
    test = superiority_test(found, 0.0, 0.004, freedom=DAYS - 1.0)

    def moved(by: float) -> Interval:
        return Interval(value=found.value + by, low=found.low + by, high=found.high + by)

    assert test.shortfall > 0
    assert superiority_test(moved(1.001 * test.shortfall), 0.0, 0.004, freedom=DAYS - 1.0).proven
    assert not superiority_test(moved(0.99 * test.shortfall), 0.0, 0.004, freedom=DAYS - 1.0).proven


def sample(task: Task) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Targets of four weeks of hours, and two models that each err alike within a day."""
    rng, rows = np.random.default_rng(7), DAYS * HOURS
    width = 1 if task.kind in ("regression", "binary") else 3
    truth = rng.normal(size=(rows, width))
    one, other = (truth + np.repeat(rng.normal(size=(DAYS, width)), HOURS, axis=0) for _ in range(2))
    if task.kind == "regression":
        return 5.0 + truth[:, 0], (5.0 + one[:, 0]).astype("float32"), (5.0 + other[:, 0]).astype("float32")
    if task.kind == "multiclass":
        return truth.argmax(axis=1).astype("int16"), softmax(one), softmax(other)
    y, a, b = (truth > 0).astype("int8"), softmax(one, apart=True), softmax(other, apart=True)
    return (y[:, 0], a[:, 0], b[:, 0]) if width == 1 else (y, a, b)


def softmax(scores: np.ndarray, *, apart: bool = False) -> np.ndarray:
    """Probabilities of the columns, together or of each by itself."""
    if apart:
        return (1 / (1 + np.exp(-scores))).astype("float32")
    raised = np.exp(scores)
    return (raised / raised.sum(axis=1, keepdims=True)).astype("float32")


@pytest.mark.parametrize("task", EVERY, ids=lambda task: task.kind)
def test_every_metric_keeps_its_value_and_is_never_surer_by_clusters(task: Task) -> None:
    y, a, b = sample(task)
    wider = 0
    for metric in task.metrics.values():
        known = metric.clustered(OF_DAY)
        for alone, told in (
            (metric.interval(y, a, None), known.interval(y, a, None)),
            (metric.difference(y, a, b, 1), known.difference(y, a, b, 1)),
            (metric.test(y, a, b, 1), known.test(y, a, b, 1)),
        ):
            assert told.value == alone.value
            assert told.low <= alone.low <= alone.high <= told.high
            wider += told.high - told.low > 1.2 * (alone.high - alone.low)
        same = known.difference(y, a, a, 1)
        assert (same.value, same.low, same.high) == (0.0, 0.0, 0.0)
        low, high = metric.bounds
        shown = known.interval(y, a, None)
        assert (low is None or shown.low >= low) and (high is None or shown.high <= high)
    assert wider >= 3


def test_without_clusters_a_metric_is_the_one_that_it_was() -> None:
    metric = Regression("y").metrics["mae"]
    assert metric.clustered(None) is metric


def test_rows_of_one_day_of_utc_are_of_one_cluster() -> None:
    times = np.array(["2012-01-01T00:00", "2012-01-01T23:59", "2012-01-03T00:00", "2012-01-02T12:00"], "datetime64[us]")
    assert time_clusters(times, timedelta(days=1)).tolist() == [0, 0, 2, 1]  # type: ignore[union-attr]
    assert time_clusters(times, None) is None


def test_a_window_is_not_sure_that_the_champion_before_was_better_because_the_hours_of_a_few_days_say_so() -> None:
    task = Regression("y", unit="rentals")
    y, a, b = sample(task)
    alone = performance(task, y, a, previous=b)
    told = performance(task, y, a, previous=b, clusters=OF_DAY)
    assert alone is not None and told is not None
    assert alone.previous_gain is not None and told.previous_gain is not None
    assert told.previous_gain.value == alone.previous_gain.value
    assert told.previous_gain.low < alone.previous_gain.low - 0.05
    assert told.score.low < alone.score.low


def test_clusters_for_which_the_test_part_has_no_room_are_refused() -> None:
    with pytest.raises(ProjectInvalid, match=r"evidence\.cluster must be at most 1/5 of split\.test and of watch\.wi"):
        Project(
            name="p", owner="o", columns=(Number("x"),), target=Regression("y"), time="t", row_id="i",
            torch=lambda inputs, params: None, split=SplitRule(test=timedelta(days=14)),
            evidence=ErrorBudget(cluster=timedelta(days=3)),
        )  # fmt: skip
