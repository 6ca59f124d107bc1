"""A metric as a value: its name, which way is better, its estimate with interval, and the paired test that suits it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from fullcircle.core.statistics.clusters import clustered_interval
from fullcircle.core.statistics.interval import Interval

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Targets = NDArray[Any]
    Answers = NDArray[np.float32]
    Value = Callable[[Targets, Answers], float]
    Estimate = Callable[[Targets, Answers, int | None], Interval]
    Difference = Callable[[Targets, Answers, Answers, int], Interval]
    Pseudo = Callable[[Targets, Answers], NDArray[np.float64]]
    PairedPseudo = Callable[[Targets, Answers, Answers], NDArray[np.float64]]


def always(targets: Targets) -> str | None:
    """Says of a metric that it is defined on any targets."""
    return None


@dataclass(frozen=True, kw_only=True)
class Metric:
    """One metric of one kind of problem. All functions are pure; `targets` and `answers` are those of its `Task`.

    Attributes:
        name: as gates, tables and MLflow write it: `roc_auc`.
        title: as people say it: "ROC AUC".
        unit: "" for a share or an area, "nats", or "target": the unit of the target.
        value: `(targets, answers)`. ValueError where it is not defined, such as ROC AUC of one class.
        interval: `(targets, answers, seed)` -> the estimate with its 95% interval, as wide as few rows ask for. By
            resampling with that seed; seed None: by the normal limit, which needs no draws.
        difference: `(targets, a, b, seed)` -> the metric of `a` minus that of `b` on the same rows, with its 95%
            interval, as wide as few rows ask for.
        test: the same difference with the standard error that the one-sided test of a gain goes by far out in the
            tail, where resampling would need tens of thousands of draws.
        per_row: `(targets, answers)` -> (rows,) numbers whose mean is the value and whose spread over the square root
            of the rows is its standard error: a loss, or the value plus the influence function (Hampel 1974, "The
            influence curve and its role in robust estimation", JASA 69:383-393). None where there is no such thing.
        paired_rows: `(targets, a, b)` -> (rows,) numbers whose mean is the metric of `a` minus that of `b`, where that
            is known more exactly than by the difference of `per_row`.
        bounds: the least and the largest value that the metric can have.
        negligible: a difference that counts as nothing, in the metric's own unit.
        undefined: `targets` -> why the metric has no value on them ("the target is 0 in 12 rows"), or None.
        relative: whether "fallen by 0.02" means 2% of the expected value (an error in the unit of the target) or 0.02
            itself (a share, an area).
    """

    name: str
    title: str
    greater_is_better: bool
    value: Value
    interval: Estimate
    difference: Difference
    test: Difference
    per_row: Pseudo | None = None
    paired_rows: PairedPseudo | None = None
    bounds: tuple[float | None, float | None] = (None, None)
    unit: str = ""
    negligible: float = 0.0
    relative: bool = False
    undefined: Callable[[Targets], str | None] = always

    @property
    def good(self) -> str:
        """`higher` or `lower`: which way is better."""
        return "higher" if self.greater_is_better else "lower"

    @property
    def heading(self) -> str:
        """At the head of a table: the title, of an error with its unit: `mean absolute error (minutes)`."""
        return f"{self.title} ({self.unit})" if self.measure else self.title

    @property
    def measure(self) -> str:
        """The unit behind a value, where it is the target's own: `minutes`; of shares, areas and nats nothing."""
        return self.unit if self.relative else ""

    @property
    def wrong_side(self) -> str:
        """Where a model that is worse lies: `below` where greater is better, else `above`."""
        return "below" if self.greater_is_better else "above"

    def clustered(self, clusters: NDArray[np.intp] | None) -> Metric:
        """The same metric, whose intervals, differences and tests take the rows of a cluster for one piece of evidence.

        Args:
            clusters: of the rows that it will be asked about, (rows,), see `core.statistics.clusters`; None: the metric
                as it is. So is one without `per_row`, such as the calibration error, which no promotion goes by.
        """
        per_row = self.per_row
        if clusters is None or per_row is None:
            return self
        paired: PairedPseudo = self.paired_rows or (lambda y, a, b: per_row(y, a) - per_row(y, b))

        def interval(targets: Targets, answers: Answers, seed: int | None) -> Interval:
            found = self.interval(targets, answers, seed)
            return within(clustered_interval(found, per_row(targets, answers), clusters), self.bounds)

        def difference(targets: Targets, a: Answers, b: Answers, seed: int) -> Interval:
            return clustered_interval(self.difference(targets, a, b, seed), paired(targets, a, b), clusters)

        def test(targets: Targets, a: Answers, b: Answers, seed: int) -> Interval:
            return clustered_interval(self.test(targets, a, b, seed), paired(targets, a, b), clusters)

        return dataclasses.replace(self, interval=interval, difference=difference, test=test)

    def gain(self, difference: Interval) -> Interval:
        """A difference turned so that greater is better."""
        return difference if self.greater_is_better else negated(difference)

    def fall(self, expected: float, realised: float) -> float:
        """How much worse `realised` is than `expected`: above 0 is worse; a share of `expected` where `relative`."""
        return fall(expected, realised, greater_is_better=self.greater_is_better, relative=self.relative)


def fall(expected: float, realised: float, *, greater_is_better: bool, relative: bool) -> float:
    """See `Metric.fall`."""
    worse = expected - realised if greater_is_better else realised - expected
    if not relative:
        return worse
    return worse / abs(expected) if expected else (0.0 if worse <= 0 else float("inf"))


def negated(difference: Interval) -> Interval:
    """The same difference the other way round."""
    return Interval(value=-difference.value, low=-difference.high, high=-difference.low)


def within(found: Interval, bounds: tuple[float | None, float | None]) -> Interval:
    """The interval, its ends no further out than the metric can be, and no further in than the estimate."""
    low = found.low if bounds[0] is None else max(found.low, bounds[0])
    high = found.high if bounds[1] is None else min(found.high, bounds[1])
    return Interval(value=found.value, low=min(low, found.value), high=max(high, found.value))
