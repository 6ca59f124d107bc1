"""What a model answers for one row: named columns, which the graph, the log, the server and every table share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable

    import pandas as pd
    from numpy.typing import NDArray

    Answers = NDArray[np.float32]
    """float32, (rows,) where an answer is one number, else (rows, numbers) in the order of `AnswerSpec.numbers`."""


@dataclass(frozen=True, kw_only=True)
class AnswerColumn:
    """One column of an answer.

    Attributes:
        low, high: inclusive bounds of a number; None: none.
        choices: of a column of text, what it may say, in the order of the answer's numbers: it says the one whose
            number is the largest, the first of equals. Empty: it is a number, float32.
        follows: whether it follows from the numbers before it, such as a decision: it is not compared by itself, since
            two graphs that agree to the last digit but one may be on either side of its threshold.
        title: what people call it ("probability of arriving late").
        part: the class, or the label, whose number it is; empty where it is of all there is.
    """

    name: str
    title: str = ""
    low: float | None = None
    high: float | None = None
    choices: tuple[str, ...] = ()
    part: str = ""
    follows: bool = False

    @property
    def is_number(self) -> bool:
        """Whether it is a number; else it is text."""
        return not self.choices


@dataclass(frozen=True)
class AnswerSpec:
    """The columns of an answer, in order, and what may not be in them."""

    columns: tuple[AnswerColumn, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """Every column's name."""
        return tuple(column.name for column in self.columns)

    @property
    def numbers(self) -> tuple[str, ...]:
        """The names of the float32 columns: what is compared, watched and explained."""
        return tuple(column.name for column in self.columns if column.is_number)

    @property
    def texts(self) -> tuple[str, ...]:
        """The names of the columns of text, which follow from the numbers."""
        return tuple(column.name for column in self.columns if not column.is_number)

    def shape(self, rows: int) -> tuple[int, ...]:
        """Shape of so many answers' numbers: (rows,) or (rows, numbers)."""
        width = len(self.numbers)
        return (rows,) if width == 1 else (rows, width)

    def of(self, frame: pd.DataFrame) -> Answers:
        """The numbers of a frame's rows, such as the prediction log's, NaN where there is none. Raises KeyError."""
        return self._stacked([frame[name].to_numpy(dtype=np.float32, na_value=np.nan) for name in self.numbers])

    def of_some(self, frame: pd.DataFrame) -> Answers:
        """As `of`, and NaN in a column that the frame lacks: it was written before that class was named."""
        nothing = np.full(len(frame), np.nan, dtype=np.float32)
        there = set(frame.columns)
        return self._stacked(
            [
                frame[name].to_numpy(dtype=np.float32, na_value=np.nan) if name in there else nothing
                for name in self.numbers
            ]
        )

    def _stacked(self, columns: list[NDArray[np.float32]]) -> Answers:
        return columns[0] if len(columns) == 1 else np.stack(columns, axis=1)

    def by_name(self, answers: Answers) -> dict[str, NDArray[np.float32]]:
        """Each number's column by its name, float32 (rows,), in order. Views."""
        return dict(zip(self.numbers, np.reshape(answers, (len(answers), len(self.numbers))).T, strict=True))

    def words(self, answers: Answers) -> dict[str, NDArray[np.object_]]:
        """Each column of text by its name, object (rows,): what the numbers make it say."""
        said: Iterable[AnswerColumn] = (column for column in self.columns if not column.is_number)
        return {each.name: np.array(each.choices, dtype=object)[np.argmax(answers, axis=1)] for each in said}

    def largest_difference(self, a: Answers, b: Answers) -> float:
        """How far two sets of answers to the same rows are apart at most; infinite where one is not finite.

        Of a number that is bounded on both sides, such as a probability, the difference itself. Of any other the
        difference in standard deviations of `b`'s: what is exact for minutes is not exact for microseconds.
        """
        apart = 0.0
        sides = (np.reshape(each, (len(a), len(self.numbers))).T.astype(np.float64) for each in (a, b))
        for column, one, other in zip((each for each in self.columns if each.is_number), *sides, strict=True):
            difference = np.abs(one - other)
            if column.follows and np.isfinite(difference).all():
                continue
            if not np.isfinite(difference).all():
                return float("inf")
            bounded = column.low is not None and column.high is not None
            scale = 1.0 if bounded or not (spread := float(other.std())) else spread
            apart = max(apart, float(difference.max(initial=0.0)) / scale)
        return apart

    def fault(self, answers: NDArray[Any], rows: int) -> str | None:
        """Why these cannot be answers to so many rows ("must be finite and between 0 and 1"); None when they can."""
        if answers.shape != self.shape(rows):
            return f"must have the shape {self.shape(rows)} of {rows} rows, got {answers.shape}"
        numbers = [column for column in self.columns if column.is_number]
        for column, values in zip(numbers, np.reshape(answers, (rows, len(numbers))).T, strict=True):
            low, high = column.low, column.high
            if not np.isfinite(values).all():
                return f"must be finite{_between(low, high)}"
            if (low is not None and (values < low).any()) or (high is not None and (values > high).any()):
                return f"must be finite{_between(low, high)}"
        return None


def _between(low: float | None, high: float | None) -> str:
    if low is None:
        return "" if high is None else f" and at most {high:g}"
    return f" and at least {low:g}" if high is None else f" and between {low:g} and {high:g}"
