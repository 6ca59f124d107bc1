"""Two trainings held against each other: the verdict, the first step that differs, and what may have caused it. Pure.

Floating-point sums depend on the order of their terms, so another library, processor or number of threads may change
the last bits. Those grow with the steps; the tolerance is for them. Anything larger is another training.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any

import numpy as np

from fullcircle.core.fingerprint import Fingerprint

if TYPE_CHECKING:
    from numpy.typing import NDArray

RTOL, ATOL = 1e-4, 1e-6
"""Losses a and b are within tolerance when |a - b| <= ATOL + RTOL * |a|, as in `numpy.isclose`."""

ROUNDING = 1e-3
"""A first difference that is relatively larger than this is none of rounding."""

NUMERIC = ("torch", "tensorflow", "keras", "numpy", "scikit-learn", "fullcircle", "scipy", "pandas", "pyarrow")
"""Packages that a training's numbers go through, the most suspicious first."""

PREPROCESSING = ("scikit-learn", "numpy", "pandas", "pyarrow")
"""Those that are at work before the first step."""

COMPUTE = ("device", "precision", "strategy", "compile", "accumulate", "threads")
"""The fields of `core.project.Compute` that may change a result."""

VARIABLES = (
    *("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "VECLIB_MAXIMUM_THREADS", "NUMEXPR_NUM_THREADS"),
    *("TF_ENABLE_ONEDNN_OPTS", "TF_DETERMINISTIC_OPS", "XLA_FLAGS", "KERAS_BACKEND", "PYTHONHASHSEED"),
    *("CUBLAS_WORKSPACE_CONFIG", "NVIDIA_TF32_OVERRIDE", "TORCH_ALLOW_TF32_CUBLAS_OVERRIDE"),
)
"""Environment variables that may change a result; they are recorded and set again."""

_ADDRESS = re.compile(r" at 0x[0-9a-f]+")


class Agreement(StrEnum):
    """What a reproduction came to."""

    BITWISE = "bitwise"
    WITHIN = "within tolerance"
    DIVERGED = "diverged"


class Kind(StrEnum):
    """What two trainings may differ in."""

    PARAMETER = "parameter"
    DATA = "data"
    CODE = "code"
    FILE = "file"
    PACKAGE = "package"
    PROCESSES = "processes"
    THREADS = "threads"
    HARDWARE = "hardware"
    VARIABLE = "environment variable"
    PYTHON = "python"


_SUSPICION: Mapping[Kind, float] = {
    Kind.PARAMETER: 100,
    Kind.DATA: 90,
    Kind.CODE: 80,
    Kind.PACKAGE: 70,
    Kind.PROCESSES: 60,
    Kind.THREADS: 55,
    Kind.HARDWARE: 50,
    Kind.VARIABLE: 45,
    Kind.PYTHON: 40,
    Kind.FILE: 30,  # that a file was not kept does not say that it was read
}
_ROUNDS = (Kind.PROCESSES, Kind.THREADS, Kind.HARDWARE, Kind.VARIABLE)


@dataclass(frozen=True, kw_only=True)
class Difference:
    """One thing in which the repeated training was another one; `what` is the sentence for people.

    Attributes:
        name: of the parameter, package, file or variable.
        then, now: its two values; empty where it was not there or where they are too long to be read.
    """

    kind: Kind
    name: str
    what: str
    then: str = ""
    now: str = ""


@dataclass(frozen=True, kw_only=True)
class Recorded:
    """A training as it was recorded. `requirements`: package -> version. `code`: SHA-256 of the project's code."""

    fingerprint: Fingerprint
    losses: NDArray[np.float64]
    requirements: Mapping[str, str]
    code: str


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


@dataclass(frozen=True, kw_only=True)
class Reproduction:
    """What `fullcircle reproduce` came to.

    Attributes:
        code: where the code came from, for people.
        differences: all that was not as it was, the most suspicious first.
        kept: the folder that was kept, if it was asked for.
    """

    run_id: str
    project: str
    framework: str
    at: datetime
    code: str
    comparison: Comparison
    differences: tuple[Difference, ...]
    notes: tuple[str, ...]
    seconds: float
    kept: str = ""

    @property
    def verdict(self) -> str:
        """`bitwise`, `within tolerance` or `diverged at step N`."""
        return self.comparison.sentence

    @property
    def causes(self) -> tuple[Difference, ...]:
        """What may be the cause, the most suspicious first; none where there is nothing to explain."""
        return () if self.comparison.outcome is Agreement.BITWISE else self.differences


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


def differences(then: Recorded, now: Recorded, imported: Sequence[str] = ()) -> list[Difference]:
    """All that two trainings were made with and that is not the same, in no order.

    Args:
        imported: packages that the project's own code imports: their versions matter as much as the frameworks'.
    """
    one, two = then.fingerprint, now.fingerprint
    found = [
        *_parameters(one, two),
        *_packages(then.requirements, now.requirements, one.framework, imported),
        *_machines(one, two),
    ]
    if then.code and now.code != then.code:
        found.append(Difference(kind=Kind.CODE, name="project", what="the project's .py files are others"))
    if one.platform != two.platform:
        found.append(Difference(kind=Kind.CODE, name="fullcircle", what="fullcircle's own code is another one"))
    for name in sorted(one.variables.keys() | two.variables.keys()):
        if one.variables.get(name) != two.variables.get(name):
            kind = Kind.THREADS if name.endswith("_THREADS") else Kind.VARIABLE
            found.append(_changed(kind, name, name, one.variables.get(name), two.variables.get(name)))
    return found


def ranked(found: Iterable[Difference], seen: Comparison, imported: Sequence[str] = ()) -> tuple[Difference, ...]:
    """The differences, the most suspicious first, judged by what diverged and how.

    What was learned from is evidence: where the arrays are the same bits, neither data nor preprocessing is to blame;
    where they are not, these come first. A first difference beyond `ROUNDING` is none of threads or hardware.
    """

    def suspicion(each: Difference) -> float:
        points = _SUSPICION[each.kind]
        if each.kind is Kind.PACKAGE:
            points += _package_points(each.name, imported)
        if each.kind is Kind.DATA:
            points += -85 if seen.arrays else 50
        if not seen.arrays and each.name in PREPROCESSING:
            points += 20
        if each.kind in _ROUNDS and seen.first > ROUNDING:
            points -= 40
        return -points

    return tuple(sorted(found, key=suspicion))


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


def _parameters(one: Fingerprint, two: Fingerprint) -> Iterator[Difference]:
    mine, theirs = _flat(one.training), _flat(two.training)
    for name in sorted(mine.keys() | theirs.keys()):
        if mine.get(name) != theirs.get(name):
            yield _changed(Kind.PARAMETER, f"training.{name}", f"training.{name}", mine.get(name), theirs.get(name))
    for name in COMPUTE:
        if (then := one.compute.get(name)) != (now := two.compute.get(name)):
            kind = Kind.THREADS if name == "threads" else Kind.PARAMETER
            yield _changed(kind, f"compute.{name}", f"compute.{name}", _plain(then), _plain(now))
    if one.world_size != two.world_size:
        yield _changed(Kind.PROCESSES, "processes", "the number of processes", one.world_size, two.world_size)


def _packages(
    then: Mapping[str, str], now: Mapping[str, str], framework: str, imported: Sequence[str]
) -> Iterator[Difference]:
    foreign = {"torch": {"tensorflow", "keras"}, "keras": {"torch"}, "baseline": {"torch", "tensorflow", "keras"}}
    for name in sorted(then.keys() | now.keys()):
        if then.get(name) == now.get(name):
            continue
        if name in foreign.get(framework, ()) and name not in imported:
            continue  # it took no part
        yield _changed(Kind.PACKAGE, name, name, then.get(name), now.get(name))


def _machines(one: Fingerprint, two: Fingerprint) -> Iterator[Difference]:
    mine, theirs = one.machine, two.machine
    if mine.python != theirs.python:
        yield _changed(Kind.PYTHON, "python", "Python", mine.python, theirs.python)
    if mine.cpu != theirs.cpu or mine.machine != theirs.machine:
        yield _changed(
            Kind.HARDWARE, "cpu", "the processor", f"{mine.cpu} ({mine.machine})", f"{theirs.cpu} ({theirs.machine})"
        )
    if set(one.devices) != set(two.devices):
        yield _changed(Kind.HARDWARE, "device", "the device", ", ".join(one.devices), ", ".join(two.devices))
    if mine.gpus != theirs.gpus and "cuda" in (*one.devices, *two.devices):
        yield _changed(Kind.HARDWARE, "gpu", "the GPU", ", ".join(mine.gpus), ", ".join(theirs.gpus))
    if mine.cores != theirs.cores:
        yield _changed(Kind.THREADS, "cores", "the number of cores", mine.cores, theirs.cores)


def _package_points(name: str, imported: Sequence[str]) -> float:
    if name in imported and name not in NUMERIC:
        return 0.5
    return -float(NUMERIC.index(name)) if name in NUMERIC else -65.0


def _changed(kind: Kind, name: str, label: str, then: object, now: object) -> Difference:
    before = "nothing" if then is None or then == "" else str(then)
    after = "nothing" if now is None or now == "" else str(now)
    texts = ("" if then is None else str(then), "" if now is None else str(now))
    return Difference(kind=kind, name=name, what=f"{label}: {before} -> {after}", then=texts[0], now=texts[1])


def _flat(training: Mapping[str, Any]) -> dict[str, str]:
    """The parameters by name, what is passed on to the model functions among them."""
    extra = training.get("extra") or {}
    return {name: _plain(each) for name, each in {**extra, **training}.items() if name != "extra"}


def _plain(value: Any) -> str:
    return _ADDRESS.sub("", json.dumps(value, sort_keys=True, default=repr))
