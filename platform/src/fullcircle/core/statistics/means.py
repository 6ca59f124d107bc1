"""Means over rows and their intervals: what every metric but ROC AUC comes down to. Pure, all intervals of 95%.

A metric that is no mean is made one by its influence function: the value plus what each row pulls it by has the value
as its mean and, over the square root of the rows, the metric's standard error as its spread (Hampel 1974; see
`core.tasks.metric`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from fullcircle.core.statistics.binary_metrics import percentile_limits
from fullcircle.core.statistics.interval import Interval, normal_limits
from fullcircle.core.statistics.small_samples import mean_half_width

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Rows = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class SampleLimits:
    """What keeps an interval honest where rows are few.

    Attributes:
        few: whether the rows are too few for the normal limit and for resampling.
        worst: the most that a row which was not seen could add (to a difference: could differ by).
    """

    few: bool
    worst: float


def mean_interval(rows: Rows, limits: SampleLimits, *, seed: int | None) -> Interval:
    """The mean of `rows` (rows,), by resampling with `seed`; by the normal limit where that is None."""
    value = float(rows.mean())
    low, high = normal_limits(rows, value) if seed is None else percentile_limits(rows, value, seed)
    if limits.few or low >= high:
        half = mean_half_width(rows, limits.worst)
        low, high = min(low, value - half), max(high, value + half)
    return Interval(value=value, low=low, high=high)


def mean_difference(rows: Rows, limits: SampleLimits, *, seed: int | None) -> Interval:
    """The mean of the rows' differences (rows,). Two models that answer alike do not differ: no width is then right."""
    value = float(rows.mean())
    low, high = normal_limits(rows, value) if seed is None else percentile_limits(rows, value, seed)
    if limits.few or (low >= high and bool(rows.any())):
        half = mean_half_width(rows, limits.worst)
        low, high = min(low, value - half), max(high, value + half)
    return Interval(value=value, low=low, high=high)
