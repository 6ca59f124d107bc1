"""The metrics of any number of labels at once: over all of them, and of each."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from fullcircle.core.tasks.estimation import (
    area_metric,
    auc_against_rest,
    auc_rows,
    mean_metric,
    ratio_rows,
    share_metric,
    worst_by_class,
    worst_by_outcome,
)
from fullcircle.core.tasks.metric import Metric
from fullcircle.core.tasks.multiclass_metrics import EPS

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fullcircle.core.tasks.base import Answers, Targets

    Numbers = NDArray[np.float64]

CUT = 0.5
"""A label is answered when its probability is at least this."""


def constant_labels(targets: Targets) -> NDArray[np.bool_]:
    """Which labels are the same in all rows, bool (labels,)."""
    share = np.asarray(targets, dtype=np.float64).mean(axis=0) if len(targets) else np.zeros(targets.shape[1])
    return np.asarray((share == 0.0) | (share == 1.0), dtype=np.bool_)


def rarest_label(targets: Targets) -> int:
    """Rows on the rarer side of the rarest label, of those that are on both sides; 0 where none is."""
    counts = np.sum(targets, axis=0)
    sides = np.minimum(counts, len(targets) - counts)
    return int(sides[sides > 0].min()) if (sides > 0).any() else 0


def macro_auc_rows(targets: Targets, answers: Answers) -> Numbers:
    """Pseudo-values of the mean ROC AUC of the labels that are on both sides."""
    y, there = np.asarray(targets), np.flatnonzero(~constant_labels(targets))
    total = np.zeros(len(y))
    for one in there:
        total += auc_rows(y[:, one] == 1, answers[:, one])
    return total / len(there)


def _said(answers: Answers) -> Numbers:
    return (np.asarray(answers) >= CUT).astype(np.float64)


def micro_f1_rows(targets: Targets, answers: Answers) -> Numbers:
    """Pseudo-values of F1 over all labels of all rows together."""
    y, said = np.asarray(targets, dtype=np.float64), _said(answers)
    return ratio_rows(2.0 * (y * said).sum(axis=1), (y + said).sum(axis=1))


def macro_f1_rows(targets: Targets, answers: Answers) -> Numbers:
    """Pseudo-values of the mean over the labels of F1; a label that nobody has nor answers counts as 0."""
    y, said = np.asarray(targets, dtype=np.float64), _said(answers)
    rows = [ratio_rows(2.0 * y[:, one] * said[:, one], y[:, one] + said[:, one]) for one in range(y.shape[1])]
    return np.asarray(np.mean(rows, axis=0), dtype=np.float64)


def subset_correct(targets: Targets, answers: Answers) -> Numbers:
    """Whether all labels of a row are right, 0 or 1, (rows,)."""
    return np.asarray((_said(answers) == targets).all(axis=1), dtype=np.float64)


def log_losses(targets: Targets, answers: Answers) -> Numbers:
    """Log loss of each row in nats, the mean over its labels, (rows,)."""
    p = np.clip(np.asarray(answers, dtype=np.float64), EPS, 1.0 - EPS)
    return np.asarray(-np.log(np.where(np.asarray(targets) == 1, p, 1.0 - p)).mean(axis=1), dtype=np.float64)


def _all_constant(targets: Targets) -> str | None:
    return "every label is the same in all rows" if constant_labels(targets).all() else None


def label_auc(index: int, name: str, label: str) -> Metric:
    """ROC AUC of the label of this index."""
    return auc_against_rest(
        name,
        label,
        index,
        lambda y: np.asarray(np.asarray(y)[:, index] == 1),
        are="rows have the label",
    )


def _each_label(targets: Targets) -> Iterator[tuple[int, NDArray[np.bool_]]]:
    y = np.asarray(targets)
    return ((int(one), y[:, one] == 1) for one in np.flatnonzero(~constant_labels(y)))


MACRO_AUC = area_metric("roc_auc", "macro ROC AUC", macro_auc_rows, parts=_each_label, undefined=_all_constant)
MICRO_F1 = share_metric("micro_f1", "micro F1", micro_f1_rows, effective_rows=rarest_label)
MACRO_F1 = share_metric(
    "macro_f1",
    "macro F1",
    macro_f1_rows,
    effective_rows=rarest_label,
    worst=worst_by_class(lambda y: np.sum(y, axis=0)),
)
SUBSET_ACCURACY = share_metric("subset_accuracy", "subset accuracy", subset_correct)
LOG_LOSS = mean_metric(
    "log_loss",
    "log loss",
    log_losses,
    greater_is_better=False,
    unit="nats",
    effective_rows=rarest_label,
    worst=worst_by_outcome(log_losses),
)
