"""How one model does on one set of rows: metrics with intervals, slices, and what its pictures draw."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from fullcircle.core.records.verdicts import Evaluation, SliceScore
from fullcircle.core.statistics.clusters import clusters_within, time_clusters
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
    clusters = row_clusters(project, frame)
    return Evaluation(
        framework=framework,
        rows=len(targets),
        summary=task.summary(targets),
        metrics={
            name: metric.clustered(clusters).interval(targets, answers, seed)
            for name, metric in task.metrics.items()
            if metric.undefined(targets) is None
        },
        slices=(
            *_slices(project, frame, targets, answers, champion, clusters),
            *_by_class(project, targets, answers, champion, clusters),
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


def row_clusters(project: Project, frame: pd.DataFrame) -> NDArray[np.intp] | None:
    """Which rows are one piece of evidence, (rows,); None where the project says that each is one."""
    span = project.evidence.cluster
    return None if span is None else time_clusters(frame[project.time].to_numpy(dtype="datetime64[us]"), span)


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
    clusters: NDArray[np.intp] | None,
) -> tuple[SliceScore, ...]:
    found = []
    for column in sliced_columns(project):
        for group, mask in groups(project, frame, column, targets):
            main, y, a = project.target.main.clustered(clusters_within(clusters, mask)), targets[mask], answers[mask]
            found.append(
                SliceScore(
                    column=column,
                    group=group,
                    rows=int(mask.sum()),
                    metric=main.name,
                    score=main.interval(y, a, None),
                    difference=None if champion is None else main.difference(y, a, champion[mask], 0),
                )
            )
    return tuple(found)


def _by_class(
    project: Project,
    targets: NDArray[Any],
    answers: NDArray[np.float32],
    champion: NDArray[np.float32] | None,
    clusters: NDArray[np.intp] | None,
) -> tuple[SliceScore, ...]:
    by_class = project.target.by_class
    if by_class is None:
        return ()
    found = []
    for each in class_slices(project, targets):
        metric = by_class.main.clustered(clusters_within(clusters, each.mask))
        y, a = targets[each.mask], answers[each.mask]
        found.append(
            SliceScore(
                column=by_class.column,
                group=each.group,
                rows=each.rows,
                metric=metric.name,
                score=metric.interval(y, a, None),
                difference=metric.difference(y, a, champion[each.mask], 0)
                if champion is not None and each.is_judgeable
                else None,
                judged=each.is_judgeable,
            )
        )
    return tuple(found)
