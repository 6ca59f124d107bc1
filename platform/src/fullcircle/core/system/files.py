"""Atomic file writes, fsync, and SHA-256 of files."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path


def sha256_of(path: Path) -> str:
    """SHA-256 of a file's bytes, in hex; read a block at a time, however large it is. Raises OSError."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextlib.contextmanager
def replacing(path: Path, *, durable: bool = False) -> Iterator[Path]:
    """Another file to write in the block, in the folder of `path`, which takes its place when the block ends well.

    Whoever reads `path`, and whatever kills us, finds the old file or the new one in full. When the block raises, the
    old file stays and the other one is removed.

    Args:
        durable: the new file is on the disk, and so is its name, before this returns.

    Raises:
        OSError: the new file could not be written to the disk or put in place.
    """
    # Hidden, and our own: neither a reader that lists the folder nor another process that writes `path` meets it.
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        yield part
        if durable:
            fsync(part)
        part.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            part.unlink()
        raise
    if durable:
        fsync(path.parent)


def write_whole(path: Path, content: bytes | str, *, durable: bool = False) -> None:
    """Put a small file in the place of another in one step; text as UTF-8. See `replacing`. Raises OSError."""
    with replacing(path, durable=durable) as part:
        part.write_bytes(content.encode() if isinstance(content, str) else content)


def fsync(path: Path) -> None:
    """Bring a file, or what a folder calls its files, to the disk. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
