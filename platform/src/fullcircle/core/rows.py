"""Raw rows as tensors: the one convention that training, serving, SHAP and parity share.

A `Number` is float32 of shape (rows, 1), missing is NaN. A `Category` is a string of shape (rows, 1), missing is "".
An `Image` is float32 of shape (rows, height, width, channels); in a frame each cell is its flat float32 array.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from fullcircle.core.project import Category, Column, Image

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray


def raw_frame(frame: pd.DataFrame, columns: Sequence[Column]) -> pd.DataFrame:
    """The columns alone, in order, in the raw convention (float32 with NaN, str with "", flat float32 arrays). Copies.

    Raises:
        ValueError: a cell is no number, or no image of its column's size.
    """
    import pandas as pd

    data: dict[str, object] = {}
    for column in columns:
        values = frame[column.name]
        if isinstance(column, Category):
            data[column.name] = values.astype(object).where(values.notna(), "").astype(str).astype(object)
        elif isinstance(column, Image):
            data[column.name] = flat_images(pixels(values, column))
        else:
            data[column.name] = values.astype("float32")
    return pd.DataFrame(data, index=frame.index)


def tensors(frame: pd.DataFrame, columns: Sequence[Column]) -> dict[str, NDArray[np.generic]]:
    """Raw rows as the graph's inputs: column name -> array of shape (rows, 1), or (rows, height, width, channels).

    Raises:
        ValueError: as `raw_frame`.
    """
    images = {
        column.name: pixels(frame[column.name], column).reshape(-1, *column.shape)
        for column in columns
        if isinstance(column, Image)
    }
    raw = raw_frame(frame, [column for column in columns if column.name not in images])
    return {
        column.name: images[column.name] if column.name in images else raw[column.name].to_numpy().reshape(-1, 1)
        for column in columns
    }


def pixels(values: pd.Series[Any], column: Image) -> NDArray[np.float32]:
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
