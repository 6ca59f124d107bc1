"""File format of the spool: append-only frames with checksums. Knows nothing of their content.

Layout: a head of 12 bytes (magic, the format's version, CRC-32 of both), then frames of
`<length: u32> <CRC-32 of length and payload: u32> <payload>`, little-endian. The checksum covers the length, so that a
tail of zero bytes, as some filesystems leave it after a power cut, is no valid frame.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from fullcircle.core.errors import SpoolTooNew

MAGIC, VERSION = b"fcsp", 1
_HEAD, _SUM, _FRAME, _LENGTH = struct.Struct("<4sI"), struct.Struct("<I"), struct.Struct("<II"), struct.Struct("<I")
HEAD_BYTES = _HEAD.size + _SUM.size
LONGEST = 64 * 2**20
"""Bytes of the longest payload. A length beyond it is damage, and is not read into memory."""


class End(Enum):
    """How a file of frames ends: at a frame's end, in the middle of one, or with bytes that are no frame."""

    WHOLE = "whole"
    TORN = "torn"
    DAMAGED = "damaged"


@dataclass(frozen=True, kw_only=True)
class Read:
    """The good frames from an offset on.

    Attributes:
        payloads: in the order of writing, each with the offset behind its frame.
        offset: behind the last good frame.
        end: what is there; with TORN and DAMAGED, bytes follow `offset` that are no good frame.
    """

    payloads: Sequence[tuple[bytes, int]]
    offset: int
    end: End


def head(version: int = VERSION) -> bytes:
    """The first bytes of a file."""
    start = _HEAD.pack(MAGIC, version)
    return start + _SUM.pack(zlib.crc32(start))


def frame(payload: bytes) -> bytes:
    """One payload as a frame. Raises ValueError when it is longer than `LONGEST`."""
    if len(payload) > LONGEST:
        raise ValueError(f"a frame holds at most {LONGEST} bytes, got {len(payload)}")
    return _FRAME.pack(len(payload), _checksum(payload)) + payload


def read(path: Path, offset: int = 0, limit: int = 4 * 2**20) -> Read:
    """The good frames of a file from `offset` on (0, or behind a frame), about `limit` bytes of them.

    Raises:
        SpoolTooNew: when the file's version is newer than ours.
        OSError: the file cannot be read.
    """
    size = path.stat().st_size
    if size == 0:  # made and not yet written to, or all of it was set aside
        return Read(payloads=(), offset=0, end=End.WHOLE)
    with path.open("rb") as file:
        if (ending := _head_of(path, file.read(HEAD_BYTES))) is not End.WHOLE:
            return Read(payloads=(), offset=0, end=ending)
        at = max(offset, HEAD_BYTES)
        file.seek(at)
        found: list[tuple[bytes, int]] = []
        while at < size and at - offset < limit:
            prefix = file.read(_FRAME.size)
            if len(prefix) < _FRAME.size:
                return Read(payloads=found, offset=at, end=End.TORN)
            length, checksum = _FRAME.unpack(prefix)
            if length > LONGEST:
                return Read(payloads=found, offset=at, end=End.DAMAGED)
            payload = file.read(length)
            if len(payload) < length:
                return Read(payloads=found, offset=at, end=End.TORN)
            if _checksum(payload) != checksum:
                return Read(payloads=found, offset=at, end=End.DAMAGED)
            at += len(prefix) + length
            found.append((payload, at))
    return Read(payloads=found, offset=at, end=End.WHOLE)


def _head_of(path: Path, start: bytes) -> End:
    if len(start) < HEAD_BYTES:
        return End.TORN
    magic, version = _HEAD.unpack_from(start)
    if magic != MAGIC or _SUM.unpack_from(start, _HEAD.size)[0] != zlib.crc32(start[: _HEAD.size]):
        return End.DAMAGED
    if version > VERSION:
        raise SpoolTooNew(
            f"{path} has format {version} and this version reads up to {VERSION}; nothing of it was changed",
            hint="send it with the version of fullcircle that wrote it, or a newer one",
        )
    return End.WHOLE


def _checksum(payload: bytes) -> int:
    return zlib.crc32(payload, zlib.crc32(_LENGTH.pack(len(payload))))
