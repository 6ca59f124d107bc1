"""The last step from raw outputs to answers in NumPy, by the name of a task's link: for metrics and the baseline."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fullcircle.core.tasks import Link


def _sigmoid(outputs: NDArray[Any], link: Link) -> NDArray[Any]:
    from scipy.special import expit

    return np.asarray(expit(outputs + outputs.dtype.type(link.offset[0])))


LINKS: Mapping[str, Callable[[NDArray[Any], Link], NDArray[Any]]] = MappingProxyType({"sigmoid": _sigmoid})
"""Link by name: raw outputs to answers, in the outputs' own precision."""


def answers(link: Link, outputs: NDArray[Any]) -> NDArray[Any]:
    """Answers of raw outputs, by the link's entry in LINKS."""
    return LINKS[link.name](outputs, link)
