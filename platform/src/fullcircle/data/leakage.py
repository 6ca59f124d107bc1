"""Leakage checks: rows shared by splits, future rows, and columns that give the answer away. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from fullcircle.core.project import Column, Project
from fullcircle.core.records.dataset import Leak
from fullcircle.data.association import ASSOCIATIONS
from fullcircle.data.linear_terms import linear_terms

if TYPE_CHECKING:
    import pandas as pd

COMPARED = 50_000
"""Most rows on which a column is held against another one."""


def row_leaks(project: Project, frame: pd.DataFrame, now: datetime) -> list[Leak]:
    """Rows later than `now`, and row ids that come more than once."""
    leaks = []
    late = frame[project.time] > now
    if late.any():
        first = frame.loc[late, project.row_id].iloc[0]
        detail = f"{late.sum():,} rows are later than {now:%Y-%m-%d %H:%M} UTC, such as {first}"
        leaks.append(Leak(kind="future", detail=detail))
    doubled = frame[project.row_id].duplicated()
    if doubled.any():
        first = frame.loc[doubled, project.row_id].iloc[0]
        leaks.append(Leak(kind="overlap", detail=f"{doubled.sum():,} row ids come more than once, such as {first}"))
    return leaks


def overlap_leaks(project: Project, parts: dict[str, pd.DataFrame]) -> list[Leak]:
    """Row ids that two parts share."""
    leaks, names = [], list(parts)
    for position, one in enumerate(names):
        for other in names[position + 1 :]:
            shared = parts[other][project.row_id].isin(parts[one][project.row_id])
            if shared.any():
                first = parts[other].loc[shared, project.row_id].iloc[0]
                detail = f"{shared.sum():,} row ids of {other} are in {one} too, such as {first}"
                leaks.append(Leak(kind="overlap", detail=detail))
    return leaks


def after_leaks(project: Project, frame: pd.DataFrame, inputs: Sequence[str]) -> list[Leak]:
    """Inputs that are only known after the outcome: so marked, the target itself, or a copy of such a column."""
    late, targets = [column.name for column in project.columns if column.after], project.target.columns
    leaks = [
        Leak(kind="after", column=name, detail=f"{name!r} is known only after the outcome and must not reach a model")
        for name in inputs
        if name in (*late, *targets, project.row_id)
    ]
    flagged = {leak.column for leak in leaks}
    for name in inputs:
        for source in (*late, *targets):
            if name not in flagged and source in frame.columns and _copies(frame[name], frame[source]):
                detail = f"{name!r} is a copy of {source!r}, known only afterwards"
                leaks.append(Leak(kind="after", column=name, detail=detail))
                flagged.add(name)
    return leaks


def strengths(project: Project, train: pd.DataFrame, columns: Sequence[Column]) -> tuple[tuple[str, float], ...]:
    """(column, how strongly it alone tells the target on the training rows, from 0.5 to 1), strongest first.

    By what the task's `association` names: ROC AUC, or what that is of a number, several classes or several labels.
    """
    asked, targets = ASSOCIATIONS[project.target.association], project.target.targets(train)
    found = [(column.name, asked.strength(column, train[column.name], targets)) for column in columns]
    return tuple(sorted(found, key=lambda pair: (-pair[1], pair[0])))


def strong_leaks(project: Project, strongest: Sequence[tuple[str, float]]) -> list[Leak]:
    """Columns that alone reach `split.suspicious_auc`."""
    limit, words = project.split.suspicious_auc, ASSOCIATIONS[project.target.association].words
    return [
        Leak(kind="suspicious", column=name, detail=f"{name!r} alone {words} {value:.3f} (limit {limit:g})")
        for name, value in strongest
        if value >= limit
    ]


def sum_leaks(project: Project, train: pd.DataFrame, columns: Sequence[Column]) -> list[Leak]:
    """Few numeric columns whose weighted sum is a number target, such as counts of two groups and their total.

    Looked for wherever single columns are: not with a `split.suspicious_auc` above 1.
    """
    task = project.target
    if not ASSOCIATIONS[task.association].adds_up or project.split.suspicious_auc > 1.0:
        return []
    names = [column.name for column in columns if column.kind == "number"]
    weights = linear_terms(train[names], task.targets(train))
    if not weights:
        return []
    total = " ".join(
        f"{'-' if weight < 0 else '+'} {'' if _is_one(weight) else f'{abs(weight):.4g} '}{name}"
        for name, weight in weights.items()
    )
    said = listed(weights)
    be = "together are" if len(weights) > 1 else "alone is"
    detail = f"{said} {be} the target: {task.name} = {total.removeprefix('+ ')}, in nearly every row"
    return [Leak(kind="sum", column=next(iter(weights)), detail=detail)]


def listed(names: Iterable[str]) -> str:
    """`'a', 'b' and 'c'`."""
    *rest, last = map(repr, names)
    return f"{', '.join(rest)} and {last}" if rest else last


def _is_one(weight: float) -> bool:
    return abs(abs(weight) - 1.0) < 0.005


def _copies(values: pd.Series, source: pd.Series) -> bool:
    """Whether one column repeats another, that varies, in all but a thousandth of the rows."""
    from pandas.api import types

    if types.is_numeric_dtype(values.dtype) != types.is_numeric_dtype(source.dtype):
        return False
    head, other = (_comparable(column.iloc[:COMPARED]) for column in (values, source))
    if other.nunique() < 2:
        return False
    same = (head == other) | (head.isna() & other.isna())
    return bool(same.mean() >= 0.999)


def _comparable(values: pd.Series) -> pd.Series:
    """Images as bytes, lists of labels as text: arrays can neither be counted nor be told equal as one."""
    import numpy as np

    if values.dtype != object or not values.map(lambda cell: isinstance(cell, list | np.ndarray)).any():
        return values
    return values.map(lambda cell: _one_value(cell) if isinstance(cell, list | np.ndarray) else cell)


def _one_value(cell: Any) -> bytes | str:
    import numpy as np

    array = np.asarray(cell)
    return array.astype("float64").tobytes() if array.dtype.kind in "biuf" else repr(array.tolist())
