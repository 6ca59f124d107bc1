"""What a column of categories was like: how many rows each has, in bounded memory."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, NamedTuple

import msgspec
import numpy as np

if TYPE_CHECKING:
    import pyarrow as pa
    from datasketches import frequent_strings_sketch

LG_SIZE = 10
MOST = 3 * (1 << LG_SIZE) // 4
"""Categories up to which all counts are exact; beyond it only those of the frequent ones are kept, within bounds."""


class Bounds(NamedTuple):
    """A count of rows is between these two, both inclusive; equal where it is exact."""

    least: int
    most: int


class CategorySummary(msgspec.Struct, frozen=True, array_like=True):
    """A column of categories. `a + b`: of the rows of both.

    Source of the sketch: Anderson et al. 2017, "A High-Performance Algorithm for Identifying Frequent Items in Data
    Streams" (Apache DataSketches), a Misra-Gries summary: its bounds always hold.

    Attributes:
        rows: all.
        missing: the empty string.
        others: rows of categories that were not counted one by one, because a segment had too many of them.
        largest_other: rows that one of those may have at most.
        sketch: of the others, as the library writes it.
    """

    rows: int
    missing: int
    others: int
    largest_other: int
    sketch: bytes = b""

    @classmethod
    def of(cls, cells: pa.ChunkedArray) -> CategorySummary:
        """The summary of texts, "" where missing."""
        import pyarrow.compute as pc
        from datasketches import frequent_strings_sketch

        found = pc.value_counts(cells)
        counts = dict(zip(found.field(0).to_pylist(), found.field(1).to_pylist(), strict=True))
        missing = counts.pop("", 0) + counts.pop(None, 0)
        kept = sorted(counts, key=lambda text: (-counts[text], text))
        sketch = frequent_strings_sketch(LG_SIZE)
        for text in kept[:MOST]:
            sketch.update(text, counts[text])
        return cls(
            rows=len(cells),
            missing=missing,
            others=sum(counts[text] for text in kept[MOST:]),
            largest_other=counts[kept[MOST]] if len(kept) > MOST else 0,
            sketch=bytes(sketch.serialize()) if counts else b"",
        )

    def __add__(self, other: CategorySummary) -> CategorySummary:
        """Of the rows of both."""
        return CategorySummary(
            rows=self.rows + other.rows,
            missing=self.missing + other.missing,
            others=self.others + other.others,
            largest_other=self.largest_other + other.largest_other,
            sketch=_merged(self.sketch, other.sketch),
        )

    @property
    def error(self) -> int:
        """Rows that a category may have at most which `counts` does not name; 0 where all counts are exact."""
        sketch = _sketch(self.sketch)
        # The empty text is counted as missing, so the sketch never saw it.
        return self.largest_other + (int(sketch.get_upper_bound("")) if sketch else 0)

    def counts(self) -> Mapping[str, Bounds]:
        """The rows of each category that is kept, the most frequent first."""
        from datasketches import frequent_items_error_type

        sketch = _sketch(self.sketch)
        if sketch is None:
            return {}
        found = sketch.get_frequent_items(frequent_items_error_type.NO_FALSE_NEGATIVES, 0)
        ordered = sorted(found, key=lambda item: (-item[2], item[0]))
        return {text: Bounds(int(least), int(most) + self.largest_other) for text, _, least, most in ordered}

    def unseen(self, known: Collection[str]) -> Bounds:
        """Rows whose category is none of the known ones; missing ones are not among them."""
        counts, known = self.counts(), set(known)
        beyond = [bounds for text, bounds in counts.items() if text not in known]
        within = sum(bounds.least for text, bounds in counts.items() if text in known)
        least = sum(bounds.least for bounds in beyond)
        return Bounds(least, max(least, self.rows - self.missing - within))

    def mode(self) -> tuple[str, Bounds]:
        """The most frequent category that is kept and its rows; ("", 0 rows) where there is none."""
        return next(iter(self.counts().items()), ("", Bounds(0, 0)))


def _sketch(kept: bytes) -> frequent_strings_sketch | None:
    from datasketches import frequent_strings_sketch

    return frequent_strings_sketch.deserialize(kept) if kept else None


def _merged(one: bytes, other: bytes) -> bytes:
    if not one or not other:
        return one or other
    from datasketches import frequent_strings_sketch

    made = frequent_strings_sketch.deserialize(one)
    made.merge(frequent_strings_sketch.deserialize(other))
    return bytes(made.serialize())


def exact(bounds: Bounds) -> bool:
    """Whether a count is known exactly."""
    return bounds.least == bounds.most


def share(bounds: Bounds, rows: int) -> tuple[float, float]:
    """Bounds as shares of so many rows."""
    return (bounds.least / rows, bounds.most / rows) if rows else (float(np.nan), float(np.nan))
