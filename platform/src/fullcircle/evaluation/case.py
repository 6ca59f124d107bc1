"""What the gates share: the case that they look at, and the word that each of them says. Pure values."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fullcircle.core.project import Project
from fullcircle.core.statistics.interval import Interval
from fullcircle.core.statistics.outcome import Outcome
from fullcircle.core.statistics.small_samples import spare_rows
from fullcircle.evaluation.spending import Look

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

MIN_OF_A_CLASS = 20
"""Below this many rows of either class nothing is proven, whatever an interval says."""


@dataclass(frozen=True)
class Word:
    """One gate's word; `missed_by` in the metric's unit, `rows_needed` where more rows would decide."""

    gate: str
    outcome: Outcome
    detail: str
    missed_by: float | None = None
    rows_needed: int | None = None


@dataclass(frozen=True)
class Case:
    """What every gate looks at. `against[metric]`: challenger minus champion on the same rows."""

    project: Project
    frame: pd.DataFrame
    labels: NDArray[np.int8]
    challenger: NDArray[np.float32]
    champion: NDArray[np.float32] | None
    version: str
    look: Look
    against: dict[str, Interval]

    @property
    def spare(self) -> int:
        """Rows of the class that has fewer."""
        return spare_rows(self.labels)

    def rows_for(self, of_a_class: int) -> int:
        """About how many rows have so many of the class that has fewer."""
        return math.ceil(len(self.labels) * of_a_class / max(self.spare, 1))


def negated(difference: Interval) -> Interval:
    """The same difference the other way round."""
    return Interval(value=-difference.value, low=-difference.high, high=-difference.low)
