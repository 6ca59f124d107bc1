"""What a column of numbers was like: exact counts, mean and variance, and a sketch of its quantiles."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from fullcircle.core.row_tensors import outside

if TYPE_CHECKING:
    from datasketches import kll_floats_sketch
    from numpy.typing import NDArray

K = 200
"""Size of a sketch: 2.4 kB, and a quantile is within 1.33% of its rank in 99% of the cases, as in a sample of 15,000
rows."""
MOST_SKETCHES = 1024
"""Parts of the log whose sketches are kept apart in a sum; 3 MB a column."""
_AT_ONCE = 8192
"""Values that a sketch takes at once: it holds the interpreter's lock meanwhile, in a process that serves."""


class NumberSummary(msgspec.Struct, frozen=True, array_like=True):
    """A column of numbers, or of images, of which only rows are counted. `a + b`: of the rows of both.

    Source of the sketch: Karnin, Lang, Liberty 2016, "Optimal Quantile Approximation in Streams" (Apache DataSketches).

    Attributes:
        rows: all.
        missing: NaN; of an image, NaN throughout.
        outside: beyond the contract's range, or infinite; of an image, any pixel.
        values: finite numbers.
        mean, m2: of the values; `m2` is the sum of the squared distances from the mean.
        sketches: of the values of each part, as the library writes them. They are kept apart: a merge draws random
            numbers, so the same window would be another one each time it is asked for, and less exact.
    """

    rows: int
    missing: int
    outside: int
    values: int = 0
    mean: float = 0.0
    m2: float = 0.0
    sketches: tuple[bytes, ...] = ()

    @classmethod
    def of(cls, cells: NDArray[np.float32], low: float | None, high: float | None) -> NumberSummary:
        """The summary of float32 (rows,), NaN where missing, with the inclusive range of the contract."""
        from datasketches import kll_floats_sketch

        found = np.ascontiguousarray(cells[np.isfinite(cells)], dtype=np.float32)
        sketch = kll_floats_sketch(K)
        for start in range(0, len(found), _AT_ONCE):
            sketch.update(found[start : start + _AT_ONCE])
        mean = float(found.mean(dtype=np.float64)) if len(found) else 0.0
        return cls(
            rows=len(cells),
            missing=int(np.isnan(cells).sum()),
            outside=int(outside(cells, low, high).sum()),
            values=len(found),
            mean=mean,
            m2=float(np.square(found - mean, dtype=np.float64).sum()),
            sketches=(bytes(sketch.serialize()),) if len(found) else (),
        )

    def __add__(self, other: NumberSummary) -> NumberSummary:
        """Of the rows of both. Mean and variance as in Chan, Golub, LeVeque 1983."""
        values = self.values + other.values
        apart = other.mean - self.mean
        share = other.values / values if values else 0.0
        return NumberSummary(
            rows=self.rows + other.rows,
            missing=self.missing + other.missing,
            outside=self.outside + other.outside,
            values=values,
            mean=self.mean + apart * share,
            m2=self.m2 + other.m2 + apart * apart * self.values * share,
            sketches=_bounded((*self.sketches, *other.sketches)),
        )

    @property
    def std(self) -> float:
        """Standard deviation of the values; 0 where there are none."""
        return float(np.sqrt(self.m2 / self.values)) if self.values else 0.0

    @property
    def rank_error(self) -> float:
        """How far a quantile's rank may be off, as a share of the values, in 99% of the cases; 0 while all are kept."""
        estimated = [sketch for sketch in map(_sketch, self.sketches) if sketch.is_estimation_mode()]
        return max((float(sketch.normalized_rank_error(False)) for sketch in estimated), default=0.0)

    def quantiles(self, shares: Sequence[float]) -> NDArray[np.float64]:
        """The values at these ranks (0: the least, 1: the largest, both exact), float64; NaN where there are none."""
        kept, weights = self.points()
        if not len(kept):
            return np.full(len(shares), np.nan)
        wanted, ranks = np.asarray(shares), np.cumsum(weights)
        found = kept[np.minimum(np.searchsorted(ranks, wanted * ranks[-1] * (1 - 1e-12)), len(kept) - 1)]
        sketches = [_sketch(each) for each in self.sketches]  # the ends are kept beside the samples
        least, most = (min(s.get_min_value() for s in sketches), max(s.get_max_value() for s in sketches))
        return np.asarray(np.where(wanted <= 0, least, np.where(wanted >= 1, most, found)), dtype=np.float64)

    def points(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """The values that are kept, rising, and how many rows each stands for: (points,), (points,)."""
        pairs = np.array([pair for each in self.sketches for pair in _sketch(each)], dtype=np.float64).reshape(-1, 2)
        kept, where = np.unique(pairs[:, 0], return_inverse=True)
        return kept, np.bincount(where, weights=pairs[:, 1], minlength=len(kept)).astype(np.float64)

    def mode(self) -> tuple[float, float]:
        """(value, its share of the values), within twice the `rank_error`. NaN where there are none."""
        kept, weights = self.points()
        if not len(kept):
            return float("nan"), float("nan")
        at = int(np.argmax(weights))
        return float(kept[at]), float(weights[at] / weights.sum())


def _sketch(kept: bytes) -> kll_floats_sketch:
    from datasketches import kll_floats_sketch

    return kll_floats_sketch.deserialize(kept)


def _bounded(sketches: tuple[bytes, ...]) -> tuple[bytes, ...]:
    """At most `MOST_SKETCHES`: of more, the older half becomes one."""
    if len(sketches) <= MOST_SKETCHES:
        return sketches
    older, newer = sketches[: MOST_SKETCHES // 2], sketches[MOST_SKETCHES // 2 :]
    made = _sketch(older[0])
    for each in older[1:]:
        made.merge(_sketch(each))
    return (bytes(made.serialize()), *newer)
