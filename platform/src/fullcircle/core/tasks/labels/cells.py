"""Cells of labels, whatever they are: what is a number, what is a label, and which values a reader should see."""

from __future__ import annotations

import numbers
from collections.abc import Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import numpy as np

from fullcircle.core.plain_values import EXACT, double, is_inexact

if TYPE_CHECKING:
    from numpy.typing import NDArray

SHOWN_LABELS = 5
Label = bool | int | str
"""What a class is called in the data. Numbers and booleans are taken for each other: True is 1."""


def cells_of(values: Sequence[Any]) -> NDArray[np.object_]:
    """The values as they are, object (rows,), lists among them."""
    return np.fromiter(values, dtype=object, count=len(values))


def real_numbers(labels: Any) -> NDArray[np.float64]:
    """Labels as float64 (rows,); NaN for what is no number. A boolean is none, and neither is text of digits."""
    cells = np.asarray(labels)
    if cells.dtype.kind in "iuf":
        return cells.astype(np.float64)
    found = (
        double(cell) if type(cell) is not bool and isinstance(cell, numbers.Real | Decimal) else np.nan
        for cell in cells.astype(object).tolist()
    )
    return np.fromiter(found, dtype=np.float64, count=len(cells))


def inexact(labels: Any) -> NDArray[np.bool_]:
    """Which labels are whole numbers beyond 2^53, of which float64 does not have every one, bool (rows,)."""
    cells = np.asarray(labels)
    if cells.dtype.kind in "iu":  # both ends compared: the absolute value of the least int64 is itself
        return np.asarray((cells > EXACT) | (cells < -EXACT), dtype=np.bool_)
    if cells.dtype != object:
        return np.zeros(len(cells), dtype=np.bool_)
    return np.fromiter(map(is_inexact, cells.tolist()), dtype=np.bool_, count=len(cells))


def is_label(cells: NDArray[Any], label: Label) -> NDArray[np.bool_]:
    """Where a cell is that label, bool (rows,). Text is never taken for a number, nor a number for text."""
    if cells.dtype.kind in "biuf":
        return np.zeros(len(cells), dtype=np.bool_) if isinstance(label, str) else np.asarray(cells == label)
    wanted: tuple[type, ...] = (str,) if isinstance(label, str) else (numbers.Real, Decimal, np.bool_)
    found = (isinstance(cell, wanted) and cell == label for cell in cells.astype(object).tolist())
    return np.fromiter(found, dtype=np.bool_, count=len(cells))


def shown_values(labels: Any, where: NDArray[np.bool_]) -> str:
    """The most frequent values of a few labels, as a reader can find them: `'maybe' (12), None (3)`."""
    cells = [repr(cell)[:40] for cell in np.asarray(labels, dtype=object)[where][:100_000].tolist()]
    found, counts = np.unique(np.array(cells, dtype=object).astype(str), return_counts=True)
    order = np.argsort(-counts, kind="stable")
    said = [f"{found[index]} ({counts[index]:,})" for index in order[:SHOWN_LABELS]]
    more = len(found) - len(said)
    return ", ".join(said) + (f" and {more:,} more values" if more else "")
