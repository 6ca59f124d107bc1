"""Any number of labels at once: several columns of 0 and 1, or one column of lists, answered label by label."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from fullcircle.core.errors import ProjectInvalid, TargetInvalid
from fullcircle.core.field_ranges import Name, check_fields, shown
from fullcircle.core.tasks.answer_format import AnswerFormat, per_cent
from fullcircle.core.tasks.answers import AnswerSpec
from fullcircle.core.tasks.base import Scarcity, Task
from fullcircle.core.tasks.estimation import safe_names
from fullcircle.core.tasks.labels.label_sets import MultilabelCodec
from fullcircle.core.tasks.metric import Metric
from fullcircle.core.tasks.multiclass import MOST, probability_of
from fullcircle.core.tasks.multilabel_metrics import (
    LOG_LOSS,
    MACRO_AUC,
    MACRO_F1,
    MICRO_F1,
    SUBSET_ACCURACY,
    constant_labels,
    label_auc,
    rarest_label,
    subset_correct,
)
from fullcircle.core.tasks.objective import Link, Objective, Weighting

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fullcircle.core.tasks.base import Answers, Targets

    Numbers = NDArray[np.float64]


@dataclass(frozen=True)
class Multilabel(Task):
    """A target that is any number of labels, none included.

    Attributes:
        name: the column of lists; of `separate` ones what the target is called.
        labels: the labels, in the order of the answers' columns.
        separate: the labels are columns of the data, each 0 or 1, rather than members of lists in one column.
    """

    labels: tuple[Name, ...]
    separate: bool = False

    kind = "multilabel"
    level_title = "labels a row"
    level_is_share = False
    loss = "binary_cross_entropy"
    baseline = "logistic_regression_by_label"
    association = "label_roc_auc"
    quality_report = "decisions"
    plots = ("reliability_by_class",)
    primary = "roc_auc"
    headline = ("roc_auc", "micro_f1", "macro_f1", "subset_accuracy")

    def __post_init__(self) -> None:
        check_fields(self, f"target {shown(self.name)}")
        if not (1 < len(self.labels) <= MOST and len(set(self.labels)) == len(self.labels)):
            raise ProjectInvalid(
                f"labels of target {self.name!r} must be from 2 to {MOST:,} different texts, got {self.labels!r:.200}"
            )

    @property
    def label_codec(self) -> MultilabelCodec:
        """Lists of labels, or a column of 0 and 1 for each."""
        return MultilabelCodec(self.name, self.labels, self.separate)

    @property
    def answers(self) -> AnswerSpec:
        """`p_<label>` of each label."""
        return AnswerSpec(tuple(probability_of(each) for each in self.labels))

    @property
    def outputs(self) -> int:
        """One for each label."""
        return len(self.labels)

    @property
    def objective(self) -> Objective:
        """Binary cross entropy of a logit for each label."""
        width = len(self.labels)
        answers = f"{width} numbers a row, one for each label of {self.name!r}"
        return Objective(loss=self.loss, outputs=width, targets=width, answers=answers)

    @property
    def metrics(self) -> Mapping[str, Metric]:
        """Macro ROC AUC, micro and macro F1, subset accuracy, log loss, and ROC AUC of each label."""
        by_label = (
            label_auc(index, *each) for index, each in enumerate(zip(safe_names(self.labels), self.labels, strict=True))
        )
        return {each.name: each for each in (MACRO_AUC, MICRO_F1, MACRO_F1, SUBSET_ACCURACY, LOG_LOSS, *by_label)}

    @property
    def floors(self) -> Mapping[str, float]:
        """Better than chance by something."""
        return {"roc_auc": 0.55}

    @property
    def margins(self) -> Mapping[str, float]:
        """Hardly worse."""
        return {"log_loss": 0.02}

    @property
    def meaning(self) -> str:
        """A probability for each label."""
        return f"the probability of each of {len(self.labels)} labels, of which a row may have any number"

    @property
    def outcome(self) -> str:
        """The target's name; plots add the label."""
        return self.name

    def require_learnable(self, parts: Mapping[str, Targets]) -> None:
        """Every label both there and not there among the training rows; some such label in every part.

        Raises:
            TargetInvalid: a label that is the same in all training rows, or a part where every label is.
        """
        for part, targets in parts.items():
            same = constant_labels(targets)
            if (part == "training" and same.any()) or same.all():
                names = ", ".join(repr(self.labels[index]) for index in np.flatnonzero(same)[:5])
                raise TargetInvalid(
                    f"target {self.name!r}: {names} is the same in all {len(targets):,} {part} rows",
                    hint="take longer spans: see 'split' in project.py, or leave the label out",
                )

    def weighting(self, targets: Targets, *, balanced: bool) -> Weighting:
        """Every row weighs the same: a row is of many labels."""
        return Weighting()

    def link(self, targets: Targets, weighting: Weighting) -> Link:
        """The logistic function of each logit."""
        return Link(name="sigmoid", offset=(0.0,) * len(self.labels))

    def summary(self, targets: Targets) -> Mapping[str, float]:
        """Rows that have each label."""
        return {name: float(count) for name, count in zip(self.labels, np.sum(targets, axis=0), strict=True)}

    def level(self, targets: Targets) -> float:
        """Labels a row."""
        return float(np.sum(targets, axis=1).mean())

    def scarcity(self, targets: Targets) -> Scarcity:
        """The rarer side of the rarest label that is not the same in all rows."""
        return Scarcity(rarest_label(targets), "rows with, or without, one label")

    def judgeable(self, targets: Targets) -> bool:
        """One label at least that some rows have and some do not."""
        return len(targets) > 0 and not bool(constant_labels(targets).all())

    def scalar(self, answers: Answers) -> NDArray[np.float64]:
        """The expected number of labels."""
        return np.asarray(np.sum(answers, axis=1), dtype=np.float64)

    def distance(self, a: Answers, b: Answers) -> NDArray[np.float64]:
        """The largest difference of a label's probability."""
        return np.asarray(np.abs(np.asarray(a, dtype=np.float64) - b).max(axis=1), dtype=np.float64)

    @property
    def answer_format(self) -> AnswerFormat:
        """In per cent."""
        return per_cent("the probabilities", "label", "labels", lead="top")

    def shown(self, target: Any) -> str:
        """The row's labels: `red, blue`."""
        return ", ".join(self.labels[index] for index in np.flatnonzero(target)) or "none"

    def happened(self, targets: Targets, part: int) -> NDArray[np.bool_]:
        """Which rows have that label, bool (rows,)."""
        return np.asarray(np.asarray(targets)[:, part] == 1, dtype=np.bool_)

    def right(self, targets: Targets, answers: Answers) -> NDArray[np.bool_]:
        """Whether all labels of a row are right, bool (rows,)."""
        return np.asarray(subset_correct(targets, answers) == 1.0, dtype=np.bool_)

    @property
    def extremes(self) -> tuple[str, str, str]:
        """By the number of labels."""
        return "the most labels", "the usual number of them", "the fewest"
