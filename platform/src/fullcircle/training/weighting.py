"""Class weights, the loss that they weigh, and the way back to honest probabilities.

Balanced weights make a model learn as if both classes were equally frequent, so its raw probabilities are too high
for the rarer class. Shifting the logit by log(positive weight / negative weight) undoes exactly that
(Elkan 2001, The Foundations of Cost-Sensitive Learning, theorem 2), and leaves every ranking as it was.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from fullcircle.core.errors import TrainingFailed

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


def weights(labels: NDArray[np.float32], *, balanced: bool) -> Weights:
    """Balanced weights, or ones. Raises TrainingFailed when the training rows are of one class."""
    rows, positives = len(labels), int((labels > 0.5).sum())
    if positives in (0, rows):
        raise TrainingFailed(
            f"all {rows} training rows are of one class", hint="train on a longer history: see 'split' in project.py"
        )
    if not balanced:
        return Weights(1.0, 1.0)
    return Weights(rows / (2.0 * (rows - positives)), rows / (2.0 * positives))


def log_loss(logits: NDArray[np.float32], labels: NDArray[np.float32], row_weights: NDArray[np.float32]) -> float:
    """Weighted mean log loss, in nats. Shapes: (rows,) each."""
    logit = logits.astype(np.float64)
    with np.errstate(invalid="ignore"):  # a NaN is the caller's to report
        losses = np.logaddexp(0.0, logit) - labels * logit
    return float((row_weights * losses).sum() / row_weights.sum(dtype=np.float64))


def roc_auc(logits: NDArray[np.float32], labels: NDArray[np.float32]) -> float:
    """ROC AUC by ranks, ties counted half (Mann and Whitney 1947); NaN when the labels are of one class."""
    from scipy.stats import rankdata

    positive = labels > 0.5
    n, m = int(positive.sum()), int((~positive).sum())
    if n == 0 or m == 0:
        return float("nan")
    return float((rankdata(logits)[positive].sum() - n * (n + 1) / 2) / (n * m))


def sigmoid(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    """Logistic function without overflow, float32."""
    from scipy.special import expit

    return np.asarray(expit(logits), dtype=np.float32)
