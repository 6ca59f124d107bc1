"""The metrics of several classes: areas, shares and losses over all of them, of each, and of the rows of one."""

from __future__ import annotations

from collections.abc import Iterator
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np

from fullcircle.core.statistics.binary_metrics import equal_count_bins
from fullcircle.core.statistics.small_samples import unseen_share
from fullcircle.core.tasks.estimation import (
    area_metric,
    auc_against_rest,
    auc_rows,
    mean_metric,
    ratio_rows,
    share_metric,
    worst_by_class,
)
from fullcircle.core.tasks.metric import Metric

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fullcircle.core.tasks.base import Answers, Targets

    Numbers = NDArray[np.float64]

EPS = 1e-7
"""Probabilities are kept so far from 0 in a logarithm: float32 ones can be exactly 0."""


def rarest(targets: Targets) -> int:
    """Rows of the rarest class of those that are there; 0 where there is but one."""
    counts = np.unique(np.asarray(targets), return_counts=True)[1]
    return int(counts.min()) if len(counts) > 1 else 0


def _one_class(targets: Targets) -> str | None:
    return None if len(np.unique(targets)) > 1 else "all rows are of one class"


def macro_auc_rows(targets: Targets, answers: Answers) -> Numbers:
    """Pseudo-values of the mean ROC AUC of each class against the rest, over the classes that are there.

    Source: Provost & Domingos 2000, "Well-trained PETs: improving probability estimation trees", unweighted.
    """
    y = np.asarray(targets, dtype=np.intp)
    there, total = np.unique(y), np.zeros(len(y))
    for code in there:  # one at a time: a thousand classes by all rows would be gigabytes
        total += auc_rows(y == code, answers[:, code])
    return total / len(there)


def correct(targets: Targets, answers: Answers) -> Numbers:
    """Whether the likeliest class is the right one, 0 or 1, (rows,)."""
    return np.asarray(np.argmax(answers, axis=1) == targets, dtype=np.float64)


def macro_f1_rows(targets: Targets, answers: Answers) -> Numbers:
    """Pseudo-values of the mean F1 over the classes that are there or are answered."""
    y, said = np.asarray(targets), np.argmax(answers, axis=1)
    rows = []
    for code in np.unique(np.concatenate([y, said])):
        true, answered = y == code, said == code
        rows.append(ratio_rows(2.0 * (true & answered), true.astype(np.float64) + answered))
    return np.asarray(np.mean(rows, axis=0), dtype=np.float64)


def log_losses(targets: Targets, answers: Answers) -> Numbers:
    """Log loss of each row in nats, (rows,)."""
    right = np.take_along_axis(np.asarray(answers, dtype=np.float64), np.asarray(targets, dtype=np.intp)[:, None], 1)
    return np.asarray(-np.log(np.clip(right[:, 0], EPS, 1.0)), dtype=np.float64)


def brier_scores(targets: Targets, answers: Answers) -> Numbers:
    """Squared distance of the probabilities from the outcome, summed over the classes (Brier 1950), (rows,)."""
    p = np.array(answers, dtype=np.float64)
    p[np.arange(len(p)), np.asarray(targets, dtype=np.intp)] -= 1.0
    return np.asarray((p**2).sum(axis=1), dtype=np.float64)


def calibration_rows(targets: Targets, answers: Answers) -> Numbers:
    """Pseudo-values of the classwise calibration error, the bins held: the mean over the classes of the expected error.

    Source: Kull et al. 2019, "Beyond temperature scaling: obtaining well-calibrated multi-class probabilities with
    Dirichlet calibration", section 2; 10 bins of equal count.
    """
    y, p = np.asarray(targets), np.asarray(answers, dtype=np.float64)
    total = np.zeros(len(y))
    for code in range(p.shape[1]):
        gap, bins = p[:, code] - (y == code), equal_count_bins(p[:, code])
        signs = np.sign(np.bincount(bins, weights=gap, minlength=bins.max() + 1))
        total += signs[bins] * gap
    return np.asarray(total / p.shape[1], dtype=np.float64)


def _worst_log_loss(targets: Targets, answers: Answers) -> float:
    return float(-np.log(np.clip(np.asarray(answers, dtype=np.float64).min(), EPS, 1.0)))


def class_auc(index: int, name: str, label: str) -> Metric:
    """ROC AUC of the class of this index against the rest."""
    return auc_against_rest(
        name,
        label,
        index,
        lambda y: np.asarray(np.asarray(y) == index),
        are="rows are of class",
    )


def _each_class(targets: Targets) -> Iterator[tuple[int, NDArray[np.bool_]]]:
    y = np.asarray(targets)
    return ((int(code), y == code) for code in np.unique(y))


MACRO_AUC = area_metric("roc_auc", "macro ROC AUC", macro_auc_rows, parts=_each_class, undefined=_one_class)
ACCURACY = share_metric("accuracy", "accuracy", correct)
MACRO_F1 = share_metric(
    "macro_f1",
    "macro F1",
    macro_f1_rows,
    effective_rows=rarest,
    worst=worst_by_class(lambda y: np.bincount(np.asarray(y, dtype=np.intp))),
)
LOG_LOSS = mean_metric(
    "log_loss",
    "log loss",
    log_losses,
    greater_is_better=False,
    unit="nats",
    effective_rows=rarest,
    worst=_worst_log_loss,
)
BRIER = mean_metric(
    "brier",
    "Brier score",
    brier_scores,
    greater_is_better=False,
    effective_rows=rarest,
    worst=lambda y, a: 2.0,
    bounds=(0.0, 2.0),
)
CALIBRATION_ERROR = mean_metric(
    "calibration_error",
    "classwise calibration error",
    calibration_rows,
    greater_is_better=False,
    effective_rows=rarest,
    worst=lambda y, a: unseen_share(len(y)),
    bounds=(0.0, 1.0),
)
RECALL = share_metric("recall", "recall", correct)
"""Of rows of one class: the share that is answered with it, of which macro recall is the mean (Sokolova & Lapalme 2009,
"A systematic analysis of performance measures for classification tasks", table 3)."""
CLASS_LOG_LOSS = mean_metric(
    "log_loss", "log loss", log_losses, greater_is_better=False, unit="nats", worst=_worst_log_loss
)
OF_A_CLASS = MappingProxyType({each.name: each for each in (RECALL, CLASS_LOG_LOSS)})
"""The metrics that are defined on the rows of a single class."""
