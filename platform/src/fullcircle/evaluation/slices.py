"""Groups of rows that are judged on their own: each large enough, and with targets that can be judged."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from fullcircle.core.project import Project, SliceGate
from fullcircle.core.row_tensors import coded

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

    from fullcircle.core.tasks.class_slices import ClassSlice

MIN_ROWS = 200
MAX_GROUPS = 20


def sliced_columns(project: Project) -> tuple[str, ...]:
    """The input columns that the project slices by, its Slice gates' included, each once."""
    gated = (gate.column for gate in project.gates if isinstance(gate, SliceGate))
    return tuple(name for name in dict.fromkeys((*project.slices, *gated)) if name not in project.target.columns)


def class_slices(project: Project, targets: NDArray[Any], column: str | None = None) -> tuple[ClassSlice, ...]:
    """The rows by their actual class, those of too few rows included; none where the task has no classes.

    Args:
        column: none, too, where this is not the target's.
    """
    by_class = project.target.by_class
    return by_class.of(targets) if by_class is not None and column in (None, by_class.column) else ()


def judged_groups(
    project: Project, frame: pd.DataFrame, column: str, targets: NDArray[Any]
) -> list[tuple[str, NDArray[np.bool_]]]:
    """(group, mask of its rows) of all that a gate on this column looks at: its groups, or the actual classes."""
    if column in project.target.columns:
        return [(each.group, each.mask) for each in class_slices(project, targets) if each.is_judgeable]
    return groups(project, frame, column, targets)


def groups(
    project: Project, frame: pd.DataFrame, column: str, targets: NDArray[Any]
) -> list[tuple[str, NDArray[np.bool_]]]:
    """(group, mask of its rows), largest first: at most 20 groups of at least 200 rows that can be judged alone: for a
    question of yes or no, those that hold both classes.

    A number with more than 20 values is cut into its quarters.
    """
    names = group_names(project, frame, column)
    inverse, found = coded(names)
    counts = np.bincount(inverse, minlength=len(found))
    kept: list[tuple[str, NDArray[np.bool_]]] = []
    for index in np.argsort(-counts, kind="stable")[:MAX_GROUPS]:
        mask = inverse == index
        if counts[index] >= MIN_ROWS and project.target.judgeable(targets[mask]):
            kept.append((str(found[index]), mask))
    return kept


def largest_group(project: Project, frame: pd.DataFrame, column: str) -> int:
    """Rows of the largest group, whatever its classes."""
    return int(np.bincount(coded(group_names(project, frame, column))[0]).max())


def group_names(project: Project, frame: pd.DataFrame, column: str) -> NDArray[np.object_]:
    """The group of each row, (rows,): the category or number itself, the quarter of a number with many values."""
    import pandas as pd

    values = frame[column]
    declared = next(c for c in project.columns if c.name == column)
    if not declared.is_text and values.nunique() > MAX_GROUPS:
        quarters = pd.qcut(values.astype("float64"), 4, duplicates="drop", precision=3)
        return quarters.astype(object).where(values.notna(), "missing").astype(str).to_numpy(dtype=object)
    if not declared.is_text:
        texts = ["missing" if value != value else f"{value:g}" for value in values.astype("float64")]
        return np.array(texts, dtype=object)
    return values.astype(object).where(values.notna(), "").replace("", "missing").astype(str).to_numpy(dtype=object)
