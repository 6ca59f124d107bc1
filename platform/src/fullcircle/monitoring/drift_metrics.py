"""Drift metrics: distances between two samples as Evidently defines them, and their null distributions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from fullcircle.core.row_tensors import coded

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Codes = NDArray[np.int64]

WASSERSTEIN, JENSEN_SHANNON, MISSING = "wasserstein", "jensenshannon", "missing"
"""Methods: of a number's values, of a category's values, of a number's being missing at all."""
OUTLIERS = 0.005
"""Share of the reference at either end of a number that is clipped, in both samples."""
SUPPORT = 256
CELLS = 2_000_000
"""Most counts that are held at once: 16 MB, and a few times that while they are compared."""
LEAST_NORM = 0.001  # Evidently's


def wasserstein(reference: Floats, current: Floats, weights: Floats | None = None) -> float:
    """First Wasserstein distance in standard deviations of the reference, outliers clipped. No NaN allowed.

    Args:
        weights: rows that each value of `current` stands for, (values,); 1 each by default.

    Evidently's `wasserstein` on values clipped to the reference's 0.5% and 99.5% quantiles: without that one value of
    1e6 among 5,000 raises a false alarm, or hides a shift of three deviations when it lies in the reference.
    """
    low, high = clip_limits(reference)
    clipped, held = np.clip(reference, low, high), np.clip(current, low, high)
    return _moved(clipped, held, weights) / max(float(np.std(clipped)), LEAST_NORM)


def _moved(reference: Floats, current: Floats, weights: Floats | None) -> float:
    """As `scipy.stats.wasserstein_distance`, to the last bits: `scipy.stats` takes 2 s to import, a watch less."""
    every = np.sort(np.concatenate([reference, current]))
    order = np.argsort(current, kind="stable")
    share = np.arange(len(current) + 1) if weights is None else np.concatenate([[0.0], np.cumsum(weights[order])])
    before = np.searchsorted(np.sort(reference), every[:-1], side="right") / len(reference)
    now = share[np.searchsorted(current[order], every[:-1], side="right")] / share[-1]
    return float(np.sum(np.abs(before - now) * np.diff(every)))


def jensen_shannon(reference: NDArray[np.object_], current: NDArray[np.object_]) -> float:
    """Jensen-Shannon distance of two samples of categories, in nats: Evidently's `jensenshannon`."""
    found, kinds = coded(np.concatenate([reference, current]))
    counts = [np.bincount(part, minlength=len(kinds)) for part in np.split(found, [len(reference)])]
    return float(js_of_counts(counts[0][None, :], counts[1][None, :])[0])


def js_of_counts(a: NDArray[np.int64], b: NDArray[np.int64]) -> Floats:
    """Jensen-Shannon distance, in nats, of each pair of rows of counts. Source: Endres & Schindelin 2003."""
    p, q = a / a.sum(axis=1, keepdims=True), b / b.sum(axis=1, keepdims=True)
    middle = (p + q) / 2
    with np.errstate(divide="ignore", invalid="ignore"):
        terms = np.where(p > 0, p * np.log(p / middle), 0.0) + np.where(q > 0, q * np.log(q / middle), 0.0)
    return np.asarray(np.sqrt(np.maximum(terms.sum(axis=1) / 2, 0.0)), dtype=np.float64)


def clip_limits(reference: Floats) -> tuple[float, float]:
    """Where a number is clipped. A column that is nearly constant is not: its few other values are its content."""
    low, high = np.quantile(reference, [OUTLIERS, 1 - OUTLIERS])
    return (float(low), float(high)) if high > low else (-np.inf, np.inf)


@dataclass(frozen=True)
class Resamples:
    """Pairs of samples of one reference: row numbers of shape (resamples, rows). One draw serves every column."""

    reference: Codes
    current: Codes

    @classmethod
    def of(cls, pool: int, reference: int, current: int, *, n_resamples: int, seed: int) -> Resamples:
        """Draw `n_resamples` pairs from `pool` rows; without repetition where the pool is large enough."""
        rng, both = np.random.default_rng(seed), reference + current
        if pool >= both:
            # Two disjoint samples of real rows: right even for categories that hardly ever repeat.
            rows = np.stack([rng.permutation(pool)[:both] for _ in range(n_resamples)])
        else:
            rows = rng.integers(0, pool, size=(n_resamples, both))
        return cls(reference=rows[:, :reference], current=rows[:, reference:])

    def counts(
        self, codes: Codes, kinds: int, which: slice = slice(None)
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """How often each code (0 to kinds - 1) occurs in each sample, or in `which`: (resamples, kinds), twice."""
        return _count(codes[self.reference[which]], kinds), _count(codes[self.current[which]], kinds)


def null_wasserstein(pool: Floats, reference: Floats, draws: Resamples) -> Floats:
    """Distances of pairs drawn from `pool` (NaN where missing), on 256 support points. `reference`: without NaN."""
    low, high = clip_limits(reference)
    present = ~np.isnan(pool)
    values = np.clip(pool[present], low, high)
    edges = np.unique(np.quantile(values, np.linspace(0, 1, SUPPORT + 1)[1:-1]))
    codes = np.full(len(pool), len(edges) + 1, dtype=np.int64)
    codes[present] = np.searchsorted(edges, values, side="right")
    size = np.bincount(codes[present], minlength=len(edges) + 1)
    points = np.bincount(codes[present], weights=values, minlength=len(edges) + 1) / np.maximum(size, 1)
    kept = size > 0
    gaps = np.diff(points[kept])
    shares = []
    for counts in draws.counts(codes, len(edges) + 2):
        inside = counts[:, :-1][:, kept]
        shares.append(np.cumsum(inside, axis=1) / np.maximum(inside.sum(axis=1, keepdims=True), 1))
    norm = max(float(np.std(np.clip(reference, low, high))), LEAST_NORM)
    return np.asarray((np.abs(shares[0] - shares[1])[:, :-1] * gaps).sum(axis=1) / norm, dtype=np.float64)


def null_jensen_shannon(pool: NDArray[np.object_], draws: Resamples) -> Floats:
    """Distances of pairs drawn from a pool of categories."""
    codes, kinds = coded(pool)
    # In blocks: a column with as many categories as rows would otherwise take gigabytes.
    block = max(1, CELLS // max(len(kinds), 1))
    starts = range(0, len(draws.reference), block)
    return np.concatenate([js_of_counts(*draws.counts(codes, len(kinds), slice(at, at + block))) for at in starts])


def null_missing(reference: NDArray[np.bool_], current: NDArray[np.bool_], *, n_resamples: int, seed: int) -> Floats:
    """Distances when the missing values of both samples are dealt out anew.

    Both samples, not the reference alone: one that had never missed a value would take a single gap for drift.
    """
    missing, rows = int(reference.sum() + current.sum()), len(reference) + len(current)
    dealt = np.random.default_rng(seed).hypergeometric(missing, rows - missing, len(current), size=n_resamples)
    a = np.stack([missing - dealt, len(reference) - missing + dealt], axis=1)
    b = np.stack([dealt, len(current) - dealt], axis=1)
    return js_of_counts(a, b)


def _count(codes: Codes, kinds: int) -> NDArray[np.int64]:
    offset = np.arange(len(codes), dtype=np.int64)[:, None] * kinds
    return np.bincount((codes + offset).ravel(), minlength=len(codes) * kinds).reshape(len(codes), kinds)
