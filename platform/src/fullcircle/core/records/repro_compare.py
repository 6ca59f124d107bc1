"""Compares two trainings loss by loss: bit-identical, within tolerance or different, and the first step that differs.
Pure.

Floating-point sums depend on the order of their terms, so another library, processor or number of threads may change
the last bits. Those grow with the steps; the tolerance is for them. Anything larger is another training.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

import numpy as np

from fullcircle.core.records.fingerprint import Fingerprint, Recorded

if TYPE_CHECKING:
    from numpy.typing import NDArray

RTOL, ATOL = 1e-4, 1e-6
"""Losses a and b are within tolerance when |a - b| <= ATOL + RTOL * |a|, as in `numpy.isclose`."""


class Agreement(StrEnum):
    """What a reproduction came to."""

    BITWISE = "bitwise"
    WITHIN = "within tolerance"
    DIVERGED = "diverged"


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """How far two trainings went together.

    Attributes:
        steps_then, steps_now: how many steps each did.
        diverged_at: first step (or, without steps, epoch) that is beyond tolerance; None when there is none.
        unequal_at: first step (or epoch) that has other bits; None when there is none.
        largest: largest relative difference of a loss.
        first: relative difference at `unequal_at`.
        weights, arrays: whether those are the same bits.
        unit: `step` or `epoch`.
    """

    outcome: Agreement
    steps_then: int
    steps_now: int
    diverged_at: int | None
    unequal_at: int | None
    largest: float
    first: float
    weights: bool
    arrays: bool
    unit: str = "step"

    @property
    def sentence(self) -> str:
        """`bitwise`, `within tolerance` or `diverged at step N`."""
        return f"{self.outcome} at {self.unit} {self.diverged_at:,}" if self.diverged_at else f"{self.outcome}"


def compare(then: Recorded, now: Recorded) -> Comparison:
    """Hold losses, weights and arrays of two trainings against each other."""
    one, two = then.fingerprint, now.fingerprint
    numbers, before, after = _shared_losses(then, now)
    unit = "step" if one.steps or two.steps else "epoch"
    far, unequal = _first(numbers, ~np.isclose(after, before, rtol=RTOL, atol=ATOL)), _first(numbers, before != after)
    if far is None and one.steps != two.steps:
        far = min(one.steps, two.steps) + 1
    if far is None and len(one.epochs) != len(two.epochs):
        far = min(one.steps, two.steps) + 1 if unit == "step" else min(len(one.epochs), len(two.epochs)) + 1
    unequal = unequal or far
    same = unequal is None and one.losses == two.losses and one.weights == two.weights and one.epochs == two.epochs
    relative = np.abs(after - before) / np.maximum(np.abs(before), ATOL)
    outcome = Agreement.BITWISE if same else Agreement.WITHIN if far is None else Agreement.DIVERGED
    return Comparison(
        outcome=outcome,
        steps_then=one.steps,
        steps_now=two.steps,
        diverged_at=far,
        unequal_at=unequal,
        largest=float(relative.max(initial=0.0)),
        first=next((float(value) for value in relative if value > 0), 0.0),
        weights=one.weights == two.weights,
        arrays=_arrays_same(one, two),
        unit=unit,
    )


def _shared_losses(then: Recorded, now: Recorded) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
    """(steps, losses then, losses now) of the steps that both have, each epoch's two losses behind its last step."""
    one, two = then.fingerprint, now.fingerprint
    steps_one = 1 + one.every * np.arange(len(then.losses), dtype=np.int64)
    steps_two = 1 + two.every * np.arange(len(now.losses), dtype=np.int64)
    steps, left, right = np.intersect1d(steps_one, steps_two, assume_unique=True, return_indices=True)
    marks = [
        (mark.step or mark.epoch, mine, theirs)
        for mark, other in zip(one.epochs, two.epochs, strict=False)
        if mark.step == other.step
        for mine, theirs in (
            (mark.train_loss, other.train_loss),
            (mark.validation_loss, other.validation_loss),
        )
    ]
    numbers = np.concatenate([steps, np.array([each[0] for each in marks], dtype=np.int64)])
    before = np.concatenate([then.losses[left], np.array([each[1] for each in marks], dtype=np.float64)])
    after = np.concatenate([now.losses[right], np.array([each[2] for each in marks], dtype=np.float64)])
    order = np.argsort(numbers, kind="stable")
    return numbers[order], before[order], after[order]


def _first(numbers: NDArray[np.int64], wrong: NDArray[np.bool_]) -> int | None:
    return int(numbers[int(np.argmax(wrong))]) if wrong.any() else None


def _arrays_same(one: Fingerprint, two: Fingerprint) -> bool:
    shared = one.arrays.keys() & two.arrays.keys() - {"preprocessing"}
    return bool(shared) and all(one.arrays[name] == two.arrays[name] for name in shared)
