"""Slices by what a row really is: the rows of each actual class, and what can be measured on them alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fullcircle.core.tasks.metric import Metric

FEWEST = 20
"""Below this many rows a slice is shown, not judged: what holds for the rarest class of all rows holds for each."""
MOST = 20
"""Classes with a slice of their own, the most frequent first; the others share one more."""
NAMED = 3
"""Classes that the name of a shared slice lists."""


@dataclass(frozen=True, kw_only=True)
class ClassSlice:
    """The rows of one actual class, or of several rare ones together.

    Attributes:
        group: the class, or which ones share the slice.
        mask: which rows are of it, bool (rows,).
    """

    group: str
    mask: NDArray[np.bool_]

    @property
    def rows(self) -> int:
        """How many rows it has."""
        return int(self.mask.sum())

    @property
    def is_judgeable(self) -> bool:
        """Whether a fall in it may stop a release."""
        return self.rows >= FEWEST


@dataclass(frozen=True, kw_only=True)
class ClassSlices:
    """How the rows of a task are cut by their actual class.

    What ranks rows of several classes, such as ROC AUC, has no value on the rows of a single one.

    Attributes:
        column: the target's.
        classes: their names, in the order of the targets' codes.
        metrics: those that are defined on rows of a single class. The first is the one that tables show.
        drop: how much worse than the champion the first metric may be in a project whose gates say nothing of it.
    """

    column: str
    classes: tuple[str, ...]
    metrics: Mapping[str, Metric]
    drop: float

    @property
    def main(self) -> Metric:
        """The metric that tables show."""
        return next(iter(self.metrics.values()))

    def of(self, targets: NDArray[Any]) -> tuple[ClassSlice, ...]:
        """Slices that together have every row once, the largest first; none where no class has `FEWEST` rows.

        The classes that are rarer, or beyond the `MOST` most frequent, share the last slice. Whatever the order of the
        classes is, the slices are the same.

        Args:
            targets: codes of classes, (rows,).
        """
        codes = np.asarray(targets).astype(np.intp)
        counts = np.bincount(codes, minlength=len(self.classes))
        there = sorted(np.flatnonzero(counts).tolist(), key=lambda code: (-counts[code], self.classes[code]))
        alone = [code for code in there if counts[code] >= FEWEST][:MOST]
        if not alone:
            return ()
        found = [ClassSlice(group=self.classes[code], mask=codes == code) for code in alone]
        if rare := there[len(alone) :]:
            found.append(ClassSlice(group=self._shared(rare), mask=np.isin(codes, rare)))
        return tuple(found)

    def _shared(self, codes: list[int]) -> str:
        """`low`; `low or extratropical`; `17 rarer classes (a, b, c, ...)`."""
        names = [self.classes[code] for code in codes]
        if len(names) <= NAMED:
            return " or ".join(names)
        return f"{len(names):,} rarer classes ({', '.join(names[:NAMED])}, ...)"

    def largest(self, targets: NDArray[Any]) -> int:
        """Rows of the most frequent class."""
        return int(np.bincount(np.asarray(targets).astype(np.intp)).max(initial=0))
