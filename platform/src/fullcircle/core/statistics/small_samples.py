"""Small-sample confidence intervals (Clopper-Pearson, Newcombe, Student), behind `core.statistics.intervals`.

A normal or resampled interval knows no more than the rows that were seen. On 28 rows that are all told apart it has no
width at all, and reads like proof. Here a limit is a value that would still not have been surprising.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from fullcircle.core.statistics.interval import Z95

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Numbers = NDArray[Any]

FEW_OF_A_CLASS = 50
"""Below this many rows of either class an interval is taken from here where that is the wider one."""
_HALVINGS = 60


def few(labels: Numbers) -> bool:
    """Whether either class has too few rows for an interval by the normal limit or by resampling."""
    return spare_rows(labels) < FEW_OF_A_CLASS


def spare_rows(labels: Numbers) -> int:
    """Rows of the class that has fewer."""
    positives = int((np.asarray(labels) == 1).sum())
    return min(positives, len(labels) - positives)


def unseen_share(rows: int) -> float:
    """The largest share of all rows that none of so many may have been of: the exact 97.5% limit at 0 events.

    Source: Clopper & Pearson 1934, "The use of confidence or fiducial limits illustrated in the case of the binomial".
    """
    return float(1.0 - 0.025 ** (1.0 / rows))


def student_975(freedom: float) -> float:
    """97.5% quantile of Student's t, within 0.5% from 4 degrees of freedom. Source: Abramowitz & Stegun 26.7.5."""
    z, v = Z95, max(freedom, 1.0)
    first, second = (z**3 + z) / 4, (5 * z**5 + 16 * z**3 + 3 * z) / 96
    third = (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384
    return z + first / v + second / v**2 + third / v**3


def auc_limits(auc: float, positives: int, negatives: int) -> tuple[float, float]:
    """95% limits of a ROC AUC by the score method: the values whose own standard error still reaches the one seen.

    They have a width where nothing is misplaced (AUC 1) and stay within 0 and 1. Source: Newcombe 2006, "Confidence
    intervals for an effect size measure based on the Mann-Whitney statistic, Part 2", Statistics in Medicine
    25:559-573, method 5, on the variance of Hanley & McNeil 1982.
    """
    if min(positives, negatives) < 2:
        return 0.0, 1.0
    more = (positives + negatives) / 2 - 1

    def surprising(true: float) -> bool:
        spread = 1 + more * ((1 - true) / (2 - true) + true / (1 + true))
        return abs(auc - true) > Z95 * math.sqrt(true * (1 - true) * spread / (positives * negatives))

    return _edge(surprising, 0.0, auc), _edge(surprising, 1.0, auc)


def difference_limits(
    a: tuple[float, float, float], b: tuple[float, float, float], correlation: float
) -> tuple[float, float]:
    """95% limits of `a - b`, each given as (value, low, high), whose errors are so correlated.

    Square and add. Source: Newcombe 1998, "Improved confidence intervals for the difference between binomial
    proportions based on paired data", Statistics in Medicine 17:2635-2650; Zou & Donner 2008, ibid. 27:1693-1702.
    """
    value = a[0] - b[0]
    down = _added(a[0] - a[1], b[2] - b[0], correlation)
    up = _added(a[2] - a[0], b[0] - b[1], correlation)
    return value - down, value + up


def shrunk(correlation: float, rows: int) -> float:
    """A correlation seen on so many rows, as if one more had none: two models that agree on 28 rows may yet differ."""
    return correlation * rows / (rows + 1)


def mean_half_width(values: NDArray[np.float64], worst: float) -> float:
    """Half the width of a 95% interval of a mean: Student's, and beside it that rows of a kind that was not seen may
    each come to `worst` (added by squares). Infinite for a single row.

    Args:
        values: what each row adds, shape (rows,).
        worst: the most that a row could differ by.
    """
    rows = len(values)
    if rows < 2:
        return math.inf
    student = student_975(rows - 1) * float(values.std(ddof=1)) / rows**0.5
    return math.hypot(student, worst * unseen_share(rows))


def _edge(surprising: Callable[[float], bool], outside: float, inside: float) -> float:
    """Where what is surprising ends, between a value that is and one that is not."""
    for _ in range(_HALVINGS):
        middle = (outside + inside) / 2
        if surprising(middle):
            outside = middle
        else:
            inside = middle
    return inside


def _added(one: float, other: float, correlation: float) -> float:
    return math.sqrt(max(one * one + other * other - 2 * correlation * one * other, 0.0))
