"""Reads and writes framed logs: whole frames or none, in order, damage passed over and named, and onto the disk."""

from __future__ import annotations

import contextlib
import os
import secrets
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from fullcircle.core.framed_log.layout import (
    BARE,
    FRAME,
    HEAD_BYTES,
    LONGEST,
    MARKER,
    SUM,
    VERSION,
    End,
    FileKind,
    Layout,
    head,
    layout_of,
)
from fullcircle.core.system.files import fsync

BLOCK = 1 << 20


@dataclass(frozen=True, kw_only=True)
class Frames:
    """Good frames of a file, from an offset on.

    Attributes:
        payloads: in the order of writing, each with the offset behind its frame.
        gaps: (from, to) of damaged bytes with good frames behind them, which were passed over.
        offset: behind the last good frame.
        end: what is there; with TORN and DAMAGED, bytes follow `offset` that are no good frame.
        version: of the file; 1 for one of before.
        marker: of the file; b"" for one of before, and for one without a good head.
    """

    payloads: Sequence[tuple[bytes, int]] = ()
    gaps: Sequence[tuple[int, int]] = ()
    offset: int = 0
    end: End = End.WHOLE
    version: int = VERSION
    marker: bytes = b""

    @property
    def frame_bytes(self) -> int:
        """Bytes of a frame in front of its payload."""
        return FRAME.size if self.marker else BARE.size


def read(path: Path, kind: FileKind, offset: int = 0, *, limit: int | None = None, skip: bool = True) -> Frames:
    """The good frames of a file from `offset` on (0, or behind a frame), about `limit` bytes of them.

    Args:
        skip: go on with the next good frame behind damaged bytes, and name these in `gaps`; else end there. In a file
            of before nobody can tell where the next one begins: it ends there.

    Raises:
        FormatTooNew: as `kind.too_new`: the file's version is newer than ours.
        OSError: the file cannot be read.
    """
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        if size == 0:  # made and not yet written to
            return Frames()
        layout = layout_of(path, kind, file)
        if layout is End.DAMAGED and skip:
            layout = _marked(file, size) or End.DAMAGED
        if isinstance(layout, End):
            return Frames(end=layout)
        return _Reader(file, size, layout).read(max(offset, layout.first), limit, skip)


def first_frame(path: Path, kind: FileKind) -> int:
    """The offset behind the head of a file, as far as it has one. Raises as `read`."""
    with path.open("rb") as file:
        layout = layout_of(path, kind, file)
    return HEAD_BYTES if isinstance(layout, End) else layout.first


def scan(path: Path, kind: FileKind, offset: int = 0) -> Iterator[Frames]:
    """As `read`, a few megabytes at a time. The last one says how the file ends."""
    while True:
        found = read(path, kind, offset, limit=4 * BLOCK)
        yield found
        if found.end is not End.WHOLE or found.offset <= offset:
            return
        offset = found.offset


class _Reader:
    def __init__(self, file: BinaryIO, size: int, layout: Layout) -> None:
        self._file, self._size, self._layout = file, size, layout

    def read(self, offset: int, limit: int | None, skip: bool) -> Frames:
        payloads: list[tuple[bytes, int]] = []
        layout = self._layout
        gaps = [(0, layout.first)] if layout.damaged and offset == layout.first else []
        at, end = offset, End.WHOLE
        while at < self._size and (limit is None or at - offset < limit):
            found = self.frame(at)
            if isinstance(found, End):
                further = self._next(at + 1) if skip and layout.marker else None
                if further is None:
                    end = found
                    break
                gaps.append((at, further))
                at = further
                continue
            payload, at = found
            payloads.append((payload, at))
        return Frames(payloads=payloads, gaps=gaps, offset=at, end=end, version=layout.version, marker=layout.marker)

    def frame(self, at: int) -> tuple[bytes, int] | End:
        """(payload, offset behind it) of the frame that begins there."""
        marker = self._layout.marker
        header = FRAME if marker else BARE
        self._file.seek(at)
        start = self._file.read(header.size)
        if marker and not marker.startswith(start[: len(marker)]):
            return End.DAMAGED
        if len(start) < header.size:
            return End.TORN
        length, sum_ = header.unpack(start)[-2:]
        if length > LONGEST or (length == 0 and not (marker or self._layout.sums_length)):
            return End.DAMAGED
        if at + header.size + length > self._size:
            return End.TORN
        payload = self._file.read(length)
        if len(payload) < length:  # cut since we looked
            return End.TORN
        good = _checksum(marker, payload) if self._layout.sums_length else zlib.crc32(payload)
        return (payload, at + header.size + length) if good == sum_ else End.DAMAGED

    def _next(self, at: int) -> int | None:
        """Where the next good frame begins."""
        for place in self._markers(at):
            if not isinstance(self.frame(place), End):
                return place
        return None

    def _markers(self, at: int) -> Iterator[int]:
        marker = self._layout.marker
        while at < self._size:
            self._file.seek(at)
            block = self._file.read(BLOCK)
            place = block.find(marker)
            while place >= 0:
                yield at + place
                place = block.find(marker, place + 1)
            if len(block) < BLOCK:
                return
            at += len(block) - len(marker) + 1


