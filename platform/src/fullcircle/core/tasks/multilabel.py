"""Any number of labels at once: several columns of 0 and 1, or one column of lists, answered label by label."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from fullcircle.core.errors import ProjectInvalid, TargetInvalid
from fullcircle.core.tasks.answer_format import AnswerFormat, per_cent
from fullcircle.core.tasks.answers import AnswerSpec
from fullcircle.core.tasks.base import Scarcity, Task, cells_of, is_label
from fullcircle.core.tasks.estimation import (
    area_metric,
    auc_against_rest,
    auc_rows,
    mean_metric,
    ratio_rows,
    safe_names,
    share_metric,
    worst_by_outcome,
)
from fullcircle.core.tasks.metric import Metric
from fullcircle.core.tasks.multiclass import EPS, MOST, probability_of
from fullcircle.core.tasks.objective import Link, Objective, Weighting

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

    from fullcircle.core.tasks.base import Answers, Targets

    Numbers = NDArray[np.float64]

CUT = 0.5
"""A label is answered when its probability is at least this."""


@dataclass(frozen=True)
class Multilabel(Task):
    """A target that is any number of labels, none included.

    Attributes:
        name: the column of lists; of `separate` ones what the target is called.
        labels: the labels, in the order of the answers' columns.
        separate: the labels are columns of the data, each 0 or 1, rather than members of lists in one column.
    """

    labels: tuple[str, ...]
    separate: bool = False

    kind = "multilabel"
    level_title = "labels a row"
    level_is_share = False
    loss = "binary_cross_entropy"
    baseline = "logistic_regression_by_label"
    association = "label_roc_auc"
    plots = ("reliability_by_class",)
    primary = "roc_auc"
    headline = ("roc_auc", "micro_f1", "macro_f1", "subset_accuracy")

    def __post_init__(self) -> None:
        object.__setattr__(self, "labels", tuple(self.labels))
        given: tuple[object, ...] = self.labels
        texts = all(isinstance(each, str) and each for each in given)
        if not (texts and 1 < len(given) <= MOST and len(set(given)) == len(given)):
            raise ProjectInvalid(
                f"labels of target {self.name!r} must be from 2 to {MOST:,} different texts, got {self.labels!r:.200}"
            )

    @property
    def columns(self) -> tuple[str, ...]:
        """One column of lists, or one column for each label."""
        return self.labels if self.separate else (self.name,)

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
            _label_auc(index, *each)
            for index, each in enumerate(zip(safe_names(self.labels), self.labels, strict=True))
        )
        return {each.name: each for each in (_MACRO_AUC, MICRO_F1, MACRO_F1, SUBSET_ACCURACY, LOG_LOSS, *by_label)}

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
        """`is a list of some of the 3 labels`."""
        return "is 0 or 1" if self.separate else f"is a list of some of the {len(self.labels)} labels"

    @property
    def advice(self) -> str:
        """A new label is the project's to take in."""
        known = ", ".join(map(repr, self.labels[:20]))
        return f"the labels are {known}: mend the rows, or name the new one in project.py"

    @property
    def meaning(self) -> str:
        """A probability for each label."""
        return f"the probability of each of {len(self.labels)} labels, of which a row may have any number"

    @property
    def outcome(self) -> str:
        """The target's name; plots add the label."""
        return self.name

    def targets(self, frame: pd.DataFrame) -> Targets:
        """The targets of raw rows, int8 (rows, labels)."""
        return self.encode(frame[list(self.columns)] if self.separate else frame[self.name])

    def logged(self, values: NDArray[np.float64]) -> Targets:
        """int8 (rows, labels)."""
        return np.asarray(values).astype(np.int8)

    def known_labels(self, cells: pd.Series) -> NDArray[np.float64]:
        """A list of 0 and 1 in each cell as float64 (rows, labels); NaN in rows not known yet."""
        found = np.full((len(cells), len(self.labels)), np.nan)
        for row, cell in enumerate(cells):
            if np.ndim(cell) == 1 and len(cell) == len(self.labels):
                found[row] = cell
        return found

    def holds(self, labels: Any) -> NDArray[np.bool_]:
        """Which rows fit, bool (rows,): of 0 and 1 (rows, labels) or (rows,), or lists of known labels (rows,)."""
        if self.separate:
            cells = np.asarray(labels)
            fits = is_label(cells.reshape(-1), 0) | is_label(cells.reshape(-1), 1)
            return np.asarray(fits.reshape(len(cells), -1).all(axis=1), dtype=np.bool_)
        known = frozenset(self.labels)
        found = [(listed := _listed(cell)) is not None and known.issuperset(listed) for cell in labels]
        return np.array(found, dtype=np.bool_)

    def codes(self, labels: Any) -> Targets:
        """int8 (rows, labels)."""
        if self.separate:
            cells = np.asarray(labels)
            return is_label(cells.reshape(-1), 1).reshape(len(cells), -1).astype(np.int8)
        position = {label: index for index, label in enumerate(self.labels)}
        found = np.zeros((len(labels), len(self.labels)), dtype=np.int8)
        for row, cell in enumerate(labels):
            found[row, [position[label] for label in _listed(cell) or ()]] = 1
        return found

    @property
    def stored_as(self) -> str:
        """Each label by name: another version of the project may have others, or have them in another order."""
        return "truths"

    @property
    def target_sentence(self) -> str:
        """`3 values of 0 or 1`."""
        return f"{len(self.labels)} values of 0 or 1"

    def are_targets(self, values: NDArray[np.object_]) -> NDArray[np.bool_]:
        """Which are as many values of 0 or 1 as there are labels, bool (rows,)."""

        def fits(cell: object) -> bool:
            cells = cell.tolist() if isinstance(cell, np.ndarray) else cell
            if not isinstance(cells, list | tuple) or len(cells) != len(self.labels):
                return False
            return bool((is_label(cells_of(cells), 0) | is_label(cells_of(cells), 1)).all())

        return np.fromiter(map(fits, values), dtype=np.bool_, count=len(values))

    def stored(self, targets: Sequence[Any]) -> list[dict[str, int]]:
        """Label -> 0 or 1, of each row."""
        return [dict(zip(self.labels, map(int, row), strict=True)) for row in targets]

    def recalled(self, cells: NDArray[Any]) -> NDArray[Any]:
        """Lists of 0 and 1, one for each label, object (rows,); None where one of them was not known then."""

        def of(cell: object) -> list[int] | None:
            known = dict(cell) if isinstance(cell, list) else cell
            if not isinstance(known, dict) or any(known.get(label) is None for label in self.labels):
                return None
            return [int(known[label]) for label in self.labels]

        return cells_of([of(cell) for cell in cells])

    def sent(self, frame: pd.DataFrame) -> list[Any]:
        """The labels that each row has, as a list."""
        if not self.separate:
            return [_listed(cell) for cell in frame[self.name]]
        has = self.codes(frame[list(self.columns)])
        return [[self.labels[index] for index in np.flatnonzero(row)] for row in has]

    def received(self, cells: Sequence[Any]) -> NDArray[Any]:
        """Lists of labels, or {label: 0 or 1} of all of them, in the form of the data."""
        lists = cells_of([self._named(cell) for cell in cells])
        if not self.separate:
            return lists
        known = frozenset(self.labels)
        found = np.full((len(cells), len(self.labels)), None, dtype=object)
        for row, listed in enumerate(lists):
            if listed is not None and known.issuperset(listed):
                found[row] = [int(label in listed) for label in self.labels]
        return found

    @property
    def received_sentence(self) -> str:
        """Both forms."""
        return f"a list of some of the {len(self.labels)} labels, or an object that says 0 or 1 of each"

    def _named(self, cell: object) -> list[str] | None:
        """The labels that a cell names, known or not; None when it is no list and no object of all labels."""
        if not isinstance(cell, dict):
            return _listed(cell)
        said = is_label(cells_of(list(cell.values())), 0) | is_label(cells_of(list(cell.values())), 1)
        return [label for label, has in cell.items() if has] if set(cell) == set(self.labels) and said.all() else None

    def require_learnable(self, parts: Mapping[str, Targets]) -> None:
        """Every label both there and not there among the training rows; some such label in every part.

        Raises:
            TargetInvalid: a label that is the same in all training rows, or a part where every label is.
        """
        for part, targets in parts.items():
            same = _constant_labels(targets)
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
        return len(targets) > 0 and not bool(_constant_labels(targets).all())

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


