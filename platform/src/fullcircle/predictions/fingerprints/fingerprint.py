"""The value itself: what the answers of one model version were like, in one part of the log or in many."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

import msgspec

from fullcircle.predictions.fingerprints.answer_bins import Calibration, added
from fullcircle.predictions.fingerprints.category_summary import CategorySummary
from fullcircle.predictions.fingerprints.number_summary import NumberSummary
from fullcircle.predictions.fingerprints.row_ids import RowIds

Bins = dict[int, int]
_T = TypeVar("_T", NumberSummary, CategorySummary, Calibration)


class GroupSummary(msgspec.Struct, frozen=True, array_like=True):
    """The rows of one group of a slice, such as one airport's. `a + b`: of the rows of both.

    Attributes:
        answers: number of the answer -> bin -> rows.
        calibration: number of the answer -> against the truth, of the rows whose label is known.
    """

    rows: int
    answers: dict[str, Bins]
    calibration: dict[str, Calibration] = {}

    def __add__(self, other: GroupSummary) -> GroupSummary:
        """Of the rows of both."""
        return GroupSummary(
            rows=self.rows + other.rows,
            answers=_bins(self.answers, other.answers),
            calibration=_each(self.calibration, other.calibration),
        )


class LogFingerprint(msgspec.Struct, frozen=True, array_like=True):
    """The answers of one model version. `a + b`: of both parts.

    A row id counts once in each part of the log (a segment, or a write-ahead file): its latest answer. One that is in
    two parts counts in both; how many do is what `row_ids.repeats` says.

    Attributes:
        rows: that count.
        superseded: answers that do not, because the same part has a later one for their row.
        first_event, last_event: microseconds since 1970, both inclusive.
        first_arrival, last_arrival: when the first and the last of them was answered, as well.
        numbers, categories: column -> what it was like; an image is among the numbers.
        answers: number of an answer -> what it was like.
        histograms: number of an answer -> bin -> rows, see `answer_bins`.
        slices: column -> group -> what its rows were like; of a part at most `groups.MOST` groups each.
        labelled: rows whose label is known.
        calibration: number of the answer -> against the truth.
    """

    rows: int
    superseded: int
    first_event: int
    last_event: int
    first_arrival: int
    last_arrival: int
    row_ids: RowIds
    numbers: dict[str, NumberSummary]
    categories: dict[str, CategorySummary]
    answers: dict[str, NumberSummary]
    histograms: dict[str, Bins]
    slices: dict[str, dict[str, GroupSummary]]
    labelled: int = 0
    calibration: dict[str, Calibration] = {}

    def __add__(self, other: LogFingerprint) -> LogFingerprint:
        """Of both parts."""
        return LogFingerprint(
            rows=self.rows + other.rows,
            superseded=self.superseded + other.superseded,
            first_event=min(self.first_event, other.first_event),
            last_event=max(self.last_event, other.last_event),
            first_arrival=min(self.first_arrival, other.first_arrival),
            last_arrival=max(self.last_arrival, other.last_arrival),
            row_ids=self.row_ids + other.row_ids,
            numbers=_each(self.numbers, other.numbers),
            categories=_each(self.categories, other.categories),
            answers=_each(self.answers, other.answers),
            histograms=_bins(self.histograms, other.histograms),
            slices=_groups(self.slices, other.slices),
            labelled=self.labelled + other.labelled,
            calibration=_each(self.calibration, other.calibration),
        )


def _each(one: Mapping[str, _T], other: Mapping[str, _T]) -> dict[str, _T]:
    found = dict(one)
    for name, summary in other.items():
        found[name] = found[name] + summary if name in found else summary
    return found


def _bins(one: Mapping[str, Bins], other: Mapping[str, Bins]) -> dict[str, Bins]:
    return {name: added(one.get(name, {}), other.get(name, {})) for name in {**one, **other}}


def _groups(
    one: Mapping[str, Mapping[str, GroupSummary]], other: Mapping[str, Mapping[str, GroupSummary]]
) -> dict[str, dict[str, GroupSummary]]:
    found = {column: dict(groups) for column, groups in one.items()}
    for column, groups in other.items():
        there = found.setdefault(column, {})
        for group, summary in groups.items():
            there[group] = there[group] + summary if group in there else summary
    return found
