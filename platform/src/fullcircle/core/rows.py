"""Raw rows as tensors: the one convention that training, serving, SHAP and parity share.

A `Number` is float32 of shape (rows, 1), missing is NaN. A `Category` is a string of shape (rows, 1), missing is "".
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from fullcircle.core.project import Category, Column

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray


def raw_frame(frame: pd.DataFrame, columns: Sequence[Column]) -> pd.DataFrame:
    """The columns alone, in order, in the raw convention (float32 with NaN, str with ""). Copies."""
    import pandas as pd

    data: dict[str, object] = {}
    for column in columns:
        values = frame[column.name]
        if isinstance(column, Category):
            data[column.name] = values.astype(object).where(values.notna(), "").astype(str).astype(object)
        else:
            data[column.name] = values.astype("float32")
    return pd.DataFrame(data, index=frame.index)


def tensors(frame: pd.DataFrame, columns: Sequence[Column]) -> dict[str, NDArray[np.generic]]:
    """Raw rows as the graph's inputs: column name -> array of shape (rows, 1)."""
    raw = raw_frame(frame, columns)
    return {column.name: raw[column.name].to_numpy().reshape(-1, 1) for column in columns}
