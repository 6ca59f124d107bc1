"""ROC AUC, log loss, Brier score, calibration, DeLong and bootstrap of a binary classifier. Pure functions.

`labels` are 0 or 1, shape (rows,); `probability` is that of the positive class, shape (rows,). Intervals are 95%.
Percentile intervals reuse the same resampled rows for the same seed and labels, so a model that is better on every
row never gets a worse interval (Efron & Tibshirani 1993, ch. 13 and 16). Above `LARGE` rows the resampling gives way
to its normal limit, which then differs by less than the resampling's own noise. These are the textbook's; what gates
and monitoring go by is as wide as few rows ask for: `core.statistics.intervals`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from fullcircle.core.statistics.interval import Z95, Interval, normal_limits

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Numbers = NDArray[Any]
    Metric = Callable[[Numbers, Numbers], float]

LARGE = 20_000
"""Rows above which intervals come from the normal limit (DeLong for ROC AUC) instead of from resampling."""
BINS = 10
_EPS = 1e-7  # float32 probabilities can be exactly 0 or 1
_CHUNK = 2_000_000  # resampled rows held at once: 16 MB


def midranks(values: Numbers) -> NDArray[np.float64]:
    """Ranks from 1, ties sharing their mean rank. Shape (rows,)."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return np.asarray((last - (counts - 1) / 2.0)[inverse.reshape(-1)], dtype=np.float64)


def roc_auc(labels: Numbers, probability: Numbers) -> float:
    """Area under the ROC curve, ties counted half (Hanley & McNeil 1982). ValueError when a class is missing."""
    positive = np.asarray(labels) == 1
    count, others = int(positive.sum()), int((~positive).sum())
    if not count or not others:
        raise ValueError(f"ROC AUC needs both classes, got {count} positive and {others} negative rows")
    return float((midranks(np.asarray(probability))[positive].sum() - count * (count + 1) / 2) / (count * others))


def log_loss(labels: Numbers, probability: Numbers) -> float:
    """Mean log loss in nats; probabilities are kept 1e-7 away from 0 and 1."""
    return float(log_losses(labels, probability).mean())


def brier(labels: Numbers, probability: Numbers) -> float:
    """Mean squared difference between probability and outcome (Brier 1950)."""
    return float(brier_losses(labels, probability).mean())


def calibration_error(labels: Numbers, probability: Numbers) -> float:
    """Expected calibration error over 10 bins of equal count, as a probability (Nixon et al. 2019, "adaptive").

    Equal probabilities always share a bin, so the order of rows does not matter.
    """
    return float(np.abs(_gaps(labels, probability).mean(axis=0)).sum())


def reliability(labels: Numbers, probability: Numbers) -> tuple[tuple[float, float, int], ...]:
    """(mean predicted probability, observed share, rows) of each bin of equal count that holds a row."""
    y, p = _as_float(labels), _as_float(probability)
    bins = equal_count_bins(p)
    rows = np.bincount(bins, minlength=BINS)
    mean_p, mean_y = (np.bincount(bins, weights=v, minlength=BINS) / np.maximum(rows, 1) for v in (p, y))
    return tuple((float(mean_p[k]), float(mean_y[k]), int(rows[k])) for k in range(BINS) if rows[k])


def bootstrap(labels: Numbers, probability: Numbers, metric: Metric, *, seed: int, resamples: int = 500) -> Interval:
    """`metric` with its 95% percentile interval. Source: Efron & Tibshirani 1993, ch. 13."""
    value = metric(labels, probability)
    if metric is roc_auc:
        return _auc_interval(labels, (probability,), value, seed, resamples)
    low, high = _quantiles(_replicates(labels, (probability,), metric, seed, resamples), value, metric)
    return Interval(value=value, low=max(low, 0.0), high=high)


def paired_bootstrap(
    labels: Numbers, a: Numbers, b: Numbers, metric: Metric, *, seed: int, resamples: int = 500
) -> Interval:
    """`metric(a) - metric(b)` on the same rows with its 95% percentile interval, both resampled together."""
    value = metric(labels, a) - metric(labels, b)
    if metric is roc_auc:
        return _auc_interval(labels, (a, b), value, seed, resamples)
    low, high = _quantiles(_replicates(labels, (a, b), metric, seed, resamples), value, metric)
    return Interval(value=value, low=low, high=high)


def paired_means(labels: Numbers, a: Numbers, b: Numbers, metric: Metric) -> Interval:
    """`metric(a) - metric(b)` on the same rows with its 95% normal interval, for metrics that are means over rows.

    The mean of the rows' differences, and its standard error: no draws, and right far out in the tail.
    ValueError for a metric that is none.
    """
    losses = LOSSES.get(metric)
    if losses is None:
        raise ValueError(f"{metric!r} is no mean over rows: use log_loss or brier")
    rows = losses(labels, a) - losses(labels, b)
    value = float(rows.mean())
    low, high = normal_limits(rows, value)
    return Interval(value=value, low=low, high=high)


