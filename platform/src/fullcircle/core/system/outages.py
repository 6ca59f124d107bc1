"""Waits for a service that is away and comes back: a tracking server, a database that somebody else holds.

Nobody waits unless a use case says so (`patient`): a command that only reads tells within seconds that it cannot. One
that has trained for an hour waits, says so in one line, and goes on. The wait may be ended in whatever way: what was
done is written down before.
"""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import UTC, datetime
from types import FrameType
from typing import TypeVar

from fullcircle.core.errors import Away, Preempted

T = TypeVar("T")

FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.5, 30.0
"""Between two tries, each one twice as long as the one before: a server that comes back is not stormed."""


@dataclass
class Patience:
    """How long a use case waits for what is away, in one outage.

    Attributes:
        limit_s: 0: not at all.
        say: tells the one line, and that it is over.
        kept: where all is that was done so far.
        setting: the name of the setting that the limit is from, for the message.
        used_up: the limit was reached once: nobody waits again for the same.
    """

    limit_s: float
    say: Callable[[str], None]
    kept: str
    setting: str
    used_up: bool = False


_patience: ContextVar[Patience | None] = ContextVar("fullcircle_patience", default=None)


@contextlib.contextmanager
def patient(patience: Patience) -> Iterator[None]:
    """In this block whoever `wait_out`s waits. Within another such block the outer one counts.

    Threads that the block starts do not wait: the one that sends a spool tries again by itself.
    """
    if _patience.get() is not None:
        yield
        return
    token = _patience.set(patience)
    try:
        yield
    finally:
        _patience.reset(token)


@contextlib.contextmanager
def impatient() -> Iterator[None]:
    """In this block nobody waits: there is another way to go on."""
    token = _patience.set(None)
    try:
        yield
    finally:
        _patience.reset(token)


def is_patient() -> bool:
    """Whether what is away is waited for here."""
    found = _patience.get()
    return found is not None and not found.used_up and found.limit_s > 0


def wait_out(ask: Callable[[], T]) -> T:
    """What `ask` returns; asked again while it raises Away, as long as the patience lasts. Safe to nest.

    Args:
        ask: may be called any number of times.

    Raises:
        Away: nobody is patient here, or the limit was reached; the hint then says so.
    """
    try:
        return ask()
    except Away as error:
        here = _patience.get()
        if here is None or not is_patient():
            raise
        since_s = time.monotonic()
        with _told_to_stop(error):
            here.say(_line(error, datetime.now(UTC), here))
            found = _waited(ask, error, here, since_s)
        here.say(f"it answers again, after {span(time.monotonic() - since_s)}: going on")
        return found


def _waited(ask: Callable[[], T], error: Away, patience: Patience, since_s: float) -> T:
    pause_s = FIRST_PAUSE_S
    while True:
        left_s = min(patience.limit_s, error.worth_s) - (time.monotonic() - since_s)
        if left_s <= 0:
            patience.used_up = True
            raise _given_up(error, patience, time.monotonic() - since_s) from error
        time.sleep(min(pause_s, left_s))
        pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
        try:
            return ask()
        except Away as again:
            error = again


@contextlib.contextmanager
def _told_to_stop(error: Away) -> Iterator[None]:
    """SIGTERM in the block raises Preempted, unless somebody else listens for it: what was done can be gone on with."""
    ours = threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    if not ours:
        yield
        return

    def stop(signum: int, frame: FrameType | None) -> None:
        raise Preempted(f"told to stop while {error.whom} was away ({error.why})", hint="the same command goes on")

    signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def span(seconds: float) -> str:
    """So many seconds in words: `90 s`, `5 min`, `12 h`."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.0f} h"


def _line(error: Away, since: datetime, patience: Patience) -> str:
    limit = span(min(patience.limit_s, error.worth_s))
    return (
        f"{error.whom} is away since {since:%Y-%m-%d %H:%M:%S} UTC ({error.why}); everything is safe in "
        f"{patience.kept}; waiting for up to {limit}, Ctrl-C is safe"
    )


def _given_up(error: Away, patience: Patience, waited_s: float) -> Away:
    hint = f"the same command goes on from what is in {patience.kept}; {patience.setting} says how long it waits"
    return type(error)(
        f"{error.what}, for {span(waited_s)}", hint=hint, whom=error.whom, why=error.why, worth_s=error.worth_s
    )
