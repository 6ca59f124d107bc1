"""Writes framed logs: whole frames or none, behind each other, and onto the disk."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterable
from pathlib import Path

from fullcircle.core.framed_log.layout import (
    FRAME,
    LONGEST,
    VERSION,
    End,
    FileKind,
    checksum,
    head,
)
from fullcircle.core.framed_log.reader import scan
from fullcircle.core.system.files import fsync


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
        return FRAME.pack(self._marker, len(payload), checksum(self._marker, payload)) + payload

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
