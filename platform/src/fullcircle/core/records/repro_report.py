"""Reproduction report: every difference between a run and its repetition, likely causes first. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from fullcircle.core.records.fingerprint import COMPUTE, Fingerprint, Recorded
from fullcircle.core.records.repro_compare import Agreement, Comparison

ROUNDING = 1e-3
"""A first difference that is relatively larger than this is none of rounding."""

NUMERIC = ("torch", "tensorflow", "keras", "numpy", "scikit-learn", "fullcircle", "scipy", "pandas", "pyarrow")
"""Packages that a training's numbers go through, the most suspicious first."""

_FOREIGN: Mapping[str, Sequence[str]] = {
    "torch": ("tensorflow", "keras"),
    "keras": ("torch",),
    "baseline": ("torch", "tensorflow", "keras"),
}

PREPROCESSING = ("scikit-learn", "numpy", "pandas", "pyarrow")
"""Those that are at work before the first step."""

_ADDRESS = re.compile(r" at 0x[0-9a-f]+")


class DifferenceKind(StrEnum):
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


_SUSPICION: Mapping[DifferenceKind, float] = {
    DifferenceKind.PARAMETER: 100,
    DifferenceKind.DATA: 90,
    DifferenceKind.CODE: 80,
    DifferenceKind.PACKAGE: 70,
    DifferenceKind.PROCESSES: 60,
    DifferenceKind.THREADS: 55,
    DifferenceKind.HARDWARE: 50,
    DifferenceKind.VARIABLE: 45,
    DifferenceKind.PYTHON: 40,
    DifferenceKind.FILE: 30,  # that a file was not kept does not say that it was read
}
"""How suspicious a difference is before there is evidence. Only the order means something."""
_NO_PART = -65.0
"""Brings a package that is not known to take part below everything else."""
_ROUNDS = (DifferenceKind.PROCESSES, DifferenceKind.THREADS, DifferenceKind.HARDWARE, DifferenceKind.VARIABLE)


@dataclass(frozen=True, kw_only=True)
class Difference:
    """One thing in which the repeated training was another one; `what` is the sentence for people.

    Attributes:
        name: of the parameter, package, file or variable.
        then, now: its two values; empty where it was not there or where they are too long to be read.
    """

    kind: DifferenceKind
    name: str
    what: str
    then: str = ""
    now: str = ""


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


def differences(then: Recorded, now: Recorded) -> list[Difference]:
    """All that two trainings were made with and that is not the same, in no order."""
    one, two = then.fingerprint, now.fingerprint
    found = [
        *_parameters(one, two),
        *_packages(then.requirements, now.requirements),
        *_machines(one, two),
    ]
    if then.code and now.code != then.code:
        found.append(Difference(kind=DifferenceKind.CODE, name="project", what="the project's .py files are others"))
    if one.platform != two.platform:
        found.append(
            Difference(kind=DifferenceKind.CODE, name="fullcircle", what="fullcircle's own code is another one")
        )
    for name in sorted(one.variables.keys() | two.variables.keys()):
        if one.variables.get(name) != two.variables.get(name):
            kind = DifferenceKind.THREADS if name.endswith("_THREADS") else DifferenceKind.VARIABLE
            found.append(_changed(kind, name, name, one.variables.get(name), two.variables.get(name)))
    return found


def ranked(
    found: Iterable[Difference], seen: Comparison, framework: str, imported: Sequence[str] = ()
) -> tuple[Difference, ...]:
    """The differences, the most suspicious first, judged by what diverged and how.

    What was learned from is evidence: where the arrays are the same bits, neither data nor preprocessing is to blame;
    where they are not, these come first. A first difference beyond `ROUNDING` is none of threads or hardware.

    Args:
        framework: that was trained in; the packages of the other ones took no part.
        imported: packages that the project's own code imports: their versions matter as much as the framework's.
    """

    def suspicion(each: Difference) -> float:
        points = _SUSPICION[each.kind]
        if each.kind is DifferenceKind.PACKAGE:
            points += _package_points(each.name, framework, imported)
        if each.kind is DifferenceKind.DATA:
            points += -85 if seen.arrays else 50  # acquitted, or before all others
        if not seen.arrays and each.name in PREPROCESSING:
            points += 20
        if each.kind in _ROUNDS and seen.first > ROUNDING:
            points -= 40
        return -points

    return tuple(sorted(found, key=suspicion))


def _parameters(one: Fingerprint, two: Fingerprint) -> Iterator[Difference]:
    mine, theirs = _flat(one.training), _flat(two.training)
    for name in sorted(mine.keys() | theirs.keys()):
        if mine.get(name) != theirs.get(name):
            yield _changed(
                DifferenceKind.PARAMETER, f"training.{name}", f"training.{name}", mine.get(name), theirs.get(name)
            )
    for name in COMPUTE:
        if (then := one.compute.get(name)) != (now := two.compute.get(name)):
            kind = DifferenceKind.THREADS if name == "threads" else DifferenceKind.PARAMETER
            yield _changed(kind, f"compute.{name}", f"compute.{name}", _plain(then), _plain(now))
    if one.world_size != two.world_size:
        yield _changed(DifferenceKind.PROCESSES, "processes", "the number of processes", one.world_size, two.world_size)


def _packages(then: Mapping[str, str], now: Mapping[str, str]) -> Iterator[Difference]:
    for name in sorted(then.keys() | now.keys()):
        if then.get(name) != now.get(name):
            yield _changed(DifferenceKind.PACKAGE, name, name, then.get(name), now.get(name))


def _machines(one: Fingerprint, two: Fingerprint) -> Iterator[Difference]:
    mine, theirs = one.machine, two.machine
    if mine.python != theirs.python:
        yield _changed(DifferenceKind.PYTHON, "python", "Python", mine.python, theirs.python)
    if mine.cpu != theirs.cpu or mine.machine != theirs.machine:
        yield _changed(
            DifferenceKind.HARDWARE,
            "cpu",
            "the processor",
            f"{mine.cpu} ({mine.machine})",
            f"{theirs.cpu} ({theirs.machine})",
        )
    if set(one.devices) != set(two.devices):
        yield _changed(DifferenceKind.HARDWARE, "device", "the device", ", ".join(one.devices), ", ".join(two.devices))
    if mine.gpus != theirs.gpus and "cuda" in (*one.devices, *two.devices):
        yield _changed(DifferenceKind.HARDWARE, "gpu", "the GPU", ", ".join(mine.gpus), ", ".join(theirs.gpus))
    if mine.cores != theirs.cores:
        yield _changed(DifferenceKind.THREADS, "cores", "the number of cores", mine.cores, theirs.cores)


def _package_points(name: str, framework: str, imported: Sequence[str]) -> float:
    if name in _FOREIGN.get(framework, ()):
        return _NO_PART
    if name in NUMERIC:
        return -float(NUMERIC.index(name))
    return 0.5 if name in imported else _NO_PART


def _changed(kind: DifferenceKind, name: str, label: str, then: object, now: object) -> Difference:
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
