"""An append-only file of checksummed frames: the format of the spool, the prediction log's write-ahead file and the
ranks' event logs.

Layout, little-endian:
    head    <magic: 4 bytes> <version: u32> <CRC-32 of both: u32> <marker: 4 random bytes> <CRC-32 of all before: u32>
    frame   <marker> <length: u32> <CRC-32 of marker, length and payload: u32> <payload>

Each file draws a marker of its own. By it a reader finds the next frame behind damaged bytes (as Avro's files have it:
https://avro.apache.org/docs/1.11.1/specification/#object-container-files), and because nobody knows it, no payload, and
no block that the disk had for another file, can pass for a frame of this one. The length is under the checksum: neither
a tail of zero bytes, as a power cut leaves it, nor a flipped length is a frame. A frame is there whole or not at all:
what belongs together (a group of requests that is committed at once) is one frame, one write and one fsync.

CRC-32 and not CRC-32C: Python has it, at 4 GB a second. Why, and what else was weighed: docs/adr/0101.

Files of before, which have no marker (`FileKind.earlier`), are read, and never written to.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import BinaryIO

from fullcircle.core.errors import FormatTooNew

VERSION = 2
"""Of files with a marker; there were spools of version 1 without."""
LONGEST = 1 << 30
"""Bytes of the longest payload. A length beyond it is damage, and is not read into memory."""
START, SUM, MARKER = struct.Struct("<4sI"), struct.Struct("<I"), struct.Struct("<4s")
FRAME, BARE = struct.Struct("<4sII"), struct.Struct("<II")
HEAD_BYTES = START.size + SUM.size + MARKER.size + SUM.size


class End(Enum):
    """How a file of frames ends: at a frame's end, in the middle of one, or with bytes that are no frame."""

    WHOLE = "whole"
    TORN = "torn"
    DAMAGED = "damaged"


@dataclass(frozen=True, kw_only=True)
class Earlier:
    """A layout without a marker: `<length: u32> <CRC-32: u32> <payload>` behind a head.

    Attributes:
        head: the file's first bytes.
        sums_length: the checksum is of the length and the payload, not of the payload alone.
    """

    head: bytes
    sums_length: bool


@dataclass(frozen=True, kw_only=True)
class FileKind:
    """A kind of framed log.

    Attributes:
        magic: 4 bytes at the start of its files.
        earlier: the layout that such files had before, if any are still to be read.
        too_new: the error for a file that a newer version wrote.
        hint: what to do then.
    """

    magic: bytes
    earlier: Earlier | None = None
    too_new: type[FormatTooNew] = FormatTooNew
    hint: str = "read it with the version of fullcircle that wrote it, or a newer one"


@dataclass(frozen=True)
class Layout:
    """How a file's frames are told from other bytes."""

    first: int
    marker: bytes
    sums_length: bool = True
    version: int = VERSION
    damaged: bool = False


def head(kind: FileKind, marker: bytes) -> bytes:
    """The first bytes of a file."""
    start = START.pack(kind.magic, VERSION)
    start += SUM.pack(zlib.crc32(start)) + marker  # so far as in version 1, whose readers then say that it is too new
    return start + SUM.pack(zlib.crc32(start))


def layout_of(path: Path, kind: FileKind, file: BinaryIO) -> Layout | End:
    """How the frames of this file are laid out, or what is wrong with its head."""
    start = file.read(HEAD_BYTES)
    earlier = kind.earlier
    if earlier is not None and start.startswith(earlier.head):
        return Layout(len(earlier.head), b"", earlier.sums_length, 1)
    if len(start) >= START.size + SUM.size:
        magic, version = START.unpack_from(start)
        if magic != kind.magic or SUM.unpack_from(start, START.size)[0] != zlib.crc32(start[: START.size]):
            return End.DAMAGED
        if version > VERSION:
            raise kind.too_new(
                f"{path} has format {version} and this version reads up to {VERSION}; nothing of it was changed",
                hint=kind.hint,
            )
    if len(start) < HEAD_BYTES:
        return End.TORN
    if SUM.unpack_from(start, HEAD_BYTES - SUM.size)[0] != zlib.crc32(start[: -SUM.size]):
        return End.DAMAGED
    return Layout(HEAD_BYTES, start[-MARKER.size - SUM.size : -SUM.size])
