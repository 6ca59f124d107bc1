"""Drops duplicate test rows: a batch that was delivered twice is no more evidence than once. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from fullcircle.core.project import Project

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
    inputs = [column.name for column in project.inputs if column.groupable]
    if len(inputs) < len(project.inputs) or not {project.time, *inputs} <= set(frame.columns):
        return everything
    labels = np.unique(project.target.targets(frame), axis=0, return_inverse=True)[1].reshape(-1)
    rows = frame[[*inputs, project.time]].assign(**{project.target.name: labels})
    copies = rows.duplicated().to_numpy()
    if not copies.any():
        return everything
    alike = [*inputs, project.time]
    # Of two independent rows the labels differ with 1 - sum(p^2), of two copies never: half of it parts the two.
    together = _pairs(rows.groupby(alike, dropna=False, observed=True).size())
    equal = _pairs(rows.groupby([*alike, project.target.name], dropna=False, observed=True).size())
    shares = np.bincount(labels) / len(labels)
    return everything if 1 - equal / together > (1 - float((shares**2).sum())) / 2 else ~copies


def _pairs(sizes: pd.Series[int]) -> float:
    """How many pairs of rows groups of these sizes have."""
    rows = sizes.to_numpy(dtype=np.float64)
    return float((rows * (rows - 1) / 2).sum())
