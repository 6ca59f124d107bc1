"""Input and result types shared by all gates. Pure values."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fullcircle.core.project import Project
from fullcircle.core.statistics.clusters import degrees_of_freedom
from fullcircle.core.statistics.interval import Interval
from fullcircle.core.statistics.outcome import Outcome
from fullcircle.core.tasks import Metric, Scarcity
from fullcircle.evaluation.alpha_spending import Analysis

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

MIN_OF_A_CLASS = 20
"""Below this many rows of either class (of a number: rows) nothing is proven, whatever an interval says."""


@dataclass(frozen=True)
class GateOutcome:
    """One gate's word; `missed_by` in the metric's unit, `rows_needed` where more rows would decide."""

    gate: str
    outcome: Outcome
    detail: str
    missed_by: float | None = None
    rows_needed: int | None = None


@dataclass(frozen=True)
class GateInput:
    """What every gate looks at.

    Attributes:
        against: metric -> challenger minus champion on the same rows.
        clusters: of the rows, (rows,), where they are no evidence of their own: see `ErrorBudget.cluster`.
    """

    project: Project
    frame: pd.DataFrame
    targets: NDArray[Any]
    challenger: NDArray[np.float32]
    champion: NDArray[np.float32] | None
    version: str
    analysis: Analysis
    against: dict[str, Interval]
    seed: int = 0
    clusters: NDArray[np.intp] | None = None

    def metric(self, name: str) -> Metric:
        """A metric that knows which rows belong together."""
        return self.project.target.metrics[name].clustered(self.clusters)

    @property
    def freedom(self) -> float | None:
        """Degrees of freedom of the test; None: rows are independent, and many."""
        return None if self.clusters is None else degrees_of_freedom(self.clusters)

    @property
    def scarcity(self) -> Scarcity:
        """The rows that limit the evidence: of the class that has fewer."""
        return self.project.target.scarcity(self.targets)

    @property
    def spare(self) -> int:
        """How many those are."""
        return self.scarcity.rows

    def rows_for(self, of_a_class: int) -> int:
        """About how many rows have so many of those."""
        return math.ceil(len(self.targets) * of_a_class / max(self.spare, 1))
