"""Data quality of a window: more missing values, unknown categories, values outside the contract's range."""

from __future__ import annotations

from collections.abc import Callable, Mapping
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

    from fullcircle.predictions.fingerprints.fingerprint import LogFingerprint

MISSING, UNKNOWN, RANGE = "missing", "unknown category", "out of range"
LEAST = 0.01
"""Share of rows from which an excess over the reference is worth a word."""
SIGMAS = 3.0
"""And it must be this many standard errors beyond chance."""


Bad = dict[str, int]
"""What may be wrong with a column -> rows where it is."""


def quality(project: Project, current: pd.DataFrame, reference: pd.DataFrame) -> tuple[QualityIssue, ...]:
    """Issues of the input columns, worst first; none when a side has no rows.

    An issue's share of rows is 1% or more above the reference's, and so far above that chance does not explain it.
    """
    if current.empty or reference.empty:
        return ()
    found = {column.name: _bad(column, current, reference) for column in project.inputs}
    return _issues(found, len(current), reference, project)


def fingerprint_quality(project: Project, seen: LogFingerprint, reference: pd.DataFrame) -> tuple[QualityIssue, ...]:
    """As `quality`, of a window by its fingerprint: the same counts, without its rows.

    Where a window has more categories of a column than its fingerprint counts, unknown ones are those of which it is
    certain.
    """
    if reference.empty:
        return ()
    found = {column.name: _bad_by_fingerprint(column, seen, reference) for column in project.inputs}
    return _issues(found, seen.rows, reference, project)


def _issues(found: Mapping[str, Bad], rows: int, reference: pd.DataFrame, project: Project) -> tuple[QualityIssue, ...]:
    before, issues = len(reference), []
    for column in project.inputs:
        usual = _bad(column, reference, reference)
        for issue, bad in found[column.name].items():
            if _is_excess(bad, rows, usual[issue], before):
                shares = {"share": bad / rows, "reference_share": usual[issue] / before}
                issues.append(QualityIssue(column=column.name, issue=issue, **shares))
    return tuple(sorted(issues, key=lambda issue: issue.reference_share - issue.share))


def _bad(column: Column, frame: pd.DataFrame, reference: pd.DataFrame) -> Bad:
    return _IN_ROWS[column.kind](column, frame, reference)


def _bad_categories(column: Category, frame: pd.DataFrame, reference: pd.DataFrame) -> Bad:
    values = categories(frame, column.name)
    known = _known(column, reference)
    return {MISSING: int((values == "").sum()), UNKNOWN: int(_outside(values, known | {""}).sum())}


def _bad_numbers(column: Number, frame: pd.DataFrame, reference: pd.DataFrame) -> Bad:
    # Not samples.numbers: an infinite value is out of range, not missing.
    numbers = frame[column.name].to_numpy(dtype=np.float64, na_value=np.nan)
    return {MISSING: int(np.isnan(numbers).sum()), RANGE: int(outside(numbers, column.low, column.high).sum())}


def _bad_images(column: Image, frame: pd.DataFrame, reference: pd.DataFrame) -> Bad:
    """Images that are not there (NaN throughout), and images with a pixel out of range."""
    low, high = np.float32(column.low), np.float32(column.high)
    found = pixels(frame[column.name], column)
    beyond = ((found < low) | (found > high)).any(axis=1)
    return {MISSING: int(np.isnan(found).all(axis=1).sum()), RANGE: int(beyond.sum())}


_IN_ROWS: Mapping[str, Callable[..., Bad]] = MappingProxyType(
    {"number": _bad_numbers, "category": _bad_categories, "image": _bad_images}
)
"""Kind of column -> what may be wrong with it in rows: `(column, rows, reference)`."""


def _bad_by_fingerprint(column: Column, seen: LogFingerprint, reference: pd.DataFrame) -> Bad:
    if isinstance(column, Category):
        summary = seen.categories[column.name]
        return {MISSING: summary.missing, UNKNOWN: summary.unseen(_known(column, reference)).least}
    numbers = seen.numbers[column.name]
    return {MISSING: numbers.missing, RANGE: numbers.outside}


def _known(column: Category, reference: pd.DataFrame) -> set[str]:
    return set(categories(reference, column.name)) if column.known == "learn" else set(column.known)


def _outside(values: NDArray[np.object_], known: set[str]) -> NDArray[np.bool_]:
    return np.fromiter((value not in known for value in values.tolist()), dtype=bool, count=len(values))


def _is_excess(bad: int, rows: int, usual: int, before: int) -> bool:
    excess = bad / rows - usual / before
    pooled = (bad + usual) / (rows + before)
    error = float(np.sqrt(pooled * (1 - pooled) * (1 / rows + 1 / before)))
    return excess >= LEAST and excess > SIGMAS * error
