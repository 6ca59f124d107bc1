"""Takes what a training tells of a step: finds it good, and tells what of it is new, or passes that on to the spool."""

from __future__ import annotations

import posixpath
import re
import struct
from collections.abc import Callable, Iterable, Mapping
from time import time_ns

from fullcircle.core.errors import UsageError
from fullcircle.tracking.repeats import EXACT, LARGEST, Repeats, Told, whole
from fullcircle.tracking.spool import writer as spool_writer
from fullcircle.tracking.spool.entries import Names, packing, unpacked
from fullcircle.tracking.spool.writer import BATCH, FLUSH_AT, Writer

_LONGEST = packing(BATCH).size
MOST_SHAPES = 1000
"""So many different sets of names are known by heart; loops tell a few."""
_NAME = re.compile(r"(?!\.\.?(/|$))[\w .:-][\w ./:-]{0,249}")
"""As `mlflow.utils.validation` has it, without a slash in front."""


class Intake:
    """What one opening of a run was told. Safe for several threads.

    Args:
        repeats: what the run has from before.
    """

    def __init__(self, repeats: Repeats) -> None:
        self.repeats = repeats
        self.shapes: dict[Names, tuple[Names, Callable[..., bytes]]] = {}
        """Sets of names that were found good: the one that is kept, and what packs its values."""
        self.has, self.last = repeats.has, repeats.last

    def new(self, values: Mapping[str, float], step: int) -> tuple[Names, bytes, int]:
        """(the metrics that the run does not have of this step, their values as `entries.packing` has them, the step as
        a plain int); these are to be told now. Nothing is remembered of what is refused.

        Raises:
            UsageError: a name that MLflow does not take, a value that is no number, or a step that is no whole number.
        """
        step = whole(step)
        names = tuple(values)
        names, pack = self.shapes.get(names) or self._shaped(names)
        try:
            packed = pack(*values.values())
        except struct.error:
            packed = pack(*_numbers(values))
        new = self.repeats.new(names, step)
        return new, (packed if new is names else _of(packed, names, new)), step

    def _shaped(self, names: Names) -> tuple[Names, Callable[..., bytes]]:
        """The names of a call, which are found good, and kept: a loop tells the same ones again."""
        require_names(names)
        shape = (names, packing(len(names)).pack)
        if not names:  # nothing is told
            return shape
        if len(self.shapes) >= MOST_SHAPES:
            self.shapes.clear()
        return self.shapes.setdefault(names, shape)


class HotPath:
    """`Intake.new` and `Writer.packed` in one function, for the usual call of a loop: the names are known, the values
    are numbers, and the step is beyond all that was told. Every other call goes their way.

    A training waits for this, thousands of times. Between two steps whatever is touched here has left the processor's
    caches, and a call of another function costs ten times what it costs in a loop: in four functions it took 15 us,
    in one it takes 10. So it reads what `Intake`, `Repeats` and `Writer` have; whoever changes these looks here.
    """

    __slots__ = ("_forks", "_intake", "_repeats", "_shapes", "_told", "_waiting", "_writer")

    def __init__(self, intake: Intake, writer: Writer) -> None:
        self._intake, self._shapes = intake, intake.shapes
        self._repeats, self._told = intake.repeats, intake.repeats.told
        self._writer, self._waiting, self._forks = writer, writer.waiting, writer.forks

    def points(self, values: Mapping[str, float], step: int) -> None:
        """Tell points of now. Raises as `Intake.new` and `Writer.packed`."""
        known = self._shapes.get(tuple(values))
        if known is None or type(step) is not int or not self._repeats.highest < step <= LARGEST:
            return self._other(values, step)
        try:
            packed = known[1](*values.values())
        except struct.error:
            return self._other(values, step)
        mine = (known[0],)
        if self._forks != spool_writer.forks or len(packed) > _LONGEST or self._told.setdefault(step, mine) is not mine:
            return self._other(values, step)
        if len(self._told) > EXACT or step <= self._repeats.highest:
            return self._settled(mine, packed, step)
        self._waiting.append((known[0], packed, time_ns() // 1_000_000, step))
        if len(self._waiting) >= FLUSH_AT:
            self._writer.flush()
        return None

    def _settled(self, mine: Told, packed: bytes, step: int) -> None:
        new = self._repeats.settled(mine, step)
        if new:
            self._writer.packed(new, packed if new is mine[0] else _of(packed, mine[0], new), step)

    def _other(self, values: Mapping[str, float], step: int) -> None:
        new, packed, step = self._intake.new(values, step)
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
        except (TypeError, ValueError, OverflowError, RuntimeError) as error:
            raise UsageError(f"metric {name!r} is no number: {error}", hint="tell it as a float") from error
    return found


def require_names(names: Iterable[str]) -> None:
    """Refuse now, with UsageError, what MLflow would refuse later, when nobody is there to hear it."""
    for name in names:
        if not _NAME.fullmatch(name) or posixpath.normpath(name) != name:
            raise UsageError(
                f"MLflow does not take {name!r} as a name",
                hint="letters, digits, '_', '-', '.', ':', '/' and spaces, at most 250, and no path like 'a/../b'",
            )
