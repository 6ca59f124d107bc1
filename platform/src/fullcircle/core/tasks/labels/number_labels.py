"""Labels that are numbers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from fullcircle.core.tasks.labels.cells import inexact, real_numbers
from fullcircle.core.tasks.labels.codec import LabelCodec

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fullcircle.core.tasks.labels.codec import Targets


@dataclass(frozen=True)
class RegressionCodec(LabelCodec):
    """A finite number; targets are the numbers.

    Attributes:
        low, high: inclusive range; None: none on that side.
    """

    low: float | None = None
    high: float | None = None

    @property
    def sentence(self) -> str:
        """`is a finite number, at least 0`."""
        low = f", at least {self.low:g}" if self.low is not None else ""
        high = f", at most {self.high:g}" if self.high is not None else ""
        return f"is a finite number{low}{high}, and no integer beyond 2^53"

    @property
    def advice(self) -> str:
        """Rows without an answer are no training rows."""
        return "leave these rows out where the data is prepared, or widen low and high of the target in project.py"

    @property
    def has_numbers(self) -> bool:
        """Always."""
        return True

    def holds(self, labels: Any) -> NDArray[np.bool_]:
        """Which labels are finite numbers within the range, bool (rows,)."""
        values = real_numbers(labels)
        with np.errstate(invalid="ignore", over="ignore"):
            held = np.isfinite(values) & (np.abs(values) < np.finfo(np.float32).max) & ~inexact(labels)
            # As float32, which a file may hold it in: 0.3 of float32 is at most 0.3.
            found = values.astype(np.float32)
            held &= found >= np.float32(self.low) if self.low is not None else True
            held &= found <= np.float32(self.high) if self.high is not None else True
            return np.asarray(held, dtype=np.bool_)

    def codes(self, labels: Any) -> Targets:
        """float64 (rows,), in the target's unit."""
        return real_numbers(labels)

    def logged(self, values: NDArray[np.float64]) -> Targets:
        """The number itself."""
        return np.asarray(values, dtype=np.float64)

    @property
    def stored_as(self) -> str:
        """The number."""
        return "float64"

    @property
    def target_sentence(self) -> str:
        """`a finite number, at least 0`."""
        return self.sentence.removeprefix("is ")

    def are_targets(self, values: NDArray[np.object_]) -> NDArray[np.bool_]:
        """Which are finite numbers within the range, bool (rows,)."""
        return self.holds(values)
