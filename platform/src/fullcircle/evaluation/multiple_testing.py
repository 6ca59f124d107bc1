"""Holm's correction for multiple testing: which slices credibly fell below the champion."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import NormalDist
from typing import TYPE_CHECKING, Any

import numpy as np

from fullcircle.core.project import Project, SliceGate
from fullcircle.core.statistics.binary_metrics import standard_error
from fullcircle.core.statistics.interval import Interval
from fullcircle.core.tasks import Metric
from fullcircle.evaluation.slices import judged_groups

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

ALPHA = 0.025
"""One-sided: the share of releases without any fall that slices may stop, over all slices together."""


def holm(p_values: Sequence[float], alpha: float = ALPHA) -> tuple[bool, ...]:
    """Which hypotheses fall at family-wise error `alpha`. Source: Holm 1979."""
    rejected, open_still = [False] * len(p_values), True
    for step, index in enumerate(np.argsort(p_values, kind="stable")):
        open_still = open_still and p_values[index] <= alpha / (len(p_values) - step)
        rejected[index] = open_still
    return tuple(rejected)


def fallen_slices(
    project: Project,
    frame: pd.DataFrame,
    targets: NDArray[Any],
    gates: Sequence[SliceGate],
    *,
    challenger: NDArray[np.float32],
    champion: NDArray[np.float32],
    seed: int,
) -> list[tuple[int, list[tuple[str, Interval]]]]:
    """For each gate: how many groups it looked at, and (group, fall) of those that fell beyond its `drop`.

    A fall is how much worse than the champion the group's metric is, greater is worse, with its 95% interval.
    """
    falls: list[list[tuple[str, Interval]]] = []
    p_values: list[float] = []
    for gate in gates:
        falls.append([])
        for group, mask in judged_groups(project, frame, gate.column, targets):
            metric = project.target.metrics_in(gate.column)[gate.metric]
            fall = _fall(metric, targets[mask], challenger[mask], champion[mask], seed)
            falls[-1].append((group, fall))
            p_values.append(_p_value(fall, gate.drop))
    fell = iter(holm(p_values))
    return [(len(looked), [pair for pair in looked if next(fell)]) for looked in falls]


def _fall(
    metric: Metric, targets: NDArray[Any], challenger: NDArray[np.float32], champion: NDArray[np.float32], seed: int
) -> Interval:
    better, worse = (champion, challenger) if metric.greater_is_better else (challenger, champion)
    return metric.difference(targets, better, worse, seed)


def _p_value(fall: Interval, drop: float) -> float:
    """Of "it fell by `drop` at most", one-sided, by the normal approximation."""
    error = standard_error(fall, drop)
    if error == 0.0:
        return 0.0 if fall.value > drop else 1.0
    return 1.0 - NormalDist().cdf((fall.value - drop) / error)
