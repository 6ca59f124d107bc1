"""One process at a time: advisory locks on files, released by the kernel when their holder dies in whatever way."""

from __future__ import annotations

import contextlib
import fcntl
from collections.abc import Iterator
from pathlib import Path

from fullcircle.core.settings import home_unwritable


@contextlib.contextmanager
def exclusive(path: Path) -> Iterator[None]:
    """Hold the lock file at `path` (made if missing), waiting for whoever holds it. Safe against kill -9.

    Raises HomeUnwritable when the file cannot be made.

    The file stays behind on purpose: removing it would let two processes hold "the" lock on two inodes.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("ab")
    except OSError as error:
        raise home_unwritable(path.parent.parent, error) from error
    with file:
        fcntl.flock(file, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.flock(file, fcntl.LOCK_UN)
