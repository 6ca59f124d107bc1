"""Means over rows and their intervals: what every metric but ROC AUC comes down to. Pure, all intervals of 95%.

A metric that is no mean is made one by its influence function: the value plus what each row pulls it by has the value
as its mean and, over the square root of the rows, the metric's standard error as its spread (Hampel 1974; see
`core.tasks.metric`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from fullcircle.core.statistics.binary_metrics import percentile_limits
from fullcircle.core.statistics.interval import Interval, normal_limits
from fullcircle.core.statistics.small_samples import mean_half_width

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Rows = NDArray[np.float64]


NOTHING = 1e-6
"""Of what a row could come to: a width below it is float32's rounding, not what the rows say."""


@dataclass(frozen=True, kw_only=True)
class SampleLimits:
    """What keeps an interval honest where rows are few.

    Attributes:
        few: whether the rows are too few for the normal limit and for resampling.
        worst: the most that a row which was not seen could add (to a difference: could differ by).
        widths: how far below and above the value the limits of few rows lie, where `worst` is not what tells it best.
    """

    few: bool
    worst: float
    widths: Callable[[], tuple[float, float]] | None = None


def mean_interval(rows: Rows, limits: SampleLimits, *, seed: int | None) -> Interval:
    """The mean of `rows` (rows,), by resampling with `seed`; by the normal limit where that is None."""
    return _interval(rows, limits, seed=seed, alike=False)


def mean_difference(rows: Rows, limits: SampleLimits, *, seed: int | None) -> Interval:
    """The mean of the rows' differences (rows,). Two models that answer alike do not differ: no width is then right."""
    alike = float(np.abs(rows).max(initial=0.0)) <= NOTHING * limits.worst
    return _interval(rows, limits, seed=seed, alike=alike)


def _interval(rows: Rows, limits: SampleLimits, *, seed: int | None, alike: bool) -> Interval:
    value = float(rows.mean())
    low, high = normal_limits(rows, value) if seed is None else percentile_limits(rows, value, seed)
    if limits.few or (high - low <= NOTHING * limits.worst and not alike):
        down, up = limits.widths() if limits.widths else (mean_half_width(rows, limits.worst),) * 2
        low, high = min(low, value - down), max(high, value + up)
    return Interval(value=value, low=low, high=high)
