"""Tells a point that is new from one that the run has: each (metric, step) is let through once. Pure.

Why the last steps are enough. A spool file is sent in the order of its writing, so of a metric whose steps ascend the
tracker has all up to some step. What stopped processes left is sent before a run is opened again; from then on "at or
before the last step that MLflow has" and "told before" are the same. Steps that do not ascend (trials that end in
another order than they began in) are told apart one by one, as long as they are among the newest.
"""

from __future__ import annotations

import contextlib
import operator
import threading
from collections.abc import Collection, Iterable, Mapping
from itertools import islice
from typing import SupportsIndex

from fullcircle.core.errors import UsageError

EXACT = 5000
"""Calls whose steps are kept one by one, at most. Of older ones each metric's last step is kept."""
_NONE = -(2**63)
LARGEST = 2**63 - 1
"""MLflow keeps a larger step as 0."""


def whole(step: SupportsIndex) -> int:
    """A step as the spool and MLflow have it; numpy's whole numbers are some. Raises UsageError for all others, now: a
    thread that finds one later could neither write it nor tell anybody."""
    try:
        found = int(operator.index(step))
    except TypeError:
        found = _NONE
    if not -LARGEST <= found <= LARGEST:
        raise UsageError(f"a step is a whole number of at most 64 bits, got {step!r}", hint="int(step), if it is one")
    return found


Told = tuple[tuple[str, ...]]
"""The metrics that were told of a step, wrapped, so that whoever puts it in knows it again as its own."""


class Repeats:
    """What a run has, and what it was told since. Safe for several threads; a month of steps does not make it grow.

    Args:
        last: the last step of each metric that the run has; all before it count as told.
        steps: of some of these metrics all steps that the run has, so that those between them are still new.

    Attributes:
        told: by step, what was told of the newest ones: a loop tells many metrics of each. A step beyond `highest` may
            be put in without the lock, with `setdefault`, which is one step of the interpreter: of two threads one is
            first. Whoever did so looks again, and goes on with `settled` where it is time to forget, or the step is
            not beyond `highest` any more.
        highest: of no step beyond it any metric counts as told, but for those in `told`.
    """

    def __init__(
        self, last: Mapping[str, int] | None = None, steps: Mapping[str, Collection[int]] | None = None
    ) -> None:
        exact = steps or {}
        self._lock = threading.Lock()
        self._floor = {key: step for key, step in (last or {}).items() if key not in exact}
        self.highest = max(self._floor.values(), default=_NONE)
        self.told: dict[int, Told] = {}
        for key, found in exact.items():
            for step in found:
                self.told[step] = ((*self._keys(step), key),)

    def new(self, keys: tuple[str, ...], step: int) -> tuple[str, ...]:
        """The metrics of which the run does not have this step; `keys` itself where these are all. From now on it has
        them. A loop that hands in the same tuple each time has it kept once."""
        with self._lock:
            return self._among(keys, step)

    def settled(self, mine: Told, step: int) -> tuple[str, ...]:
        """As `new`, behind what was put into `told` without the lock: it is time to forget, or another thread did."""
        with self._lock:
            if step <= self.highest and self.told.get(step) is mine:  # forgotten before us: it counts as told
                del self.told[step]
                return self._among(mine[0], step)
            if len(self.told) > EXACT:
                self._forget()
        return mine[0]

    def _among(self, keys: tuple[str, ...], step: int) -> tuple[str, ...]:
        while True:
            before = self.told.get(step)
            new = tuple(key for key in keys if not self._has(key, step))
            if not new:
                return ()
            if len(new) == len(keys):
                new = keys
            if before is not None:  # nobody else changes one that is there
                self.told[step] = ((*before[0], *new),)
                break
            mine: Told = (new,)
            if self.told.setdefault(step, mine) is mine:
                break
        if len(self.told) > EXACT:
            self._forget()
        return new

    def has(self, key: str, step: int) -> bool:
        """Whether the run has this point."""
        with self._lock:
            return self._has(key, step)

    def last(self, keys: Iterable[str]) -> int:
        """The last step of these metrics; 0 when there is none."""
        with self._lock:
            wanted = set(keys)
            floors = (step for key, step in self._floor.items() if key in wanted)
            return max([0, *floors, *(step for step, (keys,) in self._oldest() if not wanted.isdisjoint(keys))])

    def _has(self, key: str, step: int) -> bool:
        return step <= self._floor.get(key, _NONE) or key in self._keys(step)

    def _keys(self, step: int) -> tuple[str, ...]:
        told = self.told.get(step)
        return () if told is None else told[0]

    def _oldest(self, count: int | None = None) -> list[tuple[int, Told]]:
        """So many, in the order of telling; all when None."""
        while True:
            with contextlib.suppress(RuntimeError):  # a garbage collection let another thread put one in meanwhile
                return list(islice(self.told.items(), count))

    def _forget(self) -> None:
        oldest = self._oldest(EXACT // 2)
        last: dict[tuple[str, ...], int] = {}
        for step, (keys,) in oldest:
            last[keys] = max(step, last.get(keys, _NONE))
        for keys, step in last.items():
            for key in keys:
                self._floor[key] = max(step, self._floor.get(key, _NONE))
        # Before a step is let go: whoever puts it in again, without the lock, looks at `highest` behind that.
        self.highest = max(self._floor.values(), default=_NONE)
        for step, _ in oldest:
            del self.told[step]
