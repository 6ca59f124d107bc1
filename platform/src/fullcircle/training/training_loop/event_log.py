"""Each rank's event log: an entry for each chunk; its writer, its readers, and the listeners.

A framed log (`core.framed_log`) of JSON objects, each with a line feed, so that it can be read with `less`, too. A
restarted rank appends to the same file and may write a step a second time, with the same numbers; a listener hears of
it a second time, and drops it where that matters (`DedupListener`). An entry that is torn (kill -9) or damaged is
skipped, and whoever follows the file is told so. What a version of before wrote, lines with checksums in
`rank-<r>.jsonl`, is read as the beginning.
"""

from __future__ import annotations

import dataclasses
import json
import os
import resource
import threading
import time
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from fullcircle.core.framed_log.frames import FrameWriter, read, scan
from fullcircle.core.framed_log.layout import FileKind
from fullcircle.core.records.training import EpochMetrics
from fullcircle.core.settings import home_unwritable
from fullcircle.training.jobs import Seconds

KIND = FileKind(magic=b"fcev")
FOLLOW_EVERY_S = 0.1
LOAD_EVERY_S = 5.0
"""How often a rank notes what it takes of its machine; the first time with its first steps."""


class Listener(Protocol):
    """Whoever wants to hear how a training goes, in the order of its doing. What a rank that replaced another one does
    again is told again, with the same numbers: a run drops it by itself, others have `DedupListener`."""

    def epoch(self, metrics: EpochMetrics) -> None:
        """An epoch was done, or was found done in a checkpoint."""
        ...

    def steps(self, first: int, losses: Sequence[float], norms: Sequence[float], rate: float, /) -> None:
        """Steps `first`, `first + 1`, ... were done at `rate` samples a second of the whole job."""
        ...

    def note(self, text: str) -> None:
        """A sentence for people: a damaged checkpoint, a resume."""
        ...


class NullListener:
    """A Listener that does nothing."""

    def epoch(self, metrics: EpochMetrics) -> None:
        """Nothing."""

    def steps(self, first: int, losses: Sequence[float], norms: Sequence[float], rate: float) -> None:
        """Nothing."""

    def note(self, text: str) -> None:
        """Nothing."""