def delong(labels: Numbers, a: Numbers, b: Numbers | None = None) -> Interval:
    """ROC AUC of `a`, or that of `a` minus that of `b`, with a 95% normal interval.

    Source: DeLong, DeLong & Clarke-Pearson 1988, "Comparing the areas under two or more correlated receiver operating
    characteristic curves: a nonparametric approach", Biometrics 44:837-845; computed by sorting, O(n log n), after
    Sun & Xu 2014, "Fast implementation of DeLong's algorithm", IEEE Signal Processing Letters 21:1389-1393. With a
    single row in a class the variance is unknown, so the interval is as wide as it can be.
    """
    positive = np.asarray(labels) == 1
    count, others = int(positive.sum()), int((~positive).sum())
    value = roc_auc(labels, a) - (roc_auc(labels, b) if b is not None else 0.0)
    floor = 0.0 if b is None else -1.0
    if min(count, others) < 2:
        return Interval(value=value, low=floor, high=1.0)
    by_positive, by_negative = placements(positive, np.asarray(a))
    if b is not None:
        other_positive, other_negative = placements(positive, np.asarray(b))
        by_positive, by_negative = by_positive - other_positive, by_negative - other_negative
    half = Z95 * float(np.sqrt(by_positive.var(ddof=1) / count + by_negative.var(ddof=1) / others))
    return Interval(value=value, low=max(value - half, floor), high=min(value + half, 1.0))


def standard_error(interval: Interval, towards: float | None = None) -> float:
    """The standard error that a 95% interval stands for, by the normal approximation.

    Args:
        towards: the value that the estimate is held against: then by the half of the interval that faces it, which
            is the one that counts where the halves differ. None: by both.
    """
    if towards is None:
        return (interval.high - interval.low) / (2 * Z95)
    half = interval.value - interval.low if towards <= interval.value else interval.high - interval.value
    return half / Z95


def _as_float(values: Numbers) -> NDArray[np.float64]:
    return np.asarray(values, dtype=np.float64).reshape(-1)


def log_losses(labels: Numbers, probability: Numbers) -> NDArray[np.float64]:
    """Log loss of each row in nats, (rows,); probabilities are kept 1e-7 away from 0 and 1."""
    p = np.clip(_as_float(probability), _EPS, 1 - _EPS)
    return np.asarray(-np.log(np.where(_as_float(labels) == 1, p, 1 - p)), dtype=np.float64)


def brier_losses(labels: Numbers, probability: Numbers) -> NDArray[np.float64]:
    """Squared difference of probability and outcome of each row, (rows,)."""
    return np.asarray((_as_float(probability) - _as_float(labels)) ** 2, dtype=np.float64)


LOSSES: dict[Metric, Callable[[Numbers, Numbers], NDArray[np.float64]]] = {log_loss: log_losses, brier: brier_losses}
"""Of each metric that is a mean over rows, what a row adds to it."""


def equal_count_bins(probability: NDArray[np.float64]) -> NDArray[np.intp]:
    """The bin of each row, 0 to 9, (rows,): bins of equal count; equal probabilities share one."""
    shares = (midranks(probability) - 0.5) / len(probability)
    return np.minimum((shares * BINS).astype(np.intp), BINS - 1)


def _gaps(labels: Numbers, probability: Numbers) -> NDArray[np.float64]:
    p = _as_float(probability)
    gaps = np.zeros((len(p), BINS))
    gaps[np.arange(len(p)), equal_count_bins(p)] = p - _as_float(labels)
    return gaps


def _replicates(
    labels: Numbers, models: tuple[Numbers, ...], metric: Metric, seed: int, resamples: int
) -> NDArray[np.float64]:
    """Resampled values of a metric that is made of per-row means; of the difference when two models are given."""
    if metric is calibration_error:
        # Bins stay those of the sample: then the error is a sum of absolute means and resampling stays vectorised.
        means = _resampled_means(np.hstack([_gaps(labels, model) for model in models]), seed, resamples)
        errors = np.abs(means.reshape(resamples, len(models), BINS)).sum(axis=2)
        return np.asarray(errors[:, 0] - errors[:, 1] if len(models) == 2 else errors[:, 0], dtype=np.float64)
    losses = LOSSES.get(metric)
    if losses is None:
        raise ValueError(f"no interval is known for {metric!r}: use roc_auc, log_loss, brier or calibration_error")
    rows = losses(labels, models[0]) - (losses(labels, models[1]) if len(models) == 2 else 0.0)
    return _resampled_means(rows[:, None], seed, resamples)[:, 0]


