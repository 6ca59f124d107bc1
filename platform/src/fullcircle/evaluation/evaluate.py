"""How one model does on one set of rows: metrics with intervals, slices, and what its pictures draw."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from fullcircle.core.records.verdicts import Evaluation, SliceScore
from fullcircle.evaluation.curves import CURVES
from fullcircle.evaluation.slices import class_slices, groups, sliced_columns

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

    from fullcircle.core.project import Project, Task


def evaluate(
    project: Project,
    framework: str,
    frame: pd.DataFrame,
    answers: NDArray[np.float32],
    *,
    champion: NDArray[np.float32] | None = None,
    seed: int = 0,
) -> Evaluation:
    """Every metric of a model's answers that is defined on the targets in `frame`, with 95% intervals.

    Args:
        answers, champion: the model's and the champion's, shaped as `project.target.answers` says. The champion's add
            each slice's difference.

    Raises:
        ValueError: when shapes differ, answers are none (a probability that is not in [0, 1]), or the targets cannot
            be judged (one class alone).
        TargetInvalid: a label does not fit.
    """
    task = project.target
    targets = checked_targets(project, frame, answers)
    if champion is not None:
        require_answers(task, champion, len(targets))
    return Evaluation(
        framework=framework,
        rows=len(targets),
        summary=task.summary(targets),
        metrics={
            name: metric.interval(targets, answers, seed)
            for name, metric in task.metrics.items()
            if metric.undefined(targets) is None
        },
        slices=(
            *_slices(project, frame, targets, answers, champion),
            *_by_class(project, targets, answers, champion),
        ),
        curves={name: CURVES[name](task, targets, answers) for name in task.plots},
    )


def checked_targets(project: Project, frame: pd.DataFrame, answers: NDArray[np.float32]) -> NDArray[Any]:
    """The targets of the rows. ValueError when they cannot be judged, or when `answers` do not fit them."""
    task = project.target
    targets = task.targets(frame)
    require_answers(task, answers, len(targets))
    if not task.judgeable(targets):
        raise ValueError(f"labels in {task.name!r} must be of more than one class: {dict(task.summary(targets))}")
    return targets


def require_answers(task: Task, answers: NDArray[np.float32], rows: int) -> None:
    """Raise ValueError for what cannot be answers to so many rows."""
    if fault := task.fault(answers, rows):
        raise ValueError(f"answers {fault}")


def _slices(
    project: Project,
    frame: pd.DataFrame,
    targets: NDArray[Any],
    answers: NDArray[np.float32],
    champion: NDArray[np.float32] | None,
) -> tuple[SliceScore, ...]:
    main = project.target.main
    return tuple(
        SliceScore(
            column=column,
            group=group,
            rows=int(mask.sum()),
            metric=main.name,
            score=main.interval(targets[mask], answers[mask], None),
            difference=main.difference(targets[mask], answers[mask], champion[mask], 0)
            if champion is not None
            else None,
        )
        for column in sliced_columns(project)
        for group, mask in groups(project, frame, column, targets)
    )


def _by_class(
    project: Project, targets: NDArray[Any], answers: NDArray[np.float32], champion: NDArray[np.float32] | None
) -> tuple[SliceScore, ...]:
    by_class = project.target.by_class
    if by_class is None:
        return ()
    metric = by_class.main
    return tuple(
        SliceScore(
            column=by_class.column,
            group=each.group,
            rows=each.rows,
            metric=metric.name,
            score=metric.interval(targets[each.mask], answers[each.mask], None),
            difference=metric.difference(targets[each.mask], answers[each.mask], champion[each.mask], 0)
            if champion is not None and each.is_judgeable
            else None,
            judged=each.is_judgeable,
        )
        for each in class_slices(project, targets)
    )
