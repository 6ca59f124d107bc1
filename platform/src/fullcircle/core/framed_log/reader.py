"""Reads framed logs: frames in order, damaged bytes passed over and named, and how the file ends."""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from fullcircle.core.framed_log.layout import (
    BARE,
    FRAME,
    HEAD_BYTES,
    LONGEST,
    MARKER,
    VERSION,
    End,
    FileKind,
    Layout,
    checksum,
    layout_of,
)

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
        good = checksum(marker, payload) if self._layout.sums_length else zlib.crc32(payload)
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


def _marked(file: BinaryIO, size: int) -> Layout | None:
    """The layout of a file whose head is damaged, by the marker of its first frame."""
    file.seek(HEAD_BYTES)
    layout = Layout(HEAD_BYTES, file.read(MARKER.size), damaged=True)
    if len(layout.marker) < MARKER.size or isinstance(_Reader(file, size, layout).frame(HEAD_BYTES), End):
        return None
    return layout
