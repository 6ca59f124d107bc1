"""Of a training's steps about one a second becomes a point of its run: there may be thousands of them."""

from __future__ import annotations

import math
import operator
import time
from collections.abc import Callable, Mapping, Sequence

STEP_POINT_EVERY_S = 1.0
StepPoint = tuple[int, Mapping[str, float]]
"""A step and its metrics."""
STEP_METRICS = ("step_loss", "gradient_norm", "samples_per_second")


def _nobody(number: int, rate: float, point: StepPoint | None) -> None: ...


class StepPoints:
    """Chooses the steps that become points, and logs them with their number as step.

    Args:
        log: logs metrics of a step.
        is_beyond: whether a step is beyond all that the run has of these metrics. Only such a one becomes a point.
    """

    def __init__(
        self, log: Callable[[Mapping[str, float], int], None], is_beyond: Callable[[Sequence[str], int], bool]
    ) -> None:
        self._log = log
        self._is_beyond = is_beyond
        self._at = -math.inf
        self._waits: StepPoint | None = None

    def add(
        self,
        first: int,
        losses: Sequence[float],
        norms: Sequence[float],
        rate: float,
        heard: Callable[[int, float, StepPoint | None], None] = _nobody,
    ) -> None:
        """Steps `first`, `first + 1`, ...; about once a second the newest becomes a point of `step_loss`,
        `gradient_norm` and `samples_per_second`.

        Args:
            heard: is told then: the newest step, the rate, and the point when there is one.
        """
        number = first + len(losses) - 1
        if not losses:
            return
        newest = (number, dict(zip(STEP_METRICS, (losses[-1], norms[-1], rate), strict=True)))
        # Of a rank that replaced another one come steps behind the one that waits.
        self._waits = max(self._waits or newest, newest, key=operator.itemgetter(0))
        point = None
        if time.monotonic() - self._at >= STEP_POINT_EVERY_S:
            point = self._point(newest)
        heard(number, rate, point)

    def last(self) -> StepPoint | None:
        """The newest step becomes a point, if it is none yet: a training that ends shows its last step."""
        return self._point(self._waits) if self._waits is not None else None

    def _point(self, newest: StepPoint) -> StepPoint | None:
        number, values = newest
        if not self._is_beyond(STEP_METRICS, number):
            return None
        self._at = time.monotonic()
        self._log(values, number)
        return newest
