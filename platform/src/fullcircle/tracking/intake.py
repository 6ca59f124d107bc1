"""Takes what a training tells of a step: finds it good, and tells what of it is new. A training waits for it."""

from __future__ import annotations

import posixpath
import re
import struct
from collections.abc import Callable, Iterable, Mapping

from fullcircle.core.errors import UsageError
from fullcircle.tracking.repeats import LARGEST, Repeats, whole
from fullcircle.tracking.spool.entries import Names, packing, unpacked

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
        self._repeats = repeats
        self._shapes: dict[Names, tuple[Names, Callable[..., bytes]]] = {}
        self.has, self.last = repeats.has, repeats.last

    def new(self, values: Mapping[str, float], step: int) -> tuple[Names, bytes, int]:
        """(the metrics that the run does not have of this step, their values as `entries.packing` has them, the step as
        a plain int); these are to be told now. Nothing is remembered of what is refused.

        A training waits for this, thousands of times, and whatever is touched here has left the processor's caches
        since the last time: between two steps a call of another function costs ten times what it costs in a loop.

        Raises:
            UsageError: a name that MLflow does not take, a value that is no number, or a step that is no whole number.
        """
        if type(step) is not int or not -LARGEST <= step <= LARGEST:
            step = whole(step)
        names = tuple(values)
        names, pack = self._shapes.get(names) or self._shaped(names)
        try:
            packed = pack(*values.values())
        except struct.error:
            packed = pack(*_numbers(values))
        new = self._repeats.new(names, step)
        return new, (packed if new is names else _of(packed, names, new)), step

    def _shaped(self, names: Names) -> tuple[Names, Callable[..., bytes]]:
        """The names of a call, which are found good, and kept: a loop tells the same ones again."""
        require_names(names)
        if len(self._shapes) >= MOST_SHAPES:
            self._shapes.clear()
        return self._shapes.setdefault(names, (names, packing(len(names)).pack))


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
