"""Takes what a training tells of a step: finds it good, and tells what of it is new. A training waits for it."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable, Mapping

from fullcircle.core.errors import UsageError
from fullcircle.tracking.repeats import LARGEST, Repeats, whole

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
        self._shapes: dict[tuple[str, ...], tuple[str, ...]] = {}
        self.has, self.last = repeats.has, repeats.last

    def new(self, values: Mapping[str, float], step: int) -> tuple[dict[str, float], int]:
        """(what of it the run does not have, the step as a plain int); it is to be told now. Nothing is remembered of
        what is refused.

        A training waits for this, thousands of times, and whatever is touched here has left the processor's caches
        since the last time: between two steps a call of another function costs ten times what it costs in a loop.

        Raises:
            UsageError: a name that MLflow does not take, or a step that is no whole number.
        """
        if type(step) is not int or not -LARGEST <= step <= LARGEST:
            step = whole(step)
        own = dict(values)
        for each in own.values():
            if type(each) is not float:
                own = {key: float(value) for key, value in own.items()}
                break
        keys = tuple(own)
        keys = self._shapes.get(keys) or self._shaped(keys)
        new = self._repeats.new(keys, step)
        return (own if new is keys else {key: own[key] for key in new}), step

    def _shaped(self, keys: tuple[str, ...]) -> tuple[str, ...]:
        """The names of a call, which are found good, and kept: a loop tells the same ones again."""
        require_names(keys)
        if len(self._shapes) >= MOST_SHAPES:
            self._shapes.clear()
        return self._shapes.setdefault(keys, keys)


def require_names(names: Iterable[str]) -> None:
    """Refuse now, with UsageError, what MLflow would refuse later, when nobody is there to hear it."""
    for name in names:
        if not _NAME.fullmatch(name) or posixpath.normpath(name) != name:
            raise UsageError(
                f"MLflow does not take {name!r} as a name",
                hint="letters, digits, '_', '-', '.', ':', '/' and spaces, at most 250, and no path like 'a/../b'",
            )
