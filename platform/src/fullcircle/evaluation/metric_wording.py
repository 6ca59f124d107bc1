"""Wording of metric differences in verdicts: better or worse follows from the sign, in one place. Pure."""

from __future__ import annotations

from fullcircle.core.statistics.interval import Interval
from fullcircle.core.tasks.metric import Metric


def difference(metric: Metric, found: Interval, whose: str) -> str:
    """`ROC AUC is lower than version 2's by 0.0213 [-0.0401, -0.0025] (higher is better)`; an error with its unit.

    Args:
        found: the challenger's minus that of `whose`, as it is (not turned so that greater is better).
    """
    value, low, high = (round(each, 4) + 0.0 for each in (found.value, found.low, found.high))  # no -0.0000
    said = f"equals {whose} to four digits"
    if value:
        said = (
            f"is {'higher' if value > 0 else 'lower'} than {whose} by {f'{abs(value):.4f} {metric.measure}'.rstrip()}"
        )
    return f"{metric.title} {said} [{low:+.4f}, {high:+.4f}] ({metric.good} is better)"
