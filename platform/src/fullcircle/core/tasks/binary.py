"""Yes or no: a target of two classes, answered by the probability of the positive one, and by a decision if asked."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np

from fullcircle.core.errors import ProjectInvalid, TargetInvalid
from fullcircle.core.field_ranges import Legible, Whole, Within, check_fields, shown
from fullcircle.core.statistics import intervals
from fullcircle.core.statistics.binary_metrics import brier_losses, calibration_error, log_losses, roc_auc
from fullcircle.core.statistics.small_samples import spare_rows
from fullcircle.core.tasks.answer_format import AnswerFormat, per_cent
from fullcircle.core.tasks.answers import AnswerColumn, AnswerSpec
from fullcircle.core.tasks.base import Scarcity, Task
from fullcircle.core.tasks.decisions import (
    F1,
    PR_AUC,
    PRECISION,
    RECALL,
    UNDECIDED,
    Costs,
    cost_metric,
    of_probabilities,
)
from fullcircle.core.tasks.estimation import NEGLIGIBLE_AREA, auc_rows, column, mean_metric, worst_by_outcome
from fullcircle.core.tasks.labels.class_labels import BinaryCodec
from fullcircle.core.tasks.metric import Metric
from fullcircle.core.tasks.objective import Link, Weighting

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fullcircle.core.tasks.base import Answers, Targets

PROBABILITY = AnswerColumn(name="probability", title="probability", low=0.0, high=1.0)
DECISION = AnswerColumn(name="decision", title="decision", low=0.0, high=1.0, follows=True)

ROC_AUC = Metric(
    name="roc_auc",
    title="ROC AUC",
    greater_is_better=True,
    value=roc_auc,
    interval=intervals.auc_estimate,
    difference=lambda y, a, b, seed: intervals.auc_interval(y, a, b),
    test=lambda y, a, b, seed: intervals.auc_interval(y, a, b),
    per_row=lambda y, a: auc_rows(np.asarray(y) == 1, a),
    bounds=(0.0, 1.0),
    negligible=NEGLIGIBLE_AREA,
)
"""Area under the ROC curve. Intervals and the paired test by DeLong, DeLong & Clarke-Pearson 1988."""

LOG_LOSS = mean_metric(
    "log_loss",
    "log loss",
    log_losses,
    unit="nats",
    greater_is_better=False,
    effective_rows=spare_rows,
    worst=worst_by_outcome(log_losses),
)
BRIER = mean_metric(
    "brier",
    "Brier score",
    brier_losses,
    greater_is_better=False,
    effective_rows=spare_rows,
    worst=worst_by_outcome(brier_losses),
    bounds=(0.0, 1.0),
)
"""Mean squared difference between probability and outcome (Brier 1950)."""

CALIBRATION_ERROR = Metric(
    name="calibration_error",
    title="calibration error",
    greater_is_better=False,
    value=calibration_error,
    interval=lambda y, a, seed: intervals.metric_interval(y, a, calibration_error, seed=seed or 0),
    difference=lambda y, a, b, seed: intervals.paired_interval(y, a, b, calibration_error, seed=seed),
    test=lambda y, a, b, seed: intervals.paired_interval(y, a, b, calibration_error, seed=seed),
    bounds=(0.0, 1.0),
)
"""Expected calibration error over 10 bins of equal count (Nixon et al. 2019). A sum of absolute values: resampled."""

_OF_PROBABILITY = (ROC_AUC, LOG_LOSS, BRIER, CALIBRATION_ERROR)
_OF_DECISION = (PR_AUC, PRECISION, RECALL, F1)
_METRICS = MappingProxyType({each.name: each for each in (*_OF_PROBABILITY, *_OF_DECISION)})


EitherLabel = bool | Whole | Annotated[str, Legible(shortest=0)]
Threshold = Annotated[float, Within(1e-9, 1 - 1e-7)]
"""As float32, too, above 0 and below 1."""


@dataclass(frozen=True)
class Binary(Task):
    """A target of two classes.

    Attributes:
        positive: what the positive class means, in words ("arrived more than 15 minutes late").
        labels: the negative and the positive label as they are in the data: `("no", "yes")`. Numbers and booleans are
            taken for each other: True is 1.
        threshold: the probability from which on an answer's `decision` is 1, or the costs by which the validation rows
            choose it, anew for each model; it is part of the model's graph. None: answers have no decision, and
            precision, recall and F1 are those of deciding at 0.5.
    """

    positive: str
    labels: tuple[EitherLabel, EitherLabel] = (0, 1)
    threshold: Threshold | Costs | None = None

    kind = "binary"
    loss = "binary_cross_entropy"
    baseline = "logistic_regression"
    association = "roc_auc"
    quality_report = "decisions"
    plots = ("reliability",)
    primary = "roc_auc"
    headline = ("roc_auc", "log_loss", "brier", "calibration_error")

    def __post_init__(self) -> None:
        check_fields(self, f"target {shown(self.name)}")
        one, other = self.labels
        # 1 and "1" are two in a file, and one for whoever reads a message.
        if one == other or str(one) == str(other):
            raise ProjectInvalid(
                f"labels of target {self.name!r} must be two different ones, the negative first, got {self.labels!r}"
            )

    @property
    def label_codec(self) -> BinaryCodec:
        """The two labels."""
        return BinaryCodec(self.name, self.labels)

    @property
    def answers(self) -> AnswerSpec:
        """One probability, that of the positive class; and the decision, 0 or 1, where there is a threshold."""
        return AnswerSpec((PROBABILITY,) if self.threshold is None else (PROBABILITY, DECISION))

    @property
    def metrics(self) -> Mapping[str, Metric]:
        """Of the probability: ROC AUC, log loss, Brier score, calibration error, PR AUC; of the decision: the rest."""
        if self.threshold is None:
            return _METRICS
        costs = [cost_metric(self.threshold)] if isinstance(self.threshold, Costs) else []
        found = (*map(of_probabilities, _OF_PROBABILITY), *_OF_DECISION, *costs)
        return {each.name: each for each in found}

    @property
    def floors(self) -> Mapping[str, float]:
        """Better than chance by something."""
        return {"roc_auc": 0.55}

    @property
    def margins(self) -> Mapping[str, float]:
        """Hardly worse."""
        return {"log_loss": 0.01}

    @property
    def meaning(self) -> str:
        """A probability, and of what."""
        return f"the probability that a row is positive: {self.positive}"

    @property
    def outcome(self) -> str:
        """What the positive class means."""
        return self.positive

    def require_learnable(self, parts: Mapping[str, Targets]) -> None:
        """Both classes in every part.

        Raises:
            TargetInvalid: a part has rows of one class alone, or none.
        """
        for part, targets in parts.items():
            positives = int((targets > 0).sum())
            if positives in (0, len(targets)):
                label = self.labels[1 if positives else 0]
                raise TargetInvalid(
                    f"all {len(targets):,} {part} rows are of one class: target {self.name!r} is {label!r} in each",
                    hint="take longer spans: see 'split' in project.py",
                )

    def weighting(self, targets: Targets, *, balanced: bool) -> Weighting:
        """Balanced weights, or none. Both classes are there."""
        rows, positives = len(targets), int((targets > 0.5).sum())
        return Weighting((rows / (2.0 * (rows - positives)), rows / (2.0 * positives)) if balanced else ())

    def link(self, targets: Targets, weighting: Weighting) -> Link:
        """The logistic function of the logit, less the log of the classes' weights.

        Balanced weights make a model learn as if both classes were equally frequent; the shift undoes exactly that and
        leaves every ranking as it was. Source: Elkan 2001, "The foundations of cost-sensitive learning", theorem 2.
        """
        negative, positive = weighting.by_class or (1.0, 1.0)
        offset = (-float(np.log(positive / negative)),)
        if self.threshold is None:
            return Link(name="sigmoid", offset=offset)
        line = self.threshold if isinstance(self.threshold, float) else UNDECIDED
        return Link(name="sigmoid_decision", offset=offset, threshold=line)

    def settled(self, link: Link, targets: Targets, answers: Answers) -> Link:
        """The link with the threshold at which these rows would have cost least, where costs are to choose it."""
        if not isinstance(self.threshold, Costs):
            return link
        return dataclasses.replace(link, threshold=self.threshold.cheapest(targets, answers[:, 0]))

    def summary(self, targets: Targets) -> Mapping[str, float]:
        """`positives`: rows of the positive class."""
        return {"positives": float((np.asarray(targets) > 0).sum())}

    def described(self, summary: Mapping[str, float], rows: int) -> str:
        """The share of positives."""
        return f"{summary['positives'] / rows:.1%} positive" if rows else ""

    def level(self, targets: Targets) -> float:
        """The share of positives."""
        return float((np.asarray(targets) > 0).mean())

    def scarcity(self, targets: Targets) -> Scarcity:
        """The class that has fewer rows."""
        return Scarcity(spare_rows(targets), "rows of one class", " of each")

    def scalar(self, answers: Answers) -> NDArray[np.float64]:
        """The probability."""
        return column(answers, 0)

    @property
    def answer_format(self) -> AnswerFormat:
        """In per cent."""
        return per_cent("the probability")

    @property
    def explained(self) -> tuple[str, ...]:
        """The probability; a decision follows from it."""
        return self.answers.numbers[:1]

    def given(self, answers: Answers) -> NDArray[np.intp]:
        """The probability."""
        return np.zeros(len(answers), dtype=np.intp)

    def shown(self, target: Any) -> str:
        """`yes` or `no`: whether it is the positive class."""
        return "yes" if target == 1 else "no"

    def outcome_of(self, target: Any) -> int | str:
        """1 or 0."""
        return int(target)

    def right(self, targets: Targets, answers: Answers) -> NDArray[np.bool_]:
        """Which decisions are right, or which probabilities are on the right side of one half, bool (rows,)."""
        decided = column(answers, len(self.answers.numbers) - 1) >= 0.5
        return np.asarray(decided == (np.asarray(targets) == 1), dtype=np.bool_)

    @property
    def extremes(self) -> tuple[str, str, str]:
        """From yes to no."""
        return "the surest yes", "the least sure", "the surest no"

    def from_middle(self, answers: Answers) -> NDArray[np.float64]:
        """Distance from one half."""
        return np.asarray(np.abs(self.scalar(answers) - 0.5), dtype=np.float64)
