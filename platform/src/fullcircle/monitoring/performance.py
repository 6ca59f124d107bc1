"""Realised performance: what the predictions were worth, on the rows whose labels arrived."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from fullcircle.core.records.health import Performance
from fullcircle.core.statistics.clusters import clusters_within, time_clusters

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

    from fullcircle.core.project import Project
    from fullcircle.core.tasks import Task

MIN_LABELS = 50
"""Below this many labels an interval says nothing."""


def performance(
    task: Task,
    labels: NDArray[Any],
    answers: NDArray[np.float32],
    *,
    expected: float | None = None,
    previous: NDArray[np.float32] | None = None,
    clusters: NDArray[np.intp] | None = None,
    seed: int = 0,
) -> Performance | None:
    """Realised metrics with 95% intervals; None below 50 labels, or where they cannot be judged (one class alone).

    Args:
        labels: targets as the log keeps them, NaN while unknown, shape (rows,) or (rows, columns).
        answers: shaped as `task.answers` says.
        expected: the primary metric as the gate measured it at release.
        previous: the previous champion's answers to the same rows.
        clusters: of the rows, (rows,), where they are no evidence of their own.
    """
    known = _finite(labels) & _finite(answers)
    if previous is not None:
        known &= _finite(previous)
    rows = int(known.sum())
    if rows < MIN_LABELS:
        return None
    y, a = task.label_codec.logged(labels[known]), answers[known]
    if not task.judgeable(y):
        return None
    together = clusters_within(clusters, known)
    main = task.main.clustered(together)
    realised = {
        name: each.clustered(together).interval(y, a, seed)
        for name, each in task.metrics.items()
        if each.undefined(y) is None
    }
    return Performance.by(
        main,
        rows=rows,
        summary=task.summary(y),
        metrics=realised,
        expected=expected,
        previous_gain=main.gain(main.difference(y, previous[known], a, seed)) if previous is not None else None,
    )


def window_clusters(project: Project, rows: pd.DataFrame) -> NDArray[np.intp] | None:
    """Which logged rows are one piece of evidence, (rows,); None where the project says that each is one."""
    span = project.evidence.cluster
    return None if span is None else time_clusters(rows["event_time"].to_numpy(dtype="datetime64[us]"), span)


def _finite(values: NDArray[Any]) -> NDArray[np.bool_]:
    """Rows without a number that is missing."""
    finite = np.isfinite(values)
    return finite if finite.ndim == 1 else np.asarray(finite.all(axis=1))
