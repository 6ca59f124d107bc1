"""Advisory file locks (flock), released by the kernel when their holder dies in whatever way."""

from __future__ import annotations

import contextlib
import fcntl
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from fullcircle.core.settings import home_unwritable


@contextlib.contextmanager
def exclusive(path: Path) -> Iterator[None]:
    """Hold the lock file at `path` (made if missing), waiting for whoever holds it. Safe against kill -9.

    Raises HomeUnwritable when the file cannot be made.

    The file stays behind on purpose: removing it would let two processes hold "the" lock on two inodes.
    """
    with _opened(path) as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.flock(file, fcntl.LOCK_UN)


@contextlib.contextmanager
def held(path: Path) -> Iterator[bool]:
    """As `exclusive`, without waiting: True when we hold the lock, False when another process does."""
    with _opened(path) as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            yield False
            return
        try:
            yield True
        finally:
            fcntl.flock(file, fcntl.LOCK_UN)


def _opened(path: Path) -> IO[bytes]:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return path.open("ab")
    except OSError as error:
        raise home_unwritable(path.parent.parent, error) from error
