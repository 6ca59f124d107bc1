"""What fingerprints are of: the columns with their ranges, the numbers of the answers, the slices."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fullcircle.core.project import Category, Column, Project
from fullcircle.core.project.gates import SliceGate
from fullcircle.core.tasks.answers import AnswerColumn, AnswerSpec
from fullcircle.predictions.row_shape import kinds_of

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True, kw_only=True)
class Contract:
    """A fingerprint is of one contract; a segment whose fingerprint is of another one gets a new one.

    Attributes:
        slices: columns of categories by whose groups answers are counted.
    """

    columns: tuple[Column, ...]
    answers: tuple[AnswerColumn, ...]
    slices: tuple[str, ...] = ()

    @classmethod
    def of(cls, columns: tuple[Column, ...], answers: AnswerSpec, slices: tuple[str, ...] = ()) -> Contract:
        """Of these columns. Slices that are no column of categories are left out: a number has no groups of its own."""
        texts = {column.name for column in columns if column.is_text}
        numbers = tuple(column for column in answers.columns if column.is_number)
        return cls(
            columns=tuple(columns),
            answers=numbers,
            slices=tuple(name for name in dict.fromkeys(slices) if name in texts),
        )

    @property
    def digest(self) -> int:
        """A number that is another one for another contract."""
        said = [
            [(c.name, c.kind, c.values, *(() if isinstance(c, Category) else (c.low, c.high))) for c in self.columns],
            [(a.name, a.low, a.high) for a in self.answers],
            self.slices,
        ]
        return zlib.crc32(repr(said).encode())

    @property
    def kinds(self) -> dict[str, pa.DataType]:
        """What is read of a segment, and as what."""
        return kinds_of(self.columns, [answer.name for answer in self.answers])


def contract_of(project: Project) -> Contract:
    """Of a project's inputs, answers, and the slices that it or its gates name."""
    gated = (gate.column for gate in project.gates if isinstance(gate, SliceGate))
    return Contract.of(project.inputs, project.target.answers, (*project.slices, *gated))
