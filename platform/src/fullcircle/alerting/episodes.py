"""Episodes of one fault: when it opened, whether it goes on, and when it was over. Pure.

What is known of a fault is the sequence of checks of it, in the time of the data. An episode is a function of that
sequence alone, so the order in which windows were checked does not matter, and a check that could not judge the fault
changes nothing. To open after M of the last N checks is Amazon CloudWatch's rule of "M out of N" datapoints.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from fullcircle.core.project import Watch
from fullcircle.core.records.incidents import FaultState, Incident, WindowCheck


@dataclass(frozen=True, kw_only=True)
class Episode:
    """One span of time in which a fault was there.

    Attributes:
        last: the fault as the newest check found it, since the start of the first window that showed it.
        healthy: checks since then that found it gone, in a row.
        over: the end of the window that closed it; None while it is open.
    """

    last: Incident
    healthy: int = 0
    over: datetime | None = None


def episodes(
    checks: Sequence[WindowCheck], fault: Incident, watch: Watch, *, closed: Sequence[datetime] = ()
) -> tuple[Episode, ...]:
    """The episodes of a fault, oldest first; at most the last one is open.

    Args:
        checks: one a window, in any order.
        closed: ends of the windows with which somebody closed it by hand: what was seen until then is settled.
    """
    fold = _Fold(watch)
    by_hand = deque(sorted(closed))
    # Of two windows that end together the longer one comes first: the shorter one says more of how it is now.
    for check in sorted(checks, key=lambda each: (each.end, each.start)):
        while by_hand and by_hand[0] < check.end:
            fold.close(by_hand.popleft())
        if (found := check.found(fault)) is not None:
            fold.bad(found)
        elif check.state_of(fault) is FaultState.HEALTHY:
            fold.healthy(check.end)
    for at in by_hand:
        fold.close(at)
    return fold.all()


class _Fold:
    """What the checks so far come to."""

    def __init__(self, watch: Watch) -> None:
        self._watch = watch
        self._done: list[Episode] = []
        self._open: Episode | None = None
        self._recent: deque[Incident | None] = deque(maxlen=max(watch.of_checks, watch.checks_to_open))

    def bad(self, found: Incident) -> None:
        self._recent.append(found)
        since = found.since
        if self._open is not None:
            since = min(self._open.last.since, since)
        else:
            seen = [each for each in self._recent if each is not None]
            if len(seen) < self._watch.checks_to_open:
                return
            since = min(each.since for each in seen)
        self._open = Episode(last=replace(found, since=since))

    def healthy(self, end: datetime) -> None:
        self._recent.append(None)
        if self._open is None:
            return
        self._open = replace(self._open, healthy=self._open.healthy + 1)
        if self._open.healthy >= self._watch.checks_to_close:
            self.close(end)

    def close(self, at: datetime) -> None:
        self._recent.clear()
        if self._open is not None:
            self._done.append(replace(self._open, over=at))
            self._open = None

    def all(self) -> tuple[Episode, ...]:
        return (*self._done, *filter(None, (self._open,)))
