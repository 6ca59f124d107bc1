"""Class weights, the loss that they weigh, and the correction that gives calibrated probabilities back.

Balanced weights make a model learn as if both classes were equally frequent, so its raw probabilities are too high
for the rarer class. Shifting the logit by log(positive weight / negative weight) undoes exactly that
(Elkan 2001, The Foundations of Cost-Sensitive Learning, theorem 2), and leaves every ranking as it was.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from fullcircle.core.errors import TrainingFailed
from fullcircle.core.records.training import Arrays

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Weights:
    """Weight of a row of either class; their mean over the training rows is 1."""

    negative: float
    positive: float

    @property
    def shift(self) -> float:
        """What to subtract from the logit to get back to the frequencies of the training rows."""
        return float(np.log(self.positive / self.negative))

    def rows(self, labels: NDArray[np.float32]) -> NDArray[np.float32]:
        """Weight of each row, float32 (rows,)."""
        return np.where(labels > 0.5, np.float32(self.positive), np.float32(self.negative))


def require_both_classes(arrays: Arrays) -> None:
    """Raise TrainingFailed when the training or the validation rows are of one class: nothing could be learned."""
    for part, labels in (("training", arrays.y_train), ("validation", arrays.y_validation)):
        if int((labels > 0.5).sum()) in (0, len(labels)):
            raise TrainingFailed(
                f"all {len(labels)} {part} rows are of one class", hint="take longer spans: see 'split' in project.py"
            )


def weights(labels: NDArray[np.float32], *, balanced: bool) -> Weights:
    """Balanced weights, or ones. The labels are of both classes."""
    rows, positives = len(labels), int((labels > 0.5).sum())
    if not balanced:
        return Weights(1.0, 1.0)
    return Weights(rows / (2.0 * (rows - positives)), rows / (2.0 * positives))


def log_loss(logits: NDArray[np.float32], labels: NDArray[np.float32], row_weights: NDArray[np.float32]) -> float:
    """Weighted mean log loss, in nats. Shapes: (rows,) each."""
    logit = logits.astype(np.float64)
    with np.errstate(invalid="ignore"):  # a NaN is the caller's to report
        losses = np.logaddexp(0.0, logit) - labels * logit
    return float((row_weights * losses).sum() / row_weights.sum(dtype=np.float64))


def sigmoid(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    """Logistic function without overflow, float32."""
    from scipy.special import expit

    return np.asarray(expit(logits), dtype=np.float32)
