"""What the pictures of an evaluation draw: a bounded number of values, whatever the rows and classes. Pure."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from fullcircle.core.statistics import binary_metrics
from fullcircle.core.statistics.binary_metrics import equal_count_bins

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fullcircle.core.tasks import Task

    Curve = tuple[tuple[float, ...], ...]

MATRIX_CLASSES = 12
"""Classes with a line of their own in the confusion matrix; the others share one more."""

RELIABILITY_CLASSES = 6
"""Classes, or labels, with a line of their own in the reliability curves: so many colours can be told apart."""

POOLED_PAIRS = 200_000
"""Pairs of an answer and an outcome that stand for all other classes together."""

POINTS = 1_000
"""Rows that are drawn as points."""

REST = -1
"""In place of a class's code: all others."""


def reliability(task: Task, targets: NDArray[Any], answers: NDArray[np.float32]) -> Curve:
    """(mean predicted probability, observed share, rows) of each of 10 bins of equal count."""
    return binary_metrics.reliability(targets, task.scalar(answers))


def reliability_by_class(task: Task, targets: NDArray[Any], answers: NDArray[np.float32]) -> Curve:
    """(code, mean predicted probability, observed share, rows) of each bin of the most frequent classes.

    The others' answers are pooled: how often what was given a probability p of being any of them came true.
    """
    came_true = np.array([int(task.happened(targets, code).sum()) for code in range(task.outputs)])
    codes = _most_frequent(came_true, RELIABILITY_CLASSES)
    found = [
        (float(code), *each)
        for code in codes
        for each in binary_metrics.reliability(task.happened(targets, int(code)), answers[:, code])
    ]
    rest = np.setdiff1d(np.arange(task.outputs), codes)
    if len(rest):
        rows = _sample(len(targets), max(1, POOLED_PAIRS // len(rest)))
        true = np.stack([task.happened(np.asarray(targets)[rows], int(code)) for code in rest], axis=1)
        pooled = binary_metrics.reliability(true.reshape(-1), answers[rows][:, rest].reshape(-1))
        found += [(float(REST), *each) for each in pooled]
    return tuple(found)


def confusion_matrix(task: Task, targets: NDArray[Any], answers: NDArray[np.float32]) -> Curve:
    """The codes of the most frequent classes, `REST` behind them where there are more; then for each of them, as what
    is true, the rows that were answered with each.
    """
    codes = _most_frequent(np.bincount(targets, minlength=task.outputs), MATRIX_CLASSES)
    place = np.full(task.outputs, len(codes))
    place[codes] = np.arange(len(codes))
    lines = [*codes.tolist(), *([REST] if len(codes) < task.outputs else [])]
    counts = np.zeros((len(lines), len(lines)))
    np.add.at(counts, (place[np.asarray(targets)], place[task.given(answers)]), 1.0)
    return tuple(tuple(float(each) for each in line) for line in (lines, *counts))


def predicted_against_actual(task: Task, targets: NDArray[Any], answers: NDArray[np.float32]) -> Curve:
    """(actual, predicted) of at most `POINTS` rows, the same ones for each model."""
    rows = _sample(len(targets), POINTS)
    pairs = zip(np.asarray(targets)[rows].tolist(), task.scalar(answers[rows]).tolist(), strict=True)
    return tuple((float(actual), float(predicted)) for actual, predicted in pairs)


def residuals(task: Task, targets: NDArray[Any], answers: NDArray[np.float32]) -> Curve:
    """(mean prediction; the 10%, 50% and 90% quantile of actual minus predicted; rows) of 10 bins of equal count."""
    predicted = task.scalar(answers)
    errors, bins = np.asarray(targets, dtype=np.float64) - predicted, equal_count_bins(predicted)
    found = []
    for index in np.unique(bins):
        inside = bins == index
        low, median, high = np.quantile(errors[inside], (0.1, 0.5, 0.9))
        found.append((float(predicted[inside].mean()), float(low), float(median), float(high), float(inside.sum())))
    return tuple(found)


CURVES: dict[str, Callable[[Task, NDArray[Any], NDArray[np.float32]], Curve]] = {
    "reliability": reliability,
    "reliability_by_class": reliability_by_class,
    "confusion_matrix": confusion_matrix,
    "predicted_against_actual": predicted_against_actual,
    "residuals": residuals,
}
"""Of each picture of an evaluation, by the name that a task gives it, what it draws."""


def _most_frequent(counts: NDArray[Any], most: int) -> NDArray[np.intp]:
    """Codes of the most frequent classes, ascending; all of them, where one more than `most` would pool but one."""
    kept = len(counts) if len(counts) <= most + 1 else most
    return np.sort(np.argsort(-counts, kind="stable")[:kept])


def _sample(rows: int, most: int) -> NDArray[np.intp]:
    """Places of at most `most` rows, ascending; the same ones whenever there are as many rows."""
    if rows <= most:
        return np.arange(rows)
    return np.sort(np.random.default_rng(0).choice(rows, most, replace=False))
