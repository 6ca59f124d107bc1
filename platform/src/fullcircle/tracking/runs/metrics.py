"""Validates the metrics of a step, drops what the run has of them already, and passes the rest on to the spool.

Why the last steps are enough. A spool file is sent in the order of its writing, so of a metric whose steps ascend the
tracker has all up to some step. What stopped processes left is sent before a run is opened again; from then on "at or
before the last step that MLflow has" and "logged before" are the same. Steps that do not ascend (trials that end in
another order than they began in) are told apart one by one, as long as they are among the newest.
"""

from __future__ import annotations

import contextlib
import operator
import posixpath
import re
import threading
from collections.abc import Callable, Collection, Iterable, Mapping
from time import time_ns
from typing import SupportsIndex

from fullcircle.core.errors import UsageError
from fullcircle.tracking.spool import spool_file
from fullcircle.tracking.spool.spool_file import BATCH, FLUSH_AT, Names, SpoolWriter, packing, unpacked

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

    def beyond(self, keys: Iterable[str], step: int) -> bool:
        """Whether the run has none of these metrics of this step or a later one."""
        wanted = set(keys)
        with self._lock:
            if any(step <= self._floor.get(key, _NONE) for key in wanted):
                return False
            later = (claim for at, claim in _items(self.logged) if at >= step)
            return all(wanted.isdisjoint(names) for claim in later for names in claim)

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
        self.has, self.beyond = dedup.has, dedup.beyond

    def new(self, values: Mapping[str, float], step: int) -> tuple[Names, bytes, int]:
        """(the metrics that the run does not have of this step, their values as `spool_file.packing` has them, the step
        as a plain int); these are to be logged now. Nothing is remembered of what is refused.

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
        if self._forks != spool_file.forks or len(packed) > _LONGEST:
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
