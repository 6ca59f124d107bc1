"""95% confidence intervals of metrics: the textbook's, widened where rows are few. Pure.

Where a class has few rows, or an interval would have no width, it is at least that of `core.statistics.small_samples`:
28 rows that a model tells apart without a mistake show a ROC AUC of 1.00 [0.85, 1.00], not [1.00, 1.00].
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from fullcircle.core.statistics.binary_metrics import (
    LOSSES,
    bootstrap,
    calibration_error,
    delong,
    paired_bootstrap,
    paired_means,
    placements,
    roc_auc,
)
from fullcircle.core.statistics.interval import Interval
from fullcircle.core.statistics.small_samples import (
    auc_limits,
    difference_limits,
    few,
    mean_half_width,
    shrunk,
    spare_rows,
    unseen_share,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fullcircle.core.statistics.binary_metrics import Metric

    Numbers = NDArray[Any]

MISPLACED = 5
"""Rows that must be on the wrong side, so to speak, before the normal limit holds for a single ROC AUC near 0 or 1."""


def metric_interval(labels: Numbers, probability: Numbers, metric: Metric, *, seed: int) -> Interval:
    """`metric` of one model by the bootstrap. Shapes: (rows,). ValueError when a class is missing and it needs both."""
    found = _widened(bootstrap(labels, probability, metric, seed=seed), labels, (probability,), metric)
    return Interval(value=found.value, low=max(found.low, 0.0), high=found.high)


def auc_estimate(labels: Numbers, probability: Numbers, seed: int | None) -> Interval:
    """ROC AUC of one model by the bootstrap; by DeLong where `seed` is None. Shapes: (rows,)."""
    if seed is None:
        return auc_interval(labels, probability)
    return metric_interval(labels, probability, roc_auc, seed=seed)


def paired_interval(labels: Numbers, a: Numbers, b: Numbers, metric: Metric, *, seed: int) -> Interval:
    """`metric(a) - metric(b)` on the same rows by the paired bootstrap. Shapes: (rows,)."""
    return _widened(paired_bootstrap(labels, a, b, metric, seed=seed), labels, (a, b), metric)


def paired_mean_interval(labels: Numbers, a: Numbers, b: Numbers, metric: Metric) -> Interval:
    """`metric(a) - metric(b)` of a metric that is a mean over rows, by the normal limit. Shapes: (rows,)."""
    return _widened(paired_means(labels, a, b, metric), labels, (a, b), metric)


def auc_interval(labels: Numbers, a: Numbers, b: Numbers | None = None) -> Interval:
    """ROC AUC of `a`, or that of `a` minus that of `b`, by DeLong. Shapes: (rows,)."""
    return _widened(delong(labels, a, b), labels, (a,) if b is None else (a, b), roc_auc)


def _widened(found: Interval, labels: Numbers, models: tuple[Numbers, ...], metric: Metric) -> Interval:
    """The interval, at least as wide as so few rows ask for. One of many rows stays as it is, if it has a width.

    Two models that answer alike on many rows do not differ: that interval may have no width.
    """
    one = len(models) == 1
    if one and metric is roc_auc:
        enough = min(found.value, 1 - found.value) * spare_rows(labels) >= MISPLACED
    else:
        enough = found.low < found.high or (not one and np.array_equal(models[0], models[1]))
    if enough and not few(labels):
        return found
    if metric is roc_auc:
        low, high = _few_auc_limits(np.asarray(labels) == 1, models)
    elif metric is calibration_error:
        low, high = _few_calibration_limits(labels, models)
    else:
        low, high = _few_mean_limits(labels, models, metric)
    return Interval(value=found.value, low=min(found.low, low), high=max(found.high, high))


def _few_auc_limits(positive: NDArray[np.bool_], models: tuple[Numbers, ...]) -> tuple[float, float]:
    count, others = int(positive.sum()), int((~positive).sum())
    if min(count, others) < 2:
        return (0.0 if len(models) == 1 else -1.0), 1.0
    areas = [roc_auc(positive, model) for model in models]
    limits = [(area, *auc_limits(area, count, others)) for area in areas]
    if len(limits) == 1:
        return limits[0][1], limits[0][2]
    (hits_a, misses_a), (hits_b, misses_b) = (placements(positive, np.asarray(model)) for model in models)
    covariance = np.cov(hits_a, hits_b) / count + np.cov(misses_a, misses_b) / others
    scale = float(np.sqrt(covariance[0, 0] * covariance[1, 1]))
    alike = float(covariance[0, 1]) / scale if scale > 0 else 0.0
    low, high = difference_limits(limits[0], limits[1], shrunk(alike, count + others))
    return max(low, -1.0), min(high, 1.0)


def _few_mean_limits(labels: Numbers, models: tuple[Numbers, ...], metric: Metric) -> tuple[float, float]:
    loss = LOSSES[metric]
    losses = [loss(labels, model) for model in models]
    rows = losses[0] - losses[1] if len(losses) == 2 else losses[0]
    # What a row costs whose outcome is the other one: as bad as a row that was not seen can be expected to be.
    worst = max(float(np.maximum(loss(labels, model), loss(1 - np.asarray(labels), model)).max()) for model in models)
    half = mean_half_width(rows, worst)
    return float(rows.mean()) - half, float(rows.mean()) + half


def _few_calibration_limits(labels: Numbers, models: tuple[Numbers, ...]) -> tuple[float, float]:
    """Noise only adds to a sum of absolute gaps: with few rows the true error may be nothing."""
    unseen = unseen_share(len(labels))
    limits = [(value, 0.0, value + (1 - value) * unseen) for value in (calibration_error(labels, m) for m in models)]
    return limits[0][1:] if len(limits) == 1 else difference_limits(limits[0], limits[1], 0.0)
