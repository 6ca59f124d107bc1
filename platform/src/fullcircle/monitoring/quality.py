"""Data quality of a window: more missing values, unknown categories, values outside the contract's range."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np

from fullcircle.core.project import Category, Column, Image, Number, Project
from fullcircle.core.records.health import QualityIssue
from fullcircle.core.row_tensors import outside, pixels
from fullcircle.monitoring.samples import categories

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

MISSING, UNKNOWN, RANGE = "missing", "unknown category", "out of range"
LEAST = 0.01
"""Share of rows from which an excess over the reference is worth a word."""
SIGMAS = 3.0
"""And it must be this many standard errors beyond chance."""


def quality(project: Project, current: pd.DataFrame, reference: pd.DataFrame) -> tuple[QualityIssue, ...]:
    """Issues of the input columns, worst first; none when a side has no rows.

    An issue's share of rows is 1% or more above the reference's, and so far above that chance does not explain it.
    """
    if current.empty or reference.empty:
        return ()
    found = [
        QualityIssue(column=column.name, issue=issue, share=float(bad.mean()), reference_share=float(usual.mean()))
        for column in project.inputs
        for issue, bad, usual in _shares(column, current, reference)
        if _is_excess(bad, usual)
    ]
    return tuple(sorted(found, key=lambda issue: issue.reference_share - issue.share))


def _shares(
    column: Column, current: pd.DataFrame, reference: pd.DataFrame
) -> Iterator[tuple[str, NDArray[np.bool_], NDArray[np.bool_]]]:
    yield from _SHARES[column.kind](column, current, reference)


def _category_shares(
    column: Category, current: pd.DataFrame, reference: pd.DataFrame
) -> Iterator[tuple[str, NDArray[np.bool_], NDArray[np.bool_]]]:
    now, before = categories(current, column.name), categories(reference, column.name)
    yield MISSING, now == "", before == ""
    known = set(before) if column.known == "learn" else set(column.known)
    known.add("")
    yield UNKNOWN, _outside(now, known), _outside(before, known)


def _number_shares(
    column: Number, current: pd.DataFrame, reference: pd.DataFrame
) -> Iterator[tuple[str, NDArray[np.bool_], NDArray[np.bool_]]]:
    # Not samples.numbers: an infinite value is out of range, not missing.
    sides = [frame[column.name].to_numpy(dtype=np.float64, na_value=np.nan) for frame in (current, reference)]
    yield MISSING, np.isnan(sides[0]), np.isnan(sides[1])
    now_bad, before_bad = (outside(side, column.low, column.high) for side in sides)
    yield RANGE, now_bad, before_bad


def _image_shares(
    column: Image, current: pd.DataFrame, reference: pd.DataFrame
) -> Iterator[tuple[str, NDArray[np.bool_], NDArray[np.bool_]]]:
    """Images that are not there (NaN throughout), and images with a pixel out of range."""
    low, high = np.float32(column.low), np.float32(column.high)
    sides = [pixels(frame[column.name], column) for frame in (current, reference)]
    absent = [np.asarray(np.isnan(side).all(axis=1), dtype=bool) for side in sides]
    beyond = [np.asarray(((side < low) | (side > high)).any(axis=1), dtype=bool) for side in sides]
    yield MISSING, absent[0], absent[1]
    yield RANGE, beyond[0], beyond[1]


_SHARES: Mapping[str, Callable[..., Iterator[tuple[str, NDArray[np.bool_], NDArray[np.bool_]]]]] = MappingProxyType(
    {"number": _number_shares, "category": _category_shares, "image": _image_shares}
)
"""Kind of column -> what may be wrong with it, and the rows of the window and of the reference where it is."""


def _outside(values: NDArray[np.object_], known: set[str]) -> NDArray[np.bool_]:
    return np.fromiter((value not in known for value in values.tolist()), dtype=bool, count=len(values))


def _is_excess(bad: NDArray[np.bool_], usual: NDArray[np.bool_]) -> bool:
    share, before = float(bad.mean()), float(usual.mean())
    pooled = (bad.sum() + usual.sum()) / (len(bad) + len(usual))
    error = float(np.sqrt(pooled * (1 - pooled) * (1 / len(bad) + 1 / len(usual))))
    return share - before >= LEAST and share - before > SIGMAS * error
