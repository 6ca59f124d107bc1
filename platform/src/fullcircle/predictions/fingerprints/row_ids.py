"""Which rows a part of the log holds, as a small sample of their ids: how many rows two parts have in common."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple

import msgspec
import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

LG_SIZE = 11
SIZE = 1 << LG_SIZE
_SPACE = float(1 << 63)
"""The library's hashes are below this number."""


class RepeatedRows(NamedTuple):
    """Rows that parts hold a second time: an estimate, and a bound that holds in 99% of the cases."""

    estimate: float
    most: float


class RowIds(msgspec.Struct, frozen=True, array_like=True):
    """The `SIZE` row ids with the smallest hashes, and in how many parts each is. `a + b`: of both parts.

    The sample of a sum is exactly that of the rows themselves: whoever is among the smallest of all was among the
    smallest of each part that has it. Source: Cohen and Kaplan 2007, "Summarizing data using bottom-k sketches".

    Attributes:
        rows: different row ids of each part, added up.
        hashes: uint64, rising, little-endian.
        parts: uint8 for each hash, at most 255; empty: each is in one.
    """

    rows: int
    hashes: bytes = b""
    parts: bytes = b""

    @classmethod
    def of(cls, row_ids: Iterable[str]) -> RowIds:
        """The sample of the ids of one part, each of which is there once."""
        from datasketches import update_theta_sketch

        sketch = update_theta_sketch(LG_SIZE)
        rows = 0
        for row_id in row_ids:
            sketch.update(row_id)
            rows += 1
        hashes = np.sort(np.fromiter(sketch, dtype=np.uint64, count=sketch.num_retained))[:SIZE]
        return cls(rows=rows, hashes=hashes.astype("<u8").tobytes())

    def __add__(self, other: RowIds) -> RowIds:
        """Of both parts."""
        hashes = np.concatenate([self._hashes, other._hashes])
        counts = np.concatenate([self._parts, other._parts]).astype(np.int64)
        kept, where = np.unique(hashes, return_inverse=True)
        parts = np.minimum(np.bincount(where, weights=counts, minlength=len(kept)), 255).astype(np.uint8)[:SIZE]
        return RowIds(
            rows=self.rows + other.rows,
            hashes=kept[:SIZE].astype("<u8").tobytes(),
            parts=b"" if (parts == 1).all() else parts.tobytes(),
        )

    @property
    def repeats(self) -> RepeatedRows:
        """Rows that are in a second part: exact below `SIZE` rows, else at most 0.23% of them when none was seen."""
        extra = int(self._parts.sum(dtype=np.int64)) - len(self._parts)
        if len(self._hashes) < SIZE:
            return RepeatedRows(float(extra), float(extra))
        from scipy.stats import chi2

        share = float(self._hashes[-1]) / _SPACE
        # Garwood's upper bound of a Poisson count.
        return RepeatedRows(extra / share, float(chi2.ppf(0.99, 2 * (extra + 1))) / 2 / share)

    @property
    def _hashes(self) -> NDArray[np.uint64]:
        return np.frombuffer(self.hashes, dtype="<u8")

    @property
    def _parts(self) -> NDArray[np.uint8]:
        return np.frombuffer(self.parts, np.uint8) if self.parts else np.ones(len(self._hashes), np.uint8)