class EventLog:
    """Writes one rank's event log; `listener` hears at once what is written (in the process that trains inline)."""

    def __init__(self, path: Path, listener: Listener | None = None) -> None:
        self.path = path
        self._listener = listener
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._log = _opened(path)
        except OSError as error:
            raise home_unwritable(path.parent, error) from error
        self._load_at, self._load_due, self._cpu_s = time.time(), 0.0, _cpu_s()

    def write(self, kind: str, **values: Any) -> None:
        """Append one entry; it is in the file (not on the disk) when this returns. Raises HomeUnwritable."""
        entry = {"kind": kind, **values}
        try:
            self._log.append(f"{json.dumps(entry)}\n".encode())
        except OSError as error:
            raise home_unwritable(self.path.parent, error) from error
        if self._listener:
            tell(self._listener, entry)

    def steps(
        self,
        first: int,
        epoch: int,
        losses: Sequence[float],
        norms: Sequence[float],
        checksums: Sequence[int],
        rate: float,
        seconds: Seconds,
    ) -> None:
        """A chunk was learned."""
        self.write(
            "steps",
            first=first,
            epoch=epoch,
            losses=list(losses),
            norms=list(norms),
            checksums=list(checksums),
            rate=rate,
            seconds=dataclasses.asdict(seconds),
        )
        if time.monotonic() >= self._load_due:
            self._load()

    def epoch(self, metrics: EpochMetrics) -> None:
        """An epoch was done."""
        self.write("epoch", **dataclasses.asdict(metrics))

    def note(self, text: str) -> None:
        """A sentence for people."""
        self.write("note", text=text)

    def _load(self) -> None:
        now, cpu_s = time.time(), _cpu_s()
        values = {
            "cpu_percent": 100 * (cpu_s - self._cpu_s) / max(now - self._load_at, 1e-3),
            "peak_memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        }
        self._load_at, self._cpu_s, self._load_due = now, cpu_s, time.monotonic() + LOAD_EVERY_S
        self.write("load", at=now, values=values)

    def close(self) -> None:
        """Close the file. Safe to call twice."""
        self._log.close()


def tell(listener: Listener, entry: dict[str, Any]) -> None:
    """Tell a listener one entry of an event log."""
    kind = entry["kind"]
    if kind == "steps":
        listener.steps(entry["first"], entry["losses"], entry["norms"], entry["rate"])
    elif kind == "epoch":
        listener.epoch(EpochMetrics.of({key: value for key, value in entry.items() if key != "kind"}))
    elif kind == "note":
        listener.note(entry["text"])


class DedupListener:
    """A Listener that passes each epoch and each step on once, and all notes."""

    def __init__(self, listener: Listener) -> None:
        self._listener = listener
        self._epoch = self._step = 0
        self.note = listener.note

    def epoch(self, metrics: EpochMetrics) -> None:
        """An epoch was done."""
        if metrics.epoch > self._epoch:
            self._epoch = metrics.epoch
            self._listener.epoch(metrics)

    def steps(self, first: int, losses: Sequence[float], norms: Sequence[float], rate: float) -> None:
        """Steps were done."""
        seen = max(0, self._step + 1 - first)
        if seen < len(losses):
            self._step = first + len(losses) - 1
            self._listener.steps(first + seen, losses[seen:], norms[seen:], rate)


def event_log_path(folder: Path, rank: int = 0) -> Path:
    """Where a rank of a job has its event log."""
    return folder / f"rank-{rank}.events"


def read_events(path: Path) -> Iterator[dict[str, Any]]:
    """The entries of an event log, one after the other; what is torn or damaged is left out."""
    yield from read_earlier(path)
    if path.exists():
        for found in scan(path, KIND):
            yield from (json.loads(payload) for payload, _ in found.payloads)


def read_earlier(path: Path) -> Iterator[dict[str, Any]]:
    """What a version of before wrote of this log: `<JSON> <tab> <CRC-32 of the JSON, 8 hexadecimal digits>` a line."""
    earlier = path.with_suffix(".jsonl")
    if earlier.exists():
        for line in earlier.read_bytes().splitlines():
            text, _, checksum = line.rpartition(b"\t")
            if checksum == f"{zlib.crc32(text):08x}".encode():
                yield json.loads(text)


class EventReader:
    """Reads what is added to an event log.

    Args:
        from_now: not what is in it already.
    """

    def __init__(self, path: Path, *, from_now: bool = False) -> None:
        self._path, self._at = path, 0
        if from_now and path.exists():
            *_, last = scan(path, KIND)
            self._at = last.offset

    def new(self) -> list[dict[str, Any]]:
        """The whole entries since the last call; in the place of damage a note that says so."""
        if not self._path.exists():
            return []
        found = read(self._path, KIND, self._at)
        events = [(offset, json.loads(payload)) for payload, offset in found.payloads]
        for start, end in found.gaps:
            what = f"{end - start} bytes at {start} of {self._path} are torn or damaged and were left out"
            events.append((end, {"kind": "note", "text": what}))
        self._at = max(self._at, found.offset)
        return [event for _, event in sorted(events, key=lambda each: each[0])]


@contextmanager
def follow(path: Path, listener: Listener) -> Iterator[None]:
    """Tell a listener, from a thread, what another process writes into an event log while the block runs, and the rest
    of it at the end. An error of the listener ends the following and is raised when the block ends well."""
    follower = _Follower(path, listener)
    thread = threading.Thread(target=follower.run, name="event-log", daemon=True)
    thread.start()
    try:
        yield
    finally:
        follower.ended.set()
        thread.join()
    if follower.error is not None:
        raise follower.error


class _Follower:
    def __init__(self, path: Path, listener: Listener) -> None:
        self.ended = threading.Event()
        self.error: BaseException | None = None
        self._listener = listener
        self._events = EventReader(path, from_now=True)

    def run(self) -> None:
        try:
            while not self.ended.wait(FOLLOW_EVERY_S):
                self._read()
            self._read()
        except BaseException as error:  # noqa: BLE001 - it is raised in the thread that waits
            self.error = error

    def _read(self) -> None:
        for entry in self._events.new():
            tell(self._listener, entry)


def _opened(path: Path) -> FrameWriter:
    try:
        return FrameWriter(path, KIND, resume=True)
    except FileExistsError:  # no log at all: it is kept, and is no reason not to train
        path.rename(path.with_name(f"{path.name}.damaged-{time.time_ns()}"))
        return FrameWriter(path, KIND, resume=True)


def _cpu_s() -> float:
    times = os.times()
    return times.user + times.system
