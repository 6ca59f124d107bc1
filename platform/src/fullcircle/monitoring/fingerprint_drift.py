"""Drift of the input columns of a large window, by its fingerprint and not by its rows.

A window is read by its rows up to `BY_ROWS` of them. Of a larger one the sketches know more than the sample of
`samples.ROWS` rows that `drift` looks at: the standard error of a rank is 0.5% in a sketch, whatever the size, and 0.7%
in that sample. So the thresholds stay those of such a sample, and the false alarms below what they promise.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import numpy as np

from fullcircle.core.project import Column, Image, Project
from fullcircle.core.records.health import ColumnDrift
from fullcircle.core.row_tensors import coded
from fullcircle.monitoring.drift_metrics import (
    JENSEN_SHANNON,
    LEAST_NORM,
    MISSING,
    SUPPORT,
    WASSERSTEIN,
    clip_limits,
    js_of_counts,
    null_missing,
    wasserstein,
)
from fullcircle.monitoring.samples import ROWS, categories, n_resamples, null_quantile, numbers, sample

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

    from fullcircle.predictions.fingerprints.category_summary import CategorySummary
    from fullcircle.predictions.fingerprints.fingerprint import LogFingerprint
    from fullcircle.predictions.fingerprints.number_summary import NumberSummary

    Floats = NDArray[np.float64]

BY_ROWS = 50_000
"""Rows up to which a window is judged by its rows, and most that are read of a larger one."""
OTHERS = ""
"""What missing categories are called, and, of a column with more than a fingerprint counts, all rare ones together."""
OFTEN = 0.001
"""Share of rows from which a category of such a column is no rare one."""
BRIDGES = 4 * SUPPORT


def fingerprint_drift(
    project: Project, seen: LogFingerprint, reference: pd.DataFrame, *, seed: int = 0
) -> tuple[ColumnDrift, ...]:
    """The drift of each input column that is no image, as `drift.column_drift` finds it in the rows.

    Args:
        seen: of the whole window, of `BY_ROWS` rows or more.
    """
    if reference.empty or not seen.rows:
        return ()
    alpha, before = project.watch.false_alarms, sample(reference, ROWS, seed)
    walks = bridges(n_resamples(alpha), seed)
    return tuple(
        _column(column, seen, before, reference, walks, alpha, seed)
        for column in project.inputs
        if not isinstance(column, Image)
    )


def _column(
    column: Column,
    seen: LogFingerprint,
    before: pd.DataFrame,
    reference: pd.DataFrame,
    walks: Floats,
    alpha: float,
    seed: int,
) -> ColumnDrift:
    if column.is_text:
        return _category(column.name, seen.categories[column.name], before, reference, alpha, seed)
    found = _number(column.name, seen.numbers[column.name], numbers(before, column.name), walks, alpha, seed)
    return max(found, key=lambda drift: drift.distance / drift.threshold)


def _number(
    name: str, seen: NumberSummary, before: Floats, walks: Floats, alpha: float, seed: int
) -> Iterator[ColumnDrift]:
    values = before[~np.isnan(before)]
    # As many of the gaps as a sample of so many rows has: the fewest of which `drift` says something.
    rows = min(ROWS, seen.rows)
    gaps = round((seen.rows - seen.values) / seen.rows * rows), len(before) - len(values)
    has_values, has_gaps = bool(len(values)) and gaps[0] < rows and seen.values > 0, any(gaps)
    share = alpha / 2 if has_values and has_gaps else alpha
    if has_values:
        sizes = len(values), rows - gaps[0]
        threshold = null_quantile(null_wasserstein_of_bridges(values, sizes, walks), share)
        distance = wasserstein(values, *seen.points())
        yield ColumnDrift(column=name, method=WASSERSTEIN, distance=distance, threshold=threshold)
    if has_gaps or not has_values:
        sides = np.arange(len(before)) < gaps[1], np.arange(rows) < gaps[0]
        null = null_missing(*sides, n_resamples=2 * n_resamples(alpha), seed=seed)
        counts = [np.array([[side.sum(), (~side).sum()]]) for side in sides]
        distance = float(js_of_counts(*counts)[0])
        yield ColumnDrift(column=name, method=MISSING, distance=distance, threshold=null_quantile(null, share))


def _category(
    name: str, seen: CategorySummary, before: pd.DataFrame, reference: pd.DataFrame, alpha: float, seed: int
) -> ColumnDrift:
    """Of a seeded sample of the counts, which is as if the rows had been sampled."""
    rows = min(ROWS, seen.rows)
    counted = {text: bounds.least for text, bounds in seen.counts().items()}
    sides = [_counts(categories(side, name)) for side in (before, reference)]
    if seen.error:
        often = _often(sides[1], len(reference)) | _often(counted, seen.rows, seen.error)
        counted, *sides = ({text: rows for text, rows in side.items() if text in often} for side in (counted, *sides))
    now, was, pool = (
        {**side, OTHERS: size - sum(side.values()) + side.get(OTHERS, 0)}
        for side, size in zip((counted, *sides), (seen.rows, len(before), len(reference)), strict=True)
    )
    kinds = sorted({*now, *was, *pool})
    cells = [np.array([side.get(text, 0) for text in kinds]) for side in (now, was, pool)]
    rng = np.random.default_rng(seed)
    drawn = rng.multivariate_hypergeometric(cells[0], rows)
    shares = cells[2] / len(reference)
    null = js_of_counts(*(rng.multinomial(size, shares, size=n_resamples(alpha)) for size in (len(before), rows)))
    distance = float(js_of_counts(cells[1][None, :], drawn[None, :])[0])
    return ColumnDrift(column=name, method=JENSEN_SHANNON, distance=distance, threshold=null_quantile(null, alpha))


def _counts(texts: NDArray[np.object_]) -> dict[str, int]:
    codes, kinds = coded(texts)
    return dict(zip(kinds.tolist(), np.bincount(codes, minlength=len(kinds)).tolist(), strict=True))


def _often(counts: Mapping[str, int], rows: int, least: int = 0) -> set[str]:
    """Categories that are no accident of the rows at hand: of the many rare ones each side has others."""
    return {text for text, count in counts.items() if count > max(OFTEN * rows, least)}


def bridges(n_resamples: int, seed: int) -> Floats:
    """Brownian bridges on `BRIDGES` equal steps, without their ends at 0: (resamples, steps + 1)."""
    steps = np.random.default_rng(seed).normal(scale=BRIDGES**-0.5, size=(n_resamples, BRIDGES))
    walks = np.concatenate([np.zeros((n_resamples, 1)), np.cumsum(steps, axis=1)], axis=1)
    return np.asarray(walks - np.linspace(0, 1, BRIDGES + 1) * walks[:, -1:], dtype=np.float64)


def null_wasserstein_of_bridges(reference: Floats, sizes: tuple[int, int], walks: Floats) -> Floats:
    """Distances of two samples of so many rows of the reference, (resamples,).

    What lies between the distribution functions of two large samples is a Brownian bridge at the ranks of the values
    (Donsker 1952; del Barrio, Gine, Matran 1999 for this distance), so one draw of bridges serves every column, where
    resampled rows take 40 ms of each.

    Args:
        reference: without NaN.
        walks: of `bridges`.
    """
    low, high = clip_limits(reference)
    clipped = np.sort(np.clip(reference, low, high))
    at = np.flatnonzero(np.diff(clipped) > 0)  # between equal values nothing is moved
    if len(at) > SUPPORT:
        at = at[np.linspace(0, len(at) - 1, SUPPORT + 1).round().astype(int)]
    gaps = _gaps(clipped, at)
    ranks = np.round((at + 1) / len(clipped) * BRIDGES).astype(int)
    norm = max(float(np.std(clipped)), LEAST_NORM)
    scale = np.sqrt(1 / sizes[0] + 1 / sizes[1])
    return np.asarray(np.abs(walks[:, ranks]) @ gaps * scale / norm, dtype=np.float64)


def _gaps(ordered: Floats, at: NDArray[np.intp]) -> Floats:
    """What of the way from the least to the largest value lies nearest to each of these places."""
    if not len(at):
        return np.zeros(0)
    middles = (ordered[at[:-1] + 1] + ordered[at[1:]]) / 2
    return np.diff(np.concatenate([ordered[:1], middles, ordered[-1:]]))
