"""Losses of the validation rows in NumPy, by the name that a task gives them: the same sums for every framework."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np

from fullcircle.core.tasks import Objective

if TYPE_CHECKING:
    from numpy.typing import NDArray

    RowLosses = Callable[[NDArray[np.float64], NDArray[np.float32], Objective], NDArray[np.float64]]

MOST_VALUES = 2**22
"""Raw outputs that are taken to float64 at a time: 32 MB, whatever the rows and the classes."""


def _binary_cross_entropy(
    outputs: NDArray[np.float64], targets: NDArray[np.float32], objective: Objective
) -> NDArray[np.float64]:
    losses: NDArray[np.float64] = np.logaddexp(0.0, outputs) - targets.reshape(outputs.shape) * outputs
    return losses[:, 0] if objective.outputs == 1 else losses.mean(axis=1)


def _cross_entropy(
    outputs: NDArray[np.float64], targets: NDArray[np.float32], objective: Objective
) -> NDArray[np.float64]:
    from scipy.special import logsumexp

    right = np.take_along_axis(outputs, targets.astype(np.intp)[:, None], axis=1)[:, 0]
    return np.asarray(logsumexp(outputs, axis=1) - right)


def _squared(outputs: NDArray[np.float64], targets: NDArray[np.float32], objective: Objective) -> NDArray[np.float64]:
    return np.asarray((outputs[:, 0] - targets) ** 2)


def _absolute(outputs: NDArray[np.float64], targets: NDArray[np.float32], objective: Objective) -> NDArray[np.float64]:
    return np.abs(outputs[:, 0] - targets)


def _huber(outputs: NDArray[np.float64], targets: NDArray[np.float32], objective: Objective) -> NDArray[np.float64]:
    """Source: Huber 1964, "Robust estimation of a location parameter", of delta 1."""
    far = np.abs(outputs[:, 0] - targets)
    return np.where(far <= 1.0, 0.5 * far**2, far - 0.5)


def _poisson(outputs: NDArray[np.float64], targets: NDArray[np.float32], objective: Objective) -> NDArray[np.float64]:
    """The part of the negative log-likelihood that depends on the log-mean."""
    with np.errstate(over="ignore"):  # an infinity is the caller's to report
        return np.exp(outputs[:, 0]) - targets * outputs[:, 0]


def _quantile(outputs: NDArray[np.float64], targets: NDArray[np.float32], objective: Objective) -> NDArray[np.float64]:
    """Mean pinball loss over the quantiles. Source: Koenker & Bassett 1978, "Regression quantiles"."""
    levels = np.asarray(objective.quantiles)
    short = targets[:, None] - outputs
    return np.asarray(np.maximum(levels * short, (levels - 1.0) * short).mean(axis=1))


LOSSES: Mapping[str, RowLosses] = MappingProxyType(
    {
        "binary_cross_entropy": _binary_cross_entropy,
        "cross_entropy": _cross_entropy,
        "squared": _squared,
        "absolute": _absolute,
        "huber": _huber,
        "poisson": _poisson,
        "quantile": _quantile,
    }
)
"""Loss by name: raw outputs (rows, outputs) and training targets (rows,) or (rows, labels) to each row's, (rows,)."""


def mean_loss(
    objective: Objective,
    outputs: NDArray[np.float32],
    targets: NDArray[np.float32],
    row_weights: NDArray[np.float32],
) -> float:
    """Weighted mean loss of these rows, in the loss's own unit. Not finite where an output is not.

    Shapes: outputs (rows, outputs), training targets (rows,) or (rows, labels), weights (rows,).
    """
    losses, step = np.empty(len(outputs), dtype=np.float64), max(1, MOST_VALUES // objective.outputs)
    with np.errstate(invalid="ignore"):  # a NaN is the caller's to report
        for start in range(0, len(outputs), step):
            part = slice(start, start + step)
            losses[part] = LOSSES[objective.loss](outputs[part].astype(np.float64), targets[part], objective)
    return float((row_weights * losses).sum() / row_weights.sum(dtype=np.float64))
