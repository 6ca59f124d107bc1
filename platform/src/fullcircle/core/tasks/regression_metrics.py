"""The metrics of a number: errors in its unit, the share of its variance that is told, and how an interval holds."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from fullcircle.core.statistics.small_samples import unseen_share
from fullcircle.core.tasks.estimation import column, mean_metric, share_metric
from fullcircle.core.tasks.metric import Metric

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fullcircle.core.tasks.base import Answers, Targets
    from fullcircle.core.tasks.estimation import PerRow

    Numbers = NDArray[np.float64]


def squared_errors(targets: Targets, answers: Answers) -> Numbers:
    """Squared error of each row, (rows,)."""
    return np.asarray((column(answers, 0) - np.asarray(targets, dtype=np.float64)) ** 2, dtype=np.float64)


def absolute_errors(targets: Targets, answers: Answers) -> Numbers:
    """Absolute error of each row, (rows,)."""
    return np.asarray(np.abs(column(answers, 0) - np.asarray(targets, dtype=np.float64)), dtype=np.float64)


def rmse_rows(targets: Targets, answers: Answers) -> Numbers:
    """Pseudo-values of the root mean squared error: its square's influence by the chain rule."""
    errors = squared_errors(targets, answers)
    value = float(np.sqrt(errors.mean()))
    return value + (errors - errors.mean()) / (2.0 * value) if value else np.zeros(len(errors))


def r2_rows(targets: Targets, answers: Answers) -> Numbers:
    """Pseudo-values of R2, the share of the variance that is told: a ratio of means, taken from 1."""
    y = np.asarray(targets, dtype=np.float64)
    errors, spread = squared_errors(targets, answers), (y - y.mean()) ** 2
    variance = float(spread.mean())
    if variance == 0.0:
        return np.zeros(len(y))
    unexplained = float(errors.mean()) / variance
    return np.asarray(1.0 - unexplained - (errors - unexplained * spread) / variance, dtype=np.float64)


def rmse_differences(targets: Targets, a: Answers, b: Answers) -> Numbers:
    """Rows whose mean is RMSE(a) - RMSE(b), exactly: the squares' difference over the roots' sum.

    Where two models are alike, the rows' sign is a coin's toss: then the test keeps its level whatever the tails.
    """
    one, other = squared_errors(targets, a), squared_errors(targets, b)
    total = float(np.sqrt(one.mean()) + np.sqrt(other.mean()))
    return np.asarray((one - other) / total if total else one - other, dtype=np.float64)


def r2_differences(targets: Targets, a: Answers, b: Answers) -> Numbers:
    """Rows whose mean is R2(a) - R2(b), exactly: both are held against the same variance."""
    variance = float(np.asarray(targets, dtype=np.float64).var())
    rows = squared_errors(targets, b) - squared_errors(targets, a)
    return np.asarray(rows / variance if variance else rows, dtype=np.float64)


def mape_rows(targets: Targets, answers: Answers) -> Numbers:
    """Absolute error of each row as a share of its target, (rows,). Defined where no target is 0."""
    return np.asarray(absolute_errors(targets, answers) / np.abs(np.asarray(targets, dtype=np.float64)))


def poisson_rows(targets: Targets, answers: Answers) -> Numbers:
    """Poisson deviance of each row, (rows,). Source: McCullagh & Nelder 1989, "Generalized linear models", ch. 2."""
    y, mu = np.asarray(targets, dtype=np.float64), np.maximum(column(answers, 0), 1e-9)
    return np.asarray(2.0 * (np.where(y > 0, y * np.log(np.maximum(y, 1e-300) / mu), 0.0) - y + mu), dtype=np.float64)


def worst_as_the_mean(losses: PerRow) -> Callable[[Targets, Answers], float]:
    """What a row may cost that is of a kind not seen: as much as the largest seen, or as the mean would cost anywhere.

    Twenty rows without an error do not show that there is none.
    """

    def worst(targets: Targets, answers: Answers) -> float:
        mean = np.full_like(answers, np.mean(targets, dtype=np.float64), dtype=np.float32)
        return float(max(losses(targets, answers).max(), losses(targets, mean).max()))

    return worst


