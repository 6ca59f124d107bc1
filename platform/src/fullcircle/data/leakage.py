"""Leakage checks: rows shared by splits, future rows, and columns that give the answer away. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from fullcircle.core.project import Column, Image, Number, Project
from fullcircle.core.records.dataset import Leak
from fullcircle.core.row_tensors import pixels

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

FOLDS = 5
SMOOTHING = 10.0
"""Rows of prior that a category's rate is drawn towards: a category seen once says little."""
JUDGED = 50_000
"""Most rows of each class that a single column is judged on. ROC AUC does not depend on the classes' sizes."""
JUDGED_IMAGES = 2_000
"""The same for images, whose pixels are judged one by one."""
SUSPECTS = 32
"""Pixels of an image whose ROC AUC is counted out: those whose means differ most between the classes."""
MIN_CLASS = 20
"""Below this many rows of either class, a column's ROC AUC is chance."""


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
    late = [column.name for column in project.columns if column.after]
    leaks = [
        Leak(kind="after", column=name, detail=f"{name!r} is known only after the outcome and must not reach a model")
        for name in inputs
        if name in (*late, project.target.name, project.row_id)
    ]
    flagged = {leak.column for leak in leaks}
    for name in inputs:
        for source in (*late, project.target.name):
            if name not in flagged and source in frame.columns and _copies(frame[name], frame[source]):
                detail = f"{name!r} is a copy of {source!r}, known only afterwards"
                leaks.append(Leak(kind="after", column=name, detail=detail))
                flagged.add(name)
    return leaks


def strengths(project: Project, train: pd.DataFrame, columns: Sequence[Column]) -> tuple[tuple[str, float], ...]:
    """(column, ROC AUC of it alone on the training rows, in its better direction), strongest first.

    A number is judged by its value where it has one; a category by its rate of positives, out of fold, so that a
    category of one row does not give its own answer away; either also by whether it is missing. An image is judged by
    its brightness, its contrast and its single pixels: a mark in a corner that gives the answer away is a leak, that
    all pixels together do is what the model is for.
    """
    positive = project.target.targets(train) == 1
    found = []
    for column in columns:
        sample = _balanced(positive, JUDGED_IMAGES if isinstance(column, Image) else JUDGED)
        found.append((column.name, strength(column, train[column.name].iloc[sample], positive[sample])))
    return tuple(sorted(found, key=lambda pair: (-pair[1], pair[0])))


def strength(column: Column, values: pd.Series, labels: NDArray[np.bool_]) -> float:
    """ROC AUC of one column alone, from 0.5 (says nothing) to 1.0. Shapes: (rows,), (rows,)."""
    import numpy as np

    if isinstance(column, Image):
        return _image_strength(pixels(values, column), labels)
    if isinstance(column, Number):
        numbers = values.to_numpy(dtype="float64", na_value=np.nan)
        present = ~np.isnan(numbers)
        alone = _either_way(numbers[present], labels[present])
    else:
        texts = values.astype(object).where(values.notna(), "").astype(str)
        present = (texts != "").to_numpy()
        alone = _either_way(_rates(texts.to_numpy(), labels), labels)
    return max(alone, _either_way(present.astype("float64"), labels))


def auc(scores: NDArray[np.float64], labels: NDArray[np.bool_]) -> float:
    """Area under the ROC curve by ranks, ties counted half. Source: Hanley & McNeil 1982. Both classes are there."""
    from scipy.stats import rankdata

    positives = int(labels.sum())
    ranks = rankdata(scores)
    return float((ranks[labels].sum() - positives * (positives + 1) / 2) / (positives * (len(labels) - positives)))


def _image_strength(matrix: NDArray[np.float32], labels: NDArray[np.bool_]) -> float:
    """The best of brightness, contrast and the suspicious pixels. Shapes: (rows, pixels), (rows,)."""
    import numpy as np

    if not labels.any() or labels.all():
        return 0.5
    # Bounded values: a pixel that orders the classes nearly by itself is among those whose means lie furthest apart.
    spread = matrix.std(axis=0) + np.float32(1e-12)
    apart = np.abs(matrix[labels].mean(axis=0) - matrix[~labels].mean(axis=0)) / spread
    suspects = np.argsort(-apart, kind="stable")[:SUSPECTS]
    scores = [matrix.mean(axis=1), matrix.std(axis=1), *matrix[:, suspects].T]
    return max(_either_way(score.astype("float64"), labels) for score in scores)


def _either_way(scores: NDArray[np.float64], labels: NDArray[np.bool_]) -> float:
    positives = int(labels.sum())
    if min(positives, len(labels) - positives) < MIN_CLASS:
        return 0.5
    area = auc(scores, labels)
    return max(area, 1.0 - area)


def _rates(texts: NDArray[np.object_], labels: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Out-of-fold rate of positives of each row's category, smoothed. Source: Micci-Barreca 2001."""
    import numpy as np
    import pandas as pd

    codes, known = pd.factorize(texts)
    # Shuffled, with a fixed seed: rows in the order of time would put a category's whole season into one fold.
    folds = np.random.default_rng(0).permutation(len(codes)) % FOLDS
    rates = np.empty(len(codes))
    for fold in range(FOLDS):
        inside = folds == fold
        outside = ~inside
        prior = labels[outside].mean() if outside.any() else 0.5
        rows = np.bincount(codes[outside], minlength=len(known))
        positives = np.bincount(codes[outside], weights=labels[outside], minlength=len(known))
        # No category may tell its fold: the prior differs a little between folds, so only differences to it count.
        rates[inside] = ((positives + SMOOTHING * prior) / (rows + SMOOTHING) - prior)[codes[inside]]
    return rates


def _balanced(labels: NDArray[np.bool_], most: int) -> NDArray[np.intp]:
    """Positions of at most `most` rows of each class, evenly over the rows' order."""
    import numpy as np

    kept = []
    for positions in (np.flatnonzero(labels), np.flatnonzero(~labels)):
        step = max(1, -(-len(positions) // most))
        kept.append(positions[::step])
    return np.sort(np.concatenate(kept))


def _copies(values: pd.Series, source: pd.Series) -> bool:
    """Whether one column repeats another, that varies, in all but a thousandth of the rows."""
    from pandas.api import types

    if types.is_numeric_dtype(values.dtype) != types.is_numeric_dtype(source.dtype):
        return False
    head, other = (_comparable(column.iloc[:JUDGED]) for column in (values, source))
    if other.nunique() < 2:
        return False
    same = (head == other) | (head.isna() & other.isna())
    return bool(same.mean() >= 0.999)


def _comparable(values: pd.Series) -> pd.Series:
    """Images as bytes: arrays can neither be counted nor be told equal as one."""
    import numpy as np

    if values.dtype != object or not values.map(lambda cell: isinstance(cell, list | np.ndarray)).any():
        return values
    return values.map(lambda cell: np.asarray(cell, dtype="float64").tobytes() if cell is not None else None)
