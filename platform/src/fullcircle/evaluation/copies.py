"""Rows that are there more than once: a batch that was delivered twice is no more evidence than once. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from fullcircle.core.project import Image, Project

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray


def distinct_rows(project: Project, frame: pd.DataFrame) -> NDArray[np.bool_]:
    """Which rows to judge, (rows,): of copies the first. A copy has the inputs, time and label of another row.

    Rows that merely look alike, because the columns are coarse, have labels of their own: where labels among rows of
    equal inputs and time differ about as often as labels do, nothing is a copy. Frames without times, and images, are
    taken as they are.
    """
    everything = np.ones(len(frame), dtype=bool)
    inputs = [column.name for column in project.inputs if not isinstance(column, Image)]
    if len(inputs) < len(project.inputs) or not {project.time, *inputs} <= set(frame.columns):
        return everything
    copies = frame.duplicated([*inputs, project.time, project.target.name]).to_numpy()
    if not copies.any():
        return everything
    alike = frame.groupby([*inputs, project.time], dropna=False, observed=True)[project.target.name]
    rows, positives = (alike.agg(how).to_numpy(dtype=np.float64) for how in ("size", "sum"))
    # Of two independent rows the labels differ with 2p(1 - p), of two copies never: half of it parts the two.
    differ = float((positives * (rows - positives)).sum() / (rows * (rows - 1) / 2).sum())
    share = float((frame[project.target.name] == 1).mean())
    return everything if differ > share * (1 - share) else ~copies
