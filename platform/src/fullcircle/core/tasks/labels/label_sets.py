"""Labels of which a row may have any number: a list of them in one column, or a column of 0 and 1 for each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from fullcircle.core.tasks.labels.cells import cells_of, is_label
from fullcircle.core.tasks.labels.codec import LabelCodec

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

    from fullcircle.core.tasks.labels.codec import Targets


@dataclass(frozen=True)
class MultilabelCodec(LabelCodec):
    """Some of several labels; targets are 0 and 1 for each.

    Attributes:
        labels: in the order of the targets.
        separate: each is a column of the data, rather than a member of lists in one column.
    """

    labels: tuple[str, ...]
    separate: bool

    @property
    def columns(self) -> tuple[str, ...]:
        """One column of lists, or one column for each label."""
        return self.labels if self.separate else (self.name,)

    @property
    def sentence(self) -> str:
        """`is a list of some of the 3 labels`."""
        return "is 0 or 1" if self.separate else f"is a list of some of the {len(self.labels)} labels"

    @property
    def advice(self) -> str:
        """A new label is the project's to take in."""
        known = ", ".join(map(repr, self.labels[:20]))
        return f"the labels are {known}: mend the rows, or name the new one in project.py"

    def targets(self, frame: pd.DataFrame) -> Targets:
        """The targets of raw rows, int8 (rows, labels)."""
        return self.encode(frame[list(self.columns)] if self.separate else frame[self.name])

    def logged(self, values: NDArray[np.float64]) -> Targets:
        """int8 (rows, labels)."""
        return np.asarray(values).astype(np.int8)

    def known_labels(self, cells: pd.Series) -> NDArray[np.float64]:
        """A list of 0 and 1 in each cell as float64 (rows, labels); NaN in rows not known yet."""
        found = np.full((len(cells), len(self.labels)), np.nan)
        for row, cell in enumerate(cells):
            if np.ndim(cell) == 1 and len(cell) == len(self.labels):
                found[row] = cell
        return found

    def holds(self, labels: Any) -> NDArray[np.bool_]:
        """Which rows fit, bool (rows,): of 0 and 1 (rows, labels) or (rows,), or lists of known labels (rows,)."""
        if self.separate:
            cells = np.asarray(labels)
            fits = is_label(cells.reshape(-1), 0) | is_label(cells.reshape(-1), 1)
            return np.asarray(fits.reshape(len(cells), -1).all(axis=1), dtype=np.bool_)
        known = frozenset(self.labels)
        found = [(listed := _listed(cell)) is not None and known.issuperset(listed) for cell in labels]
        return np.array(found, dtype=np.bool_)

    def codes(self, labels: Any) -> Targets:
        """int8 (rows, labels)."""
        if self.separate:
            cells = np.asarray(labels)
            return is_label(cells.reshape(-1), 1).reshape(len(cells), -1).astype(np.int8)
        position = {label: index for index, label in enumerate(self.labels)}
        found = np.zeros((len(labels), len(self.labels)), dtype=np.int8)
        for row, cell in enumerate(labels):
            found[row, [position[label] for label in _listed(cell) or ()]] = 1
        return found

    @property
    def stored_as(self) -> str:
        """Each label by name: another version of the project may have others, or have them in another order."""
        return "truths"

    @property
    def target_sentence(self) -> str:
        """`3 values of 0 or 1`."""
        return f"{len(self.labels)} values of 0 or 1"

    def are_targets(self, values: NDArray[np.object_]) -> NDArray[np.bool_]:
        """Which are as many values of 0 or 1 as there are labels, bool (rows,)."""

        def fits(cell: object) -> bool:
            cells = cell.tolist() if isinstance(cell, np.ndarray) else cell
            if not isinstance(cells, list | tuple) or len(cells) != len(self.labels):
                return False
            return bool((is_label(cells_of(cells), 0) | is_label(cells_of(cells), 1)).all())

        return np.fromiter(map(fits, values), dtype=np.bool_, count=len(values))

    def stored(self, targets: Sequence[Any]) -> list[dict[str, int]]:
        """Label -> 0 or 1, of each row."""
        return [dict(zip(self.labels, map(int, row), strict=True)) for row in targets]

    def recalled(self, cells: NDArray[Any]) -> NDArray[Any]:
        """Lists of 0 and 1, one for each label, object (rows,); None where one of them was not known then."""

        def of(cell: object) -> list[int] | None:
            known = dict(cell) if isinstance(cell, list) else cell
            if not isinstance(known, dict) or any(known.get(label) is None for label in self.labels):
                return None
            return [int(known[label]) for label in self.labels]

        return cells_of([of(cell) for cell in cells])

    def sent(self, frame: pd.DataFrame) -> list[Any]:
        """The labels that each row has, as a list."""
        if not self.separate:
            return [_listed(cell) for cell in frame[self.name]]
        has = self.codes(frame[list(self.columns)])
        return [[self.labels[index] for index in np.flatnonzero(row)] for row in has]

    def received(self, cells: Sequence[Any]) -> NDArray[Any]:
        """Lists of labels, or {label: 0 or 1} of all of them, in the form of the data."""
        lists = cells_of([self._named(cell) for cell in cells])
        if not self.separate:
            return lists
        known = frozenset(self.labels)
        found = np.full((len(cells), len(self.labels)), None, dtype=object)
        for row, listed in enumerate(lists):
            if listed is not None and known.issuperset(listed):
                found[row] = [int(label in listed) for label in self.labels]
        return found

    @property
    def received_sentence(self) -> str:
        """Both forms."""
        return f"a list of some of the {len(self.labels)} labels, or an object that says 0 or 1 of each"

    def _named(self, cell: object) -> list[str] | None:
        """The labels that a cell names, known or not; None when it is no list and no object of all labels."""
        if not isinstance(cell, dict):
            return _listed(cell)
        said = is_label(cells_of(list(cell.values())), 0) | is_label(cells_of(list(cell.values())), 1)
        return [label for label, has in cell.items() if has] if set(cell) == set(self.labels) and said.all() else None


def _listed(cell: object) -> list[str] | None:
    """A cell's labels; None when it is no list of hashable ones."""
    if isinstance(cell, np.ndarray):
        cell = cell.tolist()
    if not isinstance(cell, list | tuple | set | frozenset):
        return None
    labels = list(cell)
    return labels if all(isinstance(label, str) for label in labels) else None
