"""Realised performance: what the predictions were worth, on the rows whose labels arrived."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from fullcircle.core.records.health import Performance

if TYPE_CHECKING:
    from numpy.typing import NDArray

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
    seed: int = 0,
) -> Performance | None:
    """Realised metrics with 95% intervals; None below 50 labels, or where they cannot be judged (one class alone).

    Args:
        labels: targets as the log keeps them, NaN while unknown, shape (rows,) or (rows, columns).
        answers: shaped as `task.answers` says.
        expected: the primary metric as the gate measured it at release.
        previous: the previous champion's answers to the same rows.
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
    main = task.main
    realised = {name: each.interval(y, a, seed) for name, each in task.metrics.items() if each.undefined(y) is None}
    return Performance.by(
        main,
        rows=rows,
        summary=task.summary(y),
        metrics=realised,
        expected=expected,
        previous_gain=main.gain(main.difference(y, previous[known], a, seed)) if previous is not None else None,
    )


def _finite(values: NDArray[Any]) -> NDArray[np.bool_]:
    """Rows without a number that is missing."""
    finite = np.isfinite(values)
    return finite if finite.ndim == 1 else np.asarray(finite.all(axis=1))
