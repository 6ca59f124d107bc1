"""How a network learns a task: values whose names each framework resolves in one table of its own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True)
class Objective:
    """What a network minimises, and from how many numbers a row.

    A value beside the task, not the task: an engine then needs to know nothing else of a kind of problem, and the mark
    of a checkpoint can hold all that decides the weights.

    Attributes:
        loss: by name, an entry of each framework's LOSSES table.
        outputs: width of the model's last layer.
        targets: numbers of a row's target: its labels, else 1.
        quantiles: of the loss `quantile`: the level of each output.
        answers: what the outputs are, for whoever gave another width: "one logit a row".
    """

    loss: str = "binary_cross_entropy"
    outputs: int = 1
    targets: int = 1
    quantiles: tuple[float, ...] = ()
    answers: str = "one logit a row"


@dataclass(frozen=True, kw_only=True)
class Link:
    """The fixed last step from a network's raw outputs to answers, with what was fitted on the training rows.

    `answer = inverse(function(scale * raw + offset))`, the function by `name` in each framework's LINKS table.

    Attributes:
        name: `sigmoid`, `sigmoid_decision`, `softmax`, `identity`, `exp` or `sorted_quantiles`.
        offset: added to each output: undoes class weights (minus the log of their ratio), or adds the mean back. As
            many as the model has outputs.
        scale: the spread that the targets were divided by for training.
        inverse: "" or `expm1`: of a target that was learned as its log1p.
        threshold: of a decision, which is then the answer's second number: the probability from which on it is 1.
    """

    name: str
    offset: tuple[float, ...] = (0.0,)
    scale: float = 1.0
    inverse: str = ""
    threshold: float | None = None

    @property
    def numbers(self) -> int:
        """How many numbers an answer has: one for each output, and one more with a decision."""
        return len(self.offset) + (self.threshold is not None)


MOST_EXPONENT = 88.0
"""Exponentials are taken of at most this: its own, 1.65e38, is still a finite float32."""


@dataclass(frozen=True)
class Weighting:
    """The weight of each training row, by its target; the mean over the training rows is 1.

    Attributes:
        by_class: weight of each class by its code; empty: every row weighs 1.
    """

    by_class: tuple[float, ...] = ()

    def rows(self, targets: NDArray[Any]) -> NDArray[np.float32]:
        """Weight of each row, float32 (rows,). Targets: (rows,), or (rows, labels) where every row weighs 1."""
        if not self.by_class:
            return np.ones(len(targets), dtype=np.float32)
        return np.asarray(self.by_class, dtype=np.float32)[np.asarray(targets).astype(np.intp)]
