"""Sampling of rows for monitoring, one convention for missing values, and thresholds (null quantiles) from
resamples."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

ROWS = 5_000
"""Most rows a side that distances and the report look at: bounds the cost of a window of any size."""
POOL = 50_000
"""Most reference rows that thresholds are resampled from."""


def sample(frame: pd.DataFrame, limit: int, seed: int) -> pd.DataFrame:
    """At most `limit` rows, in their order. The same frame and seed always give the same rows."""
    if len(frame) <= limit:
        return frame
    chosen = np.random.default_rng(seed).choice(len(frame), size=limit, replace=False)
    return frame.iloc[np.sort(chosen)]


def numbers(frame: pd.DataFrame, column: str) -> NDArray[np.float64]:
    """A column's values as float64 (rows,); NaN where missing or infinite."""
    values = frame[column].to_numpy(dtype=np.float64, na_value=np.nan)
    return np.where(np.isfinite(values), values, np.nan)


def categories(frame: pd.DataFrame, column: str) -> NDArray[np.object_]:
    """A column's values as strings (rows,); "" where missing."""
    values = frame[column]
    return values.astype(object).where(values.notna(), "").astype(str).to_numpy(dtype=object)


def n_resamples(false_alarms: float) -> int:
    """How many pairs to draw: enough for about five beyond the threshold."""
    return min(1000, max(200, math.ceil(5 / false_alarms)))


def null_quantile(null: NDArray[np.float64], false_alarms: float) -> float:
    """The distance that at most a share of `false_alarms` of the null distances exceeds."""
    beyond = max(1, math.floor(false_alarms * (len(null) + 1)))
    highest = float(np.partition(null, len(null) - beyond)[len(null) - beyond])
    # A hair above: a distance that equals its threshold is drift to Evidently and none to us.
    return highest * (1 + 1e-9) + 1e-9
