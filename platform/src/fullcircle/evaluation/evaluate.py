"""How one model does on one set of rows: metrics with intervals, slices, and the reliability curve."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from fullcircle.core.records.verdicts import Evaluation, SliceScore
from fullcircle.core.statistics.binary_metrics import reliability
from fullcircle.core.statistics.intervals import auc_interval, metric_interval
from fullcircle.evaluation.metrics import METRIC
from fullcircle.evaluation.slices import groups, sliced_columns

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

    from fullcircle.core.project import Project


def evaluate(
    project: Project,
    framework: str,
    frame: pd.DataFrame,
    probability: NDArray[np.float32],
    *,
    champion: NDArray[np.float32] | None = None,
    seed: int = 0,
) -> Evaluation:
    """Every metric of `probability` (rows,) on the labels in `frame`, with 95% intervals.

    Args:
        champion: the champion's probability on the same rows; adds each slice's difference.

    Raises:
        ValueError: when shapes differ, a probability is not in [0, 1], or the labels lack a class.
    """
    labels = checked_labels(project, frame, probability)
    if champion is not None:
        checked_labels(project, frame, champion)
    return Evaluation(
        framework=framework,
        rows=len(labels),
        positives=int(labels.sum()),
        metrics={name: metric_interval(labels, probability, metric, seed=seed) for name, (metric, _) in METRIC.items()},
        slices=_slices(project, frame, labels, probability, champion),
        reliability=reliability(labels, probability),
    )


def checked_labels(project: Project, frame: pd.DataFrame, probability: NDArray[np.float32]) -> NDArray[np.int8]:
    """The labels, int8 (rows,). ValueError when `probability` does not fit them."""
    labels = frame[project.target.name].to_numpy()
    if probability.shape != labels.shape:
        raise ValueError(f"probability must have the labels' shape {labels.shape}, got {probability.shape}")
    if not in_unit_interval(probability):
        raise ValueError("probability must be finite and between 0 and 1")
    if not np.isin(labels, (0, 1)).all() or len(np.unique(labels)) < 2:
        raise ValueError(f"labels in {project.target.name!r} must be 0 and 1 with both present")
    return np.asarray(labels, dtype=np.int8)


def in_unit_interval(probability: NDArray[np.float32]) -> bool:
    """Whether every value is finite and between 0 and 1."""
    return bool(np.all((probability >= 0) & (probability <= 1)))


def _slices(
    project: Project,
    frame: pd.DataFrame,
    labels: NDArray[np.int8],
    probability: NDArray[np.float32],
    champion: NDArray[np.float32] | None,
) -> tuple[SliceScore, ...]:
    return tuple(
        SliceScore(
            column=column,
            group=group,
            rows=int(mask.sum()),
            roc_auc=auc_interval(labels[mask], probability[mask]),
            difference=auc_interval(labels[mask], probability[mask], champion[mask]) if champion is not None else None,
        )
        for column in sliced_columns(project)
        for group, mask in groups(project, frame, column)
    )
