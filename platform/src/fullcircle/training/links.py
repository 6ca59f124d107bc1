"""The last step from raw outputs to answers in NumPy, by the name of a task's link: for metrics and the baseline."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np

from fullcircle.core.tasks.objective import MOST_EXPONENT

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fullcircle.core.records.training import Arrays, Fitted
    from fullcircle.core.tasks import Link, Task


def _sigmoid(outputs: NDArray[Any], link: Link) -> NDArray[Any]:
    from scipy.special import expit

    return np.asarray(expit(outputs + _offset(outputs, link)))


def _sigmoid_decision(outputs: NDArray[Any], link: Link) -> NDArray[Any]:
    probability = _sigmoid(outputs, link)
    # As float32, in which the graph compares.
    decided = probability.astype(np.float32) >= np.float32(link.threshold or 0.0)
    return np.concatenate([probability, decided.astype(probability.dtype)], axis=1)


def _softmax(outputs: NDArray[Any], link: Link) -> NDArray[Any]:
    from scipy.special import softmax

    return np.asarray(softmax(outputs + _offset(outputs, link), axis=1))


def _identity(outputs: NDArray[Any], link: Link) -> NDArray[Any]:
    values = outputs * outputs.dtype.type(link.scale) + _offset(outputs, link)
    return INVERSES[link.inverse](values)


def _exp(outputs: NDArray[Any], link: Link) -> NDArray[Any]:
    return np.asarray(np.exp(np.minimum(outputs + _offset(outputs, link), outputs.dtype.type(MOST_EXPONENT))))


def _sorted_quantiles(outputs: NDArray[Any], link: Link) -> NDArray[Any]:
    ordered = np.sort(_identity(outputs, link), axis=1)
    return ordered[:, [1, 0, 2]]  # the median, the low and the high end


def _offset(outputs: NDArray[Any], link: Link) -> NDArray[Any]:
    return np.asarray(link.offset, dtype=outputs.dtype)


INVERSES: Mapping[str, Callable[[NDArray[Any]], NDArray[Any]]] = MappingProxyType(
    {
        "": lambda values: values,
        "expm1": lambda values: np.expm1(np.minimum(values, values.dtype.type(MOST_EXPONENT))),
    }
)
"""Inverse of a target's transform by name."""

LINKS: Mapping[str, Callable[[NDArray[Any], Link], NDArray[Any]]] = MappingProxyType(
    {
        "sigmoid": _sigmoid,
        "sigmoid_decision": _sigmoid_decision,
        "softmax": _softmax,
        "identity": _identity,
        "exp": _exp,
        "sorted_quantiles": _sorted_quantiles,
    }
)
"""Link by name: raw outputs (rows, outputs) to answers (rows, numbers), in the outputs' own precision."""


def answers(link: Link, outputs: NDArray[Any]) -> NDArray[Any]:
    """Answers of raw outputs (rows, outputs), by the link's entry in LINKS: (rows,) of one number, else two axes."""
    found = LINKS[link.name](outputs, link)
    return found[:, 0] if found.shape[1] == 1 else found


def settled(task: Task, link: Link, arrays: Arrays, made: Callable[[Link], Fitted]) -> Link:
    """The link with what only a trained model's answers to the validation rows can say (`Task.settled`).

    Args:
        made: the trained model with a link.
    """
    if link.threshold is None:
        return link
    return task.settled(link, np.asarray(arrays.y_validation), made(link).answers(arrays.x_validation))
