"""Holm's correction for multiple testing: which slices credibly fell below the champion."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from fullcircle.core.project import Project, SliceGate
from fullcircle.core.statistics.clusters import clusters_within, degrees_of_freedom
from fullcircle.core.statistics.interval import Interval
from fullcircle.core.tasks import Metric
from fullcircle.evaluation.slices import judged_groups
from fullcircle.evaluation.superiority_test import superiority_test

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
    clusters: NDArray[np.intp] | None = None,
) -> list[tuple[int, list[tuple[str, Interval]]]]:
    """For each gate: how many groups it looked at, and (group, fall) of those that fell beyond its `drop`.

    A fall is how much worse than the champion the group's metric is, greater is worse, with its 95% interval.

    Args:
        clusters: of the rows, (rows,), where they are no evidence of their own.
    """
    falls: list[list[tuple[str, Interval]]] = []
    p_values: list[float] = []
    for gate in gates:
        falls.append([])
        for group, mask in judged_groups(project, frame, gate.column, targets):
            together = clusters_within(clusters, mask)
            metric = project.target.metrics_in(gate.column)[gate.metric].clustered(together)
            fall = _fall(metric, targets[mask], challenger[mask], champion[mask], seed)
            falls[-1].append((group, fall))
            p_values.append(_p_value(fall, gate.drop, together))
    fell = iter(holm(p_values))
    return [(len(looked), [pair for pair in looked if next(fell)]) for looked in falls]


def _fall(
    metric: Metric, targets: NDArray[Any], challenger: NDArray[np.float32], champion: NDArray[np.float32], seed: int
) -> Interval:
    better, worse = (champion, challenger) if metric.greater_is_better else (challenger, champion)
    return metric.difference(targets, better, worse, seed)


def _p_value(fall: Interval, drop: float, clusters: NDArray[np.intp] | None) -> float:
    """Of "it fell by `drop` at most", one-sided."""
    freedom = None if clusters is None else degrees_of_freedom(clusters)
    return superiority_test(fall, drop, 0.0, freedom=freedom).p_value