def _quantiles(replicates: NDArray[np.float64], value: float, metric: Metric) -> tuple[float, float]:
    low, high = np.quantile(replicates, [0.025, 0.975])
    if metric is calibration_error:
        # An absolute value only grows by noise, so the replicates sit too high by about their mean's excess.
        excess = replicates.mean() - value
        low, high = low - excess, high - excess
    return min(float(low), value), max(float(high), value)


def _counts(rows: int, resamples: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """How often each row is drawn in each resample, shape (resamples, rows)."""
    drawn = rng.integers(0, rows, size=(resamples, rows))
    drawn += np.arange(resamples)[:, None] * rows
    return np.bincount(drawn.ravel(), minlength=resamples * rows).reshape(resamples, rows).astype(np.float64)


def _chunks(resamples: int, rows: int) -> Iterator[int]:
    size = max(1, _CHUNK // rows)
    for start in range(0, resamples, size):
        yield min(size, resamples - start)


def percentile_limits(rows: NDArray[np.float64], value: float, seed: int, resamples: int = 500) -> tuple[float, float]:
    """95% percentile limits of a mean over rows, `value` among them. Source: Efron & Tibshirani 1993, ch. 13."""
    low, high = np.quantile(_resampled_means(rows[:, None], seed, resamples)[:, 0], [0.025, 0.975])
    return min(float(low), value), max(float(high), value)


def _resampled_means(rows: NDArray[np.float64], seed: int, resamples: int) -> NDArray[np.float64]:
    """Means of (rows, columns) over resampled rows, shape (resamples, columns)."""
    rng, count = np.random.default_rng(seed), len(rows)
    if count > LARGE:
        covariance = np.atleast_2d(np.cov(rows, rowvar=False)) / count
        return rng.multivariate_normal(rows.mean(axis=0), covariance, size=resamples, method="eigh")
    return np.vstack([_counts(count, part, rng) @ rows / count for part in _chunks(resamples, count)])


def _auc_interval(labels: Numbers, models: tuple[Numbers, ...], value: float, seed: int, resamples: int) -> Interval:
    if len(labels) > LARGE:
        return delong(labels, *models)
    positive = np.asarray(labels) == 1
    scores = [_as_float(model) for model in models]
    rng, parts = np.random.default_rng(seed), []
    for part in _chunks(resamples, len(positive)):
        # Classes are drawn apart: no resample can lose one of them.
        hits, misses = (_counts(int(mask.sum()), part, rng) for mask in (positive, ~positive))
        aucs = [_weighted_auc(score[positive], score[~positive], hits, misses) for score in scores]
        parts.append(aucs[0] - aucs[1] if len(aucs) == 2 else aucs[0])
    low, high = np.quantile(np.concatenate(parts), [0.025, 0.975])
    return Interval(value=value, low=min(float(low), value), high=max(float(high), value))


def _weighted_auc(
    hit_scores: NDArray[np.float64],
    miss_scores: NDArray[np.float64],
    hits: NDArray[np.float64],
    misses: NDArray[np.float64],
) -> NDArray[np.float64]:
    """ROC AUC of each resample, given how often each positive and each negative row was drawn."""
    order = np.argsort(miss_scores, kind="stable")
    below = np.zeros((len(misses), len(order) + 1))
    np.cumsum(misses[:, order], axis=1, out=below[:, 1:])
    ranked = miss_scores[order]
    left, right = (np.searchsorted(ranked, hit_scores, side=side) for side in ("left", "right"))
    wins = (hits * (below[:, left] + below[:, right])).sum(axis=1) / 2
    return np.asarray(wins / (len(hit_scores) * len(miss_scores)), dtype=np.float64)


def placements(positive: NDArray[np.bool_], scores: NDArray[Any]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Share of the other class that each row is on the right side of: of the positive rows, of the negative rows."""
    won, lost = wins(positive, scores)
    return won / len(lost), 1 - lost / len(won)


def wins(positive: NDArray[np.bool_], scores: NDArray[Any]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Of each positive row how many negative ones are below it, of each negative row how many positive ones are; ties
    count half.

    The positive rows alone are sorted, and all others looked up among them: of a rare class, of many, that is fast. The
    sum over the positive rows is the statistic U of Mann & Whitney 1947. Scores are finite.
    """
    hits, misses = scores[positive], scores[~positive]
    order = np.argsort(hits, kind="stable")
    ranked = hits[order]
    below, up_to = (np.searchsorted(ranked, misses, side=side) for side in ("left", "right"))
    # Turned round: a miss is below a hit when at most so many hits are below or level with the miss as below the hit.
    first = np.searchsorted(ranked, ranked, side="left")
    lower, level_or_lower = (np.cumsum(np.bincount(at, minlength=len(ranked) + 1)) for at in (up_to, below))
    won = np.empty(len(hits))
    won[order] = (lower[first] + level_or_lower[first]) / 2
    return won, (below + up_to) / 2
