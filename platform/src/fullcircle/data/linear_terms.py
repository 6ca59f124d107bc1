"""Finds the few numeric columns of which a number is a weighted sum, by least squares. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

    Numbers = NDArray[np.float64]

ROWS_EACH = 10
"""Rows that it takes for each column: with fewer, a fit says little, and nothing is looked for."""
ROWS = 5_000
"""Most rows that are looked at, unless the columns are so many that these are too few."""
MOST_TERMS = 12
"""A sum of more columns than these is not taken for a leak."""
UNEXPLAINED = 1e-4
"""Most of the target's variance that the sum may leave over, and its root of a typical row's distance."""
PARALLEL = 1e-10
"""Directions in which the columns vary less than this share of the widest one are taken for rounding."""


def linear_terms(columns: pd.DataFrame, target: Numbers) -> dict[str, float]:
    """Column -> weight, in the columns' order; empty where no few columns add up to it.

    Args:
        columns: numbers (rows, columns), NaN where one is missing.
        target: finite (rows,).
    """
    step = max(1, len(target) // max(ROWS, ROWS_EACH * columns.shape[1]))
    columns = columns.iloc[::step]
    moving = [name for name in columns if columns[name].nunique() > 1]
    needed = max(ROWS_EACH * len(moving), 2 * ROWS_EACH)
    x = columns[moving].to_numpy(dtype=np.float64, na_value=np.nan)
    y = np.asarray(target, dtype=np.float64)[::step]
    x, y = _complete(x, y, needed)
    if not moving or len(y) < needed or np.ptp(y) == 0.0 or not _explains(x, y):
        return {}
    kept = _few(x, y)
    if not kept:
        return {}
    weights, _ = _fit(x[:, kept], y)
    return {str(moving[index]): float(weight) for index, weight in zip(kept, weights, strict=True)}


def _complete(x: Numbers, y: Numbers, needed: int) -> tuple[Numbers, Numbers]:
    """The rows in which nothing is missing; where they are too few, all rows, with means for what is missing."""
    gaps = ~np.isfinite(x)
    whole = ~gaps.any(axis=1)
    if int(whole.sum()) >= needed:
        return x[whole], y[whole]
    counts = np.maximum((~gaps).sum(axis=0), 1)
    means = np.where(gaps, 0.0, x).sum(axis=0) / counts
    return np.where(gaps, means, x), y


def _few(x: Numbers, y: Numbers) -> list[int]:
    """The columns without any of which the sum is no longer the target; none where they are too many."""
    weights, _ = _fit(x, y)
    order = np.argsort(-np.abs(weights) * x.std(axis=0), kind="stable")
    count = next((n for n in range(1, min(MOST_TERMS, len(order)) + 1) if _explains(x[:, order[:n]], y)), 0)
    kept = [int(index) for index in order[:count]]
    # Of columns that say the same, each has a part of the weight: without one of them, the others do.
    for index in reversed(kept.copy()):
        rest = [other for other in kept if other != index]
        if rest and _explains(x[:, rest], y):
            kept = rest
    return sorted(kept)


def _explains(x: Numbers, y: Numbers) -> bool:
    """Whether a weighted sum leaves next to nothing over, of the variance and in a typical row alike.

    By the variance alone, one huge value that a column shares with the target would do.
    """
    _, left = _fit(x, y)
    typical = float(np.median(np.abs(y - np.median(y)))) or float(np.abs(y - y.mean()).mean())
    return bool(
        float(left @ left) <= UNEXPLAINED * float(((y - y.mean()) ** 2).sum())
        and float(np.median(np.abs(left))) <= UNEXPLAINED**0.5 * typical
    )


def _fit(x: Numbers, y: Numbers) -> tuple[Numbers, Numbers]:
    """Weights of the columns, an intercept beside them, and what is left over of each row.

    By the columns' correlations, (columns, columns), which takes a second for a thousand columns of ten thousand rows.
    """
    middle, spread = x.mean(axis=0), x.std(axis=0)
    spread = np.where(spread > 0.0, spread, 1.0)
    scaled, centred = (x - middle) / spread, y - y.mean()
    weights = np.linalg.lstsq(scaled.T @ scaled, scaled.T @ centred, rcond=PARALLEL)[0]
    return weights / spread, centred - scaled @ weights
