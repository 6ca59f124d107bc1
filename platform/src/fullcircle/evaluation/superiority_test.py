"""The one-sided superiority test of a gain (progress or luck), and the sample size that would decide it.

Non-inferiority ("not worse by a margin") is read from 95% intervals in the gate; superiority is tested here, at the
level that the error budget leaves (see `evaluation.alpha_spending`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist

from fullcircle.core.statistics.binary_metrics import standard_error
from fullcircle.core.statistics.interval import Z95, Interval
from fullcircle.core.statistics.small_samples import student_975

MOST_ROWS = 10_000_000
"""`rows_needed` beyond this says no more than "never in practice"."""
TWO_SIDED_95 = 0.025
"""The one-sided level of a border outside of a 95% interval."""
_NORMAL = NormalDist()


@dataclass(frozen=True, kw_only=True)
class SuperiorityResult:
    """The test of "the gain is at most `null_value`", one-sided.

    Attributes:
        gain: challenger minus champion on the same rows, greater is better, with its 95% interval.
        level: the error that it may make; at 0 nothing is ever proven.
        p_value: chance of such a gain, or a larger one, where the true one is `null_value`.
        shortfall: the gain that is missing for a proof on these rows; 0 where it is proven, infinite at level 0.
    """

    gain: Interval
    null_value: float
    level: float
    p_value: float
    shortfall: float

    @property
    def proven(self) -> bool:
        """Whether the challenger is better by more than `null_value`, at the level."""
        return self.level > 0.0 and self.p_value <= self.level and self.gain.value > self.null_value


def superiority_test(
    gain: Interval, null_value: float, level: float, *, freedom: float | None = None
) -> SuperiorityResult:
    """Test a paired gain against `null_value` by the normal approximation, with the standard error of its interval.

    For ROC AUC that interval is DeLong's, so this is the test of DeLong, DeLong & Clarke-Pearson 1988, one-sided.

    Args:
        freedom: by Student's t of so many degrees of freedom instead: of a gain on rows in clusters, see
            `core.statistics.clusters`.

    ValueError unless 0 <= level < 0.5.
    """
    if not 0.0 <= level < 0.5:
        raise ValueError(f"level must be at least 0 and below 0.5, got {level!r}")
    error, above = standard_error(gain, null_value), gain.value - null_value
    if error == 0.0:
        p_value, needed = (0.0 if above > 0 else 1.0), 0.0
    else:
        p_value, needed = _normal(above, error, level) if freedom is None else _student(above, error, level, freedom)
    return SuperiorityResult(
        gain=gain, null_value=null_value, level=level, p_value=p_value, shortfall=max(0.0, needed - above)
    )


def _normal(above: float, error: float, level: float) -> tuple[float, float]:
    """The p value of a gain, and the gain that is significant at the level."""
    return _NORMAL.cdf(-above / error), (-_NORMAL.inv_cdf(level) * error if level > 0 else math.inf)


def _student(above: float, error: float, level: float, freedom: float) -> tuple[float, float]:
    """The same by Student's t. `error` is half the interval over 1.96, and the interval was as wide as t asked for."""
    from scipy.special import stdtr, stdtrit

    freedom, error = max(freedom, 1.0), error * Z95 / student_975(freedom)
    return float(stdtr(freedom, -above / error)), (-float(stdtrit(freedom, level)) * error if level > 0 else math.inf)


def rows_to_decide(
    difference: Interval, null_value: float, rows: int, *, level: float = TWO_SIDED_95, power: float = 0.8
) -> int | None:
    """How many rows tell the difference from `null_value` with that power, if the one seen is the true one.

    The standard error shrinks with the square root of the rows, so they must grow by
    ((z(level) + z(power)) * error / gap) squared. Source: Lachin 1981, "Introduction to sample size determination and
    power analysis for clinical trials", Controlled Clinical Trials 2:93-113. The difference seen is itself uncertain,
    and the figure with it (Hoenig & Heisey 2001): it says the order of magnitude. None: no number of rows would.
    """
    gap, error = abs(difference.value - null_value), standard_error(difference, null_value)
    if error == 0.0 or level <= 0.0:
        return None
    if gap == 0.0:
        return MOST_ROWS
    factor = -_NORMAL.inv_cdf(level) + _NORMAL.inv_cdf(power)
    return min(MOST_ROWS, max(rows + 1, math.ceil(rows * (factor * error / gap) ** 2)))
