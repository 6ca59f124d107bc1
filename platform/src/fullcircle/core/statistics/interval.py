"""An estimate with its 95% interval, and the normal limits of a mean."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Z95 = NormalDist().inv_cdf(0.975)
DECIMALS = 4
"""Of a metric, unless that shows nothing of it."""


@dataclass(frozen=True, kw_only=True)
class Interval:
    """An estimate with its 95% interval."""

    value: float
    low: float
    high: float

    @property
    def largest(self) -> float:
        """The largest of its three numbers, without its sign."""
        return max(abs(self.value), abs(self.low), abs(self.high))

    def __str__(self) -> str:
        value, low, high = (in_digits(each, self.largest) for each in (self.value, self.low, self.high))
        return f"{value} [{low}, {high}]"


def in_digits(number: float, largest: float | None = None, *, sign: str = "-", decimals: int = DECIMALS) -> str:
    """A metric, or a difference of two, with four decimals; with as many more as it takes to show two of its digits.
    Large ones have fewer.

    An error in the unit of a target may be 0.0000012, and four decimals would say that there is none.

    Args:
        largest: of the numbers beside it, which have as many decimals; default: the number itself.
        sign: "+" gives every number its sign.
        decimals: where fewer than four are enough.
    """
    size = abs(number if largest is None else largest)
    if 0.0 < size < 1e-9:
        return f"{number:{sign}.2e}"
    if 1e4 <= size < math.inf:
        decimals = min(decimals, max(0, 6 - math.floor(math.log10(size))))
    elif 0.0 < size < 10.0 ** (1 - decimals):
        decimals = 1 - math.floor(math.log10(size))
    return f"{round(number, decimals) + 0.0:{sign}.{decimals}f}"  # no -0.0000


def in_few_digits(number: float) -> str:
    """The same with three decimals, for titles and tables."""
    return in_digits(number, decimals=3)


def normal_limits(rows: NDArray[np.float64], value: float) -> tuple[float, float]:
    """The mean `value` of rows (rows,), less and plus 1.96 standard errors; infinite for a single row."""
    half = Z95 * float(rows.std(ddof=1)) / len(rows) ** 0.5 if len(rows) > 1 else float("inf")
    return value - half, value + half
