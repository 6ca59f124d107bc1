"""Which numbers of an answer are explained, what they are called, and which of them is the answer that was given."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from fullcircle.core.tasks import Task

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Numbers = NDArray[np.float64]

MOST_ANSWERS = 100
"""Classes, or labels, that are explained: as many as rows are, so that each row's own class is among them."""


@dataclass(frozen=True)
class ExplainedAnswers:
    """The numbers of an answer that are explained: all that the task names, or the most telling ones of very many.

    Attributes:
        places: where they stand in `task.answers.numbers`, ascending.
    """

    task: Task
    places: tuple[int, ...]

    @classmethod
    def among(cls, task: Task, answers: NDArray[Any], most: int = MOST_ANSWERS) -> ExplainedAnswers:
        """The task's explained numbers; of very many those that are given most often, then the likeliest.

        Args:
            answers: of the rows that are explained, (rows,) or (rows, numbers).
        """
        place = {name: index for index, name in enumerate(task.answers.numbers)}
        places = np.array([place[name] for name in task.explained])
        if len(places) > most:
            matrix = np.asarray(answers)[:, places]
            given = np.bincount(task.given(matrix), minlength=len(places))
            places = np.sort(places[np.lexsort((-matrix.mean(axis=0), -given))[:most]])
        return cls(task, tuple(int(each) for each in places))

    @property
    def names(self) -> tuple[str, ...]:
        """The numbers' names, as the graph and the log have them."""
        numbers = self.task.answers.numbers
        return tuple(numbers[place] for place in self.places)

    @property
    def parts(self) -> tuple[str, ...]:
        """The class, or the label, that each number stands for; empty where an answer is one number."""
        columns = {column.name: column.part for column in self.task.answers.columns}
        return tuple(columns[name] for name in self.names)

    @property
    def count(self) -> str:
        """How many, in words: `3 classes`, `100 of 1,000 classes`; empty where it is one number."""
        if len(self.task.explained) == 1:
            return ""
        of = "" if len(self.places) == len(self.task.explained) else f" of {len(self.task.explained):,}"
        return f"{len(self.places)}{of} {self.task.answer_format.parts}"

    def of(self, answers: NDArray[Any]) -> Numbers:
        """These numbers of answers (rows,) or (rows, numbers): float64 (rows,) for one, else (rows, explained)."""
        values = np.asarray(answers).astype(np.float64)
        if values.ndim == 1:
            return values
        return values[:, self.places[0]] if len(self.places) == 1 else values[:, list(self.places)]

    def given(self, explained: Numbers) -> NDArray[np.intp]:
        """Of each row, which of these numbers is the answer that was given, (rows,)."""
        return self.task.given(explained.astype(np.float32))


def of_given(values: Numbers, given: NDArray[np.intp]) -> Numbers:
    """What belongs to each row's given answer.

    Args:
        values: (rows, ..., answers).
        given: (rows,).

    Returns:
        (rows, ...).
    """
    place = given.reshape(-1, *(1,) * (values.ndim - 1))
    return np.asarray(np.take_along_axis(values, place, axis=-1)[..., 0], dtype=np.float64)