def _worst_rmse(targets: Targets, answers: Answers) -> float:
    """What makes, by the share of rows that were not seen, of the mean square that with these in it, and its root."""
    unseen = unseen_share(len(targets))
    added = unseen * worst_as_the_mean(squared_errors)(targets, answers)
    square = float(squared_errors(targets, answers).mean())
    return float(np.sqrt(square + added) - np.sqrt(square)) / unseen


def _worst_r2(targets: Targets, answers: Answers) -> float:
    variance = float(np.asarray(targets, dtype=np.float64).var())
    return worst_as_the_mean(squared_errors)(targets, answers) / variance if variance else 0.0


def _some_zero(targets: Targets) -> str | None:
    if not (zeros := int((np.asarray(targets) == 0).sum())):
        return None
    return f"the target is 0 in {zeros:,} of {len(targets):,} rows, where a share of it is not defined"


def _constant(targets: Targets) -> str | None:
    return None if len(targets) and np.min(targets) < np.max(targets) else "the target is the same in every row"


def mae(unit: str) -> Metric:
    """Mean absolute error."""
    return mean_metric(
        "mae",
        "mean absolute error",
        absolute_errors,
        greater_is_better=False,
        worst=worst_as_the_mean(absolute_errors),
        unit=unit,
        relative=True,
    )


def rmse(unit: str) -> Metric:
    """Root mean squared error."""
    return mean_metric(
        "rmse",
        "root mean squared error",
        rmse_rows,
        paired_rows=rmse_differences,
        worst=_worst_rmse,
        greater_is_better=False,
        unit=unit,
        relative=True,
    )


R2 = mean_metric(
    "r2",
    "R2",
    r2_rows,
    paired_rows=r2_differences,
    greater_is_better=True,
    worst=_worst_r2,
    bounds=(None, 1.0),
    undefined=_constant,
)
MAPE = mean_metric(
    "mape",
    "mean absolute percentage error",
    mape_rows,
    greater_is_better=False,
    worst=worst_as_the_mean(mape_rows),
    relative=True,
    undefined=_some_zero,
)
POISSON_DEVIANCE = mean_metric(
    "poisson_deviance",
    "Poisson deviance",
    poisson_rows,
    greater_is_better=False,
    worst=worst_as_the_mean(poisson_rows),
    relative=True,
)


def covered(targets: Targets, answers: Answers) -> Numbers:
    """Whether the interval holds the target, 0 or 1, (rows,)."""
    y = np.asarray(targets, dtype=np.float64)
    return np.asarray((column(answers, 1) <= y) & (y <= column(answers, 2)), dtype=np.float64)


COVERAGE = share_metric("coverage", "coverage of the interval", covered)


def interval_width(unit: str) -> Metric:
    """Mean width of the interval."""

    def widths(targets: Targets, answers: Answers) -> Numbers:
        return np.asarray(column(answers, 2) - column(answers, 1), dtype=np.float64)

    title = "width of the interval"
    return mean_metric("interval_width", title, widths, greater_is_better=False, unit=unit, relative=True)


def pinball(quantiles: tuple[float, ...], unit: str) -> Metric:
    """Mean pinball loss over the quantiles. Source: Koenker & Bassett 1978, "Regression quantiles"."""

    def losses(targets: Targets, answers: Answers) -> Numbers:
        y = np.asarray(targets, dtype=np.float64)
        total = np.zeros(len(y))
        for index, quantile in enumerate(quantiles):
            short = y - column(answers, index)
            total += np.maximum(quantile * short, (quantile - 1.0) * short)
        return total / len(quantiles)

    return mean_metric(
        "pinball",
        "pinball loss",
        losses,
        greater_is_better=False,
        worst=worst_as_the_mean(losses),
        unit=unit,
        relative=True,
    )
