"""Writes a spool file: the caller appends to a list, a thread writes what waits five times a second."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from fullcircle.core.errors import UsageError
from fullcircle.core.framed_log.writer import FrameWriter
from fullcircle.core.settings import home_unwritable
from fullcircle.tracking.spool.entries import KIND, Entry, Names, Points, Row, encode, packed, packing

FLUSH_EVERY_S = 0.2
"""Points wait in memory at most about this long; a kill -9 of the process loses no others."""
FLUSH_AT = 1024
"""Waiting calls of `points` at which the caller itself writes: about 64 kB of a few metrics each."""
SYNC_EVERY_S = 2.0
"""The file is forced to the disk this often, and at its end: a power cut loses no more."""
BATCH = 1000
"""MLflow's limit of points for one request, and so for one frame."""
_VALUE = packing(1).size

forks = 0
"""How often this process and those before it were forked. Asking the system for the process id costs a step more."""


def _forked() -> None:
    global forks
    forks += 1


os.register_at_fork(after_in_child=_forked)


class SpoolWriter:
    """Appends entries to a new spool file, in the order of the calls. Safe for several threads; in a process that was
    forked every call raises UsageError, for it would write over what the process that made it writes.

    Attributes:
        waiting: rows of at most `BATCH` metrics, to which `runs.metric_validation.FastMetricPath` appends.
        forks: the module's, when it was made; as long as these are the same no fork lies between.

    Raises:
        FileExistsError: there is such a file; one file has one writer.
        HomeUnwritable: the file cannot be made.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.forks = forks
        self.waiting: deque[Row] = deque()
        self._writing = threading.RLock()
        self._ended = threading.Event()
        try:
            self._log = FrameWriter(path, KIND)
        except FileExistsError:
            raise
        except OSError as error:
            raise home_unwritable(path.parent, error) from error
        self._thread = threading.Thread(target=self._flushing, name="spool-flush", daemon=True)
        self._thread.start()

    def points(self, values: Mapping[str, float], step: int) -> None:
        """Append points of now, as `packed`."""
        self.packed(*packed(values), step)

    def packed(self, names: Names, values: bytes, step: int) -> None:
        """Append points of now, see `entries.Row`. Costs an append to a list; they are in the file about 0.2 s later.

        Raises HomeUnwritable, seldom: when so many wait that this call has to write them and cannot.
        """
        self.require_own()
        now_ms = time.time_ns() // 1_000_000
        if len(names) <= BATCH:
            self.waiting.append((names, values, now_ms, step))
        else:
            for start in range(0, len(names), BATCH):
                part = values[_VALUE * start : _VALUE * (start + BATCH)]
                self.waiting.append((names[start : start + BATCH], part, now_ms, step))
        if len(self.waiting) >= FLUSH_AT:
            self.flush()

    def entry(self, entry: Entry) -> None:
        """Write an entry behind all that waits; it is in the file when this returns. Raises HomeUnwritable."""
        self.require_own()
        with self._writing:
            self._gather()
            self._log.put([encode(entry)])
            self._write()

    def flush(self) -> None:
        """Write what waits into the file. Raises HomeUnwritable; what could not be written still waits."""
        self.require_own()
        with self._writing:
            self._gather()
            self._write()

    def require_own(self) -> None:
        """Raise UsageError in a process that was forked from the one that made it."""
        if self.forks != forks:
            raise UsageError(
                f"process {os.getpid()} was forked from the one that opened the run, and cannot tell it anything",
                hint="tell it there, or give what is to be told back to that process",
            )

    def close(self) -> None:
        """Write what waits, force it to the disk and close the file. Safe to call twice. Raises HomeUnwritable."""
        self.require_own()
        self._ended.set()
        with self._writing:
            if self._log.closed:
                return
            try:
                self.flush()
                with contextlib.suppress(OSError):
                    self._log.sync()
            finally:
                self._log.close()

    def _gather(self) -> None:
        rows = tuple(self.waiting.copy())  # in one step: others append meanwhile
        self._log.put(_payloads(rows))
        # Not sooner: Ctrl-C may come between any two lines. A point that is in the file twice is one at the tracker.
        for _ in rows:
            self.waiting.popleft()

    def _write(self) -> None:
        try:
            self._log.flush()
        except OSError as error:
            raise home_unwritable(self.path.parent, error) from error

    def _flushing(self) -> None:
        synced = time.monotonic()
        while not self._ended.wait(FLUSH_EVERY_S):
            # What cannot be written waits on; the caller hears of it when it writes itself.
            with contextlib.suppress(Exception):
                self.flush()
            if time.monotonic() - synced > SYNC_EVERY_S:
                self._sync()
                synced = time.monotonic()

    def _sync(self) -> None:
        with contextlib.suppress(OSError):  # closed meanwhile, too
            self._log.sync()  # outside the lock: a slow disk must not hold the training


def _payloads(rows: Sequence[Row]) -> Iterator[bytes]:
    """The rows as payloads of at most `BATCH` points each."""
    some: list[Row] = []
    count = 0
    for row in rows:
        count += len(row[0])
        if count > BATCH:
            yield encode(Points.of(some))
            some, count = [], len(row[0])
        some.append(row)
    if some:
        yield encode(Points.of(some))