def _checksum(marker: bytes, payload: bytes) -> int:
    """CRC-32 of a frame; of one of before where there is no marker."""
    return zlib.crc32(payload, zlib.crc32(marker + SUM.pack(len(payload))))


def _marked(file: BinaryIO, size: int) -> Layout | None:
    """The layout of a file whose head is damaged, by the marker of its first frame."""
    file.seek(HEAD_BYTES)
    layout = Layout(HEAD_BYTES, file.read(MARKER.size), damaged=True)
    if len(layout.marker) < MARKER.size or isinstance(_Reader(file, size, layout).frame(HEAD_BYTES), End):
        return None
    return layout


class FrameWriter:
    """The writing end of a framed log: a new file with its head, or one that is gone on with. For one thread.

    Args:
        resume: the file may be there; a torn frame at its end is cut off. What is behind the last good frame and is
            more than a torn one stays: readers pass over it and name it. Others may append to the file meanwhile (a
            process that is thought to be dead): each frame is behind the last, whoever wrote that.

    Attributes:
        size: bytes of whole frames, the head among them.
        torn: half a frame could not be taken back; nothing may be appended after it.

    Raises:
        FileExistsError: there is such a file, and it is not resumed, or is one of before.
        FormatTooNew: a newer version wrote the file that is resumed.
        OSError: the file cannot be made.
    """

    def __init__(self, path: Path, kind: FileKind, *, resume: bool = False) -> None:
        self.path, self.size, self.torn = path, 0, False
        self._marker, self._waiting, self._named = secrets.token_bytes(4), b"", False
        self._shared = resume
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | (os.O_APPEND if resume else os.O_EXCL)
        self._file = os.open(path, flags, 0o600)
        try:
            if not (resume and self._resumed(kind)):
                self._waiting = head(kind, self._marker)
                self.flush()
        except BaseException:
            self.close()
            raise

    def append(self, *payloads: bytes) -> None:
        """Write each payload as a frame, all of them at once. Raises OSError: nothing of them is in the file."""
        before = self._waiting
        self.put(payloads)
        try:
            self.flush()
        except OSError:
            self._waiting = before
            raise

    def put(self, payloads: Iterable[bytes]) -> None:
        """Have payloads written by the next `flush`. Raises ValueError for one that is longer than `LONGEST`."""
        self._waiting += b"".join(self._framed(payload) for payload in payloads)

    def flush(self) -> None:
        """Hand all that waits to the kernel: kill -9 does not lose it.

        After a failure or Ctrl-C it waits on, and goes to the same place: frames of it may have been read already.

        Raises:
            OSError: a full disk. Nothing of it is in the file (but see `torn`).
        """
        data = self._waiting
        if not data:
            return
        try:
            done = 0
            while done < len(data):
                rest = memoryview(data)[done:]
                done += os.write(self._file, rest) if self._shared else os.pwrite(self._file, rest, self.size + done)
        except OSError:
            self._take_back()
            raise
        self.size, self._waiting = self.size + len(data), b""

    def sync(self) -> None:
        """Make all that was handed to the kernel survive the death of the machine, and the file's name with it. Safe
        beside `flush` in another thread. Raises OSError."""
        file = os.dup(self._file)  # another thread may close it meanwhile
        try:
            os.fsync(file)
        finally:
            os.close(file)
        if not self._named:
            fsync(self.path.parent)
            self._named = True

    def fileno(self) -> int:
        """The file's descriptor, for a lock."""
        return self._file

    def renamed(self, path: Path) -> None:
        """Give the file another name. Raises OSError."""
        self.path.rename(path)
        self.path, self._named = path, False

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._file < 0

    def close(self) -> None:
        """Close the file; what waits is not written. Safe to call twice."""
        if self._file >= 0:
            file, self._file = self._file, -1
            os.close(file)

    def _framed(self, payload: bytes) -> bytes:
        if len(payload) > LONGEST:
            raise ValueError(f"a frame holds at most {LONGEST} bytes, got {len(payload)}")
        return FRAME.pack(self._marker, len(payload), _checksum(self._marker, payload)) + payload

    def _resumed(self, kind: FileKind) -> bool:
        """Go on in the file that is there; False when it has no head, nor anything behind one."""
        *_, found = scan(self.path, kind)
        if not found.marker:
            if found.version < VERSION or found.end is End.DAMAGED:
                raise FileExistsError(f"{self.path} is no log that can be gone on with")
            os.ftruncate(self._file, 0)
            return False
        self._marker = found.marker
        if found.end is End.TORN:
            os.ftruncate(self._file, found.offset)
        self.size = os.fstat(self._file).st_size
        return True

    def _take_back(self) -> None:
        """A later frame behind half a frame could not be told from it, so half a frame must not stay."""
        if self._shared:
            return  # somebody else's may be behind it; readers pass over it
        self.torn = True
        with contextlib.suppress(OSError):
            os.ftruncate(self._file, self.size)
            self.torn = False
