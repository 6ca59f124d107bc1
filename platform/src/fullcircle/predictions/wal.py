"""The write-ahead log of one writer: each group of answered batches is a frame in it before any of them is answered.

A framed log (`core.framed_log`): the first payload is the `Header` (which columns), each further one a list of `Record`
(one batch each) that are there all or none, in msgpack; so many requests may share one write and one fsync. A living
writer holds an exclusive `flock` on its file, which the kernel takes back when the process dies in whatever way: a file
that can be locked has no writer any more and may be recovered.

What a completed `append` survives: the death of the process (kill -9) always, because the bytes are with the
kernel; the death of the machine after the next `sync`, which the log calls every second. See docs/adr/0040.

Files of before have one `Record` a frame, or no names of answers. They are read as they are.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from fullcircle.core.errors import HomeUnwritable
from fullcircle.core.framed_log.frames import FrameWriter
from fullcircle.core.framed_log.frames import read as read_frames
from fullcircle.core.framed_log.layout import Earlier, FileKind
from fullcircle.core.project import Column
from fullcircle.core.tasks.answers import AnswerSpec
from fullcircle.predictions.ids import PredictionIds

SUFFIX = ".wal"
KIND = FileKind(magic=b"fcwl", earlier=Earlier(head=b"FCWAL\x01\r\n", sums_length=False))
_names = PredictionIds()


class Header(msgspec.Struct, array_like=True, frozen=True):
    """Which raw columns and answers the records hold, in order, and who writes.

    `images`: (column, values of one image). What stands at the end with a default is not in files of before.
    """

    numbers: list[str]
    categories: list[str]
    pid: int
    created: float
    images: list[tuple[str, int]] = []
    answers: list[str] = msgspec.field(default_factory=lambda: ["probability"])

    @classmethod
    def of(cls, columns: Sequence[Column], answers: AnswerSpec) -> Header:
        """The header for these columns and answers."""
        return cls(
            numbers=[column.name for column in columns if column.kind == "number"],
            categories=[column.name for column in columns if column.kind == "category"],
            pid=os.getpid(),
            created=time.time(),
            images=[(column.name, column.values) for column in columns if column.kind == "image"],
            answers=list(answers.numbers),
        )


class Record(msgspec.Struct, array_like=True, frozen=True):
    """One answered batch.

    `event_times` is int64 microseconds (rows,), `numbers` float32 (numbers, rows), `answers` float32 (rows, numbers of
    an answer), all little-endian; `categories` has one list of `rows` strings for each category, `images` one float32
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
    answers: bytes
    images: list[bytes] = []


_encode = msgspec.msgpack.Encoder().encode
_decode_header = msgspec.msgpack.Decoder(Header).decode
_decode_records = msgspec.msgpack.Decoder(list[Record]).decode
_decode_record = msgspec.msgpack.Decoder(Record).decode


class WriteAheadLog:
    """One open write-ahead log, locked for as long as this process lives. Not thread-safe: the prediction log locks.

    Raises:
        HomeUnwritable: when the folder cannot be written.
    """

    def __init__(self, folder: Path, columns: Sequence[Column], answers: AnswerSpec) -> None:
        self.header = Header.of(columns, answers)
        try:
            self._writer = _create(folder)
            try:
                self._writer.append(_encode(self.header))
            except OSError:
                self.discard()
                raise
        except OSError as error:
            raise unwritable(folder, error) from error

    @property
    def path(self) -> Path:
        """Where the file lies."""
        return self._writer.path

    @property
    def size(self) -> int:
        """Bytes of whole frames."""
        return self._writer.size

    @property
    def torn(self) -> bool:
        """Whether half a frame could not be taken back; nothing may be appended after it."""
        return self._writer.torn

    def append(self, records: Sequence[Record]) -> None:
        """Hand a group of records to the kernel, in one frame and one write, or leave the file as it was.

        Raises:
            HomeUnwritable: disk full or gone; none of them stays.
        """
        try:
            self._writer.append(_encode(records))
        except OSError as error:
            raise unwritable(self.path.parent, error) from error

    def sync(self) -> None:
        """Make all that was appended survive the death of the machine. Raises OSError."""
        self._writer.sync()

    def discard(self) -> None:
        """Delete the file and let go of its lock. Safe to call twice."""
        self.path.unlink(missing_ok=True)
        self.close()

    def close(self) -> None:
        """Let go of the lock, leaving the file to whoever recovers it. Safe to call twice."""
        self._writer.close()


@dataclass(frozen=True, kw_only=True)
class Content:
    """What a write-ahead log says.

    Attributes:
        header: None if it is unreadable: nobody knows the columns then, and no record is read.
        records: the good ones, in the order of writing.
        gaps: (from, to) of damaged bytes between them, which were passed over.
        offset: behind the last good frame. Bytes that follow are a torn or damaged tail, or a frame that its living
            writer has not finished yet.
    """

    header: Header | None
    records: list[Record]
    gaps: list[tuple[int, int]]
    offset: int


def read(path: Path) -> Content:
    """What a write-ahead log says. Raises FormatTooNew, and OSError when it cannot be read."""
    found = read_frames(path, KIND)
    header: Header | None = None
    records: list[Record] = []
    gaps = list(found.gaps)
    for payload, offset in found.payloads:
        try:
            if header is None:
                header = _decode_header(payload)
            else:
                records += _decode_records(payload) if found.marker else [_decode_record(payload)]
        except msgspec.MsgspecError:  # its checksum holds but it says nothing that we know
            if header is None:
                return Content(header=None, records=[], gaps=[], offset=0)
            gaps.append((offset - len(payload) - found.frame_bytes, offset))
    if header is None:
        return Content(header=None, records=[], gaps=[], offset=0)
    return Content(header=header, records=records, gaps=sorted(gaps), offset=found.offset)


@contextlib.contextmanager
def try_lock(path: Path) -> Iterator[bool]:
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


def _create(folder: Path) -> FrameWriter:
    folder.mkdir(parents=True, exist_ok=True)
    while True:
        name = _names.take(1)[0]
        # Locked under another name first: recovery must never see a living writer's file unlocked.
        writer = FrameWriter(folder / f".new-{name}", KIND)
        try:
            fcntl.flock(writer.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
            writer.renamed(folder / f"{name}{SUFFIX}")
        except (BlockingIOError, FileNotFoundError):  # recovery took it for a leftover
            writer.close()
            continue
        return writer
