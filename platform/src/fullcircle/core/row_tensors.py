"""Raw rows as tensors: the one convention that training, serving, SHAP and parity share.

A `Number` is float32 of shape (rows, 1), missing is NaN. A `Category` is a string of shape (rows, 1), missing is "".
An `Image` is float32 of shape (rows, height, width, channels); in a frame each cell is its flat float32 array.
"""

from __future__ import annotations

import numbers
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np

from fullcircle.core.project.columns import Column

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

FIRST_YEAR, LAST_YEAR = 1900, 2200
"""Years in which an event may be: seconds that were taken for milliseconds, or the other way round, mostly are not."""
OVERFLOW = float(2**128 - 2**103)
"""The smallest number that rounds to infinity as float32: half a step above the largest one."""


def identity(value: object) -> str | None:
    """The one form of a row's id, by which labels, predictions and files are joined: 7 and "7" are one id.

    None for what is no id: 7.0, true and bytes, which other programs would write in other ways.
    """
    if isinstance(value, str):
        return str(value)
    if isinstance(value, bool) or not isinstance(value, numbers.Integral):
        return None
    return str(int(value))


def identities(values: pd.Series[Any]) -> list[str]:
    """A column of ids in their one form; what is no id as Python writes it."""
    return [str(value) if (found := identity(value)) is None else found for value in values.tolist()]


def outside(values: NDArray[Any], low: float | None, high: float | None) -> NDArray[np.bool_]:
    """Where numbers lie outside an inclusive range, both as float32, which is what the graph and the log hold.

    So a file in float64, the same file in float32, a request and the log agree about 0.1 at the edge of "at most 0.1".
    A missing number (NaN) lies in every range, an infinite one in none.
    """
    with np.errstate(over="ignore"):
        found = np.asarray(values, dtype=np.float64).astype(np.float32)
        beyond = np.isinf(found)
        if low is not None:
            beyond |= found < np.float32(low)
        if high is not None:
            beyond |= found > np.float32(high)
    return np.asarray(beyond, dtype=bool)


def coded(values: NDArray[np.object_]) -> tuple[NDArray[np.int64], NDArray[np.object_]]:
    """Each text as its place among the different ones, which are in order: (rows,) and (kinds,).

    As numpy's `unique`, but on text as Python has it: numpy's own is as wide in every row as the longest is and drops
    NULs at the end, and pandas' `factorize` and `unique` end a text at its first NUL.
    """
    texts = np.asarray(values, dtype=object).tolist()
    kinds = sorted(set(texts))
    places = {kind: place for place, kind in enumerate(kinds)}
    codes = np.fromiter((places[text] for text in texts), dtype=np.int64, count=len(texts))
    return codes, np.array(kinds, dtype=object)


def raw_frame(frame: pd.DataFrame, columns: Sequence[Column]) -> pd.DataFrame:
    """The columns alone, in order, in the raw convention (float32 with NaN, str with "", flat float32 arrays). Copies.

    Raises:
        ValueError: a cell is no number, no text, or no image of its column's size.
    """
    import pandas as pd

    data: dict[str, object] = {}
    for column in columns:
        data[column.name] = _RAW[column.kind](frame[column.name], column)
    return pd.DataFrame(data, index=frame.index)


def _texts(values: pd.Series[Any], column: Column) -> pd.Series[Any]:
    """A category's cells as text, "" where missing. A number is none: 7 would be "7" here and "7.0" beside a gap."""
    import pandas as pd

    cells = values.astype(object).where(values.notna(), "")
    if len(cells) and pd.api.types.infer_dtype(cells, skipna=False) != "string":
        row, cell = next((row, cell) for row, cell in enumerate(cells.tolist()) if not isinstance(cell, str))
        raise ValueError(f"column {column.name!r}, row {row}: a category is text, got {cell!r:.40}")
    return cells.astype(str).astype(object)


def _numbers(values: pd.Series[Any], column: Column) -> pd.Series[Any]:
    return values.astype("float32")


def _images(values: pd.Series[Any], column: Column) -> NDArray[np.object_]:
    return flat_images(pixels(values, column))


_RAW: Mapping[str, Callable[[pd.Series[Any], Column], Any]] = MappingProxyType(
    {"number": _numbers, "category": _texts, "image": _images}
)
"""Kind of column -> its cells in the raw convention."""


def tensors(frame: pd.DataFrame, columns: Sequence[Column]) -> dict[str, NDArray[np.generic]]:
    """Raw rows as the graph's inputs: column name -> array of shape (rows, 1), or (rows, height, width, channels).

    Raises:
        ValueError: as `raw_frame`.
    """
    # An image is a matrix at once: cells of a frame would be made of it and taken apart again.
    wide = {column.name: pixels(frame[column.name], column) for column in columns if column.values > 1}
    raw = raw_frame(frame, [column for column in columns if column.name not in wide])
    return {
        column.name: np.reshape(
            wide[column.name] if column.name in wide else raw[column.name].to_numpy(), (-1, *column.tensor_shape)
        )
        for column in columns
    }


def pixels(values: pd.Series[Any], column: Column) -> NDArray[np.float32]:
    """The images of a column as one matrix, float32 (rows, height * width * channels). Copies.

    Raises:
        ValueError: a cell is missing or holds another number of values; names the first such row.
    """
    matrix = np.empty((len(values), column.values), dtype=np.float32)
    for row, cell in enumerate(values):
        flat = np.asarray(cell, dtype=np.float32).reshape(-1)
        if flat.size != column.values:
            had = "no image" if cell is None else f"{flat.size} numbers"
            raise ValueError(f"column {column.name!r}, row {row}: {column.values} numbers make an image, got {had}")
        matrix[row] = flat
    return matrix


def flat_images(matrix: NDArray[np.float32]) -> NDArray[np.object_]:
    """A matrix of images as cells of a frame: object (rows,), each a flat float32 view of its row."""
    cells = np.empty(len(matrix), dtype=object)
    for row, image in enumerate(matrix):  # an assignment of all at once would make a matrix of objects
        cells[row] = image
    return cells
