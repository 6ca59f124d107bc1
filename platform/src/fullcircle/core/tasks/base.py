"""What a kind of problem is: the one value that every room asks, so that none of them branches on it.

A task is made in project.py (`target=Binary(...)`), knows no framework, and holds nothing that was fitted. What rooms
resolve by name (`loss`, `link`, `baseline`, `association`, `quality_report`, `plots`) has one table entry in each.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from fullcircle.core.field_ranges import Name
from fullcircle.core.tasks.objective import Link, Objective, Weighting

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

    from fullcircle.core.tasks.answer_format import AnswerFormat
    from fullcircle.core.tasks.answers import AnswerSpec
    from fullcircle.core.tasks.class_slices import ClassSlices
    from fullcircle.core.tasks.labels.codec import LabelCodec
    from fullcircle.core.tasks.metric import Metric

    Targets = NDArray[Any]
    Answers = NDArray[np.float32]

SHOWN_CLASSES = 12
"""Classes whose rows a cell of a table tells; of more, the most frequent ones."""


@dataclass(frozen=True)
class Scarcity:
    """The rows that limit what a sample can prove: of the rarest class, or all of them.

    Attributes:
        rows: how many.
        of: what they are: "rows of one class".
    """

    rows: int
    of: str
    of_each: str = ""
    """Behind "a verdict takes 20": " of each", or nothing."""


@dataclass(frozen=True)
class Task(ABC):
    """A kind of problem, and the column that holds its answer in the data.

    Attributes:
        name: the target column.
    """

    name: Name

    @property
    @abstractmethod
    def kind(self) -> str:
        """The task's name: `binary`."""

    @property
    @abstractmethod
    def label_codec(self) -> LabelCodec:
        """What its labels are in the data, and how they are encoded, sent and logged."""

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns of the data that hold the target."""
        return self.label_codec.columns

    def targets(self, frame: pd.DataFrame) -> Targets:
        """The targets of raw rows, encoded.

        Raises:
            TargetInvalid: a label does not fit, naming the column, the values and what to do.
            KeyError: a column is not there.
        """
        return self.label_codec.targets(frame)

    @property
    @abstractmethod
    def meaning(self) -> str:
        """What an answer says, for the model card: "the probability that a row is positive: arrived late"."""

    @property
    @abstractmethod
    def outcome(self) -> str:
        """What explanations are of, for the axis of a plot: "arrived late"."""

    @property
    @abstractmethod
    def loss(self) -> str:
        """The training loss by name, an entry of each framework's LOSSES table."""

    @property
    @abstractmethod
    def baseline(self) -> str:
        """The estimator that the baseline is, by name, an entry of the ESTIMATORS table."""

    @property
    @abstractmethod
    def association(self) -> str:
        """How strongly a single column tells the target, by name, an entry of the leakage check's table."""

    @property
    @abstractmethod
    def quality_report(self) -> str:
        """How the report shows answers beside their labels, by name, an entry of monitoring's QUALITY_REPORTS table."""

    @property
    @abstractmethod
    def plots(self) -> tuple[str, ...]:
        """Pictures of an evaluation by name, entries of evaluation's PLOTS table."""

    @property
    @abstractmethod
    def primary(self) -> str:
        """The metric by which models are chosen, watched and rolled back."""

    @property
    @abstractmethod
    def headline(self) -> tuple[str, ...]:
        """The metrics that tables and pictures show, the primary one first."""

    @property
    @abstractmethod
    def answers(self) -> AnswerSpec:
        """The columns of an answer."""

    @property
    def outputs(self) -> int:
        """Width of the model's last layer."""
        return 1

    @property
    def objective(self) -> Objective:
        """What a network minimises, with the width of its last layer."""
        return Objective(loss=self.loss)

    @property
    @abstractmethod
    def metrics(self) -> Mapping[str, Metric]:
        """Every metric that gates may name."""

    @property
    def main(self) -> Metric:
        """The primary metric."""
        return self.metrics[self.primary]

    @property
    def by_class(self) -> ClassSlices | None:
        """Slices by the actual class; None where a target is no class."""
        return None

    def metrics_in(self, column: str) -> Mapping[str, Metric]:
        """The metrics that are defined on slices by this column."""
        by_class = self.by_class
        return by_class.metrics if by_class is not None and column == by_class.column else self.metrics

    @property
    @abstractmethod
    def floors(self) -> Mapping[str, float]:
        """Metric -> what a challenger must reach, in a project that names no gates."""

    @property
    @abstractmethod
    def margins(self) -> Mapping[str, float]:
        """Metric -> by how much a challenger may be worse than the champion, in a project that names no gates."""

    @abstractmethod
    def require_learnable(self, parts: Mapping[str, Targets]) -> None:
        """Refuse targets from which nothing could be learned, or on which nothing could be judged.

        Args:
            parts: `training`, `validation`, `test` -> targets.

        Raises:
            TargetInvalid: naming the column, the part and what to do.
        """

    @abstractmethod
    def weighting(self, targets: Targets, *, balanced: bool) -> Weighting:
        """Weights of the training rows by class; `balanced`: as if all classes were equally frequent."""

    @abstractmethod
    def link(self, targets: Targets, weighting: Weighting) -> Link:
        """The way from raw outputs to answers, fitted on the training targets."""

    def settled(self, link: Link, targets: Targets, answers: Answers) -> Link:
        """The link with what only a trained model's answers to the validation rows can say, such as a threshold."""
        return link

    def training_targets(self, targets: Targets, link: Link) -> NDArray[np.float32]:
        """Targets in the space that the loss is computed in, float32."""
        return np.asarray(targets, dtype=np.float32)

    @abstractmethod
    def summary(self, targets: Targets) -> Mapping[str, float]:
        """What targets look like in a table: class counts, or mean and spread."""

    def described(self, summary: Mapping[str, float], rows: int) -> str:
        """A summary of so many rows' targets in words, for a cell of a table."""
        most = sorted(summary, key=lambda name: -summary[name])[:SHOWN_CLASSES]
        named = list(summary) if len(summary) <= SHOWN_CLASSES else most
        more = f" and {len(summary) - len(named):,} more" if len(named) < len(summary) else ""
        return ", ".join(f"{name} {summary[name]:,.6g}" for name in named) + more

    level_is_share = True
    """Whether `level` is a share of the rows."""
    level_title = "positives"
    """What `level` says, behind "share of" where it is one."""

    @abstractmethod
    def level(self, targets: Targets) -> float:
        """One number that says how the targets of a month lie, for a line over the months. Of at least one row."""

    @abstractmethod
    def scarcity(self, targets: Targets) -> Scarcity:
        """What limits the evidence in these rows."""

    def judgeable(self, targets: Targets) -> bool:
        """Whether the primary metric is defined on these rows alone: a slice with both classes."""
        return self.scarcity(targets).rows > 0

    @abstractmethod
    def scalar(self, answers: Answers) -> NDArray[np.float64]:
        """One number an answer, float64 (rows,), for a histogram or a table: the probability, the prediction."""

    @property
    @abstractmethod
    def answer_format(self) -> AnswerFormat:
        """How the numbers of an answer are written for people."""

    @property
    def explained(self) -> tuple[str, ...]:
        """The names of the numbers that explanations are of."""
        return self.answers.numbers

    def given(self, answers: Answers) -> NDArray[np.intp]:
        """Of each answer, which of its numbers is the answer that was given, (rows,): the largest, the first of equals.

        Args:
            answers: (rows,) or (rows, numbers), of the `explained` numbers or some of them.
        """
        values = np.asarray(answers)
        return np.zeros(len(values), dtype=np.intp) if values.ndim == 1 else np.argmax(values, axis=1)

    @abstractmethod
    def shown(self, target: Any) -> str:
        """One row's target in words: "yes", a class, a number with its unit."""

    def outcome_of(self, target: Any) -> int | str:
        """One row's target as records and tables keep it."""
        return self.shown(target)

    def happened(self, targets: Targets, part: int) -> NDArray[np.bool_]:
        """For which targets that part of an answer, such as the class of this index, came true, bool (rows,)."""
        return np.asarray(np.asarray(targets) == part, dtype=np.bool_)

    def right(self, targets: Targets, answers: Answers) -> NDArray[np.bool_] | None:
        """Which answers are right, bool (rows,); None where an answer is more or less right."""
        return None

    @property
    def extremes(self) -> tuple[str, str, str]:
        """What the answers of the highest `scalar` are, those nearest the `middle`, and those of the lowest."""
        return "the highest", "the median", "the lowest"

    def from_middle(self, answers: Answers) -> NDArray[np.float64]:
        """How far an answer's `scalar` is from the middle, (rows,): from what neither side can claim."""
        values = self.scalar(answers)
        return np.asarray(np.abs(values - np.median(values)), dtype=np.float64)

    def distance(self, a: Answers, b: Answers) -> NDArray[np.float64]:
        """How far apart two models' answers are, (rows,), comparable to the margin of `AgreementGate`."""
        return np.abs(self.scalar(a) - self.scalar(b))

    @property
    def distance_unit(self) -> str:
        """What `distance` is in, for people; empty where it is in the answers' own unit."""
        return ""

    def fault(self, answers: NDArray[Any], rows: int) -> str | None:
        """Why these cannot be answers to so many rows; None when they can."""
        return self.answers.fault(answers, rows)
