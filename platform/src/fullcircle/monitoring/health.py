"""The health of one window: drift, quality and realised performance in one value."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fullcircle.core.records.health import Health, Window
from fullcircle.monitoring.drift import column_drift
from fullcircle.monitoring.performance import performance, window_clusters
from fullcircle.monitoring.prediction_drift import prediction_drift
from fullcircle.monitoring.quality import quality

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

    from fullcircle.core.project import Project


def assess_window(
    project: Project,
    window: Window,
    current: pd.DataFrame,
    reference: pd.DataFrame,
    *,
    champion_version: str,
    expected: float | None,
    previous: NDArray[np.float32] | None = None,
    seed: int = 0,
) -> Health:
    """Judge a window against the champion's own training data.

    Args:
        current: the window's rows: raw inputs, the columns of an answer, `label` (NaN or None while unknown).
        reference: the champion's training rows: raw inputs and its answers.
        expected: the primary metric as the gate measured it at release.
        previous: the previous champion's answers to `current`'s rows, if there is one.

    An empty window has no columns and no performance; below `watch.min_rows` it says so (`enough_rows`).
    """
    task = project.target
    answers = task.answers.of_some(current)
    return Health(
        window=window,
        champion_version=champion_version,
        columns=column_drift(project, current, reference, seed=seed),
        prediction=prediction_drift(
            answers,
            task.answers.of_some(reference),
            names=task.answers.numbers,
            false_alarms=project.watch.false_alarms,
            seed=seed,
        ),
        quality=quality(project, current, reference),
        performance=performance(
            task,
            task.label_codec.known_labels(current["label"]),
            answers,
            expected=expected,
            previous=previous,
            clusters=window_clusters(project, current),
            seed=seed,
        ),
        drifted_share_limit=project.watch.drifted_share,
        enough_rows=len(current) >= project.watch.min_rows,
    )
