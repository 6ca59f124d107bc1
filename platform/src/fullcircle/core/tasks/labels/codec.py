"""What a task's labels are in the data, what they are encoded to, and how log, label file and HTTP have them.

A value beside the task, not the task: whoever keeps, sends or reads labels needs to know nothing else of a kind of
problem.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from fullcircle.core.errors import TargetInvalid
from fullcircle.core.tasks.labels.cells import cells_of, real_numbers, shown_values

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

    Targets = NDArray[Any]


@dataclass(frozen=True)
class LabelCodec(ABC):
    """The labels of one task.

    Attributes:
        name: the target column.
    """

    name: str

    @property
    @abstractmethod
    def sentence(self) -> str:
        """The data contract's rule on the target column: "is 0 or 1"."""

    @property
    @abstractmethod
    def advice(self) -> str:
        """What to do about labels that do not fit."""

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns of the data that hold the target."""
        return (self.name,)

    @property
    def has_numbers(self) -> bool:
        """Whether all labels are numbers in the data."""
        return False

    def targets(self, frame: pd.DataFrame) -> Targets:
        """The targets of raw rows, encoded.

        Raises:
            TargetInvalid: as `encode`.
            KeyError: a column is not there.
        """
        return self.encode(frame[self.name])

    @abstractmethod
    def holds(self, labels: Any) -> NDArray[np.bool_]:
        """Which labels fit the task, bool (rows,). Never raises, whatever the cells are."""

    @abstractmethod
    def codes(self, labels: Any) -> Targets:
        """The targets of labels that all fit."""

    def logged(self, values: NDArray[np.float64]) -> Targets:
        """Targets of what the prediction log keeps of labels that arrived: their codes."""
        return np.asarray(values).astype(np.int16)

    def known_labels(self, cells: pd.Series) -> NDArray[np.float64]:
        """The `label` column of a log window as float64 (rows,), or (rows, labels); NaN in rows not known yet."""
        return cells.to_numpy(dtype=np.float64, na_value=np.nan)

    def are_known(self, labels: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Which of `known_labels` are known, bool (rows,)."""
        found = np.isfinite(labels)
        return found if found.ndim == 1 else np.asarray(found.all(axis=1), dtype=np.bool_)

    @property
    def stored_as(self) -> str:
        """What the label log keeps of a target, by name, an entry of its table: `int8`, `float64`, `text`, `truths`."""
        return "int8"

    @property
    @abstractmethod
    def target_sentence(self) -> str:
        """What an encoded target is: "0 or 1"."""

    @abstractmethod
    def are_targets(self, values: NDArray[np.object_]) -> NDArray[np.bool_]:
        """Which cells are encoded targets, bool (rows,). Never raises, whatever the cells are."""

    def stored(self, targets: Sequence[Any]) -> Sequence[Any] | Targets:
        """What the label log keeps of targets that are some: a number, or words that outlive a change of classes."""
        return np.asarray(targets, dtype=self.stored_as)

    def recalled(self, cells: NDArray[Any]) -> NDArray[Any]:
        """What a window's `label` column shows of what the label log kept: codes or numbers, float64 (rows,).

        NaN for what another version of the project kept and this one does not know.
        """
        return real_numbers(cells)

    def sent(self, frame: pd.DataFrame) -> list[Any]:
        """The labels of raw rows as HTTP takes them, a JSON value a row. Raises KeyError."""
        cells: list[Any] = frame[self.name].tolist()
        return cells

    def received(self, cells: Sequence[Any]) -> NDArray[Any]:
        """Labels as HTTP brings them, a JSON value a row, as `holds` and `codes` take them. Never raises."""
        return cells_of(cells)

    @property
    def received_sentence(self) -> str:
        """What a label over HTTP is: "0 or 1"."""
        return self.sentence.removeprefix("is ")

    def encode(self, labels: Any) -> Targets:
        """Labels as they are in the data to targets, (rows,).

        Raises:
            TargetInvalid: one that does not fit, naming the column, the values and what to do.
        """
        held = self.holds(labels)
        if not held.all():
            raise TargetInvalid(
                f"target {self.name!r} {self.sentence}, but {int((~held).sum()):,} of {len(held):,} rows are not: "
                f"{shown_values(labels, ~held)}",
                hint=self.advice,
            )
        return self.codes(labels)
