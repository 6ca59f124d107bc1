"""Realised performance: what the predictions were worth, on the rows whose labels arrived."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from fullcircle.core.records.health import Performance
from fullcircle.core.statistics.binary_metrics import brier, log_loss, roc_auc
from fullcircle.core.statistics.intervals import metric_interval, paired_interval

if TYPE_CHECKING:
    from numpy.typing import NDArray

MIN_LABELS = 50
"""Below this many labels an interval says nothing."""


def performance(
    labels: NDArray[np.float64],
    probability: NDArray[np.float32],
    *,
    expected_auc: float | None,
    previous: NDArray[np.float32] | None = None,
    seed: int = 0,
) -> Performance | None:
    """Realised metrics with 95% intervals; None below 50 labels or with only one class among them.

    Args:
        labels: 0 or 1, NaN while unknown, shape (rows,).
        expected_auc: what the gate measured at release.
        previous: the previous champion's probabilities on the same rows.
    """
    known = np.isfinite(labels) & np.isfinite(probability)
    if previous is not None:
        known &= np.isfinite(previous)
    y, p = labels[known].astype(np.int8), probability[known]
    if len(y) < MIN_LABELS or len(np.unique(y)) < 2:
        return None
    gain = paired_interval(y, previous[known], p, roc_auc, seed=seed) if previous is not None else None
    return Performance(
        rows=len(y),
        positives=int(y.sum()),
        roc_auc=metric_interval(y, p, roc_auc, seed=seed),
        log_loss=metric_interval(y, p, log_loss, seed=seed),
        brier=metric_interval(y, p, brier, seed=seed),
        expected_auc=expected_auc,
        previous_gain=gain,
    )
