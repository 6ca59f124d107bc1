"""Progress reporting of long work: a protocol, and its default that logs. The CLI installs a terminal view."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Protocol

from fullcircle.core.records.training import EpochMetrics
from fullcircle.core.security.untrusted import visible

log = logging.getLogger("fullcircle")


class Progress(Protocol):
    """Listens to long work. Guarantee: no method raises or waits."""

    def stage(self, name: str, detail: str = "") -> None:
        """A new stage began."""
        ...

    def epoch(self, framework: str, metrics: EpochMetrics, epochs: int) -> None:
        """A trainer finished one of at most `epochs` epochs."""
        ...

    def moved(self, framework: str, epochs_done: float, epochs: int, samples_per_second: float) -> None:
        """A trainer did some steps; of at most `epochs` epochs so many are done, the running one in part."""
        ...

    def advance(self, name: str, done: int, total: int) -> None:
        """`done` of `total` units of the stage `name` are done."""
        ...

    def note(self, text: str) -> None:
        """Something that the reader would want to know."""
        ...


class LogProgress:
    """Progress as log lines: one a stage, one an epoch."""

    def stage(self, name: str, detail: str = "") -> None:
        """Log the stage."""
        log.info("%s %s", name, visible(detail))

    def epoch(self, framework: str, metrics: EpochMetrics, epochs: int) -> None:
        """Log the epoch's losses."""
        log.info(
            "%s epoch %d/%d: train loss %.4f, %s, %.1f s",
            *(framework, metrics.epoch, epochs, metrics.train_loss, metrics, metrics.seconds),
        )

    def moved(self, framework: str, epochs_done: float, epochs: int, samples_per_second: float) -> None:
        """Nothing: a line a step would flood a log."""

    def advance(self, name: str, done: int, total: int) -> None:
        """Log only the end: a line a batch would flood a log."""
        if done == total:
            log.info("%s: %d of %d", name, done, total)

    def note(self, text: str) -> None:
        """Log the note."""
        log.info("%s", visible(text))


_current: ContextVar[Progress | None] = ContextVar("fullcircle_progress", default=None)
# A context variable, not a parameter of every stage: flows are called through Prefect, whose parameters must be JSON.


def current() -> Progress:
    """The progress that the caller installed, or log lines."""
    return _current.get() or LogProgress()


@contextlib.contextmanager
def shown_by(progress: Progress) -> Iterator[Progress]:
    """Within this block, `current()` is `progress`."""
    token = _current.set(progress)
    try:
        yield progress
    finally:
        _current.reset(token)
