"""The write-ahead file of one writer: checksummed frames, appended before an answer leaves.

Layout: 8 bytes of magic, then frames of `<length: u32> <crc32: u32> <payload>`. The first payload is the `Header`
(which columns), each further one a `Record` (one batch), both in msgpack. A living writer holds an exclusive
`flock` on its file, which the kernel takes back when the process dies in whatever way: a file that can be locked
has no writer any more and may be recovered.

What a completed `append` survives: the death of the process (kill -9) always, because the bytes are with the
kernel; the death of the machine after the next `sync`, which the log calls every second. See docs/adr/0040.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import struct
import time
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from fullcircle.core.errors import HomeUnwritable
from fullcircle.core.project import Category, Column, Image, Number
from fullcircle.predictions.identity import PredictionIds

MAGIC = b"FCWAL\x01\r\n"
SUFFIX = ".wal"
_FRAME = struct.Struct("<II")
_LARGEST_FRAME = 1 << 30
_names = PredictionIds()


class Header(msgspec.Struct, array_like=True, frozen=True):
    """Which raw columns the records hold, in order, and who writes. `images`: (column, values of one image)."""

    numbers: list[str]
    categories: list[str]
    pid: int
    created: float
    images: list[tuple[str, int]] = []  # at the end and with a default: files of before have none

    @classmethod
    def of(cls, columns: Sequence[Column]) -> Header:
        """The header for these columns."""
        return cls(
            numbers=[column.name for column in columns if isinstance(column, Number)],
            categories=[column.name for column in columns if isinstance(column, Category)],
            pid=os.getpid(),
            created=time.time(),
            images=[(column.name, column.values) for column in columns if isinstance(column, Image)],
        )


class Record(msgspec.Struct, array_like=True, frozen=True):
    """One answered batch.

    `event_times` is int64 microseconds (rows,), `numbers` float32 (numbers, rows), `probability` float32 (rows,),
    all little-endian; `categories` has one list of `rows` strings for each category, `images` one float32
    (rows, values) for each image.
    """

    model_version: str
    model_digest: str
    logged_at: int
    prediction_ids: list[str]
    row_ids: list[str]
    event_times: bytes
    numbers: bytes
    categories: list[list[str]]
    probability: bytes
    images: list[bytes] = []


encode = msgspec.msgpack.Encoder().encode
_decode_header = msgspec.msgpack.Decoder(Header).decode
_decode_record = msgspec.msgpack.Decoder(Record).decode


class Journal:
    """One open write-ahead file, locked for as long as this process lives. Not thread-safe: the log locks.

    Attributes:
        size: bytes of whole frames.
        torn: half a frame could not be taken back; nothing may be appended after it.

    Raises:
        HomeUnwritable: when the folder cannot be written.
    """

    def __init__(self, folder: Path, columns: Sequence[Column]) -> None:
        self.header = Header.of(columns)
        try:
            self._file, self.path = _create(folder)
            self.size, self.torn = 0, False
            try:
                self._write(MAGIC + _frame(encode(self.header)))
            except OSError:
                self.discard()
                raise
        except OSError as error:
            raise unwritable(folder, error) from error

    def append(self, payload: bytes) -> None:
        """Hand one frame to the kernel, or leave the file as it was.

        Raises:
            HomeUnwritable: disk full or gone; nothing of the frame stays.
        """
        try:
            self._write(_frame(payload))
        except OSError as error:
            raise unwritable(self.path.parent, error) from error

    def sync(self) -> None:
        """Make all that was appended survive the death of the machine."""
        os.fsync(self._file)

    def discard(self) -> None:
        """Delete the file and let go of its lock. Safe to call twice."""
        self.path.unlink(missing_ok=True)
        self.close()

    def close(self) -> None:
        """Let go of the lock, leaving the file to whoever recovers it. Safe to call twice."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def _write(self, data: bytes) -> None:
        rest = memoryview(data)
        try:
            while rest:
                rest = rest[os.write(self._file, rest) :]
        except OSError:
            # A later frame after half a frame would be unreadable, so half a frame must not stay.
            self.torn = True
            os.ftruncate(self._file, self.size)
            self.torn = False
            raise
        self.size += len(data)


def read(path: Path) -> tuple[Header | None, list[Record], int]:
    """What a write-ahead file says: its header (None if unreadable), its whole records, and where those end.

    Bytes after that end are a torn or damaged tail, or a frame that its living writer has not finished yet.
    """
    with path.open("rb") as file:
        if file.read(len(MAGIC)) != MAGIC:
            return None, [], 0
        frames = _frames(file.read(), len(MAGIC))
    header: Header | None = None
    records: list[Record] = []
    end = len(MAGIC)
    try:
        for payload, frame_end in frames:
            if header is None:
                header = _decode_header(payload)
            else:
                records.append(_decode_record(payload))
            end = frame_end
    except msgspec.MsgspecError:
        pass  # its checksum holds but it says nothing that we know: damaged from here on
    return header, records, end


@contextlib.contextmanager
def claimed(path: Path) -> Iterator[bool]:
    """Whether the writer of this file is dead and the file is now ours, for the length of the block."""
    try:
        file = os.open(path, os.O_RDWR)
    except FileNotFoundError:
        yield False
        return
    try:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Someone may have recovered and deleted it between our open and our lock.
            ours = path.exists() and os.fstat(file).st_ino == path.stat().st_ino
        except (BlockingIOError, FileNotFoundError):
            ours = False
        yield ours
    finally:
        os.close(file)


def require_there(folder: Path) -> None:
    """Refuse to write into a log whose folder was moved or removed since it was opened: what would be made in its old
    place is no part of it. The file that is open goes with its folder, and takes what is answered meanwhile.

    Raises HomeUnwritable.
    """
    if not folder.is_dir():
        raise HomeUnwritable(
            f"the prediction log in {folder} was moved or removed while this process worked in it",
            hint="start it again, with FULLCIRCLE_HOME set to where the home lies now",
        )


def unwritable(folder: Path, error: OSError) -> HomeUnwritable:
    """The one line for a prediction log that cannot be written."""
    return HomeUnwritable(
        f"cannot write the prediction log in {folder} ({error.strerror or error})",
        hint="free some space there or make it writable; a prediction that cannot be logged is not answered",
    )


def _create(folder: Path) -> tuple[int, Path]:
    folder.mkdir(parents=True, exist_ok=True)
    while True:
        name = _names.take(1)[0]
        # Locked under another name first: recovery must never see a living writer's file unlocked.
        fresh, path = folder / f".new-{name}", folder / f"{name}{SUFFIX}"
        file = os.open(fresh, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_APPEND, 0o600)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            fresh.rename(path)
        except (BlockingIOError, FileNotFoundError):  # recovery took it for a leftover
            os.close(file)
            continue
        return file, path


def _frame(payload: bytes) -> bytes:
    return _FRAME.pack(len(payload), zlib.crc32(payload)) + payload


def _frames(data: bytes, offset: int) -> Iterator[tuple[bytes, int]]:
    view, position = memoryview(data), 0
    while position + _FRAME.size <= len(view):
        length, checksum = _FRAME.unpack_from(view, position)
        start, end = position + _FRAME.size, position + _FRAME.size + length
        # A tail of zeros, as a power cut leaves it, would pass as an empty frame with checksum 0.
        if not 0 < length <= _LARGEST_FRAME or end > len(view):
            return
        payload = bytes(view[start:end])
        if zlib.crc32(payload) != checksum:
            return
        yield payload, offset + end
        position = end
