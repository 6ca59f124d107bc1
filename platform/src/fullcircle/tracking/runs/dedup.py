"""Drops metric points (name, step) that were already logged. Pure.

Why the last steps are enough. A spool file is sent in the order of its writing, so of a metric whose steps ascend the
tracker has all up to some step. What stopped processes left is sent before a run is opened again; from then on "at or
before the last step that MLflow has" and "logged before" are the same. Steps that do not ascend (trials that end in
another order than they began in) are told apart one by one, as long as they are among the newest.
"""

from __future__ import annotations

import contextlib
import operator
import threading
from collections.abc import Collection, Iterable, Mapping
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


Claim = list[tuple[str, ...]]
"""The metrics that were logged of a step, a set of names for each call. Whoever put it in knows it again as its own.
When it is forgotten it is emptied."""


class MetricDedup:
    """What a run has, and what was logged since. Safe for several threads; a month of steps does not make it grow.

    Args:
        last: the last step of each metric that the run has; all before it count as logged.
        steps: of some of these metrics all steps that the run has, so that those between them are still new.

    Attributes:
        logged: what was logged of the newest steps. A step beyond `highest` may be claimed without the lock, see below.
        highest: of no step beyond it any metric counts as logged, but for those in `logged`.

    Claiming without the lock. Read `logged`, then `highest`, then put a claim in with `setdefault`, which is one step
    of
    the interpreter: of two threads one is first. To forget is to take another dictionary when this one holds more than
    `EXACT` steps, and while that is done `highest` lets nobody claim. So when `logged` holds no more behind the claim,
    it is what counts, and the step is one's own; else `settled` says.
    """

    def __init__(
        self, last: Mapping[str, int] | None = None, steps: Mapping[str, Collection[int]] | None = None
    ) -> None:
        exact = steps or {}
        self._lock = threading.Lock()
        self._floor = {key: step for key, step in (last or {}).items() if key not in exact}
        self.highest = max(self._floor.values(), default=_NONE)
        self.logged: dict[int, Claim] = {}
        for key, found in exact.items():
            for step in found:
                self.logged.setdefault(step, []).append((key,))

    def new(self, keys: tuple[str, ...], step: int) -> tuple[str, ...]:
        """The metrics of which the run does not have this step; `keys` itself where these are all. From now on it has
        them. A loop that hands in the same tuple each time has it kept once."""
        with self._lock:
            return self._among(keys, step)

    def settled(self, logged: dict[int, Claim], claim: Claim, keys: tuple[str, ...], step: int) -> tuple[str, ...]:
        """As `new`, behind a claim that was put into `logged` without the lock."""
        with self._lock:
            if self.logged is logged:
                if len(logged) > EXACT:
                    self._forget()
                return keys
            # Another dictionary: the claim came before it was made, and was taken along, or forgotten as logged. Or it
            # came behind that, and is none: what counts is what was logged by now.
            if not claim or self.logged.get(step) is claim:
                return keys
            return self._among(keys, step)

    def _among(self, keys: tuple[str, ...], step: int) -> tuple[str, ...]:
        new = tuple(key for key in keys if not self._has(key, step))
        if not new:
            return ()
        if len(new) == len(keys):
            new = keys
        claim = [new]
        found = self.logged.setdefault(step, claim)
        if found is not claim:  # there before, or another thread claimed it since we looked
            new = tuple(key for key in new if not any(key in names for names in found))
            found.append(new)
        if len(self.logged) > EXACT:
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
            logged = (step for step, claim in _items(self.logged) if any(not wanted.isdisjoint(keys) for keys in claim))
            return max([0, *floors, *logged])

    def _has(self, key: str, step: int) -> bool:
        return step <= self._floor.get(key, _NONE) or any(key in keys for keys in self.logged.get(step, ()))

    def _forget(self) -> None:
        """Of the first half keep each metric's last step alone. Ctrl-C between any two lines leaves all that counts."""
        self.highest = LARGEST
        before = self.logged
        claims = _items(before)
        last: dict[tuple[str, ...], int] = {}
        for step, claim in claims[: EXACT // 2]:
            for keys in claim:
                last[keys] = max(step, last.get(keys, _NONE))
        for keys, step in last.items():
            for key in keys:
                self._floor[key] = max(step, self._floor.get(key, _NONE))
        for _, claim in claims[: EXACT // 2]:
            claim.clear()
        self.logged = dict(claims[EXACT // 2 :])
        # Whoever looked at `highest` before it was raised may have claimed meanwhile; from here on they ask `settled`.
        self.logged |= dict(_items(before)[len(claims) :])
        self.highest = max(self._floor.values(), default=_NONE)


def _items(logged: dict[int, Claim]) -> list[tuple[int, Claim]]:
    """All at one moment, in the order of logging."""
    while True:
        with contextlib.suppress(RuntimeError):  # a garbage collection let another thread put one in meanwhile
            return list(logged.items())