def _listed(cell: object) -> list[str] | None:
    """A cell's labels; None when it is no list of hashable ones."""
    if isinstance(cell, np.ndarray):
        cell = cell.tolist()
    if not isinstance(cell, list | tuple | set | frozenset):
        return None
    labels = list(cell)
    return labels if all(isinstance(label, str) for label in labels) else None


def _constant_labels(targets: Targets) -> NDArray[np.bool_]:
    share = np.asarray(targets, dtype=np.float64).mean(axis=0) if len(targets) else np.zeros(targets.shape[1])
    return np.asarray((share == 0.0) | (share == 1.0), dtype=np.bool_)


def rarest_label(targets: Targets) -> int:
    """Rows on the rarer side of the rarest label, of those that are on both sides; 0 where none is."""
    counts = np.sum(targets, axis=0)
    sides = np.minimum(counts, len(targets) - counts)
    return int(sides[sides > 0].min()) if (sides > 0).any() else 0


def macro_auc_rows(targets: Targets, answers: Answers) -> Numbers:
    """Pseudo-values of the mean ROC AUC of the labels that are on both sides."""
    y, there = np.asarray(targets), np.flatnonzero(~_constant_labels(targets))
    return np.asarray(np.mean([auc_rows(y[:, one] == 1, answers[:, one]) for one in there], axis=0), dtype=np.float64)


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
    return "every label is the same in all rows" if _constant_labels(targets).all() else None


def _label_auc(index: int, name: str, label: str) -> Metric:
    return auc_against_rest(
        name,
        label,
        index,
        lambda y: np.asarray(np.asarray(y)[:, index] == 1),
        effective_rows=rarest_label,
        are="rows have the label",
    )


_MACRO_AUC = area_metric(
    "roc_auc", "macro ROC AUC", macro_auc_rows, effective_rows=rarest_label, undefined=_all_constant
)
MICRO_F1 = share_metric("micro_f1", "micro F1", micro_f1_rows, effective_rows=rarest_label)
MACRO_F1 = share_metric("macro_f1", "macro F1", macro_f1_rows, effective_rows=rarest_label)
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
