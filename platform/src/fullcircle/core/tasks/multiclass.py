"""One of several classes: answered by a probability for each class, and the class that has the largest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np

from fullcircle.core.errors import ProjectInvalid, TargetInvalid
from fullcircle.core.statistics.binary_metrics import equal_count_bins
from fullcircle.core.statistics.small_samples import unseen_share
from fullcircle.core.tasks.answer_format import AnswerFormat, per_cent
from fullcircle.core.tasks.answers import AnswerColumn, AnswerSpec
from fullcircle.core.tasks.base import Label, Scarcity, Task, is_label, real_numbers
from fullcircle.core.tasks.class_slices import ClassSlices
from fullcircle.core.tasks.estimation import (
    area_metric,
    auc_against_rest,
    auc_rows,
    mean_metric,
    ratio_rows,
    safe_names,
    share_metric,
)
from fullcircle.core.tasks.metric import Metric
from fullcircle.core.tasks.objective import Link, Objective, Weighting

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fullcircle.core.tasks.base import Answers, Targets

    Numbers = NDArray[np.float64]

EPS = 1e-7
"""Probabilities are kept so far from 0 in a logarithm: float32 ones can be exactly 0."""
FEWEST, MOST = 2, 1000


@dataclass(frozen=True)
class Multiclass(Task):
    """A target that is one of several classes.

    Attributes:
        classes: the labels as they are in the data, in the order of the answers' columns. They are the project's to
            say: a class that a batch shows and the project does not know breaks the data contract.
    """

    classes: tuple[Label, ...]

    kind = "multiclass"
    level_title = "the most frequent class"
    loss = "cross_entropy"
    baseline = "multinomial_logistic_regression"
    association = "macro_roc_auc"
    plots = ("confusion_matrix", "reliability_by_class")
    primary = "roc_auc"
    headline = ("roc_auc", "accuracy", "macro_f1", "log_loss")

    def __post_init__(self) -> None:
        object.__setattr__(self, "classes", tuple(self.classes))
        given: tuple[object, ...] = self.classes
        labels = all(isinstance(each, str | int) and not isinstance(each, bool) for each in given)
        if not (labels and FEWEST < len(given) <= MOST and len(set(map(str, given))) == len(given)):
            raise ProjectInvalid(
                f"classes of target {self.name!r} must be from 3 to {MOST:,} different texts or whole numbers (two are "
                f"a Binary), got {self.classes!r:.200}"
            )

    @property
    def names(self) -> tuple[str, ...]:
        """The classes as text."""
        return tuple(str(each) for each in self.classes)

    @property
    def has_numbers(self) -> bool:
        """Where every class is a number."""
        return not any(isinstance(label, str) for label in self.classes)

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
        found = (_MACRO_AUC, ACCURACY, MACRO_F1, LOG_LOSS, BRIER, CALIBRATION_ERROR)
        by_class = (
            _class_auc(index, *each) for index, each in enumerate(zip(safe_names(self.names), self.names, strict=True))
        )
        return {each.name: each for each in (*found, *by_class)}

    @property
    def by_class(self) -> ClassSlices:
        """By recall, and by log loss."""
        return ClassSlices(column=self.name, classes=self.names, metrics=_OF_A_CLASS, drop=0.1)

    @property
    def floors(self) -> Mapping[str, float]:
        """Better than chance by something."""
        return {"roc_auc": 0.55}

    @property
    def margins(self) -> Mapping[str, float]:
        """Hardly worse."""
        return {"log_loss": 0.02}

    @property
    def sentence(self) -> str:
        """`is one of the 3 classes`."""
        return f"is one of the {len(self.classes)} classes"

    @property
    def advice(self) -> str:
        """A new class is the project's to take in."""
        return (
            f"the classes are {', '.join(map(repr, self.classes[:20]))}: mend the rows, or name the new class in "
            "project.py and train anew"
        )

    @property
    def meaning(self) -> str:
        """A probability for each class, and the likeliest."""
        return f"the probability of each of {len(self.classes)} classes, and the likeliest of them"

    @property
    def outcome(self) -> str:
        """The target's name; plots add the class."""
        return self.name

    def holds(self, labels: Any) -> NDArray[np.bool_]:
        """Which labels are one of the classes, bool (rows,)."""
        return np.asarray(self._codes(labels) >= 0, dtype=np.bool_)

    def codes(self, labels: Any) -> Targets:
        """int16 (rows,): the index of each class."""
        return self._codes(labels)

    @property
    def stored_as(self) -> str:
        """The class's name: another version of the project may have it in another place."""
        return "text"

    @property
    def target_sentence(self) -> str:
        """`a class's code, from 0 to 2`."""
        return f"a class's code, from 0 to {len(self.classes) - 1}"

    def are_targets(self, values: NDArray[np.object_]) -> NDArray[np.bool_]:
        """Which are codes of classes, bool (rows,)."""
        codes = real_numbers(values)
        with np.errstate(invalid="ignore"):
            return np.asarray((codes >= 0) & (codes < len(self.classes)) & (codes % 1 == 0), dtype=np.bool_)

    def stored(self, targets: Sequence[Any]) -> list[str]:
        """The names of the classes."""
        return [self.names[int(code)] for code in targets]

    def recalled(self, cells: NDArray[Any]) -> NDArray[Any]:
        """The codes that the classes have now, float64 (rows,); NaN for one that there is no more."""
        code = {name: float(code) for code, name in enumerate(self.names)}
        found = (code.get(cell, np.nan) if isinstance(cell, str) else np.nan for cell in cells.tolist())
        return np.fromiter(found, dtype=np.float64, count=len(cells))

    def _codes(self, labels: Any) -> NDArray[np.int16]:
        cells = np.asarray(labels)
        found = np.full(len(cells), -1, dtype=np.int16)
        for code, label in enumerate(self.classes):
            found[is_label(cells, label)] = code
        return found

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
    there = np.unique(y)
    return np.asarray(np.mean([auc_rows(y == code, answers[:, code]) for code in there], axis=0), dtype=np.float64)


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


def _class_auc(index: int, name: str, label: str) -> Metric:
    return auc_against_rest(
        name,
        label,
        index,
        lambda y: np.asarray(np.asarray(y) == index),
        effective_rows=rarest,
        are="rows are of class",
    )


_MACRO_AUC = area_metric("roc_auc", "macro ROC AUC", macro_auc_rows, effective_rows=rarest, undefined=_one_class)
ACCURACY = share_metric("accuracy", "accuracy", correct)
MACRO_F1 = share_metric("macro_f1", "macro F1", macro_f1_rows, effective_rows=rarest)
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
    "brier", "Brier score", brier_scores, greater_is_better=False, effective_rows=rarest, worst=lambda y, a: 2.0
)
CALIBRATION_ERROR = mean_metric(
    "calibration_error",
    "classwise calibration error",
    calibration_rows,
    greater_is_better=False,
    effective_rows=rarest,
    worst=lambda y, a: unseen_share(len(y)),
)
RECALL = share_metric("recall", "recall", correct)
"""Of rows of one class: the share that is answered with it, of which macro recall is the mean (Sokolova & Lapalme 2009,
"A systematic analysis of performance measures for classification tasks", table 3)."""
CLASS_LOG_LOSS = mean_metric(
    "log_loss", "log loss", log_losses, greater_is_better=False, unit="nats", worst=_worst_log_loss
)
_OF_A_CLASS = MappingProxyType({each.name: each for each in (RECALL, CLASS_LOG_LOSS)})
