"""Answers in fixed bins, so that histograms and calibration add up: equal bins of a bounded number, bins of equal ratio
of any other."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

import msgspec
import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fullcircle.core.tasks.answers import AnswerColumn

BINS = 100
"""Bins of a number that is bounded on both sides."""
RATIO = 1.05
"""Of the bounds of a bin of any other number: a value is known to within 5%."""
_LEAST = 1e-9
"""What is nearer to 0 is in its bin."""
_SUMS = 5
Sums = tuple[float, float, float, float, float]


def bins_of(values: NDArray[np.float32], column: AnswerColumn) -> NDArray[np.int64]:
    """The bin of each finite value, (rows,). Bins of equal ratio: Masson, Rim, Lee 2019, "DDSketch"."""
    found = np.asarray(values, dtype=np.float64)
    if column.low is not None and column.high is not None:
        shares = (found - column.low) / (column.high - column.low)
        return np.clip(np.floor(shares * BINS), 0, BINS - 1).astype(np.int64)
    size = np.maximum(np.abs(found) / _LEAST, 1.0)
    return (np.sign(found) * np.ceil(np.log(size) / math.log(RATIO))).astype(np.int64)


def bounds_of(bin_: int, column: AnswerColumn) -> tuple[float, float]:
    """The least and the largest value of a bin."""
    if column.low is not None and column.high is not None:
        width = (column.high - column.low) / BINS
        return column.low + bin_ * width, column.low + (bin_ + 1) * width
    if bin_ == 0:
        return -_LEAST, _LEAST
    ends = (_LEAST * RATIO ** (abs(bin_) - 1), _LEAST * RATIO ** abs(bin_))
    return ends if bin_ > 0 else (-ends[1], -ends[0])


def counted(values: NDArray[np.float32], column: AnswerColumn) -> dict[int, int]:
    """Bin -> rows, of the finite values."""
    bins, counts = np.unique(bins_of(values[np.isfinite(values)], column), return_counts=True)
    return dict(zip(bins.tolist(), counts.tolist(), strict=True))


def added(one: Mapping[int, int], other: Mapping[int, int]) -> dict[int, int]:
    """The rows of both, by bin."""
    return {bin_: one.get(bin_, 0) + other.get(bin_, 0) for bin_ in sorted({*one, *other})}


class Calibration(msgspec.Struct, frozen=True, array_like=True):
    """One number of the answers against the truth, by bin of the answer. `a + b`: of the rows of both.

    Attributes:
        bins: bin -> (rows, sum of the answers, of the truths, of the squared differences, of their sizes).
    """

    bins: dict[int, Sums]

    @classmethod
    def of(cls, answers: NDArray[np.float32], truths: NDArray[np.float64], column: AnswerColumn) -> Calibration:
        """Of finite answers and the numbers that they should have been, (rows,) each."""
        said = np.asarray(answers, dtype=np.float64)
        bins, where = np.unique(bins_of(answers, column), return_inverse=True)
        apart = said - truths
        weights = (np.ones(len(said)), said, truths, np.square(apart), np.abs(apart))
        sums = np.array([np.bincount(where, weights=each, minlength=len(bins)) for each in weights])
        return cls({int(bin_): _sums(column_sums) for bin_, column_sums in zip(bins, sums.T, strict=True)})

    def __add__(self, other: Calibration) -> Calibration:
        """Of the rows of both."""
        nothing = (0.0,) * _SUMS
        found = {}
        for bin_ in sorted({*self.bins, *other.bins}):
            pairs = zip(self.bins.get(bin_, nothing), other.bins.get(bin_, nothing), strict=True)
            found[bin_] = _sums(np.array([a + b for a, b in pairs]))
        return Calibration(found)

    @property
    def rows(self) -> int:
        """Rows with an answer and a truth."""
        return round(self._total(0))

    @property
    def mean_answer(self) -> float:
        """NaN without rows."""
        return self._mean(1)

    @property
    def mean_truth(self) -> float:
        """NaN without rows."""
        return self._mean(2)

    @property
    def mean_squared_error(self) -> float:
        """Of a probability the Brier score. NaN without rows."""
        return self._mean(3)

    @property
    def mean_absolute_error(self) -> float:
        """NaN without rows."""
        return self._mean(4)

    def _total(self, which: int) -> float:
        return math.fsum(sums[which] for sums in self.bins.values())

    def _mean(self, which: int) -> float:
        return self._total(which) / self.rows if self.bins else float("nan")


def auc_bounds(calibration: Calibration) -> tuple[float, float]:
    """Between these two is the ROC AUC of a probability: how pairs within one bin are ordered is not known.

    NaN where one class has no rows.
    """
    ordered = [calibration.bins[bin_] for bin_ in sorted(calibration.bins)]
    positives = np.array([sums[2] for sums in ordered])
    negatives = np.array([sums[0] for sums in ordered]) - positives
    pairs = positives.sum() * negatives.sum()
    if not pairs:
        return float("nan"), float("nan")
    right = float((positives * (np.cumsum(negatives) - negatives)).sum() / pairs)
    return right, right + float((positives * negatives).sum() / pairs)


def _sums(found: NDArray[np.float64]) -> Sums:
    rows, answers, truths, squares, sizes = found.tolist()
    return rows, answers, truths, squares, sizes
