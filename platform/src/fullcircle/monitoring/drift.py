"""Drift of input columns, against thresholds that hold the false alarms at any size of window.

A threshold is the distance that two samples of the reference itself, as large as those compared, exceed in only
`watch.false_alarms` of the cases. See docs/adr/0051-drift-thresholds.md.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from fullcircle.core.project import Column, Image, Project
from fullcircle.core.records.health import ColumnDrift
from fullcircle.monitoring.drift_metrics import (
    JENSEN_SHANNON,
    MISSING,
    WASSERSTEIN,
    Resamples,
    jensen_shannon,
    null_jensen_shannon,
    null_missing,
    null_wasserstein,
    wasserstein,
)
from fullcircle.monitoring.image_drift import image_drift
from fullcircle.monitoring.samples import POOL, ROWS, categories, n_resamples, null_quantile, numbers, sample

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray


def column_drift(
    project: Project, current: pd.DataFrame, reference: pd.DataFrame, *, seed: int = 0
) -> tuple[ColumnDrift, ...]:
    """The drift of each input column; empty when a side has no rows.

    A number is judged by its values and, where any are missing, by how many are missing: the result is whichever is
    further over its threshold, each held to half of the false alarms. A category's missing value is one more category.
    An image is judged by its embedding (`image_drift`).
    """
    if current.empty or reference.empty:
        return ()
    alpha = project.watch.false_alarms
    images = [column for column in project.inputs if isinstance(column, Image)]
    if images:
        found = [image_drift(column, current, reference, alpha, seed=seed) for column in images]
        return tuple(drift for drift in found if drift is not None)
    now, before, pool = sample(current, ROWS, seed), sample(reference, ROWS, seed), sample(reference, POOL, seed)
    draws = Resamples.of(len(pool), len(before), len(now), n_resamples=n_resamples(alpha), seed=seed)
    return tuple(_column(column, now, before, pool, draws, alpha, seed) for column in project.inputs)


def _column(
    column: Column,
    now: pd.DataFrame,
    before: pd.DataFrame,
    pool: pd.DataFrame,
    draws: Resamples,
    alpha: float,
    seed: int,
) -> ColumnDrift:
    if column.is_text:
        distance = jensen_shannon(categories(before, column.name), categories(now, column.name))
        threshold = null_quantile(null_jensen_shannon(categories(pool, column.name), draws), alpha)
        return _drift(column.name, JENSEN_SHANNON, distance, threshold)
    sides = numbers(before, column.name), numbers(now, column.name)
    found = _number(column.name, *sides, numbers(pool, column.name), draws, alpha, seed)
    return max(found, key=lambda drift: drift.distance / drift.threshold)


def _number(
    name: str,
    before: NDArray[np.float64],
    now: NDArray[np.float64],
    pool: NDArray[np.float64],
    draws: Resamples,
    alpha: float,
    seed: int,
) -> Iterator[ColumnDrift]:
    gaps = np.isnan(before), np.isnan(now)
    has_values = not gaps[0].all() and not gaps[1].all()
    has_gaps = bool(gaps[0].any() or gaps[1].any())
    share = alpha / 2 if has_values and has_gaps else alpha
    if has_values:
        values = before[~gaps[0]]
        threshold = null_quantile(null_wasserstein(pool, values, draws), share)
        yield _drift(name, WASSERSTEIN, wasserstein(values, now[~gaps[1]]), threshold)
    if has_gaps:
        threshold = null_quantile(null_missing(*gaps, n_resamples=2 * n_resamples(alpha), seed=seed), share)
        yield _drift(name, MISSING, jensen_shannon(*(side.astype(object) for side in gaps)), threshold)


def _drift(name: str, method: str, distance: float, threshold: float) -> ColumnDrift:
    return ColumnDrift(column=name, method=method, distance=distance, threshold=threshold)
