"""Wording of metric differences in verdicts: better or worse follows from the sign, in one place. Pure."""

from __future__ import annotations

from fullcircle.core.statistics.interval import Interval, in_digits
from fullcircle.core.tasks.metric import Metric


def difference(metric: Metric, found: Interval, whose: str) -> str:
    """`ROC AUC is lower than version 2's by 0.0213 [-0.0401, -0.0025] (higher is better)`; an error with its unit.

    Args:
        found: the challenger's minus that of `whose`, as it is (not turned so that greater is better).
    """
    value, low, high = (in_digits(each, found.largest, sign="+") for each in (found.value, found.low, found.high))
    said = f"equals {whose} to the digits shown"
    if float(value):
        size = f"{value.lstrip('+-')} {metric.measure}".rstrip()
        said = f"is {'higher' if found.value > 0 else 'lower'} than {whose} by {size}"
    return f"{metric.title} {said} [{low}, {high}] ({metric.good} is better)"
