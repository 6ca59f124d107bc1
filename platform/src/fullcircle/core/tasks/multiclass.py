"""One of several classes: answered by a probability for each class, and the class that has the largest."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from fullcircle.core.errors import ProjectInvalid, TargetInvalid
from fullcircle.core.field_ranges import Name, Whole, check_fields, shown
from fullcircle.core.tasks.answer_format import AnswerFormat, per_cent
from fullcircle.core.tasks.answers import AnswerColumn, AnswerSpec
from fullcircle.core.tasks.base import Scarcity, Task
from fullcircle.core.tasks.class_slices import ClassSlices
from fullcircle.core.tasks.estimation import safe_names
from fullcircle.core.tasks.labels.class_labels import MulticlassCodec
from fullcircle.core.tasks.metric import Metric
from fullcircle.core.tasks.multiclass_metrics import (
    ACCURACY,
    BRIER,
    CALIBRATION_ERROR,
    LOG_LOSS,
    MACRO_AUC,
    MACRO_F1,
    OF_A_CLASS,
    class_auc,
    rarest,
)
from fullcircle.core.tasks.objective import Link, Objective, Weighting

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fullcircle.core.tasks.base import Answers, Targets

    Numbers = NDArray[np.float64]

FEWEST, MOST = 2, 1000


@dataclass(frozen=True)
class Multiclass(Task):
    """A target that is one of several classes.

    Attributes:
        classes: the labels as they are in the data, in the order of the answers' columns. They are the project's to
            say: a class that a batch shows and the project does not know breaks the data contract.
    """

    classes: tuple[Whole | Name, ...]

    kind = "multiclass"
    level_title = "the most frequent class"
    loss = "cross_entropy"
    baseline = "multinomial_logistic_regression"
    association = "macro_roc_auc"
    quality_report = "classes"
    plots = ("confusion_matrix", "reliability_by_class")
    primary = "roc_auc"
    headline = ("roc_auc", "accuracy", "macro_f1", "log_loss")

    def __post_init__(self) -> None:
        check_fields(self, f"target {shown(self.name)}")
        if not (FEWEST < len(self.classes) <= MOST and len(set(map(str, self.classes))) == len(self.classes)):
            raise ProjectInvalid(
                f"classes of target {self.name!r} must be from 3 to {MOST:,} different texts or whole numbers (two are "
                f"a Binary), got {self.classes!r:.200}"
            )

    @property
    def names(self) -> tuple[str, ...]:
        """The classes as text."""
        return tuple(str(each) for each in self.classes)

    @property
    def label_codec(self) -> MulticlassCodec:
        """The classes."""
        return MulticlassCodec(self.name, self.classes)

    @property
    def answers(self) -> AnswerSpec:
        """`p_<class>` of each class, and `class`."""
        numbers = (probability_of(each) for each in self.names)
        return AnswerSpec((*numbers, AnswerColumn(name="class", title="class", choices=self.names)))

    @property
    def outputs(self) -> int:
        """One for each class."""
        return len(self.classes)

    @property
    def objective(self) -> Objective:
        """Cross entropy of a logit for each class."""
        width = len(self.classes)
        answers = f"{width} numbers a row, one for each class of {self.name!r}"
        return Objective(loss=self.loss, outputs=width, answers=answers)

    @property
    def metrics(self) -> Mapping[str, Metric]:
        """Macro ROC AUC, accuracy, macro F1, log loss, Brier score, calibration error, and ROC AUC of each class."""
        found = (MACRO_AUC, ACCURACY, MACRO_F1, LOG_LOSS, BRIER, CALIBRATION_ERROR)
        by_class = (
            class_auc(index, *each) for index, each in enumerate(zip(safe_names(self.names), self.names, strict=True))
        )
        return {each.name: each for each in (*found, *by_class)}

    @property
    def by_class(self) -> ClassSlices:
        """By recall, and by log loss."""
        return ClassSlices(column=self.name, classes=self.names, metrics=OF_A_CLASS, drop=0.1)

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
        """A probability for each class, and the likeliest."""
        return f"the probability of each of {len(self.classes)} classes, and the likeliest of them"

    @property
    def outcome(self) -> str:
        """The target's name; plots add the class."""
        return self.name

    def require_learnable(self, parts: Mapping[str, Targets]) -> None:
        """Every class in the training rows, and no class in later rows that these lack.

        Raises:
            TargetInvalid: a class without training rows, or a part with one class alone.
        """
        for part, targets in parts.items():
            counts = np.bincount(np.asarray(targets, dtype=np.intp), minlength=len(self.classes))
            if int((counts > 0).sum()) < 2:
                only = f" is {self.classes[int(counts.argmax())]!r} in each" if len(targets) else " has none"
                raise TargetInvalid(
                    f"all {len(targets):,} {part} rows are of one class: target {self.name!r}{only}",
                    hint="take longer spans: see 'split' in project.py",
                )
            if part == "training" and not counts.all():
                missing = [self.classes[index] for index in np.flatnonzero(counts == 0)]
                later = {name for name, other in parts.items() if np.isin(other, np.flatnonzero(counts == 0)).any()}
                where = f", but the {' and '.join(sorted(later))} rows have some" if later else ""
                raise TargetInvalid(
                    f"target {self.name!r}: no training row is of class {', '.join(map(repr, missing[:5]))}{where}",
                    hint="take a longer history or pool rare classes in the data; else leave the class out of classes",
                )

    def weighting(self, targets: Targets, *, balanced: bool) -> Weighting:
        """Balanced weights, rows / (classes * rows of the class), or none."""
        if not balanced:
            return Weighting()
        counts = np.bincount(targets.astype(np.intp), minlength=len(self.classes))
        return Weighting(tuple(float(each) for each in len(targets) / (len(counts) * np.maximum(counts, 1))))

    def link(self, targets: Targets, weighting: Weighting) -> Link:
        """Softmax of the logits, less the log of the classes' weights (Elkan 2001, theorem 2, a class at a time)."""
        weights = np.asarray(weighting.by_class or np.ones(len(self.classes)))
        return Link(name="softmax", offset=tuple(float(each) for each in -np.log(weights)))

    def summary(self, targets: Targets) -> Mapping[str, float]:
        """Rows of each class."""
        counts = np.bincount(np.asarray(targets, dtype=np.intp), minlength=len(self.classes))
        return {name: float(count) for name, count in zip(self.names, counts, strict=True)}

    def level(self, targets: Targets) -> float:
        """The share of the most frequent class."""
        return float(np.bincount(np.asarray(targets, dtype=np.intp)).max() / len(targets))

    def scarcity(self, targets: Targets) -> Scarcity:
        """The rarest class of those that are there."""
        return Scarcity(rarest(targets), "rows of one class", " of each")

    def judgeable(self, targets: Targets) -> bool:
        """Two classes at least."""
        return len(np.unique(targets)) > 1

    def scalar(self, answers: Answers) -> NDArray[np.float64]:
        """The largest probability: how sure the model is."""
        return np.asarray(np.max(answers, axis=1), dtype=np.float64)

    def distance(self, a: Answers, b: Answers) -> NDArray[np.float64]:
        """Total variation: the share of the probability that lies on other classes."""
        return np.asarray(np.abs(np.asarray(a, dtype=np.float64) - b).sum(axis=1) / 2.0, dtype=np.float64)

    @property
    def answer_format(self) -> AnswerFormat:
        """In per cent."""
        return per_cent("the probabilities", "class", "classes")

    def shown(self, target: Any) -> str:
        """The class."""
        return self.names[int(target)]

    def right(self, targets: Targets, answers: Answers) -> NDArray[np.bool_]:
        """Whether the likeliest class is the right one, bool (rows,)."""
        return np.asarray(np.argmax(answers, axis=1) == targets, dtype=np.bool_)

    @property
    def extremes(self) -> tuple[str, str, str]:
        """By the probability of the likeliest class."""
        return "the surest", "the usual", "the least sure"


def probability_of(label: str) -> AnswerColumn:
    """The column of one class's, or one label's, probability: `p_<label>`."""
    return AnswerColumn(name=f"p_{label}", title=f"probability of {label}", low=0.0, high=1.0, part=label)
