"""A spool file: the entries of which it is made, and its writing end, where the caller appends to a list."""

from __future__ import annotations

import contextlib
import os
import struct
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path

import msgspec

from fullcircle.core.errors import SpoolTooNew, UsageError
from fullcircle.core.framed_log.frames import FrameWriter
from fullcircle.core.framed_log.layout import Earlier, FileKind
from fullcircle.core.settings import home_unwritable

TOO_NEW = "send it with the version of fullcircle that wrote it, or a newer one"
KIND = FileKind(
    magic=b"fcsp",
    earlier=Earlier(head=b"fcsp\x01\0\0\0\xe8\xd8 \x05", sums_length=True),
    too_new=SpoolTooNew,
    hint=TOO_NEW,
)
"""A spool file, whose payloads are the entries below."""

Point = tuple[str, float, int, int]
"""(metric, value, milliseconds since the epoch, step). The time is that of its making and never changes: MLflow takes a
point with the same time, step and value for the same one, so that sending it again does not double it."""


Names = tuple[str, ...]
Row = tuple[Names, bytes, int, int]
"""What one call logged: (metrics, their values, milliseconds since the epoch, step). Of the values only their bytes are
kept, see `packing`: a training that logs each step fills its processor's caches with whatever is kept for long."""


@lru_cache(maxsize=256)
def packing(count: int) -> struct.Struct:
    """How so many values are kept: float64, little-endian, one behind the other."""
    return struct.Struct(f"<{count}d")


def packed(values: Mapping[str, float]) -> tuple[Names, bytes]:
    """Metrics and their values as a `Row` has them."""
    return tuple(values), packing(len(values)).pack(*values.values())


def unpacked(values: bytes) -> tuple[float, ...]:
    """The values of a `Row`."""
    return packing(len(values) // packing(1).size).unpack(values)


class Points(msgspec.Struct, tag="rows", array_like=True, frozen=True):
    """Points of metrics, at most 1,000: what MLflow takes in one request. Written as they came, a call a row: taking
    them apart is the sender's work, not the training's.

    Attributes:
        names: the different sets of metrics.
        rows: (the set's place in `names`, the values as `packing` has them, milliseconds since the epoch, step).
    """

    names: list[Names]
    rows: list[tuple[int, bytes, int, int]]

    @classmethod
    def of(cls, rows: Iterable[Row]) -> Points:
        """These rows."""
        places: dict[Names, int] = {}
        last: Names | None = None
        place, found = 0, []
        for names, values, at_ms, step in rows:
            if names is not last:  # a loop hands in the same tuple each time
                place, last = places.setdefault(names, len(places)), names
            found.append((place, values, at_ms, step))
        return cls(list(places), found)

    def points(self) -> list[Point]:
        """Each of them."""
        return [
            (key, value, at_ms, step)
            for place, values, at_ms, step in self.rows
            for key, value in zip(self.names[place], unpacked(values), strict=True)
        ]

    def __len__(self) -> int:
        return sum(len(self.names[place]) for place, *_ in self.rows)


class _Before(msgspec.Struct, tag="points", array_like=True, frozen=True):
    """Points as they were written before they were packed; spools that wait may hold some."""

    rows: list[tuple[dict[str, float], int, int]]


class Params(msgspec.Struct, tag="params", array_like=True, frozen=True):
    """Parameters as text."""

    values: dict[str, str]


class Tags(msgspec.Struct, tag="tags", array_like=True, frozen=True):
    """Tags of the run."""

    values: dict[str, str]


class Inputs(msgspec.Struct, tag="inputs", array_like=True, frozen=True):
    """A dataset that the run used, in MLflow's fields."""

    name: str
    digest: str
    source_type: str
    source: str
    profile: str
    context: str


class Artifact(msgspec.Struct, tag="artifact", array_like=True, frozen=True):
    """A file that is kept in the spool until the tracker has it.

    Attributes:
        file: its path below the spool's folder.
        folder: the folder within the run; "" for its root.
        sha256: hexadecimal digest of its bytes.
        size: in bytes.
    """

    file: str
    folder: str
    sha256: str
    size: int


class Status(msgspec.Struct, tag="status", array_like=True, frozen=True):
    """How the run ended, or that it was paused (SCHEDULED); the time in milliseconds since the epoch."""

    status: str
    at_ms: int


Entry = Points | Params | Tags | Inputs | Artifact | Status

_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Entry | _Before)


def encode(entry: Entry) -> bytes:
    """An entry as the payload of a frame."""
    return _encoder.encode(entry)


def decode(payload: bytes) -> Entry:
    """The entry of a payload. Raises SpoolTooNew when it is none of this version's."""
    try:
        entry: Entry | _Before = _decoder.decode(payload)
    except msgspec.DecodeError as error:
        raise SpoolTooNew(
            f"a spool holds an entry that this version does not know ({error})",
            hint=TOO_NEW,
        ) from error
    if isinstance(entry, _Before):
        return Points.of((*packed(values), at_ms, step) for values, at_ms, step in entry.rows)
    return entry


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
        waiting: rows of at most `BATCH` metrics, to which `runs.metrics.FastMetricPath` appends.
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
        """Append points of now, see `Row`. Costs an append to a list; they are in the file about 0.2 s later.

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
