"""Losses of the validation rows in NumPy, by the name that a task gives them: the same sums for every framework."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    RowLosses = Callable[[NDArray[np.float64], NDArray[np.float32]], NDArray[np.float64]]


def _binary_cross_entropy(logits: NDArray[np.float64], targets: NDArray[np.float32]) -> NDArray[np.float64]:
    losses: NDArray[np.float64] = np.logaddexp(0.0, logits) - targets * logits
    return losses


LOSSES: Mapping[str, RowLosses] = MappingProxyType({"binary_cross_entropy": _binary_cross_entropy})
"""Loss by name: raw outputs and targets to the loss of each row, (rows,)."""


def mean_loss(
    name: str, outputs: NDArray[np.float32], targets: NDArray[np.float32], row_weights: NDArray[np.float32]
) -> float:
    """Weighted mean loss of these rows, in the loss's own unit. Not finite where an output is not."""
    with np.errstate(invalid="ignore"):  # a NaN is the caller's to report
        losses = LOSSES[name](outputs.astype(np.float64), targets)
    return float((row_weights * losses).sum() / row_weights.sum(dtype=np.float64))
