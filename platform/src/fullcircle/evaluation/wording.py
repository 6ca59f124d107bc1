"""How gates say a difference: the words for its direction come from its sign, in one place. Pure."""

from __future__ import annotations

from fullcircle.core.statistics.interval import Interval
from fullcircle.evaluation.metrics import METRIC, TITLE


def difference(metric: str, found: Interval, whose: str) -> str:
    """`ROC AUC is lower than version 2's by 0.0213 [-0.0401, -0.0025] (higher is better)`.

    Args:
        found: the challenger's minus that of `whose`, as it is (not turned so that greater is better).
    """
    value, low, high = (round(each, 4) + 0.0 for each in (found.value, found.low, found.high))  # no -0.0000
    said = f"equals {whose} to four digits"
    if value:
        said = f"is {'higher' if value > 0 else 'lower'} than {whose} by {abs(value):.4f}"
    good = "higher" if METRIC[metric][1] else "lower"
    return f"{TITLE[metric]} {said} [{low:+.4f}, {high:+.4f}] ({good} is better)"


def wrong_side(metric: str) -> str:
    """Where a model that is worse lies: `below` where greater is better, else `above`."""
    return "below" if METRIC[metric][1] else "above"
