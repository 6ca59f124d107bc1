"""Disagreement of challenger and champion on logged production rows, as values."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, kw_only=True)
class GroupDisagreement:
    """One group of the rows: `column` == `group`.

    Attributes:
        mean: challenger's minus champion's mean answer.
        mean_absolute: mean absolute difference of the two.
    """

    column: str
    group: str
    rows: int
    mean: float
    mean_absolute: float


@dataclass(frozen=True, kw_only=True)
class RowDisagreement:
    """One logged prediction and what the challenger would have answered.

    Attributes:
        label: 0 or 1 of a question of yes or no, else the outcome in words; None while it is unknown.
    """

    prediction_id: str
    row_id: str
    champion: float
    challenger: float
    label: int | str | None


@dataclass(frozen=True, kw_only=True)
class Disagreement:
    """Champion and challenger on a sample of a window's logged rows.

    Attributes:
        start, end: the window.
        rows: rows compared; `answered` of them were answered by this champion in production, the others by an earlier
            model, and now by the champion for this comparison.
        unanswered: rows to which the challenger has no finite answer. They are in no mean.
        margin: the difference that counts as disagreeing.
        share: of the rows, those that differ by more than `margin` or are unanswered.
        groups, largest: the groups and the rows that differ most, those first.
    """

    start: datetime
    end: datetime
    rows: int
    answered: int
    unanswered: int
    margin: float
    share: float
    mean: float
    mean_absolute: float
    groups: tuple[GroupDisagreement, ...]
    largest: tuple[RowDisagreement, ...]
