"""Request limits: bounds on size, rows and cells, each asked before anything is built of the request.

A cell is a value of one row: a number, a text, a pixel. What a body costs in memory is not its length but what it makes
Python build: `{},` is three bytes and an object of 64, and a table whose every row has a name of its own is one of
rows x names. So the bounds are on rows and cells of the columns that are expected, and are told from the bytes first.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fullcircle.core.errors import BadRequest
from fullcircle.core.project import Project

SPARE_COLUMNS = 64
"""Columns beside those of the model, its row id and its time that each row may have when there are most rows."""
PIECES_A_CELL = 2
"""Commas and opening brackets: `[[1],[2]]` has two a value."""
FREE_PIECES = 1_000
"""What a request may have in any case."""


class TooLarge(BadRequest):
    """More rows, cells or bytes than one request may have."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What one request may hold.

    Attributes:
        rows: most rows.
        length: most bytes of the body.
        width: cells of one row that are read: the model's columns, an image's pixels each, the row id, the time.
    """

    rows: int
    length: int
    width: int

    @classmethod
    def of(cls, project: Project, *, rows: int, length: int) -> Limits:
        """The limits of requests to this project's model."""
        width = sum(column.values for column in project.inputs)
        return cls(rows=rows, length=length, width=width + 2)

    @property
    def cells(self) -> int:
        """Most cells: of `rows` rows, and never more than the longest body has room for."""
        return min(self.rows * (self.width + SPARE_COLUMNS), self.length // 2 + 1)

    def check_length(self, length: int) -> None:
        """Raises TooLarge for a body of so many bytes."""
        if length > self.length:
            raise TooLarge(f"the body is larger than the {self.length} bytes that one request may have")

    def check_rows(self, rows: int) -> None:
        """Raises TooLarge for so many rows, or for the cells that they would be of the columns that are expected."""
        if rows > self.rows:
            raise TooLarge(f"{rows} rows are more than the {self.rows} that one request may have")
        if rows * self.width > self.cells:
            raise TooLarge(
                f"{rows} rows of {self.width} values are more than the {self.cells} values that one request may have"
            )

    def check_json(self, body: bytes) -> None:
        """Raises TooLarge when this JSON would become more objects than the largest table that is allowed.

        Told from its commas and opening brackets, and of objects there is one a row; of those in texts only when there
        seem to be too many.
        """
        objects, others = body.count(b"{"), body.count(b",") + body.count(b"[")
        if self._too_many(objects, others) and self._too_many(*_outside_texts(body)):
            raise TooLarge(f"the body has more than the {self.cells} values that one request may have")

    def _too_many(self, objects: int, others: int) -> bool:
        most = PIECES_A_CELL * (self.cells + self.rows) + FREE_PIECES
        return objects > self.rows + FREE_PIECES or objects + others > most


def _outside_texts(body: bytes) -> tuple[int, int]:
    """How many `{`, and how many `,` and `[`, are no part of a text."""
    quoted = np.frombuffer(body.replace(b"\\\\", b"").replace(b'\\"', b""), np.uint8)  # an escaped quote ends nothing
    # After an even number of quotes one is outside; the sum may wrap, which leaves that as it is.
    outside = (np.add.accumulate(quoted == ord('"'), dtype=np.uint8) & 1) == 0
    found = [int(np.count_nonzero((quoted == ord(sign)) & outside)) for sign in "{,["]
    return found[0], found[1] + found[2]
