"""The health of one window: drift, quality and realised performance in one value.

A window that several model versions answered is judged by version: what a champion is worth is asked of its own
answers, or a week of a bad one would hide in a month of its predecessor's.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fullcircle.core.project import Image, Project
from fullcircle.core.records.health import ColumnDrift, Health, Performance, QualityIssue, VersionHealth, Window
from fullcircle.monitoring.drift import column_drift
from fullcircle.monitoring.fingerprint_drift import fingerprint_drift
from fullcircle.monitoring.performance import performance, window_clusters
from fullcircle.monitoring.prediction_drift import MOST_NUMBERS, fingerprint_prediction_drift, prediction_drift
from fullcircle.monitoring.quality import fingerprint_quality, quality
from fullcircle.predictions.log_reader import by_number

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

    from fullcircle.predictions.fingerprints.fingerprint import LogFingerprint


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
        current: the window's rows: raw inputs, the columns of an answer, `label` (NaN or None while unknown), and
            `model_version`, without which all answers are taken for one version's.
        reference: the champion's training rows: raw inputs and its answers.
        expected: the primary metric as the gate measured it at release.
        previous: the previous champion's answers to `current`'s rows, if there is one.

    An empty window has no columns and no performance; below `watch.min_rows` it says so (`enough_rows`).
    """

    def answered(rows: pd.DataFrame) -> _Answered:
        def drift() -> ColumnDrift | None:
            task, names = project.target, project.target.answers.numbers
            sides = task.answers.of_some(rows), task.answers.of_some(reference)
            return prediction_drift(*sides, names=names, false_alarms=project.watch.false_alarms, seed=seed)

        return _Answered(len(rows), int(rows["label"].notna().sum()), drift)

    return _health(
        project,
        window,
        champion_version,
        answered(current),
        {name: answered(current[where]) for name, where in _by_version(current).items()},
        _Realised(project, current, expected, previous, seed),
        columns=column_drift(project, current, reference, seed=seed),
        quality=quality(project, current, reference),
    )


def assess_fingerprints(
    project: Project,
    window: Window,
    seen: Mapping[str, LogFingerprint],
    labelled: pd.DataFrame,
    reference: pd.DataFrame,
    *,
    champion_version: str,
    expected: float | None,
    previous: NDArray[np.float32] | None = None,
    rows: pd.DataFrame | None = None,
    seed: int = 0,
) -> Health:
    """Judge a large window by its fingerprints, as `assess_window` judges one by its rows.

    Args:
        seen: model version -> fingerprint of its answers; not empty.
        labelled: a sample of the labelled rows: `event_time`, `model_version`, the columns of an answer, `label`.
        reference, champion_version, expected: as for `assess_window`.
        previous: the previous champion's answers to the labelled rows, if there is one.
        rows: a sample of all rows, where `needs_rows` says so.
    """

    def answered(name: str | None) -> _Answered:
        each = total if name is None else seen[name]

        def drift() -> ColumnDrift | None:
            task, names, alpha = project.target, project.target.answers.numbers, project.watch.false_alarms
            before = task.answers.of_some(reference)
            if len(names) <= MOST_NUMBERS:
                return fingerprint_prediction_drift(each, before, names=names, false_alarms=alpha, seed=seed)
            assert rows is not None, "of very many numbers the sum of the others is in no fingerprint"
            part = rows if name is None else rows[rows["model_version"] == name]
            return prediction_drift(task.answers.of_some(part), before, names=names, false_alarms=alpha, seed=seed)

        return _Answered(each.rows, each.labelled, drift)

    total = functools.reduce(operator.add, seen.values())
    pictures = () if rows is None else column_drift(project, rows, reference, seed=seed)
    return _health(
        project,
        window,
        champion_version,
        answered(None),
        {name: answered(name) for name in seen},
        _Realised(project, labelled, expected, previous, seed),
        columns=pictures if _has_images(project) else fingerprint_drift(project, total, reference, seed=seed),
        quality=fingerprint_quality(project, total, reference),
    )


def needs_rows(project: Project) -> bool:
    """Whether fingerprints say too little of a window: drift is seen in an image's pixels, and of very many numbers in
    the sum of those that are not looked at one by one."""
    return _has_images(project) or len(project.target.answers.numbers) > MOST_NUMBERS


def _has_images(project: Project) -> bool:
    return any(isinstance(column, Image) for column in project.inputs)


@dataclass(frozen=True)
class _Answered:
    """What was answered, by one version or by all."""

    rows: int
    labelled: int
    drift: Callable[[], ColumnDrift | None]


@dataclass(frozen=True)
class _Realised:
    """What answers were worth, by rows whose labels may be known."""

    project: Project
    rows: pd.DataFrame
    expected: float | None
    previous: NDArray[np.float32] | None
    seed: int

    def of(self, version: str | None, *, is_champion: bool) -> Performance | None:
        """Of one version's answers, or of all."""
        task, rows, previous = self.project.target, self.rows, self.previous
        if version is not None:
            where = (rows["model_version"] == version).to_numpy()
            rows, previous = rows[where], None if previous is None else previous[where]
        return performance(
            task,
            task.label_codec.known_labels(rows["label"]),
            task.answers.of_some(rows),
            expected=self.expected if is_champion else None,
            previous=previous if is_champion else None,
            clusters=window_clusters(self.project, rows),
            seed=self.seed,
        )


def _health(
    project: Project,
    window: Window,
    champion: str,
    every: _Answered,
    versions: Mapping[str, _Answered],
    realised: _Realised,
    *,
    columns: tuple[ColumnDrift, ...],
    quality: tuple[QualityIssue, ...],
) -> Health:
    least = project.watch.min_rows
    kept = [
        VersionHealth(
            version=name,
            rows=each.rows,
            labelled=each.labelled,
            prediction=each.drift() if each.rows >= least else None,
            performance=realised.of(name, is_champion=name == champion),
        )
        for name, each in (versions.items() if len(versions) > 1 else ())
    ]
    own = next((each for each in kept if each.version == champion), None)
    worth = own.performance if own is not None else None
    return Health(
        window=window,
        champion_version=champion,
        columns=columns,
        prediction=own.prediction if own is not None and own.rows >= least else every.drift(),
        quality=quality,
        performance=worth if worth is not None else realised.of(None, is_champion=True),
        drifted_share_limit=project.watch.drifted_share,
        enough_rows=every.rows >= least,
        versions=tuple(kept),
    )


def _by_version(rows: pd.DataFrame) -> dict[str, NDArray[np.bool_]]:
    """Model version -> where its answers are; nothing where there is one version alone."""
    if "model_version" not in rows:
        return {}
    versions = rows["model_version"].to_numpy()
    names = sorted(set(versions.tolist()), key=by_number)
    return {str(name): versions == name for name in names} if len(names) > 1 else {}
