"""Yes or no from a probability: where the line is drawn, and how good what is decided is."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np

from fullcircle.core.field_ranges import Within, check_fields
from fullcircle.core.statistics.small_samples import spare_rows
from fullcircle.core.tasks.estimation import column, mean_metric, ratio_rows, share_metric
from fullcircle.core.tasks.metric import Metric

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fullcircle.core.tasks.base import Answers, Targets

    Numbers = NDArray[np.float64]

UNDECIDED = 0.5
"""Where the line is drawn for the metrics of a project that draws none."""


NEVER = float(np.nextafter(np.float32(1), np.float32(2)))
"""A threshold that no probability reaches, as float32."""


Cost = Annotated[float, Within(1e-9, 1e9)]


@dataclass(frozen=True)
class Costs:
    """What a wrong decision costs, in any one unit. A right one costs nothing."""

    false_positive: Cost = 1.0
    false_negative: Cost = 1.0

    def __post_init__(self) -> None:
        check_fields(self, "Costs")

    def rows(self, targets: Targets, decisions: Numbers) -> Numbers:
        """Cost of each decision, (rows,)."""
        y = np.asarray(targets, dtype=np.float64)
        wrongly_yes, wrongly_no = decisions * (1.0 - y), (1.0 - decisions) * y
        return np.asarray(self.false_positive * wrongly_yes + self.false_negative * wrongly_no, dtype=np.float64)

    def cheapest(self, targets: Targets, probabilities: NDArray[Any]) -> float:
        """The threshold at which deciding these rows costs least, halfway between two probabilities that were answered.

        For probabilities that are calibrated it is near `false_positive / (false_positive + false_negative)` (Elkan
        2001, "The foundations of cost-sensitive learning", equation 2), which is also the answer where several cost the
        same; the rows choose, since a network's probabilities are not always calibrated.
        """
        levels, place = np.unique(np.asarray(probabilities, dtype=np.float64), return_inverse=True)
        y = np.asarray(targets, dtype=np.float64)
        positives = np.bincount(place, weights=y, minlength=len(levels))
        rows = np.bincount(place, minlength=len(levels))
        # The cost of saying yes from level k on: all below are no, the last of all says no to every row.
        missed = np.concatenate([[0.0], np.cumsum(positives)])
        right_no = np.concatenate([[0.0], np.cumsum(rows - positives)])
        cost = self.false_negative * missed + self.false_positive * (right_no[-1] - right_no)
        edges = np.concatenate([[0.0], (levels[1:] + levels[:-1]) / 2.0, [NEVER]])
        best = np.flatnonzero(cost <= cost.min() * (1 + 1e-12))
        calibrated = self.false_positive / (self.false_positive + self.false_negative)
        return float(edges[best[np.argmin(np.abs(edges[best] - calibrated))]])


def decided(answers: Answers) -> Numbers:
    """0 or 1 of each answer, (rows,): its own decision where it has one, else whether it is at least UNDECIDED."""
    if np.ndim(answers) > 1:
        return column(answers, 1)
    return np.asarray(np.asarray(answers) >= UNDECIDED, dtype=np.float64)


def precision_rows(targets: Targets, answers: Answers) -> Numbers:
    """Pseudo-values of the share of yes that is right; 0 where nothing is said yes to."""
    said = decided(answers)
    return ratio_rows(said * np.asarray(targets), said)


def recall_rows(targets: Targets, answers: Answers) -> Numbers:
    """Pseudo-values of the share of positives that is said yes to."""
    y = np.asarray(targets, dtype=np.float64)
    return ratio_rows(decided(answers) * y, y)


def f1_rows(targets: Targets, answers: Answers) -> Numbers:
    """Pseudo-values of the harmonic mean of precision and recall (van Rijsbergen 1979)."""
    y, said = np.asarray(targets, dtype=np.float64), decided(answers)
    return ratio_rows(2.0 * said * y, said + y)


def average_precision_rows(targets: Targets, answers: Answers) -> Numbers:
    """Pseudo-values of the area under the precision-recall curve, as the mean precision at the positives.

    That is average precision, without interpolation (Davis and Goadrich 2006, "The relationship between
    precision-recall and ROC curves"). A row's influence is its own precision by the share of positives, and what it
    does to the precision of every positive that is not above it: (y - precision) / share of rows down to there.
    """
    y, p = np.asarray(targets, dtype=np.float64), column(answers, 0)
    levels, place = np.unique(-p, return_inverse=True)  # from the surest down
    rows = np.cumsum(np.bincount(place, minlength=len(levels)))
    hits = np.bincount(place, weights=y, minlength=len(levels))
    precision, share = np.cumsum(hits) / rows, rows / len(y)
    # Over the positives of a level and of all below: what a row of that level moves.
    below = np.cumsum((hits / share)[::-1])[::-1], np.cumsum((hits * precision / share)[::-1])[::-1]
    positives = float(y.sum())
    value = float((hits * precision).sum()) / positives
    own = y * len(y) / positives * (precision[place] - value)
    return np.asarray(value + own + (y * below[0][place] - below[1][place]) / positives, dtype=np.float64)


PRECISION = share_metric("precision", "precision", precision_rows, effective_rows=spare_rows)
RECALL = share_metric("recall", "recall", recall_rows, effective_rows=spare_rows)
F1 = share_metric("f1", "F1", f1_rows, effective_rows=spare_rows)
PR_AUC = share_metric("pr_auc", "PR AUC", average_precision_rows, effective_rows=spare_rows)


def cost_metric(costs: Costs) -> Metric:
    """Mean cost of a decision, in the unit of the costs."""
    return mean_metric(
        "cost",
        "cost of a decision",
        lambda targets, answers: costs.rows(targets, decided(answers)),
        greater_is_better=False,
        effective_rows=spare_rows,
        worst=lambda targets, answers: max(costs.false_positive, costs.false_negative),
        relative=True,
    )


def of_probabilities(metric: Metric) -> Metric:
    """The same metric for answers of which the first number is the probability."""

    def first(answers: Answers) -> Answers:
        return answers[:, 0]

    per_row = metric.per_row
    assert metric.paired_rows is None  # no metric of a probability has them
    return dataclasses.replace(
        metric,
        value=lambda y, a: metric.value(y, first(a)),
        interval=lambda y, a, seed: metric.interval(y, first(a), seed),
        difference=lambda y, a, b, seed: metric.difference(y, first(a), first(b), seed),
        test=lambda y, a, b, seed: metric.test(y, first(a), first(b), seed),
        per_row=None if per_row is None else lambda y, a: per_row(y, first(a)),
    )
