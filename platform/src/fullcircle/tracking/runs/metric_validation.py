"""Validates the metrics of a step and passes those that are new on to the spool."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Iterable, Mapping
from time import time_ns

from fullcircle.core.errors import UsageError
from fullcircle.tracking.runs.dedup import EXACT, LARGEST, Claim, MetricDedup, whole
from fullcircle.tracking.spool import writer as spool_writer
from fullcircle.tracking.spool.entries import Names, packing, unpacked
from fullcircle.tracking.spool.writer import BATCH, FLUSH_AT, SpoolWriter

_LONGEST = packing(BATCH).size
MOST_SHAPES = 1000
"""So many different sets of names are known by heart; loops log a few."""
_NAME = re.compile(r"(?!\.\.?(/|$))[\w .:-][\w ./:-]{0,249}")
"""As `mlflow.utils.validation` has it, without a slash in front."""


class MetricValidator:
    """Validates what one process logs to a run. Safe for several threads.

    Args:
        repeats: what the run has from before.
    """

    def __init__(self, dedup: MetricDedup) -> None:
        self.dedup = dedup
        self.shapes: dict[Names, tuple[Names, Callable[..., bytes]]] = {}
        """Sets of names that were found good: the one that is kept, and what packs its values."""
        self.has, self.last = dedup.has, dedup.last

    def new(self, values: Mapping[str, float], step: int) -> tuple[Names, bytes, int]:
        """(the metrics that the run does not have of this step, their values as `entries.packing` has them, the step as
        a plain int); these are to be logged now. Nothing is remembered of what is refused.

        Raises:
            UsageError: a name that MLflow does not take, a value that is no number, or a step that is no whole number.
        """
        step, values = whole(step), dict(values)  # at once: another thread may change it
        names = tuple(values)
        names, pack = self.shapes.get(names) or self._shaped(names)
        packed = pack(*_numbers(values))
        new = self.dedup.new(names, step)
        return new, (packed if new is names else _of(packed, names, new)), step

    def _shaped(self, names: Names) -> tuple[Names, Callable[..., bytes]]:
        """The names of a call, which are found good, and kept: a loop logs the same ones each time."""
        require_names(names)
        names = tuple(map(str.__str__, names))  # msgspec writes no others, such as numpy's
        shape = (names, packing(len(names)).pack)
        if not names:  # nothing is logged
            return shape
        if len(self.shapes) >= MOST_SHAPES:
            self.shapes.clear()
        return self.shapes.setdefault(names, shape)


class FastMetricPath:
    """`MetricValidator.new` and `SpoolWriter.packed` in one function, for the usual call of a loop: the names are
    known, the values are numbers, and the step is beyond all that was logged. Every other call goes their way.

    A training waits for this, thousands of times. Between two steps whatever is touched here has left the processor's
    caches, and a call of another function costs ten times what it costs in a loop, 1 to 1.5 us, and there were four of
    them. So this reads what `MetricValidator`, `MetricDedup` and `SpoolWriter` have; who changes these looks here (ADR
    0034)."""

    __slots__ = ("_dedup", "_forks", "_shapes", "_validator", "_waiting", "_writer")

    def __init__(self, validator: MetricValidator, writer: SpoolWriter) -> None:
        self._validator, self._shapes, self._dedup = validator, validator.shapes, validator.dedup
        self._writer, self._waiting, self._forks = writer, writer.waiting, writer.forks

    def points(self, values: Mapping[str, float], step: int) -> None:
        """Log points of now. Raises as `MetricValidator.new` and `SpoolWriter.packed`."""
        own = dict(values)  # at once: another thread may change it
        known = self._shapes.get(tuple(own))
        dedup = self._dedup
        logged = dedup.logged
        if known is None or type(step) is not int or not dedup.highest < step <= LARGEST:
            return self._other(own, step)
        names, pack = known
        try:
            packed = pack(*map(float, own.values()))  # `pack` would turn even Ctrl-C into an error of its own
        except (TypeError, ValueError, OverflowError, RuntimeError):
            return self._other(own, step)
        if self._forks != spool_writer.forks or len(packed) > _LONGEST:
            return self._other(own, step)
        claim = [names]
        if logged.setdefault(step, claim) is not claim:  # it was logged, or another thread was first
            return self._other(own, step)
        if len(logged) > EXACT:  # it is time to forget, or others did and this is not what counts any more
            return self._settled(logged, claim, names, packed, step)
        self._waiting.append((names, packed, time_ns() // 1_000_000, step))
        if len(self._waiting) >= FLUSH_AT:
            self._writer.flush()
        return None

    def _settled(self, logged: dict[int, Claim], claim: Claim, names: Names, packed: bytes, step: int) -> None:
        new = self._dedup.settled(logged, claim, names, step)
        if new:
            self._writer.packed(new, packed if new is names else _of(packed, names, new), step)

    def _other(self, values: Mapping[str, float], step: int) -> None:
        self._writer.require_own()  # before the lock, which in a forked process nobody may ever let go of
        new, packed, step = self._validator.new(values, step)
        if new:
            self._writer.packed(new, packed, step)


def _of(packed: bytes, names: Names, some: Names) -> bytes:
    """The values of some of these metrics."""
    values = dict(zip(names, unpacked(packed), strict=True))
    return packing(len(some)).pack(*(values[name] for name in some))


def _numbers(values: Mapping[str, float]) -> list[float]:
    """Each as a float. Raises UsageError for the first that is none."""
    found = []
    for name, value in values.items():
        try:
            found.append(float(value))
        except (TypeError, ValueError, OverflowError, RuntimeError) as error:  # torch's is a RuntimeError
            raise UsageError(f"metric {name!r} cannot be told as a float: {error}") from error
    return found


def require_names(names: Iterable[object]) -> None:
    """Refuse now, with UsageError, what MLflow would refuse later, when nobody is there to hear it."""
    for name in names:
        if not isinstance(name, str) or not _NAME.fullmatch(name) or posixpath.normpath(name) != name:
            raise UsageError(
                f"MLflow does not take {name!r} as a name",
                hint="letters, digits, '_', '-', '.', ':', '/' and spaces, at most 250, and no path like 'a/../b'",
            )
