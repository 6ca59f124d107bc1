"""An estimate with its 95% interval, and the normal limits of a mean."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import NormalDist
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Z95 = NormalDist().inv_cdf(0.975)


@dataclass(frozen=True, kw_only=True)
class Interval:
    """An estimate with its 95% interval."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.4f} [{self.low:.4f}, {self.high:.4f}]"


def normal_limits(rows: NDArray[np.float64], value: float) -> tuple[float, float]:
    """The mean `value` of rows (rows,), less and plus 1.96 standard errors; infinite for a single row."""
    half = Z95 * float(rows.std(ddof=1)) / len(rows) ** 0.5 if len(rows) > 1 else float("inf")
    return value - half, value + half
