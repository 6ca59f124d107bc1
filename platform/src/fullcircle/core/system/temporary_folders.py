"""Temporary folders under a lock: gone with whoever made them, or, after kill -9, with whoever makes the next one.

Who is at work holds a lock on the folder itself (flock(2)), of which the kernel lets go with the process. A folder that
somebody holds is never removed, however old it is; what nobody holds is a leftover.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

MARK = ".temporary"
"""A file in a folder that goes when nobody holds it: the folders beside it may be kept."""


@contextlib.contextmanager
def temporary(parent: Path, prefix: str = "at-work-") -> Iterator[Path]:
    """A new folder in `parent`, removed at the end of the block; leftovers of killed processes beside it go first."""
    sweep(parent, marked=True)
    folder = Path(tempfile.mkdtemp(prefix=prefix, dir=parent))
    with in_use(folder):
        (folder / MARK).touch()
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def in_use(folder: Path) -> Iterator[None]:
    """While the block runs, nobody takes the folder (made if missing) for a leftover. Several may use it at once."""
    handle = _held(folder)
    try:
        yield
    finally:
        os.close(handle)


def sweep(parent: Path, *, marked: bool = False) -> tuple[Path, ...]:
    """Remove the folders in `parent` that nobody uses; of `marked` ones alone, if so wished. Returns which."""
    found = []
    for folder in sorted(parent.iterdir()) if parent.is_dir() else ():
        if folder.is_symlink() or not folder.is_dir() or (marked and not (folder / MARK).exists()):
            continue
        with contextlib.suppress(OSError):  # it went meanwhile, or is held, or nobody can tell
            handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder)
                found.append(folder)
            finally:
                os.close(handle)
    return tuple(found)


@contextlib.contextmanager
def alone_in(folder: Path) -> Iterator[bool]:
    """Whether we are the only ones in the folder while the block runs, from whichever home; nothing is left in it."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        except OSError:  # a file system without locks: go on as before there were any
            pass
        yield True
    finally:
        os.close(handle)


def _held(folder: Path) -> int:
    while True:
        folder.mkdir(parents=True, exist_ok=True)
        try:
            handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        except FileNotFoundError:
            continue
        with contextlib.suppress(OSError):  # a file system without locks
            fcntl.flock(handle, fcntl.LOCK_SH)
        with contextlib.suppress(FileNotFoundError):
            if folder.stat().st_ino == os.fstat(handle).st_ino:  # else it was swept before we held it
                return handle
        os.close(handle)
