"""Labels that are classes: one of two, or one of several."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from fullcircle.core.tasks.labels.cells import Label, is_label, real_numbers
from fullcircle.core.tasks.labels.codec import LabelCodec

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fullcircle.core.tasks.labels.codec import Targets


@dataclass(frozen=True)
class BinaryCodec(LabelCodec):
    """One of two labels, the negative first; targets are 0 and 1.

    Attributes:
        labels: as they are in the data.
    """

    labels: tuple[Label, Label]

    @property
    def has_numbers(self) -> bool:
        """Unless one of the labels is text."""
        return not any(isinstance(label, str) for label in self.labels)

    @property
    def sentence(self) -> str:
        """`is 0 or 1`."""
        negative, positive = self.labels
        return f"is {negative!r} or {positive!r}"

    @property
    def advice(self) -> str:
        """Which label means what is the project's to say."""
        return (
            f"mend the rows, or say in project.py which label is which: Binary({self.name!r}, positive=..., "
            'labels=("no", "yes")) has the positive one last; more than two classes are a Multiclass'
        )

    def holds(self, labels: Any) -> NDArray[np.bool_]:
        """Which labels are one of the two, bool (rows,)."""
        return is_label(np.asarray(labels), self.labels[0]) | is_label(np.asarray(labels), self.labels[1])

    def codes(self, labels: Any) -> Targets:
        """int8 (rows,): 1 where the label is the positive one, else 0."""
        return is_label(np.asarray(labels), self.labels[1]).astype(np.int8)

    @property
    def target_sentence(self) -> str:
        """`0 or 1`."""
        return "0 or 1"

    def are_targets(self, values: NDArray[np.object_]) -> NDArray[np.bool_]:
        """Which are 0 or 1, bool (rows,)."""
        return is_label(values, 0) | is_label(values, 1)


@dataclass(frozen=True)
class MulticlassCodec(LabelCodec):
    """One of several classes; targets are their places.

    Attributes:
        classes: as they are in the data.
    """

    classes: tuple[Label, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """The classes as text."""
        return tuple(str(each) for each in self.classes)

    @property
    def has_numbers(self) -> bool:
        """Where every class is a number."""
        return not any(isinstance(label, str) for label in self.classes)

    @property
    def sentence(self) -> str:
        """`is one of the 3 classes`."""
        return f"is one of the {len(self.classes)} classes"

    @property
    def advice(self) -> str:
        """A new class is the project's to take in."""
        return (
            f"the classes are {', '.join(map(repr, self.classes[:20]))}: mend the rows, or name the new class in "
            "project.py and train anew"
        )

    def holds(self, labels: Any) -> NDArray[np.bool_]:
        """Which labels are one of the classes, bool (rows,)."""
        return np.asarray(self._codes(labels) >= 0, dtype=np.bool_)

    def codes(self, labels: Any) -> Targets:
        """int16 (rows,): the index of each class."""
        return self._codes(labels)

    @property
    def stored_as(self) -> str:
        """The class's name: another version of the project may have it in another place."""
        return "text"

    @property
    def target_sentence(self) -> str:
        """`a class's code, from 0 to 2`."""
        return f"a class's code, from 0 to {len(self.classes) - 1}"

    def are_targets(self, values: NDArray[np.object_]) -> NDArray[np.bool_]:
        """Which are codes of classes, bool (rows,)."""
        codes = real_numbers(values)
        with np.errstate(invalid="ignore"):
            return np.asarray((codes >= 0) & (codes < len(self.classes)) & (codes % 1 == 0), dtype=np.bool_)

    def stored(self, targets: Sequence[Any]) -> list[str]:
        """The names of the classes."""
        return [self.names[int(code)] for code in targets]

    def recalled(self, cells: NDArray[Any]) -> NDArray[Any]:
        """The codes that the classes have now, float64 (rows,); NaN for one that there is no more."""
        code = {name: float(code) for code, name in enumerate(self.names)}
        found = (code.get(cell, np.nan) if isinstance(cell, str) else np.nan for cell in cells.tolist())
        return np.fromiter(found, dtype=np.float64, count=len(cells))

    def _codes(self, labels: Any) -> NDArray[np.int16]:
        cells = np.asarray(labels)
        found = np.full(len(cells), -1, dtype=np.int16)
        for code, label in enumerate(self.classes):
            found[is_label(cells, label)] = code
        return found
